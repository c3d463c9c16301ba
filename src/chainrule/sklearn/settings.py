"""An estimator's parameters in the terms of the training loop, and what follows from them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import optim
from ..core.arguments import boolean, choice, integer, number
from ..optim import Optimizer
from ..optim.schedules import Adjustable, Schedule
from ..train.callbacks import as_callbacks
from .rates import Rates
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
    distributed: Any = None
    shards: int | None = None

    @classmethod
    def read(
        cls, estimator: Any, *, rule: Optimizer | None, rates: Rates, max_epochs: str, evaluations: int = 15000
    ) -> Settings:
        """Check an estimator's parameters.

        Parameters
        ----------
        estimator
            With the parameters that both families have.
        rule : Optimizer or None
        rates : Rates
        max_epochs : str
            The parameter that limits the number of epochs.
        evaluations : int
        """
        e, patience, loss = estimator, estimator.n_iter_no_change, estimator.loss
        if not callable(loss):
            choice("loss", loss, e._losses(), alternative=" or a function (output, target) -> scalar")
        rules = Rules(
            epochs=integer(max_epochs, getattr(e, max_epochs), at_least=1),
            tol=number("tol", e.tol, at_least=0),
            patience=patience if patience == np.inf else integer("n_iter_no_change", patience, at_least=1),
            rates=rates,
            verbose=bool(e.verbose),
        )
        size = None if isinstance(e.batch_size, str) and e.batch_size == "auto" else e.batch_size
        return cls(
            rule=rule,
            rules=rules,
            evaluations=evaluations,
            alpha=number("alpha", e.alpha, at_least=0),
            batch_size=None if size is None else integer("batch_size", size, at_least=1, alternative=" or 'auto'"),
            shuffle=boolean("shuffle", e.shuffle),
            early_stopping=boolean("early_stopping", e.early_stopping),
            validation_fraction=number("validation_fraction", e.validation_fraction, at_least=0, below=1),
            warm_start=boolean("warm_start", e.warm_start),
            callbacks=tuple(as_callbacks(e.callbacks)),
            dtype=choice("dtype", e.dtype, DTYPES),
            engine=e.engine,
            distributed=e.distributed,
            shards=None if e.shards is None else integer("shards", e.shards, at_least=1, alternative=" or None"),
            threads=None if e.threads is None else integer("threads", e.threads, at_least=1, alternative=" or None"),
        )

    def batch_of(self, rows: int) -> int:
        """Return the examples per step where there are so many in all."""
        return min(self.batch_size or BATCH, rows)

    def adjustable_rule(self) -> Optimizer:
        """Return the optimiser with a learning rate that `Rates` can change; one that goes by a schedule stays so."""
        rule = self.rule or optim.SGD()
        if isinstance(rule.lr, optim.ReduceOnPlateau):
            raise ValueError(
                "the optimiser's rate is a ReduceOnPlateau, which only chainrule.fit follows; estimators take a "
                "number, a schedule of the step, or their own learning_rate"
            )
        return rule if isinstance(rule.lr, Schedule) else replace(rule, lr=Adjustable(rule.lr))

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
