import msgspec
import pytest

from holdfast.backends.onnx import OnnxRuntime
from holdfast.core.contract import Output
from holdfast.core.deployment import Plan, Route
from holdfast.core.release import MODEL
from holdfast.errors import NotFound, ReleaseError, Tampered
from holdfast.serve.plan import NOTHING, load


def test_open_releases_are_used_again(house, digests, plan):
    house.opened.clear()
    traffic = Plan(8, {"new": (Route(digests["price"], "live", 1.0),)}, {})
    again = load(traffic, house.open, OnnxRuntime(), [plan])
    assert house.opened == []
    assert again.generation == 8
    assert again.deployment("new").live.release is plan.deployment("price").live.release
    assert again.contract("new") is plan.contract("price")


def test_an_unknown_name(plan):
    with pytest.raises(NotFound, match="no deployment"):
        plan.deployment("nobody")
    with pytest.raises(NotFound) as bad:
        NOTHING.deployment("price")
    assert bad.value.next_step == "holdfast deploy"


def test_a_tampered_release_is_not_loaded(house, tmp_path):
    from tests.unit.serve.conftest import House

    other = House(tmp_path)
    digest = other.release("price", _contract(house, "price"), _model(house, "price"))
    model = other.releases / digest / MODEL
    model.chmod(0o644)
    model.write_bytes(model.read_bytes() + b"\0")
    with pytest.raises(Tampered):
        load(Plan(1, {"a": (Route(digest, "live", 1.0),)}, {}), other.open, OnnxRuntime())


def test_a_model_that_does_not_fit_its_contract_is_not_loaded(house):
    contract = _contract(house, "price")
    wrong = msgspec.structs.replace(contract, output=Output(task="binary", label="x", classes=("a", "b")))
    with pytest.raises(ReleaseError, match="where the contract wants probabilities"):
        _load(house, house.release("wrong", wrong, _model(house, "price")))
    fewer = msgspec.structs.replace(contract, fields=tuple(f for f in contract.fields if f.name != "area"))
    with pytest.raises(ReleaseError, match="area"):
        _load(house, house.release("fewer", fewer, _model(house, "price")))
    with pytest.raises(ReleaseError, match="cannot be opened"):
        _load(house, house.release("broken", contract, b"no model"))


@pytest.mark.parametrize(("datatype", "classes"), [("BOOL", ("no", "yes")), ("INT64", ("1", "two"))])
def test_classes_that_are_not_of_the_labels_datatype(house, datatype, classes):
    contract = _contract(house, "garden")
    output = msgspec.structs.replace(contract.output, label_datatype=datatype, classes=classes)
    with pytest.raises(ReleaseError, match=f"not of datatype {datatype}"):
        _load(
            house, house.release("classes", msgspec.structs.replace(contract, output=output), _model(house, "garden"))
        )


def _load(house, digest):
    return load(Plan(1, {"a": (Route(digest, "live", 1.0),)}, {}), house.open, OnnxRuntime())


@pytest.fixture(autouse=True)
def _releases(digests):
    """They are there."""


def _named(house, name):
    from holdfast.release.bundle import list_releases

    return next(release for release in list_releases(house.releases) if release.manifest.name == name)


def _contract(house, name):
    return _named(house, name).contract


def _model(house, name):
    return _named(house, name).model.read_bytes()
