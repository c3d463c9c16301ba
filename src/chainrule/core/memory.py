"""Writing into tensors: all aliases and views see it, and nodes that were made before keep the old values.

A tensor is two things: a node of the graph, which never changes, and what a program calls an array. `write` parts the
two: the object stays with the program and becomes a `Written`, which shows the facts of its `latest` version, a node; a
copy of the node takes its place in the graph (`inputs_of`). A view knows its base and how to be read from it. A write
into a view is put into its base; other views of the base are outdated from then on, and are read again when they are
next used.
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .apply import apply
from .node import FUNCTIONS, STANDING
from .op import VIEW, Array, Operation, Shape
from .tensor import Parameter, Tensor, Written, inputs_of, latest, original


class Memory:
    """What a tensor shares with others, and its versions.

    Attributes
    ----------
    base : Tensor or None
        The tensor of which it is a view, by ``op`` and ``attrs``. `op` is a row of kind ``view``, or a function of the
        base, which gives NumPy's view of an array; what has no ``put`` is only read.
    sure : bool or None
        Whether NumPy gives a view; None while that is to be found out, for tensors without values.
    contiguous : bool
        Whether NumPy gives a view of C-contiguous arrays only, as ``np.ravel`` does.
    views : list of weak references, or None
        Its views whose latest version is that of this tensor.
    array : bool
        Whether it is an array although it has no axes. Most of NumPy's results without axes are numbers, not arrays.
    original, latest : Tensor, Tensor or None
        Of a `Written` alone: its version before the first write, and the current one, None if that is to be read again.
    """

    __slots__ = ("array", "attrs", "base", "contiguous", "latest", "limit", "op", "original", "sure", "views")

    original: Tensor
    latest: Tensor | None

    def __init__(self, base: Tensor | None = None, op: Any = None, attrs: Any = None, *, array: bool = False) -> None:
        self.base, self.op, self.attrs, self.array = base, op, attrs, array
        self.sure: bool | None = True
        self.contiguous = False
        self.views: list[weakref.ref[Tensor]] | None = None

    def add(self, view: Tensor) -> None:
        """Add a view; forget those that are gone, now and then."""
        if self.views is None:
            self.views, self.limit = [], 32
        elif len(self.views) >= self.limit:
            self.views = [ref for ref in self.views if ref() is not None]
            self.limit = 2 * len(self.views) + 32
        self.views.append(weakref.ref(view))


def share(view: Tensor, base: Tensor, op: Any, attrs: Any, *, sure: bool | None = None) -> None:
    """Make `view`, the result of ``op`` on `base`, a view of it, if NumPy gives one."""
    value, of = view.value, base.value
    if sure is None and value is not None and of is not None:
        if value.base is not of and (value.base is None or value.base is not of.base):
            if not np.may_share_memory(value, of):
                return
        sure = True
    if not base.shape and is_number(base) and getattr(op, "put", None) is not None:
        view.memory = Memory(array=True)  # NumPy makes a new array of a number
        return
    memory = view.memory = Memory(base, op, attrs)
    memory.sure = sure
    below = base.memory
    if below is None:
        below = base.memory = Memory()
    if below.views is None:
        below.views, below.limit = [weakref.ref(view)], 32
    else:
        below.add(view)


def share_read_only(made: Tensor, base: Tensor, read: Callable[[Any], Any]) -> None:
    """Make `made`, which is ``read(base)``, a view that is only read; its layout in memory is that of NumPy's."""
    share(made, base, read, None, sure=True)
    if made.value is not None and base.value is not None:
        made.value = read(base.value)


def view_if_contiguous(view: Tensor) -> None:
    """Let a tensor stay a view of its base only if that is C-contiguous."""
    memory = view.memory
    if memory is None or memory.base is None:
        return
    memory.contiguous = True
    if memory.base.value is not None and not memory.base.value.flags.c_contiguous:
        view.memory = None


def as_array(x: Tensor) -> Tensor:
    """Mark a tensor that NumPy has as an array even without axes."""
    if not x.shape and x.memory is None:
        x.memory = Memory(array=True)
    return x


def is_number(x: Tensor) -> bool:
    """Whether NumPy has a number, not an array, in place of this tensor."""
    return not x.shape and (x.memory is None or (x.memory.base is None and not x.memory.array))


def current(x: Tensor) -> Tensor:
    """Return the latest version of a `Written`; read it from its base if that has been written since."""
    memory = x.memory
    if memory.latest is None:
        memory.latest = _read(memory)
        memory.base.memory.add(x)
    return memory.latest  # type: ignore[no-any-return]


def _read(memory: Memory) -> Tensor:
    assert memory.base is not None
    base = latest(memory.base)
    if isinstance(memory.op, Operation):
        return apply(memory.op, (base,), memory.attrs)  # type: ignore[no-any-return]
    made: Tensor = memory.op(base)
    if made.value is not None and base.value is not None:
        made.value = memory.op(base.value)
    return made


def _seen(op: Any, attrs: Any, array: Array) -> Array:
    """Return the view of an array."""
    found: Array = op.evaluate(array, **attrs) if isinstance(op, Operation) else op(array)
    return found


def write(x: Tensor, new: Tensor) -> None:
    """Give a tensor new values, seen by its aliases, its base and their views.

    Parameters
    ----------
    x : Tensor
    new : Tensor
        Of the shape and dtype of `x`; a node to which nothing else refers.

    Raises
    ------
    TypeError
        For a leaf that requires a gradient, and for numbers.
    ValueError
        For read-only views.
    """
    chain = _bases(x)
    below = None
    for tensor in chain:
        if below is not None:
            memory = below.memory
            new = memory.op.put(latest(tensor), new, **memory.attrs)
        _replace(tensor, new)
        _outdate(tensor, below)
        below = tensor
    for tensor in reversed(chain[:-1]):  # a view has its memory in its base
        memory = tensor.memory
        base = latest(memory.base).value  # None while traced, also below constants that were written into a view
        if memory.latest.value is not None and base is not None and isinstance(memory.op, Operation):
            memory.latest.value = memory.op.evaluate(base, **memory.attrs)


def _bases(x: Tensor) -> list[Tensor]:
    """Return a tensor and all of which it is a view, after checks that they may be written."""
    chain = [x]
    while _is_view(chain[-1]):
        memory = chain[-1].memory
        if getattr(memory.op, "put", None) is None:
            raise ValueError(
                f"assignment destination is read-only: this tensor (shape {x.shape}) is a view that NumPy does not let "
                "be written, such as of np.broadcast_to or np.diagonal; write into a copy, x.copy()"
            )
        chain.append(memory.base)
    root = chain[-1]
    trained = isinstance(root, Parameter)
    if type(root) is not Written and root.op is None and (trained or STANDING in root.recordings):
        what = f"parameter {root.name or ''}".strip() if trained else "tensor with requires_grad=True"
        how = "p.assign(new values)" if trained else "tensor(new values, requires_grad=True)"
        raise TypeError(
            f"assignment into a {what} (shape {root.shape}): it is a leaf, whose gradient is that of the values it was "
            f"made with. Write into a copy, y = x.copy(), or replace its values: {how}."
        )
    if is_number(x):
        raise TypeError(
            "assignment into a tensor that is a number: NumPy's results without axes are numbers, which cannot be "
            "written; x.copy() or np.zeros_like(x) is an array"
        )
    return chain


def _replace(x: Tensor, new: Tensor) -> None:
    """Make `new` the latest version of a tensor, in its memory layout."""
    old = x.value
    if old is None:
        if new.value is not None:
            new.value = new.value.copy()  # a constant put into a traced array; elements that it repeats become many
    elif new.value is not None and new.value.strides != old.strides:
        low, high = _span(old.shape, old.strides, old.itemsize)
        value: Array = np.ndarray(old.shape, old.dtype, np.empty(high - low, np.uint8), -low, old.strides)
        value[...] = new.value
        new.value = value
    _part(x)
    x.memory.latest = new


def _part(x: Tensor) -> None:
    """Part the tensor of the program from the node of the graph."""
    if type(x) is Written:
        return
    node = Tensor.__new__(Tensor)
    for fact in ("op", "inputs", "attrs", "value", "shape", "dtype", "name", "weak", "recordings", "grad"):
        setattr(node, fact, getattr(x, fact))
    node.memory = None
    if x.memory is None:
        x.memory = Memory()
    x.memory.original = node
    x.__class__ = Written


def _outdate(x: Tensor, but: Tensor | None) -> None:
    """Mark the views of a tensor, except one, as to be read again, and their views."""
    if x.memory.views is None:
        return
    kept = []
    for ref in x.memory.views:
        view = ref()
        if view is None or view.memory is None or view.memory.base is not x or not _is_view(view):
            continue
        if view is but:
            kept.append(ref)
            continue
        _part(view)
        view.memory.latest = None
        _outdate(view, None)
    x.memory.views = kept


# -- view or copy, of tensors without values -------------------------------------------------------


def _is_view(x: Tensor) -> bool:
    """Whether a tensor is a view of another; find it out if that depends on the layout of the other in memory."""
    memory = x.memory
    if memory is None or memory.base is None:
        return False
    if memory.sure is None:
        packed = _strides(memory.base.shape, memory.base.dtype.itemsize)
        long = [i for i, n in enumerate(memory.base.shape) if n > 1]
        found = {
            (not memory.contiguous or all(s[i] == packed[i] for i in long))
            and _strides_of_view(memory.op, memory.attrs, memory.base, s) is not None
            for s in _layouts(memory.base)
        }
        if len(found) > 1:
            raise TypeError(
                f"assignment into an array of shape {memory.base.shape}, or into that array reshaped to {x.shape}: "
                "whether NumPy's reshape gives a view or a copy depends on the layout in memory, which is not known "
                "while a function is traced. Use x.copy() before the reshape or after it."
            )
        memory.sure = found.pop()
        if not memory.sure:
            x.memory = Memory(array=True)
            return False
    return True


def _strides_of_view(op: Any, attrs: Any, base: Tensor, strides: Shape) -> Shape | None:
    """Return the strides of a view of an array with the given strides; None if NumPy makes a copy."""
    if 0 in base.shape:
        return _seen(op, attrs, np.empty(base.shape, base.dtype)).strides
    low, high = _span(base.shape, strides, base.dtype.itemsize)
    memory = np.empty(high - low, np.uint8)  # never accessed, so no page is allocated
    made = _seen(op, attrs, np.ndarray(base.shape, base.dtype, memory, -low, strides))
    return made.strides if np.may_share_memory(made, memory) or not made.size else None


def _span(shape: Shape, strides: Shape, itemsize: int) -> tuple[int, int]:
    """Return the first and last byte of an array, counted from its first element."""
    steps = [s * max(n - 1, 0) for s, n in zip(strides, shape, strict=True)]
    return sum(min(s, 0) for s in steps), sum(max(s, 0) for s in steps) + itemsize


def _layouts(x: Tensor) -> Iterator[Shape]:
    """Yield the strides that the array in NumPy's place may have."""
    node, memory = original(x), x.memory
    if node.value is not None:
        yield node.value.strides
    elif _is_view(x):
        for strides in _layouts(memory.base):
            found = _strides_of_view(memory.op, memory.attrs, memory.base, strides)
            if found is not None:
                yield found
    elif (node.op is not None and node.op.kind == VIEW) or _in_order(node):  # a reshape that copies is in order
        yield _strides(x.shape, x.dtype.itemsize)
    else:
        for order in itertools.islice(itertools.permutations(range(x.ndim)), 120):
            packed = _strides(tuple(x.shape[i] for i in order), x.dtype.itemsize)
            yield tuple(packed[order.index(i)] for i in range(x.ndim))


def _in_order(x: Tensor) -> bool:
    """Whether a new result is C-contiguous because all that it is computed from has its axes in order."""
    stack, seen = [x], {id(x)}
    while stack:
        node = stack.pop()
        if node.op is None or node.ndim < 2:
            if node.value is not None and not _descending(node.value):
                return False
        elif node.op.kind == VIEW:
            (source,) = inputs_of(node)
            strides = _strides_of_view(node.op, node.attrs, source, _strides(source.shape, source.dtype.itemsize))
            if strides is None or not _decreasing(strides, node.shape):
                return False
        elif not _keeps_order(node):
            return False
        for source in inputs_of(node):
            if id(source) not in seen:
                seen.add(id(source))
                stack.append(source)
    return True


def _keeps_order(node: Tensor) -> bool:
    """Whether the operation gives an array with its axes in order from such inputs: find out with zeros."""
    assert node.op is not None
    try:
        with np.errstate(all="ignore"):
            made = node.op.evaluate(*[np.zeros(x.shape, x.dtype) for x in inputs_of(node)], **node.attrs)
    except (ValueError, IndexError):  # np.linalg.LinAlgError is a ValueError
        return False
    return _descending(np.asarray(made))


def _descending(array: Array) -> bool:
    return _decreasing(array.strides, array.shape)


def _decreasing(strides: Shape, shape: Shape) -> bool:
    steps = [abs(s) for s, n in zip(strides, shape, strict=True) if n > 1 and s]
    return steps == sorted(steps, reverse=True)


def _strides(shape: Shape, itemsize: int) -> Shape:
    return tuple(itemsize * math.prod(max(n, 1) for n in shape[i + 1 :]) for i in range(len(shape)))


FUNCTIONS["share"] = share
FUNCTIONS["as array"] = as_array
FUNCTIONS["latest"] = current
