"""A builder that is killed at any moment of writing leaves a whole release or none."""

import subprocess
import sys

from holdfast.release.bundle import list_releases, verify
from holdfast.release.trust import create_key, trusted_keys

BUILDER = """
import os, signal, sys
from pathlib import Path
from holdfast.core.release import Manifest, ModelSource
from holdfast.release import bundle
from holdfast.release.trust import signer

home, put, done = Path(sys.argv[1]), bundle.put_file, 0
source = ModelSource(uri="models:/m/1", name="m", version="1", flavour="onnx", files=())
manifest = Manifest(format=1, name="m", task="binary", files=(), model=source, data={}, code={}, builder={}, parity={})
files = {name: name.encode() * 1000 for name in ("model.onnx", "contract.yaml", "card.md")}

def killed_at(moment):
    def dying(path, content):
        global done
        if done == moment:
            path.write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        put(path, content)
        done += 1
    return dying

for moment in range(len(files) + 3):
    child = os.fork()
    if child == 0:
        bundle.put_file = killed_at(moment)
        bundle.write(home / "releases", manifest, files, signer(home / "keys"))
        os._exit(0)
    os.waitpid(child, 0)
    print(len([p for p in (home / "releases").iterdir() if not p.name.startswith(".")]))
"""


def test_a_killed_builder_leaves_all_or_nothing(tmp_path):
    create_key(tmp_path / "keys")
    done = subprocess.run(
        [sys.executable, "-c", BUILDER, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.split() == ["0"] * 5 + ["1"], done.stderr
    (release,) = list_releases(tmp_path / "releases")
    assert verify(release.path, trusted_keys(tmp_path / "keys")).name == "m"
