"""Distributions of ``scipy.stats`` on tensors: densities and distribution functions, with SciPy's arguments.

They are compositions of functions of the operation table, so they can be differentiated in every argument that these
can. Outside the support densities are 0, as in SciPy.

Examples
--------
>>> import numpy as np
>>> import chainrule as cr
>>> from chainrule.scipy.stats import norm
>>> x = np.array([0.0, 1.0])
>>> cr.grad(lambda loc: np.sum(norm.logpdf(x, loc, 2.0)))(0.0).round(4)
np.float64(0.25)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.tensor import Tensor
from .special import betainc, betaln, gammainc, gammaincc, gammaln, log_ndtr, ndtr, stdtr, xlog1py, xlogy

__all__ = ["beta", "chi2", "dirichlet", "gamma", "multivariate_normal", "norm", "poisson", "t"]

Function = Callable[..., Any]
LOG_2PI = math.log(2.0 * math.pi)


def _real(x: Any) -> Any:
    """Return `x` as a tensor or an array of floats."""
    if isinstance(x, Tensor):
        return x if x.dtype.kind == "f" else x.astype(np.float64)
    x = np.asarray(x)
    return x if x.dtype.kind == "f" else x.astype(np.float64)


class Distribution:
    """A family of distributions with a location and a scale, and with parameters of its shape.

    Each method takes the point, the parameters of the shape, `loc` and `scale`, by position or by name.
    """

    def __init__(
        self, name: str, *shapes: str, log_density: Function, support: tuple[float, float], cdf: Function,
        sf: Function | None = None, logcdf: Function | None = None, logsf: Function | None = None,
    ) -> None:  # fmt: skip
        self.name, self.parameters, self.support = name, (*shapes, "loc", "scale"), support
        self._log_density, self._cdf, self._sf, self._logcdf, self._logsf = log_density, cdf, sf, logcdf, logsf

    def __repr__(self) -> str:
        return f"<distribution {self.name}({', '.join(self.parameters)})>"

    def _standard(self, x: Any, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, list[Any], Any]:
        """Return the standardised point, the parameters of the shape, and the scale (None for 1)."""
        given = dict(zip(self.parameters, args, strict=False)) | named
        shapes = self.parameters[:-2]
        wrong = [name for name in shapes if name not in given] + [name for name in given if name not in self.parameters]
        if wrong or len(args) > len(self.parameters):
            raise TypeError(f"{self.name}: expected x, {', '.join(self.parameters)}; check {', '.join(wrong) or args}")
        z, scale = _real(x), given.get("scale")
        if "loc" in given:
            z = z - _real(given["loc"])
        if scale is not None:
            scale = _real(scale)
            z = z / scale
        return z, [_real(given[name]) for name in shapes], scale

    def logpdf(self, x: Any, *args: Any, **named: Any) -> Any:
        """Return the logarithm of the density."""
        z, shapes, scale = self._standard(x, args, named)
        low, high = self.support
        if math.isinf(low) and math.isinf(high):
            value = self._log_density(z, *shapes)
        else:
            inside = np.logical_and(z >= low, z <= high)
            value = self._log_density(np.where(inside, z, 0.5 if math.isfinite(high) else low + 1.0), *shapes)
            value = np.where(inside, value, -np.inf)
        return value if scale is None else value - np.log(scale)

    def pdf(self, x: Any, *args: Any, **named: Any) -> Any:
        """Return the density."""
        return np.exp(self.logpdf(x, *args, **named))

    def _of(self, function: Function, x: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        z, shapes, _ = self._standard(x, args, named)
        return function(z if math.isinf(self.support[0]) else np.clip(z, *self.support), *shapes)

    def cdf(self, x: Any, *args: Any, **named: Any) -> Any:
        """Return the probability of values up to `x`."""
        return self._of(self._cdf, x, args, named)

    def sf(self, x: Any, *args: Any, **named: Any) -> Any:
        """Return the probability of values above `x`."""
        return 1.0 - self.cdf(x, *args, **named) if self._sf is None else self._of(self._sf, x, args, named)

    def logcdf(self, x: Any, *args: Any, **named: Any) -> Any:
        """Return the logarithm of `cdf`."""
        return np.log(self.cdf(x, *args, **named)) if self._logcdf is None else self._of(self._logcdf, x, args, named)

    def logsf(self, x: Any, *args: Any, **named: Any) -> Any:
        """Return the logarithm of `sf`."""
        return np.log(self.sf(x, *args, **named)) if self._logsf is None else self._of(self._logsf, x, args, named)


REALS, POSITIVE = (-math.inf, math.inf), (0.0, math.inf)

norm = Distribution(
    "norm",
    log_density=lambda z: -0.5 * z**2 - 0.5 * LOG_2PI,
    support=REALS,
    cdf=ndtr,
    sf=lambda z: ndtr(-z),
    logcdf=log_ndtr,
    logsf=lambda z: log_ndtr(-z),
)
t = Distribution(
    "t",
    "df",
    log_density=lambda z, df: (
        gammaln(0.5 * (df + 1.0))
        - gammaln(0.5 * df)
        - 0.5 * np.log(df * math.pi)
        - 0.5 * (df + 1.0) * np.log1p(z**2 / df)
    ),
    support=REALS,
    cdf=lambda z, df: stdtr(df, z),
    sf=lambda z, df: stdtr(df, -z),
)
beta = Distribution(
    "beta",
    "a",
    "b",
    log_density=lambda z, a, b: xlogy(a - 1.0, z) + xlog1py(b - 1.0, -z) - betaln(a, b),
    support=(0.0, 1.0),
    cdf=lambda z, a, b: betainc(a, b, z),
    sf=lambda z, a, b: betainc(b, a, 1.0 - z),
)
gamma = Distribution(
    "gamma",
    "a",
    log_density=lambda z, a: xlogy(a - 1.0, z) - z - gammaln(a),
    support=POSITIVE,
    cdf=lambda z, a: gammainc(a, z),
    sf=lambda z, a: gammaincc(a, z),
)
chi2 = Distribution(
    "chi2",
    "df",
    log_density=lambda z, df: xlogy(0.5 * df - 1.0, z) - 0.5 * z - gammaln(0.5 * df) - 0.5 * math.log(2.0) * df,
    support=POSITIVE,
    cdf=lambda z, df: gammainc(0.5 * df, 0.5 * z),
    sf=lambda z, df: gammaincc(0.5 * df, 0.5 * z),
)


class Poisson:
    """The Poisson distribution; differentiable in its mean `mu`."""

    def logpmf(self, k: Any, mu: Any, loc: Any = 0) -> Any:
        """Return the logarithm of the probability of `k`."""
        k, mu = _real(k) - _real(loc), _real(mu)
        possible = np.logical_and(k >= 0, k == np.floor(k))
        k = np.where(possible, k, 0.0)
        return np.where(possible, xlogy(k, mu) - gammaln(k + 1.0) - mu, -np.inf)

    def pmf(self, k: Any, mu: Any, loc: Any = 0) -> Any:
        """Return the probability of `k`."""
        return np.exp(self.logpmf(k, mu, loc))

    def cdf(self, k: Any, mu: Any, loc: Any = 0) -> Any:
        """Return the probability of values up to `k`."""
        k = np.floor(_real(k) - _real(loc))
        return np.where(k >= 0, gammaincc(np.maximum(k, 0.0) + 1.0, _real(mu)), 0.0)


class Dirichlet:
    """The Dirichlet distribution of vectors, along the first axis, that add up to 1."""

    def logpdf(self, x: Any, alpha: Any) -> Any:
        """Return the logarithm of the density."""
        x, alpha = _real(x), _real(alpha)
        if x.shape[0] == alpha.shape[0] - 1:
            x = np.concatenate([x, 1.0 - np.sum(x, axis=0, keepdims=True)])
        if x.shape[0] != alpha.shape[0]:
            raise ValueError(f"x has shape {x.shape}, alpha {alpha.shape}; expected x of {alpha.shape[0]} components")
        total = getattr(np.sum(x, axis=0), "value", np.sum(x, axis=0))
        if total is not None and np.any(np.absolute(total - 1.0) > 1e-9):
            raise ValueError("x: expected components that add up to 1; normalise them, x / np.sum(x, axis=0)")
        weights = np.reshape(alpha, alpha.shape + (1,) * (x.ndim - 1))
        constant = gammaln(np.sum(alpha)) - np.sum(gammaln(alpha))
        return np.sum(xlogy(weights - 1.0, x), axis=0) + constant

    def pdf(self, x: Any, alpha: Any) -> Any:
        """Return the density."""
        return np.exp(self.logpdf(x, alpha))

    def rvs(self, *args: Any, **kwargs: Any) -> Any:
        """Draw as ``scipy.stats.dirichlet.rvs``; no derivative is taken through it."""
        import scipy.stats

        return scipy.stats.dirichlet.rvs(*args, **kwargs)


class MultivariateNormal:
    """The normal distribution of vectors, along the last axis."""

    def logpdf(self, x: Any, mean: Any = None, cov: Any = 1.0, allow_singular: bool = False) -> Any:
        """Return the logarithm of the density; raise LinAlgError where `cov` is not positive definite."""
        x, mean, cov = _real(x), _real(0.0 if mean is None else mean), _covariance(_real(cov), x, mean)
        n = cov.shape[-1]
        difference = np.reshape(x, (*x.shape, 1)) - mean if n == 1 and x.shape[-1:] != (1,) else x - mean
        if allow_singular:
            rank, log_det, whitening = _of_singular(cov)
            whitened = np.matmul(difference, whitening)
        else:
            rank, factor = n, np.linalg.cholesky(cov)
            log_det = 2.0 * np.sum(np.log(np.diagonal(factor)))
            whitened = np.linalg.solve(factor, np.expand_dims(difference, -1))[..., 0]
        return -0.5 * (rank * LOG_2PI + log_det + np.sum(whitened**2, axis=-1))

    def pdf(self, x: Any, mean: Any = None, cov: Any = 1.0, allow_singular: bool = False) -> Any:
        """Return the density; raise LinAlgError where `cov` is not positive definite."""
        return np.exp(self.logpdf(x, mean, cov, allow_singular))

    def entropy(self, mean: Any = None, cov: Any = 1.0) -> Any:
        """Return the differential entropy."""
        cov = _covariance(_real(cov), np.zeros(np.shape(cov)[-1:]), _real(0.0 if mean is None else mean))
        log_det = 2.0 * np.sum(np.log(np.diagonal(np.linalg.cholesky(cov))))
        return 0.5 * (cov.shape[-1] * (LOG_2PI + 1.0) + log_det)


def _covariance(cov: Any, x: Any, mean: Any) -> Any:
    """Return the matrix that a number (a variance) or a vector (variances) as `cov` stands for."""
    if cov.ndim == 2:
        return 0.5 * (cov + np.transpose(cov))  # the gradient of a covariance is symmetric
    n = cov.shape[0] if cov.ndim else mean.shape[-1] if mean.ndim else (x.shape or (1,))[-1]
    return cov * np.eye(n)


def _of_singular(cov: Any) -> tuple[int, float, Any]:
    """Return rank, log pseudo-determinant and whitening matrix of a constant covariance, as SciPy defines them."""
    if isinstance(cov, Tensor):
        cov = cov.detached("allow_singular=True with a covariance that is differentiated")
    values, vectors = np.linalg.eigh(cov)
    kept = values > 1e6 * np.finfo(values.dtype).eps * np.max(np.absolute(values))
    return int(np.sum(kept)), float(np.sum(np.log(values[kept]))), vectors[:, kept] / np.sqrt(values[kept])


poisson, dirichlet, multivariate_normal = Poisson(), Dirichlet(), MultivariateNormal()
