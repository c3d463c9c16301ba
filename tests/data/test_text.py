"""Texts: reading, ids of characters, windows, what counts predict, and what is refused."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import data


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=5, max_size=40), st.text(max_size=20), st.integers(1, 4))
def test_ids_and_windows(train, other, context):
    if len(set(train) - {"\ufffd"}) < 2:
        return
    letters = data.Characters.fit(data.Text(train), context)
    known = set(train)
    assert letters.decode(letters.encode(train + other)) == "".join(
        c if c in known else "\ufffd" for c in train + other
    )
    X, y = letters.transform(data.Text(train)), letters.transform_target(data.Text(train))
    ids = letters.encode(train).tolist()
    assert X.shape == y.shape == ((len(train) - 1) // context, context)
    for k, (before, after) in enumerate(zip(X.tolist(), y.tolist(), strict=True)):
        assert before == ids[k * context : (k + 1) * context] and after == ids[k * context + 1 : (k + 1) * context + 1]
    assert data.preprocessing(letters.to_dict()) == letters


def test_files(tmp_path):
    file = tmp_path / "a.txt"
    for content, expected in (
        ("Größe 日本\n".encode(), "Größe 日本\n"),
        ("\ufeffa\r\nb\rc".encode(), "a\nb\nc"),
        (b"x", "x"),
    ):
        file.write_bytes(content)
        assert data.read_text(file).content == expected
    for content, message in (
        (b"", "is empty; expected a text"),
        (b"abc\xff\xfe", r"not a text in UTF-8 \(byte 3 is ff\); convert it first"),
        ("Größe".encode("latin-1"), r"not a text in UTF-8 \(byte 2 is f6\)"),
        (b"ab\0c", "holds the character NUL"),
    ):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            data.read_text(file)
    with pytest.raises(ValueError, match="a folder, expected a file of text"):
        data.read_text(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        data.read_text(tmp_path / "b.txt")


def test_texts_that_do_not_do():
    with pytest.raises(ValueError, match="3 characters to train, more than 3 are needed, the context"):
        data.Characters.fit(data.Text("abc"), 3)
    with pytest.raises(ValueError, match="one character only"):
        data.Characters.fit(data.Text("aaaa"), 3)
    letters = data.Characters.fit(data.Text("abcd"), 3)
    with pytest.raises(ValueError, match="the end of it: 3 characters, more than 3 are needed"):
        letters.transform(data.Text("abc", "the end of it"))
    stored = letters.to_dict()
    for change in ({"vocabulary": "abc"}, {"vocabulary": "\ufffdba"}, {"context": 0}, {"more": 1}, {"format": 2}):
        with pytest.raises(ValueError, match="preprocessing: "):
            data.preprocessing({**stored, **change})


def test_counts():
    """Beside sums over the characters, one by one."""
    rng = np.random.default_rng(0)
    train, test = rng.integers(0, 5, 200) ** 2 % 5, rng.integers(0, 5, 60)
    found = data.count_losses(train, test, 5)
    one, two = Counter(train.tolist()), Counter(zip(train[:-1].tolist(), train[1:].tolist(), strict=True))
    single = {c: (one[c] + 1) / (len(train) + 5) for c in range(5)}
    first = Counter(train[:-1].tolist())
    pairs = list(zip(test[:-1].tolist(), test[1:].tolist(), strict=True))
    assert math.isclose(found["single characters"], -np.mean([math.log(single[b]) for _, b in pairs]))
    assert math.isclose(
        found["pairs"], -np.mean([math.log((two[a, b] + single[b]) / (first[a] + 1)) for a, b in pairs])
    )
