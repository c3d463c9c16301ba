"""Keyword arguments that users of PyTorch and Keras type: what there is instead, for the errors on unknown ones."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_SCALED = "leave it out: the layer scales and shifts; write an nn.Module for one that does not"
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
    "padding_idx": "leave padding_idx out: set that row to zero, and mask its positions in the loss",
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
    "in_dims": "in_dims is in_axes here",
    "out_dims": "out_dims is out_axes here",
    "size_average": 'size_average is reduction="mean" or "sum" here',
    "reduce": _ONE_WAY,
    "weight": 'weights of examples or classes: fit(sample_weight=…), or multiply the losses of reduction="none"',
    "pos_weight": 'weights of examples or classes: fit(sample_weight=…), or multiply the losses of reduction="none"',
    "ignore_index": 'choose the examples by a mask: the losses of reduction="none" times the mask',
    "label_smoothing": "smooth the targets: (1 - s) * cr.one_hot(ids, classes) + s / classes",
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
