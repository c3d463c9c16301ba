"""Eight networks whose derivations were read line by line: they stay as they are.

``python -m tests.derivation.test_golden`` writes the files anew; each change is to be read again.
"""

from pathlib import Path

import numpy as np
import pytest

from chainrule import nn
from chainrule.derivation.derivation import explain

from .networks import data, network, shaken

FOLDER = Path(__file__).parent / "golden"


def article_dict():
    return explain(network(nn.ReLU()), *data("cross_entropy"), layout="columns", notation="dict")


def article_module():
    return explain(shaken(nn.Sequential(nn.Linear(6, 3))), *data("half_mse"), "half_mse")


def article_delta():
    model = shaken(nn.Sequential(nn.Linear(6, 5, bias=False), nn.Sigmoid(), nn.Linear(5, 3, bias=False), nn.Sigmoid()))
    return explain(model, *data("half_mse"), "half_mse", layout="columns", notation="delta")


def classifier():
    return explain(network(nn.ReLU()), *data("cross_entropy"))


def yes_no():
    return explain(network(nn.Tanh(), outputs=1), *data("binary_cross_entropy", 1), "binary_cross_entropy")


def normalised():
    return explain(network(nn.BatchNorm1d(5), nn.GELU()), *data("mse"), "mse")


def thinned():
    return explain(network(nn.LayerNorm(5), nn.ELU(), nn.Dropout(0.25)), *data("hinge"), "hinge")


def embedded():
    rng = np.random.default_rng(0)
    model = shaken(nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3), nn.SiLU(), nn.Linear(3, 2)))
    return explain(model, rng.integers(0, 5, (7, 2)), rng.normal(size=(7, 2)), "huber")


CASES = (article_dict, article_module, article_delta, classifier, yes_no, normalised, thinned, embedded)


def text(derivation):
    """Return the derivation without its costs, which follow the planner."""
    return str(derivation).partition("\nCOST")[0].rstrip() + "\n"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_golden(case):
    derivation = case()
    assert max(derivation.errors().values()) < 1e-12
    assert text(derivation) == (FOLDER / f"{case.__name__}.txt").read_text(encoding="utf-8")


if __name__ == "__main__":
    for case in CASES:
        (FOLDER / f"{case.__name__}.txt").write_text(text(case()), encoding="utf-8")
