"""The derivative at the output, and layers that are taken for another."""

import numpy as np

from benchmarks.backward_passes.reported.claims import R, case, central, half_squares, net, onehot, sig


def four_layers(batch_softmax, branch):
    def softmax(Z):
        E = np.exp(Z - np.max(Z))
        return E / (np.sum(E) if batch_softmax else np.sum(E, axis=0))

    def forward(X, layers):
        a, c = X, {"A0": X}
        for l in sorted(layers):
            c["Z" + l] = layers[l]["W"] @ a + layers[l]["b"]
            a = c["A" + l] = softmax(c["Z" + l]) if l == "4" else sig(c["Z" + l])
        return c

    def loss(A, Y):
        return -np.sum(Y * np.log(A))

    def backward(cache, Y, layers):
        g, last = {}, 4
        for l in range(last, 0, -1):
            if l == last:
                dZ = cache[f"A{l}"] - Y
            elif branch and l == last - 1:
                dZ = layers[str(l + 1)]["W"].T @ dZ
            else:
                dZ = layers[str(l + 1)]["W"].T @ dZ * cache[f"A{l}"] * (1 - cache[f"A{l}"])
            g[f"dZ{l}"] = dZ
            g[str(l)] = {"dW": dZ @ cache[f"A{l - 1}"].T, "db": dZ.sum(axis=1, keepdims=True)}
        return g

    r, n = R(8), (5, 6, 4, 7, 3)
    p = {str(l): {"W": r.normal(size=(n[l], n[l - 1])), "b": r.normal(size=(n[l], 1))} for l in range(1, 5)}
    X, Y = r.normal(size=(5, 9)), onehot(r.integers(0, 3, 9), 3).T
    run, _ = net(forward, backward, loss, p, X, Y)

    def check():
        f = lambda: loss(forward(X, p)["A4"], Y)
        g = backward(forward(X, p), Y, p)
        return {f"{k}{l}": (g[l]["d" + k], central(f, p[l][k])) for l in p for k in "Wb"}

    return run, check


@case(
    False,
    "dZ3",
    "missing-activation-derivative",
    "the branch for the layer below the output leaves out sigmoid'",
    wrong="W1 b1 W2 b2 W3 b3",
    style="dict of layers, loop",
)
def derivative_left_out_below_the_output():
    return four_layers(False, True)


@case(
    False,
    "dZ4",
    "missing-factor constant-factor wrong-operand missing-term wrong-activation-derivative",
    "softmax normalised over the whole batch in forward; A - Y is not its gradient (m A - Y is)",
    wrong="W1 b1 W2 b2 W3 b3 W4 b4",
    style="dict of layers, loop",
)
def softmax_over_the_whole_batch():
    return four_layers(True, False)


def lists_of_layers(layer_off, m_of_weights):
    def forward(X, p):
        A, Z = [X], [None]
        for l in range(1, len(p["W"])):
            Z.append(p["W"][l] @ A[l - 1] + p["b"][l])
            A.append(sig(Z[l]))
        return {"Z": Z, "A": A}

    def loss(A, Y):
        return -np.mean(Y * np.log(A) + (1 - Y) * np.log(1 - A))

    def backward(cache, Y, p):
        A, L = cache["A"], len(p["W"]) - 1
        dW, db, dZ = [None] * (L + 1), [None] * (L + 1), [None] * (L + 1)
        for l in range(L, 0, -1):
            m = p["W"][l].shape[1] if m_of_weights else Y.shape[1]
            dZ[l] = A[l] - Y if l == L else p["W"][l + 1].T @ dZ[l + 1] * A[l] * (1 - A[l])
            dW[l] = dZ[l] @ A[l if layer_off and l < L else l - 1].T / m
            db[l] = np.sum(dZ[l], axis=1, keepdims=True) / m
        return {"dZ": dZ, "dW": dW, "db": db}

    r = R(9)
    W = [None, r.normal(size=(4, 4)), r.normal(size=(4, 4)), r.normal(size=(1, 4))]
    p = {"W": W, "b": [None, r.normal(size=(4, 1)), r.normal(size=(4, 1)), r.normal(size=(1, 1))]}
    return net(
        forward,
        backward,
        loss,
        p,
        r.normal(size=(4, 11)),
        r.integers(0, 2, (1, 11)).astype(float),
        name=lambda k: "d" + k,
    )


@case(
    False,
    "dW[2]",
    "wrong-layer wrong-operand",
    "hidden weight gradients use A of the same layer",
    wrong="W[1] W[2]",
    style="list-style layers, entry 0 empty",
)
def activation_of_the_same_layer():
    return lists_of_layers(True, False)


@case(
    False,
    "dW[3] db[3]",
    "constant-factor missing-mean",
    "m is taken from the weights' shape",
    wrong="W[1] W[2] W[3] b[1] b[2] b[3]",
    style="list-style layers, entry 0 empty",
)
def m_from_the_weights_shape():
    return lists_of_layers(False, True)


@case(
    False,
    "dv1 dv2",
    "missing-activation-derivative missing-factor",
    "the output weights lack y(1-y), those of the first layer have it",
    wrong="v1 v2",
    style="scalars (floats)",
    glue=3,
    as_written=False,
    reason="floats as 0-d arrays; gradients returned",
)
def output_weights_without_derivative():
    def forward(X, p):
        h1 = sig(X[0] * p["w11"] + X[1] * p["w12"])
        h2 = sig(X[0] * p["w21"] + X[1] * p["w22"])
        return {"h1": h1, "h2": h2, "y": sig(h1 * p["v1"] + h2 * p["v2"])}

    def backward(cache, X, Y, p):
        h1, h2, y = cache["h1"], cache["h2"], cache["y"]
        e = y - Y
        g = {"dv1": e * h1, "dv2": e * h2}
        g["dw11"] = e * y * (1 - y) * p["v1"] * h1 * (1 - h1) * X[0]
        g["dw12"] = e * y * (1 - y) * p["v1"] * h1 * (1 - h1) * X[1]
        g["dw21"] = e * y * (1 - y) * p["v2"] * h2 * (1 - h2) * X[0]
        g["dw22"] = e * y * (1 - y) * p["v2"] * h2 * (1 - h2) * X[1]
        return g

    r = R(11)
    p = {k: np.array(r.normal()) for k in ("w11", "w12", "w21", "w22", "v1", "v2")}
    return net(forward, backward, half_squares, p, np.array([1.0, 0.5]), np.array(1.0))
