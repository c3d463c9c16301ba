"""Networks and data that the tests of derivations share."""

from typing import Any

import numpy as np

from chainrule import nn

ACTIVATIONS = {
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(0.05),
    "elu": nn.ELU(0.7),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU(True),
    "silu": nn.SiLU(),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "softplus": nn.Softplus(),
    "softmax": nn.Softmax(),
}
LAYERS = {
    "linear": nn.Linear(5, 5, bias=False),
    "layer_norm": nn.LayerNorm(5),
    "batch_norm": nn.BatchNorm1d(5),
    "batch_norm_eval": nn.BatchNorm1d(5).eval(),
    "dropout": nn.Dropout(0.3),
    "identity": nn.Identity(),
    "flatten": nn.Flatten(),
}
LOSSES = nn.losses.names()


def shaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """Move every parameter, biases and scales too, so that no formula is right by a zero or a one."""
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        p.assign(p.value + 0.3 * rng.normal(size=p.shape))
    return model


def data(loss: str, outputs: int = 3, m: int = 7, features: int = 6, seed: int = 1) -> tuple[Any, Any]:
    """Return inputs and targets for a loss."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(m, features))
    if loss == "cross_entropy" or (loss == "hinge" and outputs > 1):
        return X, rng.integers(0, outputs, m)
    if loss in ("binary_cross_entropy", "hinge"):
        return X, rng.integers(0, 2, (m, outputs)).astype(float)
    if loss == "poisson":
        return X, rng.poisson(2.0, (m, outputs)).astype(float)
    return X, rng.normal(size=(m, outputs))


def network(*layers: nn.Module, outputs: int = 3, features: int = 6) -> nn.Module:
    return shaken(nn.Sequential(nn.Linear(features, 5, seed=3), *layers, nn.Linear(5, outputs, seed=4)))
