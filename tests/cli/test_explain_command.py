"""chainrule explain: a model file, a function in a file, and the forms of what it shows."""

import numpy as np
import pytest
from typer.testing import CliRunner

import chainrule as cr
from chainrule import nn
from chainrule.cli import app

FILE = """
import numpy as np
from chainrule import nn

X = np.ones((4, 3))
W = np.full((3, 2), 0.3)
model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())


def f(X, W):
    return np.sum(np.tanh(X @ W))


def g(other):
    return np.sum(other)
"""


def run(*arguments):
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(FILE)
    return path


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    cr.save(path, nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)))
    return path


def test_a_model(model):
    shown = run(model, "--loss", "cross_entropy", "--batch-size", 4)
    assert shown.exit_code == 0
    assert "dZ₂ = (A₂ − Y) / m" in shown.output
    assert "dZ₂ is given from above" in run(model).output
    assert "δ₁ = (W₂ᵀ δ₂)" in run(model, "--layout", "columns", "--notation", "delta").output


def test_a_function(file):
    shown = run(f"{file}:f")
    assert shown.exit_code == 0 and "v₂ = tanh(v₁)" in shown.output
    assert "dW₁ = Xᵀ dZ₁" in run(f"{file}:model").output
    assert run(f"{file}:g", "--shape", "other=2,2").exit_code == 0


@pytest.mark.parametrize(
    ("form", "sign"),
    [("markdown", "$$"), ("latex", r"\documentclass"), ("html", "<math"), ("numpy", "import numpy as np")],
)
def test_forms(file, form, sign, tmp_path):
    assert sign in run(f"{file}:f", "--format", form).output
    out = tmp_path / "out"
    assert run(f"{file}:f", "--format", form, "--output", out).exit_code == 0
    assert sign in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.safetensors",), "nothing.safetensors"),
        (("{file}:absent",), "has no absent"),
        (("{file}:g",), "--shape other=3,4"),
        (("{file}:g", "--shape", "other"), "an argument and its lengths"),
        (("{file}:np",), "a function or a network would do"),
        (("{file}:f", "--format", "word"), "format is 'word'"),
    ],
)
def test_what_is_wrong_is_said(file, arguments, message):
    shown = run(*(a.format(file=file) for a in arguments))
    assert shown.exit_code == 1
    assert message in " ".join((shown.output + (shown.stderr or "")).split())


def test_the_source_of_a_model_runs(model, tmp_path):
    out = tmp_path / "generated.py"
    assert run(model, "--loss", "mse", "--format", "numpy", "--output", out).exit_code == 0
    program = {}
    exec(out.read_text(), program)
    network, _ = cr.load(model)
    X = np.ones((3, 6))
    parameters = cr.explain(network, X).parameters
    np.testing.assert_allclose(program["forward"](X, parameters)["A2"], network(X).detach().numpy(), rtol=1e-5)
