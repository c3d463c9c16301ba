"""Backpropagation layer by layer: a cache in the forward pass, a dictionary of gradients in the backward pass.

The network of the article, with its names and shapes: the m examples are *columns*, layer l has W (n_l, n_{l-1}) and
b (n_l, 1), and

    Z_l = W_l A_{l-1} + b_l            A_0 = X
    A_l = relu(Z_l)                    last layer: identity, sigmoid or softmax

The backward pass follows the convention of the article: the error signals dZ and dA do not include the factor 1/m; dW
and db are averages over the examples.

Every gradient is then computed a second time by chainrule from the forward pass alone, and a third time from a network
of the library's layers, whose values and gradients have the same names. All agree to 1e-12.
"""

import numpy as np

import chainrule as cr
from chainrule import nn

# -- by hand, as in the article ----------------------------------------------------------------------------------------


def relu(Z, deriv=False):
    """The derivative at 0 does not exist; the article uses 0, and so does np.where here."""
    return np.where(Z > 0, 1.0, 0.0) if deriv else np.where(Z > 0, Z, 0.0)


def nothing(Z):
    return Z


def sigmoid(Z):
    return 1 / (1 + np.exp(-Z))


def softmax(Z):
    E = np.exp(Z - np.max(Z, axis=0, keepdims=True))
    return E / np.sum(E, axis=0, keepdims=True)


def half_squared_error(A, Y):
    return np.sum((A - Y) ** 2) / (2 * Y.shape[1])


def binary_cross_entropy(A, Y):
    return -np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / Y.shape[1]


def cross_entropy(A, Y):
    return -np.sum(Y * np.log(A)) / Y.shape[1]


def initialise(layers, rng):
    """He initialisation; `layers` is n_0 (the number of inputs), n_1, …, n_L."""
    parameters = {}
    for l in range(1, len(layers)):
        parameters["W" + str(l)] = rng.normal(size=(layers[l], layers[l - 1])) * np.sqrt(2 / layers[l - 1])
        parameters["b" + str(l)] = rng.normal(size=(layers[l], 1)) * 0.1
    return parameters


def forward(X, parameters, output_activation, nudges=None):
    """Return the cache: A0, Z1, A1, … `nudges`, not in the article, is added to the named values (see below)."""

    def nudged(name, value):
        return value if nudges is None else value + nudges[name]

    L = len(parameters) // 2
    cache = {"A0": X}
    for l in range(1, L + 1):
        Z = parameters["W" + str(l)] @ cache["A" + str(l - 1)] + parameters["b" + str(l)]
        cache["Z" + str(l)] = nudged("Z" + str(l), Z)
        activation = relu if l < L else output_activation
        cache["A" + str(l)] = nudged("A" + str(l), activation(cache["Z" + str(l)]))
    return cache


def backpropagation(cache, Y, parameters):
    """The article's code, line by line."""
    L = len(parameters) // 2
    m = Y.shape[1]
    grads = {}
    grads["dZ" + str(L)] = cache["A" + str(L)] - Y
    grads["dW" + str(L)] = (1 / m) * np.dot(grads["dZ" + str(L)], cache["A" + str(L - 1)].T)
    grads["db" + str(L)] = (1 / m) * np.sum(grads["dZ" + str(L)], axis=1, keepdims=True)
    for l in range(L - 1, 0, -1):
        grads["dA" + str(l)] = np.dot(parameters["W" + str(l + 1)].T, grads["dZ" + str(l + 1)])
        grads["dZ" + str(l)] = np.multiply(grads["dA" + str(l)], relu(cache["Z" + str(l)], deriv=True))
        grads["dW" + str(l)] = (1 / m) * np.dot(grads["dZ" + str(l)], cache["A" + str(l - 1)].T)
        grads["db" + str(l)] = (1 / m) * np.sum(grads["dZ" + str(l)], axis=1, keepdims=True)
    return grads


# -- with the library --------------------------------------------------------------------------------------------------


def parameter_gradients(X, Y, parameters, output_activation, cost):
    """Differentiate the cost with respect to the dictionary of parameters; return a dictionary of gradients."""

    def cost_of(parameters):
        cache = forward(X, parameters, output_activation)
        return cost(cache["A" + str(len(parameters) // 2)], Y)

    value, gradient = cr.value_and_grad(cost_of)(parameters)
    return value, {"d" + name: g for name, g in gradient.items()}


def error_signals(X, Y, parameters, output_activation, cost):
    """Differentiate the cost with respect to every Z and A.

    The article speaks of "a nudge in Z": add a matrix of zeros to each value and differentiate with respect to it.
    """
    L = len(parameters) // 2
    cache = forward(X, parameters, output_activation)
    zeros = {name: np.zeros_like(value) for name, value in cache.items() if name != "A0"}

    def cost_of(nudges):
        return cost(forward(X, parameters, output_activation, nudges)["A" + str(L)], Y)

    return {"d" + name: g for name, g in cr.grad(cost_of)(zeros).items()}


def by_name(X, Y, parameters, loss):
    """Build the same network from layers: `cr.backprop` returns the article's cache and grads in one object.

    In the library, examples are rows, weights have shape (inputs, outputs), and the loss expects Z of the last layer.
    """
    L = len(parameters) // 2
    layers = []
    for l in range(1, L + 1):
        n_out, n_in = parameters["W" + str(l)].shape
        layers += [nn.Linear(n_in, n_out, dtype=np.float64), nn.ReLU()]
    model = nn.Sequential(layers[:-1])
    for parameter in model.parameters():
        columns = parameters[parameter.name]
        parameter.assign(columns.T if parameter.name.startswith("W") else columns[:, 0])
    return cr.backprop(model, X.T, Y.T, loss=loss)


# -- do they agree? ----------------------------------------------------------------------------------------------------


def targets(kind, n, m, rng):
    if kind == "values":
        return rng.normal(size=(n, m))
    if kind == "yes or no":
        return rng.integers(0, 2, size=(n, m)).astype(float)
    return np.eye(n)[:, rng.integers(0, n, size=m)]  # one-hot columns


PAIRINGS = (
    # name, last activation, cost, the library's loss, outputs, targets
    ("no activation, half squared error", nothing, half_squared_error, "half_mse", 2, "values"),
    ("sigmoid, binary cross entropy", sigmoid, binary_cross_entropy, "binary_cross_entropy", 1, "yes or no"),
    ("softmax, cross entropy", softmax, cross_entropy, "cross_entropy", 4, "one of n"),
)


def main():
    rng = np.random.default_rng(0)
    m = 7
    for title, activation, cost, loss, outputs, kind in PAIRINGS:
        parameters = initialise([6, 5, 3, outputs], rng)
        X = rng.normal(size=(6, m))
        Y = targets(kind, outputs, m, rng)

        cache = forward(X, parameters, activation)
        grads = backpropagation(cache, Y, parameters)

        value, derived = parameter_gradients(X, Y, parameters, activation, cost)
        signals = error_signals(X, Y, parameters, activation, cost)
        # The derivatives of the mean cost include the factor 1/m; in the article only dW and db do.
        derived |= {name: m * g for name, g in signals.items() if name in grads}

        print(f"\n{title}: cost {value:.6f}, {m} examples in columns")
        print(f"  {'':4} {'shape':>8} {'norm':>10}   largest difference")
        assert set(derived) == set(grads)
        for name, by_hand in grads.items():
            difference = np.max(np.abs(derived[name] - by_hand))
            print(f"  {name:4} {by_hand.shape!s:>8} {np.linalg.norm(by_hand):10.6f}   {difference:.1e}")
            assert derived[name].shape == by_hand.shape
            assert difference <= 1e-12

        # Values and gradients of the layers have the same names; rows become columns, and dZ and dA include 1/m.
        b = by_name(X, Y, parameters, loss)
        for name, by_hand in (cache | grads).items():
            factor = m if name.startswith(("dZ", "dA")) else 1
            columns = factor * (b[name][:, None] if b[name].ndim == 1 else b[name].T)
            np.testing.assert_allclose(columns, by_hand, rtol=0, atol=1e-12)

        # The gradient at the last layer is the same for all three pairings of activation and cost.
        L = len(parameters) // 2
        np.testing.assert_allclose(m * signals["dZ" + str(L)], cache["A" + str(L)] - Y, rtol=0, atol=1e-12)
        print(f"  dZ{L} = A{L} - Y")


if __name__ == "__main__":
    main()
