import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from holdfast.serve.metrics import BUCKETS, Metrics


def families(metrics):
    return {family.name: family for family in text_string_to_metric_families(metrics.render().decode())}


def test_prometheus_reads_every_line():
    metrics = Metrics("w1")
    metrics.answered('odd "name"\n\\', "live", 3, 0.002, {"area": 2})
    metrics.answered('odd "name"\n\\', "live", 1, 9.0, {})
    metrics.refused("", "HF301")
    metrics.logged(120)
    metrics.following(4)
    found = families(metrics)
    assert all(sample.labels["worker"] == "w1" for family in found.values() for sample in family.samples)
    assert [s.value for s in found["holdfast_requests"].samples] == [2.0]
    assert found["holdfast_requests"].samples[0].labels["deployment"] == 'odd "name"\n\\'
    assert [s.value for s in found["holdfast_predictions"].samples] == [4.0]
    assert [s.value for s in found["holdfast_log_bytes"].samples] == [120.0]
    assert [s.value for s in found["holdfast_plan_generation"].samples] == [4.0]
    buckets = [s for s in found["holdfast_request_duration_seconds"].samples if s.name.endswith("_bucket")]
    assert len(buckets) == len(BUCKETS) + 1
    assert [s.value for s in buckets if s.labels["le"] in {"0.001", "0.0025", "2.5", "+Inf"}] == [0.0, 1.0, 1.0, 2.0]
    total = next(s for s in found["holdfast_request_duration_seconds"].samples if s.name.endswith("_sum"))
    assert total.value == pytest.approx(9.002)


def test_an_idle_process_says_so():
    assert families(Metrics())["holdfast_log_bytes"].samples[0].value == 0.0


def test_no_count_is_lost_between_threads():
    metrics = Metrics()
    threads = [
        threading.Thread(target=lambda: [metrics.answered("a", "live", 1, 0.1, {"f": 1}) for _ in range(2000)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert families(metrics)["holdfast_flagged_values"].samples[0].value == 8000.0
