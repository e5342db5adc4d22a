"""What a parent takes from a sandboxed child: so much, and no longer than that."""

import os
import subprocess
import sys

import msgspec
import pytest

from holdfast.build.child import _Reply, _Request, memory_mb
from holdfast.build.translate import Marks
from holdfast.errors import NoSandbox
from holdfast.sandbox import inside
from holdfast.sandbox.outside import LastWords, environment, require, run
from holdfast.sandbox.policy import Confinement, Policy

CHILD = "holdfast.build.child"
GOOD = Policy(memory_mb=memory_mb())
here = pytest.mark.skipif(bool(inside.missing()), reason=f"no sandbox here: {inside.missing()}")


def request(folder="/nonesuch"):
    return msgspec.msgpack.encode(_Request(folder, Marks(), {}, None))


@here
def test_a_reply_comes_whole(tmp_path):
    (tmp_path / "MLmodel").write_text('{"flavors": {"prophet": {}}}')
    done = run(GOOD._replace(read=(str(tmp_path),)), CHILD, request(str(tmp_path)), timeout_s=60, most=1 << 20)
    assert done.code == 0, done
    assert not done.late
    assert "prophet" in msgspec.msgpack.decode(done.reply, type=_Reply).what


@here
def test_more_than_agreed_ends_it(tmp_path):
    (tmp_path / "MLmodel").write_text('{"flavors": {"prophet": {}}}')
    done = run(GOOD._replace(read=(str(tmp_path),)), CHILD, request(str(tmp_path)), timeout_s=60, most=10)
    assert done.late
    assert done.reply == b""


@here
def test_longer_than_agreed_ends_it():
    done = run(GOOD, CHILD, request(), timeout_s=0.05, most=1 << 20)
    assert (done.late, done.code) == (True, -9)


@here
def test_its_last_words_are_kept():
    done = run(GOOD, CHILD, b"this is no request", timeout_s=60, most=1 << 20)
    assert done.code == 1
    assert "DecodeError" in done.said or "ValidationError" in done.said


def test_who_talks_without_end_is_not_remembered():
    talk = "import sys\nfor _ in range(2000): sys.stderr.write('x' * 1000)\nsys.stderr.write('\\nthe end')"
    child = subprocess.Popen([sys.executable, "-c", talk], stderr=subprocess.PIPE)
    assert child.stderr is not None
    said = LastWords(child.stderr)
    child.wait(60)
    assert said.last() == "the end"


def test_nothing_of_our_environment_goes_in(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    assert "canary" not in str(environment("/tmp"))
    assert environment("/tmp")["PATH"] == os.environ["PATH"]


def test_a_kernel_without_it_is_named(monkeypatch):
    monkeypatch.setattr(inside.landlock, "version", lambda: 0)
    monkeypatch.setattr(inside.seccomp, "known", lambda: True)
    monkeypatch.setattr(inside, "MACHINE", "x86_64")
    with pytest.raises(NoSandbox, match="Landlock") as refused:
        run(GOOD, CHILD, b"", timeout_s=1, most=1)
    assert "--no-sandbox" in refused.value.next_step
    require(contained=False)


@pytest.mark.parametrize(("machine", "said"), [("", "Linux"), ("riscv64", "riscv64")])
def test_a_machine_without_it_is_named(monkeypatch, machine, said):
    monkeypatch.setattr(inside, "MACHINE", machine)
    monkeypatch.setattr(inside.seccomp, "known", lambda: machine == "x86_64")
    assert said in inside.missing()


def test_a_policy_travels_as_text():
    policy = Policy(read=("/a", "/b"), scratch="/c", cpu_s=3, contained=False)
    assert Policy.from_json(policy.to_json()) == policy


def test_what_holds_is_said():
    assert str(Confinement(0, namespaces=False)) == "limits only"
    assert "Landlock 7" in str(Confinement(7, namespaces=True))
