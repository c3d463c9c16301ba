"""Twenty-four networks of layers and five custom modules, with inputs for them.

Weights and statistics are those of a short training, or shaken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.core.tree import flatten

ACTIVATIONS = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softmax,
    lambda: nn.LeakyReLU(0.2), lambda: nn.ELU(0.5), lambda: nn.GELU(approximate=True),
)  # fmt: skip


class Convolution(nn.Module):
    """A convolution with pooling, written with slices: every 3×3 patch times a matrix, the largest of each 2×2."""

    def __init__(self) -> None:
        self.kernel = nn.Linear(9, 4)
        self.head = nn.Linear(4 * 9, 3)

    def forward(self, X: Any) -> Any:
        patches = np.stack([X[:, i : i + 6, j : j + 6] for i in range(3) for j in range(3)], axis=-1)
        maps = np.maximum(self.kernel(patches), 0)
        pooled = np.max(np.reshape(maps, (len(X), 3, 2, 3, 2, 4)), axis=(2, 4))
        return self.head(pooled.reshape(len(X), -1))


class Recurrent(nn.Module):
    """A recurrent cell, step by step; the last state and all of them."""

    def __init__(self) -> None:
        self.inner = nn.Linear(5, 5, bias=False)
        self.outer = nn.Linear(3, 5)

    def forward(self, X: Any) -> Any:
        state, states = np.zeros((1, 5), np.float32), []
        for t in range(X.shape[1]):
            state = np.tanh(self.inner(state) + self.outer(X[:, t]))
            states.append(state)
        return state, np.stack(states, axis=1)


class Attention(nn.Module):
    """Attention within an example and between examples, a residual, tied weights; several outputs by name."""

    def __init__(self) -> None:
        self.query, self.key = nn.Linear(6, 6), nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)

    def forward(self, X: Any, bias: Any) -> Any:
        scores = self.query(X) @ np.swapaxes(self.key(X), 1, 2) / np.sqrt(6.0)
        mixed = self.norm(X + cr.softmax(scores) @ X) + bias[:, None]
        pooled = np.mean(mixed, axis=1)
        return {
            "mixed": mixed,
            "tied": cr.log_softmax(pooled @ self.query.weight.T),
            "alike": pooled @ pooled.T,
            "centred": pooled - np.mean(pooled, axis=0),
            "sorted": np.sort(pooled, axis=1)[:, ::-2],
            "best": np.argmax(pooled, axis=1),
        }


class LastState(nn.Module):
    """A recurrent layer from zeros by `cr.scan`, and an LSTM of which only the last step is read."""

    def __init__(self) -> None:
        self.inner, self.outer = nn.Linear(4, 4), nn.Linear(3, 4)
        self.lstm = nn.LSTM(4, 5)
        self.head = nn.Linear(5, 2)

    def forward(self, X: Any) -> Any:
        def step(state: Any, x: Any) -> Any:
            state = np.tanh(self.outer(x) + self.inner(state))
            return state, state

        _, states = cr.scan(step, np.zeros((len(X), 4), np.float32), np.swapaxes(X, 0, 1))
        return self.head(self.lstm(np.swapaxes(states, 0, 1))[:, -1])


class AttentionPooling(nn.Module):
    """Attention weights over the steps of a GRU, and an embedding that gives the logits, too."""

    def __init__(self) -> None:
        self.embedding = nn.Embedding(9, 6)
        self.gru = nn.GRU(6, 6, bidirectional=True)
        self.score, self.out = nn.Linear(12, 1), nn.Linear(12, 6)

    def forward(self, X: Any) -> Any:
        states = self.gru(self.embedding(X))
        weights = cr.softmax(self.score(states), 1)
        pooled = self.out(np.sum(weights * states, axis=1))
        return pooled @ self.embedding.weight.T, weights[..., 0]


@dataclass(frozen=True)
class Case:
    name: str
    model: nn.Module
    shapes: tuple[tuple[int, ...], ...]  # of the inputs, but for the number of examples
    rows: int = 0  # inputs are ids below this
    alike: bool = True  # whether ONNX gives the layers back

    def inputs(self, m: int, seed: int = 0) -> tuple[Any, ...]:
        rng = np.random.default_rng(seed)
        if self.rows:
            return tuple(rng.integers(0, self.rows, (m, *shape)) for shape in self.shapes)
        return tuple(rng.normal(0, 2, (m, *shape)).astype(self.model.dtype) for shape in self.shapes)

    @property
    def layered(self) -> bool:
        return isinstance(self.model, nn.Sequential)


def _trained(model: nn.Module, X: Any, outputs: int) -> nn.Module:
    y = np.random.default_rng(1).integers(0, outputs, len(X))
    cr.fit(model, X, np.eye(outputs, dtype="f4")[y], loss="mse", epochs=2, batch_size=16, progress=False)
    return model.eval()


def _shaken(model: nn.Module) -> nn.Module:
    rng = np.random.default_rng(2)
    for parameter in model.parameters():
        parameter.assign(parameter.value + 0.1 * rng.normal(size=parameter.shape))
    state = model.state_dict()
    statistics = {k: rng.uniform(0.5, 2, v.shape).astype(v.dtype) for k, v in state.items() if "running" in k}
    model.load_state_dict({**state, **statistics})
    return model.eval()


def of_space() -> list[Case]:
    """Return networks of images and series."""
    lenet = (
        nn.Conv2d(1, 4, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(4, 6, 3), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(24, 8), nn.Tanh(), nn.Linear(8, 3),
    )  # fmt: skip
    block = nn.Sequential(
        nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)
    )
    resnet = (nn.Conv2d(2, 4, 3, padding="same"), nn.Residual(block), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    depthwise = (
        nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=4, bias=False), nn.BatchNorm2d(8, eps=1e-3), nn.Hardswish(),
        nn.Conv2d(8, 6, 1, groups=2), nn.PReLU(6), nn.Dropout2d(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    series = (
        nn.Conv1d(3, 5, 3, dilation=2), nn.BatchNorm1d(5), nn.Mish(), nn.MaxPool1d(3, 2, 1), nn.AvgPool1d(2),
        nn.Flatten(), nn.Linear(10, 4), nn.LogSoftmax(),
    )  # fmt: skip
    autoencoder = (
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.LeakyReLU(), nn.Conv2d(4, 2, 3, stride=2, padding=1), nn.ELU(),
        nn.ConvTranspose2d(2, 4, 3, 2, 1, output_padding=1), nn.ReLU(), nn.ConvTranspose2d(4, 1, 2, 2, bias=False),
        nn.Sigmoid(),
    )  # fmt: skip
    enlarged = (
        nn.ZeroPad2d((1, 0, 2, 1)), nn.MaxPool2d((3, 2), 1, dilation=(2, 1)), nn.Upsample(scale_factor=2),
        nn.Conv2d(2, 3, (2, 3), dilation=(1, 2)), nn.Softmax(),
        nn.Upsample((7, 5), mode="bilinear", align_corners=True),
    )  # fmt: skip
    return [
        Case("LeNet", _shaken(nn.Sequential(*lenet)), ((1, 12, 12),)),
        Case("residual", _shaken(nn.Sequential(*resnet)), ((2, 6, 5),), alike=False),
        Case("depthwise", _shaken(nn.Sequential(*depthwise, nn.Linear(6, 3))), ((4, 8, 6),)),
        Case("series", _shaken(nn.Sequential(*series)), ((3, 13),)),
        Case("autoencoder", _shaken(nn.Sequential(*autoencoder)), ((1, 8, 8),)),
        Case("enlarged", _shaken(nn.Sequential(*enlarged)), ((2, 5, 4),)),
    ]


def of_sequences() -> list[Case]:
    """Return networks with recurrent and attention layers."""
    stack = nn.RNN(6, 5, num_layers=2, nonlinearity="relu"), nn.RNN(5, 4, bidirectional=True, bias=False)
    encoder = (
        nn.Linear(5, 6), nn.TransformerEncoderLayer(6, 2, 9), nn.RMSNorm(6),
        nn.TransformerEncoderLayer(6, 3, 8, activation="gelu", norm_first=True, causal=True), nn.Linear(6, 2),
    )  # fmt: skip
    characters = (
        nn.Embedding(9, 6, padding_idx=0), nn.TransformerEncoderLayer(6, 2, 12, causal=True, norm_first=True),
        nn.LayerNorm(6), nn.Linear(6, 9),
    )  # fmt: skip
    lstm = nn.LSTM(3, 4, num_layers=2, bidirectional=True, dropout=0.2), nn.Linear(8, 2)
    gru = nn.GRU(3, 4, bidirectional=True), nn.GRU(8, 5), nn.Linear(5, 2)
    return [
        Case("LSTM", _shaken(nn.Sequential(*lstm)), ((6, 3),)),
        Case("GRU", _shaken(nn.Sequential(*gru)), ((6, 3),)),
        Case("RNN of ids", _shaken(nn.Sequential(nn.Embedding(9, 6), *stack)), ((5,),), rows=9),
        Case("attention layer", _shaken(nn.Sequential(nn.MultiheadAttention(6, 3), nn.Tanh())), ((4, 6),), alike=False),
        Case("transformer", _shaken(nn.Sequential(*encoder)), ((7, 5),), alike=False),
        Case("characters", _shaken(nn.Sequential(*characters)), ((8,),), rows=9, alike=False),
        Case("last state", _shaken(LastState()), ((5, 3),)),
        Case("attention pooling", _shaken(AttentionPooling()), ((5,),), rows=9),
    ]


def gallery() -> list[Case]:
    """Return the networks; their weights are no first weights, their running statistics those of data."""
    table = np.random.default_rng(0).normal(size=(64, 4)).astype("f4")

    def network(*layers: nn.Module) -> nn.Module:
        return _trained(nn.Sequential(*layers), table, 3)

    deep = [part for _ in range(10) for part in (nn.Linear(8, 8), nn.Tanh())]
    each = [part for make in ACTIVATIONS for part in (nn.Linear(8, 8), make())]
    batch_norm = nn.BatchNorm1d(8, eps=1e-3, momentum=0.3)
    layer_norm = nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 6), nn.GELU(), nn.LayerNorm(6, eps=1e-3))
    ids = nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(12, 3))
    inner = nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.ELU(0.7), nn.LayerNorm(6)))
    image = nn.Sequential(nn.Flatten(), nn.Linear(12, 3, bias=False), nn.Softmax())
    tokens = nn.Sequential(
        nn.Embedding(9, 6), nn.LayerNorm(6), nn.Linear(6, 5), nn.SiLU(), nn.Flatten(), nn.Linear(20, 3)
    )
    scaled = network(nn.BatchNorm1d(4), nn.Linear(4, 9), nn.Tanh(), nn.BatchNorm1d(9), nn.Dropout(), nn.Linear(9, 3))
    double = _shaken(nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).to(np.float64))
    return [
        Case("dense", network(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)), ((4,),)),
        Case("deep", network(nn.Linear(4, 8), nn.ReLU(), *deep, nn.Linear(8, 3)), ((4,),)),
        Case("activations", network(nn.Linear(4, 8), *each, nn.Linear(8, 3)), ((4,),)),
        Case("dropout", network(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3), nn.Dropout(0)), ((4,),)),
        Case("batch norm", network(nn.Linear(4, 8, bias=False), batch_norm, nn.SiLU(), nn.Linear(8, 3)), ((4,),)),
        Case("layer norm", _shaken(layer_norm), ((7, 5),)),
        Case("embedding", _trained(ids, np.random.default_rng(0).integers(0, 9, (64, 4)), 3), ((4,),), rows=9),
        Case("nested", network(inner, nn.Identity(), nn.Linear(6, 3)), ((4,),)),
        Case("probabilities", _shaken(image), ((4, 3),)),
        Case("tokens", _shaken(tokens), ((4,),), rows=9),
        Case("scaled by its data", scaled, ((4,),)),
        Case("double", double, ((64,),)),
        Case("convolution", _shaken(Convolution()), ((8, 8),)),
        Case("recurrent", _shaken(Recurrent()), ((6, 3),)),
        Case("attention", _shaken(Attention()), ((4, 6), (6,))),
        *of_space(),
        *of_sequences(),
    ]


CASES = {case.name: case for case in gallery()}


def outputs(model: Callable[..., Any], inputs: tuple[Any, ...]) -> list[Any]:
    """Return a module's outputs as a flat list of arrays."""
    leaves, _ = flatten(model(*inputs))
    return [np.asarray(leaf.detach()) for leaf in leaves]
