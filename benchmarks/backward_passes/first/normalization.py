"""Batch norm (over the rows) and layer norm (over the columns) as layers, examples in rows."""

import numpy as np

from benchmarks.backward_passes.cases import layer


def batchnorm_forward(x, gamma, beta):
    eps = 1e-5
    mu = x.mean(axis=0)
    xc = x - mu
    var = np.mean(xc**2, axis=0)
    ivar = 1.0 / np.sqrt(var + eps)
    xhat = xc * ivar
    out = gamma * xhat + beta
    return out, (xc, ivar, xhat, gamma)


def layernorm_forward(x, gamma, beta):
    mean = x.mean(axis=-1, keepdims=True)
    var = x.var(axis=-1, keepdims=True)
    std = np.sqrt(var + 1e-6)
    xhat = (x - mean) / std
    return xhat * gamma + beta, {"xhat": xhat, "std": std, "gamma": gamma}


def square_batch():
    rng = np.random.default_rng(2)
    return 3 * rng.normal(size=(8, 8)) + 1, rng.normal(size=8), rng.normal(size=8)


def tokens():
    rng = np.random.default_rng(4)
    return rng.normal(size=(4, 16)) * 2, 1 + 0.3 * rng.normal(size=16), rng.normal(size=16)


wrong_bn, right_bn = layer(batchnorm_forward, square_batch)
wrong_ln, right_ln = layer(layernorm_forward, tokens)


@right_bn(convention="the one-line formula with N dx̂ - Σ dx̂ - x̂ Σ dx̂ x̂")
def batchnorm_in_one_line(dout, cache):
    xc, ivar, xhat, gamma = cache
    N = dout.shape[0]
    dxhat = dout * gamma
    dx = ivar / N * (N * dxhat - dxhat.sum(axis=0) - xhat * np.sum(dxhat * xhat, axis=0))
    return dx, np.sum(dout * xhat, axis=0), np.sum(dout, axis=0)


@right_bn(convention="the graph node by node, as in the long blog post")
def batchnorm_staged(dout, cache):
    xc, ivar, xhat, gamma = cache
    N, D = dout.shape
    dbeta = np.sum(dout, axis=0)
    dgammax = dout
    dgamma = np.sum(dgammax * xhat, axis=0)
    dxhat = dgammax * gamma
    divar = np.sum(dxhat * xc, axis=0)
    dxc = dxhat * ivar
    dvar = -0.5 * ivar**3 * divar
    dsq = np.ones((N, D)) * dvar / N
    dxc += 2 * xc * dsq
    dmu = -np.sum(dxc, axis=0)
    dx = dxc + np.ones((N, D)) * dmu / N
    return {"dx": dx, "dgamma": dgamma, "dbeta": dbeta}


@wrong_bn(step="dx", cause="missing-term", subtle=True)
def variance_taken_for_a_constant(dout, cache):
    xc, ivar, xhat, gamma = cache
    N = dout.shape[0]
    dgamma = np.sum(dout * xhat, axis=0)
    dbeta = np.sum(dout, axis=0)
    dxhat = dout * gamma
    dxc = dxhat * ivar
    dmu = -np.sum(dxc, axis=0)
    dx = dxc + dmu / N
    return dx, dgamma, dbeta


@wrong_bn(step="dx", cause="missing-term")
def statistics_taken_for_constants(dout, cache):
    xc, ivar, xhat, gamma = cache
    return dout * gamma * ivar, (dout * xhat).sum(axis=0), dout.sum(axis=0)


@wrong_bn(step="dx", cause="missing-factor")
def gamma_forgotten(dout, cache):
    xc, ivar, xhat, gamma = cache
    N = dout.shape[0]
    dbeta = dout.sum(axis=0)
    dgamma = (dout * xhat).sum(axis=0)
    dx = ivar / N * (N * dout - dbeta - xhat * dgamma)
    return dx, dgamma, dbeta


@wrong_bn(step="dgamma", cause="wrong-operand", subtle=True)
def centred_in_the_place_of_normalised(dout, cache):
    xc, ivar, xhat, gamma = cache
    N = dout.shape[0]
    dgamma = np.sum(dout * xc, axis=0)
    dbeta = np.sum(dout, axis=0)
    dxhat = dout * gamma
    dx = (dxhat - dxhat.mean(axis=0) - xhat * (dxhat * xhat).sum(axis=0) / N) * ivar
    return dx, dgamma, dbeta


@wrong_ln(step="dx", cause="wrong-operand", also=("transposed", "bias-not-summed"))
def layernorm_means_over_the_batch(dout, cache):
    xhat, std = cache["xhat"], cache["std"]
    dxhat = dout * cache["gamma"]
    dx = (dxhat - dxhat.mean(axis=0) - xhat * (dxhat * xhat).mean(axis=0)) / std
    return dx, (dout * xhat).sum(axis=0), dout.sum(axis=0)


@wrong_ln(step="dgamma", cause="missing-factor", also=("wrong-operand",))
def layernorm_gamma_like_beta(dout, cache):
    xhat, std, gamma = cache["xhat"], cache["std"], cache["gamma"]
    dgamma = dout.sum(axis=0)
    dbeta = dout.sum(axis=0)
    dxhat = dout * gamma
    first = dxhat.mean(axis=-1, keepdims=True)
    second = (dxhat * xhat).mean(axis=-1, keepdims=True)
    return (dxhat - first - second * xhat) / std, dgamma, dbeta


@wrong_ln(step="dx", cause="wrong-operand", also=("missing-factor", "missing-term"), subtle=True)
def layernorm_gamma_outside_of_the_means(dout, cache):
    xhat, std, gamma = cache["xhat"], cache["std"], cache["gamma"]
    first = dout.mean(axis=-1, keepdims=True)
    second = (dout * xhat).mean(axis=-1, keepdims=True)
    dx = gamma * (dout - first - second * xhat) / std
    return dx, (dout * xhat).sum(axis=0), dout.sum(axis=0)
