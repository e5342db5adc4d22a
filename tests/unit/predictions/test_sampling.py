from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from tests.unit.predictions.records import CONTRACT, HOUR, IDS, RELEASE, T0, prediction, profile

from holdfast.core.contract import Contract, Field, Output
from holdfast.core.prediction import Prediction, Tally
from holdfast.core.profile import CONFIDENCE, OUTPUT, WindowRule
from holdfast.predictions.compact import count
from holdfast.predictions.log import Writer, encode, read, segments
from holdfast.predictions.sampling import MANY, Binner, Sampler, kept
from holdfast.predictions.windows import Recipe, counted_columns, recipe
from holdfast.stats.counts import ColumnSpec, fit_spec
from holdfast.testing import MemoryDatabase

RULE = WindowRule(kind="time", length_us=HOUR, rows=100, label_rows=10)
NUMBERS = np.linspace(0.0, 100.0, 400)
EDGES = (0.0, 100.0, 50.0, -1.0, 101.0, np.nan, np.inf, -np.inf, *fit_spec("x", NUMBERS, "input").edges)


MIXED = Recipe(
    Contract(
        fields=(
            Field(name="a", datatype="FP64"),
            Field(name="kind", datatype="BYTES"),
            Field(name="empty", datatype="FP64"),
            Field(name="gone", datatype="FP64"),
            Field(name="flat", datatype="FP64"),
        ),
        output=Output(task="multiclass", label="y", classes=("x", "y", "z")),
    ),
    RULE,
    inputs=(
        fit_spec("a", NUMBERS, "input"),
        ColumnSpec("kind", "categorical", "input", categories=("flat", "house")),
        ColumnSpec("empty", "numeric", "input"),
        fit_spec("gone", NUMBERS, "input"),
        ColumnSpec("flat", "numeric", "input", edges=(5.0, 5.0)),
    ),
    outputs=(
        ColumnSpec(OUTPUT, "categorical", "output", categories=("x", "y")),
        fit_spec(CONFIDENCE, np.linspace(0.3, 1.0, 200), "output"),
    ),
    errors=(),
)


@given(rows=st.one_of(st.integers(1, 5), st.just(MANY + 3)), data=st.data())
@settings(max_examples=60, deadline=None)
def test_bins_are_those_of_the_columns(rows, data):
    """All columns at once give what each column's own cut gives, also on its edges, beyond them, and for what is missing."""
    numbers = st.one_of(st.sampled_from(EDGES), st.floats(-10, 110))
    values = data.draw(hn.arrays(np.float64, (3, rows), elements=numbers))
    texts = data.draw(st.lists(st.sampled_from(["flat", "house", "boat", None]), min_size=rows, max_size=rows))
    shares = data.draw(hn.arrays(np.float64, (rows, 3), elements=st.floats(0, 1)))
    record = prediction(
        rows=rows,
        names=("empty", "flat", "a"),
        numbers=values.tobytes(),
        columns={"kind": texts},
        outputs={"probabilities": shares.tobytes(), "label": ["xyz"[i] for i in shares.argmax(axis=1)]},
    )
    columns = counted_columns(MIXED, [record])
    expected = [at for spec in (*MIXED.inputs, *MIXED.outputs) for at in spec.bins(columns[spec.name]).tolist()]
    assert list(Binner(MIXED).bins(record)) == expected


def test_the_share_is_kept_and_always_the_same():
    names = [IDS.new(T0 // 1000 + i // 10) for i in range(20_000)]
    chosen = [name for name in names if kept(name, 0.25)]
    # Binomial with p = 1/4: six standard deviations are 367, missed by chance in two runs of a thousand million.
    assert abs(len(chosen) - 5000) < 367
    assert [name for name in names if kept(name, 0.25)] == chosen
    assert {name for name in names if kept(name, 0.1)} <= set(chosen)
    assert not any(kept(name, 0.0) for name in names)
    assert all(kept(name, 1.0) for name in names)


@pytest.mark.parametrize("rule", [RULE, WindowRule(kind="count", length_us=HOUR, rows=7, label_rows=3)])
@given(
    drawn=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4 * HOUR)), min_size=1, max_size=30),
    share=st.sampled_from([0.0, 0.1, 0.5]),
)
@settings(max_examples=25, deadline=None)
def test_windows_are_those_without_sampling_bit_for_bit(tmp_path_factory, rule, drawn, share):
    what = recipe(CONTRACT, profile(rule))
    sampler = Sampler(share)
    sampler.learn(RELEASE, what)
    records = [
        prediction([T0 + at + i for i in range(rows)], clock=T0 + at + rows, received=i)
        for i, (rows, at) in enumerate(drawn)
    ]
    found = []
    for logged in (records, [sampler(record) for record in records]):
        log, database = tmp_path_factory.mktemp("log"), MemoryDatabase()
        writer = Writer(log, "w0", segment_bytes=1 << 20)
        writer.append([encode(record) for record in logged])
        told = count(database, log, {RELEASE: what}.get, lateness_share=0.04)
        assert told.rows == sum(rows for rows, _ in drawn)
        assert told.unknown == 0
        with database.begin() as stores:
            found.append(stores.windows.read("town", RELEASE, "windows"))
        writer.close()
    assert found[0] == found[1]


def test_a_tally_is_small_and_a_release_that_is_not_known_is_kept(tmp_path: Path):
    sampler = Sampler(0.0)
    record = prediction(rows=1, names=tuple(f"x{i}" for i in range(20)), numbers=np.zeros(20).tobytes())
    assert sampler(record) is record
    wide = Recipe(
        Contract(
            fields=tuple(Field(name=f"x{i}", datatype="FP64") for i in range(20)),
            output=Output(task="regression", label="y"),
        ),
        RULE,
        inputs=tuple(fit_spec(f"x{i}", NUMBERS, "input") for i in range(20)),
        outputs=(fit_spec(OUTPUT, NUMBERS, "output"),),
        errors=(),
    )
    sampler.learn(RELEASE, wide)
    tally = sampler(record)
    assert isinstance(tally, Tally)
    assert len(tally.bins) == 21
    assert len(encode(tally)) < 0.55 * len(encode(record))
    writer = Writer(tmp_path, "w0", segment_bytes=1 << 20)
    writer.append([encode(tally)])
    assert [entry.record for entry in read(segments(tmp_path)[0]).entries] == [tally]


def test_a_tally_of_another_recipe_is_told_as_unknown(tmp_path: Path):
    what = recipe(CONTRACT, profile())
    tally = Binner(what).tally(prediction([T0]))
    Writer(tmp_path, "w0", segment_bytes=1 << 20).append(
        [encode(tally), encode(Tally(*[getattr(tally, f) for f in tally.__struct_fields__[:-1]], bins=b"?"))]
    )
    database = MemoryDatabase()
    told = count(database, tmp_path, {RELEASE: what}.get, lateness_share=0.04)
    assert (told.rows, told.unknown) == (2, 1)
    assert isinstance(prediction([T0]), Prediction)
