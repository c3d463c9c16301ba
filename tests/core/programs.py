"""Programs on NumPy's arrays against the same programs on tensors: values, derivatives, both engines."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import chainrule as cr

Program = Callable[..., Any]


def weighted(f: Program) -> Program:
    """Return a program as one to a number, on copies of its arguments."""

    def scalar(*arrays: Any) -> Any:
        out = f(*[x.copy() for x in arrays])
        weights = np.sin(np.arange(1, np.size(out) + 1)).reshape(np.shape(out))
        return np.sum(out * weights)

    scalar.__name__ = f.__name__
    return scalar


def central_differences(f: Program, arrays: Sequence[Any], h: float = 1e-5) -> list[Any]:
    """Return the gradient of a program to a number, run on plain arrays."""
    found = []
    for k, x in enumerate(arrays):
        slopes = np.zeros(x.shape)
        for i in np.ndindex(*x.shape):
            ends = []
            for step in (-2 * h, -h, h, 2 * h):
                moved = [np.array(a) for a in arrays]
                moved[k][i] += step
                ends.append(f(*moved))
            slopes[i] = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h)
        found.append(slopes)
    return found


def check(f: Program, arrays: Sequence[Any], *, compiled: bool = True, second: bool = True) -> None:
    """Check value and gradient of a program on tensors, eager and on both engines, and a second derivative."""
    scalar = weighted(f)
    argnums = tuple(range(len(arrays)))
    value, slopes = scalar(*arrays), central_differences(scalar, arrays)
    taken = cr.value_and_grad(scalar, argnums, allow_unused=True)
    ways = [taken] + [cr.compile(taken, engine=e) for e in ("numpy", "native")] * compiled
    for way in ways:
        before = [x.copy() for x in arrays]
        found, gradients = way(*arrays)
        np.testing.assert_allclose(found, value, rtol=1e-12, atol=1e-12, err_msg=f.__name__)
        for g, expected, x, same in zip(gradients, slopes, arrays, before, strict=True):
            np.testing.assert_allclose(g, expected, rtol=1e-6, atol=1e-6 * (1 + abs(value)), err_msg=f.__name__)
            np.testing.assert_array_equal(x, same)
    if second:
        directions = [np.cos(np.arange(x.size)).reshape(x.shape) for x in arrays]

        def along(*points: Any) -> Any:
            parts = cr.grad(scalar, argnums, allow_unused=True)(*points)
            return sum(np.sum(g * d) for g, d in zip(parts, directions, strict=True))

        products = cr.grad(along, argnums, allow_unused=True)(*arrays)
        for g, expected in zip(products, central_differences(along, arrays, 1e-4), strict=True):
            np.testing.assert_allclose(g, expected, rtol=1e-5, atol=1e-5 * (1 + abs(value)), err_msg=f.__name__)
