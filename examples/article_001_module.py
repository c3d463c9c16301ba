"""A module that stores its inputs and outputs, and runs backwards.

The article's `Module` and `Lin`, with its sizes: 1024 input features, 512 outputs; rows are examples, weights have
shape (in, out). Each module stores its arguments and its output; `backward` then computes the gradients of the inputs
and parameters, `inp.g`, `weight.g` and `bias.g`, from the gradient of the output, `out.g`.

The text of the article uses NumPy but its code uses torch; here it is NumPy. Corrections:
  - `out = [email protected] + self.bias` is `inp@self.weight + self.bias`, garbled by an e-mail filter;
  - `math` is never imported, and `m` in `randn(…)/math.sqrt(m)` is never defined: it is the number of inputs;
  - `Lin.__call__` replaces `Module.__call__`, so `self.args`, read by `backward`, is never set: here it has `forward`;
  - `forward(self)` takes no arguments but is called with some;
  - the text describes a transposed weight of 512 × 1024, the code has one of 1024 × 512: we follow the code;
  - the article's program never calls `backward`; here the module is trained for a step with a loss, as it suggests.

Every gradient is then computed a second time by chainrule from the forward pass alone; the two agree to 1e-12.
"""

import math

import numpy as np

import chainrule as cr
from chainrule import nn

# -- by hand, as in the article ----------------------------------------------------------------------------------------


class Array(np.ndarray):
    """A NumPy array with an attribute `g` for its gradient."""

    g = None


def array(values):
    return np.array(values, dtype=np.float64).view(Array)


class Module:
    def __call__(self, *args):
        self.args = args
        self.out = self.forward(*args)
        return self.out

    def forward(self, *args):
        raise TypeError(f"{type(self).__name__} has no forward")

    def backward(self):
        self.back(self.out, *self.args)


class Lin(Module):
    def __init__(self, w, b):
        self.bias = b
        self.weight = w

    def forward(self, inp):
        return inp @ self.weight + self.bias

    def back(self, out, inp):
        inp.g = out.g @ self.weight.T
        # One outer product per example, then their sum. It equals inp.T @ out.g, which needs N times less memory.
        self.weight.g = (inp[:, :, None] * out.g[:, None, :]).sum(0)
        self.bias.g = out.g.sum(0)


class Relu(Module):
    def forward(self, inp):
        return np.where(inp > 0, inp, 0.0).view(Array)

    def back(self, out, inp):
        inp.g = np.where(inp > 0, 1.0, 0.0) * out.g


class MeanSquaredError(Module):
    """The article's "simple loss function": the mean over the examples, with one output each."""

    def forward(self, inp, target):
        return ((inp[:, 0] - target) ** 2).mean()

    def back(self, out, inp, target):
        inp.g = 2 * (inp[:, 0] - target)[:, None] / len(target)


class Network(Module):
    """A sequence of modules: forward in order, backward in reverse order."""

    def __init__(self, layers, loss):
        self.layers = layers
        self.loss = loss

    def forward(self, inp, target):
        for layer in self.layers:
            inp = layer(inp)
        return self.loss(inp, target)

    def back(self, out, inp, target):
        self.loss.backward()
        for layer in reversed(self.layers):
            layer.backward()


def parameters_of(network):
    parameters = {}
    for i, layer in enumerate([layer for layer in network.layers if isinstance(layer, Lin)], 1):
        parameters |= {f"W{i}": layer.weight, f"b{i}": layer.bias}
    return parameters


def update_together(parameters, learning_rate):
    """All gradients first, then all weights at once: "it waits for the gradients of all of the weights"."""
    for p in parameters.values():
        p -= learning_rate * p.g


def update_too_early(network, learning_rate):
    """The mistake that the article warns of: W2 is updated before the gradient is propagated through it."""
    network.loss.backward()
    for layer in reversed(network.layers):
        if isinstance(layer, Lin):
            layer.weight.g = layer.args[0].T @ layer.out.g
            layer.bias.g = layer.out.g.sum(0)
            layer.weight -= learning_rate * layer.weight.g
            layer.bias -= learning_rate * layer.bias.g
            layer.args[0].g = layer.out.g @ layer.weight.T
        else:
            layer.backward()


# -- with the library --------------------------------------------------------------------------------------------------


def loss_of(parameters, X, target):
    hidden = X @ parameters["W1"] + parameters["b1"]
    hidden = np.where(hidden > 0, hidden, 0.0)
    out = hidden @ parameters["W2"] + parameters["b2"]
    return np.mean((out[:, 0] - target) ** 2)


def modules_of(start):
    """Build the network from the library's modules: `__call__` records the graph, `backward` traverses it."""
    inputs, hidden = start["W1"].shape
    model = nn.Sequential(
        nn.Linear(inputs, hidden, dtype=np.float64), nn.ReLU(), nn.Linear(hidden, 1, dtype=np.float64)
    )
    for parameter in model.parameters():
        parameter.assign(start[parameter.name])
    return model


# -- do they agree? ----------------------------------------------------------------------------------------------------


def compare(name, by_hand, derived):
    difference = np.max(np.abs(np.asarray(by_hand) - derived))
    print(f"  {name:3} {np.shape(by_hand)!s:>12} {np.linalg.norm(by_hand):12.8f}   {difference:.1e}")
    assert np.shape(by_hand) == np.shape(derived)
    assert difference <= 1e-12


def main():
    in_features, out_features, N = 1024, 512, 8
    rng = np.random.default_rng(1)
    w1 = rng.normal(size=(in_features, out_features)) / math.sqrt(in_features)
    w2 = rng.normal(size=(out_features, 1)) / math.sqrt(out_features)
    start = {"W1": w1, "b1": np.zeros(out_features), "W2": w2, "b2": np.zeros(1)}
    X, target = rng.normal(size=(N, in_features)), rng.normal(size=N)

    def network():
        linear1, linear2 = Lin(array(start["W1"]), array(start["b1"])), Lin(array(start["W2"]), array(start["b2"]))
        return Network([linear1, Relu(), linear2], MeanSquaredError())

    # The gradients, from the modules above and from the library.
    by_hand = network()
    inp = array(X)
    loss = by_hand(inp, target)
    by_hand.backward()
    value, (gradients, dX) = cr.value_and_grad(loss_of, argnums=(0, 1))(start, X, target)
    print(f"Lin {in_features} -> {out_features}, Relu, Lin {out_features} -> 1, mean squared error {loss:.8f}")
    print(f"      {'shape':>10} {'norm':>12}   largest difference")
    assert abs(value - loss) <= 1e-12
    for name, p in parameters_of(by_hand).items():
        compare("d" + name, p.g, gradients[name])
    compare("dX", inp.g, dX)

    # The same network from the library's modules: after loss.backward() every parameter has its gradient in .grad.
    model = modules_of(start)
    nn.losses.mse(model(X), target).backward()
    for parameter in model.parameters():
        np.testing.assert_allclose(parameter.grad, gradients[parameter.name], rtol=0, atol=1e-12)
    print("  nn.Sequential(Linear, ReLU, Linear): the same, in .grad of W1, b1, W2, b2")

    # The update of all weights at once, from the stored gradients.
    learning_rate = 0.01
    update_together(parameters_of(by_hand), learning_rate)
    together = {name: start[name] - learning_rate * gradients[name] for name in start}
    print("after one update of all weights at once")
    for name, p in parameters_of(by_hand).items():
        compare(name, p, together[name])

    wrong = network()
    wrong(array(X), target)
    update_too_early(wrong, learning_rate)
    after = parameters_of(wrong)
    off = np.linalg.norm(after["W1"] - together["W1"]) / np.linalg.norm(together["W1"] - start["W1"])
    print(f"W2 updated before the gradient is propagated through it: the step of W1 is {off:.1%} off")
    np.testing.assert_allclose(after["W2"], together["W2"], rtol=0, atol=1e-12)  # the last layer is not affected
    assert off > 0.01


if __name__ == "__main__":
    main()
