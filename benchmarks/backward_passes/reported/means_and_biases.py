"""Means over the batch, sums over the units, exchanged weights."""

import numpy as np

import chainrule as cr
from benchmarks.backward_passes.reported.claims import (
    R,
    bce_mean_rows,
    case,
    half_squares,
    layer,
    module_check,
    net,
    onehot,
    relu,
    rows,
    softmax_rows,
)


@case(
    False,
    "dZ2 dW2",
    "missing-mean",
    "sums over the batch, the loss is a mean",
    wrong="W1 b1 W2 b2",
    style="script, hand-written in a framework",
    glue=6,
    as_written=False,
    reason="script without functions; made forward and backward",
)
def sums_for_a_mean():
    def backward(cache, Y, p):
        dZ2 = cache["A2"] - Y
        dA1 = dZ2 @ p["W2"].T
        dZ1 = dA1 * cache["A1"] * (1 - cache["A1"])
        return {
            "dZ2": dZ2,
            "dW2": cache["A1"].T @ dZ2,
            "db2": dZ2.sum(0, keepdims=True),
            "dA1": dA1,
            "dZ1": dZ1,
            "dW1": cache["X"].T @ dZ1,
            "db1": dZ1.sum(0, keepdims=True),
        }

    return rows(backward, bce_mean_rows, sizes=(2, 2, 1), m=4, labels="soft")


@case(
    False,
    "db2 db1",
    "wrong-operand",
    "bias gradients are row sums of dZ X^T; right by accident only where columns of X sum to one",
    wrong="b2",
    style="course functions, positional arguments, tuple of gradients",
    glue=6,
    reason="adapters for argument order, output and cache",
)
def bias_from_the_weights_gradient():
    def forward_prop(x, W1, W2, b1, b2):
        h = np.maximum(0, W1 @ x + b1)
        return W2 @ h + b2, h

    def softmax(z):
        return np.exp(z) / np.sum(np.exp(z), axis=0)

    def back_prop(x, yhat, y, h, W1, W2, b1, b2, batch_size):
        d = yhat - y
        l1 = (W2.T @ d) * (h > 0)
        gW1, gW2 = l1 @ x.T / batch_size, d @ h.T / batch_size
        return (
            gW1,
            gW2,
            np.sum(l1 @ x.T / batch_size, axis=1, keepdims=True),
            np.sum(d @ h.T / batch_size, axis=1, keepdims=True),
        )

    def forward(X, p):
        z, h = forward_prop(X, p["W1"], p["W2"], p["b1"], p["b2"])
        return {"x": X, "h": h, "z": z, "yhat": softmax(z)}

    def backward(cache, X, Y, p):
        gs = back_prop(X, cache["yhat"], Y, cache["h"], p["W1"], p["W2"], p["b1"], p["b2"], X.shape[1])
        return dict(zip(("dW1", "dW2", "db1", "db2"), gs))

    r, V, N, m = R(22), 6, 4, 7
    p = {
        "W1": r.normal(size=(N, V)),
        "b1": r.normal(size=(N, 1)),
        "W2": r.normal(size=(V, N)),
        "b2": r.normal(size=(V, 1)),
    }
    X = sum(onehot(r.integers(0, V, m), V).T for _ in range(4)) / 4
    return net(
        forward, backward, lambda A, Y: -np.sum(Y * np.log(A)) / Y.shape[1], p, X, onehot(r.integers(0, V, m), V).T
    )


@case(
    False,
    "db linear0.db linear2.db",
    "bias-not-summed wrong-shape",
    "the bias' gradient keeps the batch axis",
    wrong="b",
    style="layer classes",
)
def bias_keeps_the_batch_axis():
    class Linear:
        def __init__(self, n, k):
            self.w, self.b = R(n).normal(size=(n, k)), np.zeros(k)

        def forward(self, x):
            self.x = x
            return x @ self.w + self.b

        def backward(self, grad):
            self.dw = self.x.T @ grad
            self.db = grad
            return grad @ self.w.T

        def step(self, lr):
            self.w, self.b = self.w - lr * self.dw, self.b - lr * self.db

    class Tanh:
        def forward(self, x):
            self.y = np.tanh(x)
            return self.y

        def backward(self, grad):
            return grad * (1 - self.y**2)

    x = R(24).normal(size=(6, 4))
    return lambda: cr.audit_module([Linear(4, 5), Tanh(), Linear(5, 3)], x), module_check(
        lambda: Linear(4, 5), x, ("w", "b")
    )


def _conv(axes):
    def im2col(x, k):
        N, C, H, W = x.shape
        h, w = H - k + 1, W - k + 1
        cols = np.zeros((N, C, k, k, h, w))
        for i in range(k):
            for j in range(k):
                cols[:, :, i, j] = x[:, :, i : i + h, j : j + w]
        return cols.transpose(0, 4, 5, 1, 2, 3).reshape(N * h * w, -1)

    def conv_forward(x, W, b):
        N, _, H, _ = x.shape
        F, _, k, _ = W.shape
        cols = im2col(x, k)
        out = (cols @ W.reshape(F, -1).T + b).reshape(N, H - k + 1, -1, F).transpose(0, 3, 1, 2)
        return out, (x, W, cols)

    def conv_backward(dout, cache):
        x, W, cols = cache
        F, C, k, _ = W.shape
        N, _, h, w = dout.shape
        d = dout.transpose(0, 2, 3, 1).reshape(-1, F)
        dcols = (d @ W.reshape(F, -1)).reshape(N, h, w, C, k, k)
        dx = np.zeros(x.shape)
        for i in range(k):
            for j in range(k):
                dx[:, :, i : i + h, j : j + w] += dcols[:, :, :, :, i, j].transpose(0, 3, 1, 2)
        return dx, (d.T @ cols).reshape(W.shape).transpose(axes), d.sum(axis=0)

    r = R(26)
    return layer(
        conv_forward, conv_backward, r.normal(size=(3, 2, 5, 5)), r.normal(size=(4, 2, 3, 3)), r.normal(size=4)
    )


@case(True, note="conv bias summed in the layer, mean in the loss: right", style="layer functions, im2col")
def mean_in_the_loss_of_a_convolution():
    return _conv((0, 1, 2, 3))


@case(
    False,
    "dW",
    "transposed wrong-operand",
    "dW with rows and columns of the filters exchanged: a test of means passes",
    wrong="W",
    style="layer functions, im2col",
)
def rows_and_columns_of_filters_exchanged():
    return _conv((0, 1, 3, 2))


@case(
    False,
    "dweights",
    "transposed",
    "input-by-output where weights are output-by-input; square hides it",
    wrong="weights",
    style="nested lists of floats, scalar loops",
    glue=4,
    as_written=False,
    reason="weights as array in a dict (lists of floats refused); script became functions",
)
def input_by_output_for_output_by_input():
    def w_sum(a, b):
        return sum(a[i] * b[i] for i in range(len(a)))

    def vect_mat_mul(vect, matrix):
        return [w_sum(vect, matrix[i]) for i in range(len(matrix))]

    def outer_prod(a, b):
        out = np.zeros((len(a), len(b)))
        for i in range(len(a)):
            for j in range(len(b)):
                out[i][j] = a[i] * b[j]
        return out

    def forward(X, p):
        return {"pred": np.stack(vect_mat_mul(X, p["weights"]))}

    def backward(cache, X, Y, p):
        delta = [cache["pred"][i] - Y[i] for i in range(len(Y))]
        return {"dweights": outer_prod(X, delta)}

    return net(
        forward,
        backward,
        half_squares,
        {"weights": R(27).normal(size=(3, 3))},
        np.array([8.5, 0.65, 1.2]),
        np.array([0.1, 1.0, 0.1]),
    )


@case(
    True,
    note="target minus prediction with +=: right",
    style="script loop, update in place",
    glue=4,
    as_written=False,
    reason="loop body split; ascent=True",
)
def target_minus_prediction():
    def forward(X, p):
        z = X @ p["w0"]
        h = relu(z)
        return {"x": X, "z": z, "h": h, "o": h @ p["w1"]}

    def backward(c, Y, p):
        d2 = Y - c["o"]
        d1 = d2.dot(p["w1"].T) * (c["h"] > 0)
        return {"do": d2, "dz": d1, "dw1": c["h"].T.dot(d2), "dw0": c["x"].T.dot(d1)}

    r = R(29)
    return net(
        forward,
        backward,
        half_squares,
        {"w0": r.normal(size=(3, 5)), "w1": r.normal(size=(5, 2))},
        r.normal(size=(7, 3)),
        r.normal(size=(7, 2)),
        ascent=True,
    )


@case(
    True,
    note="delta zeroed in place where the output of ReLU is 0: right",
    style="class, lists of coefficients, fills preallocated lists",
    glue=10,
    reason="adapter sets coefs_, fills lists, reads them",
)
def error_zeroed_in_place():
    class Classifier:
        alpha = 0.01

        def _forward_pass(self, activations):
            n = len(self.coefs_)
            for i in range(n):
                activations[i + 1] = activations[i] @ self.coefs_[i]
                activations[i + 1] = activations[i + 1] + self.intercepts_[i]
                activations[i + 1] = relu(activations[i + 1]) if i + 1 < n else softmax_rows(activations[i + 1])
            return activations

        def _backprop(self, X, y, activations, deltas, coef_grads, intercept_grads):
            n, last = X.shape[0], len(self.coefs_) - 1
            deltas[last] = activations[-1] - y
            for i in range(last, -1, -1):
                coef_grads[i] = (activations[i].T @ deltas[i] + self.alpha * self.coefs_[i]) / n
                intercept_grads[i] = np.mean(deltas[i], 0)
                if i:
                    deltas[i - 1] = deltas[i] @ self.coefs_[i].T
                    deltas[i - 1][activations[i] == 0] = 0
            return coef_grads, intercept_grads

    def forward(X, p):
        c = Classifier()
        c.coefs_, c.intercepts_ = p["coefs"], p["intercepts"]
        return {"act": c._forward_pass([X, None, None, None])}

    def loss(A, Y, p):
        return (-np.sum(Y * np.log(A)) + 0.005 * sum(np.sum(W**2) for W in p["coefs"])) / len(Y)

    def backward(cache, X, Y, p):
        c = Classifier()
        c.coefs_, c.intercepts_ = p["coefs"], p["intercepts"]
        gc, gi = c._backprop(X, Y, cache["act"], [None] * 3, [None] * 3, [None] * 3)
        return {"dcoefs": gc, "dintercepts": gi}

    r, n = R(31), (4, 6, 5, 3)
    p = {
        "coefs": [r.normal(size=n[i : i + 2]) for i in range(3)],
        "intercepts": [r.normal(size=n[i + 1]) for i in range(3)],
    }
    return net(forward, backward, loss, p, r.normal(size=(8, 4)), onehot(r.integers(0, 3, 8), 3))
