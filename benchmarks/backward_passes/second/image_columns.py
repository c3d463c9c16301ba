"""Convolution by im2col, a convolution of signals in one dimension, and pooling by means."""

import numpy as np

from benchmarks.backward_passes.cases import layer


def im2col(x, k):
    N, C, H, W = x.shape
    n_rows, n_cols = H - k + 1, W - k + 1
    cols = np.empty((N, n_rows, n_cols, C * k * k))
    for i in range(n_rows):
        for j in range(n_cols):
            cols[:, i, j] = x[:, :, i : i + k, j : j + k].reshape(N, -1)
    return cols.reshape(N * n_rows * n_cols, -1)


def conv_by_im2col(x, w, b):
    N, _, H, W = x.shape
    F, _, k, _ = w.shape
    cols = im2col(x, k)
    out = cols @ w.reshape(F, -1).T + b
    return out.reshape(N, H - k + 1, W - k + 1, F).transpose(0, 3, 1, 2), (x.shape, cols, w)


def signal_conv(x, w):
    n = len(x) - len(w) + 1
    return np.array([np.sum(x[i : i + len(w)] * w) for i in range(n)]), (x, w)


def mean_pool(x):
    N, C, H, W = x.shape
    return x.reshape(N, C, H // 2, 2, W // 2, 2).mean(axis=(3, 5)), x.shape


def images():
    rng = np.random.default_rng(163)
    return rng.normal(size=(2, 2, 4, 4)), rng.normal(size=(2, 2, 3, 3)), rng.normal(size=2)


def signal():
    rng = np.random.default_rng(167)
    return rng.normal(size=16), rng.normal(size=4)


def maps():
    return (np.random.default_rng(173).normal(size=(2, 3, 4, 6)),)


wrong, right = layer(conv_by_im2col, images)
wrong_signal, right_signal = layer(signal_conv, signal)
wrong_mean, right_mean = layer(mean_pool, maps)


@right(convention="col2im by windows, a bias summed from the flat signal")
def col2im(dout, cache):
    shape, cols, w = cache
    F, C, k, _ = w.shape
    N, _, n, o = dout.shape
    flat = dout.transpose(0, 2, 3, 1).reshape(-1, F)
    dcols = (flat @ w.reshape(F, -1)).reshape(N, n, o, C, k, k)
    dx = np.zeros(shape)
    for i in range(n):
        for j in range(o):
            dx[:, :, i : i + k, j : j + k] += dcols[:, i, j]
    return dx, (flat.T @ cols).reshape(w.shape), flat.sum(axis=0)


@wrong(step="dw", cause="wrong-operand", also=("transposed",), subtle=True)
def signal_flattened_without_moving_the_filters(dout, cache):
    shape, cols, w = cache
    F, C, k, _ = w.shape
    N, _, n, o = dout.shape
    flat = dout.transpose(0, 2, 3, 1).reshape(-1, F)
    dw = (dout.reshape(F, -1) @ cols).reshape(w.shape)
    dcols = (flat @ w.reshape(F, -1)).reshape(N, n, o, C, k, k)
    dx = np.zeros(shape)
    for i in range(n):
        for j in range(o):
            dx[:, :, i : i + k, j : j + k] += dcols[:, i, j]
    return dx, dw, dout.sum(axis=(0, 2, 3))


@wrong(step="dx", cause="transposed", also=("wrong-operand",), subtle=True)
def windows_transposed_in_col2im(dout, cache):
    shape, cols, w = cache
    F, C, k, _ = w.shape
    N, _, n, o = dout.shape
    flat = dout.transpose(0, 2, 3, 1).reshape(-1, F)
    dcols = (flat @ w.reshape(F, -1)).reshape(N, n, o, C, k, k)
    dx = np.zeros(shape)
    for i in range(n):
        for j in range(o):
            dx[:, :, i : i + k, j : j + k] += dcols[:, i, j].transpose(0, 1, 3, 2)
    return dx, (flat.T @ cols).reshape(w.shape), flat.sum(axis=0)


@wrong(step="db", cause="double-mean", also=("constant-factor", "wrong-operand"))
def bias_averaged_over_the_places(dout, cache):
    shape, cols, w = cache
    F, C, k, _ = w.shape
    N, _, n, o = dout.shape
    flat = dout.transpose(0, 2, 3, 1).reshape(-1, F)
    dcols = (flat @ w.reshape(F, -1)).reshape(N, n, o, C, k, k)
    dx = np.zeros(shape)
    for i in range(n):
        for j in range(o):
            dx[:, :, i : i + k, j : j + k] += dcols[:, i, j]
    return dx, (flat.T @ cols).reshape(w.shape), flat.mean(axis=0)


@wrong(step="db", cause="wrong-shape", also=("bias-not-summed",))
def bias_keeps_the_places(dout, cache):
    shape, cols, w = cache
    F, C, k, _ = w.shape
    N, _, n, o = dout.shape
    flat = dout.transpose(0, 2, 3, 1).reshape(-1, F)
    dcols = (flat @ w.reshape(F, -1)).reshape(N, n, o, C, k, k)
    dx = np.zeros(shape)
    for i in range(n):
        for j in range(o):
            dx[:, :, i : i + k, j : j + k] += dcols[:, i, j]
    return dx, (flat.T @ cols).reshape(w.shape), dout.sum(axis=0)


@right_signal(convention="np.convolve with the kernel as it is, which flips it")
def by_full_convolution(dout, cache):
    x, w = cache
    return np.convolve(dout, w, mode="full"), np.correlate(x, dout, mode="valid")


@wrong_signal(step="dx", cause="transposed", also=("wrong-operand",), subtle=True)
def correlated_again(dout, cache):
    x, w = cache
    return np.correlate(dout, w, mode="full"), np.correlate(x, dout, mode="valid")


@wrong_signal(step="dw", cause="transposed", also=("wrong-operand", "flipped"), subtle=True)
def kernel_gradient_flipped(dout, cache):
    x, w = cache
    dx = np.zeros_like(x)
    for i in range(len(dout)):
        dx[i : i + len(w)] += dout[i] * w
    dw = np.convolve(x, dout[::-1], mode="valid")[::-1]
    return dx, dw


@right_mean(convention="np.kron spreads the signal")
def mean_pool_by_kron(dout, shape):
    return (np.kron(dout, np.full((1, 1, 2, 2), 0.25)),)


@wrong_mean(step="dx", cause="constant-factor", also=("missing-mean", "missing-factor"))
def mean_pool_without_its_quarter(dout, shape):
    return (dout.repeat(2, axis=2).repeat(2, axis=3),)


@wrong_mean(step="dx", cause="missing-term", also=("partial-loop", "wrong-operand", "missing-factor"))
def mean_pool_into_the_first_corner(dout, shape):
    dx = np.zeros(shape)
    dx[:, :, ::2, ::2] = dout / 4
    return (dx,)
