"""Walks the preprocessing of a model: Pipelines, ColumnTransformers and unions of the steps in `preprocess` and `text`.

`transform` carries a frame of columns through one step, going by its exact class: a user's subclass or own step is
refused by its name and place in the pipeline, never guessed at.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from holdfast.build.convert import preprocess, text
from holdfast.build.convert.graph import Column, Frame, Graph, Path, columns_of

STEPS = preprocess.STEPS | text.STEPS


def kind_of(step: object) -> tuple[str, str]:
    """(library, class name) of a step."""
    library: str = type(step).__module__.partition(".")[0]
    return library, type(step).__name__


def transform(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    """A preprocessing step: the frame before it -> the frame after it."""
    if step is None or step == "passthrough":
        return frame
    library, name = kind_of(step)
    if library == "sklearn" and name == "Pipeline":
        for part_name, part in step.steps:
            frame = transform(graph, frame, part, path / part_name)
        return frame
    if library == "sklearn" and name == "ColumnTransformer":
        return _columns(graph, frame, step, path)
    if library == "sklearn" and name == "FeatureUnion":
        parts = [(part, part_name, frame) for part_name, part in step.transformer_list if part != "drop"]
        return _side_by_side(graph, parts, step, path)
    if library == "sklearn" and name in STEPS:
        return STEPS[name](graph, frame, step, path)
    raise path.refuse(step, "no exact conversion is known for this step")


def _columns(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    names = list(getattr(step, "feature_names_in_", []))
    parts = []
    for part_name, part, chosen in step.transformers_:
        if isinstance(part, str) and part == "drop":
            continue
        picked = tuple(frame[i] for i in _positions(chosen, names, len(frame)))
        if picked:
            parts.append((part, part_name, picked))
    return _side_by_side(graph, parts, step, path)


def _side_by_side(graph: Graph, parts: list[tuple[Any, str, Frame]], step: Any, path: Path) -> Frame:
    weights = step.transformer_weights or {}
    result: list[Column] = []
    for part, name, picked in parts:
        out = transform(graph, picked, part, path / name)
        if name in weights:
            scaled = graph.op("Mul", graph.matrix(out, part, path / name), graph.number(float(weights[name])))
            out = columns_of(scaled, [c.name for c in out], like=out)
        result += out
    return tuple(result)


def _positions(chosen: Any, names: list[str], width: int) -> list[int]:
    """The positions that a ColumnTransformer's column choice (names, numbers, slice or mask) stands for."""
    if isinstance(chosen, str):
        return [names.index(chosen)]
    if isinstance(chosen, slice):
        if isinstance(chosen.start, str) or isinstance(chosen.stop, str):
            start = names.index(chosen.start) if chosen.start is not None else 0
            stop = names.index(chosen.stop) + 1 if chosen.stop is not None else width
            return list(range(start, stop))
        return list(range(width))[chosen]
    if np.isscalar(chosen):
        return [range(width)[int(chosen)]]  # type: ignore[arg-type]
    listed = list(chosen)
    if listed and all(isinstance(item, bool | np.bool_) for item in listed):
        return [i for i, taken in enumerate(listed) if taken]
    return [names.index(item) if isinstance(item, str) else range(width)[int(item)] for item in listed]
