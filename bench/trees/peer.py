"""The other sides, in an environment of their own: `python peer.py FOLDER NAME` prints a JSON object of figures by side.

The folder holds the trained model and the rows; `clock.py` lies beside this file. What a side cannot do is told in its place.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from clock import measured

Answer = Callable[[Any], Any]


def stock(model: Any, name: str, width: int, folder: Path) -> Iterator[tuple[str, Answer, float]]:
    """skl2onnx and onnxmltools as their manuals have it: float32 in ONNX Runtime, on one thread."""
    import onnxruntime
    from skl2onnx import convert_sklearn, update_registered_converter
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    del folder
    if name == "catboost":
        raise NotImplementedError("skl2onnx and onnxmltools do not know CatBoost")
    last_step = model[-1] if hasattr(model, "steps") else model
    options: dict[int, dict[str, Any]] = {id(model): {"zipmap": False}} if hasattr(model, "classes_") else {}
    if name.startswith(("xgboost", "lightgbm")):
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

        convert = convert_xgboost if name.startswith("xgboost") else convert_lightgbm
        known = {"zipmap": [True, False, "columns"], "nocl": [True, False]}
        shapes = calculate_linear_classifier_output_shapes
        update_registered_converter(type(last_step), name, shapes, convert, options=known)
    began = time.perf_counter()
    graph = convert_sklearn(
        model,
        initial_types=[("X", FloatTensorType([None, width]))],
        options=options,
        target_opset={"": 18, "ai.onnx.ml": 3},
    )
    taken = time.perf_counter() - began
    quiet = onnxruntime.SessionOptions()
    quiet.intra_op_num_threads, quiet.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), quiet, providers=["CPUExecutionProvider"])
    last = session.get_outputs()[-1].name
    yield "stock converter", lambda rows: session.run([last], {"X": rows.astype(np.float32)})[0], taken


def treelite_sides(model: Any, name: str, width: int, folder: Path) -> Iterator[tuple[str, Answer, float]]:
    """Treelite's interpreter, and TL2cgen's C compiled by the C compiler that is here."""
    import tl2cgen
    import treelite

    del width
    began = time.perf_counter()
    if name == "catboost":
        raise NotImplementedError("treelite does not know CatBoost")
    if name.startswith("xgboost"):
        file = folder / "model.ubj"
        model.save_model(file)
        forest = treelite.frontend.load_xgboost_model(str(file), format_choice="ubjson")
    elif name.startswith("lightgbm"):
        forest = treelite.frontend.from_lightgbm(model.booster_)
    else:
        forest = treelite.sklearn.import_model(model)
    taken = time.perf_counter() - began
    dtype = np.float32 if forest.input_type == "float32" else np.float64
    yield "treelite", lambda rows: treelite.gtil.predict(forest, rows.astype(dtype), nthread=1), taken
    library = folder / "model.so"
    began = time.perf_counter()
    tl2cgen.export_lib(forest, toolchain="gcc", libpath=library, params={"parallel_comp": 16}, verbose=False)
    predictor = tl2cgen.Predictor(library, nthread=1, verbose=False)
    taken = time.perf_counter() - began
    yield "TL2cgen", lambda rows: predictor.predict(tl2cgen.DMatrix(rows.astype(dtype))), taken


def main() -> None:
    folder, name = Path(sys.argv[1]), sys.argv[2]
    model = pickle.loads((folder / "model.pickle").read_bytes())  # noqa: S301 - written a moment ago by the other process
    given = np.load(folder / "rows.npz")
    figures: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        front, forest = (model[:-1].transform, model[-1]) if hasattr(model, "steps") else (None, model)
        for sides, names in ((stock, ["stock converter"]), (treelite_sides, ["treelite", "TL2cgen"])):
            waiting = list(names)
            try:
                given_model = model if sides is stock else forest
                for side, answer, taken in sides(given_model, name, given["rows"].shape[1], folder):
                    if front and sides is not stock:  # these know trees only: what stands before them stays in Python
                        answer = _behind(front, answer)  # noqa: PLW2901
                    if given["score"]:  # treelite answers an isolation forest with its score, not with its decision
                        answer = _shifted(answer, side, float(given["offset"]))  # noqa: PLW2901
                    found = measured(
                        name, answer, given["rows"], given["edges"], given["expected"], float(given["scale"])
                    )
                    figures[waiting.pop(0)] = found | {"ready_s": taken}
            except Exception as bad:  # noqa: BLE001 - each fails in its own way, which is a result
                kind = "" if isinstance(bad, NotImplementedError) else f"{type(bad).__name__}: "
                for side in waiting:
                    figures[side] = {"failed": f"{kind}{str(bad).strip().splitlines()[0][:120]}"}
    print(json.dumps(figures))


def _behind(front: Answer, answer: Answer) -> Answer:
    return lambda rows: answer(front(rows))


def _shifted(answer: Answer, side: str, offset: float) -> Answer:
    """A score of outliers as the original's decision: lower is stranger, zero is the line."""
    return answer if side == "stock converter" else lambda rows: -np.asarray(answer(rows)) - offset


if __name__ == "__main__":
    main()
