"""`coefs_` and `intercepts_`: lists of the layers' arrays, in which an assignment changes the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from ..core.arrays import checked_array
from ..core.op import Array
from ..core.tensor import Parameter


class LayerArrays(list[Array]):
    """The weights or the biases of a network, layer by layer.

    An element is the array that the network computes with, so writing into it takes effect; so does assigning an
    element, which is copied into the dtype of the network. The number of layers is fixed.

    Parameters
    ----------
    name : str
        The attribute, for messages.
    parameters : sequence of Parameter
    """

    def __init__(self, name: str, parameters: Sequence[Parameter]) -> None:
        self._name, self._parameters = name, parameters
        super().__init__(_array(p) for p in parameters)

    def replace(self, values: Any) -> None:
        """Assign all layers' arrays; none if one of them does not fit."""
        values = list(values)
        if len(values) != len(self):
            raise ValueError(f"{self._name}: expected {len(self)} arrays, one per layer, got {len(values)}")
        arrays = []
        for i, (value, parameter) in enumerate(zip(values, self._parameters, strict=True)):
            array = checked_array(value, f"{self._name}[{i}]")
            if array.shape != parameter.shape:
                raise ValueError(
                    f"{self._name}[{i}]: expected an array of shape {parameter.shape}, got shape {array.shape}"
                )
            arrays.append(array)
        for i, (old, array, parameter) in enumerate(zip(self, arrays, self._parameters, strict=True)):
            if array is not old:
                parameter.assign(array)
                super().__setitem__(i, _array(parameter))

    def __setitem__(self, key: Any, value: Any) -> None:
        new: list[Any] = list(self)
        new[key] = value
        self.replace(new)

    def _fixed(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            f"{self._name} has one array for each of the {len(self)} layers: assign elements, or change "
            "hidden_layer_sizes and fit again"
        )

    append = extend = insert = pop = remove = clear = sort = reverse = _fixed
    __delitem__ = __iadd__ = __imul__ = _fixed

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return list, (list(self),)  # a copy is a list of its own: writing to it must not change this network


def _array(parameter: Parameter) -> Array:
    return parameter.concrete("coefs_ or intercepts_")
