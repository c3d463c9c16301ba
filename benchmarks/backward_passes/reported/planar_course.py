"""A course's network for planar data, in columns."""

import numpy as np

from benchmarks.backward_passes.reported.claims import R, case, layer, net, sig


def planar(back, n_x=2, n_h=4, n_y=1, m=10, cached=None):
    def forward_propagation(X, parameters):
        W1, b1, W2, b2 = (parameters[k] for k in ("W1", "b1", "W2", "b2"))
        Z1 = np.dot(W1, X) + b1
        A1 = np.tanh(Z1)
        Z2 = np.dot(W2, A1) + b2
        A2 = sig(Z2)
        return A2, {"Z1": Z1 if cached is None else cached(Z1), "A1": A1, "Z2": Z2, "A2": A2}

    def compute_cost(A2, Y):
        return -np.sum(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)) / Y.shape[1]

    r = R(13)
    p = {
        "W1": r.normal(size=(n_h, n_x)),
        "b1": np.zeros((n_h, 1)),
        "W2": r.normal(size=(n_y, n_h)),
        "b2": np.zeros((n_y, 1)),
    }
    return net(
        forward_propagation, back, compute_cost, p, r.normal(size=(n_x, m)), r.integers(0, 2, (n_y, m)).astype(float)
    )


def course(first):
    def backward_propagation(parameters, cache, X, Y):
        m, W2 = X.shape[1], parameters["W2"]
        A1, A2 = cache["A1"], cache["A2"]
        dZ2 = A2 - Y
        dW2 = np.dot(dZ2, A1.T) / m
        db2 = np.sum(dZ2, axis=1, keepdims=True) / m
        dZ1 = first(W2, dZ2, cache, m)
        dW1 = np.dot(dZ1, X.T) / m
        db1 = np.sum(dZ1, axis=1, keepdims=True) / m
        return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}

    return backward_propagation


@case(
    False,
    "dZ1 dW1 db1",
    "double-mean",
    "dZ1 is divided by m, and so are dW1, db1",
    wrong="W1 b1",
    style="course functions",
)
def hidden_error_divided_by_m():
    return planar(course(lambda W2, dZ2, c, m: np.dot(W2.T, dZ2) * (1 - np.power(c["A1"], 2)) / m))


@case(False, "dZ1", "derivative-at-activation", "1 - Z1^2 for tanh'", wrong="W1 b1", style="course functions")
def tanh_derivative_at_z():
    return planar(course(lambda W2, dZ2, c, m: np.dot(W2.T, dZ2) * (1 - np.power(c["Z1"], 2))), 3, 9)


@case(
    False,
    "dA_prev",
    "missing-factor",
    "average pooling shares out 1/(h w) without the incoming gradient",
    wrong="A_prev",
    style="course layer, loops",
    glue=4,
    as_written=True,
    reason="mode and hparameters bound by adapters",
)
def average_pooling_without_upstream():
    def pool_forward(A_prev, hparameters, mode="max"):
        f, s = hparameters["f"], hparameters["stride"]
        m, h, w, c = A_prev.shape
        H, W = 1 + (h - f) // s, 1 + (w - f) // s
        A = np.zeros((m, H, W, c))
        for i in range(m):
            for y in range(H):
                for x in range(W):
                    for k in range(c):
                        piece = A_prev[i, y * s : y * s + f, x * s : x * s + f, k]
                        A[i, y, x, k] = np.max(piece) if mode == "max" else np.mean(piece)
        return A, (A_prev, hparameters)

    def distribute_value(dz, shape):
        return np.ones(shape) / (shape[0] * shape[1])

    def pool_backward(dA, cache, mode="max"):
        A_prev, hp = cache
        f, s = hp["f"], hp["stride"]
        dA_prev = np.zeros(A_prev.shape)
        for i in range(dA.shape[0]):
            for y in range(dA.shape[1]):
                for x in range(dA.shape[2]):
                    for k in range(dA.shape[3]):
                        piece = A_prev[i, y * s : y * s + f, x * s : x * s + f, k]
                        add = (
                            (piece == piece.max()) * dA[i, y, x, k]
                            if mode == "max"
                            else distribute_value(dA[i, y, x, k], (f, f))
                        )
                        dA_prev[i, y * s : y * s + f, x * s : x * s + f, k] += add
        return dA_prev

    def forward(A_prev):
        return pool_forward(A_prev, {"f": 2, "stride": 2}, "average")

    def backward(dA, cache):
        return pool_backward(dA, cache, "average")

    return layer(forward, backward, R(17).normal(size=(2, 4, 4, 2)))
