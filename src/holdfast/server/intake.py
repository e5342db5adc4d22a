"""Labels by the inference port: checked, then logged like everything else before the client hears that they were taken.

The keeper stores and joins them when it counts the log; a serving process needs no database for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from holdfast.columns.truths import decode_labels
from holdfast.core.contract import Contract
from holdfast.core.prediction import Labelled
from holdfast.predictions.log import Frame, framed
from holdfast.serve.records import labels_as_logged

__all__ = ["Intake"]

ACCEPTED = 202


class Intake:
    """Takes labels for a deployment: (name, body) -> status, answer, log frames.

    Args:
        contract_of: the contract of a deployment's live release; raises NotFound.
        clock: the deployment clock for a wall clock, both in microseconds UTC.
        max_rows: most labels in one request.
        hash_key: of this workspace, for keys that the log keeps as hashes.
    """

    def __init__(
        self,
        contract_of: Callable[[str], Contract],
        clock: Callable[[str, int], int],
        *,
        max_rows: int,
        hash_key: bytes,
    ) -> None:
        self._contract_of = contract_of
        self._clock = clock
        self._max_rows = max_rows
        self._hash_key = hash_key

    def __call__(self, name: str, body: bytes) -> tuple[int, dict[str, Any], list[Frame]]:
        """202 says that they are safe; whether their predictions are known, `status` says after the keeper's next pass."""
        from holdfast.predictions.labels import check  # with the first label, not at start: it brings the statistics

        contract = self._contract_of(name)
        labels = decode_labels(body, contract, self._max_rows)
        check(contract, labels)
        labels = labels_as_logged(labels, contract, self._hash_key)
        received = time.time_ns() // 1000
        return (
            ACCEPTED,
            {"accepted": len(labels)},
            [framed(Labelled(name, received, self._clock(name, received), labels))],
        )
