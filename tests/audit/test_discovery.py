"""Whole files: what the audit finds in them by itself, on which data, and what it says of the rest."""

from __future__ import annotations

import json

import pytest

from chainrule.audit.commands import audit_parts, audit_program

HEAD = "import numpy as np\n\n"
PAIRS = {
    "affine_backward": (
        """
def affine_forward(x, w, b):
    '''
    - x: of shape (N, d_1, ..., d_k)
    - w: of shape (D, M)
    - b: of shape (M,)
    '''
    return x.reshape(len(x), -1) @ w + b, (x, w, b)

def affine_backward(dout, cache):
    x, w, b = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dout, dout.sum(axis=0)
""",
        ("dout.sum(axis=0)", "dout.mean(axis=0)"),
        "db",
    ),
    "conv_backward_naive": (
        """
def conv_forward_naive(x, w, b, conv_param):
    s, p = conv_param["stride"], conv_param["pad"]
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    n, c, h, v = padded.shape
    out = np.zeros((n, len(w), (h - w.shape[2]) // s + 1, (v - w.shape[3]) // s + 1))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            part = padded[:, :, i * s : i * s + w.shape[2], j * s : j * s + w.shape[3]]
            out[:, :, i, j] = np.tensordot(part, w, ((1, 2, 3), (1, 2, 3))) + b
    return out, (x, w, b, conv_param)

def conv_backward_naive(dout, cache):
    x, w, b, conv_param = cache
    s, p = conv_param["stride"], conv_param["pad"]
    padded = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            place = (slice(None), slice(None), slice(i * s, i * s + w.shape[2]), slice(j * s, j * s + w.shape[3]))
            dw += np.tensordot(dout[:, :, i, j], padded[place], (0, 0))
            dpadded[place] += np.tensordot(dout[:, :, i, j], w, (1, 0))
    return dpadded[:, :, p:-p, p:-p], dw, dout.sum(axis=(0, 2, 3))
""",
        ("dw += np", "dw = np"),
        "dw",
    ),
    "sigmoid_prime": (
        "def sigmoid(z):\n    return 1 / (1 + np.exp(-z))\n"
        "def sigmoid_prime(z):\n    return sigmoid(z) * (1 - sigmoid(z))\n",
        ("(1 - sigmoid(z))", "(1 - z)"),
        "dz",
    ),
    "d_elu": (
        "def elu(x):\n    return np.where(x > 0, x, np.exp(x) - 1)\n"
        "def d_elu(x):\n    return np.where(x > 0, 1, np.exp(x))\n",
        ("1, np.exp(x))", "1, np.exp(x) - 1)"),
        "dx",
    ),
    "dtanh": (
        "def tanh(x):\n    return np.tanh(x)\ndef dtanh(x):\n    return 1 - np.tanh(x) ** 2\n",
        (" ** 2", ""),
        "dx",
    ),
    "swish(deriv=True)": (
        "def swish(x, deriv=False):\n    s = 1 / (1 + np.exp(-x))\n"
        "    return s + x * s * (1 - s) if deriv else x * s\n",
        ("s + x * s * (1 - s)", "x * s * (1 - s)"),
        "dx",
    ),
    "relu_backward": (
        "def relu(Z):\n    return np.maximum(Z, 0)\ndef relu_backward(dA, Z):\n    return dA * (Z > 0)\n",
        ("dA * (Z > 0)", "dA * Z"),
        "dZ",
    ),
    "mse_prime": (
        "def mse(y_true, y_pred):\n    return np.mean((y_true - y_pred) ** 2)\n"
        "def mse_prime(y_true, y_pred):\n    return 2 * (y_pred - y_true) / y_true.size\n",
        ("2 * (y_pred", "(y_pred"),
        "dy_pred",
    ),
    "linear_activation_backward": (
        """
def linear_activation_forward(A_prev, W, b, activation):
    Z = W @ A_prev + b
    return np.maximum(Z, 0) if activation == "relu" else np.tanh(Z), (A_prev, W, Z)

def linear_activation_backward(dA, cache, activation):
    A_prev, W, Z = cache
    dZ = dA * (Z > 0) if activation == "relu" else dA * (1 - np.tanh(Z) ** 2)
    return W.T @ dZ, dZ @ A_prev.T, dZ.sum(axis=1, keepdims=True)
""",
        ("dZ @ A_prev.T", "dA @ A_prev.T"),
        "dW",
    ),
    "logistic_cost": (
        """
def logistic_cost(w, X, y):
    p = 1 / (1 + np.exp(-X @ w))
    J = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    grad = X.T @ (p - y) / len(y)
    return J, grad
""",
        ("/ len(y)", ""),
        "dw",
    ),
    "logistic_gradients": (
        """
def logistic_loss(X, y, w, b):
    p = 1 / (1 + np.exp(-(X @ w + b)))
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))

def logistic_gradients(X, y, w, b):
    error = 1 / (1 + np.exp(-(X @ w + b))) - y
    return X.T @ error / len(y), error.mean()
""",
        ("error.mean()", "error.sum()"),
        "db",
    ),
    "half_squares": (
        """
def half_squares(x, t):
    loss = ((x - t) ** 2).sum() / 2 / len(x)
    dx = x - t
    return loss, dx / len(x)
""",
        ("dx / len(x)", "dx / len(x) * 2"),
        "dx",
    ),
    "Classifier": (
        """
class Classifier:
    def __init__(self, n_in=4, n_out=3):
        self.W = np.random.default_rng(0).normal(size=(n_in, n_out))

    def forward(self, X):
        self.X = X
        e = np.exp(X @ self.W)
        self.p = e / e.sum(axis=1, keepdims=True)
        return self.p

    def loss(self, p, y):
        return -np.mean(np.log(p[np.arange(len(y)), y]))

    def backward(self, y):
        d = self.p.copy()
        d[np.arange(len(y)), y] -= 1
        self.dW = self.X.T @ d / len(y)
""",
        ("self.X.T @ d / len(y)", "self.X.T @ d"),
        "dW",
    ),
    "Linear": (
        """
class Linear:
    def __init__(self, n_inputs, n_outputs):
        self.W = np.random.randn(n_inputs, n_outputs)

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, dout):
        self.dW = self.x.T @ dout
        return dout @ self.W.T
""",
        ("self.x.T @ dout", "self.x.T @ dout / len(dout)"),
        "dW",
    ),
}


def written(tmp_path, text, name="passes.py"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    """Return the report on a file with all of the passes."""
    text = HEAD + "".join(text for text, _, _ in PAIRS.values())
    return audit_parts(written(tmp_path_factory.mktemp("files"), text))


def test_all_kinds_of_passes_are_found(right):
    assert right.ok and not right.provisos, str(right)
    assert {s.name.partition(": ")[0] for s in right.steps} == set(PAIRS)
    assert {s.verdict for s in right.steps} == {"right"}


def test_how_each_was_read_is_said(right):
    text = " ".join(str(right).split())
    assert "data x (6, 4), w (4, 3), b (3,) (as documented)" in text
    assert "x (2, 3, 6, 4), w (5, 3, 3, 3), b (5,), conv_param={stride: 1, pad: 1} (images, channels first)" in text
    assert "dtanh, the derivative of tanh" in text and "Linear(n_inputs=4, n_outputs=3)" in text
    assert "(one output, targets 0 and 1)" in text


QUICK = ("affine_backward", "dtanh", "Linear")


@pytest.mark.parametrize(
    "names", [QUICK, pytest.param(tuple(n for n in PAIRS if n not in QUICK), marks=pytest.mark.slow)], ids=len
)
def test_all_of_them_are_found_wrong(tmp_path, names):
    text = HEAD + "".join(PAIRS[n][0].replace(*PAIRS[n][1]) for n in names)
    report = audit_parts(written(tmp_path, text))
    assert {tuple(f.name.split(": ")) for f in report.findings} == {(n, PAIRS[n][2]) for n in names}, str(report)
    assert all(f.line for f in report.findings), [f.name for f in report.findings if not f.line]


def test_what_is_not_read_is_in_the_headline(tmp_path):
    text = HEAD + PAIRS["dtanh"][0] + "class Odd:\n    def __init__(self, thing):\n        self.f = thing.open()\n"
    text += "    def forward(self, x):\n        return self.f(x)\n    def backward(self, dout):\n        return dout\n"
    report = audit_parts(written(tmp_path, text + "data = np.load('none.npy')\n"))
    assert report.ok and "Right: dtanh: dx, the only step. Not read: Odd" in " ".join(str(report).split())
    assert any("Odd was not read: AttributeError" in n for n in report.notes)
    assert any("line 14 (FileNotFoundError" in n for n in report.notes)


def test_one_of_them_and_shapes_can_be_chosen(tmp_path):
    path = written(tmp_path, HEAD + PAIRS["dtanh"][0] + PAIRS["relu_backward"][0])
    names = {r: r for r in ("forward", "loss", "parameters", "X", "Y")} | {"backward": "relu_backward"}
    report = audit_program(path, names, shapes=["Z=2,7"])
    assert [s.name for s in report.steps] == ["relu_backward: dZ"] and report.steps[0].shape == (2, 7)


def test_data_and_instances_of_the_file_come_first(tmp_path):
    text = HEAD + PAIRS["dtanh"][0] + PAIRS["Linear"][0] + "x = np.ones((5, 2))\nlayers = [Linear(7, 2)]\n"
    report = audit_parts(written(tmp_path, text), (), ["x=3,7"])
    assert report.ok and "an instance of the file" in report.read_as and "as in the file" in report.read_as
    assert {s.name: s.shape for s in report.steps}["Linear: dW"] == (7, 2)


def test_files_of_a_package_import_what_they_need(tmp_path):
    (tmp_path / "net" / "layers").mkdir(parents=True)
    written(tmp_path, "class Base:\n    scale = 1\n", "net/base.py")
    text = HEAD + "from ..base import Base\nfrom net.base import Base as Same\n" + PAIRS["Linear"][0]
    report = audit_parts(written(tmp_path, text.replace("class Linear:", "class Linear(Base):"), "net/layers/dense.py"))
    assert report.ok and len(report.steps) == 2


def test_a_notebook_with_functions(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": "# Activations"},
        {"cell_type": "code", "source": ["%matplotlib inline\n", "import numpy as np\n"]},
        {"cell_type": "code", "source": PAIRS["dtanh"][0].replace(" ** 2", "")},
    ]
    path = written(tmp_path, json.dumps({"cells": cells, "nbformat": 4}), "lesson.ipynb")
    report = audit_parts(path)
    assert [f.name for f in report.findings] == ["dtanh: dx"]
    assert report.findings[0].statement == "return 1 - np.tanh(x)"


def test_a_network_of_functions_with_its_initializer(tmp_path):
    text = """
def initialize_parameters(n_x, n_h, n_y):
    return {"W1": np.random.randn(n_h, n_x), "b1": np.zeros((n_h, 1)), "W2": np.random.randn(n_y, n_h)}

def forward_propagation(X, parameters):
    A1 = np.tanh(parameters["W1"] @ X + parameters["b1"])
    A2 = parameters["W2"] @ A1
    return A2, {"A1": A1, "A2": A2}

def compute_cost(A2, Y):
    return np.sum((A2 - Y) ** 2) / 2 / Y.shape[1]

def backward_propagation(parameters, cache, X, Y):
    dZ2 = cache["A2"] - Y
    dZ1 = parameters["W2"].T @ dZ2 * (1 - cache["A1"] ** 2)
    m = X.shape[1]
    return {"dW2": dZ2 @ cache["A1"].T / m, "dW1": dZ1 @ X.T / m, "db1": dZ1.sum(axis=1, keepdims=True) / m}
"""
    report = audit_parts(written(tmp_path, HEAD + text))
    assert report.ok and len(report.steps) == 3, str(report)
    report = audit_parts(written(tmp_path, HEAD + text.replace("dZ1 @ X.T / m", "dZ1 @ X.T")))
    assert [f.name for f in report.findings] == ["backward_propagation: dW1"]


def test_data_of_the_file_go_with_its_parameters(tmp_path):
    text = """
def initialize_parameters(n_x, n_y):
    return {"W1": np.random.randn(n_y, n_x), "b1": np.zeros((n_y, 1))}

def forward_propagation(X, parameters):
    A1 = np.tanh(parameters["W1"] @ X + parameters["b1"])
    return A1, {"A1": A1}

def compute_cost(A1, Y):
    return np.sum((A1 - Y) ** 2) / 2

def backward_propagation(parameters, cache, X, Y):
    dZ1 = (cache["A1"] - Y) * (1 - cache["A1"] ** 2)
    return {"dW1": dZ1 @ X.T, "db1": dZ1.sum(axis=1, keepdims=True)}

parameters = initialize_parameters(2, 1)
X, Y = np.random.randn(2, 9), np.ones((1, 9))
"""
    report = audit_parts(written(tmp_path, HEAD + text))
    assert report.ok and "X (2, 9), Y (1, 9) (as in the file)" in report.read_as
    late = text + 'parameters["W1"] *= np.nan  # training diverged\n'
    (finding,) = audit_parts(written(tmp_path, HEAD + late.replace("dZ1 @ X.T", "dZ1 @ X.T / 9"))).findings
    assert finding.name == "backward_propagation: dW1" and finding.evidence["at"] == "the data drawn"
    assert not audit_parts(written(tmp_path, HEAD + late)).ok


@pytest.mark.slow
def test_data_on_which_nothing_is_computed_are_not_used(tmp_path):
    text = """
class Correlation:
    def __init__(self, channels=2):
        self.W = np.random.default_rng(0).normal(size=(3, channels, 3, 3))

    def forward(self, x):
        self.x = x
        out = np.zeros((len(x), 3, x.shape[2] - 2, max(x.shape[3] - 2, 0)))
        for i in range(out.shape[2]):
            for j in range(out.shape[3]):
                out[:, :, i, j] = np.tensordot(x[:, :, i : i + 3, j : j + 3], self.W, ((1, 2, 3), (1, 2, 3)))
        return out

    def backward(self, dout):
        dx, self.dW = np.zeros_like(self.x), np.zeros_like(self.W)
        for i in range(dout.shape[2]):
            for j in range(dout.shape[3]):
                self.dW += np.tensordot(dout[:, :, i, j], self.x[:, :, i : i + 3, j : j + 3], (0, 0))
                dx[:, :, i : i + 3, j : j + 3] = np.tensordot(dout[:, :, i, j], self.W, (1, 0))
        return dx
"""
    report = audit_parts(written(tmp_path, HEAD + text))
    assert [f.name for f in report.findings] == ["Correlation: dx"], str(report)
    assert "x (2, 2, 6, 4)" in report.read_as  # as many channels as W has


def test_steps_of_several_parts_are_listed_under_their_names(right):
    text = str(right)
    assert "\n\nlinear_activation_backward\nstep     verdict  shape" in text and "…" not in text


WITHOUT_LOSS = """
class Net:
    def __init__(self, inputs=3, hidden=4, outputs=2, lr=0.1):
        rng = np.random.default_rng(0)
        self.W1, self.W2, self.lr = rng.normal(size=(inputs, hidden)), rng.normal(size=(hidden, outputs)), lr

    def forward(self, X):
        self.a1 = np.tanh(X @ self.W1)
        return self.a1 @ self.W2

    def backward(self, X, y, output):
        delta = y - output
        hidden = delta @ self.W2.T * (1 - self.a1**2)
        self.W2 += self.a1.T @ delta
        self.W1 += X.T @ hidden

class Line:
    def fit(self, X, y):
        self.w = np.zeros(X.shape[1])
        for _ in range(3):
            self.w -= 0.1 * X.T @ (X @ self.w - y)

    def predict(self, X):
        return X @ self.w
"""


@pytest.mark.slow
def test_a_class_without_a_loss_is_judged_by_the_one_that_fits(tmp_path):
    report = audit_parts(written(tmp_path, HEAD + WITHOUT_LOSS))
    text = " ".join(str(report).split())
    assert report.ok and "Right: all 2 steps. Loss assumed of Net: half the squared error. Read as" in text
    assert "with learning rate 1;" in text  # its lr is not used
    wrong = WITHOUT_LOSS.replace("(1 - self.a1**2)", "(1 - self.a1)")
    assert [f.name for f in audit_parts(written(tmp_path, HEAD + wrong)).findings] == ["Net: dW1"]


def test_names_and_shapes_that_nothing_has_are_refused(tmp_path):
    path = written(tmp_path, HEAD + PAIRS["dtanh"][0])
    with pytest.raises(LookupError, match=r"no sinh among what can be audited: dtanh"):
        audit_parts(path, ["sinh"])
    with pytest.raises(ValueError, match=r"shape is given for q; the arguments are x"):
        audit_parts(path, [], ["q=2,3"])


@pytest.mark.parametrize("text", ["no notebook", '{"cells": 3}', '{"worksheets": []}'])
def test_a_notebook_that_cannot_be_read_is_named(tmp_path, text):
    names = {r: r for r in ("forward", "backward", "loss", "parameters", "X", "Y")}
    with pytest.raises(ValueError, match=r"lesson\.ipynb is no notebook that can be read"):
        audit_program(written(tmp_path, text, "lesson.ipynb"), names)


def test_nothing_to_audit(tmp_path):
    with pytest.raises(LookupError, match=r"looked for pairs of functions.*It has functions f and no classes"):
        audit_parts(written(tmp_path, "def f(x):\n    return x\n"))
    text = "class Odd:\n    def __init__(self, a):\n        raise TypeError('no')\n    def forward(self, x):\n        "
    with pytest.raises(LookupError, match=r"nothing could be read\. Odd: TypeError: no"):
        audit_parts(written(tmp_path, text + "return x\n    def backward(self, d):\n        return d\n"))
