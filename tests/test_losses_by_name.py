"""A loss that registers itself can be chosen by name wherever losses are: one function in one place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import losses

RNG = np.random.default_rng(3)
X = RNG.normal(size=(60, 3)).astype("float32")
Y = (X @ np.array([[1.0], [-2.0], [0.5]])).astype("float32")
NAME = "log_cosh_error"


@pytest.fixture
def loss() -> Iterator[Any]:
    """Register a loss for regression, and take it back."""

    @losses.register(NAME, "regression")
    def log_cosh_error(output: Any, target: Any, *, reduction: str = "mean") -> Any:
        error = output - target
        return losses.reduced(np.logaddexp(error, -error) - np.log(2.0), reduction)

    yield log_cosh_error
    del losses.NAMED[NAME]


def test_fit_and_backprop_take_it(loss: Any) -> None:
    model = nn.Sequential(nn.Linear(3, 1, seed=1))
    history = cr.fit(model, X, Y, loss=NAME, epochs=5, progress=False)
    assert history[-1]["loss"] < history[0]["loss"]
    assert cr.evaluate(model, X, Y, loss=NAME)["loss"] == pytest.approx(float(loss(model(X).value, Y)), rel=1e-5)
    np.testing.assert_allclose(
        cr.backprop(model, X, Y, loss=NAME)["dZ1"], np.tanh(model(X).value - Y) / len(X), rtol=1e-4, atol=1e-6
    )


def test_explain_writes_it(loss: Any) -> None:
    derivation = cr.explain(nn.Sequential(nn.Linear(3, 1, seed=1, dtype=np.float64)), X, Y, loss=NAME)
    assert max(derivation.errors().values()) < 1e-12


@pytest.mark.filterwarnings("ignore:.*hasn't converged")  # few epochs are enough to see the loss fall
@pytest.mark.parametrize("kind", ["MLPRegressor", "NetRegressor"])
def test_the_estimators_take_it(loss: Any, kind: str) -> None:
    pytest.importorskip("sklearn")
    from chainrule import sklearn

    made = {
        "MLPRegressor": lambda: sklearn.MLPRegressor(hidden_layer_sizes=(4,), loss=NAME, max_iter=40, random_state=0),
        "NetRegressor": lambda: sklearn.NetRegressor(nn.Sequential(nn.Linear(3, 1)), loss=NAME, max_epochs=40),
    }[kind]()
    made.fit(X, Y[:, 0])
    assert made.loss_curve_[-1] < made.loss_curve_[0]


def test_the_command_line_takes_it(loss: Any, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from chainrule.cli import app

    table = tmp_path / "table.csv"
    rows = [",".join(f"{v:.5f}" for v in (*x, *y)) for x, y in zip(X, Y, strict=True)]
    table.write_text("a,b,c,target\n" + "\n".join(rows), encoding="utf-8")
    out = tmp_path / "run"
    arguments = ["train", str(table), "--target", "target", "--loss", NAME, "--epochs", "2", "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    _, metadata = cr.load(out / "model.safetensors")
    assert metadata["loss"] == NAME
    wrong = CliRunner().invoke(app, [*arguments[:5], "cross_entropy", "--out", str(tmp_path / "other")])
    assert wrong.exit_code != 0 and "cross_entropy" in wrong.output


def test_a_loss_of_another_task_is_refused_where_the_task_is_known(loss: Any) -> None:
    assert NAME in losses.names("regression") and NAME not in losses.names("binary")
    with pytest.raises(ValueError, match=NAME):
        losses.register(NAME, "regression")
    with pytest.raises(ValueError, match="task"):
        losses.register("another", "clustering")
