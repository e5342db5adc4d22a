"""All of the torture, one after the other; what each does stands at the top of its file.

    python -m bench.torture [NAME ...]

Exits non-zero if any of them broke a bound. `soak` takes hours and is asked for by name, with its minutes, or by `make soak`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

APART: Final = frozenset({"__main__", "load", "soak"})


def main() -> None:
    """Those that are named, or all."""
    folder = Path(__file__).parent
    runnable = [path.stem for path in sorted(folder.glob("*.py")) if 'if __name__ == "__main__"' in path.read_text()]
    names = sys.argv[1:] or [name for name in runnable if name not in APART]
    failed = []
    for name in names:
        print(f"== {name}", flush=True)
        began = time.monotonic()
        if subprocess.run([sys.executable, "-m", f"bench.torture.{name}"], check=False).returncode:
            failed.append(name)
        print(f"   {time.monotonic() - began:.0f} s", flush=True)
    print(f"broken: {', '.join(failed)}" if failed else "all held")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
