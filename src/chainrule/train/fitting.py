"""fit: checks its arguments and runs the training loop."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn, optim
from ..core.arguments import integer
from ..core.habits import LOADER
from ..core.keywords import translates
from ..core.op import Array
from ..core.tensor import Tensor
from ..data import epoch_order, split
from ..frames import as_inputs
from ..nn import losses
from ..nn.functional import evaluation_mode
from ..nn.loss_checks import warn_of_sum
from ..nn.module import require_module
from ..nn.sequential import logits_part
from ..random import Generator
from .callbacks import Callback, EarlyStopping, PlateauRate, as_callbacks
from .checkpoint import Checkpoint
from .diagnostics import of_curves, of_outputs
from .evaluation import Forward, checked_input, checked_target, measure
from .history import History
from .loop import Job, Loop
from .metrics import Metric, check_metrics, resolve
from .progress import shown
from .step import Scalar, TrainingStep
from .weights import WeightedTargets, checked_weights

#: Rows, at most, whose outputs are judged after training.
JUDGED = 1000


@translates
def fit(
    model: nn.Module,
    X: Any,
    y: Any = None,
    *,
    loss: str | Scalar = "cross_entropy",
    optimizer: Any = None,
    epochs: int = 20,
    batch_size: int | None = 32,
    shuffle: bool = True,
    validation: float | tuple[Any, Any] | None = None,
    seed: int = 0,
    callbacks: Iterable[Any] = (),
    progress: bool | Callback | None = None,
    engine: str | None = None,
    threads: int | None = None,
    metrics: Iterable[str | Metric] | Mapping[str, Metric] | None = None,
    early_stopping: int | EarlyStopping | None = None,
    l1: float = 0.0,
    l2: float = 0.0,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    resume: bool = False,
    sample_weight: Any = None,
) -> History:
    """Train a model by mini-batch gradient descent.

    Parameters
    ----------
    model : nn.Module
        Trained in place: its parameters are replaced when an epoch ends.
    X : array of shape (m, …), or data frame
        Examples in rows. Arrays of other libraries, data frames of numbers and dicts of columns are read too; the model
        then keeps the names of the columns (``model.feature_names``). If it has these names already, from an earlier
        call, their order is kept.
    y : array of shape (m, …), series or data frame
        Targets as the loss takes them: class ids ``(m,)`` or one-hot rows for ``cross_entropy``.
    loss : str or callable
        By name (see ``nn.losses``), or any function (output, target) -> scalar.
    optimizer : str or optimiser
        From ``chainrule.optim``; None is ``Adam(1e-3)``.
    epochs : int
        Number of passes over the examples.
    batch_size : int or None
        Examples per step; None means all of them. The last batch of an epoch may be smaller.
    shuffle : bool
        Visit the examples in a new order each epoch, drawn from `seed`.
    validation : float, (X, y) or None
        A fraction of the examples to hold out (drawn from `seed`), or separate data: measured after each epoch.
    seed : int
        Of the order, the split and dropout. The same seed gives the same weights. The initial weights are those of the
        model; ``model.initialize(seed)`` draws others.
    callbacks : iterable
        Functions of a `Run`, called after each epoch, or `Callback` objects.
    progress : bool, Callback or None
        Show a bar on standard error, or a line below a notebook's cell; None: if it is a terminal or a notebook. A
        callback shows it in its own way; it is not part of a checkpoint.
    engine, threads
        As for ``chainrule.compile``.
    metrics
        Names, functions (output, target) -> number, or a dict of them; None: the defaults of the loss.
    early_stopping : int, EarlyStopping or None
        Epochs without improvement after which to stop; the best weights are kept.
    l1, l2 : float
        Regularisation of the weights (not the biases); see ``nn.losses.penalty``.
    checkpoint : path, Checkpoint or None
        Where to save the run after every epoch, or as the `Checkpoint` says.
    resume : bool
        Resume from the checkpoint if there is one; the weights become what they would have been without the stop,
        bit for bit.
    sample_weight : array of shape (m,) or None
        How much each example counts: a batch's loss is Σ w l / Σ w. A weight of 0 leaves the example out. Metrics and
        the validation split ignore the weights.

    Returns
    -------
    History
        A row per epoch. After Ctrl-C: the rows so far, ``history.stopped`` says so, and the model has the weights
        so far.

    Raises
    ------
    ValueError, TypeError
        For invalid data or settings, before training starts; the message names the argument.
    NonFiniteError
        When the loss or a parameter is no longer finite; the model has the weights before that step.
    FileExistsError
        If the checkpoint exists and `resume` is False.

    Examples
    --------
    >>> import chainrule as cr
    >>> from chainrule import nn, optim
    >>> digits = cr.data.load_digits()
    >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    >>> history = cr.fit(
    ...     model, digits.X / 16, digits.y, optimizer=optim.Adam(3e-3), epochs=10, validation=0.2, progress=False
    ... )
    >>> len(history), history["val_accuracy"][-1] > 0.9
    (10, True)
    """
    require_module(model)
    if isinstance(X, Iterator) or isinstance(y, Iterator) or (y is None and hasattr(X, "__iter__")):
        raise TypeError(f"y is of type {type(y).__name__}, expected an array; {LOADER}")
    epochs, seed = integer("epochs", epochs, at_least=1), integer("seed", seed, at_least=0)
    if batch_size is not None:
        batch_size = integer("batch_size", batch_size, at_least=1, alternative=" or None")
    optimizer = optim.get("adam" if optimizer is None else optimizer)
    figures = resolve(metrics, loss)
    saving = _checkpoint(checkpoint, resume)
    calls = _callbacks(callbacks, early_stopping)
    if isinstance(optimizer.lr, optim.ReduceOnPlateau):
        calls.append(PlateauRate(optimizer.lr))
    bar = shown(progress)
    whole, model = model, logits_part(model, loss)
    data = _Data.read(X, y, validation, seed, model.dtype or np.dtype(np.float32), whole.feature_names)
    weights = None if sample_weight is None else checked_weights(sample_weight, len(data.X))
    with _training_mode(whole, model, seed) as dropout_seeds, Generator(seed % 2**64):
        _check_data(model, loss, figures, data)
        validate = None if data.held_out is None else _validation(model, data.held_out, loss, figures, engine, threads)
        trained_by: str | Scalar = loss
        y, rows = data.y, data.rows
        if weights is not None:
            rows = _with_weight(rows, weights)
            targets = WeightedTargets(y)
            trained_by, y = targets.loss(loss), targets.pack(y, weights, data.dtype)
            figures = {name: targets.metric(metric) for name, metric in figures.items()}
        training = TrainingStep(
            model, trained_by, optimizer, l1=l1, l2=l2, metrics=figures, engine=engine, threads=threads,
            seed=seed % 2**64,
        )  # fmt: skip
        size = min(batch_size or len(rows), len(rows))
        settings = {
            "batch_size": size, "examples": len(rows), "l1": l1, "l2": l2, "loss": _name(loss),
            "optimizer": training.optimizer.config(), "seed": seed, "shuffle": bool(shuffle),
        }  # fmt: skip
        job = Job(
            training, data.X, y, examples=len(rows), size=size, epochs=epochs,
            order=lambda epoch: rows[epoch_order(len(rows), seed, epoch, bool(shuffle))],
            callbacks=calls if bar is None else [*calls, bar],
            saved=len(calls),  # the bar has no state that a checkpoint needs
            validate=validate, model=whole, checkpoint=saving,
            described=settings | {
                "epochs": epochs, "validation_examples": len(data.held_out[0]) if data.held_out else 0,
                "features": ", ".join(data.names) if data.names else None,
            },
            settings=settings | {
                "data": _fingerprint(data.X, y), "dropout seeds": dropout_seeds, "metrics": list(figures),
                "model": repr(model), "validation": _fingerprint(*data.held_out) if data.held_out else None,
            } if saving else {},
        )  # fmt: skip
        loop = Loop(job)
        if data.names != whole.feature_names:
            whole.feature_names = data.names
        history = loop.run()
        history.findings = [*of_curves(history.rows, history.best_epoch), *_of_outputs(model, data, loss)]
        return history


@dataclass(frozen=True)
class _Data:
    """Checked examples: inputs and targets, the rows to train on, the validation split, the names of columns."""

    X: Array
    y: Array
    rows: Array
    held_out: tuple[Array, Array] | None
    names: tuple[str, ...] | None
    dtype: np.dtype[Any]

    @classmethod
    def read(
        cls, X: Any, y: Any, validation: Any, seed: int, dtype: np.dtype[Any], familiar: tuple[str, ...] | None
    ) -> _Data:
        X, names = as_inputs(X, "X", familiar=familiar)
        X = checked_input(X, "X", dtype, names)
        y = checked_target(y, X, dtype=dtype)
        return cls(X, y, *_parts(X, y, validation, seed, dtype, names), names, dtype)


@contextlib.contextmanager
def _training_mode(whole: nn.Module, model: nn.Module, seed: int) -> Iterator[list[int]]:
    """Set the model to training, with dropout masks that depend on `seed`; yield the layers' own seeds."""
    modes = [(m, m.training) for m in whole.modules()]
    dropouts = [(m, m.seed) for m in model.modules() if isinstance(m, nn.Dropout)]
    try:
        whole.train()
        model.train()
        for layer, own in dropouts:
            layer.seed = (own + seed * 0x9E3779B97F4A7C15) % 2**64
        yield [own for _, own in dropouts]
    finally:
        for module, mode in modes:
            module.training = mode
        for layer, own in dropouts:
            layer.seed = own


def _checkpoint(given: Any, resume: bool) -> Checkpoint | None:
    if given is None:
        if resume:
            raise ValueError("resume=True needs a checkpoint: give its file as checkpoint=")
        return None
    if not isinstance(given, str | os.PathLike | Checkpoint):
        raise TypeError(f"checkpoint is a {type(given).__name__}; expected a path or a Checkpoint")
    found = given if isinstance(given, Checkpoint) else Checkpoint(given)
    if Path(found.path).exists() and not resume:
        raise FileExistsError(f"checkpoint {found.path} exists; resume from it with resume=True, or name another")
    return found


def _callbacks(given: Any, early_stopping: Any) -> list[Any]:
    calls = as_callbacks(given)
    if early_stopping is None or isinstance(early_stopping, EarlyStopping):
        return calls + [early_stopping] * (early_stopping is not None)
    return [*calls, EarlyStopping(integer("early_stopping", early_stopping, at_least=1))]


def _parts(
    X: Array, y: Array, validation: Any, seed: int, dtype: np.dtype[Any], names: tuple[str, ...] | None
) -> tuple[Array, tuple[Array, Array] | None]:
    """Return the rows to train on, and the validation data."""
    everything = np.arange(len(X))
    if validation is None:
        return everything, None
    if isinstance(validation, tuple | list):
        if len(validation) != 2:
            raise ValueError(
                f"validation has {len(validation)} entries; expected a fraction between 0 and 1, or (X, y)"
            )
        held_X = checked_input(validation[0], "validation[0]", dtype, names)
        if held_X.shape[1:] != X.shape[1:]:
            raise ValueError(
                f"validation[0] has shape {held_X.shape}, X has {X.shape}; all axes but the first must be equal"
            )
        return everything, (held_X, checked_target(validation[1], held_X, "validation[1]", "validation[0]", dtype))
    if isinstance(validation, bool) or not isinstance(validation, int | float | np.number):
        raise TypeError(f"validation is a {type(validation).__name__}; expected a fraction between 0 and 1, or (X, y)")
    if validation == 0:
        return everything, None
    if not 0 < validation < 1:
        raise ValueError(f"validation is {validation}; expected a fraction between 0 and 1, such as 0.1, or (X, y)")
    wanted = round(len(X) * float(validation))
    if not 0 < wanted < len(X):
        raise ValueError(
            f"validation={validation} of {len(X):,} examples leaves a split empty; use another fraction or (X, y)"
        )
    train, held = split(len(X), float(validation), seed)
    return train, (X[held], y[held])


def _with_weight(rows: Array, weights: Array) -> Array:
    """Return the rows whose weight is above 0."""
    kept: Array = rows[weights[rows] > 0]
    if not len(kept):
        raise ValueError(
            f"sample_weight is zero for all {len(rows):,} examples to train on; use another validation split"
        )
    return kept


def _check_data(model: nn.Module, loss: str | Scalar, metrics: Mapping[str, Metric], data: _Data) -> None:
    """Run the model on a few rows and compare the targets with its output, before training starts."""
    X, held = data.X, data.held_out
    shown = X[_telling_rows(X)]
    if held is not None:
        shown = np.concatenate([shown, held[0][_telling_rows(held[0])]])
    with evaluation_mode(model), np.errstate(all="ignore"):
        try:
            output = model(shown)
        except ValueError as error:
            model(X)  # raises the same error with the shape of X, unless other rows cause it
            raise type(error)(f"validation: {error}") from None
    if not isinstance(output, Tensor):
        raise TypeError(f"the model returned a {type(output).__name__}; expected one tensor")
    losses.check_target(loss, (len(X), *output.shape[1:]), data.y)
    check_metrics(metrics, (len(X), *output.shape[1:]), data.y)
    if callable(loss):
        rows = _telling_rows(X)
        warn_of_sum(losses.get(loss), np.asarray(output.value)[: len(rows)], data.y[rows], f"the loss {_name(loss)}")
    if held is not None:
        try:
            losses.check_target(loss, (len(held[0]), *output.shape[1:]), held[1])
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation: {error}") from None


def _telling_rows(X: Array) -> list[int]:
    """Return the first row; of row numbers to look up, also those with the least and the greatest."""
    if X.dtype.kind not in "iu" or not X.size:
        return [0]
    width = X.size // len(X)
    return [0, int(X.argmin()) // width, int(X.argmax()) // width]


def _validation(
    model: nn.Module, held_out: tuple[Array, Array], loss: Any, figures: Mapping[str, Metric], engine: Any, threads: Any
) -> Callable[[], Mapping[str, float]]:
    forward, (X, y) = Forward(model, engine=engine, threads=threads), held_out

    def validate() -> Mapping[str, float]:
        with Generator(0):  # the same numbers in each epoch, also of a run that is resumed
            return measure(forward(X), y, loss, figures)

    return validate


def _of_outputs(model: nn.Module, data: _Data, loss: Any) -> list[str]:
    """Return what is found on some rows of the validation split, or of the training split if there is none."""
    known = data.y[data.rows]
    X, y = (data.X[data.rows], known) if data.held_out is None else data.held_out
    shown = np.linspace(0, len(X) - 1, min(len(X), JUDGED)).astype(int)
    with evaluation_mode(model), np.errstate(all="ignore"):
        output = model(X[shown]).value
    split = "the training split" if data.held_out is None else "the validation split"
    return list(of_outputs(np.asarray(output), y[shown], known, loss, split))


def _fingerprint(X: Array, y: Array) -> str:
    """Return a checksum of data: enough to notice that a run is resumed with other data."""
    sums = [zlib.crc32(np.ascontiguousarray(a).reshape(-1).view(np.uint8).data) for a in (X, y)]
    return f"{X.shape} {sums[0]:08x} {sums[1]:08x}"


def _name(loss: Any) -> str:
    return loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
