"""Convolutions of the native engine beside NumPy's: channels in lanes, images in lanes, and places of few images."""

from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from tests.tables import for_each

FILTERS = (1, 5, 8, 13, 15, 16, 24, 31, 33, 40, 47)  # that fill vectors of each width, nearly, and not


class Case(NamedTuple):
    """The examples, channels of a group, size in space, filters of a group, and the settings of a convolution."""

    examples: int
    channels: int
    space: tuple[int, ...]
    filters: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    groups: int


NAMED = {
    "rows of zeros around a single one": Case(16, 1, (1, 1), 8, (1, 2), (1, 3), (1, 2), (1, 3), 3),
    "zeros alone at a border": Case(3, 2, (2, 3), 16, (2, 2), (1, 1), (1, 1), (3, 3), 1),
    "one place": Case(5, 3, (3, 3), 32, (3, 3), (1, 1), (1, 1), (0, 0), 1),
    "filters of one element": Case(4, 16, (5, 6), 32, (1, 1), (1, 1), (1, 1), (0, 0), 1),
    "phases that no tap reaches": Case(2, 16, (9, 8), 16, (2, 1), (3, 4), (1, 1), (0, 1), 2),
    "rows longer than a tile of places": Case(2, 1, (3, 300), 16, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "more examples than parts of a sum": Case(37, 2, (6, 5), 16, (3, 3), (1, 1), (1, 1), (1, 1), 1),
}


def drawn(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 2, 2]))
    size, stride, dilation, padding = (
        tuple(rng.integers(low, high, n).tolist()) for low, high in ((1, 5), (1, 4), (1, 3), (0, 4))
    )
    reach = [(k - 1) * d + 1 - 2 * p for k, d, p in zip(size, dilation, padding, strict=True)]
    space = tuple(max(1, r) + int(rng.integers(0, 17)) for r in reach)
    examples, channels, groups = (int(rng.choice(c)) for c in ((1, 2, 7, 8, 17, 33), (1, 2, 3, 8, 16), (1, 1, 2, 3)))
    return Case(examples, channels, space, int(rng.choice(FILTERS)), size, stride, dilation, padding, groups)


def check(case: Case, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(case.examples, case.groups * case.channels, *case.space)).astype(dtype)
    w = rng.normal(size=(case.channels, *case.size, case.groups * case.filters)).astype(dtype)
    given = {"stride": case.stride, "dilation": case.dilation, "padding": case.padding, "groups": case.groups}
    g = rng.normal(size=ops.conv(x, w, **given).shape).astype(dtype)

    def f(x: Any, w: Any) -> Any:
        y = ops.conv(x, w, **given)
        return np.sum(y * g), y

    step = cr.value_and_grad(f, argnums=(0, 1), has_aux=True)
    found = []
    for engine, threads in (("numpy", 1), ("native", 1), ("native", 2)):
        (_, y), gradients = cr.compile(step, engine=engine, threads=threads)(x, w)
        found.append([np.array(a) for a in (y, *gradients)])
    near = 3e-5 if dtype == "float32" else 1e-12
    for expected, one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, expected, rtol=0, atol=near * max(1.0, np.abs(expected).max()))
        np.testing.assert_array_equal(one, two)


@for_each(("name", "dtype"), [(n, d) for n in NAMED for d in ("float32", "float64")])
def test_convolutions_at_borders(name: str, dtype: str) -> None:
    check(NAMED[name], dtype)


@for_each("seed", range(8))
def test_random_convolutions(seed: int) -> None:
    check(drawn(seed), ("float32", "float64")[seed % 2])


@pytest.mark.slow
@for_each("seed", range(8, 150))
def test_more_random_convolutions(seed: int) -> None:
    check(drawn(seed), ("float32", "float64")[seed % 2])


@for_each(("length", "dtype"), [(n, d) for n in (513, 784, 1000, 1024, 1025) for d in ("float32", "float64")])
def test_numbers_of_rows(length: int, dtype: str) -> None:
    """Fused steps that read one number for each channel, example, or both, and a row the same for all."""
    rng = np.random.default_rng(length)
    shapes = ((3, 4, length), (4, 1), (3, 1, 1), (3, 4, 1), (length,), (4, length))
    arrays = [rng.normal(size=s).astype(dtype) for s in shapes]

    def f(x: Any, by_channel: Any, by_example: Any, by_both: Any, row: Any, rows: Any) -> Any:
        y = np.maximum(x * by_channel + by_example, by_both)
        z = np.where(y > by_both, y - row, by_channel) * np.broadcast_to(by_both, x.shape) ** 2
        return y, np.tanh(z) / (1 + by_example**2), (z > by_channel) * rows

    expected = cr.compile(f, engine="numpy")(*arrays)
    for threads in (1, 2):
        for a, b in zip(cr.compile(f, engine="native", threads=threads)(*arrays), expected, strict=True):
            assert np.asarray(a).dtype == np.asarray(b).dtype
            np.testing.assert_allclose(a, b, rtol=1e-5 if dtype == "float32" else 1e-13, atol=1e-6)


def test_products_ended_by_numbers_of_rows() -> None:
    rng = np.random.default_rng(0)
    a, b, s = rng.normal(size=(40, 30)), rng.normal(size=(30, 900)), rng.normal(size=(40, 1))

    def f(a: Any, b: Any, s: Any) -> Any:
        return np.maximum(a @ b * s + s, 0)

    np.testing.assert_allclose(cr.compile(f, engine="native")(a, b, s), np.maximum(a @ b * s + s, 0), rtol=1e-11)
