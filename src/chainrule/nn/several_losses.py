"""A loss of several outputs: a weighted sum of the loss of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.arguments import number
from ..ops.table import as_dtype


@dataclass(frozen=True)
class Part:
    """The loss of one output: as it was given, its name, the function, and its weight."""

    given: Any
    name: str
    function: Callable[..., Any]
    weight: float


class SeveralLosses:
    """Σ weight · loss(output[key], target[key]) over the outputs of a model.

    Parameters
    ----------
    parts : mapping
        Key of an output -> loss, or (loss, weight).
    named : function
        Returns the name and the function of a loss.

    Attributes
    ----------
    parts : dict
        Key -> Part.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.nn import losses
    >>> both = losses.get({"width": "mse", "height": ("mae", 0.5)})
    >>> float(both({"width": np.ones(2), "height": np.ones(2)}, {"width": np.zeros(2), "height": np.zeros(2)}))
    1.5
    """

    _chainrule_loss = None  # as it is: its result is a scalar

    def __init__(self, parts: Mapping[Any, Any], named: Callable[[Any], tuple[str, Callable[..., Any]]]) -> None:
        if not parts:
            raise ValueError("loss is an empty dict; expected a loss for each output")
        self.parts: dict[Any, Part] = {}
        for key, given in parts.items():
            pair = given if isinstance(given, tuple) else (given, 1.0)
            if len(pair) != 2:
                raise ValueError(f"loss[{key!r}]: expected a loss or a pair (loss, weight), got {len(pair)} entries")
            try:
                name, function = named(pair[0])
            except (TypeError, ValueError) as error:
                raise type(error)(f"loss[{key!r}]: {error}") from None
            weight = number(f"the weight of loss[{key!r}]", pair[1], at_least=0)
            self.parts[key] = Part(pair[0], name, function, weight)

    @property
    def __name__(self) -> str:
        return " + ".join(
            f"{'' if part.weight == 1 else f'{part.weight:g} · '}{part.name}({key})" for key, part in self.parts.items()
        )

    def __call__(self, output: Any, target: Any, *, reduction: str = "mean") -> Any:
        """Return the sum of the losses; with ``reduction="none"`` one number per example."""
        total: Any = None
        how = {} if reduction == "mean" else {"reduction": reduction}
        for key, part in self.parts.items():
            value = part.function(*self.pair(key, output, target), **how)
            if reduction == "none" and len(value.shape) > 1:
                value = np.mean(np.reshape(value, (value.shape[0], -1)), axis=1)
            value = value if part.weight == 1 else part.weight * value
            total = value if total is None else total + as_dtype(value, total.dtype)
        return total

    def pair(self, key: Any, output: Any, target: Any) -> tuple[Any, Any]:
        """Return the output and the target of a part."""
        return _part(output, key, "the output"), _part(target, key, "the target")

    def unweighted(self, key: Any) -> Callable[[Any, Any], Any]:
        """Return the loss of one output, as a function of all outputs and targets."""
        return lambda output, target: self.parts[key].function(*self.pair(key, output, target))


def _part(nest: Any, key: Any, what: str) -> Any:
    if hasattr(nest, "shape"):
        raise TypeError(f"{what} is one array, the loss is a dict; expected a dict or a tuple with {key!r}")
    try:
        return nest[key]
    except (LookupError, TypeError):
        has = list(nest) if isinstance(nest, dict) else f"{len(nest)} entries"
        raise ValueError(f"loss[{key!r}]: {what} has {has}") from None
