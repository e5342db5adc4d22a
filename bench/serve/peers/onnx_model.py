"""The model as every peer loads it: one matrix of float32 in, float64 or float32 out, ONNX Runtime on one thread."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime


class Model:
    """`model(rows)`: one row of numbers for each row; the model's only input is called `input`."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, rows: object) -> np.ndarray:
        return self._session.run(None, {"input": np.asarray(rows, dtype=np.float32)})[0]
