"""Files that are refused before anything is registered or opened."""

import zipfile

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import Ridge
from tests.unit.build import hostile

from holdfast.build.load import open_model
from holdfast.build.screen import screen
from holdfast.errors import RegistryError, Unconvertible


def archive(path, *entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content, mode in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode << 16
            out.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (("../../evil.npy", b"x", 0), "leads out"),
        (("/etc/cron.d/evil", b"x", 0), "leads out"),
        (("..\\evil.npy", b"x", 0), "leads out"),
        (("C:evil.npy", b"x", 0), "leads out"),
        (("passwd", b"/etc/passwd", 0o120777), "a link"),
        (("zeros.npy", bytes(300 << 20), 0), "unpacks to 300 MiB"),
    ],
)
def test_a_hostile_skops_file(tmp_path, entry, says):
    path = archive(tmp_path / "model.skops", ("schema.json", b"{}", 0), entry)
    (tmp_path / "MLmodel").write_text("flavors: {sklearn: {pickled_model: model.skops}}")
    for act in (lambda: screen(path), lambda: open_model(tmp_path)):
        with pytest.raises(RegistryError, match=says) as refused:
            act()
        assert refused.value.next_step


def test_what_is_no_archive_and_what_is_no_graph(tmp_path):
    (tmp_path / "a.skops").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(RegistryError, match="no skops file"):
        screen(tmp_path / "a.skops")
    (tmp_path / "a.onnx").write_bytes(hostile.unread()["a thousand million laughs"])
    with pytest.raises(Unconvertible, match="operators"):
        screen(tmp_path / "a.onnx")


def test_honest_files_and_other_kinds_pass(tmp_path):
    skops.io.dump(Ridge().fit(np.ones((3, 2)), np.ones(3)), tmp_path / "a.skops")
    (tmp_path / "a.onnx").write_bytes(hostile.model(*hostile.doubling(2)).SerializeToString())
    (tmp_path / "a.ubj").write_bytes(b"whatever")
    for name in ("a.skops", "a.onnx", "a.ubj", "none.onnx"):
        screen(tmp_path / name)
