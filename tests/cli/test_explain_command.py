"""chainrule explain: a model file, a function in a file, and the forms of what it shows."""

from itertools import product

import numpy as np
import pytest
from click.testing import CliRunner

import chainrule as cr
from chainrule import nn
from chainrule.cli import app
from tests.tables import in_turn

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
    assert "dZ₂ is the upstream gradient" in " ".join(run(model).output.split())
    assert "δ₁ = (W₂ᵀ δ₂)" in run(model, "--layout", "columns", "--notation", "delta").output


BEGINNINGS = [
    (nn.Embedding(5, 4), nn.Linear(4, 3)),
    (nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3)),
    (nn.BatchNorm1d(3), nn.ReLU()),
    (nn.LayerNorm(6), nn.Linear(6, 3)),
]


@pytest.mark.parametrize(("layers", "loss"), in_turn(product(BEGINNINGS, cr.nn.losses.names()), every=6))
def test_models_whatever_they_begin_with(layers, loss, tmp_path):
    cr.save(tmp_path / "model.safetensors", nn.Sequential(*layers))
    for more in ((), ("--layout", "columns")):
        shown = run(tmp_path / "model.safetensors", "--loss", loss, "--batch-size", 4, *more)
        assert shown.exit_code == 0, shown.output
        assert "m = 4 examples" in shown.output and "Backward" in shown.output


def test_a_model_in_a_file(file):
    shown = run(f"{file}:model", "--loss", "cross_entropy")
    assert shown.exit_code == 0 and "Y = onehot(y)" in shown.output and "m = 4 examples" in shown.output
    file.write_text(file.read_text().replace("X = np.ones((4, 3))", ""))
    assert "m = 9 examples" in run(f"{file}:model", "--batch-size", 9).output
    assert "is for a network" in " ".join((run(f"{file}:f", "--loss", "mse").output).split())


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
        (("{file}:g", "--shape", "other"), "a name and its sizes"),
        (("{file}:np",), "np: expected a function or a network"),
        (("{file}:f", "--format", "word"), "format: expected"),
        (("{file}",), ":NAME"),
        (("{file}:model", "--batch-size", "0"), "batch_size: expected an integer ≥ 1"),
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
