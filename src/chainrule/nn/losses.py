"""Losses: how far an output is from its target, ``loss(output, target, *, reduction="mean")``, a scalar.

Outputs are logits for the cross entropies and the hinge. Reductions: ``"mean"``, ``"sum"``, ``"none"``. The mean is
over elements or over examples, depending on the loss:

=====================  =============================================  ====================================
loss                   one value (the shape with ``"none"``) per      so that dZ of the mean loss is
=====================  =============================================  ====================================
mse, mae, huber        element of the output                          2 (A - Y) / (m k) for mse
half_mse               example: ½ Σ (A - Y)²                          (A - Y) / m
poisson                example: the sum over its k outputs            (e^Z - Y) / m
binary_cross_entropy   example: the sum over its k outputs            (sigmoid(Z) - Y) / m
cross_entropy          example                                        (softmax(Z) - Y) / m
focal, binary_focal    example
hinge                  example
=====================  =============================================  ====================================

with m examples in rows and k outputs each. Targets are cast to the output's dtype. Shapes must be equal, except that
(m,) and (m, 1) are the same targets; they never broadcast to (m, m).

A loss registers itself with ``@register(name, …)``; then it can be chosen by name in ``fit``, the estimators and
``chainrule train --loss``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from .. import ops
from ..core.arguments import choice, integer, number
from ..core.arrays import checked_array
from ..core.keywords import translates
from ..core.tensor import Tensor
from ..ops.table import as_dtype
from .loss_checks import check_pairs
from .several_losses import SeveralLosses

Loss = Callable[..., Any]


@dataclass(frozen=True)
class Named:
    """A loss with a name.

    Attributes
    ----------
    function
        ``(output, target, *, reduction="mean")``.
    activation
        The function that turns outputs into predictions; None where outputs are predictions.
    tasks
        What it can train: some of ``"regression"``, ``"binary"`` (one output, targets 0 and 1) and ``"multiclass"``
        (one output per class, class ids as targets).
    shares
        ``(output, target, **settings)``: how much each example counts in the mean, None where all count the same; None
        for losses whose mean is always over all.
    """

    function: Loss
    activation: Callable[[Any], Any] | None
    tasks: tuple[str, ...]
    shares: Callable[..., Any] | None = None


NAMED: dict[str, Named] = {}
TASKS = ("regression", "binary", "multiclass")


def register(
    name: str,
    *tasks: str,
    activation: Callable[[Any], Any] | None = None,
    shares: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a loss under a name; for use as a decorator.

    Parameters
    ----------
    name : str
        For ``fit(loss=name)``, the estimators, ``chainrule train --loss`` and `get`.
    *tasks : {"regression", "binary", "multiclass"}
        The tasks that it is for.
    activation : callable, optional
        The function that turns outputs into predictions, such as ``chainrule.ops.sigmoid``; without it, outputs are
        predictions.
    shares : callable, optional
        How much each example counts in the mean, as in `Named`.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.nn import losses
    >>> @losses.register("log_cosh_error", "regression")
    ... def log_cosh_error(output, target, *, reduction="mean"):
    ...     error = output - target
    ...     return losses.reduced(np.logaddexp(error, -error) - np.log(2.0), reduction)
    >>> round(float(losses.get("log_cosh_error")(np.array([1.0, 2.0]), np.array([1.0, 0.0]))), 4)
    0.6625
    >>> _ = losses.NAMED.pop("log_cosh_error")  # so that it exists in this example only
    """
    if name in NAMED:
        raise ValueError(f"there is a loss {name!r} already")
    for task in tasks:
        choice("task", task, TASKS)

    def entered(function: Callable[..., Any]) -> Callable[..., Any]:
        function = translates(function)
        NAMED[name] = Named(function, activation, tasks, shares)
        return function

    return entered


@register("mse", "regression")
def mse(output: Any, target: Any, *, reduction: str = "mean") -> Any:
    """Return the squared error (A - Y)², by default its mean over all elements.

    Examples
    --------
    >>> from chainrule.nn import losses
    >>> float(losses.mse([1.0, 3.0], [0.0, 1.0]))
    2.5
    """
    output, target = _alike("mse", output, target)
    return reduced(np.square(output - target), reduction)


@register("half_mse", "regression")
def half_mse(output: Any, target: Any, *, reduction: str = "mean") -> Any:
    """Return ½ Σ (A - Y)² over an example's outputs, by default the mean over the m examples: dA = (A - Y) / m.

    Examples
    --------
    >>> from chainrule.nn import losses
    >>> float(losses.half_mse([[1.0, 3.0]], [[0.0, 1.0]]))
    2.5
    """
    output, target = _alike("half_mse", output, target)
    return reduced(0.5 * _by_example(np.square(output - target)), reduction)


@register("mae", "regression")
def mae(output: Any, target: Any, *, reduction: str = "mean") -> Any:
    """Return |A - Y|, by default its mean over all elements. Subgradient at 0: 0.

    Examples
    --------
    >>> from chainrule.nn import losses
    >>> float(losses.mae([1.0, 3.0], [0.0, 1.0]))
    1.5
    """
    output, target = _alike("mae", output, target)
    return reduced(np.absolute(output - target), reduction)


@register("huber", "regression")
def huber(output: Any, target: Any, *, delta: float = 1.0, reduction: str = "mean") -> Any:
    """Return ½ d² for |d| <= delta, else delta (|d| - ½ delta), d = A - Y; by default the mean over all elements.

    Parameters
    ----------
    output, target
        Of one shape.
    delta : float
        Where the parabola changes to lines, in units of the target; above 0. ``fit`` takes another value as
        ``functools.partial(losses.huber, delta=2.0)``. Source: Huber, 1964.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> from chainrule.nn import losses
    >>> float(losses.huber([0.5, 3.0], [0.0, 0.0], reduction="sum"))
    2.625
    """
    delta = number("delta", delta, above=0)
    output, target = _alike("huber", output, target)
    error = output - target
    size = np.absolute(error)
    near = np.less_equal(size, delta)
    inside = np.where(near, error, 0.0)  # large errors are not squared: that could overflow
    return reduced(np.where(near, 0.5 * np.square(inside), delta * (size - 0.5 * delta)), reduction)


@register("poisson", "regression", activation=np.exp)
def poisson(output: Any, target: Any, *, reduction: str = "mean") -> Any:
    """Return half the Poisson deviance y log(y / e^z) - y + e^z, summed over an example's outputs z, the log of counts.

    By default the mean over the examples, so that dZ = (e^Z - Y) / m.

    Parameters
    ----------
    output, target
        Of one shape, (m, k) or (m,); targets at least 0.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> from chainrule.nn import losses
    >>> float(losses.poisson([0.0, 0.0], [1.0, 0.0]))
    0.5
    """
    output, target = _alike("poisson", output, target)
    values = _known(target)
    if values is not None and values.size and values.min() < 0:
        raise ValueError(f"poisson: expected targets ≥ 0 (counts), got {values.min():g}")
    positive = np.where(np.greater(target, 0), target, 1.0)
    return reduced(_by_example(target * (np.log(positive) - output) - target + np.exp(output)), reduction)


@register("binary_cross_entropy", "binary", activation=ops.sigmoid)
def binary_cross_entropy(output: Any, target: Any, *, pos_weight: Any = None, reduction: str = "mean") -> Any:
    """Return -y log σ(z) - (1 - y) log(1 - σ(z)) of logits z, summed over an example's outputs.

    Targets are 0, 1, or probabilities between; shaped like the output, (m,) or (m, k) for k yes-no questions. By
    default the mean over the examples, so that dZ = (σ(Z) - Y) / m for any k. (PyTorch also divides by k.)

    Parameters
    ----------
    output, target
        Of one shape.
    pos_weight : float or array, optional
        Factor of the first term, where y is 1; an array has one for each of the k outputs. ``fit`` takes it as
        ``functools.partial(losses.binary_cross_entropy, pos_weight=3.0)``.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> from chainrule.nn import losses
    >>> round(float(losses.binary_cross_entropy([0.0, 2.0], [1, 1])), 4)
    0.41
    """
    output, target = _probabilities("binary_cross_entropy", output, target)
    if pos_weight is None:
        return reduced(_by_example(ops.binary_cross_entropy_with_logits(output, target)), reduction)
    factor = _weights("binary_cross_entropy: pos_weight", pos_weight, output)
    if factor.shape not in ((), tuple(output.shape[-1:])):
        raise ValueError(
            f"binary_cross_entropy: pos_weight has shape {factor.shape}, expected a number or one for each of the "
            f"{output.shape[-1]} outputs"
        )
    losses = (1.0 - target) * ops.softplus(output) + factor * target * ops.softplus(-output)
    return reduced(_by_example(losses), reduction)


def _class_shares(
    output: Any, target: Any, *, weight: Any = None, ignore_index: int | None = None, **settings: Any
) -> Any:
    """Return what the mean of `cross_entropy` divides by, for each example; None where each counts once."""
    counts, target = _counted(output, target, ignore_index)
    ones = None if counts is None else as_dtype(counts, output.dtype)
    if weight is None or tuple(np.shape(target)) == output.shape:
        return ones
    own = np.sum(_classes("cross_entropy", output, target) * _class_weights(weight, output), axis=-1)
    return own if ones is None else own * ones


@register("cross_entropy", "multiclass", activation=ops.softmax, shares=_class_shares)
def cross_entropy(
    output: Any,
    target: Any,
    *,
    weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Any:
    """Return -Σ y log softmax(z) of logits z, one value per example; by default the mean over the examples.

    An example is whatever has a row of logits: each step of a sequence, for an output of shape (m, T, C).

    Parameters
    ----------
    output
        Logits, shape (…, C), C >= 2.
    target
        Class ids from 0 to C - 1, integers of shape (…) or (…, 1); or one-hot rows or probabilities of shape (…, C)
        that sum to 1.
    weight : array, optional
        A factor for each class, of shape (C,). With class ids the mean is the weighted one.
    ignore_index : int, optional
        A class id that marks examples which do not count, such as padding.
    label_smoothing : float
        The share of y that is spread evenly over all classes, 0 <= label_smoothing < 1.
    reduction : {"mean", "sum", "none"}

    Notes
    -----
    ``fit`` takes the settings as ``functools.partial(losses.cross_entropy, ignore_index=-1)``.

    Examples
    --------
    >>> from chainrule.nn import losses
    >>> round(float(losses.cross_entropy([[0.0, 0.0], [0.0, 2.0]], [0, 1])), 4)
    0.41
    >>> round(float(losses.cross_entropy([[0.0, 0.0], [0.0, 2.0]], [-1, 1], ignore_index=-1)), 4)
    0.1269
    """
    output, smoothing = _output(output), number("label_smoothing", label_smoothing, at_least=0, below=1)
    shares = _class_shares(output, target, weight=weight, ignore_index=ignore_index)
    counts, target = _counted(output, target, ignore_index)
    rows = _classes("cross_entropy", output, target)
    smooth = rows if not smoothing else (1 - smoothing) * rows + smoothing / output.shape[-1]
    if weight is None:
        return _reduced(ops.cross_entropy_with_logits(output, smooth), counts, shares, reduction)
    smooth = smooth * _class_weights(weight, output)
    logs = np.where(np.equal(smooth, 0.0), 0.0, ops.log_softmax(output))
    return _reduced(-np.sum(smooth * logs, axis=-1), counts, shares, reduction)


def _counted(output: Any, target: Any, ignore_index: int | None) -> tuple[Any, Any]:
    """Return which examples count, None for all, and the targets, with class 0 in place of `ignore_index`."""
    if ignore_index is None:
        return None, target
    ignored = integer("ignore_index", ignore_index)
    target = _target(target)
    if tuple(target.shape) == (*output.shape[:-1], 1):
        target = np.reshape(target, output.shape[:-1])
    if target.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: ignore_index is for class ids, got targets of dtype {target.dtype}")
    counts = np.not_equal(target, ignored)
    return counts, np.where(counts, target, target.dtype.type(0))


def _reduced(losses: Any, counts: Any, shares: Any, reduction: str) -> Any:
    """Reduce losses of which some do not count, or whose mean is weighted."""
    if counts is not None:
        losses = np.where(counts, losses, losses.dtype.type(0))
    if reduction != "mean" or shares is None:
        return reduced(losses, reduction)
    return np.sum(losses) / np.sum(shares)


@register("focal", "multiclass", activation=ops.softmax)
def focal(output: Any, target: Any, *, gamma: float = 2.0, reduction: str = "mean") -> Any:
    """Return (1 - p)^γ · -log p, p being the probability of the right class: examples that are easy count less.

    Parameters
    ----------
    output, target
        As of `cross_entropy`.
    gamma : float
        At least 0, which gives the cross entropy. Source: Lin et al., "Focal loss for dense object detection", 2017.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> from chainrule.nn import losses
    >>> losses.focal([[0.0, 0.0], [0.0, 5.0]], [0, 1], reduction="none").round(4)
    array([0.1733, 0.    ])
    """
    gamma, output = number("gamma", gamma, at_least=0), _output(output)
    losses = ops.cross_entropy_with_logits(output, _classes("focal", output, target))
    return reduced(_focused(losses, gamma), reduction)


@register("binary_focal", "binary", activation=ops.sigmoid)
def binary_focal(
    output: Any, target: Any, *, gamma: float = 2.0, alpha: float | None = None, reduction: str = "mean"
) -> Any:
    """Return the `focal` loss of yes-no questions, summed over an example's outputs.

    Parameters
    ----------
    output, target
        As of `binary_cross_entropy`; targets are 0 and 1.
    gamma : float
        At least 0.
    alpha : float, optional
        Weight of the examples with target 1, between 0 and 1; that of the others is 1 - alpha.
    reduction : {"mean", "sum", "none"}

    Examples
    --------
    >>> from chainrule.nn import losses
    >>> losses.binary_focal([0.0, 5.0], [1, 1], reduction="none").round(4)
    array([0.1733, 0.    ])
    """
    gamma = number("gamma", gamma, at_least=0)
    output, target = _probabilities("binary_focal", output, target)
    losses = _focused(ops.binary_cross_entropy_with_logits(output, target), gamma)
    if alpha is not None:
        share = number("alpha", alpha, at_least=0, at_most=1)
        losses = losses * (share * target + (1 - share) * (1.0 - target))
    return reduced(_by_example(losses), reduction)


def _focused(losses: Any, gamma: float) -> Any:
    """Return cross entropies times (1 - p)^γ, p being e to the power of minus the cross entropy."""
    wrong = ops.relu(-np.expm1(-losses))  # not below 0 by rounding
    return losses * wrong**gamma if gamma else losses


@register("hinge", "binary", "multiclass")
def hinge(output: Any, target: Any, *, reduction: str = "mean") -> Any:
    """Return the margin loss of a support vector machine, one value per example; by default the mean over examples.

    For an output of shape (m,) or (m, 1): max(0, 1 - t z), targets t being -1 and 1, or 0 and 1. For (m, C) with class
    ids (or one-hot rows) y: Σ_{j≠y} max(0, 1 + z_j - z_y) (Weston & Watkins, 1999).

    Examples
    --------
    >>> from chainrule.nn import losses
    >>> losses.hinge([2.0, 0.5, -1.0], [1, 1, 1], reduction="none")
    array([0. , 0.5, 2. ])
    """
    output = _output(output)
    if output.ndim < 2 or output.shape[-1] == 1:
        output, target = _alike("hinge", output, target)
        values = _known(target)
        if values is not None and not (np.isin(values, (-1, 1)).all() or np.isin(values, (0, 1)).all()):
            raise ValueError(f"hinge: expected targets -1 and 1, or 0 and 1, got {_few(values)}")
        sign = np.where(np.greater(target, 0), output.dtype.type(1), output.dtype.type(-1))
        return reduced(_by_example(ops.relu(1.0 - sign * output)), reduction)
    hot = _classes("hinge", output, target)
    own = np.sum(output * hot, axis=-1, keepdims=True)
    return reduced(np.sum(ops.relu(output - own + 1.0) * (1.0 - hot), axis=-1), reduction)


def penalty(parameters: Mapping[str, Any], l1: float = 0.0, l2: float = 0.0) -> Any:
    """Return l1 Σ|W| + l2/2 Σ W² over the weights: the parameters with at least two axes, no biases or scales.

    The gradient of the second term is l2 · W: with plain SGD the same as a weight decay of l2.

    Parameters
    ----------
    parameters
        Path -> tensor or array.
    l1, l2 : float
        At least 0.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.nn import losses
    >>> float(losses.penalty({"0.weight": np.array([[1.0, -2.0]]), "0.bias": np.array([9.0])}, l2=0.1))
    0.25
    """
    l1, l2 = number("l1", l1, at_least=0), number("l2", l2, at_least=0)
    total: Any = 0.0
    for weight in parameters.values():
        if len(weight.shape) < 2:
            continue
        if l1:
            total = total + l1 * np.sum(np.absolute(weight))
        if l2:
            total = total + (0.5 * l2) * np.sum(np.square(weight))
    return total


def names(task: str | None = None) -> list[str]:
    """Return the names of the losses, or of those for one task.

    Examples
    --------
    >>> from chainrule.nn import losses
    >>> losses.names("binary")
    ['binary_cross_entropy', 'binary_focal', 'hinge']
    """
    return [name for name, known in NAMED.items() if task is None or task in known.tasks]


def get(loss: Any) -> Loss:
    """Return the loss that `loss` means: a name, or any callable ``(output, target) -> scalar``.

    A dict (or a tuple) is the loss of a model of several outputs: key -> loss, or (loss, weight). A
    custom callable is wrapped, so that a result that is not a scalar raises.

    Examples
    --------
    >>> from chainrule.nn import losses
    >>> losses.get("mse") is losses.mse
    True
    """
    if isinstance(loss, str):
        if loss not in NAMED:
            known = ", ".join(NAMED)
            raise ValueError(f"unknown loss {loss!r}; expected {known}, or a function (output, target) -> scalar")
        return NAMED[loss].function
    if isinstance(loss, Mapping | tuple | list):
        return SeveralLosses(loss if isinstance(loss, Mapping) else dict(enumerate(loss)), _named)
    if not callable(loss):
        raise TypeError(f"loss: expected a name ({', '.join(NAMED)}) or a function, got a {type(loss).__name__}")
    ready = any(loss is known.function for known in NAMED.values()) or hasattr(loss, "_chainrule_loss")
    return cast(Loss, loss) if ready else _checked(loss)


def _named(loss: Any) -> tuple[str, Loss]:
    return (loss if isinstance(loss, str) else name_of(loss)), get(loss)


def name_of(loss: Any) -> str:
    """Return the name of a function, of the one that a `partial` calls, or of the type of another callable."""
    found = getattr(loss, "__name__", None) or getattr(getattr(loss, "func", None), "__name__", type(loss).__name__)
    return str(found)


def _checked(loss: Loss) -> Loss:
    name = name_of(loss)

    @functools.wraps(loss, updated=())
    def scalar_loss(output: Any, target: Any, **more: Any) -> Any:
        value = loss(output, target, **more)
        if not hasattr(value, "shape") and not isinstance(value, int | float):
            raise TypeError(f"loss {name}: expected a scalar, got a {type(value).__name__}")
        if np.shape(value) != () and more.get("reduction") != "none":
            raise ValueError(f"loss {name}: expected a scalar, got shape {tuple(value.shape)}; take np.mean of it")
        return value

    scalar_loss._chainrule_loss = loss  # type: ignore[attr-defined]
    return scalar_loss


def activation_of(loss: Any) -> Callable[[Any], Any] | None:
    """Return the function that turns outputs into predictions; None where outputs are predictions."""
    if isinstance(loss, str):
        loss = get(loss)
    loss = getattr(loss, "_chainrule_loss", loss)
    while isinstance(loss, functools.partial):
        loss = loss.func
    return next((known.activation for known in NAMED.values() if known.function is loss), None)


def shares(loss: Any, output: Any, target: Any) -> Any:
    """Return how much each example counts in the mean of a loss; None where all count the same.

    Less than others count examples of classes with a small weight, and not at all those with an ``ignore_index``.

    Examples
    --------
    >>> import functools
    >>> import numpy as np
    >>> from chainrule.nn import losses
    >>> loss = functools.partial(losses.cross_entropy, ignore_index=-1)
    >>> losses.shares(loss, np.zeros((3, 2)), np.array([1, -1, 0]))
    array([1., 0., 1.])
    """
    if isinstance(loss, SeveralLosses):
        for key, part in loss.parts.items():
            if shares(part.given, *loss.pair(key, output, target)) is not None:
                raise ValueError(
                    f"loss[{key!r}] counts some examples more than others (ignore_index, weight), which sample_weight "
                    "and accumulate do not take together with other losses"
                )
        return None
    loss = getattr(loss, "_chainrule_loss", loss)
    settings: dict[str, Any] = {}
    while isinstance(loss, functools.partial):
        loss, settings = loss.func, {**loss.keywords, **settings}
    known = (named for name, named in NAMED.items() if loss == name or named.function is loss)
    function = next((named.shares for named in known), None)
    return None if function is None else function(output, target, **settings)


def output_activation(loss: Any) -> str:
    """Return the name of what turns outputs into predictions: "softmax", "sigmoid", "exp"; or "identity" for nothing.

    Examples
    --------
    >>> from chainrule.nn import losses
    >>> losses.output_activation("cross_entropy"), losses.output_activation("mse")
    ('softmax', 'identity')
    """
    return getattr(activation_of(loss) or ops.identity, "__name__", "custom")


def activation_called(name: str) -> Callable[[Any], Any]:
    """Return the output activation of that name; see `output_activation`."""
    known = (named.activation for named in NAMED.values() if named.activation is not None)
    return next((function for function in known if function.__name__ == name), ops.identity)


def activate(loss: Any, output: Any) -> Any:
    """Apply the output activation that belongs to `loss`: logits become probabilities, other outputs stay.

    Examples
    --------
    >>> from chainrule.nn import losses
    >>> float(losses.activate("binary_cross_entropy", 0.0))
    0.5
    """
    return (activation_of(loss) or ops.identity)(output)


def check_target(loss: Any, output_shape: tuple[int, ...], target: Any) -> None:
    """Raise what `loss` would raise for these targets and an output of `output_shape`.

    For training loops: while a step is traced, targets have no values to check.
    """
    if _is_known(loss):
        get(loss)(np.zeros(output_shape, np.float32), target, reduction="none")
    else:
        check_custom(loss, output_shape, target)


def check_custom(loss: Any, output_shape: tuple[int, ...], target: Any) -> None:
    """Raise if a loss that is not one of ours broadcasts all outputs against all targets. Ours compare the shapes."""
    if not _is_known(loss):
        target = target.value if isinstance(target, Tensor) else target
        check_pairs(get(loss), tuple(output_shape), np.asarray(target), f"loss {name_of(loss)}")


def _is_known(loss: Any) -> bool:
    return activation_of(loss) is not None or any(get(loss) is known.function for known in NAMED.values())


def reduced(losses: Any, reduction: str) -> Any:
    """Return the mean or the sum of losses, or (for ``"none"``) the losses themselves; for losses to end with."""
    if choice("reduction", reduction, ("mean", "sum", "none")) == "none":
        return losses
    return np.mean(losses) if reduction == "mean" else np.sum(losses)


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
    """Return output and target of one shape and dtype; (m,) and (m, 1) count as the same."""
    output, target = _output(output), _target(target)
    a, b = tuple(output.shape), tuple(target.shape)
    if a != b:
        if not (a == (*b, 1) or b == (*a, 1)):
            raise ValueError(f"{loss}: output has shape {a}, target {b}; they must be equal")
        target = np.reshape(target, a)
    _not_empty(loss, a)
    return output, as_dtype(target, output.dtype)


def _probabilities(loss: str, output: Any, target: Any) -> tuple[Any, Any]:
    """Return output and target, whose values lie between 0 and 1."""
    output, target = _alike(loss, output, target)
    values = _known(target)
    if values is not None and values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"{loss}: expected targets 0, 1 or probabilities between, got values from {values.min():g} to "
            f"{values.max():g}"
        )
    return output, target


def _class_weights(weight: Any, output: Any) -> Any:
    factors = _weights("cross_entropy: weight", weight, output)
    if factors.shape != output.shape[-1:]:
        raise ValueError(f"cross_entropy: weight has shape {factors.shape}, expected {tuple(output.shape[-1:])}")
    return factors


def _weights(argument: str, weight: Any, output: Any) -> Any:
    """Return weights as an array of the dtype of the output."""
    array = checked_array(weight, argument)
    if array.size and not array.min() >= 0:
        raise ValueError(f"{argument}: expected weights ≥ 0, got {array.min():g}")
    return array.astype(output.dtype)


def _not_empty(loss: str, shape: tuple[int, ...]) -> None:
    if 0 in shape:
        raise ValueError(f"{loss}: output has shape {shape}, expected at least one example")


def _classes(loss: str, output: Any, target: Any) -> Any:
    """Return targets as rows that sum to one, shaped like the output."""
    target = _target(target)
    a, b = tuple(output.shape), tuple(target.shape)
    if not a or a[-1] < 2:
        raise ValueError(
            f"{loss}: output has shape {a}, expected one column per class, at least 2 (binary_cross_entropy takes 1)"
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
                    f"{values.min():g}; expected rows that sum to 1, or class ids of shape {a[:-1]}"
                )
        return as_dtype(target, output.dtype)
    if b == (*a[:-1], 1):
        target = np.reshape(target, a[:-1])
    elif b != a[:-1]:
        raise ValueError(
            f"{loss}: output has shape {a}, target {b}; expected class ids of shape {a[:-1]} or rows of shape {a}"
        )
    if target.dtype.kind == "f":
        raise TypeError(f"{loss}: expected integers as class ids, got dtype {target.dtype}; y.astype(int) converts")
    values = _known(target)
    if values is not None:
        if values.max() >= a[-1]:
            raise ValueError(f"{loss}: labels reach {values.max()}, but the output has {a[-1]} columns")
        if values.min() < 0:
            raise ValueError(f"{loss}: expected class ids ≥ 0, got {values.min()}")
    if target.dtype.itemsize < 4:
        target = as_dtype(target, np.int64)
    return ops.one_hot(target, a[-1], output.dtype)


def _few(values: Any) -> str:
    found = np.unique(values)
    return ", ".join(f"{v:g}" for v in found[:6]) + (", …" if found.size > 6 else "")


def _by_example(losses: Any) -> Any:
    """Sum over all axes but the first."""
    return np.sum(losses, axis=tuple(range(1, losses.ndim))) if losses.ndim > 1 else losses
