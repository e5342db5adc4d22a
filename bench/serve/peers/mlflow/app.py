"""`mlflow models serve` for the model folder that prepare.py wrote."""

import os
import sys
from pathlib import Path

command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", sys.argv[1], "--env-manager", "local"]
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
os.execv(sys.executable, [*command, "--host", "127.0.0.1", "--port", sys.argv[2], "--workers", "1"])
