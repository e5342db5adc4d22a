"""The user's training function: `train(data, weights) -> fitted model`, from a file in the workspace folder."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from holdfast.errors import BuildError, UsageError
from holdfast.retrain.data import to_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from holdfast.core.contract import Contract

__all__ = ["fit", "load_train"]


def load_train(text: str, folder: Path) -> Callable[[Any, Any], Any]:
    """The user's function from `file.py:function`, relative to the workspace folder."""
    file, _, function = text.partition(":")
    path = folder / file
    if not function or not path.is_file():
        raise UsageError(
            f"no training function: '{text}'", "[deployments.NAME] train", "set it to file.py:function in holdfast.toml"
        )
    spec = importlib.util.spec_from_file_location(f"holdfast_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be loaded as Python", next_step="give a .py file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found: Callable[[Any, Any], Any] = getattr(module, function)
    except AttributeError:
        raise UsageError(f"{file} has no function '{function}'", str(path), "check the name") from None
    except Exception as bad:
        raise BuildError(f"{file} fails when it is loaded: {bad!r}", str(path), "run it by itself first") from bad
    return found


def fit(
    train: Callable[[Any, Any], Any],
    table: Mapping[str, npt.NDArray[Any]],
    contract: Contract,
    row_weights: npt.NDArray[np.float64] | None,
) -> Any:
    """Call the user's function with a data frame in the contract's types, and what it returns is the model."""
    frame = to_frame(table, contract)
    try:
        model = train(frame, row_weights)
    except Exception as bad:
        raise BuildError(
            f"the training function failed: {bad!r}", next_step="run it by itself on the same data"
        ) from bad
    if model is None or not hasattr(model, "predict"):
        raise BuildError("the training function returned no fitted model", next_step="return the fitted estimator")
    return model
