"""Networks: modules, layers, activations, losses, initialisation."""

import sys
from typing import Any

from ..core.habits import missing
from ..core.tensor import Parameter
from . import activations, init, losses
from .activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    Hardswish,
    LeakyReLU,
    LogSoftmax,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .attention import MultiheadAttention, TransformerEncoderLayer
from .convolution import Conv1d, Conv2d, ConvTranspose2d
from .describe import count_parameters
from .functional import functional_call
from .layers import Dropout, Dropout2d, Embedding, FadingDropout, Flatten, Identity, Linear, PositionEmbedding
from .module import Module, from_config
from .naming import Layer
from .normalization import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, RMSNorm, batch_mean
from .pooling import AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d, Upsample, ZeroPad2d
from .recurrent import GRU, LSTM, RNN
from .sequential import Residual, Sequential
from .tables import MixedActivation, OutputRange, Scale, TableEmbedding

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "Activation",
    "AdaptiveAvgPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Dropout",
    "Dropout2d",
    "Embedding",
    "FadingDropout",
    "Flatten",
    "GroupNorm",
    "Hardswish",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "Mish",
    "MixedActivation",
    "Module",
    "MultiheadAttention",
    "OutputRange",
    "PReLU",
    "Parameter",
    "PositionEmbedding",
    "RMSNorm",
    "ReLU",
    "Residual",
    "Scale",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "TableEmbedding",
    "Tanh",
    "TransformerEncoderLayer",
    "Upsample",
    "ZeroPad2d",
    "activations",
    "batch_mean",
    "count_parameters",
    "from_config",
    "functional_call",
    "init",
    "losses",
]


def __getattr__(name: str) -> Any:
    raise missing(__name__, name, sys.modules[__name__])
