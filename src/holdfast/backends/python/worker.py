"""The child of a Python release: opens the model in its own environment, then answers one request after the other.

It runs in the sandbox (`holdfast.sandbox.inside`). The model gets a pandas frame with the contract's columns, in the types that
the contract names, and answers with numbers, texts, a matrix or a frame; what that means is decided by the parent. It ends when
the parent is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import warnings
from pathlib import Path
from typing import Any, Final

from holdfast.backends.python import wire
from holdfast.sandbox import imports

__all__ = ["main"]

DTYPES: Final = {"FP32": "float32", "FP64": "float64"}
LONGEST: Final = 300


def main(number: str, told: str) -> None:
    """Answer on the socket of this number the model that is described by this JSON (`core.release.PythonModel` and `folder`)."""
    model = json.loads(told)
    with socket.socket(fileno=int(number)) as channel, contextlib.suppress(wire.Closed):
        warnings.simplefilter("ignore")
        imports.watch()
        try:
            import pandas  # noqa: ICN001, F401 - before the first request, which has no time for it

            ask, classes = _opened(Path(model["folder"]), model["opened"], model["file"])
        except Exception as bad:  # noqa: BLE001 - a foreign model fails in any way
            wire.send(channel, {"error": _said(bad)})
            return
        python = ".".join(map(str, sys.version_info[:3]))
        wire.send(channel, {"names": imports.looked_up(), "classes": classes, "python": python})
        _answer(channel, ask, dict(model["columns"]))
    os._exit(0)  # whatever threads the model has


def _answer(channel: socket.socket, ask: Any, datatypes: dict[str, str]) -> None:
    while True:
        header, content = wire.receive(channel, 1 << 40)
        try:
            outputs, columns = _outputs(ask(_frame(header, content, datatypes)))
        except Exception as bad:  # noqa: BLE001 - see above
            wire.send(channel, {"error": _said(bad)})
        else:
            wire.send(channel, {"outputs": outputs}, columns)


def _opened(folder: Path, how: str, file: str) -> tuple[Any, list[Any] | None]:
    """What is asked, and the classes that it knows."""
    if how == "pyfunc":
        import mlflow.pyfunc

        return mlflow.pyfunc.load_model(str(folder)).predict, None
    path = folder / file
    if how == "skops":
        import skops.io

        model = skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))
    elif path.suffix == ".joblib":
        import joblib  # type: ignore[import-untyped]

        model = joblib.load(path)
    else:
        import cloudpickle  # type: ignore[import-untyped]

        model = cloudpickle.loads(path.read_bytes())
    classes = getattr(model, "classes_", None)
    if classes is not None and hasattr(model, "predict_proba"):
        return model.predict_proba, classes.tolist() if hasattr(classes, "tolist") else list(classes)
    if hasattr(model, "predict"):
        return model.predict, None
    if not callable(model):
        raise TypeError(f"a {type(model).__name__} is no model: it can neither predict nor be called")
    return model, None


def _frame(header: dict[str, Any], content: memoryview, datatypes: dict[str, str]) -> Any:
    import numpy as np
    import pandas as pd

    columns, start = {}, 0
    for name, kind, size in header["columns"]:
        part = content[start : start + size]
        start += size
        datatype = datatypes[name]
        if kind == "text":
            texts = wire.texts_of(part, header["rows"])
            if datatype == "BOOL" and None not in texts:
                columns[name] = np.array([text == "true" for text in texts], dtype=bool)
            else:
                known = {"true": True, "false": False}
                values = [known.get(text, text) for text in texts] if datatype == "BOOL" else texts
                columns[name] = np.array(values, dtype=object)
            continue
        numbers = np.frombuffer(part, dtype="<f8")
        dtype = DTYPES.get(datatype, datatype.lower())
        whole = dtype.startswith("float") or bool(np.isfinite(numbers).all())
        columns[name] = (
            numbers.astype(dtype) if whole else numbers.copy()
        )  # missing whole numbers: as pandas reads them
    return pd.DataFrame(columns)


def _outputs(answer: Any) -> tuple[list[list[Any]], list[bytes]]:
    """Name, kind, shape and size of each output, and their bytes."""
    if hasattr(answer, "columns") and hasattr(answer, "to_numpy"):
        parts = {str(name): answer[name] for name in answer.columns}
    elif isinstance(answer, dict):
        parts = {str(name): values for name, values in answer.items()}
    else:
        parts = {"": answer}
    told, columns = [], []
    for name, values in parts.items():
        kind, shape, content = _output(values)
        told.append([name, kind, shape, len(content)])
        columns.append(content)
    return told, columns


def _output(values: Any) -> tuple[str, list[int], bytes]:
    import numpy as np

    array = np.asarray(values)
    if array.ndim not in {1, 2}:
        raise ValueError(f"the model answered {array.ndim} dimensions; one or two are needed, a row for each row")
    shape = list(array.shape)
    if array.dtype.kind in "fiu":
        return "number", shape, array.astype("<f8").tobytes()
    if array.dtype.kind == "b":
        return "text", shape, wire.text_bytes([str(bool(one)).lower() for one in array.ravel().tolist()])
    return "text", shape, wire.text_bytes([str(one) for one in array.ravel().tolist()])


def _said(bad: Exception) -> str:
    lines = str(bad).splitlines()
    return f"{type(bad).__name__}: {lines[0] if lines else ''}"[:LONGEST]
