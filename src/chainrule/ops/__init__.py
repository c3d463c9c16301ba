"""The operation table: every operation's kernel, shape, derivative and written form, by family."""

from ..core.op import row, rows
from ..core.reverse import unbroadcast
from . import (
    activations,
    arrange,
    contract,
    cumulative,
    einsum,
    elementwise,
    index,
    join,
    linalg,
    logic,
    logits,
    norms,
    random,
    reduce,
    shape,
    signal,
    statistics,
)
from .activations import binary_cross_entropy_with_logits, elu, erf, gelu, leaky_relu, relu, sigmoid, silu, softplus
from .logic import identity, stop_gradient
from .logits import cross_entropy_with_logits, log_softmax, logsumexp, one_hot, softmax
from .table import names

__all__ = [
    "activations",
    "arrange",
    "binary_cross_entropy_with_logits",
    "contract",
    "cross_entropy_with_logits",
    "cumulative",
    "einsum",
    "elementwise",
    "elu",
    "erf",
    "gelu",
    "identity",
    "index",
    "join",
    "leaky_relu",
    "linalg",
    "log_softmax",
    "logic",
    "logits",
    "logsumexp",
    "names",
    "norms",
    "one_hot",
    "random",
    "reduce",
    "relu",
    "row",
    "rows",
    "shape",
    "sigmoid",
    "signal",
    "silu",
    "softmax",
    "softplus",
    "statistics",
    "stop_gradient",
    "unbroadcast",
]
