"""Backpropagation with the lid off: train networks on a CPU, and see, check and derive every gradient on the way."""

from . import nn, optim
from .compile import Compiled, compile
from .ops import (
    elu,
    erf,
    gelu,
    leaky_relu,
    log_softmax,
    logsumexp,
    one_hot,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    stop_gradient,
)
from .plan import Plan, verify
from .tensor import Parameter, Tensor, tensor
from .train import Callback, Checkpoint, EarlyStopping, History, NonFiniteError, evaluate, fit, predict
from .transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "Checkpoint",
    "Compiled",
    "EarlyStopping",
    "History",
    "NonFiniteError",
    "Parameter",
    "Plan",
    "Tensor",
    "compile",
    "elu",
    "erf",
    "evaluate",
    "fit",
    "gelu",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "leaky_relu",
    "log_softmax",
    "logsumexp",
    "nn",
    "one_hot",
    "optim",
    "predict",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "stop_gradient",
    "tensor",
    "value_and_grad",
    "verify",
    "vjp",
]
