"""Eight networks whose derivations were read line by line: they stay as they are.

``python -m tests.explain.test_golden`` writes the files anew; each change is to be read again.
"""

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


CASES = (article_dict, article_module, article_delta, classifier, yes_no, normalised, thinned, embedded)


def text(derivation):
    """Return the derivation without its costs, which follow the planner."""
    return str(derivation).partition("\nCost\n")[0].rstrip() + "\n"


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
