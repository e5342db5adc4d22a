"""MNIST, a convolutional network: what 8 and 16 bits cost and gain, and that other objectives choose another variant."""

import pytest
from bench import variants

from holdfast.core.choose import choose
from holdfast.core.variant import Objectives

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("torch")]


def test_int8_and_float16_of_a_network_on_mnist(real_data, tmp_path):
    data = real_data("mnist_10k").parent
    report = variants.searched(data, tmp_path, fitted=2500, judged=1500, epochs=2)
    found = {one.name: one for one in report.variants}
    plain, half, whole = found["plain"], found["float16"], found["int8"]
    assert plain.quality > 0.9
    assert half.mb < 0.52 * plain.mb
    assert whole.mb < 0.3 * plain.mb
    for one in (half, whole):
        assert one.loss.measure == "accuracy"
        assert one.loss.low <= one.loss.value <= one.loss.high
        assert one.loss.high - one.loss.low < 0.03
        assert abs(one.loss.value) < 0.02
        assert one.p50_ms > 0 < one.p99_ms
        assert one.loss.rows == report.rows > 900

    wishes = {
        "exact": Objectives(),
        "half": Objectives(max_quality_loss=0.02, max_mb=half.mb * 1.01),
        "small": Objectives(max_quality_loss=0.1, max_mb=whole.mb * 0.7),
    }
    picked = {name: choose(report.variants, wanted).chosen for name, wanted in wishes.items()}
    assert found[picked["exact"]].exact
    assert found[picked["half"]].mb <= half.mb * 1.01
    assert "int8" in picked["small"]
    assert len(set(picked.values())) >= 2
    assert choose(report.variants, Objectives(max_mb=0.001)).unmet
