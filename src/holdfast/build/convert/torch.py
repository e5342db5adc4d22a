"""PyTorch in: a module becomes an exported program, which is stored without pickle, and that becomes an ONNX graph.

`exported` traces a module once, for any number of rows, and leaves out whatever depends on where its source file lies; the
program is what is registered (`.pt2`). `to_onnx` writes the program's graph as PyTorch's own exporter does. Both are made so
that an equal module gives equal bytes. What the numbers mean (classes, logits or probabilities) is found out from the rows of
the reference: see `holdfast.build.networks`.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from holdfast.errors import MissingExtra, RegistryError, Unconvertible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["answers", "exported", "is_module", "is_program", "open_program", "to_onnx"]

EXAMPLES: Final = 2
"""Rows of the tracing example: one alone would be taken for a constant."""
ANSWER: Final = "answer"
INPUT: Final = "input"
BLOCK: Final = 512
WRAP = "wrap it in a module whose forward takes one tensor [n, ...] and gives one tensor [n] or [n, classes]"


def is_module(model: Any) -> bool:
    """Whether this is an nn.Module; looks at names only, so that PyTorch is not imported for other models."""
    return any(kind.__module__ == "torch.nn.modules.module" for kind in type(model).__mro__)


def is_program(model: Any) -> bool:
    """Whether this is an exported program of PyTorch."""
    return type(model).__name__ == "ExportedProgram" and type(model).__module__.startswith("torch")


def exported(module: Any, shape: tuple[int, ...]) -> Any:
    """The module as an exported program that takes [n, *shape]; the module itself stays as it is."""
    torch = _torch()
    training = module.training
    failure: Exception | None = None
    module.eval()
    try:
        # Embeddings take whole numbers, all others real ones.
        for dtype in (torch.float32, torch.int64):
            example = torch.zeros((EXAMPLES, *shape), dtype=dtype)
            try:
                with _quiet():
                    program = torch.export.export(
                        module, (example,), dynamic_shapes=({0: torch.export.Dim("rows")},), strict=False
                    )
            except Exception as bad:  # noqa: BLE001 - the tracer runs the user's code
                failure = failure or bad
                continue
            return _placeless(program)
    finally:
        module.train(training)
    said = str(failure).strip().splitlines()
    raise Unconvertible(
        f"the module cannot be exported for inputs of shape [n, {', '.join(map(str, shape))}]: "
        + (said[0][:300] if said else type(failure).__name__),
        f"class {type(module).__module__}.{type(module).__qualname__}",
        "say the right shape (X as an array [n, ...], or --shape), or " + WRAP,
    )


def open_program(path: Path, shape: tuple[int, ...]) -> Any:
    """A `.pt2` file, or a pickled module (`.pt`, `.pth`): only where pickles may be opened."""
    torch = _torch()
    if path.suffix.lower() == ".pt2":
        with _quiet():
            return torch.export.load(path)
    model = torch.load(path, map_location="cpu", weights_only=False)
    if not is_module(model):
        raise RegistryError(
            f"{path.name} holds a {type(model).__name__}, not a module: weights alone do not say what is computed",
            str(path),
            "load them into the module, then torch.export.save it as .pt2",
        )
    return exported(model, shape)


def to_onnx(program: Any) -> bytes:
    """PyTorch's ONNX graph of the program: input [n, ...] and one answer, both float32 (or whole numbers in)."""
    torch = _torch()
    if len(program.graph_signature.user_inputs) != 1 or len(program.graph_signature.user_outputs) != 1:
        raise Unconvertible(
            f"the network has {len(program.graph_signature.user_inputs)} inputs and "
            f"{len(program.graph_signature.user_outputs)} outputs",
            "PyTorch program",
            WRAP,
        )
    try:
        with _quiet():
            found = torch.onnx.export(
                program, dynamo=True, verbose=False, external_data=False, input_names=[INPUT], output_names=[ANSWER]
            )
    except ModuleNotFoundError:
        raise MissingExtra("torch", "converting a PyTorch model") from None
    except Exception as bad:  # noqa: BLE001 - the exporter has no base class of errors
        said = str(bad).strip().splitlines()
        raise Unconvertible(
            f"PyTorch has no ONNX form for this network: {said[0][:300] if said else type(bad).__name__}",
            "PyTorch program",
            "replace the operation that it names, or build it as a Python release (--python)",
        ) from None
    model = found.model_proto
    # What the exporter tells of source files and Python classes differs from checkout to checkout.
    del model.metadata_props[:], model.graph.metadata_props[:]
    model.graph.doc_string = model.doc_string = ""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    del model.graph.value_info[:]
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def answers(program: Any, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the program itself says to rows [n, columns], on one thread."""
    torch = _torch()
    example = next(n for n in program.graph.nodes if n.name == program.graph_signature.user_inputs[0]).meta["val"]
    module = program.module()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    parts = []
    try:
        with torch.no_grad():
            for start in range(0, len(rows), BLOCK):
                part = torch.from_numpy(np.ascontiguousarray(rows[start : start + BLOCK]))
                given = part.reshape(len(part), *example.shape[1:]).to(example.dtype)
                parts.append(module(given).reshape(len(part), -1).to(torch.float64).numpy())
    finally:
        torch.set_num_threads(threads)
    return np.concatenate(parts)


def saved(program: Any) -> bytes:
    """The program as the bytes of a `.pt2` file."""
    written = io.BytesIO()
    with _quiet():
        _torch().export.save(program, written)
    return written.getvalue()


def _placeless(program: Any) -> Any:
    """Without the places in source files at which its operations were called."""
    for module in program.graph_module.modules():
        if hasattr(module, "graph"):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own internals."""
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _torch() -> Any:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import torch
    except ImportError as problem:
        raise MissingExtra("torch", "a PyTorch model") from problem
    return torch
