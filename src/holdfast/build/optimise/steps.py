"""What can be done to a converted model: its bytes in, a variant's bytes out, the same from the same reference everywhere."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from holdfast.build.convert import check_onnx
from holdfast.build.convert.graph import onnx
from holdfast.build.optimise.leaves import fewer_leaves
from holdfast.build.optimise.prune import pruned
from holdfast.build.optimise.rows import Feeds, parts
from holdfast.build.optimise.trees import fewer_trees
from holdfast.core.variant import Recipe
from holdfast.errors import BuildError, Unconvertible

__all__ = ["apply"]

QUANTISED: Final = (
    "Conv",
    "MatMul",
    "Gemm",
    "Relu",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "Reshape",
    "Flatten",
    "Add",
    "Concat",
)
PRODUCTS: Final = ("MatMul", "Gemm")
SMALL: Final = 64
"""Constants of fewer numbers stay as they are: there is nothing to gain."""


def apply(content: bytes, recipe: Recipe, calibration: Feeds | None) -> bytes:
    """The variant's bytes; `Unconvertible` if a step has nothing to work on in this model."""
    for step in recipe.steps:
        name, _, number = step.rpartition("-")
        if number.isdecimal():
            content = _SHARED[name](content, int(number) / 100.0, calibration)
        else:
            content = _PLAIN[step](content, calibration)
    if recipe.steps:
        check_onnx(content)
    return content


def _graph(content: bytes, _: Feeds | None) -> bytes:
    """What ONNX Runtime would do at each start, short of what only one processor understands."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(target)
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return _stable(target.read_bytes())


def _float16(content: bytes, _: Feeds | None) -> bytes:
    """Weights in 16 bits, each followed by a cast: folded away when the model is opened, so that a run costs the same."""
    lib = onnx()
    model = lib.load_model_from_string(content)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != lib.TensorProto.FLOAT or np.prod(tensor.dims) < SMALL:
            continue
        values = lib.numpy_helper.to_array(tensor)
        if np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
            continue
        name, half = tensor.name, f"{tensor.name}/half"
        tensor.CopyFrom(lib.numpy_helper.from_array(values.astype(np.float16), half))
        casts.append(lib.helper.make_node("Cast", [half], [name], to=lib.TensorProto.FLOAT))
    if not casts:
        raise _nothing("float16", "it has no weights in float32")
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return _stable(model.SerializeToString(deterministic=True))


def _int8_dynamic(content: bytes, _: Feeds | None) -> bytes:
    with _files(content, PRODUCTS, "int8-dynamic") as (source, target):
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(
            source, target, op_types_to_quantize=list(PRODUCTS), per_channel=True, weight_type=QuantType.QInt8
        )
        return _stable(target.read_bytes())


def _int8(content: bytes, calibration: Feeds | None) -> bytes:
    """Weights in 7 of the 8 bits: older processors add two products in 16 bits, which 8 times 8 could overflow."""
    if calibration is None:
        raise BuildError(
            "int8 is scaled by reference rows, and there are none", "--variant", "give rows: --reference FILE"
        )
    with _files(content, (*PRODUCTS, "Conv"), "int8") as (source, target):
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            """Some rows at a time: only their minimum and maximum are kept."""

            def __init__(self, feeds: Feeds) -> None:
                self._feeds = parts(feeds)

            def get_next(self) -> Feeds | None:
                return next(self._feeds, None)

        quantize_static(
            source,
            target,
            Reader(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return _stable(target.read_bytes())


@contextmanager
def _files(content: bytes, wanted: tuple[str, ...], step: str) -> Iterator[tuple[Path, Path]]:
    """A prepared model on disk, as the quantiser reads it, and where it writes; its remarks go nowhere."""
    lib = onnx()
    model = lib.load_model_from_string(content)
    weights = {tensor.name for tensor in model.graph.initializer if tensor.data_type == lib.TensorProto.FLOAT}
    if not any(node.op_type in wanted and weights & set(node.input) for node in model.graph.node):
        raise _nothing(step, "it has no products with weights in float32")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from onnxruntime.quantization import quant_pre_process

            given, source = Path(folder) / "given.onnx", Path(folder) / "prepared.onnx"
            given.write_bytes(content)
            quant_pre_process(given, source, skip_symbolic_shape=True)
            yield source, Path(folder) / "quantised.onnx"
    finally:
        logging.disable(before)


def _stable(content: bytes) -> bytes:
    """The same graph without what its maker wrote about itself, in one canonical form."""
    model = onnx().load_model_from_string(content)
    kept = {entry.key: entry.value for entry in model.metadata_props if entry.key.startswith("holdfast.")}
    del model.metadata_props[:], model.graph.value_info[:]
    onnx().helper.set_model_props(model, kept)
    model.producer_name, model.producer_version = "holdfast", ""
    result: bytes = model.SerializeToString(deterministic=True)
    return result


def _nothing(step: str, why: str) -> Unconvertible:
    return Unconvertible(f"nothing to do: {why}", f"step '{step}'", "leave the step out")


_PLAIN: Final[Mapping[str, Callable[[bytes, Feeds | None], bytes]]] = {
    "graph": _graph,
    "float16": _float16,
    "int8-dynamic": _int8_dynamic,
    "int8": _int8,
}
_SHARED: Final[Mapping[str, Callable[[bytes, float, Feeds | None], bytes]]] = {
    "pruned": pruned,
    "trees": fewer_trees,
    "leaves": fewer_leaves,
}
