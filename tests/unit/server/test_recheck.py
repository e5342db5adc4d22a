"""A running server learns that a release changed on the disk, or that its key ended, before the next start would."""

import msgspec
import pytest
from tests.unit.release.conftest import files, manifest

from holdfast.decide.actions import Actor, deploy, start_canary
from holdfast.release.bundle import write
from holdfast.release.keyring import own_key
from holdfast.release.keys import put
from holdfast.release.trust import signer
from holdfast.server.recheck import Recheck
from holdfast.workspace import create_workspace


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def home(tmp_path):
    home = create_workspace(tmp_path / "home", {"trust.recheck_s": 60.0})
    live, canary = (write(home.releases, manifest(), files(rmse=rmse), signer(home.keys)) for rmse in (0.1, 0.2))
    actor = Actor("ada", 1, home.run)
    deploy(home.database, actor, "town", live)
    start_canary(home.database, actor, "town", canary, 0.1)
    return home


@pytest.fixture
def clock():
    return Clock()


@pytest.mark.parametrize("which", [0, 1])
def test_a_changed_file_is_found_at_the_next_look(home, clock, which):
    recheck = Recheck(home, clock)
    with home.database.read() as stores:
        deployed = stores.deployments.get("town")
    digest = (deployed.live, deployed.canary)[which]
    path = home.releases / digest / "model.onnx"
    path.chmod(0o644)
    path.write_bytes(b"other")
    assert recheck.look() == ""
    clock.now = 60.0
    assert (
        f"release {digest[:12]} of 'town' can't be loaded again: 'model.onnx' is not what was built" in recheck.look()
    )
    path.write_bytes(b"onnx")
    clock.now = 119.0
    assert recheck.look(), "what was found stands until the next look"
    clock.now = 120.0
    assert recheck.look() == ""


def test_a_key_that_ends_is_found_too(home, clock):
    recheck = Recheck(home, clock)
    put(home.keys, msgspec.structs.replace(own_key(home.keys), expires=1))
    clock.now = 61.0
    assert "expired" in recheck.look()


def test_a_removed_release_is_found_and_none_is_looked_for_where_the_settings_say_so(home, clock):
    (home.releases / next(home.releases.iterdir()).name).rename(home.folder / "away")
    clock.now = 1e9
    still = create_workspace(home.folder, {"trust.recheck_s": 0.0})
    assert Recheck(still, clock).look() == ""
    recheck = Recheck(home, clock)
    clock.now = 2e9
    assert "no release at" in recheck.look()
