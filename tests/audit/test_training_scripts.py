"""Scripts and notebooks with nothing to call, audited as they are."""

from __future__ import annotations

import json

import pytest

from chainrule.audit.commands import audit_parts, audit_script
from chainrule.cli.gradients import audit_here
from tests.tables import in_turn

NETWORK = """\
import numpy as np

rng = np.random.default_rng(0)
X = rng.normal(size=(20, 3))
y = rng.normal(size=(20, 2))
W1, b1 = rng.normal(size=(3, 5)), np.zeros(5)
W2, b2 = rng.normal(size=(5, 2)), np.zeros(2)
lr = 0.01
history = []
for epoch in range(100000):
    z1 = X @ W1 + b1
    a1 = np.tanh(z1)
    z2 = a1 @ W2 + b2
    loss = np.mean(np.sum((z2 - y) ** 2, axis=1)) / 2
    history.append(loss)
    if epoch % 100 == 0:
        print(epoch, loss)
    dz2 = (z2 - y) / len(X)
    dW2 = a1.T @ dz2
    dz1 = dz2 @ W2.T * (1 - a1**2)
    dW1 = X.T @ dz1
    W2 -= lr * dW2
    b2 -= lr * dz2.sum(axis=0)
    W1 = W1 - lr * dW1
    b1 = b1 - lr * dz1.sum(axis=0)
print(undefined)
"""

NO_LOSS = """\
import numpy as np

def squash(x, deriv=False):
    if deriv:
        return x * (1 - x)
    return 1 / (1 + np.exp(-x))

inputs = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
wanted = np.array([[0], [1], [1], [0]])
np.random.seed(1)
first = 2 * np.random.random((3, 4)) - 1
second = 2 * np.random.random((4, 1)) - 1
for step in range(60000):
    hidden = squash(inputs.dot(first))
    guess = squash(hidden.dot(second))
    miss = wanted - guess
    guess_delta = miss * squash(guess, deriv=True)
    hidden_delta = guess_delta.dot(second.T) * squash(hidden, deriv=True)
    second += hidden.T.dot(guess_delta)
    first += inputs.T.dot(hidden_delta)
"""

BATCHES = """\
import numpy as np

X, t = np.random.randn(32, 4), np.random.randint(0, 2, (32, 1))
w, b = np.random.randn(4, 1), 0.0
for epoch in range(10):
    order = np.random.permutation(len(X))
    for start in range(0, len(X), 8):
        x, y = X[order[start : start + 8]], t[order[start : start + 8]]
        p = 1 / (1 + np.exp(-(x @ w + b)))
        cost = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
        w -= 0.1 * x.T @ (p - y) / len(x)
        b -= 0.1 * np.mean(p - y)
"""


LISTS = """\
import numpy as np

rng = np.random.default_rng(0)
X, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
weights = [rng.normal(size=(3, 4)), rng.normal(size=(4, 2))]
params = {"b1": np.zeros(4), "b2": np.zeros(2)}
lr = 0.05
for step in range(1000):
    h = np.tanh(X @ weights[0] + params["b1"])
    out = h @ weights[1] + params["b2"]
    loss = np.sum((out - y) ** 2) / 2
    d2 = out - y
    d1 = d2 @ weights[1].T * (1 - h**2)
    grads = [X.T @ d1, h.T @ d2]
    for i in range(len(weights)):
        weights[i] -= lr * grads[i]
    params["b1"] -= lr * d1.sum(axis=0)
    params["b2"] = params["b2"] - lr * d2.sum(axis=0)
"""

IN_A_FUNCTION = """\
import numpy as np

class Net:
    def __init__(self, lr=0.1):
        self.W, self.b, self.lr = np.random.randn(3, 2), np.zeros(2), lr

def load():
    rng = np.random.default_rng(0)
    return rng.normal(size=(20, 3)), rng.normal(size=(20, 2))

def train(X, y, epochs=50):
    net = Net()
    for epoch in range(epochs):
        out = X @ net.W + net.b
        loss = np.mean((out - y) ** 2)
        dout = 2 * (out - y) / out.size
        net.W -= net.lr * X.T @ dout
        net.b -= net.lr * dout.sum(axis=0)
        if loss < 1e-3:
            return net
    return net

def main():
    X, y = load()
    print(train(X, y).W)

if __name__ == "__main__":
    main()
"""


PAIRS = """\
import numpy as np

rng = np.random.default_rng(0)
X, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
W1, W2 = rng.normal(size=(3, 4)), rng.normal(size=(4, 2))
memories = [np.zeros_like(W1), np.zeros_like(W2)]

def forward(X):
    h = np.tanh(X @ W1)
    return h, h @ W2

for step in range(100):
    h, out = forward(X)
    loss = np.sum((out - y) ** 2) / 2
    d = out - y
    dW2 = h.T @ d
    dW1 = X.T @ (d @ W2.T * (1 - h**2))
    for i, (p, g, memory) in enumerate(zip([W1, W2], [dW1, dW2], memories)):
        memory += g * g
        p += -0.1 * g / np.sqrt(memory + 1e-8)
"""

LAYERS = """\
import numpy as np

rng = np.random.default_rng(0)

class Dense:
    def __init__(self, n, m):
        self.params, self.grads = {"W": rng.normal(size=(n, m)), "b": np.zeros(m)}, {}

    def forward(self, x):
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, d):
        self.grads["W"] = self.x.T @ d
        self.grads["b"] = d.sum(axis=0)
        return d @ self.params["W"].T

class Relu:
    params = {}

    def forward(self, x):
        self.on = x > 0
        return x * self.on

    def backward(self, d):
        return d * self.on

class Net:
    def __init__(self):
        self.layers = [Dense(3, 4), Relu(), Dense(4, 2)]

def train(net, X, y, lr=0.1):
    for epoch in range(5):
        out = X
        for layer in net.layers:
            out = layer.forward(out)
        cost = np.sum((out - y) ** 2) / len(X)
        d = 2 * (out - y) / len(X)
        for layer in net.layers[::-1]:
            d = layer.backward(d)
        for layer in net.layers:
            for name in layer.params:
                layer.params[name] -= lr * layer.grads[name]

train(Net(), rng.normal(size=(12, 3)), rng.normal(size=(12, 2)))
"""

COMPREHENSIONS = """\
import numpy as np

class Network:
    def __init__(self, sizes):
        rng = np.random.default_rng(0)
        self.biases = [rng.normal(size=(n, 1)) for n in sizes[1:]]
        self.weights = [rng.normal(size=(n, m)) for m, n in zip(sizes[:-1], sizes[1:])]

    def fit(self, X, Y, eta=0.5):
        for epoch in range(3):
            a = [X]
            for b, w in zip(self.biases, self.weights):
                a.append(1 / (1 + np.exp(-(w @ a[-1] + b))))
            loss = np.sum((a[-1] - Y) ** 2) / 2
            delta = (a[-1] - Y) * a[-1] * (1 - a[-1])
            below = self.weights[1].T @ delta * a[1] * (1 - a[1])
            nabla_w = [below @ a[0].T, delta @ a[1].T]
            nabla_b = [below.sum(1, keepdims=True), delta.sum(1, keepdims=True)]
            self.weights = [w - eta * g for w, g in zip(self.weights, nabla_w)]
            self.biases = [b - eta * g for b, g in zip(self.biases, nabla_b)]

rng = np.random.default_rng(1)
Network([3, 4, 2]).fit(rng.normal(size=(3, 9)), rng.random((2, 9)))
"""

OBJECTS = """\
import numpy as np

rng = np.random.default_rng(0)
X, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))

class Parameter:
    def __init__(self, data):
        self.data, self.grad = data, np.zeros_like(data)

class Net:
    def __init__(self):
        self.first, self.second = Parameter(rng.normal(size=(3, 4))), Parameter(rng.normal(size=(4, 2)))

    def parameters(self):
        return [self.first, self.second]

    def forward(self, x):
        self.x, self.h = x, np.maximum(x @ self.first.data, 0)
        return self.h @ self.second.data

    def backward(self, d):
        self.second.grad = self.h.T @ d
        self.first.grad = self.x.T @ (d @ self.second.data.T * (self.h > 0))

net = Net()
for step in range(10):
    out = net.forward(X)
    loss = np.mean((out - y) ** 2)
    net.backward(2 * (out - y) / out.size)
    for p in net.parameters():
        p.data = p.data - 0.1 * p.grad
"""

ADAM = """\
import numpy as np

rng = np.random.default_rng(0)
X, y = rng.normal(size=(12, 3)), rng.normal(size=12)
w, b = rng.normal(size=3), np.zeros(1)
m, s, v, lr, beta1, beta2 = np.zeros(3), np.zeros(3), np.zeros(1), 0.01, 0.9, 0.999
for t in range(1, 100):
    out = X @ w + b
    loss = np.mean((out - y) ** 2)
    dw = 2 * X.T @ (out - y) / len(y)
    db = 2 * np.mean(out - y)
    m = beta1 * m + (1 - beta1) * dw
    s = beta2 * s + (1 - beta2) * dw**2
    m_hat = m / (1 - beta1**t)
    w -= lr * m_hat / (np.sqrt(s / (1 - beta2**t)) + 1e-8)
    v = 0.9 * v - lr * db
    b += v
"""

UNCALLED = """\
import numpy as np

def gradient_descent(features, targets, learning_rate=0.1, iterations=100):
    theta = np.zeros((features.shape[1], 1))
    for _ in range(iterations):
        p = 1 / (1 + np.exp(-features @ theta))
        cost = -np.mean(targets * np.log(p) + (1 - targets) * np.log(1 - p))
        gradient = features.T @ (p - targets) / len(targets)
        theta -= learning_rate * gradient
    return theta
"""

COUNTED_BEFORE = """\
import numpy as np

X = np.random.default_rng(0).normal(size=(20, 3))
y = X @ np.array([1.0, -2.0, 3.0])
n, seen = X.shape[0], 0
w = np.zeros(3)
while seen < 1000:
    seen += n
    error = X @ w - y
    loss = np.mean(error**2)
    dw = 2 * X.T @ error / n
    w -= 0.1 * dw
"""


def audited(tmp_path, text, name="train.py"):
    path = tmp_path / name
    path.write_text(text)
    return audit_script(path)


@pytest.mark.parametrize(
    ("text", "right", "wrong", "step"),
    in_turn(
        [
            (NETWORK, "(1 - a1**2)", "(1 - z1**2)", "dz1"),
            (NETWORK, "dW2 = a1.T @ dz2", "dW2 = a1.T @ dz2 / len(X)", "dW2"),
            (NO_LOSS, "guess_delta.dot(second.T)", "miss.dot(second.T)", "dfirst"),
            (BATCHES, "x.T @ (p - y) / len(x)", "x.T @ (p - y)", "dw"),
            (LISTS, "grads = [X.T @ d1,", "grads = [X.T @ d1 / len(X),", "dweights_0"),
            (LISTS, "d2.sum(axis=0)", "d2.mean(axis=0)", "dparams_b2"),
            (IN_A_FUNCTION, "X.T @ dout", "X.T @ dout / len(X)", "dnet_W"),
            (PAIRS, "(1 - h**2)", "(1 - h)", "dW1"),
            (LAYERS, "self.x.T @ d", "2 * self.x.T @ d", "dnet_layers_2_params_W dnet_layers_0_params_W"),
            (COMPREHENSIONS, "delta @ a[1].T]", "2 * delta @ a[1].T]", "dself_weights_1"),
            (OBJECTS, "* (self.h > 0)", "", "dnet_first_data"),
            (ADAM, "2 * np.mean(out - y)", "np.mean(out - y)", "db"),
            (UNCALLED, "/ len(targets)", "", "dtheta"),
            (COUNTED_BEFORE, "2 * X.T", "X.T", "dw"),
        ]
    ),
)
def test_scripts_right_and_wrong(tmp_path, text, right, wrong, step):
    report = audited(tmp_path, text)
    assert report.ok and all(s.verdict == "right" for s in report.steps), str(report)
    assert right in text
    report = audited(tmp_path, text.replace(right, wrong))
    assert [f.name for f in report.findings] == step.split(), str(report)


def test_a_parameter_of_a_list_that_is_not_updated_is_missed(tmp_path):
    report = audited(tmp_path, LISTS.replace("range(len(weights))", "range(1)"))
    assert [(f.name, f.cause) for f in report.findings] == [("dweights_1", "missing-gradient")]


def test_a_loop_in_a_function_is_found_where_the_file_calls_it(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(IN_A_FUNCTION)
    assert audit_parts(path).ok
    path.write_text(IN_A_FUNCTION.replace("    main()", "    pass"))
    message = r"loop at line 13 is not reached, as train\.py does not call train: add train\(X, y, epochs\); with X"
    with pytest.raises(LookupError, match=message):
        audit_parts(path)


def test_arguments_that_are_drawn_are_said(tmp_path):
    report = audited(tmp_path, UNCALLED)
    assert "its function is called with features (6, 4), targets (6, 1) (examples in rows)" in report.read_as


def test_what_is_assumed_is_said(tmp_path):
    report = audited(tmp_path, NO_LOSS)
    assert "parameters second, first from the updates at lines 19, 20" in report.read_as
    assert "loss assumed: half the squared error of guess" in report.read_as
    assert "Right: all 2 steps. Loss assumed: half the squared error of guess." in " ".join(str(report).split())
    assert "loop at line 10; parameters W2, b2, W1, b1" in audited(tmp_path, NETWORK).read_as


@pytest.mark.slow
def test_a_notebook_on_the_command_line(tmp_path, capfd):
    head, loop = NETWORK.split("for epoch", 1)
    cells = [
        {"cell_type": "markdown", "source": ["# A network"]},
        {"cell_type": "code", "source": ["%matplotlib inline\n", *head.splitlines(keepends=True)]},
        {"cell_type": "code", "source": ("for epoch" + loop.replace("1 - a1**2", "1 - a1")).splitlines(keepends=True)},
    ]
    path = tmp_path / "lesson.ipynb"
    path.write_text(json.dumps({"cells": cells, "nbformat": 4}))
    given = dict(forward="forward", backward="backward", loss="loss", parameters="parameters", X="X", Y="Y")
    right = audit_here(str(path), html=None, output=None, form="text", layer=False, ascent=False, **given)
    said = capfd.readouterr().out
    assert not right and "1 error found: dz1" in said and "script lesson.ipynb" in said
