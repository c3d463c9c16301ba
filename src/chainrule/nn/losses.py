"""Losses: how far an output is from its target, ``loss(output, target, *, reduction="mean")``, a scalar.

Outputs are logits for the cross entropies and the hinge. Reductions: ``"mean"``, ``"sum"``, ``"none"``. What one number
belongs to differs, and with it the mean:

=====================  =========================================  ====================================
loss                   one number (``"none"`` has its shape)      so that dZ of the mean loss is
=====================  =========================================  ====================================
mse, mae, huber        an element of the output                   2 (A - Y) / (m k) for mse
half_mse               an example: ½ Σ (A - Y)²                   (A - Y) / m
binary_cross_entropy   an example: the sum over its k outputs     (sigmoid(Z) - Y) / m
cross_entropy          an example                                 (softmax(Z) - Y) / m
hinge                  an example
=====================  =========================================  ====================================

with m examples in rows and k outputs each. Targets are cast to the output's dtype. Shapes must be equal; the one thing
settled on purpose is that (m,) and (m, 1) are the same targets, they never broadcast to (m, m).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from .. import ops
from ..core.tensor import Tensor, checked_array
from ..ops.table import as_dtype

Loss = Callable[..., Any]


def mse(output: Any, target: Any, *, reduction: str = "mean") -> Any:
    """Return the squared error (A - Y)², by default its mean over all elements."""
    output, target = _alike("mse", output, target)
    return _reduced(np.square(output - target), reduction)


def half_mse(output: Any, target: Any, *, reduction: str = "mean") -> Any:
    """Return ½ Σ (A - Y)² over an example's outputs, by default the mean over the m examples: dA = (A - Y) / m."""
    output, target = _alike("half_mse", output, target)
    return _reduced(0.5 * _by_example(np.square(output - target)), reduction)


def mae(output: Any, target: Any, *, reduction: str = "mean") -> Any:
    """Return |A - Y|, by default its mean over all elements. Subgradient at 0: 0."""
    output, target = _alike("mae", output, target)
    return _reduced(np.absolute(output - target), reduction)


def huber(output: Any, target: Any, *, delta: float = 1.0, reduction: str = "mean") -> Any:
    """Return ½ d² for |d| <= delta, else delta (|d| - ½ delta), d = A - Y; by default the mean over all elements.

    Parameters
    ----------
    output, target
        Of one shape.
    delta : float
        Where the parabola goes over into lines, in units of the target; above 0. Other values by name:
        ``functools.partial(losses.huber, delta=2.0)``. Source: Huber, 1964.
    reduction : {"mean", "sum", "none"}
    """
    if not 0 < delta < math.inf:
        raise ValueError(f"delta is {delta!r}; a number above 0 would do")
    output, target = _alike("huber", output, target)
    error = output - target
    size = np.absolute(error)
    near = np.less_equal(size, delta)
    inside = np.where(near, error, 0.0)  # no square of what is far away: it could overflow
    return _reduced(np.where(near, 0.5 * np.square(inside), delta * (size - 0.5 * delta)), reduction)


def binary_cross_entropy(output: Any, target: Any, *, reduction: str = "mean") -> Any:
    """Return -y log σ(z) - (1 - y) log(1 - σ(z)) of logits z, summed over an example's outputs.

    Targets are 0, 1, or probabilities between; shaped like the output, (m,) or (m, k) for k yes-no questions. By
    default the mean over the examples, so that dZ = (σ(Z) - Y) / m for any k. (PyTorch also divides by k.)
    """
    output, target = _alike("binary_cross_entropy", output, target)
    values = _known(target)
    if values is not None and values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"binary_cross_entropy: targets reach from {values.min():g} to {values.max():g}; "
            "0, 1 or probabilities between would do"
        )
    return _reduced(_by_example(ops.binary_cross_entropy_with_logits(output, target)), reduction)


def cross_entropy(output: Any, target: Any, *, reduction: str = "mean") -> Any:
    """Return -Σ y log softmax(z) of logits z, one number an example; by default the mean over the examples.

    Parameters
    ----------
    output
        Logits, shape (…, C), C >= 2.
    target
        Class ids from 0 to C - 1, integers of shape (…) or (…, 1); or one-hot rows or probabilities of shape (…, C)
        that sum to 1.
    reduction : {"mean", "sum", "none"}
    """
    output = _output(output)
    return _reduced(ops.cross_entropy_with_logits(output, _classes("cross_entropy", output, target)), reduction)


def hinge(output: Any, target: Any, *, reduction: str = "mean") -> Any:
    """Return the margin loss of a support vector machine, one number an example; by default the mean over the examples.

    For an output of shape (m,) or (m, 1): max(0, 1 - t z), targets t being -1 and 1, or 0 and 1. For (m, C) with class
    ids (or one-hot rows) y: Σ_{j≠y} max(0, 1 + z_j - z_y) (Weston & Watkins, 1999).
    """
    output = _output(output)
    if output.ndim < 2 or output.shape[-1] == 1:
        output, target = _alike("hinge", output, target)
        values = _known(target)
        if values is not None and not (np.isin(values, (-1, 1)).all() or np.isin(values, (0, 1)).all()):
            raise ValueError(f"hinge: targets are {_few(values)}; -1 and 1, or 0 and 1 would do")
        sign = np.where(np.greater(target, 0), output.dtype.type(1), output.dtype.type(-1))
        return _reduced(_by_example(ops.relu(1.0 - sign * output)), reduction)
    hot = _classes("hinge", output, target)
    own = np.sum(output * hot, axis=-1, keepdims=True)
    return _reduced(np.sum(ops.relu(output - own + 1.0) * (1.0 - hot), axis=-1), reduction)


def penalty(parameters: Mapping[str, Any], l1: float = 0.0, l2: float = 0.0) -> Any:
    """Return l1 Σ|W| + l2/2 Σ W² over the weights: the parameters with at least two axes, no biases or scales.

    The gradient of the second term is l2 · W: with plain SGD the same as a weight decay of l2.

    Parameters
    ----------
    parameters
        Path -> tensor or array.
    l1, l2 : float
        At least 0.
    """
    for name, value in (("l1", l1), ("l2", l2)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value!r}; a number from 0 would do")
    total: Any = 0.0
    for weight in parameters.values():
        if len(weight.shape) < 2:
            continue
        if l1:
            total = total + l1 * np.sum(np.absolute(weight))
        if l2:
            total = total + (0.5 * l2) * np.sum(np.square(weight))
    return total


_LOSSES: dict[str, tuple[Loss, str]] = {
    "mse": (mse, "identity"),
    "half_mse": (half_mse, "identity"),
    "mae": (mae, "identity"),
    "huber": (huber, "identity"),
    "binary_cross_entropy": (binary_cross_entropy, "sigmoid"),
    "cross_entropy": (cross_entropy, "softmax"),
    "hinge": (hinge, "identity"),
}
_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda z: z,
    "sigmoid": ops.sigmoid,
    "softmax": ops.softmax,
}


def names() -> list[str]:
    """Return the losses that go by name."""
    return list(_LOSSES)


def get(loss: Any) -> Loss:
    """Return the loss that `loss` means: a name, or any callable ``(output, target) -> scalar``.

    A callable of the user's own is wrapped, so that a result that is no scalar raises.
    """
    if isinstance(loss, str):
        if loss not in _LOSSES:
            raise ValueError(
                f"no loss {loss!r}; there are {', '.join(_LOSSES)}, or any function (output, target) -> scalar"
            )
        return _LOSSES[loss][0]
    if not callable(loss):
        raise TypeError(f"loss is a {type(loss).__name__}; a name ({', '.join(_LOSSES)}) or a function would do")
    ready = any(loss is known for known, _ in _LOSSES.values()) or hasattr(loss, "_chainrule_loss")
    return cast(Loss, loss) if ready else _checked(loss)


def _checked(loss: Loss) -> Loss:
    name = getattr(loss, "__name__", None) or getattr(getattr(loss, "func", None), "__name__", type(loss).__name__)

    @functools.wraps(loss, updated=())
    def scalar_loss(output: Any, target: Any, **more: Any) -> Any:
        value = loss(output, target, **more)
        if not hasattr(value, "shape") and not isinstance(value, int | float):
            raise TypeError(f"loss {name} returned a {type(value).__name__}; a scalar would do")
        if np.shape(value) != () and more.get("reduction") != "none":
            raise ValueError(f"loss {name} returned shape {tuple(value.shape)}; a scalar would do: take np.mean of it")
        return value

    scalar_loss._chainrule_loss = loss  # type: ignore[attr-defined]
    return scalar_loss


def output_activation(loss: Any) -> str:
    """Return what turns the network's output into a prediction under `loss`: "softmax", "sigmoid" or "identity"."""
    if isinstance(loss, str):
        loss = get(loss)
    loss = getattr(loss, "_chainrule_loss", loss)
    while isinstance(loss, functools.partial):
        loss = loss.func
    return next((activation for known, activation in _LOSSES.values() if known is loss), "identity")


def activate(loss: Any, output: Any) -> Any:
    """Apply the output activation that belongs to `loss`: logits become probabilities, other outputs stay."""
    return _ACTIVATIONS[output_activation(loss)](output)


def check_target(loss: Any, output_shape: tuple[int, ...], target: Any) -> None:
    """Raise what `loss` would raise for these targets and an output of `output_shape`.

    For training loops: while a step is traced, targets have no values to look at.
    """
    if output_activation(loss) == "identity" and not any(get(loss) is known for known, _ in _LOSSES.values()):
        return
    get(loss)(np.zeros(output_shape, np.float32), target, reduction="none")


# -- checks -----------------------------------------------------------------------------------------------------------


def _output(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output if output.dtype.kind == "f" else as_dtype(output, np.float64)
    array = checked_array(output, "output")
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _target(target: Any) -> Any:
    return target if isinstance(target, Tensor) else checked_array(target, "target")


def _known(x: Any) -> Any:
    return x.value if isinstance(x, Tensor) else x


def _alike(loss: str, output: Any, target: Any) -> tuple[Any, Any]:
    """Return output and target of one shape and dtype; (m,) and (m, 1) are taken for the same."""
    output, target = _output(output), _target(target)
    a, b = tuple(output.shape), tuple(target.shape)
    if a != b:
        if not (a == (*b, 1) or b == (*a, 1)):
            raise ValueError(f"{loss}: output has shape {a}, target {b}; they must be equal")
        target = np.reshape(target, a)
    _not_empty(loss, a)
    return output, as_dtype(target, output.dtype)


def _not_empty(loss: str, shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise ValueError(f"{loss}: output has shape {shape}: there is no example to take the loss of")


def _classes(loss: str, output: Any, target: Any) -> Any:
    """Return targets as rows that sum to one, shaped like the output."""
    target = _target(target)
    a, b = tuple(output.shape), tuple(target.shape)
    if not a or a[-1] < 2:
        raise ValueError(
            f"{loss}: output has shape {a}; one column a class, at least 2, would do (binary_cross_entropy takes 1)"
        )
    _not_empty(loss, a)
    if a == b:
        values = _known(target)
        if values is not None:
            sums = values.sum(axis=-1, dtype=np.float64)
            if not (values.min() >= 0 and np.allclose(sums, 1.0, rtol=0, atol=1e-4)):
                worst = sums.flat[np.argmax(np.abs(sums - 1.0))]
                raise ValueError(
                    f"{loss}: targets of shape {b} are probabilities, but a row sums to {worst:g} and the least is "
                    f"{values.min():g}; rows that sum to 1, or class ids of shape {a[:-1]} would do"
                )
        return as_dtype(target, output.dtype)
    if b == (*a[:-1], 1):
        target = np.reshape(target, a[:-1])
    elif b != a[:-1]:
        raise ValueError(
            f"{loss}: output has shape {a}, target {b}; class ids of shape {a[:-1]} or rows of shape {a} would do"
        )
    if target.dtype.kind == "f":
        raise TypeError(f"{loss}: class ids have dtype {target.dtype}; integers would do: y.astype(int)")
    values = _known(target)
    if values is not None:
        if values.max() >= a[-1]:
            raise ValueError(f"{loss}: labels reach {values.max()}, but the output has {a[-1]} columns")
        if values.min() < 0:
            raise ValueError(f"{loss}: labels reach down to {values.min()}; class ids begin at 0")
    if target.dtype.itemsize < 4:
        target = as_dtype(target, np.int64)
    return ops.one_hot(target, a[-1], output.dtype)


def _few(values: Any) -> str:
    found = np.unique(values)
    return ", ".join(f"{v:g}" for v in found[:6]) + (", …" if found.size > 6 else "")


def _by_example(losses: Any) -> Any:
    """Sum over all axes but the first."""
    return np.sum(losses, axis=tuple(range(1, losses.ndim))) if losses.ndim > 1 else losses


def _reduced(losses: Any, reduction: str) -> Any:
    if reduction == "mean":
        return np.mean(losses)
    if reduction == "sum":
        return np.sum(losses)
    if reduction == "none":
        return losses
    raise ValueError(f"reduction is {reduction!r}; 'mean', 'sum' or 'none' would do")
