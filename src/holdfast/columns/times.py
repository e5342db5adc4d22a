"""Event times: ISO 8601 text or datetime64, to microseconds since 1970 UTC. A time without a zone is read in the contract's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import InvalidInput, UsageError

__all__ = ["NO_TIME", "from_datetimes", "from_text", "iso_texts", "parse_time", "time_zone"]

NO_TIME: Final = int(np.iinfo(np.int64).min)
"""A missing time."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_NEXT: Final = "write ISO 8601, such as 2026-03-01T12:00:00Z"


@lru_cache(maxsize=64)
def time_zone(name: str) -> tzinfo:
    """The time zone of that name in the IANA data base."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # for few

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # absent, not a name at all, a folder of the data base
        raise UsageError(
            f"no time zone '{name}'", "timezone in the contract", "use a name like Europe/Berlin"
        ) from None


def parse_time(text: str, zone: tzinfo) -> int:
    """One time; raises ValueError, TypeError or OverflowError for what is none."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return (moment - _EPOCH) // _MICROSECOND


def from_text(texts: Sequence[str | None], zone: tzinfo, field: str) -> NDArray[np.int64]:
    """Parse each text, `NO_TIME` for None; an unreadable one is refused with its row."""
    found = []
    for row, text in enumerate(texts):
        try:
            found.append(NO_TIME if text is None else parse_time(text, zone))
        except (ValueError, TypeError, OverflowError):
            raise InvalidInput(f"'{str(text)[:40]}' is not a time", next_step=_NEXT, row=row, field=field) from None
    return np.array(found, dtype=np.int64)


def from_datetimes(values: NDArray[Any], zone: tzinfo) -> NDArray[np.int64]:
    """Naive datetime64 values, read in `zone`; NaT, whose integer that is, becomes `NO_TIME`."""
    exact = values.astype("datetime64[us]")
    if zone is UTC:
        return exact.astype(np.int64)
    # Whoever stands outside the years that Python's datetime has is left as it is: no zone has rules there.
    plain = [m.replace(tzinfo=zone) if isinstance(m, datetime) else None for m in exact.tolist()]
    found = [NO_TIME if m is None else (m - _EPOCH) // _MICROSECOND for m in plain]
    inside = np.array([m is not None for m in plain], dtype=np.bool_)
    return np.where(inside, np.array(found, dtype=np.int64), exact.astype(np.int64))


def iso_texts(values: NDArray[Any]) -> NDArray[Any]:
    """datetime64 values as ISO texts, None where missing; whole seconds without a fraction."""
    exact = values.astype("datetime64[us]")
    seconds = exact.astype("datetime64[s]")
    whole = bool(((seconds == exact) | np.isnat(exact)).all())
    texts = np.datetime_as_string(seconds if whole else exact).astype(object)
    texts[np.isnat(exact)] = None
    return texts
