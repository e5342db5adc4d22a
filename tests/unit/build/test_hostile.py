"""Hostile ONNX files: each is refused with a next step, and before this process opens a session."""

import numpy as np
import onnxruntime
import pytest
from tests.unit.build import hostile

from holdfast.build.convert import check_onnx
from holdfast.build.rehearsal import rehearse
from holdfast.build.translate import Marks, translate
from holdfast.errors import Unconvertible

UNREAD = hostile.unread()
REHEARSED = hostile.rehearsed()
TABLE = {"a": np.arange(8.0), "b": np.ones(8), "price": np.arange(8.0)}


@pytest.fixture
def sessions(monkeypatch):
    """The files that this process opened."""
    opened = []

    class Watched(onnxruntime.InferenceSession):
        def __init__(self, content, *given, **how):
            opened.append(content)
            super().__init__(content, *given, **how)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Watched)
    return opened


def test_the_corpus_is_large():
    assert len(UNREAD) + len(REHEARSED) >= 55


@pytest.mark.parametrize("name", UNREAD)
def test_it_is_refused_unread(name, tmp_path, sessions):
    with pytest.raises(Unconvertible) as refused:
        check_onnx(UNREAD[name])
    assert refused.value.next_step
    (tmp_path / "model.onnx").write_bytes(UNREAD[name])
    (tmp_path / "MLmodel").write_text("flavors: {onnx: {data: model.onnx}}")
    with pytest.raises(Unconvertible):
        translate(tmp_path, TABLE, Marks(label="price"), {})
    assert not sessions


@pytest.mark.parametrize("name", REHEARSED)
def test_it_is_refused_in_a_rehearsal(name, tmp_path, sessions):
    check_onnx(REHEARSED[name])
    with pytest.raises(Unconvertible) as refused:
        rehearse(REHEARSED[name], memory=512 << 20, cpu_s=2)
    assert refused.value.next_step
    assert not sessions


def test_an_honest_model_passes():
    made = hostile.model(*hostile.doubling(3)).SerializeToString()
    check_onnx(made)
    rehearse(made)
