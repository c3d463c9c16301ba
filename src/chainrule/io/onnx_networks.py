"""ONNX's activations, normalisations and losses, as functions of tensors or arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops
from ..core.tensor import Tensor
from ..ops.table import as_dtype, dtype_of, shape_of
from .onnx_arguments import integers, only

# -- activations -------------------------------------------------------------------------------------------------------


def hard_sigmoid(x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    """Return alpha · x + beta, limited to the range from 0 to 1."""
    return np.clip(alpha * x + beta, 0, 1)


def softmax(x: Any, *, axis: int | None = None, opset: int) -> Any:
    """Return the softmax along an axis; before opset 13, over this axis and all after it."""
    return ops.softmax(x, _softmax_axes(x, axis, opset))


def log_softmax(x: Any, *, axis: int | None = None, opset: int) -> Any:
    """Return the log-softmax, over the same axes as `softmax`."""
    return ops.log_softmax(x, _softmax_axes(x, axis, opset))


def _softmax_axes(x: Any, axis: int | None, opset: int) -> Any:
    if opset >= 13:
        return -1 if axis is None else axis
    ndim = len(shape_of(x))
    return tuple(range((1 if axis is None else axis) % ndim, ndim))


def hardmax(x: Any, *, axis: int | None = None, opset: int) -> Any:
    """Return 1 at the first largest element, 0 elsewhere, over the same axes as `softmax`."""
    axes = _softmax_axes(x, axis, opset)
    shape = shape_of(x)
    if isinstance(axes, tuple):
        x = np.reshape(x, (*shape[: axes[0]], -1))
    at = -1 if isinstance(axes, tuple) else axes % len(shape)
    places = np.reshape(np.arange(shape_of(x)[at]), (-1, *(1,) * (len(shape_of(x)) - at % len(shape_of(x)) - 1)))
    first = np.equal(np.argmax(x, axis=at, keepdims=True), places)
    return np.reshape(as_dtype(first, dtype_of(x)), shape)


def shrink(x: Any, *, bias: float = 0.0, lambd: float = 0.5) -> Any:
    """Move elements towards zero by a bias; those between -lambd and lambd become zero."""
    zero = np.zeros((), dtype_of(x))
    return as_dtype(np.where(x < -lambd, x + bias, np.where(x > lambd, x - bias, zero)), dtype_of(x))


def dropout(
    x: Any, ratio_: Any = None, training: Any = None, *, ratio: float = 0.5, seed: int = 0, outputs: int
) -> Any:
    """Return x and what is kept of it: inference mode, the only one supported, drops nothing."""
    if isinstance(training, Tensor):
        raise ValueError("training_mode is computed, or an input of the graph; only the constant False is supported")
    if training is not None:
        only(training_mode=(bool(integers(training, "training_mode")[0]), False))
    return (x, np.ones(shape_of(x), bool))[:outputs]


# -- normalisation -----------------------------------------------------------------------------------------------------


def _of_channels(x: Any, *vectors: Any) -> list[Any]:
    """Return vectors with one element per channel so that they broadcast with x."""
    return [np.reshape(v, (-1,) + (1,) * (len(shape_of(x)) - 2)) for v in vectors]


def batch_normalization(
    x: Any, scale: Any, bias: Any, mean: Any, variance: Any, *, epsilon: float = 1e-5, momentum: float = 0.9,
    training_mode: int = 0, spatial: int = 1, outputs: int,
) -> Any:  # fmt: skip
    """Normalise each channel (axis 1) by the running statistics; in training mode by its own, which change these."""
    only(spatial=(spatial, 1))
    after = []
    if training_mode:
        axes = (0, *range(2, len(shape_of(x))))
        now = np.mean(x, axis=axes), np.var(x, axis=axes)
        after = [old * momentum + new * (1 - momentum) for old, new in zip((mean, variance), now, strict=True)]
        mean, variance = now
    scale, bias, mean, variance = _of_channels(x, scale, bias, mean, variance)
    return ((x - mean) / np.sqrt(variance + epsilon) * scale + bias, *after)[:outputs]


def _normalised(x: Any, axes: tuple[int, ...], epsilon: float) -> tuple[Any, Any, Any]:
    """Return x with mean 0 and variance 1 over axes, the mean, and what it was multiplied by."""
    mean = np.mean(x, axis=axes, keepdims=True)
    inverse = 1 / np.sqrt(np.mean(np.square(x - mean), axis=axes, keepdims=True) + epsilon)
    return (x - mean) * inverse, mean, inverse


def layer_normalization(
    x: Any, scale: Any, bias: Any = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1, outputs: int
) -> Any:
    """Normalise over `axis` and all axes after it; return the means and inverse deviations, too."""
    ndim = len(shape_of(x))
    out, mean, inverse = _normalised(x, tuple(range(axis % ndim, ndim)), epsilon)
    return (out * scale if bias is None else out * scale + bias, mean, inverse)[:outputs]


def rms_normalization(x: Any, scale: Any, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1) -> Any:
    """Divide by the root of the mean square over `axis` and all axes after it."""
    ndim = len(shape_of(x))
    axes = tuple(range(axis % ndim, ndim))
    return x / np.sqrt(np.mean(np.square(x), axis=axes, keepdims=True) + epsilon) * scale


def instance_normalization(x: Any, scale: Any, bias: Any, *, epsilon: float = 1e-5) -> Any:
    """Normalise each channel of each example over space."""
    scale, bias = _of_channels(x, scale, bias)
    return _normalised(x, tuple(range(2, len(shape_of(x)))), epsilon)[0] * scale + bias


def group_normalization(
    x: Any, scale: Any, bias: Any, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1, opset: int
) -> Any:
    """Normalise each group of channels; before opset 21, scale and bias belong to groups."""
    m, channels, *space = shape_of(x)
    if opset < 21:
        scale, bias = (np.repeat(v, channels // num_groups) for v in (scale, bias))
    apart = np.reshape(x, (m, num_groups, channels // num_groups, *space))
    out = np.reshape(_normalised(apart, tuple(range(2, len(space) + 3)), epsilon)[0], (m, channels, *space))
    scale, bias = _of_channels(x, scale, bias)
    return out * scale + bias


def local_response(x: Any, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Any:
    """Divide by a power of the sum of squares over neighbouring channels."""
    channels, before = shape_of(x)[1], (size - 1) // 2
    before, after = min(before, channels), min(size - 1 - before, channels)  # beyond, there are zeros alone
    padded = ops.zero_pad(np.square(x), ((before, after), *((0, 0),) * (len(shape_of(x)) - 2)))
    around = np.sum(np.lib.stride_tricks.sliding_window_view(padded, before + 1 + after, 1), axis=-1)
    return x / np.power(bias + alpha / size * around, beta)


def lp_normalization(x: Any, *, axis: int = -1, p: int = 2) -> Any:
    """Divide by the norm along an axis; zeros stay zeros."""
    norm = np.sum(np.abs(x), axis=axis, keepdims=True) if p == 1 else np.linalg.norm(x, axis=axis, keepdims=True)
    return x / np.where(np.equal(norm, 0), 1, norm)


def mean_variance_normalization(x: Any, *, axes: Any = (0, 2, 3)) -> Any:
    """Normalise over axes; 1e-9 is added to the deviation."""
    centred = x - np.mean(x, axis=tuple(axes), keepdims=True)
    return centred / (np.sqrt(np.mean(np.square(centred), axis=tuple(axes), keepdims=True)) + 1e-9)


# -- losses ------------------------------------------------------------------------------------------------------------


def nll_loss(
    log_probabilities: Any, target: Any, weight: Any = None, *, ignore_index: int | None = None,
    reduction: bytes = b"mean",
) -> Any:  # fmt: skip
    """Return the negative log-likelihood of class ids; the classes are on axis 1."""
    dtype = dtype_of(log_probabilities)
    counts = None if ignore_index is None else np.not_equal(target, ignore_index)
    target = target if counts is None else np.where(counts, target, 0)
    picked = np.take_along_axis(log_probabilities, np.expand_dims(target, 1), axis=1)
    weights = None if weight is None else np.take(weight, target)
    if counts is not None:
        weights = as_dtype(counts, dtype) * (1 if weights is None else weights)
    loss = -np.squeeze(picked, 1)
    loss = loss if weights is None else loss * weights
    if reduction == b"none":
        return loss
    if reduction == b"sum":
        return np.sum(loss)
    only(reduction=(reduction, b"mean"))
    return np.mean(loss) if weights is None else np.sum(loss) / np.sum(weights)


def softmax_cross_entropy(
    scores: Any, labels: Any, weights: Any = None, *, ignore_index: int | None = None, reduction: bytes = b"mean",
    outputs: int,
) -> Any:  # fmt: skip
    """Return the negative log-likelihood under the softmax along axis 1, and the log-probabilities."""
    log_probabilities = ops.log_softmax(scores, 1)
    loss = nll_loss(log_probabilities, labels, weights, ignore_index=ignore_index, reduction=reduction)
    return (loss, log_probabilities)[:outputs]


#: Operator -> function.
NETWORKS: dict[str, Callable[..., Any]] = {
    "BatchNormalization": batch_normalization,
    "Celu": lambda x, *, alpha=1.0: np.maximum(x, 0) + np.minimum(alpha * np.expm1(np.minimum(x, 0) / alpha), 0),
    "Dropout": dropout,
    "Elu": lambda x, *, alpha=1.0: ops.elu(x, alpha),
    "Gelu": lambda x, *, approximate=b"none": ops.gelu(x, approximate == b"tanh"),
    "GroupNormalization": group_normalization,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": lambda x: x * hard_sigmoid(x, alpha=1 / 6),
    "Hardmax": hardmax,
    "InstanceNormalization": instance_normalization,
    "LRN": local_response,
    "LayerNormalization": layer_normalization,
    "LeakyRelu": lambda x, *, alpha=0.01: ops.leaky_relu(x, alpha),
    "LogSoftmax": log_softmax,
    "LpNormalization": lp_normalization,
    "MeanVarianceNormalization": mean_variance_normalization,
    "Mish": lambda x: x * np.tanh(ops.softplus(x)),
    "NegativeLogLikelihoodLoss": nll_loss,
    "PRelu": lambda x, slope: np.where(np.greater(x, 0), x, slope * x),
    "RMSNormalization": rms_normalization,
    "Selu": lambda x, *, alpha=1.6732632423543772, gamma=1.0507009873554805: gamma * ops.elu(x, alpha),
    "Shrink": shrink,
    "Softmax": softmax,
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy,
    "Softsign": lambda x: x / (1.0 + np.absolute(x)),
    "Swish": lambda x, *, alpha=1.0: x * ops.sigmoid(alpha * x),
    "ThresholdedRelu": lambda x, *, alpha=1.0: np.where(x > alpha, x, np.zeros((), dtype_of(x))),
}
