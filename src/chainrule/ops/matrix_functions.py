"""Functions of ``scipy.linalg``: exponential and square root of a matrix, Sylvester's equation, triangular systems.

They take matrices, or stacks of them where SciPy's do. What NumPy can compute is a composition of its functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.node import FUNCTIONS
from ..core.notation import raised, root
from ..core.op import Example, Shape, register
from .linalg import square_shape, t
from .norms import norm
from .special import imported
from .table import array_of, floating, implements, promote, shape_of, stored


def _scipy_linalg(name: str) -> Callable[..., Any]:
    """Return a kernel that calls ``scipy.linalg.name``, with a result of its last argument's dtype."""

    def kernel(*xs: Any, out: Any = None) -> Any:
        result = getattr(imported("linalg", name), name)(*xs)
        if np.iscomplexobj(result):
            raise TypeError(f"{name}: the result for this matrix is complex; only real ones are supported")
        return stored(result.astype(xs[-1].dtype, copy=False), out)

    return kernel


def _expm_rule(g: Any, out: Any, a: Any) -> Any:
    n = a.shape[-1]
    zeros = np.zeros(tuple(a.shape), a.dtype)
    both = np.concatenate([np.concatenate([t(a), g], -1), np.concatenate([zeros, t(a)], -1)], -2)
    return expm(both)[..., :n, n:]


EXPM = register(
    "expm",
    numpy="scipy.linalg.expm({0})",
    shape=square_shape("expm"),
    kernel=_scipy_linalg("expm"),
    vjp=(_expm_rule,),
    notation=raised("e"),
    examples=lambda rng: [Example((rng.normal(size=(3, 3)),)), Example((rng.normal(size=(2, 2, 2)),))],
    flops=lambda out, a: 20 * math.prod(a) * a[-1],
    source="Higham, Functions of Matrices, 3.16: the derivative is a block of the exponential of [[A, E], [0, A]]",
)


@implements("scipy.linalg.expm")
def expm(A: Any) -> Any:
    """As ``scipy.linalg.expm``."""
    return apply(EXPM, (floating(A),), {})


def _one_matrix(name: str) -> Callable[..., tuple[Shape, np.dtype[Any]]]:
    def shape(*xs: Any) -> tuple[Shape, np.dtype[Any]]:
        for x in xs:
            if len(x.shape) != 2:
                raise ValueError(f"{name}: expected matrices, got shape {tuple(x.shape)}")
        for x in xs[:2]:
            square_shape(name)(x)
        if len(xs) == 3 and tuple(xs[2].shape) != (xs[0].shape[0], xs[1].shape[0]):
            raise ValueError(f"{name}: q has shape {tuple(xs[2].shape)}, expected {(xs[0].shape[0], xs[1].shape[0])}")
        return tuple(xs[-1].shape), xs[-1].dtype

    return shape


SQRTM = register(
    "sqrtm",
    numpy="scipy.linalg.sqrtm({0})",
    shape=_one_matrix("sqrtm"),
    kernel=_scipy_linalg("sqrtm"),
    vjp=(lambda g, out, a: solve_sylvester(t(out), t(out), g),),
    notation=root("√"),
    examples=lambda rng: [Example((np.diag([1.0, 4.0, 9.0]) + 0.3 * rng.normal(size=(3, 3)),))],
    flops=lambda out, a: 20 * math.prod(a) * a[-1],
)


@implements("scipy.linalg.sqrtm")
def sqrtm(A: Any) -> Any:
    """As ``scipy.linalg.sqrtm``, of a matrix whose square root is real."""
    return apply(SQRTM, (floating(A),), {})


SYLVESTER = register(
    "solve_sylvester",
    numpy="scipy.linalg.solve_sylvester({0}, {1}, {2})",
    shape=_one_matrix("solve_sylvester"),
    kernel=_scipy_linalg("solve_sylvester"),
    vjp=(
        lambda g, out, a, b, q: -np.matmul(solve_sylvester(t(a), t(b), g), t(out)),
        lambda g, out, a, b, q: -np.matmul(t(out), solve_sylvester(t(a), t(b), g)),
        lambda g, out, a, b, q: solve_sylvester(t(a), t(b), g),
    ),
    examples=lambda rng: [
        Example((np.diag([1.0, 2.0, 3.0]) + 0.3 * rng.normal(size=(3, 3)), np.eye(2) + 0.1, rng.normal(size=(3, 2))))
    ],
    flops=lambda out, a, b, q: 25 * math.prod(out) * (a[-1] + b[-1]),
    source="A X + X B = Q",
)


@implements("scipy.linalg.solve_sylvester")
def solve_sylvester(a: Any, b: Any, q: Any) -> Any:
    """As ``scipy.linalg.solve_sylvester``: X with A X + X B = Q."""
    promoted, _ = promote(a, b, q, floating=True)
    return apply(SYLVESTER, promoted, {})


# -- by NumPy --------------------------------------------------------------------------------------


@implements("scipy.linalg.solve_triangular")
def solve_triangular(
    a: Any, b: Any, trans: int | str = 0, lower: bool = False, unit_diagonal: bool = False, **ignored: Any
) -> Any:
    """As ``scipy.linalg.solve_triangular``: reads only one triangle of `a`."""
    _scipy_options("solve_triangular", ignored)
    a = floating(a)
    if unit_diagonal:
        read = np.tril(a, -1) if lower else np.triu(a, 1)
        read = read + np.eye(a.shape[-1], dtype=a.dtype)
    else:
        read = np.tril(a) if lower else np.triu(a)
    if trans not in (0, 1, 2, "N", "T", "C"):
        raise ValueError(f"solve_triangular: trans is {trans!r}, expected 0, 1, 2, 'N', 'T' or 'C'")
    return np.linalg.solve(read if trans in (0, "N") else t(read), b)


def _scipy_options(name: str, given: dict[str, Any]) -> None:
    """Accept the options of SciPy that say only how to compute; refuse others."""
    unknown = sorted(set(given) - {"overwrite_a", "overwrite_b", "overwrite_ab", "check_finite"})
    if unknown:
        raise TypeError(f"scipy.linalg.{name} on tensors does not take {', '.join(unknown)}")


@implements("scipy.linalg.cho_factor")
def cho_factor(a: Any, lower: bool = False, **ignored: Any) -> tuple[Any, bool]:
    """As ``scipy.linalg.cho_factor``, with zeros in the other triangle."""
    return cholesky(a, lower, **ignored), lower


@implements("scipy.linalg.cholesky")
def cholesky(a: Any, lower: bool = False, **ignored: Any) -> Any:
    """As ``scipy.linalg.cholesky``: the upper factor by default, from the upper triangle."""
    _scipy_options("cholesky", ignored)
    a = floating(a)
    return np.linalg.cholesky(a) if lower else t(np.linalg.cholesky(t(a)))


@implements("scipy.linalg.cho_solve")
def cho_solve(c_and_lower: tuple[Any, bool], b: Any, **ignored: Any) -> Any:
    """As ``scipy.linalg.cho_solve``."""
    _scipy_options("cho_solve", ignored)
    c, lower = c_and_lower
    inner = solve_triangular(c, b, trans=0 if lower else 1, lower=lower)
    return solve_triangular(c, inner, trans=1 if lower else 0, lower=lower)


@implements("scipy.linalg.block_diag")
def block_diag(*arrays: Any) -> Any:
    """As ``scipy.linalg.block_diag``."""
    blocks = [np.atleast_2d(array_of(a)) for a in arrays]
    columns, rows, start = sum(shape_of(x)[1] for x in blocks), [], 0
    for x in blocks:
        n, m = shape_of(x)
        rows.append(np.concatenate([np.zeros((n, start)), x, np.zeros((n, columns - start - m))], axis=1))
        start += m
    return np.concatenate(rows)


@implements("scipy.linalg.solve_banded")
def solve_banded(l_and_u: tuple[int, int], ab: Any, b: Any, **ignored: Any) -> Any:
    """As ``scipy.linalg.solve_banded``: `ab` has the diagonals of the matrix in its rows, the upper ones first."""
    _scipy_options("solve_banded", ignored)
    low, up = l_and_u
    ab = floating(ab)
    if len(ab.shape) != 2 or ab.shape[0] != low + up + 1:
        raise ValueError(f"solve_banded: ab has shape {tuple(ab.shape)}, expected {low + up + 1} rows")
    n = ab.shape[1]
    places = [(k, np.arange(max(0, -k), n - max(0, k))) for k in range(-low, up + 1)]  # k = column - row
    rows, columns = (np.concatenate([i + (k if axis else 0) for k, i in places]) for axis in (0, 1))
    matrix = FUNCTIONS["scatter_add"](ab[up + rows - columns, columns], (rows, columns), (n, n))
    return np.linalg.solve(matrix, b)


@implements("scipy.linalg.toeplitz")
def toeplitz(c: Any, r: Any = None) -> Any:
    """As ``scipy.linalg.toeplitz``, of a first column and a first row."""
    c = np.reshape(array_of(c), -1)
    r = c if r is None else np.reshape(array_of(r), -1)
    m, n = shape_of(c)[0], shape_of(r)[0]
    return np.concatenate([np.flip(c), r[1:]])[np.arange(m)[::-1, None] + np.arange(n)]


@implements("scipy.linalg.solve")
def solve(a: Any, b: Any, lower: bool = False, assume_a: Any = None, transposed: bool = False, **ignored: Any) -> Any:
    """As ``scipy.linalg.solve``, of a general matrix."""
    _scipy_options("solve", ignored)
    return np.linalg.solve(t(floating(a)) if transposed else a, b)


@implements("scipy.linalg.eigh")
def eigh(a: Any, b: None = None, *, lower: bool = True, eigvals_only: bool = False, **ignored: Any) -> Any:
    """As ``scipy.linalg.eigh``, of one matrix."""
    if b is not None:
        raise TypeError("scipy.linalg.eigh on tensors does not take b: factor it with cholesky first")
    _scipy_options("eigh", ignored)
    w, v = np.linalg.eigh(floating(a), "L" if lower else "U")
    return w if eigvals_only else (w, v)


FUNCTIONS["scipy.linalg.norm"] = norm
for _name in ("inv", "det", "pinv", "svd", "svdvals"):
    FUNCTIONS[f"scipy.linalg.{_name}"] = FUNCTIONS[getattr(np.linalg, _name)]
