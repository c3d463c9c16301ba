"""Running a model without training it: predict, evaluate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import nn
from ..compiled import compile
from ..core.arguments import integer
from ..core.arrays import checked_array
from ..core.op import Array
from ..core.tensor import Tensor
from ..data import Dataset
from ..frames import as_inputs, target_array
from ..nn import losses
from ..nn.functional import evaluation_mode
from ..nn.module import require_module
from ..nn.sequential import logits_part
from .metrics import Metric, check_metrics, resolve
from .step import Scalar

#: Rows per batch of predict: large enough for a fast matrix multiplication, small enough for the cache.
ROWS = 1024


def predict(
    model: nn.Module, X: Any, *, batch_size: int = ROWS, engine: str | None = None, threads: int | None = None
) -> Array:
    """Return the model's output for every row of `X`, in evaluation mode.

    Parameters
    ----------
    model : nn.Module
    X : array of shape (m, …), or data frame
        If the model was trained with a frame, the columns of a frame are selected by
        name.
    batch_size : int
        Rows per batch; affects the memory used, and the result only by rounding.
    engine, threads
        As for ``chainrule.compile``.

    Returns
    -------
    numpy.ndarray
        Of shape (m, …): what the model returns; for the losses on logits these are logits.

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
    return forward(checked_input(X, "X", model.dtype, model.feature_names))


class Forward:
    """A model's forward pass in evaluation mode, planned once per batch shape; parameters and buffers are read anew."""

    def __init__(
        self, model: nn.Module, *, batch_size: int = ROWS, engine: str | None = None, threads: int | None = None
    ) -> None:
        self.model, self.batch_size = model, integer("batch_size", batch_size, at_least=1)

        def forward(state: Mapping[str, Any], rows: Any) -> Any:
            output = nn.functional_call(model, state, rows)[0]
            if not isinstance(output, Tensor):
                raise TypeError(f"the model returned a {type(output).__name__}; expected one tensor")
            return output

        self._run = compile(forward, engine=engine, threads=threads)

    def __call__(self, X: Array) -> Array:
        """Return the output for every row of X."""
        size = self.batch_size
        buffers = {k: b.value if isinstance(b, Tensor) else b for k, b in self.model.named_buffers()}
        with evaluation_mode(self.model):
            parts = [self._run(buffers, X[start : start + size]) for start in range(0, len(X), size)]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


def measure(output: Array, y: Array, loss: str | Scalar, metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Return the loss and the metrics of an output."""
    if y.dtype.kind == "f":  # class ids stay integers
        y = y.astype(output.dtype, copy=False)
    with np.errstate(all="ignore"):
        figures = {"loss": float(losses.get(loss)(output, y))}
        return figures | {name: float(function(output, y)) for name, function in metrics.items()}


def evaluate(
    model: nn.Module,
    X: Any,
    y: Any,
    *,
    loss: str | Scalar = "cross_entropy",
    metrics: Iterable[str | Metric] | Mapping[str, Metric] | None = None,
    batch_size: int = ROWS,
    engine: str | None = None,
    threads: int | None = None,
) -> dict[str, float]:
    """Return the loss and the metrics of a model on data, as ``{"loss": …, "accuracy": …}``.

    Parameters
    ----------
    model, X, batch_size, engine, threads
        As for `predict`.
    y : array of shape (m, …)
        Targets as the loss takes them.
    loss : str or callable
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
    figures, X = resolve(metrics, loss), checked_input(X, "X", model.dtype, model.feature_names)
    y = checked_target(y, X)
    output = predict(logits_part(model, loss), X, batch_size=batch_size, engine=engine, threads=threads)
    losses.check_custom(loss, output.shape, y)
    check_metrics(figures, output.shape, y)
    return measure(output, y, loss, figures)


def checked_input(X: Any, name: str, dtype: Any = None, names: Sequence[str] | None = None) -> Array:
    """Return `X` as an array with rows and finite numbers, real ones in `dtype`; raise saying what is wrong.

    Of a data frame the columns called `names` are taken, in this order.
    """
    if isinstance(X, Dataset):
        raise TypeError(
            f"{name}: expected numbers, got a Dataset; use prepared = data.Preprocessor.fit(train), "
            "then prepared.transform(…) and prepared.transform_target(…)"
        )
    X, _ = as_inputs(X, name, names)
    X = checked_array(X, name)
    if X.ndim == 0 or X.shape[0] == 0:
        raise ValueError(f"{name} has shape {X.shape}: no examples; expected at least one row, (m, …)")
    return require_finite(X, name, dtype, names)


def require_finite(x: Array, name: str, dtype: Any = None, names: Sequence[str] | None = None) -> Array:
    """Return `x`, real numbers in `dtype`; raise unless all are finite there, saying how many are not and where."""
    if x.dtype.kind != "f":
        return x
    with np.errstate(all="ignore"):
        cast = x if dtype is None or x.dtype == dtype else x.astype(dtype)
        if np.isfinite(cast.sum(dtype=np.float64)):  # the sum finds any, at the cost of one pass
            return cast
    bad = ~np.isfinite(cast)
    count = int(bad.sum())
    if count:
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        those = f"{count:,} value{'s' * (count > 1)} that {'are' if count > 1 else 'is'} not finite"
        place = f"at {list(first)}"
        if names is not None and len(first) == 2 and first[1] < len(names):
            place = f"in column {names[first[1]]!r} at row {first[0]}"
        if np.isfinite(x[first]):
            raise ValueError(f"{name} holds {those} in {cast.dtype}, the first {x[first]} {place}; scale the data")
        raise ValueError(f"{name} holds {those}, the first {x[first]} {place}; impute or remove them first")
    return cast


def checked_target(y: Any, X: Array, name: str = "y", inputs: str = "X", dtype: Any = None) -> Array:
    """Return `y` as an array with as many rows as `X`, real ones in `dtype`."""
    y = target_array(y, name)
    if y.ndim == 0 or y.shape[0] != len(X):
        raise ValueError(f"{name} has shape {y.shape}, {inputs} has {len(X):,} rows; expected one target per example")
    return require_finite(y, name, dtype)
