"""What the log keeps of an answered request: column-wise, and only what the contract's privacy marks allow.

`drop` leaves a field out. `hash` keeps HMAC-SHA256 under a key of this workspace, cut to 16 hex digits: equal values can still
be counted, but not be guessed without the key. The key column follows the same rule, wherever it stands.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from holdfast.access import secret_file
from holdfast.columns.times import NO_TIME
from holdfast.core.contract import Contract
from holdfast.core.prediction import Label, Prediction
from holdfast.serve.answers import Answered

__all__ = ["hash_key", "hashed", "labels_as_logged", "record"]

DIGITS: Final = 16
KEY_FILE: Final = "hash.key"


def record(answered: Answered, *, received: int, clock: int, latency_us: int, hash_key: bytes) -> Prediction:
    """The log's record of an answered batch."""
    batch, release = answered.batch, answered.route.release
    kept = release.kept(batch.names)
    numbers = batch.given if kept.rows is None else batch.numbers[kept.rows]
    columns: dict[str, list[str | None]] = {}
    if batch.texts:
        columns = {n: v.tolist() for n, v in batch.texts.items() if n in kept.texts}
    if kept.hashed:
        table = batch.table
        columns |= {name: hashed(table[name].tolist(), hash_key) for name in kept.hashed if name in table}
    outputs: dict[str, bytes | list[str]] = {answered.name: answered.numbers.tobytes()}
    if answered.labels is not None:
        outputs["label"] = answered.labels
    return Prediction(
        request=answered.request,
        deployment=answered.deployment,
        release=release.digest,
        track=answered.route.track,
        received=received,
        clock=clock,
        latency_us=latency_us,
        client_id=answered.client_id,
        rows=batch.rows,
        times=None if batch.times is None else _times(batch.times, clock),
        keys=None if batch.keys is None else _keys(batch.keys, release.key_policy, hash_key),
        columns=columns,
        outputs=outputs,
        names=kept.names,
        numbers=numbers if isinstance(numbers, bytes) else numbers.tobytes(),
    )


def hash_key(keys: Path) -> bytes:
    """The workspace's key for hashes, made on first use. Whoever loses it can count no longer, only store."""
    return secret_file(keys / KEY_FILE)


def hashed(values: Sequence[Any], key: bytes) -> list[str | None]:
    """Each value's keyed hash; None stays None."""
    return [
        None if v is None or v != v else hmac.digest(key, str(v).encode(), hashlib.sha256).hex()[:DIGITS]  # noqa: PLR0124 - NaN
        for v in values
    ]


def labels_as_logged(labels: Sequence[Label], contract: Contract, key: bytes) -> list[Label]:
    """The same labels, their keys as the log has them: else none would find its prediction."""
    if contract.key is None or contract.key.logged != "hash":
        return list(labels)
    return [msgspec.structs.replace(label, key=hashed([label.key], key)[0]) for label in labels]


def _times(given: NDArray[np.int64], clock: int) -> list[int]:
    """Event times; a row without one counts as of now."""
    times: list[int] = given.tolist()
    return [clock if t == NO_TIME else t for t in times] if NO_TIME in times else times


def _keys(keys: list[str | None], policy: str, hash_key: bytes) -> list[str | None] | None:
    if policy == "drop":
        return None
    return hashed(keys, hash_key) if policy == "hash" else keys
