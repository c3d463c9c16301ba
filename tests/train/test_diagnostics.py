"""What a run's diagnostics say of bad runs, and that they say nothing of good ones."""

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.train.diagnostics import of_curves, of_outputs

RNG = np.random.default_rng(0)


def rows(loss, val_loss=()):
    held = list(val_loss) or [None] * len(loss)
    return [
        {"epoch": i + 1, "loss": a} | ({"val_loss": b} if b else {})
        for i, (a, b) in enumerate(zip(loss, held, strict=True))
    ]


CURVES = [
    (rows([1, 0.8, 0.6, 0.5], [1.0, 0.7, 0.6, 0.6]), None),
    (rows([1, 0.8, 0.6, 0.5], [1.0, 1.02, 1.0, 1.01]), None),  # noise
    (rows([1, 0.8], [1.0, 2.0]), None),  # too few epochs
    (rows([1, 0.8, 0.6, 0.5], [1.0, 1.2, 1.3, 1.5]), "The validation loss rises from the first epoch on: from 1 to"),
    (rows([1, 0.8, 0.6, 0.5, 0.4, 0.3], [1.0, 0.5, 0.7, 0.9, 1.1, 1.2]), "Overfitting: .* was 0.5 in epoch 2"),
    (rows([1, 1.1, 1.5, 2.0]), "The training loss does not fall: 1 in the first epoch"),
    (rows([0.5] * 4), None),  # it was trained before
    (rows([-1.0, -2.0, -3.0, -3.1], [-1.0, -2.0, -2.0, -2.1]), None),
    (rows([-1.0, -2.0, -3.0, -3.1], [-1.0, -0.8, -0.6, -0.5]), "rises from the first epoch"),
]


@pytest.mark.parametrize("history, said", CURVES)
def test_curves(history, said):
    found = list(of_curves(history))
    assert len(found) == (said is not None), found
    if said:
        assert re.search(said, found[0])


def test_overfitting_is_not_said_if_the_best_weights_were_kept():
    history = rows([1, 0.8, 0.6, 0.5, 0.4, 0.3], [1.0, 0.5, 0.7, 0.9, 1.1, 1.2])
    assert list(of_curves(history, best_epoch=2)) == []


IDS = np.repeat([0, 1, 2], [70, 20, 10])


def logits(predicted, k=3):
    return np.eye(k)[predicted] * 4.0


def outputs(output, target, loss, **more):
    return " ".join(of_outputs(output, target, target, loss, "the test split", **more))


def test_outputs_of_classes():
    assert outputs(logits(IDS), IDS, "cross_entropy") == ""
    said = outputs(logits(np.zeros(100, int)), IDS, "cross_entropy", classes=("a", "b", "c"))
    assert "No better than guessing: 70.0 % of the test split are right; always saying a" in said
    assert "Never predicted on the test split: b (20 examples), c (10 examples)." in said
    ignoring = np.where(IDS == 2, 1, IDS)
    for target in (IDS, np.eye(3)[IDS]):
        said = outputs(logits(ignoring), target, "cross_entropy", classes=("a", "b", "c"))
        assert said.startswith("Never predicted on the test split: c (10 examples).")
    assert outputs(logits(RNG.permutation(IDS)), IDS, "cross_entropy").startswith("No better than guessing")


def test_outputs_of_two_classes():
    y = (np.arange(100) < 10).astype(float)[:, None]
    assert outputs(8 * y - 4, y, "binary_cross_entropy") == ""
    said = outputs(np.full((100, 1), -2.0), y, "binary_cross_entropy")
    assert "always saying 0, the most frequent class, gives 90.0" in said and "Never predicted" in said
    assert "No better than guessing" in outputs(RNG.normal(size=(100, 1)), y, "binary_cross_entropy")
    several = RNG.integers(0, 2, (100, 4)).astype(float)
    assert outputs(8 * several - 4, several, "binary_cross_entropy") == ""


@pytest.mark.parametrize("loss", ["mse", "half_mse", "mae", "huber", "poisson"])
@pytest.mark.parametrize("width", [1, 3])
def test_outputs_of_numbers(loss, width):
    y = RNG.poisson(3.0, (200, width)).astype(float)
    good = np.log(y + 0.1) if loss == "poisson" else y + 0.1 * RNG.normal(size=y.shape)
    assert outputs(good, y, loss) == ""
    said = outputs(RNG.permutation(good), y, loss)
    assert said.startswith("No better than a constant: the loss is ")
    assert outputs(np.full_like(good, good.mean()), y, loss)


def test_what_cannot_be_judged():
    assert outputs(np.zeros((5, 3)), IDS[:5], "cross_entropy") == ""  # too few
    assert outputs(np.full((100, 3), np.nan), IDS, "cross_entropy") == ""
    assert outputs(np.zeros((100, 3)), IDS, lambda output, target: np.mean(output)) == ""


def classes(m, shares, noise=1.0, features=6):
    y = RNG.choice(len(shares), m, p=shares)
    centres = 3 * RNG.normal(size=(len(shares), features))
    return (centres[y] + noise * RNG.normal(size=(m, features))).astype(np.float32), y


def fitted(X, y, loss="cross_entropy", outputs=None, epochs=25, lr=3e-3, **more):
    outputs = outputs or (int(y.max()) + 1 if loss == "cross_entropy" else 1)
    model = nn.Sequential(nn.Linear(X.shape[1], 24), nn.ReLU(), nn.Linear(24, outputs)).initialize(0)
    more = {"validation": 0.25, "progress": False, "optimizer": optim.Adam(lr)} | more
    return cr.fit(model, X, y, loss=loss, epochs=epochs, **more)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.97, 0.03), (0.6, 0.3, 0.1), (0.2,) * 5])
def test_good_runs_on_classes_have_no_findings(shares):
    assert fitted(*classes(1500, shares)).findings == []
    assert fitted(*classes(1500, shares), validation=None).findings == []


def test_good_runs_on_numbers_have_no_findings():
    X = RNG.normal(size=(800, 6)).astype(np.float32)
    y = (np.sin(X[:, :1]) + X[:, 1:2] * X[:, 2:3] + 0.2 * RNG.normal(size=(800, 1))).astype(np.float32)
    for loss in ("mse", "mae", "huber"):
        assert fitted(X, y, loss).findings == []


def test_bad_runs_have_findings():
    X, y = classes(1000, (0.9, 0.1))
    noise = RNG.normal(size=X.shape).astype(np.float32)
    history = fitted(noise, y, epochs=150, lr=1e-2)
    assert history.findings and history.findings[0] in str(history) and "validation" in history.findings[0]
    assert history._repr_html_().count('class="warn"') == len(history.findings)
    frozen = fitted(X, y, lr=1e-7, epochs=4, validation=None)
    assert any(text.startswith(("No better than guessing", "Never predicted")) for text in frozen.findings)
    numbers = fitted(noise, RNG.normal(size=(1000, 1)).astype(np.float32), "mse", epochs=60)
    assert any("No better than a constant" in text for text in numbers.findings)


@pytest.mark.slow
def test_data_sets_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    for name in ("load_iris", "load_wine", "load_breast_cancer", "load_digits", "load_diabetes"):
        X, y = getattr(datasets, name)(return_X_y=True)
        X = ((X - X.mean(0)) / (X.std(0) + 1e-9)).astype(np.float32)
        if name == "load_diabetes":
            y = ((y - y.mean()) / y.std()).astype(np.float32)[:, None]
            history = fitted(X, y, "mse", early_stopping=10, epochs=60)
        else:
            history = fitted(X, y, early_stopping=15, epochs=60)
        assert history.findings == [], name
