"""The service as BentoML's documentation writes one for a NumPy model."""

import os

import bentoml
import numpy as np
from onnx_model import Model


@bentoml.service(workers=1)
class Bench:
    def __init__(self) -> None:
        self.model = Model(os.environ["BENCH_MODEL"])

    @bentoml.api
    def predict(self, inputs: np.ndarray) -> np.ndarray:
        return self.model(inputs)
