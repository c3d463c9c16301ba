"""Convolutional layers: examples first, channels before space; weights (inputs, *size, outputs), as those of Linear."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..core.arguments import boolean, integer
from ..core.tensor import Parameter, Tensor
from ..ops.convolution import each, paddings
from ..ops.table import as_dtype
from . import init
from .describe import described
from .layers import called
from .naming import Layer, Namer


class _Convolution(Layer):
    """What the convolutions share: their settings, checked, and their parameters."""

    starts: bool = True
    roles: ClassVar[dict[str, str]] = {"weight": "W", "bias": "b"}
    gives: tuple[str, ...] = ("Z",)
    axes: ClassVar[int] = 2
    _lengths = ("in_channels", "out_channels")
    weight: Parameter
    bias: Parameter | None

    def _set_up(self, settings: Mapping[str, Any], inputs: int, outputs: int, made: Mapping[str, Any]) -> None:
        """Check and store the settings, and draw the parameters: `inputs` and `outputs` per group and in all."""
        for name, least in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("output_padding", 0)):
            if name in settings:
                setattr(self, name, each(name, settings[name], self.axes, least))
        self.weight_init: init.Initializer = init.get(made["weight_init"])
        self.bias_init: init.Initializer = init.get(made["bias_init"])
        area = math.prod(self.kernel_size)
        fans = {"fan_in": inputs * area, "fan_out": outputs * area, "dtype": made["dtype"], "seed": made["seed"]}
        first, last = self._ends()
        self.make_parameter("weight", (first, *self.kernel_size, last), self.weight_init, **fans)
        if boolean("bias", settings["bias"]):
            self.make_parameter("bias", (self.out_channels,), self.bias_init, **fans)
        else:
            self.bias = None

    in_channels: int
    out_channels: int
    groups: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Any

    def _ends(self) -> tuple[int, int]:
        """Return the first and the last length of the weight."""
        return self.in_channels // self.groups, self.out_channels

    def _groups(self, groups: Any) -> int:
        count = integer("groups", groups, at_least=1)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % count:
                raise ValueError(f"groups is {count}, expected a divisor of {name}, {getattr(self, name)}")
        return count

    @classmethod
    def _count_of(cls, settings: Mapping[str, Any]) -> int:
        area = math.prod(each("kernel_size", settings.get("kernel_size"), cls.axes))
        groups = integer("groups", settings.get("groups", 1), at_least=1)
        inputs, outputs = settings["in_channels"], settings["out_channels"]
        return int(inputs * outputs // groups * area + bool(settings.get("bias", True)) * outputs)

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim != self.axes + 2 or x.shape[1] != self.in_channels:
            space = ("length",) if self.axes == 1 else ("h", "w")
            expected = f"(m, {self.in_channels}, {', '.join(space)})"
            hint = "; X[:, None] adds an axis of channels" if x.ndim == self.axes + 1 else ""
            raise ValueError(f"{called(x)} has shape {x.shape}, {type(self).__name__} expects {expected}{hint}")
        checked: Tensor = as_dtype(x, self.weight.dtype)
        return checked

    def _shifted(self, out: Any, name: Namer) -> Tensor:
        if self.bias is not None:
            out = out + np.reshape(name("b", self.bias), (self.out_channels, *(1,) * self.axes))
        return name("Z", out)

    def _signature(self) -> str:
        parts = [str(self.in_channels), str(self.out_channels), f"kernel_size={_short(self.kernel_size)}"]
        for name, plain in (("stride", 1), ("padding", 0), ("output_padding", 0), ("dilation", 1), ("groups", 1)):
            value = getattr(self, name, plain)
            if value not in (plain, (plain,) * self.axes):
                parts.append(f"{name}={_short(value)}")
        return ", ".join(parts) + ("" if self.bias is not None else ", bias=False")


def _short(value: Any) -> str:
    """Return a setting as text: one number where it is the same for all axes."""
    same = isinstance(value, tuple) and len(set(value)) == 1
    return repr(value[0] if same else value)


class _Correlation(_Convolution):
    """The convolution of networks."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        weight_init: Any = "he_uniform",
        bias_init: Any = "zeros",
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.in_channels: int = integer("in_channels", in_channels, at_least=1)
        self.out_channels: int = integer("out_channels", out_channels, at_least=1)
        self.groups: int = self._groups(groups)
        made = {"weight_init": weight_init, "bias_init": bias_init, "dtype": dtype, "seed": seed}
        settings = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation, "bias": bias}
        self._set_up(settings, self.in_channels // self.groups, self.out_channels // self.groups, made)
        paddings(padding, self.kernel_size, self.stride, self.dilation)
        self.padding: Any = padding if isinstance(padding, str) else each("padding", padding, self.axes, 0)

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Compute Z."""
        settings = {n: getattr(self, n) for n in ("stride", "padding", "dilation", "groups")}
        return self._shifted(ops.conv(self._checked(x), name("W", self.weight), **settings), name)


@described
class Conv1d(_Correlation):
    """The convolution Z = X ⋆ W + b along one axis; the filters are not reversed.

    Parameters
    ----------
    in_channels, out_channels : int
        X has shape (m, in_channels, length), Z (m, out_channels, places); W is
        (in_channels / groups, kernel_size, out_channels), b (out_channels,).
    kernel_size, stride, dilation : int
        Of the windows: their length, the distance of their places, and that of the elements within one.
    padding : int, "same" or "valid"
        Zeros before and after the axis; "same" keeps its length.
    groups : int
        Channels and filters are cut into this many groups; each filter sees the channels of its group.
    bias : bool
        Whether there is a b.
    weight_init, bias_init
        Initialisers of ``nn.init``, by name or as callables. Default: He uniform (variance 2 / inputs of a window) and
        zeros.
    dtype
        float32 (default) or float64.
    seed : int, optional
        Fixes the initial weights; without it they depend on the layer's place in the network.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> layer = nn.Conv1d(1, 1, 3, weight_init="ones")
    >>> layer(np.array([[[1.0, 2.0, 3.0, 4.0]]])).value
    array([[[6., 9.]]], dtype=float32)
    """

    axes = 1


@described
class Conv2d(_Correlation):
    """The convolution Z = X ⋆ W + b along two axes; the filters are not reversed.

    Parameters
    ----------
    in_channels, out_channels : int
        X has shape (m, in_channels, h, w), Z (m, out_channels, places, places); W is
        (in_channels / groups, *kernel_size, out_channels), b (out_channels,).
    kernel_size, stride, dilation : int or (int, int)
        Of the windows: their lengths, the distance of their places, and that of the elements within one.
    padding : int, (int, int), "same" or "valid"
        Zeros before and after each axis; "same" keeps the lengths.
    groups : int
        Channels and filters are cut into this many groups; each filter sees the channels of its group.
    bias : bool
        Whether there is a b.
    weight_init, bias_init
        Initialisers of ``nn.init``, by name or as callables. Default: He uniform (variance 2 / inputs of a window) and
        zeros.
    dtype
        float32 (default) or float64.
    seed : int, optional
        Fixes the initial weights; without it they depend on the layer's place in the network.

    Raises
    ------
    ValueError
        In the call, for another number of channels, or a kernel that does not fit into the padded input.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
    >>> model.value_names()
    ['A0', 'W1', 'b1', 'Z1', 'A1', 'P1']
    >>> model(np.zeros((32, 1, 28, 28))).shape
    (32, 6, 14, 14)
    """

    axes = 2


@described
class ConvTranspose2d(_Convolution):
    """The transposed convolution: each element of X adds its filter, scaled, to a larger output.

    Parameters
    ----------
    in_channels, out_channels : int
        X has shape (m, in_channels, h, w), Z (m, out_channels, …); W is
        (in_channels, *kernel_size, out_channels / groups), b (out_channels,).
    kernel_size, stride, padding, dilation : int or (int, int)
        Of the convolution that this one is the transpose of.
    output_padding : int or (int, int)
        Added to the lengths of the output, smaller than the stride.
    groups : int
        Channels are cut into this many groups.
    bias : bool
        Whether there is a b.
    weight_init, bias_init
        Initialisers of ``nn.init``, by name or as callables. Default: He uniform and zeros.
    dtype
        float32 (default) or float64.
    seed : int, optional
        Fixes the initial weights; without it they depend on the layer's place in the network.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> nn.ConvTranspose2d(8, 4, 2, stride=2)(np.zeros((1, 8, 7, 7))).shape
    (1, 4, 14, 14)
    """

    axes = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        *,
        weight_init: Any = "he_uniform",
        bias_init: Any = "zeros",
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.in_channels: int = integer("in_channels", in_channels, at_least=1)
        self.out_channels: int = integer("out_channels", out_channels, at_least=1)
        self.groups: int = self._groups(groups)
        self.padding: Any = each("padding", padding, self.axes, 0)
        made = {"weight_init": weight_init, "bias_init": bias_init, "dtype": dtype, "seed": seed}
        settings = {"kernel_size": kernel_size, "stride": stride, "output_padding": output_padding, "bias": bias}
        inputs, outputs = self.in_channels // self.groups, self.out_channels // self.groups
        self._set_up({**settings, "dilation": dilation}, inputs, outputs, made)

    output_padding: tuple[int, ...]

    def _ends(self) -> tuple[int, int]:
        return self.in_channels, self.out_channels // self.groups

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Compute Z."""
        settings = {n: getattr(self, n) for n in ("stride", "padding", "output_padding", "dilation", "groups")}
        return self._shifted(ops.conv_transpose(self._checked(x), name("W", self.weight), **settings), name)
