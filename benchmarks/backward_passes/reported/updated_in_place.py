"""Weights that are updated before the error goes through them."""

import numpy as np

import chainrule as cr
from benchmarks.backward_passes.reported.claims import R, case, central, half_squares, net, onehot, sig


@case(
    False,
    "dW2",
    "missing-activation-derivative",
    "output delta without sigmoid'; dW1 through the updated W2",
    wrong="W1 W2 b1 b2",
    style="class, update in place",
    glue=12,
    as_written=True,
    reason="adapter: (old - new)/lr",
)
def output_delta_without_derivative():
    class Digits:
        def __init__(self, W1, b1, W2, b2):
            self.W1, self.b1, self.W2, self.b2 = W1, b1, W2, b2

        def feed(self, x):
            self.x = x
            self.h = sig(self.W1 @ x + self.b1)
            self.o = sig(self.W2 @ self.h + self.b2)
            return self.o

        def learn(self, x, t, lr=0.1):
            self.feed(x)
            delta = self.o - t
            self.W2 -= lr * delta @ self.h.T
            self.b2 -= lr * delta
            hidden = (self.W2.T @ delta) * self.h * (1 - self.h)
            self.W1 -= lr * hidden @ x.T
            self.b1 -= lr * hidden

    def forward(X, p):
        d = Digits(p["W1"], p["b1"], p["W2"], p["b2"])
        d.feed(X)
        return {"x": X, "h": d.h, "o": d.o}

    def backward(cache, Y, p):
        new = {k: v.copy() for k, v in p.items()}
        Digits(new["W1"], new["b1"], new["W2"], new["b2"]).learn(cache["x"], Y, 0.1)
        return {"d" + k: (p[k] - new[k]) / 0.1 for k in p}

    r = R(1)
    p = {
        "W1": r.normal(size=(5, 6)),
        "b1": r.normal(size=(5, 1)),
        "W2": r.normal(size=(3, 5)),
        "b2": r.normal(size=(3, 1)),
    }
    return net(forward, backward, half_squares, p, r.random((6, 1)), onehot([1], 3).T)


def layers_updating_themselves(late):
    class Layer:
        def __init__(self, n_in, n_out, seed):
            self.W, self.b, self.lr = R(seed).normal(size=(n_out, n_in)), np.zeros((n_out, 1)), 0.2

        def forward(self, x):
            self.x = x
            self.a = sig(self.W @ x + self.b)
            return self.a

        def backward(self, err):
            delta = err * self.a * (1 - self.a)
            before = self.W.T @ delta
            self.W -= self.lr * delta @ self.x.T
            self.b -= self.lr * delta
            return self.W.T @ delta if late else before

    x = R(4).normal(size=(4, 1))

    def check():
        ls = [Layer(4, 5, 1), Layer(5, 3, 2)]
        dout = R(0).normal(size=(3, 1))
        f = lambda: np.sum(ls[1].forward(ls[0].forward(x)) * dout)
        want = central(f, x)
        f()
        return {"x": (ls[0].backward(ls[1].backward(dout)), want)}

    return lambda: cr.audit_module([Layer(4, 5, 1), Layer(5, 3, 2)], x), check


@case(
    False,
    "dx",
    "updated-weights mutates-input",
    "each layer updates itself, then sends the error through its new weights",
    wrong="x",
    style="class with a list of layers, update in place",
)
def error_through_updated_layers():
    return layers_updating_themselves(True)


@case(
    True,
    note="control: each layer forms the error first, then updates itself: right",
    style="class with a list of layers, update in place",
)
def error_before_the_update():
    return layers_updating_themselves(False)


@case(
    False,
    "dweights[0]",
    "updated-weights",
    "hidden error through the weights just adjusted",
    wrong="weights[0]",
    style="function with lists, update in place",
    glue=4,
    as_written=False,
    reason="function returned nothing: gradients collected and returned",
)
def error_through_adjusted_weights():
    def forward(X, p):
        a = [X]
        for W in p["weights"]:
            a.append(sig(W @ a[-1]))
        return {"acts": a}

    def backward(cache, Y, p, lr=0.8):
        a, W = cache["acts"], p["weights"]
        grads = [None] * len(W)
        err = a[-1] - Y
        for i in range(len(W) - 1, -1, -1):
            delta = err * a[i + 1] * (1 - a[i + 1])
            grads[i] = delta @ a[i].T
            W[i] -= lr * grads[i]
            err = W[i].T @ delta
        return {"dweights": grads}

    r = R(6)
    X = np.array([[0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 1]], float)
    return net(
        forward,
        backward,
        half_squares,
        {"weights": [r.normal(size=(5, 3)), r.normal(size=(1, 5))]},
        X,
        np.array([[0.0, 1, 1, 0]]),
    )
