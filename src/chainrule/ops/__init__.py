"""The operation table: every operation's kernel, shape, derivative and written form, by family."""

from . import contract, elementwise, index, reduce, shape
from .elementwise import (
    binary_cross_entropy_with_logits,
    elu,
    erf,
    gelu,
    identity,
    leaky_relu,
    relu,
    sigmoid,
    silu,
    softplus,
    stop_gradient,
)
from .reduce import cross_entropy_with_logits, log_softmax, logsumexp, one_hot, softmax
from .shape import unbroadcast
from .table import names, row, rows

__all__ = [
    "binary_cross_entropy_with_logits",
    "contract",
    "cross_entropy_with_logits",
    "elementwise",
    "elu",
    "erf",
    "gelu",
    "identity",
    "index",
    "leaky_relu",
    "log_softmax",
    "logsumexp",
    "names",
    "one_hot",
    "reduce",
    "relu",
    "row",
    "rows",
    "shape",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "stop_gradient",
    "unbroadcast",
]
