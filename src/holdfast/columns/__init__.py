"""Bytes and files become typed numpy columns here, and the contract is checked on the way: one place for every path.

A *table* is a dict of columns: float64 with NaN for missing numbers, object arrays of str and None for everything else (BOOL as
"true" and "false"). A contract is compiled once into a `Layout`, which reads JSON values and columns of files alike; `payloads`
are the wire's forms, `truths` reads labels, `infer` makes a first contract from data, and `yaml` is its file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from holdfast.columns.infer import infer_contract
from holdfast.columns.layout import Batch, Layout
from holdfast.columns.truths import decode_label, decode_labels
from holdfast.columns.yaml import dump_yaml, load_yaml
from holdfast.core.contract import Contract

__all__ = [
    "Batch",
    "Layout",
    "decode_label",
    "decode_labels",
    "decode_table",
    "dump_yaml",
    "infer_contract",
    "load_yaml",
]


def decode_table(contract: Contract, table: Mapping[str, NDArray[Any]]) -> Batch:
    """Columns of a file, checked; columns that the contract does not know are left out."""
    return Layout(contract).from_table(table)
