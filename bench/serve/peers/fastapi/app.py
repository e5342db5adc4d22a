"""Typed FastAPI endpoints, as its tutorial writes them, for the three forms that rows may come in."""

import sys
from typing import Literal

import numpy as np
import uvicorn
from fastapi import FastAPI
from onnx_model import Model
from pydantic import BaseModel, create_model

model = Model(sys.argv[1])
app = FastAPI()


class Question(BaseModel):
    """Lists of numbers."""

    inputs: list[list[float]]


class Answer(BaseModel):
    predictions: list[list[float]]


@app.post("/predict")
async def predict(question: Question) -> Answer:
    return Answer(predictions=model(question.inputs).tolist())


class Tensor(BaseModel):
    """A tensor of the Open Inference Protocol."""

    name: str
    shape: list[int]
    datatype: Literal["FP32", "FP64"]
    data: list[float]


class InferenceRequest(BaseModel):
    inputs: list[Tensor]


class InferenceResponse(BaseModel):
    model_name: str
    outputs: list[Tensor]


@app.post("/v2/models/{name}/infer")
async def infer(name: str, question: InferenceRequest) -> InferenceResponse:
    tensor = question.inputs[0]
    found = model(np.array(tensor.data, dtype=np.float32).reshape(tensor.shape))
    output = Tensor(name="output", shape=list(found.shape), datatype="FP64", data=found.ravel().tolist())
    return InferenceResponse(model_name=name, outputs=[output])


COLUMNS = [f"x{n:02d}" for n in range(20)]
Row = create_model("Row", **dict.fromkeys(COLUMNS, (float, ...)))


class Instances(BaseModel):
    """Objects with a field for each column."""

    instances: list[Row]


@app.post("/v1/models/{name}:predict")
async def rows(name: str, question: Instances) -> Answer:
    found = model([[getattr(row, column) for column in COLUMNS] for row in question.instances])
    return Answer(predictions=found.tolist())


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
