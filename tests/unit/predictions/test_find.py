import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unit.predictions.records import CONTRACT, DAY, RELEASE, T0, prediction, profile

from holdfast.backends.duckdb import DuckTables
from holdfast.cli import cli
from holdfast.core.prediction import Refusal
from holdfast.errors import NotFound, UsageError
from holdfast.predictions.archive import archive
from holdfast.predictions.compact import count
from holdfast.predictions.find import Finder
from holdfast.predictions.log import Writer, encode, segments
from holdfast.predictions.search import containing, places, record_at
from holdfast.predictions.windows import recipe
from holdfast.serve.records import hash_key, hashed
from holdfast.testing import MemoryDatabase
from holdfast.workspace import create_workspace

RECIPES = {RELEASE: recipe(CONTRACT, profile())}.get
TABLES = DuckTables(threads=1)


@pytest.fixture
def records(tmp_path: Path):
    """Three in the archive, of two deployments and two releases with other columns, and two in the tail."""
    log = tmp_path / ".holdfast" / "log"
    told = [
        prediction([T0, T0 + 1], keys=["a", "b"], client_id="mine", area=[1.0, 2.0]),
        prediction([T0 + 40 * DAY], keys=["a"], client_id="mine", clock=T0 + 40 * DAY),
        prediction([T0 + 2], deployment="other", release="b" * 64, columns={"else": ["x"]}, client_id="theirs"),
        prediction([T0 + 41 * DAY, T0 + 41 * DAY], keys=["b", "a"], clock=T0 + 41 * DAY),
        prediction([T0 + 42 * DAY], client_id="mine", clock=T0 + 42 * DAY),
    ]
    writer = Writer(log, "w0", segment_bytes=1)
    for record in told[:3]:
        writer.append([encode(record)])
    writer.close()
    database = MemoryDatabase()
    count(database, log, RECIPES, lateness_share=0.04)
    assert archive(database, log, TABLES, RECIPES) == 3
    Writer(log, "w1", segment_bytes=1 << 20).append([encode(record) for record in told[3:]])
    return told


@pytest.fixture
def find(tmp_path: Path):
    return lambda **over: Finder(tmp_path / ".holdfast" / "log", TABLES, RECIPES, **over)


def ids(found):
    return [one.row.id for one in found]


def test_by_any_id_wherever_it_stands(records, find):
    for record in records:
        for row in range(record.rows):
            (one,) = find().by_id(f"{record.request}-{row}")
            assert (one.deployment, one.row.id) == (record.deployment, f"{record.request}-{row}")
            assert one.row.event_time == record.times[row]
        assert set(ids(find().by_id(record.request))) == {f"{record.request}-{row}" for row in range(record.rows)}
    assert len(find().by_id("mine")) == 4
    assert find().by_id(f"{records[0].request}-2") == []
    assert find().by_id("nothing") == []


def test_a_row_reads_the_same_from_the_archive_and_the_tail(records, find):
    (archived,), (tail,) = find().by_id(f"{records[0].request}-0"), find().by_id(f"{records[3].request}-0")
    assert archived.row.inputs == {"area": 1.0, "kind": "flat"}
    assert archived.row.outputs == {"prediction": 0.5}
    assert tail.row.inputs.keys() == archived.row.inputs.keys()
    (foreign,) = find().by_id(records[2].request)
    assert foreign.row.inputs["else"] == "x", "a release that is not here: all that was logged"


def test_by_key_newest_first_and_since(records, find):
    times = [T0 + 41 * DAY, T0 + 40 * DAY, T0]
    assert [one.row.event_time for one in find().by_key(["a"])] == times
    assert [one.row.event_time for one in find(limit=2).by_key(["a", "a", "none"])] == times[:2]
    assert find().by_key(["none"]) == []
    assert [one.row.event_time for one in find().since(T0 + 40 * DAY)] == [
        T0 + 42 * DAY,
        T0 + 41 * DAY,
        T0 + 41 * DAY,
        T0 + 40 * DAY,
    ]
    assert [one.row.event_time for one in find(limit=1).since(0)] == [T0 + 42 * DAY]


def test_only_of_one_deployment(records, find):
    assert len(find(deployments=["other"]).since(0)) == 1
    assert find(deployments=["other"]).by_id("mine") == []
    assert find(deployments=["nobody"]).since(0) == []


def test_search_passes_over_damage(tmp_path: Path):
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    told = [prediction([T0 + i], client_id=f"client-{i}") for i in range(6)]
    frames = [encode(record) for record in told]
    writer.append([*frames[:3], frames[2][:-9], *frames[3:]])
    (segment,) = segments(tmp_path)
    for i, record in enumerate(told):
        found = list(containing(segment, f"client-{i}".encode()))
        assert record in found
        assert all(other == record for other in found)
    data = bytearray(segment.path.read_bytes())
    data[len(frames[0])] ^= 0xFF  # a length that leads nowhere
    segment.path.write_bytes(data)
    assert told[5] in containing(segment, b"client-5")
    assert list(containing(segment, b"client-1")) == []
    segment.path.unlink()
    assert list(containing(segment, b"client-1")) == []
    assert list(places(segment)) == []


def test_heads_are_found_wherever_their_frames_are(tmp_path: Path):
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    told = [prediction([T0 + 9 - i, T0 + i]) for i in range(5)]
    refusal = encode(Refusal(request="x", deployment="town", received=0, clock=0, code="c", field="", rows=1))
    writer.append([*map(encode, told[:2]), refusal, encode(told[2])[:-3], *map(encode, told[2:])])
    (segment,) = segments(tmp_path)
    found = list(places(segment))
    assert [record_at(place) for place in found] == told
    assert [place.newest for place in found] == [T0 + 9, T0 + 8, T0 + 7, T0 + 6, T0 + 5]
    segment.path.write_bytes(b"")
    assert list(places(segment)) == []
    assert record_at(found[0]) is None


class TestCommand:
    @pytest.fixture
    def run(self, tmp_path: Path, records):
        create_workspace(tmp_path)

        def run(*args: str):
            done = CliRunner().invoke(cli, ["-w", str(tmp_path), "predictions", "find", *args])
            if done.exception and not isinstance(done.exception, SystemExit):
                raise done.exception
            return done.stdout

        return run

    def test_one_in_full(self, run, records):
        told = run(f"{records[0].request}-0")
        assert "area" in told
        assert "2020-01-01" in told

    def test_several_as_a_table(self, run):
        assert len(run("mine").splitlines()) == 5
        assert len(run("--since", "2020-02-10", "--limit", "2").splitlines()) == 3

    def test_json(self, run, records):
        (told,) = json.loads(run(f"{records[0].request}-1", "--json"))
        assert (told["deployment"], told["key"], told["inputs"]["area"]) == ("town", "b", 2.0)
        assert json.loads(run("nothing", "--json")) == []

    def test_a_key_that_is_logged_as_a_hash(self, run, tmp_path: Path):
        (secret,) = hashed(["person"], hash_key(tmp_path / ".holdfast" / "keys"))
        Writer(tmp_path / ".holdfast" / "log", "w2", segment_bytes=1).append([encode(prediction([T0], keys=[secret]))])
        (told,) = json.loads(run("--key", "person", "--json"))
        assert told["key"] == secret

    def test_nothing_found_and_nothing_asked(self, run):
        with pytest.raises(NotFound):
            run("nothing")
        with pytest.raises(UsageError):
            run()
        with pytest.raises(UsageError):
            run("x", "--key", "y")
