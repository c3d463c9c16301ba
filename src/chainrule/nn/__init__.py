"""Networks: modules, layers, activations, losses, initialisation."""

import sys
from typing import Any

from ..core.habits import missing
from ..core.tensor import Parameter
from . import activations, init, losses
from .activations import ELU, GELU, Activation, LeakyReLU, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from .describe import count_parameters
from .functional import functional_call
from .layers import BatchNorm1d, Dropout, Embedding, Flatten, Identity, LayerNorm, Linear
from .module import Module, from_config
from .naming import Layer
from .sequential import Sequential

__all__ = [
    "ELU",
    "GELU",
    "Activation",
    "BatchNorm1d",
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "activations",
    "count_parameters",
    "from_config",
    "functional_call",
    "init",
    "losses",
]


def __getattr__(name: str) -> Any:
    raise missing(__name__, name, sys.modules[__name__])
