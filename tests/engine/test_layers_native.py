"""Layers of series, images and sequences in training: no step is left to NumPy, and threads change no bit."""

from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.engine.native import without_kernel
from chainrule.train.step import TrainingStep
from tests.tables import for_each


class Series(nn.Module):
    """A recurrent layer, and a linear one after its last step."""

    def __init__(self, layer: Any, width: int) -> None:
        super().__init__()
        self.r, self.o = layer, nn.Linear(width, 10)

    def forward(self, x: Any) -> Any:
        return self.o(self.r(x)[:, -1])


def block(**settings: Any) -> Any:
    return nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, activation="gelu", norm_first=True, **settings)


class Characters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.e, self.p, self.n, self.o = nn.Embedding(65, 64), nn.Embedding(64, 64), nn.LayerNorm(64), nn.Linear(64, 65)
        self.blocks = [block(causal=True) for _ in range(2)]

    def forward(self, x: Any) -> Any:
        x = self.e(x) + self.p(np.arange(x.shape[1]))
        for b in self.blocks:
            x = b(x)
        return self.o(self.n(x))


def lenet() -> Any:
    first = [nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    last = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    return nn.Sequential(*first, *second, *last)


def cnn() -> Any:
    parts: list[Any] = []
    for before, after in ((1, 32), (32, 64)):
        parts += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10))


def names() -> Any:
    return nn.Sequential(nn.Embedding(27, 10), nn.Flatten(), nn.Linear(80, 200), nn.Tanh(), nn.Linear(200, 27))


#: A network, the shapes of a batch of 32 and of its labels, and whether X are ids.
NETWORKS: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...], bool]] = {
    "LeNet": (lenet, (32, 1, 28, 28), (32,), False),
    "CNN with batch norm": (cnn, (32, 1, 28, 28), (32,), False),
    "LSTM": (lambda: Series(nn.LSTM(32, 64), 64), (32, 50, 32), (32,), False),
    "GRU": (lambda: Series(nn.GRU(32, 64), 64), (32, 50, 32), (32,), False),
    "transformer of characters": (Characters, (32, 64), (32, 64), True),
    "makemore": (names, (32, 8), (32,), True),
}

#: Of sizes at which threads share the work.
LAYERS: dict[str, Any] = {
    **{kind.__name__: kind(16, 48, 2, bidirectional=True) for kind in (nn.RNN, nn.LSTM, nn.GRU)},
    "LSTM with dropout": nn.LSTM(16, 96, 2, dropout=0.3),
    "attention": block(causal=True),
    "attention that drops": nn.TransformerEncoderLayer(16, 2, 64, dropout=0.2),
}


@for_each("network", NETWORKS)
def test_no_step_of_a_network_is_left_to_numpy(network: str) -> None:
    make, x, y, ids = NETWORKS[network]
    step = TrainingStep(make(), "cross_entropy", optim.Adam(1e-3), engine="native", threads=1)
    plan = step.plan(x, np.dtype("int64" if ids else "float32"), y, np.dtype("int64"))
    assert without_kernel(plan) == [], [plan.labels()[k] for k in without_kernel(plan)]


@for_each("layer", LAYERS)
def test_threads_change_no_bit_of_layers(layer: str) -> None:
    model = LAYERS[layer]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 20, 64 if layer == "attention" else 16)).astype(np.float32)
    start = {path: np.array(p.value) for path, p in model.named_parameters()}

    def loss(parameters: Any, x: Any) -> Any:
        out, _ = nn.functional_call(model, parameters, x)
        return np.mean(np.sin(out) ** 2), out

    step = cr.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    found = []
    for threads in (1, 2, 5):
        run = cr.compile(step, engine="native", threads=threads, seed=0)
        (value, out), (dp, dx) = run(start, x)
        assert "through NumPy" not in str(run.plan(start, x))
        found.append([value, out, dx, *(dp[path] for path in start)])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
