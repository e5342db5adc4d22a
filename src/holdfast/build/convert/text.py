"""scikit-learn's bags of words: CountVectorizer, TfidfVectorizer and TfidfTransformer on a text column.

A text is lowercased letter by letter, cut into words, and the words of the vocabulary are counted; everything after that is
arithmetic in float64. ONNX has an operator that lowercases, but what it does depends on the machine's locale, so the letters
are looked up in Python's own table instead: a text is cut into letters, each replaced, and joined again by halves. Words are
what scikit-learn takes for words: runs of Unicode letters, digits and underscores.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.build.convert.graph import Frame, Graph, Path, as_tensor, columns_of, onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

WORDS = {
    r"(?u)\b\w\w+\b": 2,
    r"\b\w\w+\b": 2,
    r"(?u)\b\w+\b": 1,
    r"\b\w+\b": 1,
    r"(?u)\w+": 1,
    r"\w+": 1,
}
"""Patterns for words -> the fewest letters of one."""
LETTER = r"[\pL\pN_]"
SURROGATES = range(0xD800, 0xE000)
SIGMA = "a capital sigma is lowercased as inside a word, also where it ends one"


def count(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    """CountVectorizer: how often each word or sequence of words of the vocabulary stands in the text."""
    return _frame(_counts(graph, frame, step, path), step.vocabulary_)


def weigh(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    """TfidfVectorizer: counts, weighted by how rare a word is, scaled to one length."""
    counts = _counts(graph, frame, step, path)
    return _frame(_weighted(graph, counts, step), step.vocabulary_)


def reweigh(graph: Graph, frame: Frame, step: Any, path: Path) -> Frame:
    """TfidfTransformer: the same, of counts that come from elsewhere."""
    weighted = _weighted(graph, graph.matrix(frame, step, path), step)
    return columns_of(weighted, [c.name for c in frame], exact=False)


def _frame(matrix: str, vocabulary: Mapping[str, int]) -> Frame:
    return columns_of(matrix, sorted(vocabulary, key=lambda term: vocabulary[term]), exact=False)


def _counts(graph: Graph, frame: Frame, step: Any, path: Path) -> str:
    """The counts as a float64 matrix [n, terms]."""
    fewest = _refuse_options(frame, step, path)
    texts = graph.op("Reshape", graph.single(frame[0]), _integers(graph, [-1]))
    if step.lowercase:
        texts = _lowercased(graph, texts)
        if any(letter in term for term in step.vocabulary_ for letter in "σς"):
            graph.notes.append(SIGMA)
    words = _cut(graph, texts, tokenexp=f"{LETTER}{{{fewest},}}", mincharnum=fewest)
    counts = graph.op("Cast", graph.op("TfIdfVectorizer", words, mode="TF", **_pool(step, path)), to=11)
    if step.binary:
        counts = graph.op("Cast", graph.op("Greater", counts, graph.number(0.0)), to=11)
    return counts


def _refuse_options(frame: Frame, step: Any, path: Path) -> int:
    """The fewest letters of a word, if the step does nothing but cut, lowercase and count."""
    if len(frame) != 1 or not frame[0].text or frame[0].replace:
        raise path.refuse(step, "it needs one text column, straight from the input", "give each text a step of its own")
    for option, usual in (("analyzer", "word"), ("preprocessor", None), ("tokenizer", None), ("strip_accents", None)):
        if getattr(step, option) != usual:
            raise path.refuse(step, f"a text vectorizer's own '{option}'", f"use {option}={usual!r}")
    if step.token_pattern not in WORDS:
        raise path.refuse(step, f"token_pattern {step.token_pattern!r}", "use scikit-learn's default")
    if step.stop_words and step.ngram_range[1] > 1:
        raise path.refuse(step, "stop words before sequences of words", "use ngram_range=(1, 1), or no stop words")
    if np.dtype(step.dtype) == np.float32:
        raise path.refuse(step, "counting in float32", "use dtype=float64")
    return WORDS[step.token_pattern]


def _pool(step: Any, path: Path) -> dict[str, Any]:
    """The vocabulary as the operator wants it: shorter sequences first, where each length begins, and each term's column."""
    least, most = step.ngram_range
    lengths: list[list[tuple[list[str], int]]] = [[] for _ in range(most)]
    for term, column in step.vocabulary_.items():
        words = term.split(" ")
        if not least <= len(words) <= most:
            raise path.refuse(
                step, f"the term '{term}', which ngram_range never finds", "leave it out of the vocabulary"
            )
        lengths[len(words) - 1].append((words, int(column)))
    begins = np.cumsum([0, *(sum(len(words) for words, _ in terms) for terms in lengths[:-1])])
    ordered = [term for terms in lengths for term in sorted(terms, key=lambda term: term[1])]
    return {
        "min_gram_length": least,
        "max_gram_length": most,
        "max_skip_count": 0,
        "ngram_counts": begins.tolist(),
        "ngram_indexes": [column for _, column in ordered],
        "pool_strings": [word for words, _ in ordered for word in words],
    }


def _weighted(graph: Graph, counts: str, step: Any) -> str:
    if step.sublinear_tf:
        some = graph.op("Greater", counts, graph.number(0.0))
        logarithm = graph.op("Log", graph.op("Where", some, counts, graph.number(1.0)))
        counts = graph.op("Where", some, graph.op("Add", logarithm, graph.number(1.0)), graph.number(0.0))
    if step.use_idf:
        counts = graph.op("Mul", counts, graph.row(step.idf_))
    if step.norm is None:
        return counts
    axis = _integers(graph, [1])
    if step.norm == "l2":
        length = graph.op("Sqrt", graph.op("ReduceSum", graph.op("Mul", counts, counts), axis, keepdims=1))
    else:
        length = graph.op("ReduceSum", graph.op("Abs", counts), axis, keepdims=1)
    empty = graph.op("Equal", length, graph.number(0.0))
    return graph.op("Div", counts, graph.op("Where", empty, graph.number(1.0), length))


def _cut(graph: Graph, texts: str, **how: Any) -> str:
    """Texts [n] -> their pieces [n, longest + 1], filled up with empty texts; at least one column, so none is never no row."""
    pieces = graph.op("Tokenizer", texts, domain="com.microsoft", pad_value="", mark=0, **how)
    shape = graph.op("Concat", graph.op("Shape", texts), _integers(graph, [1]), axis=0)
    return graph.op("Concat", pieces, graph.op("Expand", _texts(graph, [[""]]), shape), axis=1)


def _lowercased(graph: Graph, texts: str) -> str:
    upper, lower = lower_letters()
    letters = _cut(graph, texts, separators=[""], mincharnum=1)
    table = {
        "keys_tensor": upper,
        "values_tensor": lower,
        "default_tensor": np.array([""], dtype=object),
    }
    changed = graph.op(
        "LabelEncoder", letters, domain="ai.onnx.ml", **{name: as_tensor(v) for name, v in table.items()}
    )
    same = graph.op("Equal", changed, _texts(graph, [""]))
    lowered = graph.op("Where", same, letters, changed)
    joined = graph.op("Loop", "", graph.constant(np.array(True)), lowered, body=_halves())
    return graph.op("Reshape", joined, _integers(graph, [-1]))


@cache
def lower_letters() -> tuple[NDArray[Any], NDArray[Any]]:
    """Every letter that Python's `lower` changes, and what it becomes."""
    letters = (chr(code) for code in range(sys.maxunicode + 1) if code not in SURROGATES)
    changed = [letter for letter in letters if letter.lower() != letter]
    return np.array(changed, dtype=object), np.array([letter.lower() for letter in changed], dtype=object)


def _halves() -> Any:
    """The loop's body: [n, k] texts, each second one joined to the one before it, until one column is left."""
    helper, types = onnx().helper, onnx().TensorProto
    node, info = helper.make_node, helper.make_tensor_value_info
    one, two, end = (
        onnx().numpy_helper.from_array(np.array([v]), n) for v, n in ((1, "one"), (2, "two"), (1 << 62, "end"))
    )
    zero = onnx().numpy_helper.from_array(np.array([0]), "zero")
    blank = helper.make_tensor("blank", types.STRING, [1, 1], [b""])
    nodes = [
        node("Slice", ["texts", "zero", "end", "one", "two"], ["even"]),
        node("Slice", ["texts", "one", "end", "one", "two"], ["odd"]),
        node("Shape", ["texts"], ["rows"], start=0, end=1),
        node("Concat", ["rows", "one"], ["column"], axis=0),
        node("Expand", ["blank", "column"], ["blanks"]),
        node("Concat", ["odd", "blanks"], ["more"], axis=1),
        node("Shape", ["even"], ["width"], start=1, end=2),
        node("Slice", ["more", "zero", "width", "one"], ["second"]),
        node("StringConcat", ["even", "second"], ["joined"]),
        node("Greater", ["width", "one"], ["wide"]),
        node("Squeeze", ["wide"], ["again"]),
    ]
    for number, made in enumerate(nodes):
        made.name = f"{made.op_type}_{number}"
    given = [info("pass", types.INT64, []), info("before", types.BOOL, []), info("texts", types.STRING, [None, None])]
    found = [info("again", types.BOOL, []), info("joined", types.STRING, [None, None])]
    return helper.make_graph(nodes, "halves", given, found, [zero, one, two, end, blank])


def _integers(graph: Graph, values: list[int]) -> str:
    return graph.constant(np.array(values, dtype=np.int64))


def _texts(graph: Graph, values: Any) -> str:
    return graph.constant(np.array(values, dtype=object))


STEPS: dict[str, Callable[[Graph, Frame, Any, Path], Frame]] = {
    "CountVectorizer": count,
    "TfidfVectorizer": weigh,
    "TfidfTransformer": reweigh,
}
"""scikit-learn class name -> how it is converted."""
