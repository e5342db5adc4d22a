import numpy as np

from holdfast.core.contract import Output
from holdfast.core.profile import DAY
from holdfast.decide.gates import compare

PRICE = Output(task="regression", label="price", scale="log")


def judged(rng, bias, days=30, rows=40):
    n = days * rows
    truth = np.exp(12 + 0.5 * rng.standard_normal(n))
    noise = np.exp(0.1 * rng.standard_normal(n))
    times = np.repeat(np.arange(days), rows) * DAY
    return compare(PRICE, truth, truth * noise * np.exp(bias), truth * noise, times, DAY)


def test_a_clearly_better_candidate_is_better_with_its_interval():
    found = judged(np.random.default_rng(1), bias=0.2)
    assert found.verdict == "better"
    assert found.metric == "rmse"
    assert found.difference.high < 0 < found.live.value - found.candidate.value
    assert "the candidate is better" in found.sentence


def test_the_other_way_round_is_worse():
    rng = np.random.default_rng(2)
    truth = np.exp(rng.standard_normal(1200))
    times = np.repeat(np.arange(30), 40) * DAY
    found = compare(PRICE, truth, truth * 1.01, truth * 1.5, times, DAY)
    assert found.verdict == "worse"


def test_equal_models_are_told_apart_as_rarely_as_stated():
    """Two equally good models, 400 comparisons at 95 %: 20 false verdicts expected; above 40 has probability < 1e-4."""
    rng = np.random.default_rng(3)
    verdicts = []
    for _ in range(400):
        truth = np.exp(rng.standard_normal(600))
        one, other = (truth * np.exp(0.1 * rng.standard_normal(600)) for _ in range(2))
        verdicts.append(compare(PRICE, truth, one, other, np.repeat(np.arange(30), 20) * DAY, DAY).verdict)
    wrong = sum(v != "not enough data" for v in verdicts)
    assert 3 <= wrong <= 40
