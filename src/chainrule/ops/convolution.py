"""Convolution and its two adjoints: three rows, each of which is the derivative of the others.

All take the attributes of a convolution: per axis in space a stride, a dilation and a padding before and after, and the
number of groups of channels. ``x`` is (examples, channels, *space), ``y`` (examples, filters, *places) and ``w``
(channels / groups, *size, filters).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.apply import apply
from ..core.arguments import choice, integer, unexpected
from ..core.notation import infix
from ..core.op import Example, Operation, Shape, register
from .table import array_of, as_dtype, floating, shape_of
from .windows import in_out, places

# -- the rows ----------------------------------------------------------------------------------------------------------


def _conv(x: Any, w: Any, stride: Any, dilation: Any, padding: Any, groups: Any) -> Any:
    """Return the products of every window of x with every filter of w."""
    n, m, filters, size = x.ndim - 2, x.shape[0], w.shape[-1], w.shape[1:-1]
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    reach = [dilation[i] * (size[i] - 1) + 1 for i in range(n)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, (*range(2, 2 + n),))
    windows = windows[(slice(None), slice(None), *[slice(None, None, s) for s in (*stride, *dilation)])]
    places = windows.shape[2 : 2 + n]
    windows = np.reshape(windows, (m, groups, w.shape[0], *places, *size))
    windows = np.transpose(windows, (0, 1, *range(3, 3 + n), 2, *range(3 + n, 3 + 2 * n)))
    filters_by_group = np.reshape(w, (w.shape[0] * int(np.prod(size)), groups, filters // groups))
    columns = np.transpose(filters_by_group, (1, 0, 2))
    y = np.reshape(windows, (m, groups, int(np.prod(places)), columns.shape[1])) @ columns
    return np.reshape(np.swapaxes(y, 2, 3), (m, filters, *places))


def _conv_input(y: Any, w: Any, space: Any, stride: Any, dilation: Any, padding: Any, groups: Any) -> Any:
    """Return what every element of x gets from y, through all windows that it is in."""
    n, m, filters, size, places = y.ndim - 2, y.shape[0], w.shape[-1], w.shape[1:-1], y.shape[2:]
    columns = np.reshape(w, (w.shape[0] * int(np.prod(size)), groups, filters // groups))
    rows = np.swapaxes(np.reshape(y, (m, groups, filters // groups, int(np.prod(places)))), 2, 3)
    windows = np.reshape(rows @ np.transpose(columns, (1, 2, 0)), (m, groups, *places, w.shape[0], *size))
    wide = [space[i] + padding[i][0] + padding[i][1] for i in range(n)]
    x = np.zeros((m, groups, w.shape[0], *wide), y.dtype)
    for k in np.ndindex(size):
        first = [dilation[i] * k[i] for i in range(n)]
        where = [slice(first[i], first[i] + stride[i] * places[i], stride[i]) for i in range(n)]
        x[(slice(None), slice(None), slice(None), *where)] += np.moveaxis(windows[(..., *k)], -1, 2)
    kept = [slice(padding[i][0], padding[i][0] + space[i]) for i in range(n)]
    return np.reshape(x, (m, groups * w.shape[0], *wide))[(slice(None), slice(None), *kept)]


def _conv_weight(x: Any, y: Any, size: Any, stride: Any, dilation: Any, padding: Any, groups: Any) -> Any:
    """Return the products of every window of x with y at its place, added over examples and places."""
    n, m, channels, filters, places = x.ndim - 2, x.shape[0], x.shape[1] // groups, y.shape[1], y.shape[2:]
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    reach = [dilation[i] * (size[i] - 1) + 1 for i in range(n)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, (*range(2, 2 + n),))
    windows = windows[(slice(None), slice(None), *[slice(None, None, s) for s in (*stride, *dilation)])]
    windows = np.reshape(windows, (m, groups, channels, *places, *size))
    windows = np.transpose(windows, (1, 2, *range(3 + n, 3 + 2 * n), 0, *range(3, 3 + n)))
    count, total = m * int(np.prod(places)), channels * int(np.prod(size))
    columns = np.moveaxis(np.reshape(y, (m, groups, filters // groups, int(np.prod(places)))), 0, 2)
    columns = np.reshape(columns, (groups, filters // groups, count))
    w = np.reshape(windows, (groups, total, count)) @ np.swapaxes(columns, 1, 2)
    return np.reshape(np.swapaxes(w, 0, 1), (channels, *size, filters))


def _conv_shape(x: Any, w: Any, stride: Any, dilation: Any, padding: Any, groups: int) -> tuple[Shape, np.dtype[Any]]:
    space, size = x.shape[2:], w.shape[1:-1]
    _check_channels(x.shape, w.shape, groups)
    wide = [d + sum(p) for d, p in zip(space, padding, strict=True)]
    out = tuple([places(*axis) for axis in zip(wide, size, stride, dilation, strict=True)])
    if 0 in out:
        raise ValueError(
            f"conv: a kernel of {tuple(size)}, dilation {tuple(dilation)}, does not fit into {tuple(space)} with "
            f"padding {tuple(padding)}"
        )
    return (x.shape[0], w.shape[-1], *out), x.dtype


def _check_channels(x: Shape, w: Shape, groups: int) -> None:
    if len(x) != len(w) or len(x) < 3:
        raise ValueError(
            f"conv: x has shape {tuple(x)}, expected (examples, channels, *space); w has shape {tuple(w)}, expected "
            "(channels / groups, *size, filters)"
        )
    if x[1] != w[0] * groups or w[-1] % groups:
        raise ValueError(
            f"conv: x has {x[1]} channels and w {w[0]} in {groups} group(s), with {w[-1]} filters; expected "
            "channels = groups × those of w, and filters divisible by groups"
        )


_PLACES, _OFFSETS, _POSITIONS = "pqo", "uvw", "rst"


def positions(stride: Any, dilation: Any, padding: Any) -> list[str]:
    """Return where an element of a window is along each axis, in letters: "2p + u − 1" for place p and offset u."""
    found = []
    for axis, (s, d, (before, _)) in enumerate(zip(stride, dilation, padding, strict=True)):
        place, offset = (f"{n if n > 1 else ''}{letters[axis]}" for n, letters in ((s, _PLACES), (d, _OFFSETS)))
        found.append(f"{place} + {offset}" + (f" − {before}" if before else ""))
    return found


def letters_of(n: int) -> tuple[str, str, str]:
    """Return the letters of places, of offsets in a window, and of positions in an image: "p, q", "u, v", "r, s"."""
    return ", ".join(_PLACES[:n]), ", ".join(_OFFSETS[:n]), ", ".join(_POSITIONS[:n])


def _entry(which: int) -> Any:
    """Return one element of a convolution's output, its input's or its weight's gradient."""

    def entry(stride: Any, dilation: Any, padding: Any, groups: int, **more: Any) -> tuple[str, str, str] | None:
        if groups != 1 or len(stride) > len(_PLACES):
            return None
        at, (p, u, r) = positions(stride, dilation, padding), letters_of(len(stride))
        padded = ", zeros outside" if any(sum(side) for side in padding) else ""
        if which == 0:
            return f"i, k, {p}", f"Σ {{0}}[i, c, {', '.join(at)}] {{1}}[c, {u}, k]", f"c, {u}{padded}"
        if which == 1:
            where = ", ".join(f"{a} = {x}" for a, x in zip(at, _POSITIONS, strict=False))
            return f"i, c, {r}", f"Σ {{0}}[i, k, {p}] {{1}}[c, {u}, k]", f"k and all {p}, {u} with {where}"
        return f"c, {u}, k", f"Σ {{0}}[i, c, {', '.join(at)}] {{1}}[i, k, {p}]", f"i, {p}{padded}"

    return entry


def _batch(row: Any) -> Any:
    """Return how a row whose first input has examples computes a batch of them: as more examples."""

    def batch(batched: tuple[bool, bool], x: Any, w: Any, **attrs: Any) -> Any:
        if batched != (True, False):
            return None
        made = apply(row(), (np.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:])), w), attrs)
        return np.reshape(made, (*x.shape[:2], *made.shape[1:]))

    return batch


def _numbers(stride: Any, dilation: Any, padding: Any, groups: int) -> list[int]:
    return [*stride, *dilation, *(p for p, _ in padding), groups]


def _examples(arrays: Any, **more: Any) -> Any:
    """Return the function of a row's examples; `arrays` draws the inputs for (x, y, w) shapes."""
    cases: list[tuple[Shape, Shape, dict[str, Any]]] = [
        ((2, 2, 5, 6), (2, 2, 2, 3), {"stride": (1, 2), "dilation": (2, 1), "padding": ((1, 0), (0, 1)), "groups": 1}),
        ((1, 4, 5), (2, 3, 2), {"stride": (1,), "dilation": (1,), "padding": ((1, 1),), "groups": 2}),
        ((2, 1, 4, 4), (1, 3, 3, 1), {"stride": (3, 3), "dilation": (1, 1), "padding": ((2, 2), (0, 0)), "groups": 1}),
        ((0, 1, 3), (1, 2, 2), {"stride": (1,), "dilation": (1,), "padding": ((0, 0),), "groups": 1}),
    ]

    def examples(rng: np.random.Generator) -> list[Example]:
        made = []
        for x, w, attrs in cases:
            y, _ = _conv_shape(np.empty(x), np.empty(w), **attrs)
            known = {"space": x[2:], "size": w[1:-1]}
            inputs = tuple([rng.normal(size={"x": x, "y": y, "w": w}[name]) for name in arrays])
            made.append(Example(inputs, {**{k: known[k] for k in more if more[k]}, **attrs}))
        return made

    return examples


CONV: Operation = register(
    "conv",
    shape=_conv_shape,
    kernel=in_out(_conv),
    numpy=_conv,
    vjp=(
        lambda g, out, x, w, **attrs: apply(CONV_INPUT, (g, w), {"space": tuple(x.shape[2:]), **attrs}),
        lambda g, out, x, w, **attrs: apply(CONV_WEIGHT, (x, g), {"size": tuple(w.shape[1:-1]), **attrs}),
    ),
    batch=_batch(lambda: CONV),
    native=lambda out, x, w, **attrs: _numbers(**attrs),
    notation=infix("⋆"),
    entry=_entry(0),
    examples=_examples("xw"),
    flops=lambda out, x, w, **attrs: 2 * math.prod(out) * math.prod(w[:-1]),
)
CONV_INPUT: Operation = register(
    "conv_input",
    shape=lambda y, w, space, groups, **attrs: ((y.shape[0], w.shape[0] * groups, *space), y.dtype),
    kernel=in_out(_conv_input),
    numpy=_conv_input,
    vjp=(
        lambda g, out, y, w, space, **attrs: apply(CONV, (g, w), attrs),
        lambda g, out, y, w, space, **attrs: apply(CONV_WEIGHT, (g, y), {"size": tuple(w.shape[1:-1]), **attrs}),
    ),
    batch=_batch(lambda: CONV_INPUT),
    native=lambda out, y, w, space, **attrs: _numbers(**attrs),
    notation=infix("∗"),
    entry=_entry(1),
    examples=_examples("yw", space=True),
    flops=lambda out, y, w, **attrs: 2 * math.prod(y) * math.prod(w[:-1]),
)
CONV_WEIGHT: Operation = register(
    "conv_weight",
    shape=lambda x, y, size, groups, **attrs: ((x.shape[1] // groups, *size, y.shape[1]), x.dtype),
    kernel=in_out(_conv_weight),
    numpy=_conv_weight,
    vjp=(
        lambda g, out, x, y, size, **attrs: apply(CONV_INPUT, (y, g), {"space": tuple(x.shape[2:]), **attrs}),
        lambda g, out, x, y, size, **attrs: apply(CONV, (x, g), attrs),
    ),
    native=lambda out, x, y, size, **attrs: _numbers(**attrs),
    notation=infix("⋆"),
    entry=_entry(2),
    examples=_examples("xy", size=True),
    flops=lambda out, x, y, **attrs: 2 * math.prod(y) * math.prod(out[:-1]),
)

# -- the functions -----------------------------------------------------------------------------------------------------


def each(name: str, value: Any, n: int, at_least: int = 1) -> tuple[int, ...]:
    """Return a setting of each of `n` axes: one integer for all of them, or one for each."""
    if not isinstance(value, list | tuple):
        return (integer(name, value, at_least=at_least, alternative=f" or {n} of them"),) * n
    if len(value) != n:
        raise unexpected(name, f"an integer or {n} of them", value)
    return tuple([integer(name, v, at_least=at_least) for v in value])


def paddings(
    padding: Any, size: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], ...]:
    """Return the elements to add before and after each axis: by number, by pairs, or "same" and "valid"."""
    n = len(size)
    if isinstance(padding, str):
        choice("padding", padding, ("same", "valid"), alternative=", or integers")
        if padding == "valid":
            return ((0, 0),) * n
        if any(s != 1 for s in stride):
            raise ValueError(f"padding='same' needs stride 1, got {tuple(stride)}")
        whole = [d * (k - 1) for k, d in zip(size, dilation, strict=True)]
        return tuple([(w // 2, w - w // 2) for w in whole])
    if isinstance(padding, list | tuple) and padding and all(isinstance(p, list | tuple) for p in padding):
        if len(padding) != n:
            raise unexpected("padding", f"{n} pairs", padding)
        pairs = [each("padding", p, 2, 0) for p in padding]
        return tuple([(before, after) for before, after in pairs])
    return tuple([(p, p) for p in each("padding", padding, n, 0)])


def conv(x: Any, w: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Any:
    """Return the correlation of `x` with filters: ``y[m, f] = Σ over c and k of x[m, c, place + k] w[c, k, f]``.

    This is what networks call a convolution; the filters are not reversed.

    Parameters
    ----------
    x : (examples, channels, *space)
    w : (channels / groups, *size, filters)
        As many axes in space as `x`.
    stride, dilation : int or tuple of int
        Of the windows' places, and of the elements within one.
    padding : int, tuple of int or of pairs, "same" or "valid"
        Zeros added before and after each axis. "same" keeps the lengths (with stride 1).
    groups : int
        Channels and filters are cut into this many groups; each filter sees the channels of its group.

    Returns
    -------
    Tensor or ndarray
        (examples, filters, *places).

    Raises
    ------
    ValueError
        For shapes that do not fit, such as a kernel larger than the padded space.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import ops
    >>> x = np.array([[[1.0, 2.0, 3.0, 4.0]]])
    >>> ops.conv(x, np.array([[[1.0], [0.0], [-1.0]]]))
    array([[[-2., -2.]]])
    """
    x, w = _alike(x, w)
    n = len(shape_of(w)) - 2
    size, stride, dilation = shape_of(w)[1:-1], each("stride", stride, n), each("dilation", dilation, n)
    attrs = {"stride": stride, "dilation": dilation, "padding": paddings(padding, size, stride, dilation)}
    attrs["groups"] = integer("groups", groups, at_least=1)
    _check_channels(shape_of(x), shape_of(w), attrs["groups"])
    _conv_shape(x, w, **attrs)
    return apply(CONV, (x, w), attrs)


def conv_transpose(
    x: Any, w: Any, *, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Return the transposed convolution: what a `conv` with these settings passes back to its input.

    Parameters
    ----------
    x : (examples, channels, *space)
    w : (channels, *size, filters / groups)
    stride, padding, dilation, groups
        Of the convolution.
    output_padding : int or tuple of int
        Added to the lengths of the result, smaller than the stride: the lengths that the convolution rounds off.

    Returns
    -------
    Tensor or ndarray
        (examples, filters, *larger space).

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import ops
    >>> ops.conv_transpose(np.array([[[1.0, 10.0]]]), np.array([[[1.0], [2.0]]]), stride=2)
    array([[[ 1.,  2., 10., 20.]]])
    """
    x, w = _alike(x, w)
    shape, n, groups = shape_of(x), len(shape_of(w)) - 2, integer("groups", groups, at_least=1)
    if len(shape) != n + 2 or n < 1 or shape[1] != shape_of(w)[0] or shape[1] % groups:
        raise ValueError(
            f"conv_transpose: x has shape {tuple(shape)} and w {tuple(shape_of(w))} in {groups} group(s); expected "
            "(examples, channels, *space) and (channels, *size, filters / groups), channels divisible by groups"
        )
    size, stride, dilation = shape_of(w)[1:-1], each("stride", stride, n), each("dilation", dilation, n)
    pads, more = paddings(padding, size, stride, dilation), each("output_padding", output_padding, n, 0)
    if any(a >= s for a, s in zip(more, stride, strict=True)):
        raise ValueError(f"output_padding is {more}, expected less than the stride, {stride}")
    space = tuple([
        (length - 1) * s + d * (k - 1) + 1 + a - sum(p)
        for length, k, s, d, p, a in zip(shape[2:], size, stride, dilation, pads, more, strict=True)
    ])  # fmt: skip
    if any(length < 1 for length in space):
        raise ValueError(f"conv_transpose: the padding {pads} leaves nothing of the result: its lengths were {space}")
    turned = np.transpose(w, (n + 1, *range(1, n + 1), 0))
    attrs = {"space": space, "stride": stride, "dilation": dilation, "padding": pads, "groups": groups}
    return apply(CONV_INPUT, (x, turned), attrs)


def _alike(x: Any, w: Any) -> tuple[Any, Any]:
    """Return both in one dtype, float32 or float64."""
    x, w = floating(array_of(x)), floating(array_of(w))
    dtype = np.result_type(x.dtype, w.dtype)
    return as_dtype(x, dtype), as_dtype(w, dtype)
