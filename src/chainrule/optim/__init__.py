"""Optimisers and learning-rate schedules, pure functions of arrays or tensors; and full-batch minimisation."""

import sys
from typing import Any

from ..core.habits import missing
from .clipping import clip_by_norm, clip_by_value, global_norm
from .minimize import Minimum, minimize, minimize_function
from .optimizer import Optimizer
from .optimizers import SGD, Adagrad, Adam, AdamW, Lion, RMSprop, get
from .schedules import (
    Constant,
    Cosine,
    CosineCycles,
    Exponential,
    FlatCosine,
    Linear,
    OneCycle,
    Piecewise,
    ReduceOnPlateau,
    Schedule,
    Step,
    WarmUp,
)

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "CosineCycles",
    "Exponential",
    "FlatCosine",
    "Linear",
    "Lion",
    "Minimum",
    "OneCycle",
    "Optimizer",
    "Piecewise",
    "RMSprop",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
    "WarmUp",
    "clip_by_norm",
    "clip_by_value",
    "get",
    "global_norm",
    "minimize",
    "minimize_function",
]


def __getattr__(name: str) -> Any:
    raise missing(__name__, name, sys.modules[__name__])
