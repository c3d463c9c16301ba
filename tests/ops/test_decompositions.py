"""Decompositions where vectors are not determined, against derivatives that are known in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from tests.ops.checking import close, derivative

rng = np.random.default_rng(5)
G = rng.normal(size=(4, 4))
Q = np.linalg.qr(rng.normal(size=(4, 4)))[0]
#: Equal eigenvalues, in a basis of which LAPACK sees nothing.
DOUBLE = Q @ np.diag([1.0, 2.0, 2.0, 5.0]) @ Q.T


def symmetric(a: Any) -> Any:
    return 0.5 * (a + a.T)


SMOOTH: list[tuple[str, Callable[[Any], Any], Any]] = [
    ("sum of equal eigenvalues", lambda a: np.sum(np.linalg.eigvalsh(symmetric(a))[1:3]), DOUBLE),
    ("sum of squares of eigenvalues", lambda a: np.sum(np.linalg.eigvalsh(symmetric(a)) ** 2), np.eye(4)),
    ("log determinant", lambda a: np.sum(np.log(np.linalg.eigvalsh(symmetric(a)))), DOUBLE),
    (
        "projection",
        lambda a: np.sum(G * (lambda v: v @ v.T)(np.linalg.eigh(symmetric(a)).eigenvectors[:, 1:3])),
        DOUBLE,
    ),
    ("projection on one of them", lambda a: np.sum(G * np.outer(*[np.linalg.eigh(symmetric(a))[1][:, 3]] * 2)), DOUBLE),
    ("polar factor", lambda a: np.sum(G * (lambda f: f.U @ f.Vh)(np.linalg.svd(a))), Q),
    ("polar factor of a product", lambda a: np.sum(G * (lambda f: f[0] @ f[2])(np.linalg.svd(a))), Q @ DOUBLE),
    ("nuclear norm", lambda a: np.linalg.norm(a, "nuc"), DOUBLE),
    ("sum of squares of singular values", lambda a: np.sum(np.linalg.svdvals(a) ** 2), np.eye(4)),
    ("and of a singular matrix", lambda a: np.sum(np.linalg.svd(a)[1] ** 2), np.diag([1.0, 1.0, 0.0, 0.0])),
]


@pytest.mark.parametrize(("f", "a"), [pytest.param(f, a, id=name) for name, f, a in SMOOTH])
def test_functions_that_are_smooth_have_their_derivative_at_equal_values(f: Any, a: Any) -> None:
    expected = derivative(f, a).reshape(a.shape)
    close(cr.grad(f)(a), expected, 1e-6)
    for engine in ("numpy", "native"):
        close(cr.compile(cr.grad(f), engine=engine)(a), expected, 1e-6)


@pytest.mark.parametrize(
    "f",
    [
        lambda a: np.sum(G * (lambda w, v: v * np.sqrt(w) @ v.T)(*np.linalg.eigh(a))),
        lambda a: np.sum(G * (lambda u, s, vt: u * np.sqrt(s) @ vt)(*np.linalg.svd(a))),
    ],
)
def test_what_the_vectors_do_not_tell_is_nan_and_not_a_wrong_number(f: Any) -> None:
    """A function of a matrix by its eigenvalues is smooth, but its derivative isn't in the rules of the parts."""
    assert np.isnan(cr.grad(f)(np.eye(4))).any()
    assert np.isfinite(cr.grad(f)(np.diag([1.0, 2.0, 3.0, 4.0]))).all()


@pytest.mark.parametrize(("m", "n"), [(3, 3), (4, 2), (2, 4)])
def test_gradients_agree_with_pytorch(m: int, n: int) -> None:
    torch = pytest.importorskip("torch")
    a = rng.normal(size=(2, m, n))
    k = min(m, n)
    weights = [rng.normal(size=s) for s in ((2, m, k), (2, k), (2, k, n))]

    def ours(a: Any) -> Any:
        u, s, vt = np.linalg.svd(a, full_matrices=False)
        # singular vectors up to a common sign: products of both
        return np.sum(weights[1] * s) + np.sum((u @ vt) * (weights[0] @ weights[2])) + np.sum(s[:, :1] * (u**2)[:, 0])

    x = torch.tensor(a, requires_grad=True)
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    w = [torch.tensor(x) for x in weights]
    (torch.sum(w[1] * s) + torch.sum((u @ vt) * (w[0] @ w[2])) + torch.sum(s[:, :1] * (u**2)[:, 0])).backward()
    close(cr.grad(ours)(a), x.grad, 1e-9)


def test_lstsq_of_a_lower_rank() -> None:
    a, b = np.outer([1.0, 2, 3, 4], [1.0, 1]), np.arange(4.0)
    for found, expected in zip(np.linalg.lstsq(cr.tensor(a), b), np.linalg.lstsq(a, b), strict=True):
        close(found.value if isinstance(found, cr.Tensor) else found, expected, 1e-14)
    _, residuals, _, _ = cr.compile(lambda a: np.linalg.lstsq(a, b))(a)
    assert np.isnan(residuals).all()
    close(
        cr.compile(lambda a: np.linalg.lstsq(a, b))(a + np.eye(4)[:, :2])[1],
        np.linalg.lstsq(a + np.eye(4)[:, :2], b)[1],
    )


@pytest.mark.parametrize(
    ("f", "says"),
    [
        (lambda a: np.linalg.eigvals(a), "eig: the matrix, or one of the stack, has complex eigenvalues"),
        (lambda a: np.linalg.eigh(a[:, :1]), r"eigh: a has shape \(2, 1\)"),
        (lambda a: np.linalg.eigh(a, "x"), "UPLO is 'x', expected 'L' or 'U'"),
        (lambda a: np.linalg.svd(a[0]), r"svd: a has shape \(2,\)"),
        (lambda a: np.linalg.qr(a, "raw"), "mode is 'raw'"),
        (lambda a: np.linalg.norm(a, 3), "ord is 3, expected None, 'fro', 'nuc'"),
        (lambda a: np.linalg.lstsq(a, a[:1]), r"lstsq: a has shape \(2, 2\), b has \(1, 2\)"),
    ],
)
def test_messages(f: Any, says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        cr.grad(lambda a: np.sum(f(a)[0]))(np.array([[0.0, 1.0], [-1.0, 0.0]]))
