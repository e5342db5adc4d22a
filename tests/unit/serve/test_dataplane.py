import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from holdfast.core.names import split_prediction_id
from holdfast.core.prediction import Prediction, Refusal
from holdfast.errors import InvalidInput, NotFound
from holdfast.predictions.log import encode, framed
from holdfast.serve.clock import Clock
from holdfast.serve.dataplane import ServeState, metadata, predict_table, ready, server_metadata
from holdfast.serve.records import hash_key, hashed

ROW = {"area": 50.0, "rooms": 2, "kind": "flat"}
NOW = 1_767_225_600_000_000


def numbers(found: bytes) -> list[float]:
    return np.frombuffer(found, dtype="<f8").tolist()


def tensors(*extra: dict, rows: int = 1) -> list[dict]:
    return [
        {"name": "area", "shape": [rows], "datatype": "FP64", "data": [50.0] * rows},
        {"name": "rooms", "shape": [rows, 1], "datatype": "INT32", "data": [2] * rows},
        {"name": "kind", "shape": [rows], "datatype": "BYTES", "data": ["flat"] * rows},
        *extra,
    ]


# ---------------------------------------------------------------------------------------------- answers


def test_a_row_is_answered_and_recorded(ask, digests):
    answer, told = ask("price", {"instances": [ROW | {"house": "a7", "sold": "2025-12-31T00:00:00Z"}], "id": "mine"})
    assert answer.status == 200
    assert told["deployment"] == "price"
    assert told["release"] == digests["price"]
    assert told["track"] == "live"
    (prediction,) = told["predictions"]
    assert prediction["prediction"] == pytest.approx(152.0)
    assert split_prediction_id(prediction["id"]) == (told["request"], 0)
    assert dict(answer.headers) == {"X-Holdfast-Release": digests["price"], "X-Holdfast-Request": told["request"]}
    record = answer.record
    assert isinstance(record, Prediction)
    assert (record.request, record.client_id, record.rows) == (told["request"], "mine", 1)
    assert (record.received, record.clock, record.times) == (NOW, NOW, [NOW - 86_400_000_000])
    assert record.keys == ["a7"]
    assert numbers(record.numbers) == [50.0, 2.0]
    assert record.names == ("area", "rooms")
    assert record.columns["kind"] == ["flat"]
    assert numbers(record.outputs["prediction"]) == [prediction["prediction"]]
    assert encode(record)


def test_a_classifier_says_label_probabilities_and_threshold(ask):
    answer, told = ask("garden", [ROW | {"area": 95.0}, ROW | {"area": 11.0}])
    first, second = told["predictions"]
    assert (first["label"], second["label"]) == (True, False)
    assert first["threshold"] == 0.4
    assert sum(first["probabilities"].values()) == pytest.approx(1.0)
    assert list(first["probabilities"]) == ["false", "true"]
    assert answer.record.outputs["label"] == ["true", "false"]
    assert len(numbers(answer.record.outputs["probabilities"])) == 4


def test_the_threshold_decides(ask):
    _, told = ask("garden", [ROW | {"area": float(area)} for area in range(11, 60)])
    for one in told["predictions"]:
        assert one["label"] == (one["probabilities"]["true"] >= 0.4)


def test_tensors_are_answered(ask, digests):
    answer, told = ask("garden", {"id": "x1", "inputs": tensors(rows=2)}, "infer")
    assert answer.status == 200
    assert (told["model_name"], told["model_version"], told["id"]) == ("garden", digests["garden"], "x1")
    label, shares = told["outputs"]
    assert (label["name"], label["datatype"], label["shape"]) == ("label", "BOOL", [2])
    assert (shares["name"], shares["datatype"], shares["shape"], len(shares["data"])) == (
        "probabilities",
        "FP64",
        [2, 2],
        4,
    )
    request = told["parameters"]["request"]
    assert told["parameters"]["predictions"] == f"{request}-0,{request}-1"
    assert answer.record.client_id == "x1"
    _, told = ask("price", tensors(), "infer")
    assert told["outputs"] == [{"name": "prediction", "datatype": "FP64", "shape": [1], "data": [pytest.approx(152.0)]}]
    assert "id" not in told


def test_only_the_outputs_that_are_asked_for(ask):
    body = {"inputs": tensors(), "outputs": [{"name": "probabilities", "parameters": {"anything": True}}]}
    assert [output["name"] for output in ask("garden", body, "infer")[1]["outputs"]] == ["probabilities"]
    answer, told = ask("garden", {"inputs": tensors(), "outputs": [{"name": "nonsense"}]}, "infer")
    assert answer.status == 400
    assert "nonsense" in told["detail"]
    assert isinstance(answer.record, Refusal)


def test_rows_and_tensors_give_the_same_numbers(ask):
    assert ask("price", tensors(), "infer")[1]["outputs"][0]["data"] == [
        ask("price", [ROW])[1]["predictions"][0]["prediction"]
    ]


# ---------------------------------------------------------------------------------------------- refusals

WRONG = [
    (b"{", 400, "HF301", None, None),
    (b"\xff", 400, "HF301", None, None),
    (b"[" * 100_000, 400, "HF301", None, None),
    (b"[]", 400, "HF301", None, None),
    (b"{}", 400, "HF301", None, None),
    (b'{"instances": []}', 400, "HF301", None, None),
    (b'{"instances": {}}', 400, "HF301", None, None),
    (b'{"instances": [1]}', 400, "HF301", None, 0),
    (b'{"instances": [{"area": NaN, "rooms": 1, "kind": "flat"}]}', 422, "HF300", "area", 0),
    (b'{"instances": [{"area": -Infinity, "rooms": 1, "kind": "flat"}]}', 422, "HF300", "area", 0),
    (b'{"instances": [{"area": 1e999, "rooms": 1, "kind": "flat"}]}', 400, "HF301", None, None),
    ([ROW, ROW | {"area": "50"}], 422, "HF300", "area", 1),
    ([ROW | {"area": True}], 422, "HF300", "area", 0),
    ([ROW | {"area": None}], 422, "HF300", "area", 0),
    ([ROW | {"area": [1, [2]]}], 422, "HF300", "area", 0),
    ([ROW | {"rooms": 2.5}], 422, "HF300", "rooms", 0),
    ([ROW | {"rooms": 2**40}], 422, "HF300", "rooms", 0),
    ([ROW | {"kind": 3}], 422, "HF300", "kind", 0),
    ([ROW | {"colour": "red"}], 422, "HF300", "colour", None),
    ([{"area": 50.0, "rooms": 2}], 422, "HF300", "kind", None),
    ([ROW | {"sold": "yesterday"}], 422, "HF300", "sold", 0),
    ([ROW, ROW | {"sold": "2026-01-01T00:06:00Z"}, ROW], 422, "HF300", "sold", 1),
    ([ROW] * 51, 413, "HF302", None, None),
]


@pytest.mark.parametrize(("body", "status", "code", "field", "row"), WRONG)
def test_what_is_wrong_is_said_with_row_and_field(ask, state, body, status, code, field, row):
    if isinstance(body, list) and any("sold" in one for one in body):
        body = [{"sold": None} | one for one in body]
    answer, told = ask("price", body)
    assert (answer.status, told["status"], told["code"]) == (status, status, code)
    assert told.get("field") == field
    if row is not None:
        assert told["row"] == row
    assert told["error"] == told["detail"]
    assert answer.media == "application/problem+json"
    record = answer.record
    assert isinstance(record, Refusal)
    assert (record.deployment, record.code, record.field) == ("price", code, field or "")
    assert record.release
    state.metrics.logged([framed(record)], (1, 1))
    assert f'holdfast_refusals_total{{deployment="price",code="{code}"}} 1' in state.metrics.render().decode()


def test_nan_is_told_to_be_null(ask):
    told = ask("price", b'{"instances": [{"area": 1.0, "rooms": NaN, "kind": "flat"}]}')[1]
    assert told["field"] == "rooms"
    assert "null" in told["next"] or "missing" in told["next"]


HUGE = b'{"instances": [{"area": 1' + b"0" * 400 + b', "rooms": 1, "kind": "flat"}]}'


def test_a_number_that_no_float_holds(ask):
    answer, _ = ask("price", HUGE)
    assert answer.status in {400, 422}


WRONG_TENSORS = [
    (tensors()[:2], 422),
    (tensors() + tensors()[:1], 400),
    ([*tensors()[:2], tensors()[2] | {"shape": [2]}], 400),
    ([*tensors()[:2], tensors(rows=2)[2]], 400),
    ([*tensors()[:2], tensors()[2] | {"shape": [-1]}], 400),
    ([*tensors()[:2], tensors()[2] | {"shape": "1"}], 400),
    ([*tensors()[:2], tensors()[2] | {"datatype": "TEXT"}], 400),
    ([*tensors()[:2], tensors()[2] | {"data": [[["flat"]], 2]}], 400),
    ([*tensors()[:2], tensors()[2] | {"name": "kinds"}], 422),
    ([{"name": "all", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}], 400),
    ([], 400),
    ([{"name": "area", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}], 400),
]


@pytest.mark.parametrize(("inputs", "status"), WRONG_TENSORS)
def test_wrong_tensors(ask, inputs, status):
    answer, told = ask("price", {"inputs": inputs}, "infer")
    assert (answer.status, told["status"]) == (status, status)
    assert isinstance(answer.record, Refusal)


def test_a_binary_body_that_is_none_is_recorded_too(ask):
    answer, told = ask("price", {"inputs": tensors()}, "infer", headers={"inference-header-content-length": "12"})
    assert (answer.status, "not JSON" in told["detail"]) == (400, True)
    assert (answer.record.deployment, answer.record.code) == ("price", "HF301")


def test_an_unknown_name_is_not_recorded(ask, state):
    answer, told = ask("prize", [ROW])
    assert (answer.status, told["code"], answer.record) == (404, "HF200", None)
    assert "did you mean 'price'" in told["next"]
    assert 'holdfast_refusals_total{deployment="",code="HF200"} 1' in state.metrics.render().decode()


# ---------------------------------------------------------------------------------------------- what is logged


def test_personal_fields_stay_out_and_hashed_ones_are_hashed(ask):
    record = ask("price", [ROW | {"owner": "Jo", "street": "Mill Lane"}, ROW | {"owner": "Al", "street": None}])[
        0
    ].record
    assert "owner" not in record.columns
    assert record.columns["street"] == [*hashed(["Mill Lane"], b"k" * 32), None]
    assert len(record.columns["street"][0]) == 16
    assert b"Mill" not in encode(record)
    assert b"Jo" not in encode(record)


def test_the_hash_key_is_made_once_and_is_secret(tmp_path):
    key = hash_key(tmp_path)
    assert len(key) == 32
    assert hash_key(tmp_path) == key
    assert [path.name for path in tmp_path.iterdir()] == ["hash.key"]
    assert (tmp_path / "hash.key").stat().st_mode & 0o777 == 0o600


def test_unusual_values_are_counted_and_answered(ask, state):
    answer, _ = ask("price", [ROW | {"area": 4000.0}, ROW | {"kind": "castle", "area": 1.0}])
    assert answer.status == 200
    families = {f.name: f for f in text_string_to_metric_families(state.metrics.render().decode())}
    flagged = {s.labels["field"]: s.value for s in families["holdfast_flagged_values"].samples}
    assert flagged == {"area": 2.0, "kind": 1.0}


def test_a_replay_runs_on_event_time(ask):
    state = ServeState(clock=Clock(replay=True, now=lambda: NOW))
    later = "2031-05-01T00:00:00Z"
    first = ask("price", [ROW | {"sold": later}], state=state)[0].record
    second = ask("price", [ROW | {"sold": "2019-05-01T00:00:00Z"}], state=state)[0].record
    third = ask("price", [ROW], state=state)[0].record
    assert first.times == [first.clock]
    assert second.clock == third.clock == first.clock
    assert second.times[0] < second.clock
    assert third.times is None
    assert state.clock.at("other", NOW) == NOW


def test_rows_without_a_time_count_as_of_now(ask):
    record = ask("price", [ROW | {"sold": None}, ROW | {"sold": "2025-12-31T00:00:00Z"}])[0].record
    assert record.times == [NOW, NOW - 86_400_000_000]


# ---------------------------------------------------------------------------------------------- routes and files


def test_a_key_stays_with_its_track(ask):
    tracks = {}
    for _ in range(2):
        for number in range(300):
            told = ask("split", [ROW | {"house": f"h{number}"}])[1]
            assert tracks.setdefault(number, told["track"]) == told["track"]
    share = sum(track == "canary" for track in tracks.values()) / 300
    assert 0.2 < share < 0.4  # 3.8 standard deviations, and always the same keys


def test_the_canary_answers_with_its_own_model(ask, digests):
    live, canary = (ask("split", [ROW], version=version)[1] for version in ("live", digests["dearer"][:8]))
    assert canary["track"] == "canary"
    assert canary["release"] == digests["dearer"]
    assert canary["predictions"][0]["prediction"] == pytest.approx(2 * live["predictions"][0]["prediction"])
    assert ask("split", [ROW], version="feedbeef")[0].status == 404


def test_a_header_keeps_a_client_with_its_track(ask):
    def track(**headers):
        return ask("split", [ROW], headers=headers)[1]["track"]

    for client in ("a", "b", "c"):
        assert len({track(**{"x-holdfast-key": client}) for _ in range(10)}) == 1
    assert {track() for _ in range(60)} == {"live", "canary"}  # both but for 0.7 ** 60


def test_a_file_is_scored_by_the_same_path(plan, state, ask):
    count = 2300
    table = {
        "area": np.linspace(10, 100, count),
        "rooms": np.full(count, 2.0),
        "kind": np.array(["flat", "house"] * (count // 2), dtype=object),
        "price": np.zeros(count),
        "sold": np.full(count, np.datetime64("2025-06-01", "us")),
    }
    outputs, records = predict_table(table, "price", plan, state, "file.csv")
    assert [record.rows for record in records] == [1000, 1000, 300]
    assert {record.client_id for record in records} == {"file.csv"}
    assert list(outputs) == ["prediction_id", "release", "prediction"]
    assert len(set(outputs["prediction_id"].tolist())) == count
    told = ask("price", [{"area": float(table["area"][1500]), "rooms": 2, "kind": table["kind"][1500]}])[1]
    assert outputs["prediction"][1500] == told["predictions"][0]["prediction"]
    outputs, _ = predict_table(table, "garden", plan, state)
    assert list(outputs) == ["prediction_id", "release", "label", "p_false", "p_true"]
    assert outputs["p_true"] + outputs["p_false"] == pytest.approx(np.ones(count))
    table["rooms"][2000] = 1.5
    with pytest.raises(InvalidInput) as bad:
        predict_table(table, "price", plan, state)
    assert (bad.value.row, bad.value.field) == (2000, "rooms")


def test_an_empty_file_is_refused(plan, state):
    with pytest.raises(InvalidInput):
        predict_table({}, "price", plan, state)


# ---------------------------------------------------------------------------------------------- metadata


def test_metadata(plan, digests):
    told = metadata("split", None, plan)
    assert told["versions"] == [digests["price"], digests["dearer"]]
    assert {"name": "rooms", "datatype": "INT32", "shape": [-1]} in told["inputs"]
    assert told["outputs"] == [{"name": "prediction", "datatype": "FP64", "shape": [-1]}]
    assert [one["name"] for one in metadata("garden", "live", plan)["outputs"]] == ["label", "probabilities"]
    assert ready("price", "", plan) == {"name": "price", "ready": True}
    assert server_metadata()["name"] == "holdfast"
    with pytest.raises(NotFound):
        ready("nobody", None, plan)
    with pytest.raises(NotFound):
        metadata("price", "nonsense", plan)


def test_the_commonest_answer_says_what_all_others_say(ask):
    """One number goes by a way of its own; with a client's id it goes the common way."""
    _, short = ask("price", tensors(), "infer")
    _, usual = ask("price", {"id": "x", "inputs": tensors()}, "infer")
    assert usual.pop("id") == "x"
    for told in (short, usual):
        request = told["parameters"]["request"]
        assert told["parameters"].pop("predictions") == f"{request}-0"
        del told["parameters"]["request"]
    assert list(short) == list(usual)
    assert short == usual
