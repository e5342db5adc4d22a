"""`make bench`: speed of the serving path, as ratios in one run."""

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).with_name("serve.py")), run_name="__main__")
