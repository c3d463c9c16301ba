"""An estimator's parameters in the terms of the training loop, and what follows from them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..optim.optimizers import Optimizer
from .training import Rules

DTYPES = ("auto", "float32", "float64")
#: Rows of a batch, unless there are fewer or the estimator says otherwise.
BATCH = 200


@dataclass(frozen=True)
class Settings:
    """Checked parameters.

    Attributes
    ----------
    rule : Optimizer or None
        None: L-BFGS.
    rules : Rules
    evaluations : int
        Of the objective, at most; for L-BFGS.
    alpha : float
    batch_size : int or None
        None: `BATCH`, or all rows if they are fewer.
    shuffle, early_stopping : bool
    validation_fraction : float
    warm_start : bool
    callbacks : tuple
    dtype : str
        One of `DTYPES`.
    engine : str or None
    threads : int or None
    """

    rule: Optimizer | None
    rules: Rules
    evaluations: int = 15000
    alpha: float = 0.0
    batch_size: int | None = None
    shuffle: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    warm_start: bool = False
    callbacks: tuple[Any, ...] = ()
    dtype: str = "auto"
    engine: str | None = None
    threads: int | None = None

    def training_dtype(self, given: Any, rows: int) -> np.dtype[Any]:
        """Return the dtype that trains: in batches float32 unless told otherwise, all rows at once that of X."""
        if self.dtype != "auto":
            return np.dtype(self.dtype)
        at_once = self.rule is None or (self.batch_size or BATCH) >= rows
        return np.dtype(given if at_once else np.float32)


def usable_threads(given: int | None) -> int | None:
    """Return `given`, or what OMP_NUM_THREADS allows: joblib sets it for its workers; None leaves it to the engine."""
    allowed = os.environ.get("OMP_NUM_THREADS", "")
    if given is not None or not allowed.isdecimal():
        return given
    return min(int(allowed), os.cpu_count() or 1) or None
