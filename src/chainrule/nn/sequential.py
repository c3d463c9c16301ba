"""`Sequential`, modules one after another with the literature's names on every value, and `Residual`."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

from ..core.tensor import Parameter, Tensor
from ..frames import as_inputs
from ..ops.table import as_dtype
from . import losses
from .activations import NAMED
from .describe import described
from .module import Module
from .naming import Layer, Numbering, labels


@described
class Sequential(Module):
    """Modules applied one after another.

    Values are named: A0 is the input; each `Linear` begins a layer l with W{l}, b{l}, Z{l}; the activation after it
    gives A{l} (without one, A{l} is Z{l} itself), dropout D{l} with its scaled mask M{l}. Nested Sequentials continue
    the count. Gradients are then called dW1, dZ1, ….

    Supports ``len``, iteration, ``model[0]``, slices (a Sequential of the same layers, not copies) and `append`.

    Parameters
    ----------
    *layers
        Modules, or one list of them.

    Examples
    --------
    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    >>> model
    Sequential()
      (0) Linear(784, 128)  weight (784, 128), bias (128,)  100,480
      (1) ReLU()
      (2) Linear(128, 10)   weight (128, 10), bias (10,)      1,290
    101,770 parameters, float32
    >>> model.value_names()
    ['A0', 'W1', 'b1', 'Z1', 'A1', 'W2', 'b2', 'Z2']
    """

    _takes_one = True
    _nests = True

    def __init__(self, *layers: Module | Iterable[Module]) -> None:
        given: list[Any] = list(layers)
        if len(given) == 1 and isinstance(given[0], Iterable) and not isinstance(given[0], Module | Mapping):
            given = list(given[0])
        for i, layer in enumerate(given):
            _check(layer, i)
        self._layers: list[Module] = given
        self._label()

    def _label(self) -> None:
        _label(self)

    def append(self, layer: Module) -> Sequential:
        """Add a module at the end; return this Sequential."""
        _check(layer, len(self._layers))
        self._layers.append(layer)
        self._adopt()
        self._label()
        return self

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Module:
        """Return a layer, or a Sequential of the same layers."""
        if isinstance(index, slice):
            part = Sequential.__new__(Sequential)
            object.__setattr__(part, "_layers", self._layers[index])  # no registration: weights and names stay
            part.__dict__["training"] = self.training
            if part._layers[:1] == self._layers[:1]:  # it takes the same columns
                part.__dict__["feature_names"] = self.feature_names
            return part
        i = operator.index(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"layer {i} of a Sequential of {len(self)}")
        return self._layers[i]

    def _as_input(self, x: Any, position: int) -> Any:
        if isinstance(x, dict) and position == 0:  # columns: no layer takes anything else of it
            x, _ = as_inputs(x, "X", self.feature_names)
        return super()._as_input(x, position)

    def forward(self, X: Any) -> Any:
        """Apply the layers to X."""
        return self._run(X.named("A0") if X.op is not None or X.name else _as_input(X), Numbering())

    def _run(self, x: Tensor, numbering: Numbering) -> Tensor:
        return _through(self._layers, x, numbering)

    def value_names(self) -> list[str]:
        """Return the names of the values in the order of computation: A0, W1, b1, Z1, A1 and so on."""
        return ["A0", *[label for _, _, label in labels(self)]]

    def config(self) -> dict[str, Any]:
        """Return the architecture as JSON-able data."""
        return {"type": "Sequential", "layers": [layer.config() for layer in self._layers]}


@described
class Residual(Module):
    """Adds a module's output to its input: X + module(X).

    Parameters
    ----------
    module : Module
        Its output has the shape of its input. Source: He et al., "Deep residual learning for image recognition", 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> block = nn.Residual(nn.Sequential(nn.Linear(2, 2, weight_init="ones"), nn.ReLU()))
    >>> block(np.array([[1.0, 2.0]])).value
    array([[4., 5.]], dtype=float32)
    """

    _takes_one = True
    _nests = True

    def __init__(self, module: Module) -> None:
        _check(module, 0)
        self._layers: list[Module] = [module]
        _label(self)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._layers)

    def forward(self, X: Any) -> Any:
        """Return X plus the module's output for X."""
        return self._run(X, Numbering())

    def _run(self, x: Tensor, numbering: Numbering) -> Tensor:
        out = _through(self._layers, x, numbering)
        if out.shape != x.shape:
            raise ValueError(f"Residual: the module returned shape {out.shape}, expected that of its input, {x.shape}")
        return as_dtype(x, out.dtype) + out  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        """Return the architecture as JSON-able data."""
        return {"type": "Residual", "layers": [layer.config() for layer in self._layers]}


def _label(network: Iterable[Module]) -> None:
    """Give the parameters their names."""
    for layer, attribute, label in labels(network):
        if attribute:
            parameter = getattr(layer, attribute)
            if isinstance(parameter, Parameter):
                parameter.name = label


def _through(layers: Iterable[Module], x: Tensor, numbering: Numbering) -> Tensor:
    """Apply layers one after another, each naming its values."""
    for layer in layers:
        if isinstance(layer, Layer):
            numbering.enter(layer)
            x = layer.compute(x, numbering.name)
        elif isinstance(layer, Sequential | Residual):
            x = layer._run(x, numbering)
        else:
            x = layer(x)
    return x


def _as_input(x: Tensor) -> Tensor:
    """Return a leaf called A0 with the value of `x`; the caller's own tensor keeps its (missing) name."""
    if x.value is not None and not x.recordings:
        return Tensor(x.value, name="A0")
    return x.named("A0")


def _check(layer: Any, position: int) -> None:
    if not isinstance(layer, Module):
        if isinstance(layer, Mapping):
            raise TypeError("layers of a Sequential have no names of their own: nn.Sequential(*layers.values())")
        hint = f"{layer.__name__}()" if isinstance(layer, type) and issubclass(layer, Module) else "a module"
        raise TypeError(f"layer {position} of Sequential: expected {hint}, got {layer!r}")


def logits_part(model: Module, loss: Any) -> Module:
    """Return the part of `model` whose output `loss` takes.

    The losses on logits apply sigmoid or softmax themselves, stably. A `Sequential` that ends in that very layer is
    the same network: the loss is then taken of the layer's input, and its gradient there is (A - Y) / m.
    """
    end = NAMED.get(losses.output_activation(loss))
    if end is not None and isinstance(model, Sequential) and len(model) > 1 and type(model[-1]) is end:
        return model[:-1]
    return model
