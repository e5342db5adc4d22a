"""Differences between releases, as data."""

import msgspec

from holdfast.release.compare import diff


def test_the_same_release_differs_in_nothing(make):
    assert all(not changes for changes in diff(make(), make()).values())


def test_what_changed_is_named_with_before_and_after(make):
    old = make()
    newer = msgspec.structs.replace(old.manifest, data={"file": "sales.parquet", "sha256": "ef" * 32, "rows": 950})
    new = make(newer, maximum=9.0, rmse=0.1, model=b"other")
    found = diff(old, new)
    assert found["contract"] == {"rooms.maximum": (8.0, 9.0)}
    assert found["performance"] == {"rmse": (0.12, 0.1)}
    assert set(found["model"]) == {"graph"}
    assert found["data"] == {"sha256": ("cd" * 32, "ef" * 32), "rows": (900, 950)}
    assert found["dependencies"] == {}
