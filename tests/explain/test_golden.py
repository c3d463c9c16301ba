"""Twelve networks whose derivations were read line by line: they stay as they are.

``python -m tests.explain.test_golden`` writes the files anew; each change is to be read again.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chainrule import explain, nn

from .networks import data, network, shaken

FOLDER = Path(__file__).parent / "golden"


def article_dict(layout="columns", notation="dict"):
    return explain(network(nn.ReLU()), *data("cross_entropy"), layout=layout, notation=notation)


def article_module(layout="rows", notation="gradients"):
    model = shaken(nn.Sequential(nn.Linear(6, 3)))
    return explain(model, *data("half_mse"), "half_mse", layout=layout, notation=notation)


def article_delta(layout="columns", notation="delta"):
    model = shaken(nn.Sequential(nn.Linear(6, 5, bias=False), nn.Sigmoid(), nn.Linear(5, 3, bias=False), nn.Sigmoid()))
    return explain(model, *data("half_mse"), "half_mse", layout=layout, notation=notation)


def classifier(layout="rows", notation="gradients"):
    return explain(network(nn.ReLU()), *data("cross_entropy"), layout=layout, notation=notation)


def yes_no(layout="rows", notation="gradients"):
    loss = "binary_cross_entropy"
    return explain(network(nn.Tanh(), outputs=1), *data(loss, 1), loss, layout=layout, notation=notation)


def normalised(layout="rows", notation="gradients"):
    model = network(nn.BatchNorm1d(5), nn.GELU())
    return explain(model, *data("mse"), "mse", layout=layout, notation=notation)


def thinned(layout="rows", notation="gradients"):
    model = network(nn.LayerNorm(5), nn.ELU(), nn.Dropout(0.25))
    return explain(model, *data("hinge"), "hinge", layout=layout, notation=notation)


def embedded(layout="rows", notation="gradients"):
    rng = np.random.default_rng(0)
    model = shaken(nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3), nn.SiLU(), nn.Linear(3, 2)))
    X, Y = rng.integers(0, 5, (7, 2)), rng.normal(size=(7, 2))
    return explain(model, X, Y, "huber", layout=layout, notation=notation)


def lenet():
    rng = np.random.default_rng(0)
    model = shaken(nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 3, 3, stride=2), nn.BatchNorm2d(3),
        nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 3),
    ))  # fmt: skip
    return explain(model, rng.normal(size=(5, 1, 18, 18)), rng.integers(0, 3, 5))


def lstm():
    rng = np.random.default_rng(0)
    model = shaken(nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 1)))
    return explain(model, rng.normal(size=(5, 4, 2)), rng.normal(size=(5, 4, 1)), "mse")


def gru():
    rng = np.random.default_rng(0)
    model = shaken(nn.Sequential(nn.GRU(2, 3), nn.Linear(3, 4)))
    return explain(model, rng.normal(size=(5, 6, 2)), rng.integers(0, 4, (5, 6)))


def transformer():
    rng = np.random.default_rng(0)
    model = shaken(nn.Sequential(nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, causal=True), nn.Linear(6, 3)))
    return explain(model, rng.normal(size=(5, 4, 6)), rng.integers(0, 3, (5, 4)))


CASES = (article_dict, article_module, article_delta, classifier, yes_no, normalised, thinned, embedded)
#: These as text, Markdown and LaTeX.
LAYERS = (lenet, lstm, gru, transformer)
FORMS = {"txt": str, "md": lambda d: d.to_markdown(), "tex": lambda d: d.to_latex()}


def text(derivation, form="txt"):
    """Return the derivation without its costs, which follow the planner."""
    heading = {"txt": "\nCost\n", "md": "\n## Cost\n", "tex": "\n\\subsection*{Cost}\n"}[form]
    whole = FORMS[form](derivation)
    assert heading in whole
    return whole.partition(heading)[0].rstrip() + "\n"


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.__name__)
def test_golden_of_layers(case):
    derivation = case()
    assert max(derivation.errors().values()) < 1e-12
    for form in FORMS:
        assert text(derivation, form) == (FOLDER / f"{case.__name__}.{form}").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("case", LAYERS, ids=lambda case: case.__name__)
def test_the_program_of_layers_needs_numpy_alone(case, tmp_path):
    derivation = case()
    (tmp_path / "program.py").write_text(derivation.to_numpy(), encoding="utf-8")
    target = "y" if "y" in derivation.values else "Y"
    np.savez(tmp_path / "values.npz", **{f"v_{k}": v for k, v in derivation.values.items()})
    script = f"""
import sys
sys.modules["chainrule"] = sys.modules["scipy"] = None  # importing either would fail
import numpy as np
import program
with np.load("values.npz") as loaded:
    values = {{name[2:]: loaded[name] for name in loaded.files}}
parameters = {{name: values[name] for name in {list(derivation.parameters)!r}}}
cache = program.forward(values["X"], parameters)
gradients = program.backward(cache, values[{target!r}], parameters)
for name, value in (*cache.items(), *gradients.items()):
    np.testing.assert_allclose(value, values[name], rtol=1e-9, atol=1e-12, err_msg=name)
assert len(gradients) == {len(derivation.backward)}
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_formulas_of_layers_are_mathml():
    pytest.importorskip("latex2mathml")
    page = lenet().to_html()
    assert page.count("<math") > 40 and "P_" not in page


def test_steps_that_differ_in_their_number_alone_are_shown_once():
    derivation = lstm()
    shown = str(derivation)
    assert "dz₁[t] = [di₁[t] ⊙ i₁[t] ⊙ (1 − i₁[t])" in shown and "t = 3, …, 0" in shown and "dz₁[2]" not in shown
    assert "dU₁ = Σₜ₌₁³ h₁[t−1]ᵀ dz₁[t]" in shown and "Σₜ ∂L/∂z₁[t] · ∂z₁[t]/∂U₁" in shown
    assert r"\sum_{t=1}^{3} h_{1}[t-1]^{\mathsf{T}}" in derivation.to_latex()
    formulas = derivation.formulas()  # of every step
    assert formulas["dz1[2]"].count("[2]") == formulas["dz1[1]"].count("[1]") > 5 or "dz1_2" not in formulas
    assert sum(name.startswith("dz1[") for name in formulas) == 4


def test_steps_with_other_formulas_stay_apart():
    rng = np.random.default_rng(0)

    class Every(nn.Module):
        """A state that is scaled in every step but the third."""

        def __init__(self):
            self.inner = nn.Linear(2, 2)

        def forward(self, X):
            h = self.inner(X[:, 0]).named("h[0]")
            for t in range(1, 6):
                h = (np.tanh(h) if t != 3 else np.sin(h)).named(f"h[{t}]")
            return h

    shown = str(explain(shaken(Every()), rng.normal(size=(5, 6, 2)), rng.normal(size=(5, 2)), "mse"))
    assert (
        "h[t] = tanh(h[t−1])" in shown and "h[3] = sin(h[2])" in shown and "t = 1, 2" in shown and "t = 4, 5" in shown
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_golden(case):
    derivation = case()
    assert max(derivation.errors().values()) < 1e-12
    assert text(derivation) == (FOLDER / f"{case.__name__}.txt").read_text(encoding="utf-8")


def test_costs_counted_by_hand():
    squares = 3 * 21 + 7 + 7 + 1  # subtract, square, add up the outputs; halve, add up the examples, divide
    linear = article_module().cost
    assert linear.forward == 7 * 6 * 3 + 21 + squares
    assert linear.backward == 21 + 7 * 6 * 3 + 21  # dZ1, dW1, db1
    layers = article_delta().cost
    sigmoid = 4
    assert layers.forward == 7 * 6 * 5 + sigmoid * 35 + 7 * 5 * 3 + sigmoid * 21 + squares
    assert layers.backward == 4 * 21 + 7 * 5 * 3 + 7 * 5 * 3 + 3 * 35 + 7 * 6 * 5  # dZ2, dW2, dA1, dZ1, dW1
    assert layers.parameters == 6 * 5 + 5 * 3
    assert layers.nudging == (45 + 1) * layers.forward


def test_caches_counted_by_hand():
    X, hidden, out = 7 * 6, 7 * 5, 7 * 3
    numbers = {
        article_dict: X + 2 * hidden + 2 * out,  # X, Z1, A1, A2, Y
        article_module: X + 2 * out,  # X, A1, Y
        article_delta: X + hidden + 2 * out,  # X, A1, A2, Y
        classifier: X + 2 * hidden + 2 * out,  # X, Z1, A1, A2, Y
        yes_no: X + hidden + 2 * 7,  # X, A1, A2, Y
        normalised: X + 3 * hidden + 5 + 2 * out,  # X, C1, N1, A1, sigma1, A2, Y
        thinned: X + 4 * hidden + 7 + 2 * out,  # X, C1, N1, M1, D1, sigma1, T1, Y
        embedded: 7 * 2 + 7 * 8 + 2 * out + 2 * 14,  # X, Z1, Z2, A2, A3, Y
    }
    assert {case: case().cost.cache for case in CASES} == {case: 8 * n for case, n in numbers.items()}


if __name__ == "__main__":
    for case in CASES:
        (FOLDER / f"{case.__name__}.txt").write_text(text(case()), encoding="utf-8")
    for case in LAYERS:
        for form in FORMS:
            (FOLDER / f"{case.__name__}.{form}").write_text(text(case(), form), encoding="utf-8")
