"""Steps that are done for some examples at a time: the same numbers as one step after the other."""

from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import ops
from tests.tables import for_each

CHANNELS = 6


def convolved(x: Any, w: Any) -> Any:
    return ops.relu(ops.conv(x, w, padding=1))


def normalised(x: Any, w: Any) -> Any:
    centred = x - np.mean(x, axis=(0, 2, 3), keepdims=True)
    return centred / np.sqrt(np.mean(np.square(centred), axis=(0, 2, 3), keepdims=True) + 1e-5)


def rows_normalised(x: Any) -> Any:
    centred = x - np.mean(x, axis=-1, keepdims=True)
    return centred / np.sqrt(np.mean(np.square(centred), axis=-1, keepdims=True) + 1e-5)


#: What is computed of images (m, 6, h, h) and filters (6, 3, 3, 6). Some read values of other examples than their own.
PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    "convolutions and pooling": lambda x, w: ops.max_pool(convolved(ops.max_pool(convolved(x, w), 2), w), 2),
    "windows that reach beyond": lambda x, w: ops.conv(ops.conv(np.exp(x), w, padding=4, dilation=2), w) / 9,
    "scaled by channel": lambda x, w: (np.exp(x) - w[0, 0, 0, :, None, None]) * w[1, 0, 0, :, None, None] + np.exp(x),
    "normalised": lambda x, w: ops.max_pool(ops.relu(normalised(convolved(x, w), w)), 2),
    "sums by channel, scaled": lambda x, w: convolved(x, w) * np.sum(np.exp(x), axis=(0, 2, 3))[:, None, None],
    "sums by channel as if by example": lambda x, w: np.sum(np.exp(x) * x, axis=(0, 2, 3))[:, None, None, None] + x[:6],
    "examples turned round": lambda x, w: np.square(np.exp(x)[::-1] * x),
    "channels as examples": lambda x, w: np.swapaxes(np.exp(x[:6]), 0, 1) * np.tanh(x[:6]),
    "sums by example": lambda x, w: np.sum(np.exp(x), axis=(1, 2, 3))[:, None, None, None] * x,
    "filters of the images": lambda x, w: ops.conv(
        x, np.swapaxes(np.exp(x[:6, :, :3, :3]), 1, 3)[:, :, :, :6], padding=1
    ),
    "side by side, turned": lambda x, w: np.concatenate(
        [np.swapaxes(np.exp(x), 1, 2), np.swapaxes(np.tanh(x) * x, 1, 2)[:, :, ::-1]], axis=2
    ),
    "side by side along the examples": lambda x, w: np.concatenate([np.exp(x), np.tanh(x)])[: len(x)] * x,
    "products of an example's own": lambda x, w: np.swapaxes(np.exp(x) / 9, 2, 3) @ np.tanh(x),
    "attention": lambda x, w: cr.softmax(x @ np.swapaxes(x, 2, 3) / 3) @ np.tanh(x),
    "rows normalised": lambda x, w: rows_normalised(x) * np.tanh(x),
    "rows of other channels": lambda x, w: np.exp(x) * np.exp(x)[:, ::-1] / np.sum(np.exp(x), axis=3, keepdims=True),
    "one thing twice": lambda x, w: (np.exp(x), np.sum(np.exp(x) * x, axis=(0, 2, 3)), np.exp(x) + 1),
}


def arrays(m: int, dtype: str = "float32") -> tuple[Any, Any]:
    rng = np.random.default_rng(m)
    size = 40 if m == CHANNELS else 12  # enough to be worth a pipeline
    x = rng.normal(size=(m, CHANNELS, size, size)).astype(dtype)
    return x, (rng.normal(size=(CHANNELS, 3, 3, CHANNELS)) / 5).astype(dtype)


@for_each("program", PROGRAMS)
def test_programs_of_images(program: str) -> None:
    f = PROGRAMS[program]

    def loss(x: Any, w: Any) -> Any:
        out = f(x, w)
        parts = out if isinstance(out, tuple) else (out,)
        return sum(np.sum(np.square(part)) for part in parts) / x.size, out

    both = cr.value_and_grad(loss, argnums=(0, 1), has_aux=True, allow_unused=True)
    for m, dtype in ((CHANNELS, "float32"), (53, "float32"), (41, "float64")):
        x, w = arrays(m, dtype)
        wanted = flat(cr.compile(both, engine="numpy")(x, w))
        one = flat(cr.compile(both, engine="native", threads=1)(x, w))
        two = flat(cr.compile(both, engine="native", threads=2)(x, w))
        for a, b, c in zip(wanted, one, two, strict=True):
            np.testing.assert_allclose(
                b, a, rtol=0, atol=(2e-4 if dtype == "float32" else 1e-11) * max(1, np.abs(a).max())
            )
            np.testing.assert_array_equal(b, c)


def flat(results: Any) -> list[Any]:
    if isinstance(results, tuple | list):
        return [x for part in results for x in flat(part)]
    return [np.asarray(results)]


@for_each("times", (2, 3, 5))
def test_results_in_the_memory_of_what_later_examples_read(times: int) -> None:
    """Sums of rows of an array that is not needed afterwards: the next result, of longer rows, lies where it was."""
    x = np.random.default_rng(times).normal(size=(96, 4096)).astype("float32")
    factors = np.linspace(1, 2, times * x.shape[1]).astype("float32")

    def f(x: Any) -> Any:
        ordered = np.sort(x * 2, axis=1)
        return np.sort(np.sum(ordered * ordered, axis=1, keepdims=True) * factors, axis=1)[:, :: x.shape[1]]

    expected = np.sum(np.square(2.0 * x), axis=1, keepdims=True) * factors[:: x.shape[1]]
    for threads in (1, 2):
        np.testing.assert_allclose(cr.compile(f, engine="native", threads=threads)(x), expected, rtol=1e-5)


@for_each("m", (6, 53))
def test_a_result_that_stays_has_memory_of_its_own_where_others_lay(m: int) -> None:
    """What is read at the end might take the memory of arrays that are still read for other examples."""
    rng = np.random.default_rng(m)
    x, w = rng.normal(size=(m, 24, 24, 24)).astype("float32"), rng.normal(size=(24, 3, 3, 24)).astype("float32") / 9

    def f(x: Any, w: Any) -> Any:
        a = ops.conv(x, w, padding=1)
        b = np.sum(a, axis=(0, 2, 3))[:, None, None]
        c = ops.conv(ops.relu(a - b), w, padding=1)
        d = ops.max_pool(ops.conv(c, w, padding=1) + c, 2)
        return np.sum(d, axis=(0, 2, 3))[:, None, None] * d, np.sum(c * c, axis=(0, 2, 3))

    wanted = cr.compile(f, engine="numpy")(x, w)
    for threads in (1, 2):
        for a, b in zip(cr.compile(f, engine="native", threads=threads)(x, w), wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=2e-4 * np.abs(b).max())
