"""Keyword arguments that users of PyTorch and Keras type: what there is instead, for the errors on unknown ones."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_SCALED = "leave it out: the layer scales and shifts; write an nn.Module for one that does not"
_CAUSAL = "a mask of later positions is causal=True, given when the layer is made; key_padding_mask hides padding"
_ONE_WAY = 'leave it out; losses of each example are reduction="none"'

#: The name of an argument -> what is said of it.
KEYWORDS = {
    "dim": "dim is axis in NumPy",
    "dims": "dims is axes in NumPy",
    "keepdim": "keepdim is keepdims in NumPy",
    "unbiased": "unbiased is ddof=1 (True) or ddof=0 (False) in NumPy",
    "descending": "descending is [::-1] of the sorted values in NumPy",
    "start_dim": "to join all axes but the first: x.reshape(len(x), -1)",
    "num_classes": "num_classes is classes here",
    "negative_slope": "negative_slope is slope here",
    "normalized_shape": "normalized_shape is features here, the length of the last axis",
    "num_features": "num_features is features here",
    "num_embeddings": "num_embeddings is rows here",
    "embedding_dim": "embedding_dim is dimensions here",
    "num_channels": "num_channels is features here",
    "num_parameters": "the number of parameters is the first argument, features",
    "batch_first": "leave batch_first out: examples are always the first axis, (m, T, features)",
    "padding_mode": "leave padding_mode out: padding is zeros; np.pad(X, …, mode) pads with others",
    "ceil_mode": "leave ceil_mode out: windows lie within the padded input; ZeroPad2d or np.pad enlarges it",
    "return_indices": "leave return_indices out: the gradient goes to the largest element without them",
    "divisor_override": "leave divisor_override out, and scale the result",
    "proj_size": "leave proj_size out: a Linear layer after it projects all states",
    "need_weights": "need_weights is return_weights here",
    "attn_mask": _CAUSAL,
    "mask": _CAUSAL,
    "src_mask": _CAUSAL,
    "is_causal": "is_causal is causal=True here, given when the layer is made",
    "src_key_padding_mask": "src_key_padding_mask is key_padding_mask here",
    "hx": "hx is state here",
    "unroll": "leave unroll out",
    "affine": _SCALED,
    "elementwise_affine": _SCALED,
    "track_running_stats": "leave it out: running statistics are kept",
    "inplace": "leave inplace out: layers do not write into their input",
    "beta": "use cr.softplus(beta * x) / beta",
    "retain_graph": "leave retain_graph out: backward may be called again",
    "create_graph": "leave create_graph out: derivatives of derivatives are cr.grad(cr.grad(f)), cr.hessian, cr.hvp",
    "set_to_none": "leave set_to_none out: gradients become None",
    "device": "leave device out: the CPU is the only one",
    "non_blocking": "leave non_blocking out",
    "criterion": "criterion is loss here",
    "lr": "the rate belongs to the optimiser: optimizer=optim.Adam(1e-3)",
    "learning_rate": "the rate belongs to the optimiser: optimizer=optim.Adam(1e-3)",
    "validation_data": "validation_data is validation=(X, y) here",
    "validation_split": "validation_split is validation=0.2 here",
    "verbose": "verbose is progress=True or False here",
    "num_epochs": "num_epochs is epochs here",
    "n_epochs": "n_epochs is epochs here",
    **dict.fromkeys(
        ("accumulation_steps", "gradient_accumulation_steps"), "gradients are added up by accumulate= here"
    ),
    "ema_decay": "ema_decay is ema here",
    **dict.fromkeys(
        ("clip_norm", "clip_value", "max_grad_norm"), "the optimiser clips: optim.Adam(1e-3, clip_norm=1.0)"
    ),
    "class_weight": "weights of classes are an argument of the loss: functools.partial(losses.cross_entropy, weight=…)",
    "in_dims": "in_dims is in_axes here",
    "out_dims": "out_dims is out_axes here",
    "size_average": 'size_average is reduction="mean" or "sum" here',
    "reduce": _ONE_WAY,
    **dict.fromkeys(
        ("weight", "pos_weight"),
        "weights of examples are fit(sample_weight=…); losses.cross_entropy takes weights of classes, "
        "binary_cross_entropy a pos_weight",
    ),
    "ignore_index": 'losses.cross_entropy takes it; else choose the examples by a mask: the losses of reduction="none" '
    "times the mask",
    "label_smoothing": "losses.cross_entropy takes it; else smooth the targets: (1 - s) * cr.one_hot(ids, classes) + "
    "s / classes",
    **dict.fromkeys(("maximize", "foreach", "fused", "capturable"), "leave it out"),
    **dict.fromkeys(("mode", "fullgraph", "dynamic", "backend"), 'leave it out; engine= is "native" or "numpy"'),
}


def renamed(keywords: Iterable[str]) -> str:
    """Return the end of a message on unknown keyword arguments: what there is instead of those that are known."""
    return "".join(f"; {text}" for text in dict.fromkeys(KEYWORDS[name] for name in keywords if name in KEYWORDS))


def translated(error: TypeError, keywords: Iterable[str]) -> TypeError:
    """Return an error on keyword arguments with what there is instead of them."""
    said = renamed(keywords) if "keyword argument" in str(error) else ""
    return TypeError(f"{error}{said}") if said and said not in str(error) else error


def translates(function: F) -> F:
    """Decorate a function: its error on an unknown keyword argument says what there is instead."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            unknown = [name for name in kwargs if name not in inspect.signature(function).parameters]
            if not unknown:
                raise
            raise translated(error, unknown) from None

    return called  # type: ignore[return-value]


def refuse(kind: type, given: Iterable[str]) -> None:
    """Raise for keyword arguments of a constructor that it does not have, if there is something instead."""
    if known := [name for name in given if name in KEYWORDS]:
        accepted = inspect.signature(kind.__init__).parameters  # type: ignore[misc]
        if unknown := [name for name in known if name not in accepted]:
            raise TypeError(f"{kind.__name__} does not take {', '.join(unknown)}{renamed(unknown)}")
