"""Convolution and max pooling as in the vision assignments, with loops: x is (N, C, H, W), weights (F, C, k, k)."""

import numpy as np

from benchmarks.backward_passes.cases import layer


def conv_forward(x, w, b):
    stride, pad = 1, 1
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    Ho, Wo = 1 + (H + 2 * pad - HH) // stride, 1 + (W + 2 * pad - WW) // stride
    out = np.zeros((N, F, Ho, Wo))
    for i in range(Ho):
        for j in range(Wo):
            window = xp[:, :, i * stride : i * stride + HH, j * stride : j * stride + WW]
            for f in range(F):
                out[:, f, i, j] = np.sum(window * w[f], axis=(1, 2, 3)) + b[f]
    return out, (x, w, b, stride, pad)


def strided_conv_forward(x, w, b):
    N, C, H, W = x.shape
    F, _, k, _ = w.shape
    n = (H - k) // 2 + 1
    out = np.zeros((N, F, n, n))
    for i in range(n):
        for j in range(n):
            patch = x[:, :, 2 * i : 2 * i + k, 2 * j : 2 * j + k]
            out[:, :, i, j] = np.tensordot(patch, w, axes=([1, 2, 3], [1, 2, 3])) + b
    return out, (x, w)


def maxpool_forward(x):
    N, C, H, W = x.shape
    out = np.zeros((N, C, H // 2, W // 2))
    for i in range(H // 2):
        for j in range(W // 2):
            out[:, :, i, j] = np.max(x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2], axis=(2, 3))
    return out, x


def image_and_filters():
    rng = np.random.default_rng(6)
    return rng.normal(size=(2, 3, 5, 5)), rng.normal(size=(3, 3, 3, 3)), rng.normal(size=3)


def odd_image_and_filters():
    rng = np.random.default_rng(16)
    return rng.normal(size=(2, 2, 7, 7)), rng.normal(size=(4, 2, 3, 3)), rng.normal(size=4)


def image():
    return (np.random.default_rng(26).normal(size=(2, 2, 4, 4)),)


wrong, right = layer(conv_forward, image_and_filters)
wrong_strided, right_strided = layer(strided_conv_forward, odd_image_and_filters)
wrong_pool, right_pool = layer(maxpool_forward, image)


@right(convention="loops over examples, filters and places; the padding is cut off in the end")
def conv_four_loops(dout, cache):
    x, w, b, stride, pad = cache
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="constant")
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    k = w.shape[2]
    for n in range(dout.shape[0]):
        for f in range(dout.shape[1]):
            for i in range(dout.shape[2]):
                for j in range(dout.shape[3]):
                    dw[f] += dout[n, f, i, j] * xp[n, :, i : i + k, j : j + k]
                    dxp[n, :, i : i + k, j : j + k] += dout[n, f, i, j] * w[f]
    return dxp[:, :, pad:-pad, pad:-pad], dw, dout.sum(axis=(0, 2, 3))


@wrong(step="dx", cause="transposed", also=("wrong-operand",), subtle=True)
def kernel_not_flipped(dout, cache):
    x, w, b, stride, pad = cache
    N, F, Ho, Wo = dout.shape
    k = w.shape[2]
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    dout_padded = np.pad(dout, ((0, 0), (0, 0), (k - 1 - pad,) * 2, (k - 1 - pad,) * 2))
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            patch = dout_padded[:, :, i : i + k, j : j + k]
            dx[:, :, i, j] = np.tensordot(patch, w, axes=([1, 2, 3], [0, 2, 3]))
    for i in range(Ho):
        for j in range(Wo):
            dw += np.tensordot(dout[:, :, i, j], xp[:, :, i : i + k, j : j + k], axes=([0], [0]))
    return dx, dw, dout.sum(axis=(0, 2, 3))


@wrong(step="dx", cause="transposed", also=("wrong-operand", "wrong-shape"), subtle=True)
def filters_and_channels_exchanged(dout, cache):
    x, w, b, stride, pad = cache
    k = w.shape[2]
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            dw += np.einsum("nf,nckl->fckl", dout[:, :, i, j], xp[:, :, i : i + k, j : j + k])
            dxp[:, :, i : i + k, j : j + k] += np.einsum("nc,fckl->nfkl", dout[:, :, i, j], w)
    return dxp[:, :, pad:-pad, pad:-pad], dw, dout.sum(axis=(0, 2, 3))


@wrong(step="db", cause="bias-all-summed")
def bias_over_the_filters_too(dout, cache):
    x, w, b, stride, pad = cache
    k = w.shape[2]
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    db = np.zeros_like(b)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            dw += np.einsum("nf,nckl->fckl", dout[:, :, i, j], xp[:, :, i : i + k, j : j + k])
            dxp[:, :, i : i + k, j : j + k] += np.einsum("nf,fckl->nckl", dout[:, :, i, j], w)
            db += dout[:, :, i, j].sum()
    return dxp[:, :, pad:-pad, pad:-pad], dw, db


@wrong(step="dx", cause="missing-term", also=("overwritten-overlap", "wrong-operand", "accumulates"), subtle=True)
def windows_assigned_not_added(dout, cache):
    x, w, b, stride, pad = cache
    k = w.shape[2]
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            dw += np.einsum("nf,nckl->fckl", dout[:, :, i, j], xp[:, :, i : i + k, j : j + k])
            dxp[:, :, i : i + k, j : j + k] = np.einsum("nf,fckl->nckl", dout[:, :, i, j], w)
    return dxp[:, :, pad:-pad, pad:-pad], dw, dout.sum(axis=(0, 2, 3))


@wrong(step="dx", cause="wrong-operand", also=("wrong-shape",), subtle=True)
def padding_cut_off_on_one_side(dout, cache):
    x, w, b, stride, pad = cache
    k = w.shape[2]
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            dw += np.einsum("nf,nckl->fckl", dout[:, :, i, j], xp[:, :, i : i + k, j : j + k])
            dxp[:, :, i : i + k, j : j + k] += np.einsum("nf,fckl->nckl", dout[:, :, i, j], w)
    return dxp[:, :, : -2 * pad, : -2 * pad], dw, dout.sum(axis=(0, 2, 3))


@wrong(step="dw", cause="wrong-operand", subtle=True)
def backward_pads_with_the_edge(dout, cache):
    x, w, b, stride, pad = cache
    k = w.shape[2]
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="edge")
    dxp, dw = np.zeros_like(xp), np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            dw += np.einsum("nf,nckl->fckl", dout[:, :, i, j], xp[:, :, i : i + k, j : j + k])
            dxp[:, :, i : i + k, j : j + k] += np.einsum("nf,fckl->nckl", dout[:, :, i, j], w)
    return dxp[:, :, pad:-pad, pad:-pad], dw, dout.sum(axis=(0, 2, 3))


@wrong_strided(step="dx", cause="wrong-window", also=("wrong-operand", "missing-factor"), subtle=True)
def stride_forgotten(dout, cache):
    x, w = cache
    k = w.shape[2]
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            dx[:, :, i : i + k, j : j + k] += np.einsum("nf,fckl->nckl", dout[:, :, i, j], w)
            dw += np.einsum("nf,nckl->fckl", dout[:, :, i, j], x[:, :, 2 * i : 2 * i + k, 2 * j : 2 * j + k])
    return dx, dw, dout.sum(axis=(0, 2, 3))


@wrong_strided(step="dw", cause="missing-term", also=("partial-loop",))
def last_row_and_column_left_out(dout, cache):
    x, w = cache
    k = w.shape[2]
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            dx[:, :, 2 * i : 2 * i + k, 2 * j : 2 * j + k] += np.einsum("nf,fckl->nckl", dout[:, :, i, j], w)
    for i in range(dout.shape[2] - 1):
        for j in range(dout.shape[3] - 1):
            dw += np.einsum("nf,nckl->fckl", dout[:, :, i, j], x[:, :, 2 * i : 2 * i + k, 2 * j : 2 * j + k])
    return dx, dw, dout.sum(axis=(0, 2, 3))


@right_pool(convention="a mask of the maxima of each window")
def pool_by_mask(dout, x):
    dx = np.zeros(x.shape)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            window = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            mask = window == window.max(axis=(2, 3), keepdims=True)
            dx[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] += mask * dout[:, :, i, j][:, :, None, None]
    return (dx,)


@wrong_pool(step="dx", cause="wrong-operand", also=("missing-factor", "wrong-activation-derivative"))
def pool_shared_out_evenly(dout, x):
    return (np.repeat(np.repeat(dout, 2, axis=2), 2, axis=3) / 4,)


@wrong_pool(step="dx", cause="wrong-operand", also=("missing-term", "wrong-layer"), subtle=True)
def pool_mask_over_all_channels(dout, x):
    dx = np.zeros_like(x)
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(dout.shape[2]):
                for j in range(dout.shape[3]):
                    window = x[n, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                    dx[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] += (window[c] == window.max()) * dout[n, c, i, j]
    return (dx,)
