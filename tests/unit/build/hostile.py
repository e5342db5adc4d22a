"""ONNX files that nobody should open: made by code, each under a name that says what it tries."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

F = TensorProto.FLOAT
node = helper.make_node


def model(*nodes: Any, constants: Any = (), x: Any = ("n", 2), functions: Any = (), opset: int = 18) -> ModelProto:
    """A graph from x [n, 2] to y."""
    body = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", F, list(x))],
        [helper.make_tensor_value_info("y", F, ["n", 1])],
        list(constants),
    )
    versions = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("evil", 1)]
    return helper.make_model(body, opset_imports=versions, ir_version=9, functions=list(functions))


def branch(*nodes: Any, constants: Any = ()) -> Any:
    return helper.make_graph(
        list(nodes), "b", [], [helper.make_tensor_value_info("b", F, None)], initializer=list(constants)
    )


def ints(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def outside(location: str, name: str = "w") -> TensorProto:
    tensor = TensorProto(name=name, data_type=F, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def condition() -> TensorProto:
    return numpy_helper.from_array(np.array(True), "yes")


def use(tensor: str = "w") -> Any:
    """Makes y of x and a tensor."""
    return [node("Add", ["x", tensor], ["sum"]), node("ReduceSum", ["sum"], ["y"], keepdims=1)]


def function(name: str, *nodes: Any) -> Any:
    return helper.make_function("evil", name, ["a"], ["c"], list(nodes), [helper.make_opsetid("", 18), helper.make_opsetid("evil", 1)])  # fmt: skip


def doubling(times: int) -> list[Any]:
    """x, its copy behind it, and both behind them, `times` times."""
    names = ["x", *(f"t{i}" for i in range(times))]
    grown = [node("Concat", [names[i], names[i]], [names[i + 1]], axis=1) for i in range(times)]
    return [*grown, node("ReduceSum", [names[-1]], ["y"], keepdims=1)]


def loop(trips: int, *body: Any) -> list[Any]:
    """A loop over a float, and y from what it leaves."""
    inside = helper.make_graph(
        [*body, node("Identity", ["c_in"], ["c_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_in", F, None),
        ],
        [helper.make_tensor_value_info("c_out", TensorProto.BOOL, []), helper.make_tensor_value_info("v_out", F, None)],
    )
    return [
        node("Constant", [], ["trips"], value=ints("", trips)),
        node("Loop", ["trips", "", "x"], ["last"], body=inside),
        node("ReduceSum", ["last"], ["y"], keepdims=1),
    ]


def computed_size() -> list[Any]:
    """A shape that no one has written down: x's width to the power of forty."""
    return [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "one"], ["width"], axis=0),
        node("Cast", ["width"], ["real"], to=TensorProto.DOUBLE),
        node("Pow", ["real", "forty"], ["huge"]),
        node("Cast", ["huge"], ["size"], to=TensorProto.INT64),
        node("ConstantOfShape", ["size"], ["filled"]),
        node("ReduceSum", ["filled"], ["sum"], keepdims=1),
        node("Add", ["x", "sum"], ["z"]),
        node("ReduceSum", ["z"], ["y"], keepdims=1),
    ]


def unread() -> dict[str, bytes]:
    """What must be refused by reading it alone."""
    evil = node("Evil", ["x"], ["y"], domain="com.evil")
    found: dict[str, ModelProto | bytes] = {
        "empty": b"",
        "text": b"print('hello')",
        "zeros": b"\x00" * 64,
        "a pickle": b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.",
        "no graph": ModelProto(ir_version=9).SerializeToString(),
        "operator of a library": model(evil),
        "operator of extensions": model(node("PyCustomOp", ["x"], ["y"], domain="ai.onnx.contrib")),
        "operator of a provider": model(node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="/etc/passwd")),
        "operator that runs Python": model(node("PythonOp", ["x"], ["y"], domain="com.microsoft")),
        "operator of ATen": model(node("ATen", ["x"], ["y"], domain="org.pytorch.aten", operator="aten::system")),
        "unknown standard operator": model(node("Exec", ["x"], ["y"])),
        "preview operator": model(node("Adam", ["x"], ["y"], domain="ai.onnx.preview.training")),
        "internal layout operator": model(node("Conv", ["x"], ["y"], domain="com.microsoft.nchwc")),
        "operator in a branch": model(node("If", ["yes"], ["y"], then_branch=branch(evil), else_branch=branch(evil)), constants=[condition()]),
        "operator in a function": model(node("F", ["x"], ["y"], domain="evil"), functions=[function("F", node("Evil", ["a"], ["c"], domain="com.evil"))]),
        "operator in a branch of a function": model(node("F", ["x"], ["y"], domain="evil"), functions=[function("F", node("If", ["a"], ["c"], then_branch=branch(evil), else_branch=branch(evil)))]),
        "file beside it": model(*use(), constants=[outside("weights.bin")]),
        "file above it": model(*use(), constants=[outside("../../../etc/passwd")]),
        "file by its path": model(*use(), constants=[outside("/etc/passwd")]),
        "file by a link": model(*use(), constants=[outside("link.bin")]),
        "memory by its address": model(*use(), constants=[outside("*/_ORT_MEM_ADDR_/*")]),
        "file of a Constant": model(node("Constant", [], ["w"], value=outside("/etc/passwd", "")), *use()),
        "file in a branch": model(node("If", ["yes"], ["y"], then_branch=branch(node("Identity", ["w"], ["b"]), constants=[outside("a")]), else_branch=branch(node("Identity", ["w"], ["b"]), constants=[outside("a")])), constants=[condition()]),
        "file in a function": model(node("F", ["x"], ["y"], domain="evil"), functions=[function("F", node("Constant", [], ["c"], value=outside("a", "")))]),
        "input without end": model(node("ReduceSum", ["x"], ["y"]), x=(1 << 20, 1 << 20)),
        "negative size": model(*use(), constants=[TensorProto(name="w", data_type=F, dims=[-4, -4])]),
        "tensor without its data": model(*use(), constants=[TensorProto(name="w", data_type=F, dims=[1 << 26])]),
        "text tensor without its data": model(*use(), constants=[TensorProto(name="w", data_type=TensorProto.STRING, dims=[4096])]),
        "tensor beyond the budget": model(*use(), constants=[TensorProto(name="w", data_type=F, dims=[1 << 40], raw_data=b"1234")]),
        "tensor of odd bytes": model(node("ConstantOfShape", ["w"], ["y"]), constants=[TensorProto(name="w", data_type=TensorProto.INT64, dims=[2], raw_data=b"123")]),
        "shape by an initializer": model(node("ConstantOfShape", ["s"], ["y"]), constants=[ints("s", 1 << 20, 1 << 20)]),
        "shape by a Constant": model(node("Constant", [], ["s"], value=ints("", 1 << 20, 1 << 20)), node("ConstantOfShape", ["s"], ["y"])),
        "shape by numbers of a Constant": model(node("Constant", [], ["s"], value_ints=[1 << 20, 1 << 20]), node("ConstantOfShape", ["s"], ["y"])),
        "expansion": model(node("Expand", ["x", "s"], ["y"]), constants=[ints("s", 1 << 20, 1 << 20, 2)]),
        "tiles": model(node("Tile", ["x", "s"], ["y"]), constants=[ints("s", 1 << 20, 1 << 20)]),
        "one-hot": model(node("OneHot", ["x", "d", "v"], ["y"]), constants=[ints("d", 1 << 40), ints("v", 0, 1)]),
        "range": model(node("Range", ["a", "z", "s"], ["y"]), constants=[ints("a", 0), ints("z", 1 << 50), ints("s", 1)]),
        "padding": model(node("Pad", ["x", "p"], ["y"]), constants=[ints("p", 0, 0, 0, 1 << 40)]),
        "random numbers": model(node("RandomNormal", [], ["y"], shape=[1 << 20, 1 << 20])),
        "sparse tensor": sparse_bomb(),
        "function that calls itself": model(node("F", ["x"], ["y"], domain="evil"), functions=[function("F", node("F", ["a"], ["c"], domain="evil"))]),
        "functions in a circle": model(node("F", ["x"], ["y"], domain="evil"), functions=[function("F", node("G", ["a"], ["c"], domain="evil")), function("G", node("F", ["a"], ["c"], domain="evil"))]),
        "a thousand million laughs": laughs(),
        "graphs in graphs in graphs": nested(120),
        "a training graph": training(),
        "cut off": model(*use(), constants=[numpy_helper.from_array(np.ones((1, 2), np.float32), "w")]).SerializeToString()[:-9],
    }  # fmt: skip
    return {name: made if isinstance(made, bytes) else made.SerializeToString() for name, made in found.items()}


def squared() -> list[Any]:
    """A tensor of the size of s times s."""
    return [
        node("Mul", ["s", "s"], ["q"]),
        node("ConstantOfShape", ["q"], ["f"]),
        node("ReduceSum", ["f"], ["w"], keepdims=0),
    ]


def rehearsed() -> dict[str, bytes]:
    """What can be found only by opening or running it."""
    one, forty = ints("one", 1), numpy_helper.from_array(np.array(40.0), "forty")
    found = {
        "doubled forty times": model(*doubling(40)),
        "size that is computed": model(*computed_size(), constants=[one, forty]),
        "folded when it is opened": model(*squared(), *use(), constants=[ints("s", 1 << 17, 4)]),
        "more than can be counted": model(*squared(), *use(), constants=[ints("s", 1 << 17, 1 << 17)]),
        "loop without end": model(*loop(1 << 60, node("Identity", ["v_in"], ["v_out"]))),
        "loop that grows": model(*loop(60, node("Concat", ["v_in", "v_in"], ["v_out"], axis=1))),
        "inputs that nobody makes": model(node("Add", ["nobody", "x"], ["y"])),
        "nodes in a circle": model(node("Add", ["x", "b"], ["a"]), node("Add", ["x", "a"], ["b"]), node("ReduceSum", ["b"], ["y"])),
        "version of the year 3000": model(node("ReduceSum", ["x"], ["y"]), opset=3000),
        "a tree that is its own child": model(tree_circle()),
        "text added to a number": model(node("Add", ["x", "t"], ["y"]), constants=[helper.make_tensor("t", TensorProto.STRING, [1], [b"a"])]),
    }  # fmt: skip
    return {name: made.SerializeToString() for name, made in found.items()}


def sparse_bomb() -> ModelProto:
    made = model(*use())
    sparse = made.graph.sparse_initializer.add(dims=[1 << 20, 1 << 20])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "w"))
    sparse.indices.CopyFrom(ints("w_indices", 0))
    return made


def laughs() -> ModelProto:
    functions = [function("F0", node("Identity", ["a"], ["c"]))]
    for level in range(1, 10):
        names = ["a", *(f"t{i}" for i in range(9)), "c"]
        inner = [node(f"F{level - 1}", [names[i]], [names[i + 1]], domain="evil") for i in range(10)]
        functions.append(function(f"F{level}", *inner))
    return model(node("F9", ["x"], ["y"], domain="evil"), functions=functions)


def nested(depth: int) -> bytes:
    """Written by hand: the library itself refuses to write so deep a message."""

    def field(number: int, content: bytes) -> bytes:
        length, size = b"", len(content)
        while True:
            length += bytes([size & 0x7F | (0x80 if size > 0x7F else 0)])
            size >>= 7
            if not size:
                return bytes([number << 3 | 2]) + length + content

    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(1, b"then_branch") + field(6, graph)) + field(4, b"If"))
    return field(7, graph)


def training() -> ModelProto:
    made = model(node("ReduceSum", ["x"], ["y"]))
    made.training_info.add().algorithm.node.append(node("Evil", ["x"], ["y"], domain="com.evil"))
    return made


def tree_circle() -> Any:
    made = node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "BRANCH_LEQ", "LEAF"],
        nodes_values=[0.5, 0.5, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 2, 0],
        target_treeids=[0],
        target_nodeids=[2],
        target_ids=[0],
        target_weights=[1.0],
    )
    assert made.attribute[0].type != AttributeProto.UNDEFINED
    return made
