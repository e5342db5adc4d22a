"""Bytes and files become typed numpy columns here, and the contract is checked on the way: one place for every path.

A *table* is a dict of columns in the contract's order: float64 with NaN for missing numbers, object arrays of str and None
for everything else (BOOL as "true" and "false"). `Decoder` reads the three forms in which rows come (rows of people, Open
Inference Protocol tensors, columns of a file), `infer_contract` makes a contract from data, and `yaml` is its file.
"""

from holdfast.columns.batch import Batch
from holdfast.columns.decode import Decoder, decode_infer, decode_rows, decode_table
from holdfast.columns.inferred import infer_contract
from holdfast.columns.protocol import InferRequest
from holdfast.columns.yaml import dump_yaml, load_yaml

__all__ = [
    "Batch",
    "Decoder",
    "InferRequest",
    "decode_infer",
    "decode_rows",
    "decode_table",
    "dump_yaml",
    "infer_contract",
    "load_yaml",
]
