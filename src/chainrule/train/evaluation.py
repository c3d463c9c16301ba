"""Running a model without training it: predict, evaluate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .. import nn
from ..compiled import compile
from ..core.arguments import integer
from ..core.processes import Group
from ..core.shards import cut
from ..core.tensor import Tensor
from ..core.tree import flatten
from ..data.rows import joined, length, take
from ..nn import losses
from ..nn.functional import evaluation_mode
from ..nn.module import require_module
from ..nn.sequential import logits_part
from ..nn.several_losses import SeveralLosses
from .metrics import Metric, check_metrics, resolve
from .nests import called, cast, check_ids
from .reading import inputs, targets
from .sources import Source, is_source

#: Rows per batch of predict: large enough for a fast matrix multiplication, small enough for the cache. Values within
#: a network of images or sequences are many times as large as its input.
ROWS, OF_OTHERS = 1024, 64


def predict(
    model: nn.Module, X: Any, *, batch_size: int | None = None, engine: str | None = None, threads: int | None = None
) -> Any:
    """Return the model's output for every row of `X`, in evaluation mode.

    Parameters
    ----------
    model : nn.Module
    X : array of shape (m, …), or data frame; tuple or dict of arrays; batches
        If the model was trained with a frame, the columns of a frame are selected by name. Several inputs, and batches,
        as for ``fit``; of batches that are pairs (X, y) the targets are ignored.
    batch_size : int, optional
        Rows per batch; affects the memory used, and the result only by rounding. Default: 1024 rows of numbers, 64 of
        anything else.
    engine, threads
        As for ``chainrule.compile``.

    Returns
    -------
    numpy.ndarray
        Of shape (m, …): what the model returns; for the losses on logits these are logits. A tuple or dict of arrays if
        the model returns one.

    Raises
    ------
    ValueError
        For an X without rows, with NaN or infinity, or of a shape that the model does not take.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = nn.Linear(2, 3, weight_init="ones")
    >>> cr.predict(model, np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[3., 3., 3.],
           [7., 7., 7.]], dtype=float32)
    """
    require_module(model)
    forward = Forward(model, batch_size=batch_size, engine=engine, threads=threads)
    if is_source(X):
        return joined([forward(x) for x in Source(X, model, "X", batch_size=batch_size).inputs()])
    return forward(inputs(model, X, "X", model.dtype, model.feature_names)[0])


class Forward:
    """A model's forward pass in evaluation mode, planned once per batch shape; parameters and buffers are read anew.

    The processes of a group share the batches.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        batch_size: int | None = None,
        engine: str | None = None,
        threads: int | None = None,
        group: Group | None = None,
    ) -> None:
        self.model, self._group = model, group or Group()
        self.batch_size = None if batch_size is None else integer("batch_size", batch_size, at_least=1)

        def forward(state: Mapping[str, Any], rows: Any) -> Any:
            output = called(model, state, rows)[0]
            if not all(isinstance(part, Tensor) for part in flatten(output)[0]):
                raise TypeError(f"the model returned a {type(output).__name__}; expected tensors")
            return output

        self._run = compile(forward, engine=engine, threads=threads)

    def __call__(self, X: Any) -> Any:
        """Return the output for every row of X, an array or a nest of arrays."""
        check_ids(self.model, X)
        numbers = all(part.ndim < 3 and part.dtype.kind == "f" for part in flatten(X)[0])
        size = self.batch_size or (ROWS if numbers else OF_OTHERS)
        buffers = {k: b.value if isinstance(b, Tensor) else b for k, b in self.model.named_buffers()}
        with evaluation_mode(self.model):
            starts = range(0, length(X), size)
            first, end = cut(len(starts), self._group.size)[self._group.rank]
            own = [self._run(buffers, take(X, slice(start, start + size))) for start in starts[first:end]]
            return joined([part for parts in self._group.everyones(own) for part in parts])


def measure(output: Any, y: Any, loss: Any, metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Return the loss and the metrics of an output."""
    y = cast(y, flatten(output)[0][0].dtype)  # class ids stay integers
    with np.errstate(all="ignore"):
        figures = {"loss": float(losses.get(loss)(output, y))}
        return figures | {name: float(function(output, y)) for name, function in metrics.items()}


def evaluate(
    model: nn.Module,
    X: Any,
    y: Any = None,
    *,
    loss: Any = "cross_entropy",
    metrics: Iterable[str | Metric] | Mapping[str, Metric] | None = None,
    batch_size: int | None = None,
    engine: str | None = None,
    threads: int | None = None,
) -> dict[str, float]:
    """Return the loss and the metrics of a model on data, as ``{"loss": …, "accuracy": …}``.

    Parameters
    ----------
    model, X, batch_size, engine, threads
        As for `predict`.
    y : array of shape (m, …), tuple or dict of arrays
        Targets as the loss takes them; left out for batches (X, y).
    loss : str, callable, or dict of losses
    metrics
        Names (accuracy, r2, rmse, mae), functions (output, target) -> number, or a dict of them; None: the defaults of
        the loss.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = nn.Linear(2, 1, weight_init="ones")
    >>> cr.evaluate(model, np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[3.0], [8.0]]), loss="mse", metrics=["mae"])
    {'loss': 0.5, 'mae': 0.5}
    """
    require_module(model)
    figures, part = resolve(metrics, loss), logits_part(model, loss)
    forward = Forward(part, batch_size=batch_size, engine=engine, threads=threads)
    if y is None and (is_source(X) or isinstance(X, list | tuple)):
        output, y = outputs_of(forward, Source(X, model, "X", batch_size=batch_size, loss=loss))
    else:
        if y is None:
            raise TypeError(f"y is None, X is of type {type(X).__name__}; expected targets, or batches (X, y) alone")
        X, _ = inputs(model, X, "X", model.dtype, model.feature_names)
        y = targets(y, X, loss=loss)
        output = forward(X)
    check_outputs(loss, figures, output, y, length(y))
    return measure(output, y, loss, figures)


def outputs_of(forward: Forward, source: Source) -> tuple[Any, Any]:
    """Return the outputs for the inputs of all batches, and the targets."""
    pairs = [(forward(x), y) for x, y in source()]
    return joined([output for output, _ in pairs]), joined([y for _, y in pairs])


def check_outputs(loss: Any, metrics: Mapping[str, Metric], output: Any, y: Any, rows: int) -> None:
    """Raise if targets do not fit outputs like these, of so many examples, or a function broadcasts them."""
    if hasattr(output, "shape") and isinstance(y, np.ndarray):
        shape = (rows, *output.shape[1:])
        losses.check_target(loss, shape, y)
        check_metrics(metrics, shape, y)
    elif isinstance(of := losses.get(loss), SeveralLosses):
        for key, part in of.parts.items():
            out, wanted = of.pair(key, output, y)
            if hasattr(out, "shape") and isinstance(wanted, np.ndarray):
                try:
                    losses.check_target(part.given, (rows, *out.shape[1:]), wanted)
                except (TypeError, ValueError) as error:
                    raise type(error)(f"loss[{key!r}]: {error}") from None
    elif isinstance(loss, str):
        raise TypeError(
            f"the model returned {_kind(output)}, y is {_kind(y)}, and the loss {loss!r} takes one of each. Use a dict "
            "of losses by output, or a function of (outputs, targets)"
        )


def _kind(nest: Any) -> str:
    return "one array" if hasattr(nest, "shape") else f"a {type(nest).__name__} of {len(nest)}"
