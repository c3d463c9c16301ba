"""Pooling and the windows of convolutions."""

import numpy as np

from benchmarks.backward_passes.reported.twins import N, case, layer


@case(
    "return_inside_the_loop",
    "dimage",
    "missing-term partial-loop",
    "unknown",
    "return inside the loop: only the first patch",
    glue=1,
    why="method is called backprop",
)
def _(bug):
    class Pool:
        def patches(self, image):
            for i in range(image.shape[0] // 2):
                for j in range(image.shape[1] // 2):
                    yield image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2], i, j

        def forward(self, image):
            self.last = image
            out = np.zeros((image.shape[0] // 2, image.shape[1] // 2, image.shape[2]))
            for patch, i, j in self.patches(image):
                out[i, j] = np.amax(patch, axis=(0, 1))
            return out

        def backprop(self, d_out):
            d = np.zeros(self.last.shape)
            for patch, i, j in self.patches(self.last):
                best = np.amax(patch, axis=(0, 1))
                for a in range(2):
                    for b in range(2):
                        for c in range(patch.shape[2]):
                            if patch[a, b, c] == best[c]:
                                d[2 * i + a, 2 * j + b, c] = d_out[i, j, c]
                if bug:
                    return d
            return d

    pool = Pool()
    return layer(lambda image: pool.forward(image), lambda d, cache: pool.backprop(d), N(0, 6, 4, 3))


@case(
    "winner_by_cell",
    "dx",
    "wrong-window missing-term wrong-operand",
    "unknown",
    "winner is decided by cell, not by window",
)
def _(bug):
    def f(x):
        return np.array([max(x[i], x[i + 1]) for i in range(len(x) - 1)]), x

    def b(dout, x):
        dx = np.zeros(len(x))
        if bug:
            for i in range(len(x)):  # each cell asks the window that starts at it
                j = min(i, len(x) - 2)
                if x[i] == max(x[j], x[j + 1]):
                    dx[i] = dout[j]
        else:
            for j in range(len(x) - 1):
                dx[j if x[j] >= x[j + 1] else j + 1] += dout[j]
        return dx

    return layer(f, b, np.array([0.3, 1.1, 0.7, -0.4, 0.9]))


def conv_nhwc(bug, as_float):
    def single(a, W, b):
        return np.sum(a * W) + (float(b[0, 0, 0]) if as_float else b[0, 0, 0])

    def conv_forward(A_prev, W, b, hparameters):
        s, p, f = hparameters["stride"], hparameters["pad"], W.shape[0]
        m, nH, nW, _ = A_prev.shape
        nH, nW = (nH - f + 2 * p) // s + 1, (nW - f + 2 * p) // s + 1
        Z = np.zeros((m, nH, nW, W.shape[3]))
        padded = np.pad(A_prev, ((0, 0), (p, p), (p, p), (0, 0)), "constant", constant_values=(0, 0))
        for i in range(m):
            for h in range(nH):
                for w in range(nW):
                    for c in range(W.shape[3]):
                        Z[i, h, w, c] = single(padded[i, h * s : h * s + f, w * s : w * s + f, :], W[..., c], b[..., c])
        return Z, (A_prev, W, b, hparameters)

    def conv_backward(dZ, cache):
        A_prev, W, b, hparameters = cache
        s, p, f = hparameters["stride"], hparameters["pad"], W.shape[0]
        dA_prev, dW, db = np.zeros(A_prev.shape), np.zeros(W.shape), np.zeros(b.shape)
        pad = lambda a: np.pad(a, ((0, 0), (p, p), (p, p), (0, 0)), "constant", constant_values=(0, 0))
        A_pad, dA_pad = pad(A_prev), pad(dA_prev)
        if bug:
            s = 1
        for i in range(dZ.shape[0]):
            for h in range(dZ.shape[1]):
                for w in range(dZ.shape[2]):
                    for c in range(dZ.shape[3]):
                        v, u = h * s, w * s
                        dA_pad[i, v : v + f, u : u + f, :] += W[:, :, :, c] * dZ[i, h, w, c]
                        dW[:, :, :, c] += A_pad[i, v : v + f, u : u + f, :] * dZ[i, h, w, c]
                        db[:, :, :, c] += dZ[i, h, w, c]
            dA_prev[i] = dA_pad[i, p:-p, p:-p, :]
        return dA_prev, dW, db

    return layer(
        conv_forward, conv_backward, N(3, 2, 5, 5, 2), N(4, 3, 3, 2, 3), N(5, 1, 1, 1, 3), {"stride": 2, "pad": 1}
    )


case(
    "stride_forgotten", "dA_prev dW", "wrong-window wrong-operand", "unknown", "stride forgotten in backward's windows"
)(lambda bug: conv_nhwc(bug, False))
case(
    "stride_forgotten_beside_float",
    "dA_prev dW",
    "wrong-window wrong-operand",
    "unknown",
    "the same; forward says float(b)",
)(lambda bug: conv_nhwc(bug, True))


def corr(x, k):
    H, W = x.shape[0] - k.shape[0] + 1, x.shape[1] - k.shape[1] + 1
    out = np.zeros((H, W))
    for i in range(H):
        for j in range(W):
            out[i, j] = np.sum(x[i : i + k.shape[0], j : j + k.shape[1]] * k)
    return out


@case(
    "kernel_turned_and_stored_sideways", "dx", "wrong-shape", "", "a 3x2 kernel turned by 180 degrees is stored as 2x3"
)
def _(bug):
    def b(dout, cache):
        x, k = cache
        M, K = k.shape
        turned = k[::-1, ::-1].reshape(K, M) if bug else k[::-1, ::-1]
        return corr(np.pad(dout, ((M - 1, M - 1), (K - 1, K - 1))), turned), corr(x, dout)

    return layer(lambda x, k: (corr(x, k), (x, k)), b, N(8, 6, 5), N(9, 3, 2))


def kernel_exchanged(bug, image, kernel):
    def b(dout, cache):
        x, k = cache
        (kh, kw), (H, W) = k.shape, dout.shape
        dk = np.zeros((kw, kh) if bug else (kh, kw))
        for i in range(kh):
            for j in range(kw):
                dk[(j, i) if bug else (i, j)] = np.sum(x[i : i + H, j : j + W] * dout)
        return corr(np.pad(dout, ((kh - 1, kh - 1), (kw - 1, kw - 1))), k[::-1, ::-1]), dk

    return layer(lambda x, k: (corr(x, k), (x, k)), b, N(10, *image), N(11, *kernel))


case(
    "height_and_width_exchanged",
    "dk",
    "transposed wrong-shape",
    "",
    "height and width exchanged in the kernel's gradient",
)(lambda bug: kernel_exchanged(bug, (5, 7), (3, 2)))
case("height_and_width_exchanged_in_squares", "dk", "transposed", "", "the same, all square")(
    lambda bug: kernel_exchanged(bug, (6, 6), (3, 3))
)


@case(
    "kernel_gradient_reversed",
    "dkernels dk",
    "flipped transposed",
    "unknown",
    "correlated in the wrong order: kernel gradient reversed",
    glue=9,
    why="backward(gradient, learning_rate) updates the weights and keeps no gradient",
)
def _(bug):
    def correlate(a, b):  # as in signal libraries: with the larger second, the result is reversed
        return corr(a, b) if a.shape[0] >= b.shape[0] else corr(b, a)[::-1, ::-1]

    class Convolutional:
        def __init__(self, depth, kernels, biases):
            self.kernels, self.biases = kernels, biases

        def forward(self, input):
            self.input = input
            self.output = np.copy(self.biases)
            for i in range(self.kernels.shape[0]):
                for j in range(self.kernels.shape[1]):
                    self.output[i] += correlate(input[j], self.kernels[i, j])
            return self.output

        def backward(self, output_gradient, learning_rate):
            dk, dx = np.zeros(self.kernels.shape), np.zeros(self.input.shape)
            for i in range(self.kernels.shape[0]):
                for j in range(self.kernels.shape[1]):
                    g = output_gradient[i]
                    dk[i, j] = correlate(g, self.input[j]) if bug else correlate(self.input[j], g)
                    h = self.kernels.shape[2] - 1
                    dx[j] += correlate(np.pad(g, h), self.kernels[i, j][::-1, ::-1])
            self.kernels -= learning_rate * dk
            self.biases -= learning_rate * output_gradient
            return dx

    def f(x, k, b):  # glue
        conv = Convolutional(2, k.copy(), b.copy())
        return conv.forward(x), conv

    def b(dout, conv):
        k, c = conv.kernels.copy(), conv.biases.copy()
        dx = conv.backward(dout, 1.0)
        return dx, k - conv.kernels, c - conv.biases

    return layer(f, b, N(12, 2, 7, 6), N(13, 3, 2, 3, 3), N(14, 3, 5, 4))


@case("channels_not_exchanged", "dx", "transposed", "unknown", "kernel flipped in space, channels not exchanged")
def _(bug):
    def same(x, w):
        P = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        H, W = x.shape[1:3]
        return sum(P[:, i : i + H, j : j + W] @ w[i, j] for i in range(3) for j in range(3))

    def b(dout, cache):
        x, w = cache
        flip = w[::-1, ::-1]
        P = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        H, W = x.shape[1:3]
        dw = np.stack(
            [np.einsum("nhwc,nhwf->cf", P[:, i : i + H, j : j + W], dout) for i in range(3) for j in range(3)]
        )
        return same(dout, flip if bug else flip.transpose(0, 1, 3, 2)), dw.reshape(w.shape)

    return layer(lambda x, w: (same(x, w), (x, w)), b, N(17, 2, 5, 4, 3), N(18, 3, 3, 3, 3))


@case(
    "whole_window_as_divisor",
    "dx",
    "constant-factor wrong-window wrong-divisor",
    "unknown",
    "divided by the full window where it is clipped",
)
def _(bug):
    def f(x, k=3, s=2):
        H = -(-(x.shape[2] - k) // s) + 1
        out = np.zeros(x.shape[:2] + (H, H))
        for i in range(H):
            for j in range(H):
                out[:, :, i, j] = x[:, :, i * s : i * s + k, j * s : j * s + k].mean(axis=(2, 3))
        return out, (x, k, s)

    def b(dout, cache):
        x, k, s = cache
        dx = np.zeros_like(x)
        for i in range(dout.shape[2]):
            for j in range(dout.shape[3]):
                win = dx[:, :, i * s : i * s + k, j * s : j * s + k]
                win += dout[:, :, i : i + 1, j : j + 1] / (k * k if bug else win.shape[2] * win.shape[3])
        return dx

    return layer(f, b, N(20, 2, 2, 4, 4))


@case(
    "regrouped_along_other_axes",
    ok=True,
    note="forward regroups along wrong axes; its gradient is right (a mistake that the audit cannot see)",
)
def _(bug):
    def f(x):
        n, c, h, w = x.shape
        r = x.reshape(n, c, 2, h // 2, 2, w // 2)
        out = r.max(axis=2).max(axis=3)
        return out, (x, r, out)

    def b(dout, cache):
        x, r, out = cache
        mask = r == out[:, :, None, :, None, :]
        return (mask * dout[:, :, None, :, None, :]).reshape(x.shape)

    return layer(f, b, N(22, 2, 3, 4, 6))


@case(
    "indices_changed_by_backward",
    "backward cache dx",
    "mutates-input",
    "",
    "backward adds to the cached indices: a second call breaks",
)
def _(bug):
    def f(x):
        n, c, h, w = x.shape
        win = x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)
        return win.max(-1), (x.shape, win.argmax(-1))

    def b(dout, cache):
        shape, winners = cache
        dwin = np.zeros((dout.size, 4))
        at = winners.ravel() if bug else winners.ravel().copy()
        at += np.arange(dout.size) * 4
        dwin.ravel()[at] = dout.ravel()
        n, c, h, w = shape
        return dwin.reshape(n, c, h // 2, w // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(shape)

    return layer(f, b, N(24, 2, 2, 4, 4), check="mutates")
