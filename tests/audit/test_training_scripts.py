"""Scripts and notebooks with nothing to call, audited as they are."""

from __future__ import annotations

import json

import pytest

from chainrule.audit.commands import audit_script
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
    ],
)
def test_scripts_right_and_wrong(tmp_path, text, right, wrong, step):
    report = audited(tmp_path, text)
    assert report.ok and all(s.verdict == "right" for s in report.steps), str(report)
    assert right in text
    report = audited(tmp_path, text.replace(right, wrong))
    assert [f.name for f in report.findings] == [step], str(report)


def test_what_is_assumed_is_said(tmp_path):
    report = audited(tmp_path, NO_LOSS)
    assert "parameters second, first from the updates at lines 19, 20" in report.read_as
    assert "loss assumed: half the squared error of guess" in report.read_as
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
