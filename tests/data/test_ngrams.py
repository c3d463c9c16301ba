"""Texts in words as hashed character n-grams."""

import json
import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.data import Dataset, Preprocessor, ngrams
from chainrule.data.ngrams import BUCKETS, Ngrams, hashed

WORDS = "the quick brown fox jumps over lazy dogs while seven wizards mix jugs of liquid oxygen".split()


def sentences(rows, seed=0):
    rng = np.random.default_rng(seed)
    texts = [" ".join(WORDS[i] for i in rng.integers(len(WORDS), size=rng.integers(4, 9))) for _ in range(rows)]
    return np.array(texts, object)


def test_texts_in_words_become_numbers_and_others_do_not():
    n = 600
    texts = sentences(n)
    columns = {
        "texts": texts,
        "some": np.where(np.arange(n) % 3 == 0, None, texts),
        "names": np.array([f"row {i}" for i in range(n)], object),
        "categories": np.array([f"one of the {i % 9}" for i in range(n)], object),
        "numbers": np.arange(n),
    }
    assert Ngrams.fit(Dataset.from_columns(columns)).columns == ("texts",)
    columns["some"] = np.where(np.arange(n) % 9 == 0, None, texts)
    assert Ngrams.fit(Dataset.from_columns(columns)).columns == ("texts", "some")
    assert Ngrams.fit(Dataset.from_columns(columns).take(range(400))).columns == ()


def test_the_hash_is_that_of_each_text_alone():
    texts = ["", None, "a", "To be", "to be", "ab\0", "äöü €", *sentences(50)]
    whole = hashed(texts)
    assert whole.shape == (57, BUCKETS)
    for row, text in zip(whole, texts, strict=True):
        assert np.array_equal(hashed([text])[0], row)
    lengths = np.linalg.norm(whole, axis=1)
    assert np.array_equal(whole[3], whole[4]) and lengths[:2].tolist() == [0, 0] and np.allclose(lengths[2:], 1)
    # pinned: a model file holds the hash by its name only
    assert np.flatnonzero(hashed(["ab"])[0]).tolist() == np.flatnonzero(hashed(["AB"])[0]).tolist() == [92, 115]


def test_different_texts_are_nearly_orthogonal():
    rng = np.random.default_rng(0)
    texts = ["".join(chr(c) for c in rng.integers(97, 123, 60)) for _ in range(200)]
    products = hashed(texts) @ hashed(texts).T
    apart = products[~np.eye(200, dtype=bool)]
    assert abs(apart.mean()) < 0.02 and apart.std() < 1.5 / np.sqrt(BUCKETS)


def test_a_network_learns_from_a_word():
    texts = sentences(900)
    y = np.array(["wizards" in text for text in texts])
    train = Dataset.from_columns({"text": texts, "noise": np.arange(900) % 7}, y)
    fitted = Preprocessor.fit(train)
    assert fitted.input_names == ("text", "noise") and fitted.origin("text (n-grams 3)") == "text"
    assert "turned the texts of text into 128 numbers: hashed character n-grams" in fitted.notes
    for robust in (False, True):
        notes = Preprocessor.fit(train, robust=robust).notes
        assert any(re.search(r"columns?.*: text \(\d+ n-grams\)", note) for note in notes)
        assert "n-grams 3" not in str(notes)
    again = Preprocessor.from_dict(json.loads(json.dumps(fitted.to_dict())))
    later = {"noise": np.arange(300) % 7, "text": sentences(300, seed=1)}
    X = again.transform(Dataset.from_columns(later))
    assert np.array_equal(X, fitted.transform(later))
    model = nn.Sequential(nn.Linear(X.shape[1], 1)).initialize(0)
    cr.fit(model, fitted.transform(train), y[:, None].astype(np.float32), loss="binary_cross_entropy", epochs=20,
           optimizer=cr.optim.Adam(lr=0.01), progress=False)  # fmt: skip
    found = cr.predict(model, X)[:, 0] > 0
    assert np.mean(found == ["wizards" in text for text in later["text"]]) > 0.9


def test_records():
    good = Ngrams(("a", "b")).to_dict()
    assert Ngrams.from_dict(good) == Ngrams(("a", "b"))
    with pytest.raises(ValueError, match="n-grams: expected 128 buckets of n-grams of length 3"):
        Ngrams.from_dict(good | {"buckets": 64})


def test_an_export_says_what_it_cannot_do():
    fitted = Preprocessor.fit(Dataset.from_columns({"text": sentences(900)}, np.arange(900) % 2))
    with pytest.raises(
        ValueError, match=r"the texts of 'text' are hashed, which an exported model cannot do: train wi"
    ):
        fitted.raw_columns()


def test_texts_are_hashed_alike_in_blocks_of_any_size(monkeypatch):
    texts = [None, "", "to be or not", "a" * 300, *(f"note {i}" for i in range(50))]
    known = ngrams.hashed(texts)
    each = np.concatenate([ngrams.hashed([text]) for text in texts])
    np.testing.assert_array_equal(known, each)
    for block in (1, 40, 1000):
        monkeypatch.setattr(ngrams, "BLOCK", block)
        np.testing.assert_array_equal(ngrams.hashed(texts), known)
