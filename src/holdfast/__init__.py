"""Holdfast takes a trained model into production and holds it there.

    import holdfast

    release = holdfast.build_release(model, X, y, name="prices")    # rows that the model was not fitted on
    workspace = holdfast.open_workspace()

Public names are loaded when first used: importing holdfast costs nothing.
"""

from __future__ import annotations

import typing as _typing
from importlib import import_module as _import_module

if _typing.TYPE_CHECKING:
    from holdfast.errors import HoldfastError as HoldfastError
    from holdfast.notebook import build_release as build_release
    from holdfast.workspace import Workspace as Workspace
    from holdfast.workspace import create_workspace as create_workspace
    from holdfast.workspace import open_workspace as open_workspace

__version__ = "0.1.0"
__all__ = ["HoldfastError", "Workspace", "__version__", "build_release", "create_workspace", "open_workspace"]

_HOME = {
    "HoldfastError": "holdfast.errors",
    "Workspace": "holdfast.workspace",
    "build_release": "holdfast.notebook",
    "create_workspace": "holdfast.workspace",
    "open_workspace": "holdfast.workspace",
}


def __getattr__(name: str) -> _typing.Any:
    if name not in _HOME:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    return getattr(_import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
