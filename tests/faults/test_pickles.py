"""A corpus of hostile pickles: none of them runs in a process of Holdfast, but in the sandbox, and there it gets nowhere."""

import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.faults import pickles
from tests.integration import incomes

from holdfast.build.child import translate_in_child
from holdfast.build.frames import table_of
from holdfast.build.load import open_model
from holdfast.build.pipeline import Data, build
from holdfast.build.translate import Marks
from holdfast.errors import HoldfastError, UntrustedPickle
from holdfast.registry import fetch, snapshot_of_table
from holdfast.sandbox import inside
from holdfast.sandbox.policy import Policy

pytestmark = pytest.mark.skipif(bool(inside.missing()), reason=f"no sandbox here: {inside.missing()}")

OPEN_ALL = """\
import contextlib, json, os, pickle, sys
from holdfast.sandbox import imports
from holdfast.sandbox.inside import enter
from holdfast.sandbox.policy import Policy
enter(Policy.from_json(sys.argv[1]))
sys.stderr.write("inside\\n")
imports.watch()
told = {}
for name, content in json.load(sys.stdin).items():
    before = set(imports.looked_up())
    try:
        with contextlib.redirect_stdout(sys.stderr):
            __import__("pickle").loads(bytes.fromhex(content))
        told[name] = "opened"
    except BaseException as bad:
        told[name] = type(bad).__name__
sys.stdout.write(json.dumps({"told": told, "names": imports.looked_up()}))
sys.stdout.flush()
os._exit(0)
"""


def child(corpus, contained, cwd, **limits):
    policy = Policy(scratch=str(cwd), contained=contained, **({"memory_mb": 2048, "cpu_s": 20, "file_mb": 16} | limits))
    return subprocess.run(
        [sys.executable, "-I", "-c", OPEN_ALL, policy.to_json()],
        input=json.dumps({name: content.hex() for name, content in corpus.items()}),
        env={"PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
    )


@pytest.fixture
def scratch():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_the_corpus_is_real(tmp_path, scratch):
    """Opened by a plain Python, each of them does it."""
    corpus = pickles.touching(tmp_path)
    done = child(corpus, contained=False, cwd=scratch)
    assert done.returncode == 0, done.stderr
    left = {path.name for path in tmp_path.iterdir()}
    # What only runs when its process ends properly, or starts one too many for one process to survive.
    assert set(corpus) - left <= {"atexit"}
    assert len(corpus) + len(pickles.harmful()) >= 50


def test_in_the_sandbox_none_gets_anywhere(tmp_path, scratch):
    corpus = pickles.touching(tmp_path)
    done = child(corpus, contained=True, cwd=scratch)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["told"].keys() == corpus.keys()
    assert list(tmp_path.iterdir()) == []
    assert {"posix.system", "builtins.exec", "posix.mkfifo", "shutil.copyfile"} <= set(found["names"])


@pytest.mark.parametrize("name", pickles.harmful())
def test_in_the_sandbox_none_hurts_others(name, scratch):
    done = child({name: pickles.harmful()[name]}, contained=True, cwd=scratch, cpu_s=2, memory_mb=1024)
    assert done.stderr.startswith("inside\n"), done.stderr
    if done.returncode == 0 and done.stdout:  # it survived to tell what became of it
        assert json.loads(done.stdout)["told"][name] != "opened"
    assert sum(file.stat().st_size for file in scratch.rglob("*")) <= 16 << 20


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return incomes.parts(tmp_path_factory.mktemp("workspace"))


def test_no_process_of_holdfast_opens_one(parts, tmp_path):
    """Every payload in every file that people pass around: registered, downloaded, looked at, refused."""
    touched, files = tmp_path / "touched", tmp_path / "files"
    touched.mkdir()
    files.mkdir()
    corpus = pickles.touching(touched) | pickles.harmful()
    for content in corpus.values():
        for name, packed in pickles.packed(content).items():
            _refused(files / "m", name, packed)
    assert list(touched.iterdir()) == []


def _refused(folder, name, content):
    """As the registry gives it; the flavour is what its author says."""
    folder.mkdir(exist_ok=True)
    suffix = Path(name).suffix
    for old in folder.iterdir():
        old.unlink()
    (folder / name).write_bytes(content)
    flavour = {".ubj": "xgboost", ".json": "xgboost", ".txt": "lightgbm", ".onnx": "onnx"}.get(suffix, "sklearn")
    key = "pickled_model" if flavour == "sklearn" else "data"
    (folder / "MLmodel").write_text(json.dumps({"flavors": {flavour: {key: name}}}))
    if suffix == ".onnx":  # is given on as bytes, and read by ONNX's own rules
        assert open_model(folder) == content
        return
    with pytest.raises(HoldfastError):
        open_model(folder)


@pytest.mark.parametrize("name", ["system4", "in-a-model", "cloud-class", "numpy"])
def test_from_the_file_to_the_refusal(parts, name, tmp_path):
    touched = tmp_path / "touched"
    touched.mkdir()
    path = tmp_path / f"{name}.pkl"
    path.write_bytes(pickles.touching(touched)[name])
    X, y = incomes.survey(seed=2)
    table = table_of(X, y, label="rich")
    data = Data(table, snapshot_of_table(table))
    with pytest.raises(UntrustedPickle):
        build(parts, path, data, marks=Marks(label="rich"), name="evil")
    with pytest.raises(HoldfastError) as refused:
        build(parts, path, data, marks=Marks(label="rich"), name="evil", trust_pickle=True)
    assert list(touched.iterdir()) == []
    assert "brought in" in str(refused.value) or "ended with" in str(refused.value)
    assert not list(parts.releases.glob("*"))


def test_a_good_pickle_says_what_it_brought_in(parts, tmp_path):
    path = tmp_path / "good.pkl"
    path.write_bytes(pickle.dumps(incomes.trained()))
    found = fetch(parts.registry, path, "good", tmp_path / "fetched")
    X, y = incomes.survey(seed=2)
    told = translate_in_child(
        found.path, table_of(X, y, label="rich"), Marks(label="rich"), found.signature, progress=lambda _: None
    )
    (note,) = [one for one in told.notes if "pickle" in one]
    assert "when it was opened, it brought in " in note
    assert "sklearn.pipeline.Pipeline" in note
