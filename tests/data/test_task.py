"""Inference of the task, and the target's way to numbers and back."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.data import Target, infer_task

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("y", "task", "reason"),
    [
        (["a", "b", "a"], "binary", "binary: y holds two values, a and b"),
        ([True, False], "binary", "two values, False and True"),
        ([0, 1, 1, 0], "binary", "two values, 0 and 1"),
        ([-1, 1], "binary", "two values, -1 and 1"),
        ([0.0, 1.0, 1.0], "binary", "two values"),
        (["a", "b", "c", "a"], "multiclass", "holds 3 different texts"),
        (np.arange(100) % 10, "multiclass", "only 10 different integers in 100 rows"),
        (np.arange(60) % 6 + 3, "multiclass", "only 6 different integers in 60 rows"),
        (np.arange(30.0) % 3, "multiclass", "only 3 different integers"),
        ([0, 1, 2, 0, 1, 2], "multiclass", "counts from 0 to 2"),
        ([3, 5, 9, 3, 5, 9], "regression", "3 different integers in 6 rows"),
        (np.arange(99) % 10 + 3, "regression", "10 different integers in 99 rows"),
        (np.arange(1000) % 21, "regression", "21 different integers in 1,000 rows"),
        (np.arange(1000), "regression", "1,000 different integers"),
        (np.linspace(0, 1, 50), "regression", "50 different numbers in 50 rows"),
        (np.array([0.5, 1.5, 2.5] * 20), "regression", "3 different numbers in 60 rows"),
        (np.eye(3)[[0, 1, 2, 2, 1, 0]], "multiclass", "counts from 0 to 2"),
        (np.array(["a", "b"], dtype=object), "binary", "a and b"),
    ],
)
def test_inference(y, task, reason):
    found, said = infer_task(y)
    assert found == task
    assert said.startswith(task) and reason in said


@pytest.mark.parametrize(
    ("y", "asked", "task"),
    [
        (np.arange(100) % 10, "regression", "regression"),
        (np.arange(100) % 2, "multiclass", "multiclass"),
        (np.arange(100) % 2, "classification", "binary"),
        (np.arange(100), "classification", "multiclass"),
        ([1, 1, 1], "binary", "binary"),
        ([f"name {i}" for i in range(30)], "multiclass", "multiclass"),
    ],
)
def test_override(y, asked, task):
    found, said = infer_task(y, asked)
    assert found == task and "as requested" in said


@pytest.mark.parametrize(
    ("y", "asked", "message"),
    [
        ([1, 1, 1], None, "y holds one value only (1) in 3 rows: expected at least two classes"),
        (["a"], None, "one value only (a) in 1 row"),
        ([1, 1], "classification", "one class only (1)"),
        (["a", "b", "c"], None, "3 different texts in 3 rows, which are names of rows"),
        ([f"{i // 1.5}" for i in range(30)], None, "which are names of rows"),
        (["a", "b"], "regression", "task='regression' needs numbers, and y holds texts such as 'a'"),
        ([1, 2, 3], "binary", "task='binary' needs two classes, and y holds 3 values (1, 2, 3)"),
        ([1, 2], "ranking", "task: expected one of binary, multiclass, regression, classification, got 'ranking'"),
        ([], None, "y is empty"),
        (np.zeros((3, 2)), None, "y has shape (3, 2); expected one entry per row"),
        (np.zeros((2, 2, 2)), None, "y has shape (2, 2, 2)"),
        ([1.0, np.nan, np.inf], None, "y holds 2 values that are NaN or infinite, the first is y[1] = nan"),
        (
            np.array([0, 2**64 - 1], dtype=np.uint64),
            None,
            "y holds 18446744073709551615, which exceeds int64",
        ),
        ([1 + 2j], None, "y has dtype complex128"),
        (np.array([None, "a"]), None, "y has dtype object"),
        (np.array(["2020-01-01"], dtype="datetime64"), None, "dtype datetime64[D]"),
    ],
)
def test_targets_that_cannot_be_learnt(y, asked, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        infer_task(y, asked)


def test_error_names_the_target():
    with pytest.raises(ValueError, match="price holds one value only"):
        infer_task([2.0, 2.0], name="price")


@pytest.mark.parametrize(
    ("y", "classes", "ids"),
    [
        (["cat", "ant", "cat", "bee"], ("ant", "bee", "cat"), [2, 0, 2, 1]),
        ([7, 3, 7], (3, 7), [1, 0, 1]),
        ([True, False], (False, True), [1, 0]),
        ([1.0, 0.0], (0, 1), [1, 0]),
        ([0.5, 0.25], (0.25, 0.5), [1, 0]),
        (["yes", "no"], ("no", "yes"), [1, 0]),
        (["Ja", "Nein"], ("Nein", "Ja"), [1, 0]),
        (["ja", "nein", "vielleicht"], ("ja", "nein", "vielleicht"), [0, 1, 2]),
    ],
)
def test_classes_by_hand(y, classes, ids):
    target = Target.fit(y, "multiclass", "kind")
    assert target.classes == classes and list(map(type, target.classes)) == list(map(type, classes))
    encoded = target.encode(y)
    assert encoded.dtype == np.int64 and encoded.tolist() == ids
    assert target.decode(encoded).tolist() == list(y)


def test_regression_by_hand():
    target = Target.fit([1.0, 2.0, 3.0, 6.0], "regression")
    assert (target.mean, target.std) == (3.0, np.sqrt(3.5))
    encoded = target.encode([3.0, 3.0 + np.sqrt(3.5)])
    assert encoded.shape == (2, 1) and encoded.dtype == np.float32
    assert encoded[:, 0].tolist() == [0.0, 1.0]
    np.testing.assert_allclose(target.decode(encoded), [3.0, 3.0 + np.sqrt(3.5)])
    np.testing.assert_allclose(target.decode([0.0]), [3.0])


@pytest.mark.parametrize(
    ("trained", "later", "ids"),
    [
        (["1", "2", "x"], [2, 1], [1, 0]),
        (["1", "2", "x"], [2.0, 1.0], [1, 0]),
        ([1, 2, 3], ["3", "1"], [2, 0]),
        ([0, 1], [True, False], [1, 0]),
        ([1, 2, 3], [3.0, 2.0], [2, 1]),
    ],
)
def test_labels_typed_otherwise_in_a_later_file(trained, later, ids):
    assert Target.fit(trained, "multiclass").encode(later).tolist() == ids


def test_unknown_label():
    target = Target.fit([0, 1, 2], "multiclass", "digit")
    with pytest.raises(ValueError, match=re.escape("digit holds the label 11 in row 2, which the training split did")):
        target.encode([0, 11])
    with pytest.raises(ValueError, match="label 11 in row 41"):
        target.encode([0, 11], rows=np.array([3, 40]))
    with pytest.raises(ValueError, match="the classes are 0, 1, 2"):
        target.encode([0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Target.fit([1, 1], "binary"), "y holds one class only (1) in the training split"),
        (lambda: Target.fit([1.5, 1.5], "regression"), "y holds one value only (1.5) in the training split"),
        (lambda: Target.fit([1e300, -1e300], "regression"), "which float64 cannot standardise"),
        (lambda: Target.fit([1.0, 2.0], "regression", "mpg").encode(["a"]), "mpg: expected numbers as in training"),
        (
            lambda: Target.fit([0, 1], "binary").decode([2]),
            "predicted holds the class id 2; expected 0 to 1",
        ),
        (lambda: Target.fit([0, 1], "binary").decode([-1]), "class id -1"),
        (lambda: Target.fit([0, 1], "binary").decode([0.5]), "expected integer class ids of shape (n,)"),
        (lambda: Target.fit([0, 1], "binary").decode([[0, 1]]), "predicted has shape (1, 2)"),
        (lambda: Target.fit([0.0, 1.5], "regression").decode([[0, 1]]), "expected one output per row, (n,) or (n, 1)"),
    ],
)
def test_bad_targets(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


LABELS = st.one_of(
    st.lists(st.text(), min_size=2, unique=True),
    st.lists(st.integers(-(2**60), 2**60), min_size=2, unique=True),
    st.just([False, True]),
)


@settings(max_examples=30)
@given(labels=LABELS)
def test_classes_round_trip(labels):
    # NumPy's fixed-width texts do not keep trailing zero characters.
    labels = list(dict.fromkeys(v.rstrip("\0") if isinstance(v, str) else v for v in labels))
    if len(labels) < 2:
        return
    target = Target.fit(labels, "multiclass")
    assert target.decode(target.encode(labels)).tolist() == labels
    again = Target.from_dict(json.loads(json.dumps(target.to_dict())))
    assert again == target and list(map(type, again.classes)) == list(map(type, target.classes))


@given(y=st.lists(st.floats(-1e100, 1e100), min_size=2, unique=True))
def test_regression_round_trip(y):
    try:
        target = Target.fit(y, "regression")
    except ValueError as error:
        assert "float64 cannot standardise" in str(error)
        return
    assert Target.from_dict(json.loads(json.dumps(target.to_dict()))) == target
    np.testing.assert_allclose(target.decode(target.encode(y)), y, atol=1e-5 * target.std)
