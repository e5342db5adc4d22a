"""BentoML's server for the service in service.py."""

import os
import sys
from pathlib import Path

os.environ["BENCH_MODEL"] = sys.argv[1]
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
here = Path(__file__).parent
command = [sys.executable, "-m", "bentoml", "serve", "service:Bench", "--working-dir", str(here)]
os.execv(sys.executable, [*command, "--host", "127.0.0.1", "--port", sys.argv[2], "-q"])
