"""Scripts and notebooks with nothing to call, audited as they are."""

from __future__ import annotations

import json

import pytest

from chainrule.audit.commands import audit_parts, audit_script
from chainrule.cli.gradients import audit_here

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


def audited(tmp_path, text, name="train.py"):
    path = tmp_path / name
    path.write_text(text)
    return audit_script(path)


@pytest.mark.parametrize(
    ("text", "right", "wrong", "step"),
    [
        (NETWORK, "(1 - a1**2)", "(1 - z1**2)", "dz1"),
        (NETWORK, "dW2 = a1.T @ dz2", "dW2 = a1.T @ dz2 / len(X)", "dW2"),
        (NO_LOSS, "guess_delta.dot(second.T)", "miss.dot(second.T)", "dfirst"),
        (BATCHES, "x.T @ (p - y) / len(x)", "x.T @ (p - y)", "dw"),
        (LISTS, "grads = [X.T @ d1,", "grads = [X.T @ d1 / len(X),", "dweights_0"),
        (LISTS, "d2.sum(axis=0)", "d2.mean(axis=0)", "dparams_b2"),
        (IN_A_FUNCTION, "X.T @ dout", "X.T @ dout / len(X)", "dnet_W"),
    ],
)
def test_scripts_right_and_wrong(tmp_path, text, right, wrong, step):
    report = audited(tmp_path, text)
    assert report.ok and all(s.verdict == "right" for s in report.steps), str(report)
    assert right in text
    report = audited(tmp_path, text.replace(right, wrong))
    assert [f.name for f in report.findings] == [step], str(report)


def test_a_parameter_of_a_list_that_is_not_updated_is_missed(tmp_path):
    report = audited(tmp_path, LISTS.replace("range(len(weights))", "range(1)"))
    assert [(f.name, f.cause) for f in report.findings] == [("dweights_1", "missing-gradient")]


def test_a_loop_in_a_function_is_found_where_the_file_calls_it(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(IN_A_FUNCTION)
    assert audit_parts(path).ok
    path.write_text(IN_A_FUNCTION.replace("    main()", "    pass"))
    with pytest.raises(LookupError, match=r"loop at line 13 is not reached: train\.py does not call its function"):
        audit_parts(path)


def test_what_is_assumed_is_said(tmp_path):
    report = audited(tmp_path, NO_LOSS)
    assert "parameters second, first from the updates at lines 19, 20" in report.read_as
    assert "loss assumed: half the squared error of guess" in report.read_as
    assert "Right: all 2 steps. Loss assumed: half the squared error of guess." in " ".join(str(report).split())
    assert "loop at line 10; parameters W2, b2, W1, b1" in audited(tmp_path, NETWORK).read_as


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
