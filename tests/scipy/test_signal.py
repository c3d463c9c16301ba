"""Convolutions against SciPy's, on arrays, compiled, and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.scipy import signal
from tests.tables import for_each

theirs = pytest.importorskip("scipy.signal")

SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((7,), (4,)), ((1,), (1,)), ((5, 4), (3, 2)), ((4, 3), (4, 1)), ((3, 2, 3), (2, 2, 1)), ((), ()),
]  # fmt: skip
MODES = ("full", "same", "valid")


def drawn(shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.random.default_rng((seed, *shape)).normal(size=shape)


def check(name: str, a: Any, b: Any, *args: Any, gradient: bool = True, **more: Any) -> None:
    """Compare one call with SciPy's; its gradient in both arguments with differences."""
    ours = getattr(signal, name)
    expected = getattr(theirs, name)(a, b, *args, **more)
    for found in (ours(a, b, *args, **more), cr.compile(lambda a, b: ours(a, b, *args, **more))(a, b)):
        assert np.asarray(found).dtype == expected.dtype and np.shape(found) == expected.shape
        np.testing.assert_allclose(found, expected, 1e-10, 1e-10)
    if gradient and expected.size:
        assert cr.gradcheck(lambda a, b: ours(a, b, *args, **more), a, b)


@for_each("shapes", SHAPES)
@for_each("mode", MODES)
def test_of_any_number_of_axes(shapes: Any, mode: str) -> None:
    a, b = (drawn(shape, k) for k, shape in enumerate(shapes))
    for name in ("convolve", "correlate"):
        for method in ("direct", "fft") if a.ndim else ("direct",):
            check(name, a, b, mode, method, gradient=(name, mode) == ("convolve", "same"))
            check(name, b, a, mode, gradient=False)


@for_each("mode", MODES)
@for_each("more", [{"boundary": "wrap"}, {"boundary": "symm"}, {"fillvalue": 1.5}, {}])
@pytest.mark.slow
def test_of_matrices(mode: str, more: Any) -> None:
    for a, b in (((5, 4), (3, 2)), ((4, 4), (4, 3)), ((3, 4), (5, 4)) if mode != "valid" else ((5, 5), (1, 1))):
        for name in ("convolve2d", "correlate2d"):
            check(name, drawn(a), drawn(b, 1), mode, gradient=b == (3, 2) and name == "correlate2d", **more)


def test_large_and_along_some_axes() -> None:
    a, b = drawn((3, 400)), drawn((3, 200), 1)
    for mode in MODES:
        check("fftconvolve", a, b, mode, axes=1, gradient=False)
        check("fftconvolve", a, b[:1], mode, axes=-1, gradient=False)
    check("convolve", drawn((4000,)), drawn((3000,), 1), gradient=False)  # by Fourier transforms
    fill = cr.grad(lambda v: np.sum(signal.convolve2d(a, b[:2, :3], fillvalue=v)))(0.5)
    inside = cr.grad(lambda v: np.sum(signal.convolve2d(a + v, b[:2, :3])))(0.0)
    np.testing.assert_allclose(fill + inside, np.sum(np.ones((4, 402))) * np.sum(b[:2, :3]))


def test_dtypes() -> None:
    a, b = np.arange(6), np.array([3, -1, 2])
    check("convolve", a, b, gradient=False)
    check("correlate2d", a.reshape(2, 3), b.reshape(1, 3), gradient=False)
    for first in (a.astype("f"), a):
        found, expected = (module.convolve(first, b.astype("f"), "same") for module in (signal, theirs))
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, 1e-5)


MISTAKES: dict[str, tuple[Any, type[Exception], str]] = {
    "mode": (lambda: signal.convolve([1.0], [1.0], "all"), ValueError, "mode: expected .*full"),
    "method": (lambda: signal.convolve([1.0], [1.0], method="slow"), ValueError, "method: expected"),
    "boundary": (lambda: signal.convolve2d([[1.0]], [[1.0]], boundary="edge"), ValueError, "boundary: expected"),
    "axes": (lambda: signal.correlate(np.ones(3), np.ones((2, 2))), ValueError, r"in1 has shape \(3,\)"),
    "matrices": (lambda: signal.convolve2d(np.ones(3), np.ones(3)), ValueError, "two matrices"),
    "valid": (lambda: signal.convolve(np.ones((3, 1)), np.ones((1, 3)), "valid"), ValueError, "the larger along"),
    "complex": (lambda: signal.convolve(np.ones(3) * 1j, np.ones(3)), TypeError, "complex128, expected real"),
}


@for_each("mistake", MISTAKES)
def test_mistakes(mistake: str) -> None:
    call, kind, message = MISTAKES[mistake]
    with pytest.raises(kind, match=message):
        call()
