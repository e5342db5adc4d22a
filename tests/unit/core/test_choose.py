"""Choosing among measured variants: objectives, cost, the front, and what is told when nothing does."""

import pytest

from holdfast.core.choose import choose, misses, pareto
from holdfast.core.variant import Loss, Measured, Objectives, Recipe
from holdfast.errors import UsageError


def measured(name, *, mb=1.0, ms=1.0, loss=0.0, width=0.001, exact=False):
    told = Loss(measure="accuracy", value=loss, low=loss - width, high=loss + width, rows=1000, method="Bonett-Price")
    return Measured(
        recipe=Recipe.read(name),
        rows=1,
        mb=mb,
        p50_ms=ms * 0.9,
        p99_ms=ms * 2,
        mean_ms=ms,
        batches={"1": 1000 / ms},
        memory_mb=10,
        quality=0.9 - loss,
        loss=told,
        flips=round(loss * 1000),
        exact=exact,
    )


PLAIN = measured("plain", exact=True)
HALF = measured("float16", mb=0.5, loss=0.0)
INT8 = measured("int8", mb=0.25, ms=0.4, loss=0.004)
NARROW = measured("pruned-50", mb=0.1, ms=0.2, loss=0.03)
ALL = [PLAIN, HALF, INT8, NARROW]


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (Objectives(), "plain"),
        (Objectives(max_quality_loss=0.01), "int8"),
        (Objectives(max_quality_loss=0.05), "pruned-50"),
        (Objectives(max_quality_loss=0.002, max_mb=0.6), "float16"),
        (Objectives(max_quality_loss=0.05, qps=4000), "pruned-50"),
        (Objectives(max_quality_loss=1.0, p99_ms=0.9), "pruned-50"),
    ],
)
def test_the_cheapest_that_does_what_is_wanted(wanted, chosen):
    assert choose(ALL, wanted).chosen == chosen


def test_a_loss_counts_by_what_it_may_be():
    unsure = measured("int8", mb=0.25, ms=0.4, loss=0.004, width=0.02)
    [miss] = misses(unsure, Objectives(max_quality_loss=0.01))
    assert miss.found == pytest.approx(0.024)


def test_of_costs_that_are_alike_the_plainer_is_taken():
    assert choose([PLAIN, measured("graph", ms=0.95, exact=True)], Objectives()).chosen == "plain"


def test_what_cannot_be_met_is_told_with_how_far():
    found = choose(ALL, Objectives(max_quality_loss=0.01, p99_ms=0.5))
    assert found.chosen == ""
    assert found.nearest == "int8"
    [miss] = found.unmet
    assert (miss.objective, miss.wanted, miss.found) == ("p99_ms", 0.5, 0.8)
    assert "p99_ms 0.8, wanted 0.5, off by 60%" in found.why


def test_the_front_holds_what_no_other_beats():
    worse = measured("graph", mb=2.0, ms=2.0, exact=True)
    assert [one.name for one in pareto([*ALL, worse])] == ["float16", "int8", "pruned-50"]


@pytest.mark.parametrize("name", ["plain", "int8", "pruned-50+int8@2", "graph@4/CUDAExecutionProvider", "trees-25"])
def test_a_recipe_is_read_as_it_is_written(name):
    assert Recipe.read(name).name == name


@pytest.mark.parametrize("name", ["", "int4", "pruned", "pruned-0", "int8@0", "int8+plain"])
def test_what_is_no_recipe_is_refused(name):
    with pytest.raises(UsageError, match="no variant"):
        Recipe.read(name)
