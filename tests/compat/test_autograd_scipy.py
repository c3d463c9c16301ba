"""autograd's SciPy functions: values of SciPy, derivatives against central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")

import chainrule.compat.autograd.scipy.stats.norm as anorm
import scipy  # which loads its modules when they are used

import chainrule.compat.autograd.numpy as anp
import chainrule.compat.autograd.scipy.linalg as alinalg
from chainrule.compat.autograd.misc.fixed_points import fixed_point
from chainrule.compat.autograd.scipy import special
from chainrule.compat.autograd.scipy.integrate import odeint
from chainrule.compat.autograd.scipy.signal import convolve
from chainrule.compat.autograd.test_util import check_grads

RNG = np.random.default_rng(0)


def test_functions_of_the_table_take_tensors_and_others_stay() -> None:
    assert np.isclose(anorm.pdf(0.3), scipy.stats.norm.pdf(0.3))
    check_grads(anorm.logcdf)(0.3)
    check_grads(special.gammaln, modes=["rev"])(1.3)
    assert special.ellipj is not None and np.isclose(special.zeta(3.0, 1.0), 1.2020569)


@pytest.mark.parametrize("mode", ["full", "valid", "same"])
@pytest.mark.parametrize("shapes", [((6,), (3,)), ((3,), (5,)), ((4, 3), (2, 2)), ((2, 2), (4, 5))])
def test_convolve(mode: str, shapes: Any) -> None:
    a, b = (RNG.normal(size=s) for s in shapes)
    expected = scipy.signal.convolve(a, b, mode)
    if mode == "same":
        expected = scipy.signal.convolve(a, b, "full")  # SciPy centres on the larger, autograd on the first
        corner = [(n - 1) // 2 for n in b.shape]
        expected = expected[tuple(slice(c, c + n) for c, n in zip(corner, a.shape, strict=True))]
    assert np.allclose(convolve(a, b, mode=mode), expected)
    check_grads(lambda a, b: convolve(a, b, mode=mode), (0, 1), modes=["rev"], order=1)(a, b)


def test_convolve_over_some_axes() -> None:
    a, b = RNG.normal(size=(3, 5)), RNG.normal(size=(3, 4, 2))
    found = convolve(a, b, axes=([1], [2]), dot_axes=([0], [0]))
    expected = [sum(scipy.signal.convolve(a[i], b[i, j]) for i in range(3)) for j in range(4)]
    assert np.allclose(found, expected)
    with pytest.raises(ValueError, match="larger along every axis"):
        convolve(np.ones((2, 5)), np.ones((3, 2)), mode="valid")


def motion(y: Any, t: Any, a: Any, b: Any) -> Any:
    return -anp.sqrt(t) - y + a - anp.mean((y + b) ** 2)


def test_odeint() -> None:
    y0, t, a, b = RNG.normal(size=3), np.linspace(0.1, 0.4, 4), RNG.normal(size=3), 0.5
    tight = {"rtol": 1e-10, "atol": 1e-10}
    assert np.allclose(odeint(motion, y0, t, (a, b)), scipy.integrate.odeint(motion, y0, t, (a, b)))
    check_grads(lambda y, t, a, b: odeint(motion, y, t, (a, b), **tight), (0, 1, 2, 3), modes=["rev"], order=1)(
        y0, t, a, b
    )


def test_fixed_points() -> None:
    def root(a: Any) -> Any:
        return fixed_point(lambda a: lambda x: 0.5 * (x + a / x), a, 1.0, lambda x, y: anp.abs(x - y), 1e-12)

    assert np.isclose(root(2.0), np.sqrt(2.0))
    check_grads(root, modes=["rev"])(2.0)


def test_solve_banded() -> None:
    bands, right = RNG.normal(size=(3, 5)) + np.array([[0.0], [4.0], [0.0]]), RNG.normal(size=(5, 2))
    assert np.allclose(alinalg.solve_banded((1, 1), bands, right), scipy.linalg.solve_banded((1, 1), bands, right))
    check_grads(lambda ab, b: alinalg.solve_banded((1, 1), ab, b), (0, 1), modes=["rev"])(bands, right)
