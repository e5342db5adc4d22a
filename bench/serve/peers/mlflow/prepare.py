"""Writes the ONNX file as an MLflow model."""

import sys

import mlflow.onnx
import numpy as np
import onnx
from mlflow.models import infer_signature

proto = onnx.load(sys.argv[1])
width = proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value
mlflow.onnx.save_model(proto, sys.argv[2], signature=infer_signature(np.zeros((1, width), np.float32)))
