"""The house rules that no linter knows: sizes, names, words, where heavy libraries may be imported."""

import ast
import re
from pathlib import Path

import pytest

import holdfast

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "src" / "holdfast"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((REPOSITORY / "tests").rglob("*.py"))
MAX_LINES = 400

# Installed by the extras only: the operating side must start without them.
AUTHORING = {
    "lightgbm",
    "mlflow",
    "onnx",
    "pandas",
    "pyarrow",
    "scipy",
    "skl2onnx",
    "sklearn",
    "skops",
    "torch",
    "xgboost",
}

# A name that says nothing about what is inside (STYLE: if the right file isn't guessed first time, rename it).
EMPTY_NAMES = {"base", "common", "helper", "helpers", "manager", "misc", "util", "utils"}

# One word per concept: (what a name must not say, what we say).
OTHER_WORDS = {
    "challenger": "candidate",
    "cohort": "slice",
    "fidelity": "parity",
    "ground_truth": "label",
    "groundtruth": "label",
    "inference_log": "prediction log",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_no_file_is_too_long(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{lines} lines: split it along its nouns"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_opens_with_a_paragraph(path):
    text = path.read_text(encoding="utf-8")
    assert not text.strip() or ast.get_docstring(ast.parse(text)), "say in a paragraph what a newcomer finds here"


SCRIPTS = {"train.py", "train_digits.py", "train_fremont.py"}
"""The demo user's own training scripts: copied into the demo's workspace and run there, never imported by Holdfast."""


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_says_what_is_inside(path):
    assert path.stem not in EMPTY_NAMES


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name not in SCRIPTS], ids=name_of)
def test_heavy_libraries_are_imported_where_they_are_used(path):
    """At module level they would break the base install; inside a function a missing one becomes `MissingExtra`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    inside_functions = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types_only or id(node) in inside_functions:
            continue
        if isinstance(node, ast.Import):
            roots = {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots = {node.module.partition(".")[0]}
        else:
            continue
        assert not roots & AUTHORING, f"line {node.lineno} imports {sorted(roots & AUTHORING)} at module level"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_names_use_the_house_words(path):
    names = {
        name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (getattr(node, "name", None), getattr(node, "id", None), getattr(node, "arg", None))
        if isinstance(name, str)
    }
    wrong = {f"{name}: say {ours}" for name in names for word, ours in OTHER_WORDS.items() if word in name.lower()}
    assert not wrong


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_a_test_is_skipped_by_its_fixtures_only(path):
    """A skip at import time is seen neither by the summary of skips nor by continuous integration."""
    if path == Path(__file__):
        return
    found = re.findall(r"importorskip|allow_module_level|pytest\.mark\.skip\b", path.read_text(encoding="utf-8"))
    assert not found, "use a fixture of tests/conftest.py that calls skip_without()"


def test_public_names_are_a_decision():
    """`__all__` is sorted, complete and true; everything else at the root is private."""
    public = getattr(holdfast, "__all__", [])
    assert list(public) == sorted(public)
    for name in public:
        assert getattr(holdfast, name) is not None
    visible = {name for name in vars(holdfast) if not name.startswith("_")}
    modules = {path.stem for path in PACKAGE.iterdir()}
    assert visible <= set(public) | modules | {"annotations"}


def test_the_version_is_told_once():
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"$', project, re.MULTILINE)
    assert version
    assert re.search(rf"^## (\[)?{re.escape(version.group(1))}", changelog, re.MULTILINE), (
        "the changelog lacks this version"
    )


def test_the_make_verbs_install_the_locked_uv():
    """The Makefile fetches uv before anything is locked; it must be the version that the lock then keeps."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    lock = (REPOSITORY / "uv.lock").read_text(encoding="utf-8")
    pinned = re.search(r"^UV_VERSION := (\S+)$", makefile, re.MULTILINE)
    locked = re.search(r'^name = "uv"\nversion = "(.+)"$', lock, re.MULTILINE)
    assert pinned
    assert locked
    assert pinned.group(1) == locked.group(1)
