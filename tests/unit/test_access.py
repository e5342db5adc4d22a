"""API keys: made once, told once, recorded, published, checked."""

import stat

import msgspec
import pytest

from holdfast import access
from holdfast.access import KeyRing, create, pepper, publish, revoke
from holdfast.core.access import AccessKey
from holdfast.core.deployment import Deployment
from holdfast.errors import Conflict, NotFound, UsageError
from holdfast.testing import MemoryDatabase
from holdfast.trail import broken_at

NOW = 1_767_225_600_000_000


@pytest.fixture
def town(tmp_path):
    """A database with two deployments, a pepper, and a maker of keys."""
    database = MemoryDatabase()
    with database.begin() as stores:
        for name in ("houses", "flats"):
            stores.deployments.save(Deployment(name=name, live="ab" * 32, since=NOW, salt=name))
    return database, pepper(tmp_path), tmp_path


def made(town, name="shop", deployments=("houses",), scopes=("predict",), **limits):
    database, secret, run = town
    key, text = create(database, name, deployments, scopes, secret=secret, actor="ann", now=NOW, **limits)
    publish(database, run)
    return key, text


def test_a_key_opens_and_its_text_is_kept_nowhere(town):
    database, secret, run = town
    key, text = made(town)
    assert text.startswith(f"hf_{key.id}_")
    assert len(text) == 55
    ring = KeyRing(run, secret)
    for _ in range(2):  # verified, then remembered
        held = ring.find(text)
        assert held is not None
        assert held.key == key
    with database.begin() as stores:
        stored = msgspec.json.encode([stores.keys.all(), stores.trail.read()])
    part = text.rpartition("_")[2].encode()[-20:]
    assert part not in stored
    assert part not in (run / access.FILE).read_bytes()


@pytest.mark.parametrize("place", [-1, 20, 11, 10, 5, 0])
def test_one_character_off_opens_nothing(town, place):
    _, text = made(town)
    ring = KeyRing(town[2], town[1])
    letters = list(text)
    letters[place] = "a" if letters[place] != "a" else "b"
    wrong = "".join(letters)
    if place == 0:  # the prefix is part of what is hashed
        assert wrong[3:11] == text[3:11]
    assert ring.find(wrong) is None
    assert ring.find(text)
    assert ring.find(wrong) is None


@pytest.mark.parametrize("text", ["", "hf_", "hf__", "x" * 10_000, "hf_\u00fc\u00fc", "hf_" + "0" * 52, "\udcff"])
def test_nonsense_opens_nothing(town, text):
    made(town)
    assert KeyRing(town[2], town[1]).find(text) is None


def test_an_endless_key_with_a_known_id_is_not_even_hashed(town):
    key, _ = made(town)
    assert KeyRing(town[2], town[1]).find(f"hf_{key.id}_" + "x" * 1_000_000) is None


def test_another_workspaces_pepper_knows_no_key(town, tmp_path):
    _, text = made(town)
    assert KeyRing(town[2], b"p" * 32).find(text) is None


def test_a_revoked_key_is_gone_with_the_next_look_and_the_others_stay_proved(town):
    database, secret, run = town
    _, one = made(town, "one")
    two_key, two = made(town, "two")
    ring = KeyRing(run, secret)
    stays = ring.find(two)
    assert ring.find(one)
    revoke(database, "one", actor="bob", now=NOW + 1)
    publish(database, run)
    assert ring.refresh()
    assert not ring.refresh()
    assert ring.find(one) is None
    assert ring.find(two) is stays
    with pytest.raises(NotFound, match="no key 'one'"):
        revoke(database, "one", actor="bob", now=NOW)
    assert revoke(database, two_key.id, actor="bob", now=NOW).name == "two"


def test_an_unreadable_file_changes_nothing(town):
    _, text = made(town)
    ring = KeyRing(town[2], town[1])
    (town[2] / access.FILE).write_bytes(b"[{")
    assert not ring.refresh()
    (town[2] / access.FILE).unlink()
    assert not ring.refresh()
    assert ring.find(text)


def test_no_file_no_keys(tmp_path):
    assert KeyRing(tmp_path, b"p").find("hf_00000000_x") is None


def test_names_are_taken_while_their_key_stands(town):
    database = town[0]
    made(town, expires=NOW + 5)
    with pytest.raises(Conflict, match="there is a key 'shop' already"):
        made(town)
    create(database, "shop", ("*",), ("label",), secret=town[1], actor="x", now=NOW + 5)  # the first has expired
    with database.begin() as stores:
        assert [(key.number, key.name) for key in stores.keys.all()] == [(1, "shop"), (2, "shop")]


def test_every_change_is_in_the_trail(town):
    database = town[0]
    key, _ = made(town)
    revoke(database, key.id, actor="bob", now=NOW + 1)
    with database.begin() as stores:
        events = stores.trail.read()
    assert [(e.verb, e.actor, e.data["key"]) for e in events] == [
        ("key created", "ann", key.id),
        ("key revoked", "bob", key.id),
    ]
    assert broken_at(events) is None


def test_what_makes_no_sense_is_refused(town):
    with pytest.raises(NotFound, match="no deployment 'housse'"):
        made(town, deployments=("housse",))
    for wrong in (
        {"scopes": ("admin",)},
        {"scopes": ()},
        {"deployments": ()},
        {"rate": -1.0},
        {"rate": float("nan")},
        {"rows_per_day": 1 << 40},
        {"name": "a b"},
    ):
        with pytest.raises(UsageError):
            made(town, **wrong)
    with town[0].begin() as stores:
        assert stores.keys.all() == []


def test_secrets_are_for_their_owner_only(town):
    made(town)
    for path in (town[2] / access.PEPPER, town[2] / access.FILE):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert pepper(town[2]) == town[1]


def test_standing():
    key = AccessKey(number=1, id="a", name="n", digest=b"", deployments=("*",), scopes=("label",), expires=10)
    assert [key.standing(9), key.standing(10)] == ["good", "expired"]
    assert msgspec.structs.replace(key, revoked=1).standing(0) == "revoked"
