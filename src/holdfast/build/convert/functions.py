"""numpy functions as float64 ONNX operators, for `FunctionTransformer` and `TransformedTargetRegressor`.

Only functions known by name are converted: a user's own function can hide anything, so it is refused by name.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.build.convert.graph import Graph


def _operator(kind: str) -> Callable[[Graph, str], str]:
    return lambda graph, x: graph.op(kind, x)


def log1p(graph: Graph, x: str) -> str:
    """log(1 + x) to the last bit or two also for small x: log(u) * x / (u - 1) with u = 1 + x (Kahan's correction)."""
    one = graph.number(1.0)
    u = graph.op("Add", x, one)
    corrected = graph.op("Mul", graph.op("Log", u), graph.op("Div", x, graph.op("Sub", u, one)))
    return graph.op("Where", graph.op("Equal", u, one), x, corrected)


def expm1(graph: Graph, x: str) -> str:
    """exp(x) - 1."""
    return graph.op("Sub", graph.op("Exp", x), graph.number(1.0))


def _scaled_log(base: float) -> Callable[[Graph, str], str]:
    return lambda graph, x: graph.op("Div", graph.op("Log", x), graph.number(math.log(base)))


EXACT: dict[Any, Callable[[Graph, str], str]] = {
    np.sqrt: _operator("Sqrt"),
    np.abs: _operator("Abs"),
    np.fabs: _operator("Abs"),
    np.negative: _operator("Neg"),
    np.sign: _operator("Sign"),
    np.floor: _operator("Floor"),
    np.ceil: _operator("Ceil"),
    np.rint: _operator("Round"),
    np.square: lambda graph, x: graph.op("Mul", x, x),
    np.isnan: lambda graph, x: graph.op("Cast", graph.op("IsNaN", x), to=11),
}
"""Functions whose float64 result IEEE 754 fixes to the bit. (Not reciprocal: on whole numbers numpy divides whole.)"""

INEXACT: dict[Any, Callable[[Graph, str], str]] = {
    np.log: _operator("Log"),
    np.log1p: log1p,
    np.log2: _scaled_log(2.0),
    np.log10: _scaled_log(10.0),
    np.exp: _operator("Exp"),
    np.expm1: expm1,
    np.sin: _operator("Sin"),
    np.cos: _operator("Cos"),
    np.tanh: _operator("Tanh"),
}
"""Functions that may differ in the last bit from one mathematics library to the next."""
