import os
import queue
from pathlib import Path

import pytest
from tests.unit.predictions.records import T0, prediction

from holdfast.errors import LogFull, ServeError
from holdfast.predictions.journal import Journal
from holdfast.predictions.log import Frame, Writer, encode, finished, read, segments


def frames(*datas):
    return [Frame(data, prediction([T0])) for data in datas]


class Pages:
    """Remembers in order what is appended and what is synced."""

    def __init__(self, *, failing: Exception | None = None):
        self.done: list[str] = []
        self.failing = failing
        self.sync_fails = False

    def append(self, frames):
        if self.failing:
            raise self.failing
        self.done.append(f"append {b''.join(frames).decode()}")

    def unsynced(self):
        fails = self.sync_fails

        def sync():
            self.done.append("sync")
            if fails:
                raise OSError(5, "input/output error")

        return sync

    def leave(self):
        self.done.append("leave")

    def close(self):
        self.done.append("close")


class Loop:
    """An event loop that turns when the test says so."""

    def __init__(self):
        self.calls: queue.Queue = queue.Queue()

    def back(self, function, *args):
        self.calls.put((function, args))

    def turn(self):
        function, args = self.calls.get(timeout=10)
        function(*args)


def test_a_process_journal_says_so_at_once():
    pages, told = Pages(), []
    journal = Journal(pages)
    journal.commit(frames(b"a", b"b"), told.append)
    journal.commit([], told.append)
    assert told == [None, None]
    assert pages.done == ["append ab"]
    journal.close()
    assert pages.done[-1] == "close"


def test_a_machine_journal_says_so_after_the_disk_and_ticks_share_a_sync():
    pages, loop, told = Pages(), Loop(), []
    journal = Journal(pages, back=loop.back)
    for name in (b"a", b"b", b"c"):
        journal.commit(frames(name), lambda bad, name=name: told.append((name, bad)))
    journal.commit([], lambda bad: told.append(("no frames", bad)))
    assert told == []
    loop.turn()
    assert told == [(b"a", None)]
    loop.turn()
    assert told == [(b"a", None), (b"b", None), (b"c", None), ("no frames", None)]
    assert pages.done == ["append a", "append b", "append c", "sync", "sync"] or pages.done[1] == "sync"
    journal.commit([], lambda bad: told.append(("at once", bad)))
    assert told[-1] == ("at once", None)
    journal.close()
    assert pages.done[-2:] == ["sync", "close"]


def test_what_the_disk_did_not_take_is_not_answered_and_its_file_left():
    pages, loop, told = Pages(), Loop(), []
    pages.sync_fails = True
    journal = Journal(pages, back=loop.back)
    journal.commit(frames(b"a"), told.append)
    loop.turn()
    assert isinstance(told[0], ServeError)
    assert "did not reach the disk" in str(told[0])
    assert pages.done[-1] == "leave"
    journal.close()


@pytest.mark.parametrize(
    ("failing", "serve", "answered", "unlogged", "refused", "full"),
    [
        (LogFull("full", fitted=1), False, False, 0, 3, True),
        (LogFull("full", fitted=1), True, True, 2, 0, True),
        (ServeError("permission denied"), True, False, 0, 3, False),
        (OSError("anything"), True, False, 0, 3, False),
    ],
)
def test_a_full_disk_follows_the_policy_and_other_troubles_do_not(failing, serve, answered, unlogged, refused, full):
    told, states = [], []
    journal = Journal(
        Pages(failing=failing),
        serve_when_full=serve,
        appended=lambda _, counts: states.append((counts.unlogged, counts.refused, counts.full)),
    )
    journal.commit(frames(b"a", b"b", b"c"), told.append)
    assert (told[0] is None) == answered
    assert states == [(unlogged, refused, full)]


def test_a_segment_belongs_to_its_writer_until_the_disk_has_it(tmp_path: Path):
    writer = Writer(tmp_path, "w0", segment_bytes=1, durable=True)
    for i in range(3):
        writer.append([encode(prediction([T0 + i]))])
    sync = writer.unsynced()
    first, second, third = segments(tmp_path)
    for segment in (first, second, third):
        with finished(segment) as done:
            assert not done
    sync()
    for segment in (first, second):
        with finished(segment) as done:
            assert done
    writer.close()
    assert [len(read(s, complete=True).entries) for s in segments(tmp_path)] == [1, 1, 1]


def test_how_much_of_a_short_write_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    whole = [encode(prediction([T0 + i])) for i in range(3)]
    monkeypatch.setattr(os, "write", lambda fd, data, real=os.write: real(fd, data[: len(whole[0]) + 3]))
    with pytest.raises(LogFull) as full:
        writer.append(whole)
    assert full.value.fitted == 1
    assert "no space" in str(full.value)
