"""Batch, layer and root-mean-square normalisation."""

import numpy as np

from benchmarks.backward_passes.reported.twins import N, case, layer, net


def batchnorm(how):
    def f(x, gamma, beta, eps=1e-5):
        mu = x.mean(axis=0)
        xmu = x - mu
        var = np.mean(xmu**2, axis=0)
        std = np.sqrt(var + eps)
        return gamma * xmu / std + beta, (xmu, var, std, gamma, eps)

    def b(dout, cache):
        xmu, var, std, gamma, eps = cache
        m = len(dout)
        dbeta, dgamma = dout.sum(axis=0), np.sum(dout * xmu / std, axis=0)
        dxhat = dout * gamma
        if how == "local":
            return dxhat / std, dgamma, dbeta
        dvar = np.sum(dxhat * xmu, axis=0) * -0.5 * (var + eps) ** -1.5
        dmu = -np.sum(dxhat, axis=0) / std
        if how == "zero term":
            dmu = dmu + dvar * -2 * np.sum(xmu, axis=0) / m
        return dxhat / std + dvar * 2 * xmu / m + dmu / m, dgamma, dbeta

    return layer(f, b, N(28, 6, 4), N(29, 4), N(30, 4))


case("statistics_as_constants", "dx", "missing-term", "", "paths through mean and variance left out of dx")(
    lambda bug: batchnorm("local" if bug else "")
)
case("zero_term_left_out", ok=True, note="the term that was doubted is zero")(lambda bug: batchnorm("zero term"))


def layernorm(how, *shape):
    def f(x, w, b, eps=1e-5):
        mean, var = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
        rstd = 1 / np.sqrt(var + eps)
        xhat = (x - mean) * rstd
        return xhat * w + b, (xhat, rstd, w)

    def b(dy, cache):
        xhat, rstd, w = cache
        wdy = w * dy
        lead = tuple(range(dy.ndim - 1))
        if how == "rest":  # rows = shape[0], the rest is normalised
            rest = tuple(range(1, dy.ndim))
            c1, c2 = (xhat * wdy).mean(axis=rest, keepdims=True), wdy.mean(axis=rest, keepdims=True)
            return (wdy - c2 - xhat * c1) * rstd, (dy * xhat).sum(axis=0), dy.sum(axis=0)
        dx = np.empty_like(dy)
        BLOCK = 2
        for r in range(0, len(dy), BLOCK):
            rows = slice(r, r + BLOCK)
            h, g = xhat[rows], wdy[rows]
            if how == "block":
                c1, c2 = np.sum(h * g) / h.size, np.sum(g) / g.size
            else:
                c1, c2 = np.mean(h * g, -1, keepdims=True), np.mean(g, -1, keepdims=True)
            dx[rows] = (g - c2 * (2 if how == "twice" else 1) - h * c1) * rstd[rows]
        return dx, np.sum(dy * xhat, axis=lead), dy.sum(axis=lead)

    return layer(f, b, N(31, *shape), N(32, shape[-1]), N(33, shape[-1]))


case(
    "rows_of_rank_three",
    "dx dw db",
    "wrong-axis wrong-shape bias-not-summed",
    "",
    "rows = shape[0], for input of rank 3",
)(lambda bug: layernorm("rest" if bug else "", 3, 4, 5))
case("means_over_blocks", "dx", "wrong-axis bias-all-summed", "unknown", "means over a block of rows, not over each")(
    lambda bug: layernorm("block" if bug else "", 6, 5)
)
case("mean_subtracted_twice", "dx", "constant-factor term-twice", "unknown", "one of the means is subtracted twice")(
    lambda bug: layernorm("twice" if bug else "", 6, 5)
)


WHY = "forward(ctx, ...), backward(ctx, dy) as in autograd.Function"


def rms_memory(bug):
    def f(x, w):
        rstd = 1 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6)
        return x * rstd * w, (x, w, rstd)

    def b(dy, cache):
        x, w, rstd = cache
        flat = dy.ravel(order="K") if bug else dy.ravel()  # as a kernel that walks through memory
        dx, dw = np.zeros(x.shape), np.zeros(w.shape)
        for r in range(len(x)):
            row = flat[r * x.shape[1] : (r + 1) * x.shape[1]]
            g = row * w
            dx[r] = rstd[r] * (g - x[r] * rstd[r] ** 2 * np.mean(g * x[r]))
            dw += row * x[r] * rstd[r]
        return dx, dw

    return f, b


@case(
    "memory_read_in_order",
    "dx dw backward",
    "memory-layout wrong-operand",
    "unknown transposed",
    "dy is read as if contiguous: wrong for a transposed dy",
)
def _(bug):
    return layer(*rms_memory(bug), N(36, 5, 4), N(37, 4), check="transposed dout")


@case(
    "memory_read_in_order_in_a_network",
    "dw dV",
    "memory-layout wrong-operand",
    "unknown transposed",
    "the same within a network, below a transpose",
)
def _(bug):
    f, b = rms_memory(bug)

    def forward(X, p):
        y, inner = f(X @ p["V"], p["w"])
        return y.T @ p["U"], (X, inner)

    def backward(cache, Y, p):
        X, inner = cache
        out = f(X @ p["V"], p["w"])[0].T @ p["U"]
        dyT = (out - Y) @ p["U"].T
        dz, dw = b(dyT.T, inner)
        return {"dU": f(X @ p["V"], p["w"])[0] @ (out - Y), "dw": dw, "dV": X.T @ dz}

    return net(
        forward,
        backward,
        lambda o, Y: np.sum((o - Y) ** 2) / 2,
        dict(V=N(38, 3, 4), w=N(39, 4), U=N(40, 5, 2)),
        N(41, 5, 3),
        N(42, 4, 2),
    )
