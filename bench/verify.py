"""Verifying a release, as every start of a server does: seconds per GiB, wall and processor; and what a signature costs.

python -m bench.verify [MIB]

The release has one large file of random bytes, and the page cache has it, so that what is measured is not the disk.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from holdfast.core.release import MODEL, Manifest, ModelSource
from holdfast.release.archive import export, take_in
from holdfast.release.bundle import verify, write
from holdfast.release.trust import create_key, signer, trusted_keys

MIB = 1 << 20
RUNS = 5


def timed(act) -> tuple[float, float]:  # noqa: ANN001 - any call
    """Wall and processor seconds."""
    wall, used = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - wall, time.process_time() - used


def main(size: int = 256) -> None:
    source = ModelSource(uri="models:/bench/1", name="bench", version="1", flavour="onnx", files=())
    plain = Manifest(
        format=1, name="bench", task="regression", files=(), model=source, data={}, code={}, builder={}, parity={}
    )
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        create_key(home / "keys")
        keys = trusted_keys(home / "keys")
        digest = write(home / "releases", plain, {MODEL: os.urandom(size * MIB)}, signer(home / "keys"))
        path = home / "releases" / digest
        found = [timed(lambda: verify(path, keys)) for _ in range(RUNS)]
        wall, used = (min(one[i] for one in found) * 1024 / size for i in (0, 1))
        packed = timed(lambda: export(path, home / "one.tar", keys))[0] * 1024 / size
        unpacked = timed(lambda: take_in(home / "one.tar", home / "elsewhere", keys))[0] * 1024 / size
        (home / "small").mkdir()
        small = write(home / "small", plain, {MODEL: b"x" * 1000}, signer(home / "keys"))
        least = min(timed(lambda: verify(home / "small" / small, keys))[0] for _ in range(200))
    told = {
        "mib": size,
        "verify_s_per_gib": round(wall, 3),
        "verify_processor_s_per_gib": round(used, 3),
        "export_tar_s_per_gib": round(packed, 3),
        "import_tar_s_per_gib": round(unpacked, 3),
        "verify_small_ms": round(least * 1e3, 3),
    }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
