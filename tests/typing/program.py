"""A program as users write it, for type checkers in their strictest mode; it runs, too."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, assert_type

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim

rng = np.random.default_rng(0)


# What NumPy's functions return for a tensor NumPy's own annotations don't know: Any.
def loss(w: Any, b: Any) -> Any:
    return np.mean((np.tanh(w * 2.0) + b) ** 2)


value, (dw, db) = cr.value_and_grad(loss, argnums=(0, 1))(np.ones(3), np.zeros(3))
step = cr.compile(cr.grad(loss))
step(np.ones(3), np.zeros(3))
assert_type(step.plan(), cr.Plan)
assert_type(cr.tensor([1.0, 2.0], requires_grad=True), cr.Tensor)

digits = data.load_digits()
assert_type(digits, data.Dataset)
train, test = digits.split(0.2, seed=0)
prepare = data.Preprocessor.fit(train)
X, y = prepare.transform(train), prepare.transform_target(train)


class Residual(nn.Module):
    def __init__(self, features: int) -> None:
        self.inner = nn.Sequential(nn.Linear(features, features), nn.Tanh())

    def forward(self, x: cr.Tensor) -> Any:
        return x + self.inner(x)


class Counting(cr.Callback):
    def __init__(self) -> None:
        self.epochs = 0

    def on_epoch(self, run: Any) -> None:
        self.epochs += 1


counting = Counting()
model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), Residual(16), nn.Linear(16, 10))
history = cr.fit(
    model,
    X,
    y,
    loss="cross_entropy",
    optimizer=optim.Adam(1e-3),
    epochs=2,
    validation=0.1,
    seed=0,
    callbacks=[counting],
)
assert_type(history, cr.History)
assert_type(cr.evaluate(model, X, y), dict[str, float])
assert counting.epochs == 2

small = nn.Sequential(nn.Linear(64, 10))
passed = cr.backprop(small, X[:8], y[:8], loss="cross_entropy")
assert passed["dW1"].shape == (64, 10)
derivation = cr.explain(small, X[:8].astype(np.float64), y[:8], "cross_entropy")
assert_type(derivation, cr.Derivation)
assert cr.gradcheck(lambda x: np.sum(cr.sigmoid(x)), rng.normal(size=3))

with TemporaryDirectory() as folder:
    cr.save(Path(folder) / "model.safetensors", nn.Sequential(nn.Linear(2, 3)))
    again, metadata = cr.load(Path(folder) / "model.safetensors")
    assert_type(again, nn.Module)
