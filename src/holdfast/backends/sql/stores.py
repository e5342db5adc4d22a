"""One small store per noun, each on the connection of the running transaction (`core.ports` has the contracts)."""

from __future__ import annotations

import difflib
import time
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from holdfast.backends.sql import tables as t
from holdfast.core.access import AccessKey
from holdfast.core.alarm import Alarm
from holdfast.core.deployment import Deployment, Plan
from holdfast.core.event import GENESIS, Event, link
from holdfast.core.ports import StoredLabel
from holdfast.core.window import Stream, Window, merge
from holdfast.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from holdfast.core.prediction import Label

GENERATION = "plan/generation"
CHUNK = 500


def _chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


class _Store:
    def __init__(self, connection: sa.Connection) -> None:
        self._db = connection


class Cursors(_Store):
    """How far something has read."""

    def get(self, name: str) -> int:
        """0 when never set."""
        return self._db.execute(sa.select(t.cursors.c.value).where(t.cursors.c.name == name)).scalar() or 0

    def set(self, name: str, value: int) -> None:
        """Remember."""
        changed = self._db.execute(t.cursors.update().where(t.cursors.c.name == name).values(value=value))
        if not changed.rowcount:
            self._db.execute(t.cursors.insert().values(name=name, value=value))

    def all(self, prefix: str) -> dict[str, int]:
        """Every cursor whose name begins so."""
        rows = self._db.execute(sa.select(t.cursors).where(t.cursors.c.name.startswith(prefix, autoescape=True)))
        return {row.name: row.value for row in rows}

    def delete(self, name: str) -> None:
        """Forget."""
        self._db.execute(t.cursors.delete().where(t.cursors.c.name == name))


class Deployments(_Store):
    """State of every deployment."""

    def get(self, name: str) -> Deployment:
        """The deployment of that name."""
        state = self._db.execute(sa.select(t.deployments.c.state).where(t.deployments.c.name == name)).scalar()
        if state is None:
            known = [d.name for d in self.all()]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"holdfast deploy RELEASE --as {name}"
            raise NotFound(f"no deployment '{name}'", f"there are: {', '.join(known) or 'none yet'}", hint)
        return msgspec.json.decode(state, type=Deployment)

    def all(self) -> list[Deployment]:
        """By name."""
        rows = self._db.execute(sa.select(t.deployments.c.state).order_by(t.deployments.c.name))
        return [msgspec.json.decode(row.state, type=Deployment) for row in rows]

    def save(self, deployment: Deployment) -> int:
        """Write it and count the generation up."""
        state = msgspec.json.encode(deployment)
        where = t.deployments.c.name == deployment.name
        if not self._db.execute(t.deployments.update().where(where).values(state=state)).rowcount:
            self._db.execute(t.deployments.insert().values(name=deployment.name, state=state))
        return self._next_generation()

    def delete(self, name: str) -> int:
        """Take it out of the plan; its log, windows and trail stay."""
        self.get(name)
        self._db.execute(t.deployments.delete().where(t.deployments.c.name == name))
        return self._next_generation()

    def plan(self) -> Plan:
        """What workers follow."""
        every = self.all()
        return Plan(
            Cursors(self._db).get(GENERATION), {d.name: d.routes for d in every}, {d.name: d.salt for d in every}
        )

    def _next_generation(self) -> int:
        cursors = Cursors(self._db)
        generation = cursors.get(GENERATION) + 1
        cursors.set(GENERATION, generation)
        return generation


class Windows(_Store):
    """Mergeable counts."""

    def add(self, windows: Sequence[Window]) -> None:
        """Merge into what is there: one query and two writes for each release and stream."""
        groups: dict[tuple[str, str, Stream], list[Window]] = {}
        for window in windows:
            groups.setdefault((window.deployment, window.release, window.stream), []).append(window)
        for name, members in groups.items():
            there = self._there(name, sorted({w.number for w in members}))
            known = set(there)
            for window in members:
                place = (window.track, window.number)
                there[place] = merge(there[place], window) if place in there else window
            touched = {(w.track, w.number) for w in members}
            if old := [_window_values(there[place], "b_") for place in touched & known]:
                self._db.execute(_REWRITE, old)
            if new := [_window_values(there[place]) for place in touched - known]:
                self._db.execute(t.windows.insert(), new)

    def _there(self, name: tuple[str, str, Stream], numbers: Sequence[int]) -> dict[tuple[str, int], Window]:
        c = t.windows.c
        found: dict[tuple[str, int], Window] = {}
        for chunk in _chunks(numbers):
            query = sa.select(t.windows).where(
                c.deployment == name[0], c.release == name[1], c.stream == name[2], c.number.in_(chunk)
            )
            found |= {(row.track, row.number): _window(row) for row in self._db.execute(query)}
        return found

    def read(
        self, deployment: str, release: str, stream: Stream, *, after: int | None = None, track: str | None = None
    ) -> list[Window]:
        """In order of number, then track."""
        c = t.windows.c
        query = sa.select(t.windows).where(c.deployment == deployment, c.release == release, c.stream == stream)
        if after is not None:
            query = query.where(c.number > after)
        if track is not None:
            query = query.where(c.track == track)
        return [_window(row) for row in self._db.execute(query.order_by(c.number, c.track))]

    def delete_before(self, deployment: str, event_time: int) -> int:
        """Forget windows that ended before that time; returns how many."""
        c = t.windows.c
        gone = self._db.execute(t.windows.delete().where(c.deployment == deployment, c.end < event_time))
        return gone.rowcount


_KEYS = ("deployment", "release", "track", "stream", "number")
_REWRITE = (
    t.windows.update()
    .where(*(t.windows.c[key] == sa.bindparam(f"b_{key}") for key in _KEYS))
    .values({c.name: sa.bindparam(f"b_{c.name}") for c in t.windows.c if c.name not in _KEYS})
)


def _window_values(window: Window, prefix: str = "") -> dict[str, Any]:
    values = {**msgspec.structs.asdict(window), "sums": msgspec.msgpack.encode(window.sums)}
    return {prefix + name: value for name, value in values.items()}


def _window(row: Any) -> Window:
    return Window(**{**row._mapping, "sums": msgspec.msgpack.decode(row.sums)})  # noqa: SLF001 - SQLAlchemy's public name


class Labels(_Store):
    """Labels as they came, versioned per prediction id or key."""

    def add(self, deployment: str, labels: Sequence[Label], *, received: int, clock: int) -> dict[str, int]:
        """The same value again is a no-op, a new value a new version that waits to be joined."""
        told = {"new": 0, "same": 0, "corrected": 0}
        newest = self._newest(deployment, labels)
        rows: list[dict[str, Any]] = []
        for label in labels:
            value = msgspec.json.encode(label.value).decode()
            name = (label.prediction_id, None if label.prediction_id else label.key)
            before = newest.get(name)
            if before and before[0] == value:
                told["same"] += 1
                continue
            told["corrected" if before else "new"] += 1
            version = before[1] + 1 if before else 1
            newest[name] = (value, version)
            rows.append(
                {
                    "deployment": deployment,
                    "prediction_id": name[0],
                    "key": name[1],
                    "value": value,
                    "observed_at": clock if label.observed_at is None else label.observed_at,
                    "received": received,
                    "version": version,
                    "newest": True,
                    "joined": False,
                }
            )
        self._insert(deployment, rows)
        return told

    def _newest(self, deployment: str, labels: Sequence[Label]) -> dict[tuple[str | None, str | None], tuple[str, int]]:
        """Value and version that stand now, by (prediction id, key)."""
        c = t.labels.c
        found: dict[tuple[str | None, str | None], tuple[str, int]] = {}
        ids = [label.prediction_id for label in labels if label.prediction_id]
        keys = [label.key for label in labels if not label.prediction_id]
        for column, names in ((c.prediction_id, ids), (c.key, keys)):
            for chunk in _chunks(names):
                query = sa.select(c.prediction_id, c.key, c.value, c.version).where(
                    c.deployment == deployment, c.newest, column.in_(chunk)
                )
                found |= {(r.prediction_id, r.key): (r.value, r.version) for r in self._db.execute(query)}
        return found

    def _insert(self, deployment: str, rows: list[dict[str, Any]]) -> None:
        c = t.labels.c
        if first := [row for row in rows if row["version"] == 1]:
            self._db.execute(t.labels.insert(), first)
        for row in rows:
            if row["version"] > 1:
                same = c.prediction_id == row["prediction_id"] if row["prediction_id"] else c.key == row["key"]
                self._db.execute(t.labels.update().where(c.deployment == deployment, same).values(newest=False))
                self._db.execute(t.labels.insert().values(**row))

    def waiting(self, deployment: str, limit: int, after: int = 0) -> list[StoredLabel]:
        """Not joined yet, in arrival order; those with an id above `after`."""
        c = t.labels.c
        query = sa.select(t.labels).where(c.deployment == deployment, sa.not_(c.joined), c.id > after)
        return [_label(row) for row in self._db.execute(query.order_by(c.id).limit(limit))]

    def mark_joined(self, ids: Sequence[int]) -> None:
        """Their predictions were found."""
        for chunk in _chunks(ids):
            self._db.execute(t.labels.update().where(t.labels.c.id.in_(chunk)).values(joined=True))

    def earlier(self, label: StoredLabel) -> StoredLabel | None:
        """The version before, if this one corrects it."""
        c = t.labels.c
        same = c.prediction_id == label.prediction_id if label.prediction_id else c.key == label.key
        row = self._db.execute(
            sa.select(t.labels).where(c.deployment == label.deployment, same, c.version == label.version - 1)
        ).first()
        return _label(row) if row else None

    def latest(self, deployment: str) -> list[StoredLabel]:
        """The newest version of every joined label."""
        c = t.labels.c
        query = sa.select(t.labels).where(c.deployment == deployment, c.newest, c.joined).order_by(c.id)
        return [_label(row) for row in self._db.execute(query)]

    def summary(self, deployment: str) -> dict[str, int]:
        """How many are kept, joined and waiting (newest versions only)."""
        c = t.labels.c
        query = sa.select(c.joined, sa.func.count()).where(c.deployment == deployment, c.newest).group_by(c.joined)
        counted = {bool(joined): number for joined, number in self._db.execute(query)}
        joined, waiting = counted.get(True, 0), counted.get(False, 0)
        return {"received": joined + waiting, "joined": joined, "waiting": waiting}


def _label(row: Any) -> StoredLabel:
    values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name
    del values["newest"]
    return StoredLabel(**values)


class Alarms(_Store):
    """Alarms, open and closed."""

    def save(self, alarm: Alarm) -> None:
        """Write or rewrite it."""
        values = {
            "deployment": alarm.deployment,
            "opened": alarm.opened,
            "open": alarm.open,
            "body": msgspec.json.encode(alarm),
        }
        if not self._db.execute(t.alarms.update().where(t.alarms.c.id == alarm.id).values(**values)).rowcount:
            self._db.execute(t.alarms.insert().values(id=alarm.id, **values))

    def get(self, alarm_id: str) -> Alarm:
        """The alarm of that id."""
        body = self._db.execute(sa.select(t.alarms.c.body).where(t.alarms.c.id == alarm_id)).scalar()
        if body is None:
            raise NotFound(f"no alarm '{alarm_id}'", next_step="holdfast alarms")
        return msgspec.json.decode(body, type=Alarm)

    def find(self, deployment: str | None = None, *, only_open: bool = False) -> list[Alarm]:
        """Oldest first."""
        query = sa.select(t.alarms.c.body).order_by(t.alarms.c.opened, t.alarms.c.id)
        if deployment is not None:
            query = query.where(t.alarms.c.deployment == deployment)
        if only_open:
            query = query.where(t.alarms.c.open)
        return [msgspec.json.decode(row.body, type=Alarm) for row in self._db.execute(query)]


class Monitors(_Store):
    """State of the monitors between looks, and the evidence series."""

    def load(self, deployment: str, release: str) -> bytes | None:
        """None before the first look."""
        c = t.monitors.c
        query = sa.select(c.state).where(c.deployment == deployment, c.release == release)
        state: bytes | None = self._db.execute(query).scalar()
        return state

    def save(self, deployment: str, release: str, state: bytes) -> None:
        """Write or rewrite it."""
        c = t.monitors.c
        where = sa.and_(c.deployment == deployment, c.release == release)
        if not self._db.execute(t.monitors.update().where(where).values(state=state)).rowcount:
            self._db.execute(t.monitors.insert().values(deployment=deployment, release=release, state=state))

    def record(self, deployment: str, release: str, points: Sequence[Mapping[str, Any]]) -> None:
        """Append to the evidence series."""
        rows = [{"deployment": deployment, "release": release, "point": msgspec.msgpack.encode(p)} for p in points]
        if rows:
            self._db.execute(t.evidence.insert(), rows)

    def evidence(self, deployment: str, release: str) -> list[dict[str, Any]]:
        """The series, oldest first."""
        c = t.evidence.c
        query = sa.select(c.point).where(c.deployment == deployment, c.release == release).order_by(c.id)
        return [msgspec.msgpack.decode(row.point) for row in self._db.execute(query)]


class AccessKeys(_Store):
    """API keys, never deleted: the trail speaks of them."""

    def save(self, key: AccessKey) -> None:
        """Write or rewrite it."""
        state, where = msgspec.json.encode(key), t.access_keys.c.number == key.number
        if not self._db.execute(t.access_keys.update().where(where).values(state=state)).rowcount:
            self._db.execute(t.access_keys.insert().values(number=key.number, state=state))

    def all(self) -> list[AccessKey]:
        """Oldest first."""
        query = sa.select(t.access_keys.c.state).order_by(t.access_keys.c.number)
        return [msgspec.json.decode(row.state, type=AccessKey) for row in self._db.execute(query)]


class Trail(_Store):
    """The append-only hash chain."""

    def append(
        self,
        verb: str,
        *,
        at: int,
        deployment: str = "",
        release: str = "",
        actor: str = "",
        data: Mapping[str, Any] = {},
    ) -> Event:
        """Add one line."""
        last = self._db.execute(sa.select(t.trail.c.event).order_by(t.trail.c.number.desc()).limit(1)).scalar()
        previous = msgspec.json.decode(last, type=Event) if last else None
        event = link(
            previous.hash if previous else GENESIS,
            Event(
                number=previous.number + 1 if previous else 1,
                at=at,
                wall=time.time_ns() // 1000,
                actor=actor,
                verb=verb,
                deployment=deployment,
                release=release,
                data=dict(data),
            ),
        )
        self._db.execute(
            t.trail.insert().values(number=event.number, deployment=deployment, event=msgspec.json.encode(event))
        )
        return event

    def read(self, deployment: str | None = None) -> list[Event]:
        """Oldest first."""
        query = sa.select(t.trail.c.event).order_by(t.trail.c.number)
        if deployment is not None:
            query = query.where(t.trail.c.deployment == deployment)
        return [msgspec.json.decode(row.event, type=Event) for row in self._db.execute(query)]
