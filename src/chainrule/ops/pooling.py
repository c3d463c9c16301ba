"""Pooling over windows of the last axes, and what changes their lengths: padding with zeros, upsampling."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.arguments import boolean, choice
from ..core.notation import call
from ..core.op import Array, Example, Operation, Shape, register
from .convolution import each, letters_of, paddings, positions
from .index import place
from .table import array_of, as_dtype, dtype_of, floating, shape_of
from .windows import in_out, places, windows

# -- the largest element of each window: the first of them, where there are several ------------------------------------


def _max_pool(x: Any, size: Any, stride: Any, dilation: Any, padding: Any) -> Any:
    """Return the largest element of each window; padding is never chosen."""
    n = len(size)
    lead = x.ndim - n
    x = np.pad(x, (*((0, 0),) * lead, *padding), constant_values=-np.inf)
    reach = [dilation[i] * (size[i] - 1) + 1 for i in range(n)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, (*range(lead, lead + n),))
    windows = windows[(*[slice(None)] * lead, *[slice(None, None, s) for s in (*stride, *dilation)])]
    return np.max(windows, axis=(*range(-n, 0),))


def _first_largest(x: Any, size: Any, stride: Any, dilation: Any, padding: Any) -> Any:
    """Return the largest element of each window, of several the first; padding is never chosen."""
    n = len(size)
    lead = x.ndim - n
    x = np.pad(x, (*((0, 0),) * lead, *padding), constant_values=-np.inf)
    reach = [dilation[i] * (size[i] - 1) + 1 for i in range(n)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, (*range(lead, lead + n),))
    windows = windows[(*[slice(None)] * lead, *[slice(None, None, s) for s in (*stride, *dilation)])]
    elements = np.reshape(windows, (*windows.shape[: x.ndim], int(np.prod(size))))
    first = np.argmax(elements, axis=-1)
    return np.take_along_axis(elements, first[..., None], axis=-1)[..., 0]


def _unpool(g: Any, x: Any, size: Any, stride: Any, dilation: Any, padding: Any) -> Any:
    """Return zeros like x, with g added where the largest element of each window of x is."""
    n, places = len(size), g.shape[x.ndim - len(size) :]
    lead = x.ndim - n
    wide = np.pad(x, (*((0, 0),) * lead, *padding), constant_values=-np.inf)
    reach = [dilation[i] * (size[i] - 1) + 1 for i in range(n)]
    windows = np.lib.stride_tricks.sliding_window_view(wide, reach, (*range(lead, lead + n),))
    windows = windows[(*[slice(None)] * lead, *[slice(None, None, s) for s in (*stride, *dilation)])]
    first = np.argmax(np.reshape(windows, (*g.shape, int(np.prod(size)))), axis=-1)
    total = np.zeros(wide.shape, g.dtype)
    for number, k in enumerate(np.ndindex(size)):
        at = [dilation[i] * k[i] for i in range(n)]
        where = [slice(at[i], at[i] + stride[i] * places[i], stride[i]) for i in range(n)]
        total[(*[slice(None)] * lead, *where)] += np.where(first == number, g, g.dtype.type(0))
    kept = [slice(padding[i][0], padding[i][0] + x.shape[lead + i]) for i in range(n)]
    return total[(*[slice(None)] * lead, *kept)]


def _pool_like(v: Any, x: Any, size: Any, stride: Any, dilation: Any, padding: Any) -> Any:
    """Return, for each window, the element of v that stands where the largest element of x is."""
    n = len(size)
    lead = x.ndim - n
    reach = [dilation[i] * (size[i] - 1) + 1 for i in range(n)]
    of_both = []
    for array, fill in ((v, 0), (x, -np.inf)):
        wide = np.pad(array, (*((0, 0),) * lead, *padding), constant_values=fill)
        windows = np.lib.stride_tricks.sliding_window_view(wide, reach, (*range(lead, lead + n),))
        windows = windows[(*[slice(None)] * lead, *[slice(None, None, s) for s in (*stride, *dilation)])]
        of_both += [np.reshape(windows, (*windows.shape[: x.ndim], int(np.prod(size))))]
    first = np.argmax(of_both[1], axis=-1)
    return np.take_along_axis(of_both[0], first[..., None], axis=-1)[..., 0]


def _pooled_shape(x: Any, size: Any, stride: Any, dilation: Any, padding: Any) -> tuple[Shape, np.dtype[Any]]:
    n = len(size)
    space = x.shape[len(x.shape) - n :]
    if len(x.shape) < n:
        raise ValueError(f"pooling: x has shape {tuple(x.shape)}, expected (…, *space) with {n} axes in space")
    wide = [d + sum(p) for d, p in zip(space, padding, strict=True)]
    out = tuple([places(*axis) for axis in zip(wide, size, stride, dilation, strict=True)])
    if 0 in out:
        raise ValueError(
            f"pooling: windows of {tuple(size)}, dilation {tuple(dilation)}, do not fit into {tuple(space)} with "
            f"padding {tuple(padding)}"
        )
    return (*x.shape[: len(x.shape) - n], *out), x.dtype


def _numbers(size: Any, stride: Any, dilation: Any, padding: Any) -> list[int]:
    return [*size, *stride, *dilation, *(p for p, _ in padding)]


_CASES = (
    ((2, 5, 6), {"size": (2, 3), "stride": (2, 3), "dilation": (1, 1), "padding": ((0, 1), (1, 0))}),
    ((2, 1, 7), {"size": (3,), "stride": (1,), "dilation": (2,), "padding": ((0, 0),)}),
    ((0, 4), {"size": (2,), "stride": (2,), "dilation": (1,), "padding": ((0, 0),)}),
)


def _examples(arrays: str) -> Any:
    def examples(rng: np.random.Generator) -> list[Example]:
        made = []
        for shape, attrs in _CASES:
            x = rng.permutation(math.prod(shape)).reshape(shape) / 4 + rng.uniform(0, 0.1, shape)  # no two are near
            pooled, _ = _pooled_shape(x, **attrs)
            drawn = {"x": x, "v": rng.normal(size=shape), "g": rng.normal(size=pooled)}
            made.append(Example(tuple([drawn[name] for name in arrays]), attrs))
        return made

    return examples


def _largest(size: Any, stride: Any, dilation: Any, padding: Any) -> tuple[str, str, str]:
    at, (p, u, _) = positions(stride, dilation, padding), letters_of(len(size))
    return f"…, {p}", f"max {{0}}[…, {', '.join(at)}]", u


def _to_the_largest(size: Any, **attrs: Any) -> tuple[str, str, str]:
    p, _, r = letters_of(len(size))
    return f"…, {r}", f"Σ {{0}}[…, {p}]", f"the windows {p} whose largest element (the first of several) is at {r}"


MAX_POOL: Operation = register(
    "max_pool",
    shape=_pooled_shape,
    kernel=in_out(_max_pool),
    numpy=_first_largest,  # source that differentiates to the same
    vjp=(lambda g, out, x, **attrs: apply(UNPOOL, (g, x), attrs),),
    batch=lambda batched, x, **attrs: apply(MAX_POOL, (x,), attrs),
    native=lambda out, x, **attrs: _numbers(**attrs),
    notation=call("maxpool"),
    entry=_largest,
    examples=_examples("x"),
    flops=lambda out, x, size, **attrs: math.prod(out) * math.prod(size),
)
UNPOOL: Operation = register(
    "unpool",
    shape=lambda g, x, **attrs: (tuple(x.shape), g.dtype),
    kernel=in_out(_unpool),
    numpy=_unpool,
    vjp=(lambda g, out, of, x, **attrs: apply(POOL_LIKE, (g, x), attrs), None),
    batch=lambda batched, g, x, **attrs: apply(UNPOOL, (g, x), attrs) if all(batched) else None,
    native=lambda out, g, x, **attrs: _numbers(**attrs),
    notation=call("unpool"),
    entry=_to_the_largest,
    examples=_examples("gx"),
    flops=lambda out, g, x, size, **attrs: math.prod(g) * math.prod(size),
)
POOL_LIKE: Operation = register(
    "pool_like",
    shape=lambda v, x, **attrs: (_pooled_shape(x, **attrs)[0], v.dtype),
    kernel=in_out(_pool_like),
    numpy=_pool_like,
    vjp=(lambda g, out, v, x, **attrs: apply(UNPOOL, (g, x), attrs), None),
    batch=lambda batched, v, x, **attrs: apply(POOL_LIKE, (v, x), attrs) if all(batched) else None,
    native=lambda out, v, x, **attrs: _numbers(**attrs),
    notation=call("pool like"),
    examples=_examples("vx"),
    flops=lambda out, v, x, size, **attrs: math.prod(out) * math.prod(size),
)


def max_pool(x: Any, size: Any, *, stride: Any = None, padding: Any = 0, dilation: Any = 1, n: int = 2) -> Any:
    """Return the largest element of each window of the last `n` axes.

    The derivative goes to the first of several largest elements. Padding is never the largest.

    Parameters
    ----------
    x : (…, *space)
    size, stride, dilation : int or tuple of int
        Of the windows; the stride is by default the size.
    padding : int, tuple of int or of pairs
        Positions before and after each axis.
    n : int
        The number of axes.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import ops
    >>> ops.max_pool(np.array([[1.0, 4.0, 2.0, 3.0]]), 2, n=1)
    array([[4., 3.]])
    """
    x, size = floating(array_of(x)), each("size", size, n)
    return apply(MAX_POOL, (x,), _windowed(x, size, stride, padding, dilation))


def _windowed(x: Any, size: tuple[int, ...], stride: Any, padding: Any, dilation: Any) -> dict[str, Any]:
    n = len(size)
    stride, dilation = each("stride", size if stride is None else stride, n), each("dilation", dilation, n)
    attrs = {"size": size, "stride": stride, "dilation": dilation}
    attrs["padding"] = paddings(padding, size, stride, dilation)
    _pooled_shape(x, **attrs)
    return attrs


def avg_pool(
    x: Any,
    size: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    count_include_pad: bool = True,
    n: int = 2,
) -> Any:
    """Return the mean of each window of the last `n` axes.

    Parameters
    ----------
    x : (…, *space)
    size, stride, dilation : int or tuple of int
        Of the windows; the stride is by default the size.
    padding : int, tuple of int or of pairs
        Zeros before and after each axis.
    count_include_pad : bool
        Whether the zeros count in the mean.
    n : int
        The number of axes.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import ops
    >>> ops.avg_pool(np.array([[1.0, 4.0, 2.0, 3.0]]), 2, n=1)
    array([[2.5, 2.5]])
    """
    x, size = floating(array_of(x)), each("size", size, n)
    attrs = _windowed(x, size, stride, padding, dilation)
    shape, pads = shape_of(x), attrs["padding"]
    within = tuple(range(-n, 0))

    def summed(values: Any) -> Any:
        lead = len(shape_of(values)) - n
        axes = tuple(range(lead, lead + n))
        return np.sum(windows(zero_pad(values, pads), axes, size, attrs["stride"], attrs["dilation"]), axis=within)

    if boolean("count_include_pad", count_include_pad) or not any(map(any, pads)):
        return summed(x) / math.prod(size)
    return summed(x) / as_dtype(summed(np.ones(shape[len(shape) - n :])), dtype_of(x))


def zero_pad(x: Any, padding: Any) -> Any:
    """Return `x` with zeros before and after its last axes, one pair (before, after) for each.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import ops
    >>> ops.zero_pad(np.array([[1.0, 2.0]]), ((0, 0), (1, 2)))
    array([[0., 1., 2., 0., 0.]])
    """
    shape = shape_of(x)
    pads = paddings(padding, (1,) * len(padding), (1,) * len(padding), (1,) * len(padding))
    if not any(map(any, pads)):
        return x
    full = [(0, 0)] * (len(shape) - len(pads)) + list(pads)
    index = tuple([
        slice(pair[0], pair[0] + d) if any(pair) else slice(None) for pair, d in zip(full, shape, strict=True)
    ])  # fmt: skip
    return place(x, index, tuple([before + d + after for (before, after), d in zip(full, shape, strict=True)]))


# -- other lengths -----------------------------------------------------------------------------------------------------


def adaptive_avg_pool(x: Any, size: Any, n: int = 2) -> Any:
    """Return the means over windows that cover the last `n` axes evenly, so that these have the lengths `size`.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import ops
    >>> ops.adaptive_avg_pool(np.array([[1.0, 2.0, 3.0]]), 2, n=1)
    array([[1.5, 2.5]])
    """
    x, size = floating(array_of(x)), each("size", size, n)
    shape = shape_of(x)
    space = shape[len(shape) - n :]
    if len(shape) < n or 0 in space:
        raise ValueError(f"adaptive_avg_pool: x has shape {tuple(shape)}, expected (…, *space) with {n} axes in space")
    if size == (1,) * n:
        return np.mean(x, axis=tuple(range(-n, 0)), keepdims=True)
    if all(d % k == 0 for d, k in zip(space, size, strict=True)):
        return avg_pool(x, tuple([d // k for d, k in zip(space, size, strict=True)]), n=n)
    return _along_axes(x, [_means(d, k) for d, k in zip(space, size, strict=True)])


def _means(length: int, count: int) -> Array:
    """Return the matrix (length, count) of means over windows that cover an axis evenly."""
    first = np.arange(count) * length // count
    last = -(-(np.arange(count) + 1) * length // count)
    at = np.arange(length)[:, None]
    means: Array = ((at >= first) & (at < last)) / (last - first)
    return means


def _along_axes(x: Any, matrices: list[Array]) -> Any:
    """Return `x` multiplied along each of its last axes by a matrix."""
    n = len(matrices)
    for k, matrix in enumerate(matrices):
        axis = k - n
        x = np.swapaxes(np.matmul(np.swapaxes(x, axis, -1), as_dtype(matrix, dtype_of(x))), axis, -1)
    return x


def upsample(x: Any, size: Any, *, mode: str = "nearest", align_corners: bool = False, n: int = 2) -> Any:
    """Return `x` with the lengths `size` of its last `n` axes, by the nearest elements or by interpolation.

    Parameters
    ----------
    x : (…, *space)
    size : int or tuple of int
    mode : "nearest" or "linear"
        "linear" interpolates along each of the axes: on two axes it is bilinear.
    align_corners : bool
        Of "linear": whether the first and last elements keep their places.
    n : int
        The number of axes.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import ops
    >>> ops.upsample(np.array([1.0, 2.0]), 4, n=1)
    array([1., 1., 2., 2.])
    >>> ops.upsample(np.array([1.0, 2.0]), 4, mode="linear", n=1)
    array([1.  , 1.25, 1.75, 2.  ])
    """
    x, size = floating(array_of(x)), each("size", size, n)
    choice("mode", mode, ("nearest", "linear"))
    space = shape_of(x)[len(shape_of(x)) - n :]
    if len(space) < n or 0 in space:
        raise ValueError(f"upsample: x has shape {tuple(shape_of(x))}, expected (…, *space) with {n} axes in space")
    if mode == "linear":
        return _along_axes(x, [_interpolation(d, k, align_corners) for d, k in zip(space, size, strict=True)])
    for k, (d, new) in enumerate(zip(space, size, strict=True)):
        if new % d:
            x = np.take(x, np.arange(new) * d // new, axis=k - n)
        elif new != d:
            axis = len(shape_of(x)) - n + k + 1
            before, after = shape_of(x)[:axis], shape_of(x)[axis:]
            apart = np.reshape(x, (*before, 1, *after))
            x = np.reshape(np.broadcast_to(apart, (*before, new // d, *after)), (*before[:-1], new, *after))
    return x


def _interpolation(length: int, count: int, align_corners: bool) -> Array:
    """Return the matrix (length, count) of linear interpolation along an axis."""
    if align_corners:
        at = np.arange(count) * ((length - 1) / max(count - 1, 1))
    else:
        at = np.maximum((np.arange(count) + 0.5) * (length / count) - 0.5, 0)
    weights: Array = np.maximum(0, 1 - np.abs(np.minimum(at, length - 1) - np.arange(length)[:, None]))
    return weights
