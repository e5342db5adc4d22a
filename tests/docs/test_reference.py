"""The reference is read off the code: a page that no longer says what the code says fails, with the way to mend it."""

import importlib.util
from pathlib import Path

import pytest


def generator():
    spec = importlib.util.spec_from_file_location("reference", Path(__file__).parent / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = generator().pages()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_reference_is_what_the_code_says(path):
    assert path.read_text(encoding="utf-8") == PAGES[path], f"{path.name} is stale: make docs-reference"


def test_every_setting_error_and_field_says_what_it_is_for():
    for path, text in PAGES.items():
        for line in text.splitlines():
            if line.startswith("| `") and path.name in {"configuration.md", "errors.md"}:
                assert line.split("|")[3].strip(), f"{path.name}: {line} says nothing"
