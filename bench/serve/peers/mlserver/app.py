"""MLServer with a runtime of one's own on ONNX Runtime; no pool of processes, so that it has what the others have."""

import json
import os
import sys
import tempfile
from pathlib import Path

folder, here = Path(tempfile.mkdtemp(prefix="bench-mlserver-")), Path(__file__).parent
settings = {"host": "127.0.0.1", "http_port": int(sys.argv[2]), "grpc_port": int(sys.argv[2]) + 1, "debug": False}
settings |= {"parallel_workers": 0, "metrics_endpoint": None, "use_structured_logging": False}
(folder / "settings.json").write_text(json.dumps(settings))
model = {"name": sys.argv[3], "implementation": "runtime.OnnxRuntime", "parameters": {"uri": sys.argv[1]}}
(folder / "model-settings.json").write_text(json.dumps(model))
os.environ["PYTHONPATH"] = f"{here}:{os.environ.get('PYTHONPATH', '')}"
os.execv(sys.executable, [sys.executable, str(Path(sys.executable).with_name("mlserver")), "start", str(folder)])
