"""Small data and networks."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


def blobs(m=60, dtype=np.float32):
    """Three classes in five dimensions."""
    rng = np.random.default_rng(7)
    y = rng.integers(0, 3, m)
    return (rng.normal(size=(m, 5)) + 2 * np.eye(3, 5)[y]).astype(dtype), y


def network(*, dropout=0.0, seed=0, dtype=np.float32, batch_norm=False):
    layers = [nn.Linear(5, 8, dtype=dtype), nn.Tanh()]
    if batch_norm:
        layers.insert(1, nn.BatchNorm1d(8, dtype=dtype))
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(8, 3, dtype=dtype)).initialize(seed)


@pytest.fixture
def data():
    return blobs()


@pytest.fixture
def make():
    return network


def trained(model, X, y, **settings):
    """Fit quietly; return the weights and the history without its seconds."""
    history = cr.fit(model, X, y, progress=False, **{"epochs": 3, "batch_size": 16, **settings})
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history]
    return model.state_dict(), rows, history


@pytest.fixture
def train():
    return trained


def same(a, b):
    """Whether two state dicts are bit-identical."""
    return a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() and a[k].dtype == b[k].dtype for k in a)


@pytest.fixture
def identical():
    return same
