"""Laws of the panel: bets are e-values, merged counts give the same evidence, and what is taken out was never there."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.stats.counts import ColumnSpec, Counts
from holdfast.stats.panel import Panel, PanelState
from holdfast.stats.sequential import log_row_bets

X = ColumnSpec("x", "numeric", "input", edges=(0.0, 1.0, 2.0, 3.0))
K = ColumnSpec("k", "categorical", "output", categories=("a", "b", "c"))
SPECS = (X, K)


def windows(seed, count, rows=200):
    rng = np.random.default_rng(seed)
    shares = {"x": [0.01, 0.0, 0.3, 0.4, 0.28, 0.01], "k": [0.0, 0.6, 0.3, 0.09, 0.01]}
    return [Counts(rows, {name: rng.multinomial(rows, p) for name, p in shares.items()}) for _ in range(count)]


PANEL = Panel(SPECS, {"windows": windows(0, 60)})


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=8),
    st.data(),
    st.floats(0.001, 0.99),
    st.floats(1e-6, 0.25),
)
def test_a_row_bet_gains_nothing_while_the_mean_is_within_its_bound(scores, data, bound, variance):
    raw = np.array(data.draw(st.lists(st.floats(0.0, 1.0), min_size=len(scores), max_size=len(scores))))
    g = np.array(scores)
    if raw.sum() == 0 or raw @ g / raw.sum() > bound:
        return
    payoff = np.exp(log_row_bets(g[None], np.ones((1, len(g)), bool), np.array([bound]), np.array([variance])))[0]
    assert (payoff @ (raw / raw.sum()) <= 1 + 1e-9).all()
    assert (payoff > 0).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 199))
def test_replicas_merged_give_the_same_evidence(seed, split):
    whole = windows(seed, 1)[0]
    part = Counts(split, {name: np.minimum(v, split) for name, v in whole.columns.items()})
    rest = Counts(whole.rows - split, {name: v - part.columns[name] for name, v in whole.columns.items()})
    _, one = PANEL.step(PANEL.start(), "windows", whole, 0.01)
    _, merged = PANEL.step(PANEL.start(), "windows", rest + part, 0.01)
    assert one.log_total == merged.log_total


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_windows_since_the_onset_leave_no_trace_in_the_running_reference(seed, wrong):
    state = PANEL.start()
    live = windows(seed, wrong)
    for window in live:
        state, _ = PANEL.step(state, "windows", window, 0.01)
    state = PANEL.unmute(PANEL.mute(state, ["x", "k"], since=live), ["x", "k"])
    fresh = windows(seed + 1, 1)[0]
    _, after = PANEL.step(state, "windows", fresh, 0.01)
    _, never = PANEL.step(PANEL.start(), "windows", fresh, 0.01)
    assert np.allclose(after.prediction_z, never.prediction_z, atol=1e-6, equal_nan=True)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_a_stored_state_goes_on_as_if_never_stored(seed):
    kept = stored = PANEL.rebase(PANEL.start(), ["x"], windows(seed, 12))
    for window in windows(seed, 3):
        kept, one = PANEL.step(kept, "windows", window, 0.01)
        stored, other = PANEL.step(PanelState.from_bytes(stored.to_bytes()), "windows", window, 0.01)
        assert one.log_total == other.log_total
    assert kept.to_bytes() == stored.to_bytes()
