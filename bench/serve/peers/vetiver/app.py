"""vetiver's API for an ONNX model, through a handler of one's own."""

import sys

import pandas as pd
import vetiver
from onnx_model import Model
from vetiver.handlers.base import BaseHandler


class Handler(BaseHandler):
    model_class = staticmethod(lambda: Model)

    def describe(self) -> str:
        return "an ONNX model"

    def handler_predict(self, input_data: object, check_prototype: bool) -> list:
        return self.model(input_data).tolist()


model = Model(sys.argv[1])
width = model._session.get_inputs()[0].shape[1]
columns = [f"x{n:02d}" for n in range(width)]
handler = Handler(model, pd.DataFrame([[0.0] * width], columns=columns))
api = vetiver.VetiverAPI(vetiver.VetiverModel(handler, "bench"), check_prototype=True)
api.run(host="127.0.0.1", port=int(sys.argv[2]), quiet_open=True, log_level="error", access_log=False)
