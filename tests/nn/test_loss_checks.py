"""Losses and metrics that broadcast the examples against each other are refused, whoever calls them."""

import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn.loss_checks import check_pairs

RNG = np.random.default_rng(0)
M = 12
X = RNG.normal(size=(M, 3))


def square(output, target):
    return np.mean((output - target) ** 2)


def weighted(output, target):
    return np.mean(np.where(target > 0, 2.0, 1.0) * np.abs(target - 2 * output))


def likelihood(output, target):
    p = 1 / (1 + np.exp(-output))
    return -np.mean(target * np.log(p) + (1 - target) * np.log(1 - p))


def by_hand(output, target):
    error = 0.0
    for i in range(2):
        error = error + np.mean(np.maximum(target - output, 0.1 * i))
    return error


def normalised(output, target):
    return np.mean((output - np.mean(output)) / np.std(output) * target)


CROSSING = [square, weighted, likelihood, by_hand, normalised]


@pytest.mark.parametrize("loss", CROSSING)
@pytest.mark.parametrize("shapes", [((M, 1), (M,)), ((M,), (M, 1)), ((M, 1, 1), (M,)), ((M, M), (M,)), ((1, 1), (1,))])
def test_examples_against_each_other(loss, shapes):
    with pytest.raises(ValueError, match=r"loss: .*output.*target.*np.reshape\(target, output.shape\)"):
        check_pairs(loss, shapes[0], np.zeros(shapes[1]), "loss")


@pytest.mark.parametrize("loss", CROSSING)
@pytest.mark.parametrize(
    "shapes", [((M, 1), (M, 1)), ((M,), (M,)), ((M, 4), (M, 1)), ((M, 4), (M, 4)), ((M, M), (M, M))]
)
def test_each_with_its_own(loss, shapes):
    check_pairs(loss, shapes[0], np.zeros(shapes[1]), "loss")


def contrastive(output, target):
    same = target[:, None] == target[None, :]
    distance = np.sum((output[:, None] - output[None, :]) ** 2, axis=-1)
    return np.mean(np.where(same, distance, np.maximum(1 - distance, 0)))


def energy(output, target):
    return np.mean(np.abs(output - target[None, :])) - np.mean(np.abs(output - output.T)) / 2


def ranking(output, target):
    sign = np.sign(target[:, None] - target)
    return np.mean(np.maximum(0, 1 - sign * (output[:, 0][:, None] - output[:, 0])))


def quantiles(output, target):
    error = target[:, None] - output
    return np.mean(np.maximum(0.1 * error, -0.9 * error))


def by_class(output, target):
    return -np.mean(np.log(cr.softmax(output))[np.arange(len(target)), target.astype(int)])


def by_mean(output, target):
    return np.mean((output[:, 0] - target) ** 2) / np.var(target) + np.mean(output) ** 2


@pytest.mark.parametrize(
    "loss, width", [(contrastive, 4), (energy, 1), (ranking, 1), (quantiles, 3), (by_class, 3), (by_mean, 1)]
)
def test_pairs_that_are_meant_are_accepted(loss, width):
    check_pairs(loss, (M, width), np.zeros(M), "loss")


def model():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).initialize(0)


CALLS = {
    "fit": lambda y: cr.fit(model(), X, y, loss=square, epochs=1, progress=False),
    "fit with validation": lambda y: cr.fit(model(), X, y, loss=square, epochs=1, progress=False, validation=0.5),
    "metrics of fit": lambda y: cr.fit(model(), X, y, loss="mse", metrics={"own": square}, epochs=1, progress=False),
    "evaluate": lambda y: cr.evaluate(model(), X, y, loss=square),
    "metrics of evaluate": lambda y: cr.evaluate(model(), X, y, loss="mse", metrics=square),
    "backprop": lambda y: cr.backprop(model(), X, y, loss=square),
    "minimize": lambda y: optim.minimize(model(), X, y, loss=square, max_iter=1),
}


@pytest.mark.parametrize("call", CALLS)
def test_whoever_calls_it(call):
    y = RNG.normal(size=M)
    with pytest.raises(
        ValueError, match=r"(square|own).* broadcasts the examples of the output \(12, 1\) against .* \(12,\)"
    ):
        CALLS[call](y)
    CALLS[call](y[:, None])


def test_a_sum_over_the_examples_is_warned_of():
    y = RNG.normal(size=(M, 1))
    with pytest.warns(UserWarning, match="the loss total is a sum over the examples, not their mean"):
        cr.fit(model(), X, y, loss=total, epochs=1, progress=False)
    for loss in (square, lambda output, target: np.mean(np.sum((output - target) ** 2, axis=1)), np_nan):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_pairs(loss, (M, 1), y, "loss")
            if loss is not np_nan:
                cr.fit(model(), X, y, loss=loss, epochs=1, progress=False)


def total(output, target):
    return np.sum((output - target) ** 2)


def np_nan(output, target):
    return np.log(-np.mean(output**2) - 1)


@pytest.mark.parametrize(
    "loss", [lambda o, t: np.mean(t**2) + 0 * np.mean(o > 0), lambda o, t: np.mean(np.abs(np.sign(o) - t))]
)
def test_a_loss_that_is_flat_in_the_output(loss):
    with pytest.raises(ValueError, match="no derivative with respect to any parameter: it uses the model's"):
        cr.fit(model(), X, np.ones((M, 1)), loss=loss, epochs=1, progress=False)
