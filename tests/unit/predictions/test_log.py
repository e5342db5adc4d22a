import os
from pathlib import Path

import pytest
from tests.unit.predictions.records import T0, prediction

from holdfast.core.prediction import Label, Labelled, Refusal
from holdfast.errors import ServeError
from holdfast.predictions.log import Writer, encode, finished, read, record_in, segments


def test_records_of_every_kind_come_back(tmp_path: Path):
    records = [
        prediction([T0, T0 + 1], keys=["a", None]),
        Refusal("r", "town", T0, T0, "HF300", "area", 1, "rel"),
        Labelled("town", T0, T0, [Label(value=2.0, key="a"), Label(value="yes", prediction_id="x-0", observed_at=T0)]),
    ]
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    writer.append([encode(r) for r in records])
    [segment] = segments(tmp_path)
    part = read(segment)
    assert [e.record for e in part.entries] == records
    assert part.end == segment.path.stat().st_size
    assert part.damaged == 0
    assert read(segment, part.end).entries == []
    second = part.entries[1]
    assert record_in(segment.path.read_bytes()[second.start : second.end]) == records[1]


def test_segments_roll_and_each_writer_has_its_own_folder(tmp_path: Path):
    writers = [Writer(tmp_path, "w0", segment_bytes=1) for _ in range(2)]
    for writer in (*writers, *writers):
        writer.append([encode(prediction([T0]))])
    found = segments(tmp_path)
    assert [s.number for s in found] == [1, 2, 1, 2]
    assert len({s.writer for s in found}) == 2
    for segment in found:
        with finished(segment) as done:
            assert done == (segment.number == 1)  # the one being written is locked
    writers[0].close()
    with finished(segments(tmp_path)[1]) as done:
        assert done


def test_a_torn_tail_is_left_while_live_and_cut_when_complete(tmp_path: Path):
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    whole = [encode(prediction([T0])) for _ in range(3)]
    writer.append(whole)
    writer.append([whole[0][:-5]])
    [segment] = segments(tmp_path)
    good = sum(map(len, whole))
    assert read(segment).end == good
    assert read(segment).damaged == 0
    part = read(segment, good, complete=True)
    assert part == ([], segment.path.stat().st_size, 1)


@pytest.mark.parametrize("where", [0, 2, 5, 9, 40])
def test_a_damaged_frame_is_counted_and_the_rest_is_read(tmp_path: Path, where: int):
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    frames = [encode(prediction([T0 + i])) for i in range(5)]
    writer.append(frames)
    [segment] = segments(tmp_path)
    data = bytearray(segment.path.read_bytes())
    data[len(frames[0]) + where] ^= 0xFF
    segment.path.write_bytes(data)
    part = read(segment, complete=True)
    assert [e.record.times for e in part.entries] == [[T0 + i] for i in (0, 2, 3, 4)]
    assert part.damaged == 1
    assert part.end == len(data)


def test_an_unfinished_frame_is_not_searched_for_frames(tmp_path: Path):
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    inner = encode(prediction([T0]))
    outer = encode(prediction([T0], outputs={"prediction": inner}))
    writer.append([outer[:-10]])
    [segment] = segments(tmp_path)
    assert read(segment) == ([], 0, 0)
    assert [e.record.outputs["prediction"] for e in read_all(tmp_path, [outer])] == [inner]


def read_all(tmp_path: Path, frames: list[bytes]):
    writer = Writer(tmp_path, "z", segment_bytes=1 << 20)
    writer.append(frames)
    return read(segments(tmp_path)[-1], limit=7).entries


def test_a_log_that_cannot_be_written_is_a_serve_error(tmp_path: Path):
    (tmp_path / ".wal").write_text("in the way")
    with pytest.raises(ServeError, match="cannot be written"):
        Writer(tmp_path, "w0", segment_bytes=1)
    (tmp_path / ".wal").unlink()
    writer = Writer(tmp_path, "w0", segment_bytes=1)
    (tmp_path / ".wal" / writer.name).rmdir()
    (tmp_path / ".wal" / writer.name).write_text("in the way")
    with pytest.raises(ServeError):
        writer.append([b"x"])


def test_a_short_write_leaves_the_segment_and_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    frame = encode(prediction([T0]))
    writer.append([frame])
    with monkeypatch.context() as disk_full:
        disk_full.setattr(os, "write", lambda fd, data, real=os.write: real(fd, data[:10]))
        with pytest.raises(ServeError, match="no space"):
            writer.append([frame])
    writer.append([frame])
    first, second = segments(tmp_path)
    assert len(read(first, complete=True).entries) == 1
    assert read(first, complete=True).damaged == 1
    assert len(read(second).entries) == 1
