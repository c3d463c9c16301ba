"""Full-batch minimisation through SciPy."""

import sys

import numpy as np
import pytest

from chainrule import nn, optim
from tests.tables import in_turn

pytest.importorskip("scipy")
RNG = np.random.default_rng(1)
A = RNG.normal(size=(20, 4))
Y = RNG.normal(size=(20, 2))


def rosenbrock(p):
    return (1 - p["x"]) ** 2 + 100 * (p["y"] - p["x"] ** 2) ** 2


@pytest.mark.parametrize(
    "method",
    in_turn(["L-BFGS-B", "BFGS", "CG", "TNC", "SLSQP", "Newton-CG", "trust-ncg", "trust-krylov", "trust-constr"]),
)
def test_every_method_finds_the_minimum(method):
    start = {"x": np.array(-1.2), "y": np.array(1.0)}
    r = optim.minimize_function(rosenbrock, start, method=method, max_iter=500)
    assert r.parameters["x"] == pytest.approx(1, abs=2e-2) and r.parameters["y"] == pytest.approx(1, abs=4e-2)
    assert r.losses[-1] == pytest.approx(r.loss) and len(r.losses) == r.iterations and r.loss == min(r.losses)
    assert start["x"] == -1.2


@pytest.mark.parametrize("method", ["L-BFGS-B", "Newton-CG"])
def test_linear_regression_reaches_the_normal_equations(method):
    model = nn.Linear(4, 2)
    lam = 0.1
    r = optim.minimize(model, A, Y, loss="half_mse", method=method, l2=lam, tol=1e-12)
    # centred data take the bias out; (X'X/m + lam I) W = X'Y/m
    Xc, Yc = A - A.mean(0), Y - Y.mean(0)
    W = np.linalg.solve(Xc.T @ Xc / 20 + lam * np.eye(4), Xc.T @ Yc / 20)
    np.testing.assert_allclose(r.parameters["weight"], W, rtol=1e-3, atol=1e-5)
    assert r.parameters["weight"].dtype == np.float32 and r.gradient_norm < 1e-4
    np.testing.assert_array_equal(model.weight.value, r.parameters["weight"])


def test_dropout_and_batch_norm_hold_still_meanwhile():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 2))
    r = optim.minimize(model, A, Y, loss="mse", max_iter=20)
    assert r.losses[-1] < r.losses[0] and model[3].counter == 1 and np.any(model[1].running_mean != 0)


def test_callback_stops_and_interruption_keeps_the_best():
    seen = []
    model = nn.Linear(4, 2)
    r = optim.minimize(model, A, Y, loss="mse", callback=lambda i, loss: seen.append((i, loss)) or i == 3)
    assert [i for i, _ in seen] == [1, 2, 3] and r.message == "stopped by the callback" and not r.success

    def interrupt(i, loss):
        raise KeyboardInterrupt

    r = optim.minimize(model.initialize(1), A, Y, loss="mse", callback=interrupt)
    assert r.message == "interrupted" and np.array_equal(model.weight.value, r.parameters["weight"])


def test_the_best_point_counts_not_the_last_one_tried():
    seen = []

    def interrupted(p):
        if len(seen) > 5 and seen[-1] > min(seen):  # just after a step too far, in the middle of a line search
            raise KeyboardInterrupt
        value = rosenbrock(p)
        seen.append(value.item())
        return value

    r = optim.minimize_function(interrupted, {"x": np.array(-1.2), "y": np.array(1.0)}, method="CG")
    assert r.message == "interrupted" and seen[-1] > r.loss == min(seen) == rosenbrock(r.parameters)


def test_bad_input(monkeypatch):
    with pytest.raises(ValueError, match=r"method: .*got 'Nelder'"):
        optim.minimize_function(rosenbrock, {}, method="Nelder")
    with pytest.raises(ValueError, match="no parameters"):
        optim.minimize_function(rosenbrock, {})
    with pytest.raises(ValueError, match=r"max_iter: .*got 0"):
        optim.minimize_function(rosenbrock, {}, max_iter=0)
    with pytest.raises(ValueError, match="not finite at the start"):
        optim.minimize_function(lambda p: np.sum(np.log(p)), np.array([0.0]))
    before = nn.Linear(4, 2)
    model = nn.Linear(4, 2)
    with pytest.raises(ValueError, match="output has shape"):
        optim.minimize(model, A, Y[:, :1], loss="mse")
    np.testing.assert_array_equal(model.weight.value, before.weight.value)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"pip install 'chainrule\[optimize\]'"):
        optim.minimize_function(rosenbrock, {"x": np.array(1.0)})
