"""fit: checks its arguments and runs the training loop."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn, optim
from ..core.arguments import integer, number
from ..core.keywords import translates
from ..core.processes import Group
from ..core.tensor import Tensor
from ..core.tree import flatten
from ..data.rows import length, take
from ..nn import losses
from ..nn.functional import evaluation_mode
from ..nn.loss_checks import warn_of_sum
from ..nn.module import require_module
from ..nn.sequential import logits_part
from ..random import Generator
from .callbacks import Callback, EarlyStopping, PlateauRate, as_callbacks
from .checkpoint import Checkpoint, kept_shards
from .diagnostics import of_curves, of_outputs
from .evaluation import Forward, check_outputs, measure, outputs_of
from .examples import Examples, Visits, of_arrays, of_batches
from .history import History
from .loop import Job, Loop
from .metrics import Metric, in_batches, resolve
from .nests import called, telling_rows
from .progress import shown
from .sharded import sharding_of
from .sources import Source
from .step import TrainingStep
from .together import group_of, guarded

#: Rows, at most, whose outputs are judged after training.
JUDGED = 1000


@translates
def fit(
    model: nn.Module,
    X: Any,
    y: Any = None,
    *,
    loss: Any = "cross_entropy",
    optimizer: Any = None,
    epochs: int = 20,
    batch_size: int | None = 32,
    shuffle: bool = True,
    validation: Any = None,
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
    accumulate: int = 1,
    ema: float | None = None,
    distributed: Any = None,
    shards: int | None = None,
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
        A tuple of arrays is several inputs, ``forward(a, b)``; a dict of arrays inputs by name, if `forward` has these
        arguments, else one argument.
        Without `y`: batches, pairs (X, y), as a list, a loader, an iterator (for one epoch), or a function that returns
        them for an epoch (its argument, from 0, if it has one); or a data set with ``len`` and examples by number,
        pairs (x, y), of which each epoch visits all in an order drawn from `seed`.
    y : array of shape (m, …), series or data frame; tuple or dict of arrays
        Targets as the loss takes them: class ids ``(m,)`` or one-hot rows for ``cross_entropy``.
    loss : str, callable, or dict of losses
        By name (see ``nn.losses``), or any function (output, target) -> scalar. Of several outputs, a function of
        nests, or a dict: ``{"width": "mse", "kind": ("cross_entropy", 0.5)}`` with weights.
    optimizer : str or optimiser
        From ``chainrule.optim``; None is ``Adam(1e-3)``.
    epochs : int
        Number of passes over the examples.
    batch_size : int or None
        Examples per step; None means all of them. The last batch of an epoch may be smaller. Batches that are given
        stay as they are.
    shuffle : bool
        Visit the examples in a new order each epoch, drawn from `seed`.
    validation : float, (X, y), batches or None
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
        How much each example counts: a batch's loss is Σ w l / Σ w; with an ``ignore_index`` or weights of classes,
        the sum below is over what counts, too. A weight of 0 leaves the example out. Metrics and
        the validation split ignore the weights.
    accumulate : int
        Batches per update: their gradients are averaged over all their examples, so that an update is that of one batch
        as large as all of them, in less memory; with an ``ignore_index`` or weights of classes, over what counts.
        Schedules count updates.
    ema : float or None
        Decay, such as 0.999, of a moving average of the parameters over the updates. The model gets the averages:
        for validation, callbacks, and at the end; the parameters themselves are ``history.last_parameters``.
    distributed : communicator, "mpi" or None
        The processes that share each batch, all of which call `fit` with the same arguments: a communicator of mpi4py,
        or "mpi" for all that ``mpiexec`` has started. The first one prints, saves and calls the callbacks.
    shards : int or None
        Into how many parts a batch is cut for them. The same number gives the same weights, bit for bit, for any number
        of processes. Default: as many as there are processes, or as a checkpoint to resume from was saved with.

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
    epochs, seed = integer("epochs", epochs, at_least=1), integer("seed", seed, at_least=0)
    if batch_size is not None:
        batch_size = integer("batch_size", batch_size, at_least=1, alternative=" or None")
    accumulate = integer("accumulate", accumulate, at_least=1)
    ema = None if ema is None else number("ema", ema, above=0, below=1, alternative=" or None")
    optimizer = optim.get("adam" if optimizer is None else optimizer)
    figures = resolve(metrics, loss)
    calls = _callbacks(callbacks, early_stopping)
    if isinstance(optimizer.lr, optim.ReduceOnPlateau):
        calls.append(PlateauRate(optimizer.lr))
    group = group_of(distributed)
    threads = group.threads if threads is None else threads
    shards = shards if shards is not None or not resume else group.firsts(kept_shards(checkpoint, group.first))
    whole, model = model, logits_part(model, loss)
    visits = Visits(loss, epochs, batch_size, bool(shuffle), seed, accumulate, validation, sample_weight)
    with guarded(group) as guard, contextlib.ExitStack() as ends:
        saving = _checkpoint(checkpoint, resume, group.first)
        data = (of_batches if y is None else of_arrays)(whole, X, y, visits)
        ends.callback(data.feed.close)
        trained_by, measured, packed = loss, _in_batches(figures, data), data.weights
        if packed is not None:
            trained_by = packed.loss(loss)
            measured = {name: packed.metric(metric) for name, metric in measured.items()}
        dropout_seeds = ends.enter_context(_training_mode(whole, model, seed))
        ends.enter_context(Generator(seed % 2**64))
        _check_data(model, loss, figures, data)
        training = TrainingStep(
            model, trained_by, optimizer, l1=l1, l2=l2, metrics=measured, engine=engine, threads=threads,
            seed=seed % 2**64, accumulate=accumulate > 1, weight_of=packed.total(loss) if packed else None, ema=ema,
            sharding=sharding_of(distributed, group, shards),
        )  # fmt: skip
        settings = _settings(training, data, visits, ema)
        further = {"dropout seeds": dropout_seeds, "metrics": list(figures), "model": repr(model)}
        compared = settings | further | _fingerprints(data) if saving or group.size > 1 else {}
        bar = shown(progress) if group.first else None
        job = Job(
            training, data.feed, epochs=epochs, callbacks=calls if bar is None else [*calls, bar],
            saved=len(calls),  # the bar has no state that a checkpoint needs
            validate=_validation(model, data.held_out, loss, figures, engine, threads, group), model=whole,
            checkpoint=saving, described=settings | _described(data, epochs), settings=compared,
        )  # fmt: skip
        loop = Loop(job)
        if data.names != whole.feature_names:
            whole.feature_names = data.names
        guard.begin(compared | training.exchanged())
        with guard.alike():
            loop.resume()
        history = loop.run()
        guard.end()
        if ema:
            history.last_parameters = {path: array.copy() for path, array in training.parameters.items()}
        history.findings = [*of_curves(history.rows, history.best_epoch), *_of_outputs(model, data, loss)]
        return history


def _in_batches(figures: Mapping[str, Metric], data: Examples) -> dict[str, Metric]:
    """Return the metrics that are measured on batches; raise if others are asked for without a validation split."""
    measured = in_batches(figures)
    if data.held_out is None and (only := sorted(figures.keys() - measured.keys())):
        raise ValueError(f"metrics: {', '.join(only)} can be measured on a validation split only: give validation=")
    return measured


def _settings(training: TrainingStep, data: Examples, visits: Visits, ema: float | None) -> dict[str, Any]:
    """Return what a run is made with; the settings that came later only where they are not left out."""
    return {
        "batch_size": data.feed.size, "examples": data.feed.examples, "l1": training.l1, "l2": training.l2,
        "loss": _name(visits.loss), "optimizer": training.optimizer.config(), "seed": visits.seed,
        "shuffle": visits.shuffle, **({"accumulate": visits.accumulate} if visits.accumulate > 1 else {}),
        **({"ema": ema} if ema else {}), **({"shards": training.sharding.shards} if training.sharding else {}),
    }  # fmt: skip


def _described(data: Examples, epochs: int) -> dict[str, Any]:
    """Return what callbacks are told besides."""
    return {
        "epochs": epochs,
        "validation_examples": length(data.held_out[0]) if isinstance(data.held_out, tuple) else 0,
        "features": ", ".join(data.names) if data.names else None,
    }


def _fingerprints(data: Examples) -> dict[str, Any]:
    """Return checksums of the data that a checkpoint belongs to."""
    shown = data.shown if data.packed is None else (data.shown[0], data.packed)
    held = data.held_out if isinstance(data.held_out, tuple) else None
    return {"data": _fingerprint(shown), "validation": None if held is None else _fingerprint(held)}


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


def _checkpoint(given: Any, resume: bool, first: bool) -> Checkpoint | None:
    """Return where to save; `first` says whether it is this process that does."""
    if given is None:
        if resume:
            raise ValueError("resume=True needs a checkpoint: give its file as checkpoint=")
        return None
    if not isinstance(given, str | os.PathLike | Checkpoint):
        raise TypeError(f"checkpoint is a {type(given).__name__}; expected a path or a Checkpoint")
    found = given if isinstance(given, Checkpoint) else Checkpoint(given)
    if first and Path(found.path).exists() and not resume:
        raise FileExistsError(f"checkpoint {found.path} exists; resume from it with resume=True, or name another")
    return found


def _callbacks(given: Any, early_stopping: Any) -> list[Any]:
    calls = as_callbacks(given)
    if early_stopping is None or isinstance(early_stopping, EarlyStopping):
        return calls + [early_stopping] * (early_stopping is not None)
    return [*calls, EarlyStopping(integer("early_stopping", early_stopping, at_least=1))]


def _check_data(model: nn.Module, loss: Any, metrics: Mapping[str, Metric], data: Examples) -> None:
    """Run the model on a few rows and compare the targets with its output, before training starts."""
    (X, y), held = data.shown, data.held_out
    output = _some_output(model, X)
    check_outputs(loss, metrics, output, y, length(X))
    if callable(loss) and hasattr(output, "shape") and isinstance(y, np.ndarray):
        rows = telling_rows(X)
        warn_of_sum(losses.get(loss), np.asarray(output.value), y[rows], f"the loss {_name(loss)}")
    if isinstance(held, tuple):
        try:
            check_outputs(loss, {}, _some_output(model, held[0]), held[1], length(held[0]))
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation: {error}") from None


def _some_output(model: nn.Module, X: Any) -> Any:
    with evaluation_mode(model), np.errstate(all="ignore"):
        try:
            output = called(model, {}, take(X, telling_rows(X)))[0]
        except ValueError:
            called(model, {}, X)  # raises the same error with the shape of X
            raise
    parts = flatten(output)[0]
    if not parts or not all(isinstance(part, Tensor) for part in parts):
        raise TypeError(f"the model returned a {type(output).__name__}; expected a tensor, or a tuple or dict of them")
    return output


def _validation(
    model: nn.Module, held_out: Any, loss: Any, figures: Mapping[str, Metric], engine: Any, threads: Any, group: Group
) -> Callable[[], Mapping[str, float]] | None:
    if held_out is None:
        return None
    forward = Forward(model, engine=engine, threads=threads, group=group)

    def validate() -> Mapping[str, float]:
        with Generator(0):  # the same numbers in each epoch, also of a run that is resumed
            if isinstance(held_out, tuple):
                return measure(forward(held_out[0]), held_out[1], loss, figures)
            return measure(*outputs_of(forward, held_out), loss, figures)

    return validate


def _of_outputs(model: nn.Module, data: Examples, loss: Any) -> list[str]:
    """Return what is found on some rows of the validation split, or of the training split if there is none."""
    (X, y), rows, held = data.shown, data.rows, data.held_out
    if rows is None or not isinstance(y, np.ndarray) or isinstance(held, Source):
        return []
    known = y[rows]
    shown, wanted = (take(X, rows), known) if held is None else held
    picked = np.linspace(0, len(wanted) - 1, min(len(wanted), JUDGED)).astype(int)
    with evaluation_mode(model), np.errstate(all="ignore"):
        first = called(model, {}, take(shown, picked[:1]))[0]
        if not isinstance(first, Tensor) or first.ndim > 2:
            return []  # several outputs, or one for each step of a sequence
        if isinstance(shown, np.ndarray) and shown.ndim < 3:
            output = np.asarray(called(model, {}, take(shown, picked))[0].value)
        else:
            output = Forward(model)(take(shown, picked))
    split = "the training split" if held is None else "the validation split"
    return list(of_outputs(output, wanted[picked], known, loss, split))


def _fingerprint(nest: Any) -> str:
    """Return a checksum of data: enough to notice that a run is resumed with other data."""
    X, *arrays = flatten(nest)[0]
    sums = [zlib.crc32(np.ascontiguousarray(a).reshape(-1).view(np.uint8).data) for a in (X, *arrays)]
    return " ".join([f"{X.shape}", *[f"{s:08x}" for s in sums]])


def _name(loss: Any) -> str:
    return loss if isinstance(loss, str) else getattr(losses.get(loss), "__name__", type(loss).__name__)
