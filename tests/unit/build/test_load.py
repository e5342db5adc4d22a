"""Opening what the registry gives: no foreign code, clear errors, and a child for pickles that dies alone."""

import functools
import os
import pickle

import numpy as np
import pytest
import skops.io
import yaml
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import FunctionTransformer

from holdfast.build.child import translate_in_child
from holdfast.build.load import is_pickle, open_model
from holdfast.build.translate import Marks
from holdfast.errors import BuildError, RegistryError, Unconvertible, UntrustedPickle


def folder(path, flavour, name, content=b"") -> object:
    path.mkdir(exist_ok=True)
    key = "pickled_model" if flavour == "sklearn" else "data"
    (path / "MLmodel").write_text(yaml.safe_dump({"flavors": {flavour: {key: name}, "python_function": {}}}))
    if content is not None:
        (path / name).write_bytes(content)
    return path


class Calls:
    """Pickles into the call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def test_a_pickle_is_never_opened_here(tmp_path):
    target = tmp_path / "touched"
    model = folder(tmp_path / "m", "sklearn", "model.pkl", pickle.dumps(Calls(os.mkdir, str(target))))
    assert is_pickle(model)
    with pytest.raises(UntrustedPickle):
        open_model(model)
    assert not target.exists()


def test_a_pickle_under_a_harmless_name_is_not_opened_either(tmp_path):
    target = tmp_path / "touched"
    content = pickle.dumps(Calls(os.mkdir, str(target)))
    for flavour, name in (("sklearn", "model.skops"), ("xgboost", "model.ubj"), ("lightgbm", "model.txt")):
        with pytest.raises(RegistryError, match="cannot be opened"):
            open_model(folder(tmp_path / flavour, flavour, name, content))
    assert not target.exists()


def test_skops_with_a_foreign_type_is_refused_by_its_name(tmp_path):
    model = LinearRegression().fit(np.eye(2), [0.0, 1.0])
    model.extra = os.path.join
    with pytest.raises(RegistryError, match="posixpath"):
        open_model(folder(tmp_path / "m", "sklearn", "model.skops", skops.io.dumps(model)))


def test_a_function_hidden_in_a_partial_is_named_too(tmp_path):
    """A partial is harmless, what it would call may not be."""
    model = FunctionTransformer(functools.partial(os.system, "true"))
    with pytest.raises(RegistryError, match=r"posix\.system"):
        open_model(folder(tmp_path / "m", "sklearn", "model.skops", skops.io.dumps(model)))


def test_files_outside_the_model_are_not_opened(tmp_path):
    (tmp_path / "secret.onnx").write_bytes(b"")
    with pytest.raises(RegistryError, match="missing"):
        open_model(folder(tmp_path / "m", "onnx", "../secret.onnx", None))
    with pytest.raises(RegistryError, match="missing"):
        open_model(folder(tmp_path / "n", "onnx", "gone.onnx", None))


def test_an_unknown_flavour_is_named(tmp_path):
    with pytest.raises(RegistryError, match="prophet"):
        open_model(folder(tmp_path / "m", "prophet", "model.pr"))


def test_a_child_that_dies_is_an_error_of_ours(tmp_path):
    model = folder(tmp_path / "m", "sklearn", "model.pkl", pickle.dumps(Calls(os._exit, 7)))
    with pytest.raises(BuildError, match="ended with 7"):
        translate_in_child(model, None, Marks(), {}, progress=lambda _: None)


def test_the_childs_own_error_comes_through(tmp_path):
    model = folder(tmp_path / "m", "sklearn", "model.pkl", pickle.dumps(Calls(dict)))
    with pytest.raises((BuildError, Unconvertible), match="no model") as refused:
        translate_in_child(model, None, Marks(), {}, progress=lambda _: None)
    assert refused.value.next_step == "give a fitted model"
