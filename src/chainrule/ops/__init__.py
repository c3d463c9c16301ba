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
    selection,
    shape,
    ufunc_methods,  # goes through the ufuncs of the others, so it is the last
)
from .activations import binary_cross_entropy_with_logits, elu, erf, gelu, leaky_relu, relu, sigmoid, silu, softplus
from .logic import identity, stop_gradient
from .logits import cross_entropy_with_logits, log_softmax, logsumexp, one_hot, softmax
from .table import names

__all__ = [
    "activations",
    "arrange",
    "assign",
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
    "selection",
    "shape",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "stop_gradient",
    "ufunc_methods",
    "unbroadcast",
]

_FUNCTIONS.rest = _op._ROWS.rest = f"{__name__}.rest"
