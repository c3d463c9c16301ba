"""Derivatives taken at another value, updates by hand."""

import numpy as np

from benchmarks.backward_passes.reported.claims import R, case, ce, half_squares, net, relu, rows, sig


@case(
    False,
    "dz3",
    "derivative-at-activation",
    "x(1-x) of the raw input",
    wrong="W1 W2",
    style="class, backward(X, y, o) updates in place",
    glue=9,
    reason="adapter: weights set and copied, attributes as cache, gradient = new - old",
)
def sigmoid_derivative_at_the_input():
    class Net:
        def forward(self, X):
            self.z1 = X @ self.W1
            self.z2 = sig(self.z1)
            self.z3 = self.z2 @ self.W2
            return sig(self.z3)

        def sigmoid_prime(self, s):
            return s * (1 - s)

        def backward(self, X, y, o):
            self.o_error = y - o
            self.o_delta = self.o_error * self.sigmoid_prime(self.z3)
            self.z2_error = self.o_delta @ self.W2.T
            self.z1_delta = self.z2_error * self.sigmoid_prime(self.z1)
            self.W1 += X.T @ self.z1_delta
            self.W2 += self.z2.T @ self.o_delta

    def forward(X, p):
        n = Net()
        n.W1, n.W2 = p["W1"], p["W2"]
        o = n.forward(X)
        return {"z1": n.z1, "z2": n.z2, "z3": n.z3, "o": o}

    def backward(cache, X, Y, p):
        n = Net()
        vars(n).update(z1=cache["z1"], z2=cache["z2"], z3=cache["z3"], W1=p["W1"].copy(), W2=p["W2"].copy())
        n.backward(X, Y, cache["o"])
        return {"dz3": n.o_delta, "dW2": n.W2 - p["W2"], "dW1": n.W1 - p["W1"]}

    r = R(33)
    return net(
        forward,
        backward,
        half_squares,
        {"W1": r.normal(size=(4, 5)), "W2": r.normal(size=(5, 2))},
        r.normal(size=(7, 4)),
        r.random((7, 2)),
        ascent=True,
    )


@case(
    False,
    "dZ2 dz2",
    "derivative-at-activation wrong-operand wrong-activation-derivative",
    "sigmoid' taken at the error",
    wrong="W1 W2",
    style="class, train() does all",
    glue=6,
    as_written=False,
    reason="train() split; ascent=True",
)
def sigmoid_derivative_at_the_error():
    def deriv(x):
        return x * (1 - x)

    def forward(X, p):
        Z1 = X @ p["W1"]
        A1 = sig(Z1)
        Z2 = A1 @ p["W2"]
        return {"A0": X, "Z1": Z1, "A1": A1, "Z2": Z2, "A2": sig(Z2)}

    def backward(c, Y, p):
        err = Y - c["A2"]
        d2 = err * deriv(err)
        e1 = d2 @ p["W2"].T
        d1 = e1 * deriv(e1)
        return {"dZ2": d2, "dW2": c["A0"].T @ d2, "dA1": e1, "dZ1": d1, "dW1": c["A0"].T @ d1}

    r = R(35)
    return net(
        forward,
        backward,
        half_squares,
        {"W1": r.normal(size=(4, 4)), "W2": r.normal(size=(4, 2))},
        r.normal(size=(7, 4)),
        r.random((7, 2)),
        ascent=True,
    )


@case(
    False,
    "dW2",
    "transposed",
    "dW2 transposed, square hides it; db reduced over units",
    wrong="b1 W2 b2",
    style="dict rows",
)
def second_weights_transposed():
    def softmax(z):
        e = np.exp(z - np.max(z))
        return e / np.sum(e, axis=1, keepdims=True)

    def backward(cache, Y, p):
        m = len(Y)
        dZ2 = (cache["A2"] - Y) / m
        dA1 = dZ2 @ p["W2"].T
        dZ1 = dA1 * (cache["Z1"] > 0)
        return {
            "dZ2": dZ2,
            "dW2": dZ2.T @ cache["A1"],
            "db2": dZ2.sum(axis=1, keepdims=True),
            "dA1": dA1,
            "dZ1": dZ1,
            "dW1": cache["X"].T @ dZ1,
            "db1": dZ1.sum(axis=1, keepdims=True),
        }

    run, check = rows(backward, ce, relu, softmax, sizes=(7, 5, 5))
    return run, check
