"""Arrays of more than 2³¹ elements: nothing counts in 32 bits. Zeros but for a few elements, so results are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.engine import available

GIB = 2**30
LENGTH = 2**31 + 12_345
PLACES = np.array([0, 5, 2**31 - 1, 2**31, LENGTH - 1])
VALUES = np.array([1, 2, 3, 250, 7])

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("engine", available())]


def need(gibibytes: float) -> None:
    """Skip where so much memory is not available."""
    memory = Path("/proc/meminfo")
    lines = memory.read_text().splitlines() if memory.exists() else []
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    if not free or free[0] < gibibytes * GIB:
        pytest.skip(f"needs {gibibytes} GiB of memory")


def marked(dtype: Any) -> Any:
    x = np.zeros(LENGTH, dtype)  # pages that are only read take no memory
    x[PLACES] = VALUES
    return x


def test_bytes_and_truth_values(engine: str) -> None:
    need(10)
    x = marked(np.uint8)

    def function(x: Any, i: Any) -> Any:
        middle = x[2**31 - 2 : 2**31 + 2]
        return np.sum(x), np.max(x), np.argmax(x), np.sum(x == 0), np.any(x > 7), middle, x[i]

    f = cr.compile(function, engine=engine)
    total, most, where, zeros, found, middle, picked = f(x, PLACES)
    assert (total, most, where, zeros, found) == (263, 250, 2**31, LENGTH - 5, True)
    assert middle.tolist() == [0, 3, 250, 0] and picked.tolist() == VALUES.tolist()


def test_floats(engine: str) -> None:
    need(12)
    x = marked(np.float32)
    f = cr.compile(lambda x: (np.sum(np.square(x)), np.max(x), np.argmax(x), np.mean(x), x[-2:]), engine=engine)
    squares, most, where, mean, last = f(x)
    assert (squares, most, where) == (np.sum(VALUES**2), 250, 2**31)
    assert mean == pytest.approx(263 / LENGTH, rel=1e-6) and last.tolist() == [0, 7]


def test_a_product_and_its_gradient(engine: str) -> None:
    need(4)
    rows = 2**21 + 3
    x = np.zeros((rows, 1024), np.float32)
    x[0, 0], x[2**21 - 1, 5], x[-1] = 2, 4, 1
    w = np.ones((1024, 2), np.float32)
    loss = cr.value_and_grad(lambda x, w: np.sum(np.square(x @ w)), argnums=1)
    value, gradient = cr.compile(loss, engine=engine)(x, w)
    assert value == 2 * (2**2 + 4**2 + 1024**2)
    expected = np.full((1024, 2), 2 * 1024.0)
    expected[0] += 2 * 2 * 2
    expected[5] += 2 * 4 * 4
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)
    sums = cr.compile(lambda x: (np.sum(x, axis=0), np.sum(x, axis=1)[-2:], np.max(x.T, axis=1)), engine=engine)(x)
    assert sums[0][[0, 1, 5]].tolist() == [3, 1, 5] and sums[1].tolist() == [0, 1024]
    assert sums[2][[0, 1, 5]].tolist() == [2, 1, 4]
