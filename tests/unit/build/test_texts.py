"""Bags of words: every text is cut, lowercased and counted as scikit-learn does it, in every script."""

import sys
import unicodedata
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from holdfast.build.convert import Input, convert, reads_texts
from holdfast.build.parity import onnx_predict, prove
from holdfast.errors import BuildError, Unconvertible

TEXT = [Input("text", "BYTES")]
WORDS = [
    "the",
    "a",
    "Köln",
    "KÖLN",
    "it's",
    "don't",
    "İstanbul",
    "straße",
    "STRASSE",
    "42",
    "x_y",
    "Привет",
    "ПРИВЕТ",
    "你好",
    "你好世界",
    "été",
    "naïve",
    "NAÏVE",
    "ǅ",
    "Ⅷ",
    "½",
    "good",
    "bad",
    "GOOD",
    "Bad",
    "--",
    ",",
    ".",
    "😀",
    "café-bar",
    "tab\tnew\nline",
]


@pytest.fixture(scope="module")
def texts() -> Any:
    rng = np.random.default_rng(0)
    found = np.array([" ".join(rng.choice(WORDS, rng.integers(0, 20))) for _ in range(300)], dtype=object)
    found[:3] = ["", "a b", "\x00"]
    return found


@pytest.fixture(scope="module")
def praise(texts: Any) -> Any:
    return np.array([int("good" in text.lower()) for text in texts])


@pytest.mark.parametrize(
    "step",
    [
        TfidfVectorizer(),
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
        TfidfVectorizer(ngram_range=(2, 3), norm="l1", use_idf=False),
        TfidfVectorizer(stop_words="english", norm=None),
        TfidfVectorizer(vocabulary=["good", "bad", "never said"], ngram_range=(1, 2)),
        CountVectorizer(),
        CountVectorizer(binary=True, token_pattern=r"(?u)\b\w+\b", lowercase=False),
        make_pipeline(CountVectorizer(), TfidfTransformer(sublinear_tf=True)),
    ],
    ids=str,
)
def test_texts_are_counted_as_by_scikit_learn(texts: Any, praise: Any, step: Any) -> None:
    for last in (LogisticRegression(), MultinomialNB()):
        model = make_pipeline(step, last).fit(texts, praise)
        converted = convert(model, TEXT, "binary")
        report = prove(model, converted, {"text": texts}, task="binary")
        assert report.max_difference < 1e-12
        assert convert(model, TEXT, "binary").onnx == converted.onnx


def test_a_column_of_texts_beside_others_and_behind_a_search(texts: Any, praise: Any) -> None:
    frame = pd.DataFrame({"size": np.arange(300.0), "text": texts})
    table = {"size": frame["size"].to_numpy(), "text": texts}
    columns = ColumnTransformer([("words", TfidfVectorizer(), "text"), ("number", "passthrough", ["size"])])
    model = make_pipeline(columns, Ridge()).fit(frame, praise)
    assert not reads_texts(model)
    prove(model, convert(model, [Input("size", "FP64"), *TEXT], "regression"), table, task="regression")
    search = GridSearchCV(
        make_pipeline(TfidfVectorizer(), LogisticRegression()), {"logisticregression__C": [1.0]}, cv=2
    )
    assert reads_texts(search.fit(texts, praise))
    prove(search, convert(search, TEXT, "binary"), {"text": texts}, task="binary")


def test_every_letter_of_unicode_is_lowercased_and_cut_as_by_python() -> None:
    """All but those that the running Python does not know yet."""
    letters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    known = [letter for letter in letters if unicodedata.category(letter) != "Cn"]
    rows = [f"x{letter}y {letter}{letter}" for letter in known]
    sample = [row for letter, row in zip(known, rows, strict=True) if letter.lower() != letter or ord(letter) < 0x3000]
    vectorizer = CountVectorizer().fit(sample)
    model = make_pipeline(vectorizer, Ridge()).fit(sample[:50], np.arange(50.0))
    rng = np.random.default_rng(1)
    model[-1].coef_, model[-1].intercept_ = rng.normal(size=len(vectorizer.vocabulary_)), 0.0
    built = onnx_predict(convert(model, TEXT, "regression"))
    sigma = np.array(["Σ" not in row for row in sample])  # see `text.SIGMA`
    kept = np.array(sample, dtype=object)[sigma]
    for start in range(0, len(kept), 500):
        part = kept[start : start + 500]
        np.testing.assert_allclose(built({"text": part})[:, 0], model.predict(part.tolist()), atol=1e-12)


def test_a_capital_sigma_is_told_of() -> None:
    model = make_pipeline(CountVectorizer(), Ridge()).fit(["λόγος ένας", "δύο"], [0.0, 1.0])
    assert any("sigma" in note for note in convert(model, TEXT, "regression").notes)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (TfidfVectorizer(analyzer="char"), "own 'analyzer'"),
        (TfidfVectorizer(strip_accents="unicode"), "own 'strip_accents'"),
        (TfidfVectorizer(tokenizer=str.split, token_pattern=None), "own 'tokenizer'"),
        (TfidfVectorizer(token_pattern="[a-z]+"), r"token_pattern '\[a-z\]\+'"),
        (TfidfVectorizer(stop_words="english", ngram_range=(1, 2)), "stop words before sequences"),
        (TfidfVectorizer(dtype=np.float32), "float32"),
        (CountVectorizer(vocabulary=["good", "two words"]), "the term 'two words'"),
        (HashingVectorizer(n_features=64), "no exact conversion"),
    ],
)
def test_what_cannot_be_exact_is_refused_by_name(texts: Any, praise: Any, step: Any, says: str) -> None:
    model = make_pipeline(step, LogisticRegression()).fit(texts, praise)
    with pytest.raises(Unconvertible, match=says) as caught:
        convert(model, TEXT, "binary")
    assert type(step).__name__ in caught.value.where


def test_a_vectorizer_takes_one_plain_text_column(texts: Any) -> None:
    with pytest.raises(Unconvertible, match="one text column"):
        convert(
            make_pipeline(CountVectorizer(), Ridge()).fit(texts, np.arange(300.0)),
            [*TEXT, Input("b", "BYTES")],
            "regression",
        )


def test_a_text_that_is_missing_is_refused_as_the_original_refuses_it(texts: Any, praise: Any) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, praise)
    holed = {"text": np.array(["good", None, "bad"], dtype=object)}
    with pytest.raises(BuildError, match="the original model itself does not answer the reference"):
        prove(model, convert(model, [Input("text", "BYTES", nullable=True)], "binary"), holed, task="binary")
