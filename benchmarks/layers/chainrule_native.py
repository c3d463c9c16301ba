"""The networks of chainrule, trained by the native engine: epochs of steps in one call."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.layers.workloads import ADAM_RATE, CONTEXT, FEATURES, HEADS, HIDDEN, INPUTS, SGD_RATE, WIDE, Training
from benchmarks.sides.side import Runner, Unsupported, library

MULTIPLIES = ("matmul", "conv", "conv_input", "conv_weight")  # names of operations


def make(training: Training, threads: int) -> Runner:
    if "native" not in library("chainrule.engine").available():
        raise Unsupported("the native engine was not built")
    nn, optim, train = library("chainrule.nn"), library("chainrule.optim"), library("chainrule.train")
    optimizer = optim.Adam(ADAM_RATE) if training.adam else optim.SGD(SGD_RATE)
    step = train.TrainingStep(network(nn, training), "cross_entropy", optimizer, engine="native", threads=threads)
    return Epochs(step, training)


class Epochs:
    """A runner whose run is an epoch in one call of the engine."""

    def __init__(self, step: Any, training: Training) -> None:
        self._step, (self._X, self._y) = step, training.data()
        self._first = step.snapshot()
        self._binding = step.binding(self._X[: training.batch], self._y[: training.batch])
        if self._binding.left_to_numpy:
            raise Unsupported(f"steps are left to NumPy: {', '.join(self._binding.left_to_numpy)}")
        self._order, self._size = np.arange(len(self._X)), training.batch
        self.steps_per_run = len(self._X) // training.batch
        self._results = np.empty((self.steps_per_run, 1))

    def reset(self) -> None:
        self._step.restore(self._first)

    def run(self, count: int) -> None:
        rows = len(self._order)
        for _ in range(count):
            self._binding.run_batches(None, self._X, self._y, self._order, 0, self._size, rows, self._results, 1e9)

    def finish(self) -> None:
        pass

    def losses(self) -> list[float]:
        return [float(loss) for loss in self._results[:, 0]]

    def gradients(self) -> list[Any]:
        return []

    def flops(self) -> int:
        """Floating-point operations of the step's multiplications of matrices and its convolutions."""
        return _flops(self._binding.plan)


def _flops(plan: Any) -> int:
    total = 0
    for step in plan.operations:
        if step.op.kind == "loop":
            total += step.attrs["body"].length * _flops(step.body)
        elif step.op.name in MULTIPLIES:
            shapes = [plan.values[i].shape for i in (step.output, *step.inputs)]
            total += step.op.flops(*shapes, **step.attrs)
    return total


def network(nn: Any, training: Training) -> Any:
    """The network, built of the library's layers."""
    if training.network == "lenet":
        layers = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))
    if training.network == "cnn":
        layers = []
        for before, channels in ((1, 32), (32, 64)):
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10))
    if training.network == "makemore":
        return nn.Sequential(nn.Embedding(27, 10), nn.Flatten(), nn.Linear(80, 200), nn.Tanh(), nn.Linear(200, 27))
    return transformer(nn) if training.network == "gpt" else recurrent(nn, training.network)


def recurrent(nn: Any, kind: str) -> Any:
    class Recurrent(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.steps = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](INPUTS, HIDDEN)
            self.out = nn.Linear(HIDDEN, 10)

        def forward(self, x: Any) -> Any:
            return self.out(self.steps(x)[:, -1])

    return Recurrent()


def transformer(nn: Any) -> Any:
    def block() -> Any:
        settings = {"dropout": 0.0, "activation": "gelu", "norm_first": True, "causal": True}
        return nn.TransformerEncoderLayer(FEATURES, HEADS, WIDE, **settings)

    class Transformer(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.characters, self.places = nn.Embedding(65, FEATURES), nn.Embedding(CONTEXT, FEATURES)
            self.first, self.second = block(), block()
            self.norm, self.out = nn.LayerNorm(FEATURES), nn.Linear(FEATURES, 65)

        def forward(self, x: Any) -> Any:
            h = self.characters(x) + self.places(np.arange(CONTEXT))
            return self.out(self.norm(self.second(self.first(h))))

    return Transformer()
