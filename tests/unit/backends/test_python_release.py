"""Sessions of Python releases, in the environment of these tests: what a model may do to its process, and what becomes of it."""

import itertools
import os
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import msgspec
import numpy as np
import pytest

from holdfast.backends.python import wire
from holdfast.backends.python.runtime import PythonRuntime
from holdfast.backends.python.venvs import UvEnvironments, _complete
from holdfast.config import Python
from holdfast.core.release import PYTHON, PYTHON_MODEL, REQUIREMENTS, PythonModel
from holdfast.errors import BuildError, MissingExtra, ModelDown, ReleaseError
from holdfast.sandbox import inside

pytestmark = pytest.mark.skipif(bool(inside.missing()), reason=f"no sandbox here: {inside.missing()}")
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
ROWS = {"a": np.array([1.0, 2.0, np.nan]), "k": np.array(["x", None, "y"], dtype=object)}


class Here:
    """The environment of these tests, whatever is locked."""

    def lock(self, requirements, python):
        return ""

    def interpreter(self, lock, python):
        return Path(sys.executable)


@pytest.fixture
def opened(tmp_path):
    """Opens a callable as a release's session; ends it afterwards."""
    sessions, numbers = [], itertools.count()

    def start(model, answers="number", classes=(), columns=(("a", "FP64"), ("k", "BYTES")), **limits):
        folder = tmp_path / str(next(numbers))
        (folder / PYTHON_MODEL).mkdir(parents=True)
        (folder / PYTHON_MODEL / "m.cloudpickle").write_bytes(cloudpickle.dumps(model))
        told = PythonModel(
            opened="pickle", file="m.cloudpickle", python=VERSION, columns=columns, answers=answers, classes=classes
        )
        (folder / PYTHON).write_bytes(msgspec.json.encode(told))
        (folder / REQUIREMENTS).write_text("")
        sessions.append(
            PythonRuntime(Here(), Python(**({"timeout_s": 20.0} | limits)), tmp_path / "scratch").load(folder)
        )
        return sessions[-1]

    yield start
    for session in sessions:
        session.close()


@pytest.fixture(autouse=True, scope="module")
def by_value():
    """What is defined here goes along: the child cannot import it."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def works_again(session, within=20.0):
    until = time.monotonic() + within
    while True:
        try:
            return session.run(ROWS)
        except ModelDown:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_columns_arrive_as_the_contract_has_them(opened):
    def told(rows):
        types = [str(rows[name].dtype) for name in rows.columns if name != "k"]  # of texts each pandas has its own
        return [",".join([*types, rows["k"][0], str(rows["k"].isna()[1]), repr(rows["b"].tolist())])] * len(rows)

    columns = (("i", "INT32"), ("f", "FP32"), ("gap", "INT64"), ("k", "BYTES"), ("b", "BOOL"))
    session = opened(told, "raw", columns=columns)
    given = {
        "i": np.array([1.0, 2.0]),
        "f": np.array([0.5, 1.5]),
        "gap": np.array([1.0, np.nan]),
        "k": np.array(["é\n", None], dtype=object),
        "b": np.array(["true", "false"], dtype=object),
    }
    (answer,) = session.run(given).values()
    assert answer[0] == "int32,float32,float64,bool,é\n,True,[True, False]"
    assert "_make_function" in " ".join(session.names)


def test_answers_by_their_meaning(opened):
    numbers = opened(lambda rows: rows["a"].fillna(0))
    assert numbers.run(ROWS)["prediction"].tolist() == [1.0, 2.0, 0.0]
    share = opened(lambda rows: rows["a"].fillna(0) / 4, "share", ("no", "yes"))
    assert share.run(ROWS)["probabilities"].tolist() == [[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]]
    label = opened(lambda rows: rows["k"].fillna("x"), "label", ("x", "y"))
    assert label.run(ROWS)["probabilities"].tolist() == [[1, 0], [1, 0], [0, 1]]
    frame = opened(lambda rows: {"y": rows["a"] * 0, "x": rows["a"] * 0 + 1}, "probabilities", ("x", "y"))
    assert frame.run({**ROWS, "a": np.ones(3)})["probabilities"].tolist() == [[1, 0]] * 3


@pytest.mark.parametrize(
    ("model", "answers", "said"),
    [
        (lambda rows: ["text"] * len(rows), "number", "text where it answered numbers"),
        (lambda _: [1.0], "number", "1 rows to 3"),
        (lambda rows: ["z"] * len(rows), "label", "a class that the contract does not have"),
        (lambda _: np.ones((3, 5)), "probabilities", "probabilities for 3 rows"),
        (lambda _: np.ones((3, 2, 2)), "number", "3 dimensions"),
        (lambda _: bytearray(1 << 40), "number", "MemoryError"),
        (lambda _: Path("/etc/passwd").read_text(), "number", "PermissionError"),
        (lambda _: __import__("socket").socket(), "number", "PermissionError"),
    ],
)
def test_what_it_should_not_answer_is_said_and_it_lives_on(opened, model, answers, said):
    session = opened(model, answers, ("x", "y"))
    with pytest.raises(ReleaseError, match=said):
        session.run(ROWS)
    with pytest.raises(ReleaseError, match=said):
        session.run(ROWS)


def quits(rows):
    if "quit" in rows["k"].tolist():
        os.kill(os.getpid(), signal.SIGKILL)
    return rows["a"].fillna(0)


def test_a_dead_process_is_replaced(opened):
    session = opened(quits)
    with pytest.raises(ModelDown, match="signal 9"):
        session.run(ROWS | {"k": np.array(["quit"] * 3, dtype=object)})
    assert works_again(session)["prediction"].tolist() == [1.0, 2.0, 0.0]


def test_a_hanging_one_is_ended(opened):
    def hangs(rows):
        if "hang" in rows["k"].tolist():
            time.sleep(1000)
        return rows["a"].fillna(0)

    session = opened(hangs, timeout_s=1.0)
    with pytest.raises(ModelDown, match="within 1 s"):
        session.run(ROWS | {"k": np.array(["hang"] * 3, dtype=object)})
    assert works_again(session)["prediction"].tolist() == [1.0, 2.0, 0.0]


@pytest.mark.parametrize(
    "content", [b"\xff" * 64, struct.pack("<II", 2, 0) + b"[]", struct.pack("<II", 7, 0) + b'{"a":1}']
)
def test_one_that_says_something_else_is_ended(opened, content):
    def lies(rows):
        import gc

        for found in gc.get_objects():
            if isinstance(found, socket.socket):
                found.sendall(content)
        return rows["a"]

    session = opened(lies)
    with pytest.raises(ModelDown, match="something else"):
        session.run(ROWS)


def test_one_that_cannot_be_opened_says_why(opened):
    class Missing:
        def __reduce__(self):
            return __import__, ("nonesuch",)

    with pytest.raises(ReleaseError, match="No module named 'nonesuch'"):
        opened(Missing())
    with pytest.raises(ReleaseError, match="can neither predict nor be called"):
        opened(7)


def test_many_ask_and_each_gets_its_own(opened):
    session = opened(lambda rows: rows["a"].fillna(0) * 2)
    found = {}

    def ask(number):
        given = {"a": np.full(5, float(number)), "k": np.array(["x"] * 5, dtype=object)}
        found[number] = session.run(given)["prediction"].tolist()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [2.0 * number] * 5 for number in range(16)}


def test_a_closed_one_is_gone(opened):
    session = opened(lambda rows: rows["a"])
    session.close()
    with pytest.raises(ModelDown):
        session.run(ROWS)


class TestWire:
    def test_what_is_said_arrives(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            wire.send(ours, {"rows": 2}, [b"abc", wire.text_bytes(["ü", None])])
            header, content = wire.receive(theirs, 100)
            assert header == {"rows": 2}
            assert wire.texts_of(content[3:], 2) == ["ü", None]

    @pytest.mark.parametrize(
        "content",
        [
            struct.pack("<II", 1 << 30, 0),
            struct.pack("<II", 2, 1 << 30) + b"{}",
            struct.pack("<II", 2, 0) + b"no",
            struct.pack("<II", 2, 0) + b"[]",
        ],
    )
    def test_too_much_or_something_else_is_not_read(self, content):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(content)
            with pytest.raises(wire.TooMuch):
                wire.receive(theirs, 1000)

    def test_half_of_it_is_the_end(self):
        ours, theirs = socket.socketpair()
        with theirs:
            ours.sendall(struct.pack("<II", 100, 0) + b"{")
            ours.close()
            with pytest.raises(wire.Closed):
                wire.receive(theirs, 1000)

    @pytest.mark.parametrize("content", [b"no", b"[1]", b'{"a": 1}'])
    def test_texts_are_as_many_as_rows(self, content):
        with pytest.raises(wire.TooMuch):
            wire.texts_of(memoryview(content), 2)


class TestRequirements:
    def test_of_mlflow_only_what_opens_models(self):
        assert _complete(["mlflow==3.1.0", "Pandas<3", "holdfast==1"]) == [
            "Pandas<3",
            "mlflow-skinny==3.1.0",
            "cloudpickle",
        ]
        assert _complete(["mlflow[extras]>=3"])[0] == "mlflow-skinny>=3"

    @pytest.mark.parametrize("line", [
        "--index-url http://example.com", "-e .", "-r more.txt", "--find-links /tmp", "evil @ file:///tmp/evil.whl",
        "git+https://example.com/evil", "./evil", "../evil.whl", "evil==1\n--index-url=http://example.com", "", "https://example.com/a.whl",
    ])  # fmt: skip
    def test_the_author_cannot_name_places(self, line):
        with pytest.raises(BuildError, match="no name with versions"):
            _complete([line])

    @pytest.mark.parametrize(
        "line", ["a", "a==1.0", "a[b,c]>=1,<2", "a-b_c.d~=1.2 ; python_version < '3.12'", "a==1.0+cpu", "a==2.*"]
    )
    def test_names_and_versions_are(self, line):
        assert line in _complete([line])

    def test_without_uv_its_extra_is_named(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        with pytest.raises(MissingExtra, match="python"):
            UvEnvironments(tmp_path).interpreter("", VERSION)

    def test_what_cannot_be_locked_is_said(self, tmp_path):
        with pytest.raises(BuildError, match="cannot be locked"):
            UvEnvironments(tmp_path).lock(["numpy==0.0.0.1"], VERSION)

    def test_a_python_that_is_not_here_is_named(self, tmp_path):
        with pytest.raises(BuildError, match=r"no Python 3\.99"):
            UvEnvironments(tmp_path).interpreter("", "3.99")

    def test_an_equal_lock_is_one_environment(self, tmp_path):
        environments = UvEnvironments(tmp_path)
        first = environments.interpreter("", VERSION)
        made = first.stat().st_ino
        assert environments.interpreter("", VERSION) == first
        assert first.stat().st_ino == made
        assert environments.interpreter("# another\n", VERSION) != first
