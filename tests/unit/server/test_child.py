import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.errors import ServeError, UsageError
from holdfast.server.child import Said, address, listen, note, reserve


def test_a_port_in_use_is_named():
    with listen("127.0.0.1", 0, what="inference", setting="--port") as taken:
        port = taken.getsockname()[1]
        assert address(taken) == f"http://127.0.0.1:{port}"
        for shared in (False, True):
            with pytest.raises(ServeError, match=f"inference port {port}") as refused:
                listen("127.0.0.1", port, what="inference", setting="--port", shared=shared)
            assert "--port" in refused.value.next_step


def test_workers_share_a_port():
    with listen("127.0.0.1", 0, what="x", setting="--port", shared=True) as one:
        port = one.getsockname()[1]
        with listen("127.0.0.1", port, what="x", setting="--port", shared=True) as other:
            assert other.getsockname()[1] == port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_reserved_port_is_for_our_workers_alone(host):
    with reserve(host, 0, what="gRPC", setting="--grpc-port") as held:
        port = held.getsockname()[1]
        assert address(held, "").rpartition(":") == (f"[{host}]" if ":" in host else host, ":", str(port))
        with pytest.raises(ServeError, match=f"gRPC port {port}"):
            reserve(host, port, what="gRPC", setting="--grpc-port")
        with pytest.raises(ConnectionRefusedError):  # nobody would answer: nobody listens yet
            socket.create_connection((host, port), timeout=5)
        workers = [listen(host, port, what="gRPC", setting="--grpc-port", shared=True) for _ in range(2)]
        for _ in range(20):
            socket.create_connection((host, port), timeout=5).close()
        for worker in workers:
            worker.close()


def test_only_loopback_until_there_are_keys():
    with pytest.raises(UsageError, match="reached from outside"):
        listen("0.0.0.0", 0, what="x", setting="--port")


def test_a_note_is_whole_or_not_there(tmp_path: Path):
    note(tmp_path / "run" / "x.json", {"pid": 1})
    assert json.loads((tmp_path / "run" / "x.json").read_text()) == {"pid": 1}
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["x.json"]


def test_a_child_notices_that_its_parent_is_gone():
    program = (
        "import os, signal, sys, time; from holdfast.server.child import on_orphaned;"
        "on_orphaned(lambda: os._exit(7)); print('up', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdout.readline()
    child.stdin.close()
    assert child.wait(20) == 7
    child.stdout.close()


def test_socket_is_ipv6_aware():
    try:
        listener = listen("::1", 0, what="x", setting="--port")
    except ServeError:
        assert not socket.has_ipv6 or not Path("/proc/net/if_inet6").read_text()
    else:
        with listener:
            assert address(listener).startswith("http://[::1]:")


@pytest.mark.parametrize(
    ("says", "last"),
    [
        (
            "error[HF520]: no release at ab12, here\\n  next: holdfast list\\n",
            ("error[HF520]: no release at ab12, here", "holdfast list"),
        ),
        ("Traceback:\\n  next: not yet\\nImportError: no numpy\\n\\n", ("ImportError: no numpy", "")),
        ("cut \\xff off", ("cut \ufffd off", "")),
        ("", ("", "")),
    ],
)
def test_the_last_words_of_a_child_are_kept_and_all_is_passed_on(says, last, capsys):
    code = f"import sys; sys.stderr.buffer.write(b'{says}')"
    child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    said = Said(child.stderr)
    assert said.last() == last
    assert child.wait(10) == 0
    heard = capsys.readouterr().err
    assert all(words in heard for words in last)
