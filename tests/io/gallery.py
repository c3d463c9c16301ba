"""Twelve networks of layers and three modules of one's own, with inputs for them.

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


@dataclass(frozen=True)
class Case:
    name: str
    model: nn.Module
    shapes: tuple[tuple[int, ...], ...]  # of the inputs, but for the number of examples
    rows: int = 0  # inputs are ids below this

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
    return model.eval()


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
    ]


CASES = {case.name: case for case in gallery()}


def outputs(model: Callable[..., Any], inputs: tuple[Any, ...]) -> list[Any]:
    """Return a module's outputs as a flat list of arrays."""
    leaves, _ = flatten(model(*inputs))
    return [np.asarray(leaf.detach()) for leaf in leaves]
