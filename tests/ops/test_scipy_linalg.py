"""``chainrule.scipy.linalg`` against SciPy: values, gradients, both engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import chainrule as cr
from chainrule.core.node import FUNCTIONS
from chainrule.scipy import linalg
from tests.ops.checking import close, derivative
from tests.tables import in_turn

rng = np.random.default_rng(7)
A = rng.normal(size=(3, 3)) + 4 * np.eye(3)
B, V = rng.normal(size=(3, 2)), rng.normal(size=3)
P = A @ A.T
BANDS = rng.normal(size=(4, 5)) + 5 * (np.arange(4) == 1)[:, None]

CASES: dict[str, list[tuple[Callable[..., Any], tuple[Any, ...]]]] = {
    "expm": [(lambda s, a: s.expm(a), (A,)), (lambda s, a: s.expm(a), (rng.normal(size=(2, 2, 2)),))],
    "sqrtm": [(lambda s, a: s.sqrtm(a), (P,))],
    "solve_sylvester": [(lambda s, *x: s.solve_sylvester(*x), (A, rng.normal(size=(2, 2)), B))],
    "solve_triangular": [
        (lambda s, a, b, k=k: s.solve_triangular(a, b, **k), (A, b))
        for k in ({}, {"lower": True}, {"trans": 1}, {"trans": "T", "lower": True}, {"unit_diagonal": True})
        for b in (B, V)
    ],
    "cholesky": [
        *((lambda s, a, k=k: s.cholesky(a @ a.T, lower=k), (A,)) for k in (True, False)),
        (lambda s, a: s.cholesky(a), (A @ A.T + np.tril(A, -1),)),  # reads one triangle
        (lambda s, a: s.cholesky(a, lower=True), (A @ A.T + np.triu(A, 1),)),
    ],
    "cho_factor": [(lambda s, a: np.triu(s.cho_factor(a @ a.T)[0]), (A,))],
    "cho_solve": [(lambda s, a, b, k=k: s.cho_solve(s.cho_factor(a @ a.T, lower=k), b), (A, B)) for k in (True, False)],
    "block_diag": [(lambda s, *x: s.block_diag(*x), (A, B, V, np.array(2.0)))],
    "solve_banded": [(lambda s, ab, b: s.solve_banded((2, 1), ab, b), (BANDS, rng.normal(size=5)))],
    "toeplitz": [(lambda s, *x: s.toeplitz(*x), (V,)), (lambda s, *x: s.toeplitz(*x), (V, rng.normal(size=4)))],
    "solve": [(lambda s, a, b, k=k: s.solve(a, b, transposed=k), (A, B)) for k in (True, False)],
    "eigh": [
        (lambda s, a: s.eigh(a + a.T)[0], (A,)),
        (lambda s, a: s.eigh(a + a.T, eigvals_only=True), (A,)),
        (lambda s, a: s.eigh(a, lower=False, eigvals_only=True), (A,)),
    ],
    "inv": [(lambda s, a: s.inv(a), (A,))],
    "det": [(lambda s, a: s.det(a), (A,))],
    "norm": [(lambda s, a: s.norm(a), (A,)), (lambda s, a: s.norm(a, 2), (A,))],
    "pinv": [(lambda s, a: s.pinv(a), (B,))],
    "svd": [(lambda s, a: s.svd(a, full_matrices=False)[1], (B,))],
    "svdvals": [(lambda s, a: s.svdvals(a), (B,))],
}


def test_every_function_has_a_case() -> None:
    assert set(CASES) == set(dir(linalg))
    assert {f"scipy.linalg.{name}" for name in CASES} <= set(FUNCTIONS)


@pytest.mark.parametrize(("f", "inputs"), in_turn([c for n in CASES for c in CASES[n]]))
def test_value_and_gradient(f: Any, inputs: Any) -> None:
    expected = f(scipy.linalg, *inputs)
    close(f(linalg, *[cr.tensor(x) for x in inputs]).value, expected, 1e-13)
    close(f(linalg, *inputs), expected, 1e-13)
    weights = rng.normal(size=np.shape(expected))
    every = tuple(range(len(inputs)))
    ours = cr.value_and_grad(lambda *x: np.sum(weights * f(linalg, *x)), argnums=every)
    slopes = [
        derivative(lambda x, k=k: np.sum(weights * f(scipy.linalg, *inputs[:k], x, *inputs[k + 1 :])), inputs[k])
        for k in every
    ]
    for run in (ours, cr.compile(ours, engine="numpy"), cr.compile(ours, engine="native")):
        value, gradients = run(*inputs)
        close(value, np.sum(weights * expected), 1e-12)
        for g, slope in zip(gradients, slopes, strict=True):
            close(g.reshape(1, -1), slope, 1e-6)


def test_expm_of_a_nilpotent_matrix_by_hand() -> None:
    """The exponential of [[0, x], [0, 0]] is [[1, x], [0, 1]]."""
    x = 0.7
    f = lambda x: linalg.expm(np.array([[0.0, 1.0], [0.0, 0.0]]) * x)  # noqa: E731
    close(f(cr.tensor(x)).value, [[1, x], [0, 1]], 1e-15)
    close(cr.jacobian(f)(x), [[0, 1], [0, 0]], 1e-15)


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda a: linalg.sqrtm(-a), "sqrtm: the result for this matrix is complex"),
        (lambda a: linalg.expm(a[:2]), r"expm: a has shape \(2, 3\)"),
        (lambda a: linalg.solve_sylvester(a, a, a[:2]), r"solve_sylvester: q has shape \(2, 3\), expected \(3, 3\)"),
        (lambda a: linalg.solve_triangular(a, a, trans="x"), "trans is 'x'"),
        (lambda a: linalg.cholesky(a, upper=True), "does not take upper"),
        (lambda a: scipy.linalg.expm(a), r"scipy.linalg.expm takes plain arrays.*Call chainrule.scipy.linalg.expm"),
        (lambda a: scipy.linalg.solve_triangular(a, a), "Call chainrule.scipy.linalg.solve_triangular"),
    ],
)
def test_messages(f: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        cr.grad(lambda a: np.sum(f(a)))(P)
