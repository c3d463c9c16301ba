"""The operation table: every operation's kernel, shape, derivative and written form, by family.

Families that most programs do without are in `rest`, which is loaded when one of their functions is first used.
"""

from ..core import op as _op
from ..core.broadcasting import unbroadcast
from ..core.node import FUNCTIONS as _FUNCTIONS
from ..core.op import row, rows
from . import (
    activations,
    arrange,
    assign,
    contract,
    convolution,
    cumulative,
    einsum,
    elementwise,
    index,
    join,
    linalg,
    logic,
    logits,
    norms,
    pooling,
    random,
    reduce,
    selection,
    shape,
    ufunc_methods,  # goes through the ufuncs of the others, so it is the last
    windows,
)
from .activations import binary_cross_entropy_with_logits, elu, erf, gelu, leaky_relu, relu, sigmoid, silu, softplus
from .convolution import conv, conv_transpose
from .logic import identity, stop_gradient
from .logits import cross_entropy_with_logits, log_softmax, logsumexp, one_hot, softmax
from .pooling import adaptive_avg_pool, avg_pool, max_pool, upsample, zero_pad
from .table import names

__all__ = [
    "activations",
    "adaptive_avg_pool",
    "arrange",
    "assign",
    "avg_pool",
    "binary_cross_entropy_with_logits",
    "contract",
    "conv",
    "conv_transpose",
    "convolution",
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
    "max_pool",
    "names",
    "norms",
    "one_hot",
    "pooling",
    "random",
    "reduce",
    "relu",
    "row",
    "rows",
    "selection",
    "shape",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "stop_gradient",
    "ufunc_methods",
    "unbroadcast",
    "upsample",
    "windows",
    "zero_pad",
]

_FUNCTIONS.rest = _op._ROWS.rest = f"{__name__}.rest"
