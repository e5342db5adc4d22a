"""A function on Robyn, its server written in Rust."""

import json
import sys

from onnx_model import Model
from robyn import Request, Robyn

model_path, port = sys.argv[1:3]
sys.argv[1:] = ["--log-level", "ERROR"]  # Robyn reads the command line itself
model = Model(model_path)
app = Robyn(__file__)


@app.post("/predict")
async def predict(request: Request) -> dict:
    return {"predictions": model(json.loads(request.body)["inputs"]).tolist()}


app.start(host="127.0.0.1", port=int(port))
