"""A small release, written and signed, without any model library."""

import msgspec
import pytest

from holdfast.columns import dump_yaml
from holdfast.core.contract import Contract, Field, Output
from holdfast.core.profile import Profile, Series, WindowRule
from holdfast.core.release import CARD, CONTRACT, MODEL, REFERENCE, REQUIREMENTS, Manifest, ModelSource
from holdfast.release.bundle import read, write
from holdfast.release.trust import create_key, signer

METRIC = {"value": 0.12, "low": 0.11, "high": 0.13, "n": 900, "level": 0.95, "method": "t by rows"}


def contract(maximum: float = 8.0) -> Contract:
    fields = (Field(name="rooms", datatype="INT64", minimum=1.0, maximum=maximum), Field(name="kind", datatype="BYTES"))
    return Contract(fields=fields, output=Output(task="regression", label="price", scale="log"))


def manifest(**changes) -> Manifest:
    source = ModelSource(uri="models:/prices/1", name="prices", version="1", flavour="sklearn", files=())
    plain = {
        "format": 1,
        "name": "prices",
        "task": "regression",
        "files": (),
        "model": source,
        "data": {"file": "sales.parquet", "sha256": "cd" * 32, "rows": 900},
        "code": {},
        "builder": {"holdfast": "0.1.0"},
        "parity": {"rows": 900, "beyond_tolerance": 0},
    }
    return Manifest(**(plain | changes))


def profile(rmse: float = 0.12) -> Profile:
    return Profile(
        columns=(),
        importance={},
        rule=WindowRule(kind="count", length_us=1, rows=100, label_rows=100),
        rows=900,
        start=None,
        end=None,
        windows=Series((), ()),
        labels=Series((), ()),
        performance={"rmse": METRIC | {"value": rmse}},
        calibration={"stated": False, "sentence": "no <rate>"},
    )


def files(*, maximum: float = 8.0, rmse: float = 0.12, model: bytes = b"onnx") -> dict[str, bytes]:
    return {
        MODEL: model,
        CONTRACT: dump_yaml(contract(maximum)).encode(),
        REFERENCE: msgspec.msgpack.encode(profile(rmse), order="sorted"),
        CARD: b"# prices\n",
        REQUIREMENTS: b"numpy==2.4.6\n",
    }


@pytest.fixture
def keys(tmp_path):
    create_key(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def make(tmp_path, keys):
    """Writes a release, changed as asked."""

    def made(described=None, **changes):
        folder = tmp_path / "releases"
        return read(folder / write(folder, described or manifest(), files(**changes), signer(keys)))

    return made
