"""The stores' promises (core/ports.py), over every database that there is."""

from __future__ import annotations

import threading

import pytest

from holdfast.backends.sql import SqlDatabase
from holdfast.core.alarm import Alarm
from holdfast.core.deployment import Deployment
from holdfast.core.prediction import Label
from holdfast.core.window import Window
from holdfast.errors import NotFound, WorkspaceError
from holdfast.stats.counts import Counts, fit_spec
from holdfast.testing import MemoryDatabase
from holdfast.trail import broken_at


@pytest.fixture(params=["memory", "sqlite"], name="database")
def each_database(request, tmp_path):
    database = MemoryDatabase() if request.param == "memory" else SqlDatabase(f"sqlite:///{tmp_path / 'state.db'}")
    yield database
    database.close()


def window(number, values, **other):
    import numpy as np

    spec = fit_spec("x", np.arange(100.0), "input")
    counts = Counts.of([spec], {"x": np.array(values, dtype=float)})
    fields = {
        "deployment": "p",
        "release": "r",
        "track": "live",
        "stream": "windows",
        "number": number,
        "start": number * 10,
        "end": number * 10 + 9,
        "rows": len(values),
        "counts": counts.to_bytes(),
        "sums": {"n": float(len(values))},
    }
    return Window(**fields | other)


def test_a_failed_transaction_leaves_nothing(database):
    def fail():
        with database.begin() as stores:
            stores.deployments.save(Deployment(name="p", live="r", since=0))
            stores.cursors.set("c", 3)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.begin() as stores:
        assert stores.deployments.all() == []
        assert stores.cursors.get("c") == 0


def test_each_save_is_a_new_generation_and_the_plan_follows(database):
    with database.begin() as stores:
        first = stores.deployments.save(Deployment(name="p", live="r", since=0))
        second = stores.deployments.save(Deployment(name="q", live="s", since=0))
        plan = stores.deployments.plan()
        assert (second, plan.generation) == (first + 1, second)
        assert {n: [r.release for r in routes] for n, routes in plan.deployments.items()} == {"p": ["r"], "q": ["s"]}
        assert stores.deployments.delete("p") == second + 1
        with pytest.raises(NotFound, match="q"):
            stores.deployments.get("p")


def test_windows_merge_and_a_correction_takes_away_again(database):
    whole = window(3, [1, 2, 3, 4, 5])
    with database.begin() as stores:
        stores.windows.add([window(3, [1, 2]), window(3, [3, 4, 5]), window(4, [6], track="canary")])
        assert stores.windows.read("p", "r", "windows", after=2, track="live") == [whole]
        assert [w.number for w in stores.windows.read("p", "r", "windows")] == [3, 4]
        taken = Counts.from_bytes(window(3, [3, 4, 5]).counts)
        undo = Counts(-3, {n: -v for n, v in taken.columns.items()}).to_bytes()
        stores.windows.add([window(3, [3, 4, 5], rows=-3, counts=undo, sums={"n": -3.0})])
        (left,) = stores.windows.read("p", "r", "windows", track="live")
        assert (left.rows, left.counts, left.sums) == (2, window(3, [1, 2]).counts, {"n": 2.0})
        assert stores.windows.delete_before("p", 40) == 1


def test_labels_are_idempotent_and_corrections_are_versions(database):
    with database.begin() as stores:
        told = stores.labels.add(
            "p", [Label(value=1.0, prediction_id="a-0"), Label(value=2.0, key="k")], received=1, clock=5
        )
        assert told == {"new": 2, "same": 0, "corrected": 0}
        again = [Label(value=1.0, prediction_id="a-0"), Label(value=3.0, key="k"), Label(value=4.0, key="k")]
        assert stores.labels.add("p", again, received=2, clock=6) == {"new": 0, "same": 1, "corrected": 2}
        waiting = stores.labels.waiting("p", 10)
        assert [(w.prediction_id, w.key, w.value, w.version, w.observed_at) for w in waiting] == [
            ("a-0", None, "1.0", 1, 5),
            (None, "k", "2.0", 1, 5),
            (None, "k", "3.0", 2, 6),
            (None, "k", "4.0", 3, 6),
        ]
        assert stores.labels.earlier(waiting[3]) == waiting[2]
        assert stores.labels.earlier(waiting[0]) is None
        stores.labels.mark_joined([w.id for w in waiting])
        assert stores.labels.waiting("p", 10) == []
        assert [w.value for w in stores.labels.latest("p")] == ["1.0", "4.0"]
        assert stores.labels.summary("p") == {"received": 2, "joined": 2, "waiting": 0}


def test_a_label_and_its_correction_may_come_together(database):
    with database.begin() as stores:
        both = [Label(value=1.0, prediction_id="a-0"), Label(value=2.0, prediction_id="a-0")]
        assert stores.labels.add("p", both, received=1, clock=5) == {"new": 1, "same": 0, "corrected": 1}
        assert [w.version for w in stores.labels.waiting("p", 10)] == [1, 2]
        assert stores.labels.summary("p")["received"] == 1


def test_alarms_are_kept_and_found(database):
    one = Alarm(
        id="p-1", deployment="p", release="r", opened=1, monitors=("x:m",), columns=("x",), evidence=1.0, threshold=""
    )
    with database.begin() as stores:
        stores.alarms.save(one)
        stores.alarms.save(Alarm(**{**{f: getattr(one, f) for f in one.__struct_fields__}, "id": "p-2", "closed": 9}))
        assert [a.id for a in stores.alarms.find("p")] == ["p-1", "p-2"]
        assert stores.alarms.find("p", only_open=True) == [one]
        assert stores.alarms.get("p-1") == one
        with pytest.raises(NotFound):
            stores.alarms.get("p-9")


def test_the_trail_is_a_whole_chain(database):
    with database.begin() as stores:
        for i in range(5):
            stores.trail.append("deploy", at=i, deployment="p" if i % 2 else "q", release="r", data={"i": i})
    with database.begin() as stores:
        assert broken_at(stores.trail.read()) is None
        assert [e.data["i"] for e in stores.trail.read("p")] == [1, 3]


def test_cursors_by_prefix(database):
    with database.begin() as stores:
        for name in ("log/a", "log/b_c", "lo%g"):
            stores.cursors.set(name, 7)
        assert stores.cursors.all("log/") == {"log/a": 7, "log/b_c": 7}
        assert stores.cursors.all("lo%") == {"lo%g": 7}
        stores.cursors.delete("log/a")
        assert stores.cursors.get("log/a") == 0


def test_writers_wait_for_each_other_and_no_count_is_lost(tmp_path):
    databases = [SqlDatabase(f"sqlite:///{tmp_path / 'state.db'}") for _ in range(4)]

    def work(database):
        for _ in range(25):
            with database.begin() as stores:
                stores.cursors.set("n", stores.cursors.get("n") + 1)

    threads = [threading.Thread(target=work, args=(d,)) for d in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with databases[0].begin() as stores:
        assert stores.cursors.get("n") == 100
    for database in databases:
        database.close()


def test_a_database_from_a_newer_version_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path / 'state.db'}"
    first = SqlDatabase(url)
    with first._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    first.close()
    with pytest.raises(WorkspaceError, match="newer Holdfast"):
        SqlDatabase(url)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "state.db").write_bytes(b"not a database at all, but long enough to be read as a header..." * 20)
    with pytest.raises(WorkspaceError, match="cannot be used"):
        SqlDatabase(f"sqlite:///{tmp_path / 'state.db'}")


def test_who_reads_waits_for_nobody_and_sees_what_is_committed(tmp_path):
    one, other = (SqlDatabase(f"sqlite:///{tmp_path / 'state.db'}") for _ in range(2))
    with one.begin() as writing:
        writing.cursors.set("c", 1)
        with other.read() as reading:
            assert reading.cursors.get("c") == 0
    with other.read() as reading:
        assert reading.cursors.get("c") == 1
        with one.begin(durable=False) as writing:
            writing.cursors.set("c", 2)
        assert reading.cursors.get("c") == 1, "what was there when it first looked"
    one.sync()
    with other.read() as reading:
        assert reading.cursors.get("c") == 2
    one.close()
    other.close()


def test_who_writes_gets_in_between_the_transactions_of_a_busy_one(tmp_path, monkeypatch):
    busy, other = (SqlDatabase(f"sqlite:///{tmp_path / 'state.db'}") for _ in range(2))
    over = threading.Event()

    def keep_writing():
        while not over.is_set():
            with busy.begin(durable=False) as stores:
                stores.cursors.set("busy", stores.cursors.get("busy") + 1)
                over.wait(0.05)
            over.wait(0.02)

    thread = threading.Thread(target=keep_writing)
    thread.start()
    for n in range(5):
        with other.begin() as stores:
            stores.cursors.set("other", n)
    over.set()
    thread.join()
    with other.read() as stores:
        assert stores.cursors.get("other") == 4
        assert stores.cursors.get("busy") < 100, "not starved"

    monkeypatch.setattr("holdfast.backends.sql.database.BUSY_SECONDS", 0.05)
    with busy.begin(), pytest.raises(WorkspaceError, match="locked"), other.begin():
        pass
    with other.begin() as stores:
        assert stores.cursors.get("other") == 4
    busy.close()
    other.close()
