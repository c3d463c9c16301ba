"""Steps that run for a few examples at a time, and loops whose rows threads share.

The native engine gives the values of NumPy's, and the same bits for any number of threads.
"""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("chainrule.engine._native", reason="the native engine was not built")

import chainrule as cr
from chainrule.core.reverse import reverse
from tests.engine.native_cases import check
from tests.plan.graphs import arrays
from tests.tables import for_each

KINDS = [np.float32, np.float64]
THREADS = (1, 2, 3)


def softmax(x: Any) -> Any:
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def attention(x: Any) -> Any:
    """Causal attention of 3 heads, from queries, keys and values side by side."""
    m, length, width = x.shape
    parts = np.transpose(np.reshape(x, (m, length, 3, 3, width // 9)), (2, 0, 3, 1, 4))
    q, k, v = parts[0], parts[1], parts[2]
    scores = np.where(np.tri(length, dtype=bool), q @ np.swapaxes(k, -1, -2) / 2, -np.inf)
    return np.reshape(np.transpose(softmax(scores) @ v, (0, 2, 1, 3)), (m, length, width // 3))


def normalized(x: Any) -> Any:
    centred = x - np.mean(x, axis=-1, keepdims=True)
    return centred / np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + 1e-5)


def turned(x: Any) -> Any:
    """A chain that reads what others made from the other end, within each part and across parts."""
    y = np.tanh(x)
    return [np.sum(y, axis=-1, keepdims=True) * y[:, ::-1], np.max(y, axis=-1, keepdims=True) + y[::-1]]


def read_in_whole(x: Any) -> Any:
    y = np.exp(-np.abs(x))
    z = y - y[:1]
    return [z / np.sum(y, axis=-1, keepdims=True), z + np.sum(z, axis=0)]


def joined(x: Any) -> Any:
    y = np.concatenate([np.tanh(x), x * 2], axis=1)
    return y / np.max(np.abs(y), axis=-1, keepdims=True)


def flat_and_deep(x: Any) -> Any:
    """The same rows counted along one axis and along two."""
    rows = np.reshape(np.tanh(x), (-1, x.shape[-1]))
    sums = np.reshape(np.sum(rows, axis=1), (*x.shape[:2], 1))
    return normalized(x * sums + np.reshape(rows, x.shape))


FUNCTIONS = [softmax, attention, normalized, turned, read_in_whole, joined, flat_and_deep]


@for_each("dtype", KINDS)
@for_each("shape", [(16, 40, 63), (31, 33, 63), (2, 150, 81), (1, 300, 90), (5, 7, 9)])
@for_each("function", FUNCTIONS)
def test_steps_of_examples(function: Any, shape: tuple[int, ...], dtype: Any) -> None:
    def with_gradient(x: Any, s: Any) -> Any:
        (x,) = x
        out = function(x)
        out = out if isinstance(out, list) else [out]
        (dx,) = reverse([out[0]], [np.cos(out[0])], [x])[0]
        return [*out, dx], {}

    x = arrays([shape], dtype)
    check(with_gradient, x, threads=THREADS, tolerance=1e-4 if dtype == np.float32 else 1e-11)


def test_a_state_is_updated_after_all_examples() -> None:
    def function(x: Any, s: Any) -> Any:
        (x,), (w,) = x, s
        y = softmax(x * w)
        return [np.sum(y * x)], {0: w - 0.1 * normalized(y)}

    check(function, arrays([(90, 400)], np.float32), arrays([(90, 400)], np.float32), threads=THREADS, tolerance=1e-4)


def cell(h: Any, x: Any, U: Any) -> Any:
    return np.tanh(x + h @ U)


#: Steps of loops: from the carry, the slice and a matrix to the next carry.
STEPS = {
    "rows": cell,
    "gates": lambda h, x, U: h + (1 / (1 + np.exp(-x))) * (cell(h, x, U) - h),
    "normalized rows": lambda h, x, U: normalized(h @ U) + x,
    "the carry read twice": lambda h, x, U: h * np.sum(h @ U, axis=1, keepdims=True) / 99 + x,
    "a product of the rows": lambda h, x, U: np.tanh(x + h @ h.T @ (h @ U) / 99),
    "sums over the rows": lambda h, x, U: np.tanh(x - np.mean(h @ U, axis=0)),
    "rows in reverse": lambda h, x, U: cell(h[::-1], x, U),
    "the first row for all": lambda h, x, U: cell(h[:1] + x, x, U),
    "the transpose of products": lambda h, x, U: np.tanh(x + (U.T @ h.T).T),
}


@for_each("dtype", KINDS)
@for_each("rows", [32, 31, 2, 1])
@for_each("name", STEPS)
def test_rows_of_loops(name: str, rows: int, dtype: Any) -> None:
    step = STEPS[name]

    def function(x: Any, s: Any) -> Any:
        h, xs, U = x

        def one(h: Any, x: Any) -> Any:
            h = step(h, x, U)
            return h, h * h

        h, each = cr.scan(one, h, xs)
        total = np.sum(h) + np.sum(np.sin(each))
        return [h, each, *reverse([total], [np.ones_like(total)], x)[0]], {}

    inputs = arrays([(rows, 64), (12, rows, 64), (64, 64)], dtype)  # enough for threads to share
    inputs[2] = inputs[2] / 9
    check(function, inputs, threads=THREADS, tolerance=1e-3 if dtype == np.float32 else 1e-10)
