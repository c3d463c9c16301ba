"""Pooling, padding and upsampling: layers without parameters that change the lengths of the axes in space."""

from __future__ import annotations

from typing import Any, ClassVar

from .. import ops
from ..core.arguments import boolean, choice, unexpected
from ..core.tensor import Tensor
from ..ops.convolution import each
from .describe import described
from .layers import called
from .naming import Layer, Namer


class _OfSpace(Layer):
    """A layer of the last `axes` axes of (m, channels, *space)."""

    axes: ClassVar[int] = 2

    def compute(self, x: Tensor, name: Namer) -> Tensor:
        """Return the input with other lengths in space."""
        if x.ndim != self.axes + 2:
            space = "length" if self.axes == 1 else "h, w"
            raise ValueError(f"{called(x)} has shape {x.shape}, {type(self).__name__} expects (m, channels, {space})")
        out = self.function(x)
        return name(self.gives[0], out) if self.gives else out

    def function(self, x: Tensor) -> Any:
        """Compute the output. To be written by subclasses."""
        raise TypeError(f"{type(self).__name__} has no method function(self, x)")

    def _signature(self) -> str:
        shown = {k: v for k, v in self.__dict__.items() if not k.startswith("_") and k != "training" and v is not None}
        return ", ".join(f"{k}={_short(v)}" for k, v in shown.items() if v not in (False, *_PLAIN.get(k, ())))


#: What the repr leaves out.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "padding": ((0,), (0, 0)),
    "dilation": ((1,), (1, 1)),
    "count_include_pad": (True,),
}


def _short(value: Any) -> str:
    same = isinstance(value, tuple) and len(set(value)) == 1
    return repr(value[0] if same else value)


class _Pool(_OfSpace):
    gives: tuple[str, ...] = ("P",)
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    def _set_up(self, kernel_size: Any, stride: Any, padding: Any) -> None:
        self.kernel_size = each("kernel_size", kernel_size, self.axes)
        self.stride = each("stride", self.kernel_size if stride is None else stride, self.axes)
        self.padding = each("padding", padding, self.axes, 0)
        if any(2 * p > k for k, p in zip(self.kernel_size, self.padding, strict=True)):
            raise ValueError(f"padding is {padding}, expected at most half of kernel_size, {kernel_size}")


class _MaxPool(_Pool):
    """The largest element of each window."""

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> None:
        self._set_up(kernel_size, stride, padding)
        self.dilation: tuple[int, ...] = each("dilation", dilation, self.axes)

    def function(self, x: Tensor) -> Any:
        """Compute P."""
        settings = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return ops.max_pool(x, self.kernel_size, n=self.axes, **settings)


@described
class MaxPool1d(_MaxPool):
    """The largest element of each window along the last axis; its gradient goes to the first of several.

    Parameters
    ----------
    kernel_size : int
        X has shape (m, channels, length).
    stride : int, optional
        By default the kernel_size.
    padding : int
        Positions before and after the axis, which are never the largest; at most half of the kernel_size.
    dilation : int
        The distance of the elements within a window.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.MaxPool1d(2)([[[1.0, 4.0, 2.0, 3.0]]]).value
    array([[[4., 3.]]])
    """

    axes = 1


@described
class MaxPool2d(_MaxPool):
    """The largest element of each window along the last two axes; its gradient goes to the first of several.

    Parameters
    ----------
    kernel_size : int or (int, int)
        X has shape (m, channels, h, w).
    stride : int or (int, int), optional
        By default the kernel_size.
    padding : int or (int, int)
        Positions before and after each axis, which are never the largest; at most half of the kernel_size.
    dilation : int or (int, int)
        The distance of the elements within a window.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.MaxPool2d(2)([[[[1.0, 4.0], [2.0, 3.0]]]]).value
    array([[[[4.]]]])
    """

    axes = 2


class _AvgPool(_Pool):
    """The mean of each window."""

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, *, count_include_pad: bool = True
    ) -> None:
        self._set_up(kernel_size, stride, padding)
        self.count_include_pad: bool = boolean("count_include_pad", count_include_pad)

    def function(self, x: Tensor) -> Any:
        """Compute P."""
        counted = self.count_include_pad
        settings = {"stride": self.stride, "padding": self.padding}
        return ops.avg_pool(x, self.kernel_size, n=self.axes, count_include_pad=counted, **settings)


@described
class AvgPool1d(_AvgPool):
    """The mean of each window along the last axis.

    Parameters
    ----------
    kernel_size : int
        X has shape (m, channels, length).
    stride : int, optional
        By default the kernel_size.
    padding : int
        Zeros before and after the axis.
    count_include_pad : bool
        Whether these count in the mean.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.AvgPool1d(2)([[[1.0, 4.0, 2.0, 3.0]]]).value
    array([[[2.5, 2.5]]])
    """

    axes = 1


@described
class AvgPool2d(_AvgPool):
    """The mean of each window along the last two axes.

    Parameters
    ----------
    kernel_size : int or (int, int)
        X has shape (m, channels, h, w).
    stride : int or (int, int), optional
        By default the kernel_size.
    padding : int or (int, int)
        Zeros before and after each axis.
    count_include_pad : bool
        Whether these count in the mean.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.AvgPool2d(2)([[[[1.0, 4.0], [2.0, 3.0]]]]).value
    array([[[[2.5]]]])
    """

    axes = 2


@described
class AdaptiveAvgPool2d(_OfSpace):
    """Means over windows that cover the last two axes evenly, so that the output has given lengths.

    Parameters
    ----------
    output_size : int or (int, int)
        1 is the mean over all positions.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.AdaptiveAvgPool2d(1)([[[[1.0, 4.0], [2.0, 3.0]]]]).value
    array([[[[2.5]]]])
    """

    gives: tuple[str, ...] = ("P",)

    def __init__(self, output_size: Any) -> None:
        self.output_size: tuple[int, ...] = each("output_size", output_size, self.axes)

    def function(self, x: Tensor) -> Any:
        """Compute P."""
        return ops.adaptive_avg_pool(x, self.output_size, self.axes)


@described
class ZeroPad2d(_OfSpace):
    """Adds zeros around the last two axes.

    Parameters
    ----------
    padding : int or (left, right, top, bottom)

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.ZeroPad2d((1, 0, 0, 1))([[[[5.0]]]]).value
    array([[[[0., 5.],
             [0., 0.]]]])
    """

    def __init__(self, padding: Any) -> None:
        self.padding: tuple[int, ...] = each("padding", padding, 4, 0)

    def function(self, x: Tensor) -> Any:
        """Return x with zeros around it."""
        left, right, top, bottom = self.padding
        return ops.zero_pad(x, ((top, bottom), (left, right)))


@described
class Upsample(_OfSpace):
    """Enlarges the last two axes, by repeating the nearest elements or by interpolation.

    Parameters
    ----------
    size : int or (int, int), optional
        The lengths of the output; or else:
    scale_factor : int or (int, int), optional
        What the lengths are multiplied by.
    mode : "nearest" or "bilinear"
    align_corners : bool
        Of "bilinear": whether the corners keep their places.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.Upsample(scale_factor=2)([[[[1.0, 2.0]]]]).value
    array([[[[1., 1., 2., 2.],
             [1., 1., 2., 2.]]]])
    """

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise unexpected("size", "either size or scale_factor", (size, scale_factor))
        self.size: tuple[int, ...] | None = None if size is None else each("size", size, self.axes)
        self.scale_factor: tuple[int, ...] | None = None
        if scale_factor is not None:
            self.scale_factor = each("scale_factor", scale_factor, self.axes)
        self.mode: str = choice("mode", mode, ("nearest", "bilinear"))
        self.align_corners: bool = boolean("align_corners", align_corners)

    def function(self, x: Tensor) -> Any:
        """Return x, enlarged."""
        factors = self.scale_factor or (1,) * self.axes
        size = self.size or tuple([d * f for d, f in zip(x.shape[-self.axes :], factors, strict=True)])
        mode = "linear" if self.mode == "bilinear" else self.mode
        return ops.upsample(x, size, mode=mode, align_corners=self.align_corners)
