"""Backpropagation with the lid off: train networks on a CPU, and see, check and derive every gradient on the way.

Derivatives load with the package; plans, networks, training, files and data when first used.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from .audit import assert_backward_right, audit, audit_layer, audit_loss, audit_module, audit_optimizer
from .core.custom import checkpoint, custom_vjp
from .core.habits import missing
from .core.tensor import Parameter, Tensor, tensor
from .core.transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from .core.vmap import vmap
from .explain import explain
from .gradcheck import gradcheck
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

if TYPE_CHECKING:
    from . import data, io, nn, optim, random, reporting
    from .adapters.backward_pass import AuditError
    from .audit.comparison import Comparison
    from .backpropagation import Backprop, backprop
    from .compiled import Compiled, compile
    from .explain.derivation import Derivation
    from .gradcheck.result import GradcheckError, GradcheckResult
    from .io import from_onnx, from_torch, load, save, to_onnx, to_torch
    from .ops.scan import scan
    from .plan import Plan
    from .plan.verify import verify
    from .reporting import GradientFlow, report
    from .train import (
        Callback,
        Checkpoint,
        EarlyStopping,
        History,
        LogTo,
        MLflowLogger,
        NonFiniteError,
        TensorBoardLogger,
        evaluate,
        fit,
        predict,
    )

__version__ = "0.1.0"

#: Public name -> the module that holds it, loaded when the name is first used.
_LATER = {
    "Backprop": "backpropagation",
    "backprop": "backpropagation",
    "Compiled": "compiled",
    "compile": "compiled",
    "Plan": "plan",
    "verify": "plan",
    "Comparison": "audit.comparison",
    "Callback": "train",
    "Checkpoint": "train",
    "EarlyStopping": "train",
    "History": "train",
    "LogTo": "train",
    "MLflowLogger": "train",
    "NonFiniteError": "train",
    "TensorBoardLogger": "train",
    "evaluate": "train",
    "fit": "train",
    "predict": "train",
    "GradientFlow": "reporting",
    "report": "reporting",
    "from_onnx": "io",
    "from_torch": "io",
    "load": "io",
    "save": "io",
    "to_onnx": "io",
    "to_torch": "io",
    "scan": "ops.scan",
    "AuditError": "adapters.backward_pass",
    "GradcheckError": "gradcheck.result",
    "GradcheckResult": "gradcheck.result",
    "Derivation": "explain.derivation",
    "data": "",
    "io": "",
    "nn": "",
    "optim": "",
    "random": "",
    "reporting": "",
}

__all__ = [
    "AuditError",
    "Backprop",
    "Callback",
    "Checkpoint",
    "Comparison",
    "Compiled",
    "Derivation",
    "EarlyStopping",
    "GradcheckError",
    "GradcheckResult",
    "GradientFlow",
    "History",
    "LogTo",
    "MLflowLogger",
    "NonFiniteError",
    "Parameter",
    "Plan",
    "Tensor",
    "TensorBoardLogger",
    "assert_backward_right",
    "audit",
    "audit_layer",
    "audit_loss",
    "audit_module",
    "audit_optimizer",
    "backprop",
    "checkpoint",
    "compile",
    "custom_vjp",
    "data",
    "elu",
    "erf",
    "evaluate",
    "explain",
    "fit",
    "from_onnx",
    "from_torch",
    "gelu",
    "grad",
    "gradcheck",
    "hessian",
    "hvp",
    "io",
    "jacobian",
    "jvp",
    "leaky_relu",
    "load",
    "log_softmax",
    "logsumexp",
    "nn",
    "one_hot",
    "optim",
    "predict",
    "random",
    "relu",
    "report",
    "reporting",
    "save",
    "scan",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "stop_gradient",
    "tensor",
    "to_onnx",
    "to_torch",
    "value_and_grad",
    "verify",
    "vjp",
    "vmap",
]


def load_ipython_extension(shell: Any) -> None:
    """Add the magic ``%%audit``: ``%load_ext chainrule`` calls this."""
    from .notebook import add_magic

    add_magic(shell)


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise missing("chainrule", name, sys.modules[__name__])
    module = importlib.import_module(f".{_LATER[name] or name}", __name__)
    value = getattr(module, name) if _LATER[name] else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
