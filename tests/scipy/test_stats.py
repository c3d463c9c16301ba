"""The distributions: SciPy's values, also outside the support, and gradients in every argument that has one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.scipy import stats
from tests.tables import for_each

theirs = pytest.importorskip("scipy.stats")

#: Distribution -> (points, some outside the support, its parameters).
CONTINUOUS: dict[str, tuple[list[float], dict[str, float]]] = {
    "norm": ([-3.0, -0.5, 0.0, 1.5, 40.0], {}),
    "t": ([-3.0, -0.5, 0.0, 1.5, 40.0], {"df": 2.5}),
    "beta": ([-0.5, 0.1, 0.4, 0.9, 1.5], {"a": 1.5, "b": 2.5}),
    "gamma": ([-1.0, 0.3, 1.0, 4.0], {"a": 1.7}),
    "chi2": ([-1.0, 0.3, 1.0, 4.0], {"df": 3.0}),
}
#: What a cumulative function has no derivative in.
CONSTANT = {"df", "a", "b"}


@for_each("name", CONTINUOUS)
@for_each("method", ["pdf", "logpdf", "cdf", "sf", "logcdf", "logsf"])
@for_each("placed", [{}, {"loc": 0.2, "scale": 1.7}])
def test_continuous_distributions(name: str, method: str, placed: dict[str, float]) -> None:
    points, shapes = CONTINUOUS[name]
    x = np.array(points)
    ours = getattr(getattr(stats, name), method)
    with np.errstate(divide="ignore"):
        expected = getattr(getattr(theirs, name), method)(x, **shapes, **placed)
        assert np.allclose(ours(x, **shapes, **placed), expected, rtol=1e-10, atol=1e-300)
        assert np.allclose(ours(x, *shapes.values(), *placed.values()), expected, rtol=1e-10, atol=1e-300)
        traced = cr.compile(lambda x: ours(x, **shapes, **placed))(x)
    assert np.allclose(traced, expected, rtol=1e-10, atol=1e-300)
    arguments = {k: v for k, v in (shapes | placed).items() if "pdf" in method or k not in CONSTANT}
    inside = x[np.isfinite(theirs.norm.logsf(x)) & (getattr(theirs, name).pdf(x, **shapes, **placed) > 1e-3)]
    assert cr.gradcheck(lambda x, p: ours(x, **(shapes | placed | p)), inside, arguments)


def test_gradients_outside_the_support_are_zero() -> None:
    x = np.array([-0.5, 0.5, 1.5])
    gradient = cr.grad(lambda x: np.sum(stats.beta.pdf(x, 2.0, 3.0)))(x)
    assert gradient[0] == gradient[2] == 0.0 and np.isfinite(gradient).all()


@pytest.mark.parametrize("method", ["pmf", "logpmf", "cdf"])
def test_poisson(method: str) -> None:
    k, mu = np.array([-1.0, 0.0, 1.5, 3.0]), np.array([0.3, 1.0, 2.0, 5.0])
    ours = getattr(stats.poisson, method)
    assert np.allclose(ours(k, mu), getattr(theirs.poisson, method)(k, mu), rtol=1e-12)
    assert cr.gradcheck(lambda mu: ours(k[[1, 3]], mu), mu[[1, 3]])


def test_dirichlet() -> None:
    alpha, x = np.array([1.5, 2.0, 3.5]), np.array([0.2, 0.3, 0.5])
    many = np.random.default_rng(0).dirichlet(alpha, 4).T
    for point in (x, x[:2], many):
        assert np.allclose(stats.dirichlet.logpdf(point, alpha), theirs.dirichlet.logpdf(point, alpha), rtol=1e-12)
        assert np.allclose(stats.dirichlet.pdf(point, alpha), theirs.dirichlet.pdf(point, alpha), rtol=1e-12)
    assert cr.gradcheck(lambda a: stats.dirichlet.logpdf(x, a), alpha)
    with pytest.raises(ValueError, match="add up to 1"):
        stats.dirichlet.logpdf(2 * x, alpha)


def normal_arguments(rng: np.random.Generator) -> list[tuple[Any, Any, Any]]:
    m = rng.normal(size=(3, 3))
    full = m @ m.T + np.eye(3)
    return [
        (rng.normal(size=3), rng.normal(size=3), full),
        (rng.normal(size=(5, 3)), rng.normal(size=3), full),
        (rng.normal(size=(5, 3)), np.zeros(3), 2.0),
        (rng.normal(size=3), rng.normal(size=3), np.array([1.0, 2.0, 3.0])),
        (np.array(0.3), np.array(0.1), np.array(2.0)),
        (rng.normal(size=4), np.array([0.1]), np.array([[2.0]])),
    ]


@pytest.mark.parametrize("case", range(6))
def test_multivariate_normal(case: int) -> None:
    x, mean, cov = normal_arguments(np.random.default_rng(1))[case]
    ours, scipys = stats.multivariate_normal, theirs.multivariate_normal
    assert np.allclose(ours.logpdf(x, mean, cov), scipys.logpdf(x, mean, cov), rtol=1e-10)
    assert np.allclose(ours.pdf(x, mean, cov), scipys.pdf(x, mean, cov), rtol=1e-10)
    assert np.allclose(ours.logpdf(x, mean, cov, allow_singular=True), scipys.logpdf(x, mean, cov), rtol=1e-10)
    symmetric = (lambda c: (c + c.T) / 2) if np.ndim(cov) == 2 else (lambda c: c)
    assert cr.gradcheck(lambda x, m, c: ours.logpdf(x, m, symmetric(c)), x, mean, np.asarray(cov))


def test_multivariate_normal_of_other_covariances() -> None:
    singular = np.diag([1.0, 2.0, 0.0])
    x = np.array([0.5, -0.5, 0.0])
    expected = theirs.multivariate_normal.logpdf(x, np.zeros(3), singular, allow_singular=True)
    assert np.isclose(stats.multivariate_normal.logpdf(x, np.zeros(3), singular, allow_singular=True), expected)
    with pytest.raises(np.linalg.LinAlgError):
        stats.multivariate_normal.logpdf(x, np.zeros(3), singular)
    full = normal_arguments(np.random.default_rng(1))[0][2]
    assert np.isclose(
        stats.multivariate_normal.entropy(np.zeros(3), full), theirs.multivariate_normal.entropy(cov=full)
    )


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(TypeError, match=r"t: expected x, df, loc, scale; check df"):
        stats.t.pdf(0.5)
    with pytest.raises(TypeError, match="check sigma"):
        stats.norm.pdf(0.5, sigma=1.0)
