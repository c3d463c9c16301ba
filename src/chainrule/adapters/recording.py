"""Recording a function that was written for NumPy arrays, in-place writes and all.

`Traced` stands for an array while a user's forward pass runs: what is computed from it becomes nodes of the graph. A
write into it (``Z[Z < 0] = 0``, ``+=``, ``out=``, a loop over examples that fills an array) gives it a new node, so
that names which share memory in NumPy share it here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import ops
from ..core.node import FUNCTIONS, Recording
from ..core.op import Array
from ..core.tensor import Tensor, constant
from .containers import mapped, named_leaves

_BY_NAME: dict[str, Callable[..., Any]] = {"expit": ops.sigmoid, "erf": ops.erf}
#: Attributes that are as those of the present value.
_ATTRIBUTES = ("shape", "dtype", "ndim", "size", "T")
#: How many elements may be copied by writes into arrays: some 400 MB, with what lies between.
MOST_WRITTEN = 15_000_000


class Untraceable(TypeError):
    """The function does something that cannot be recorded."""


class Watch(Recording):
    """The recording of one run; it remembers the values that left it as plain numbers."""

    __slots__ = ("escaped", "written")

    def __init__(self) -> None:
        super().__init__("the audit of a forward pass")
        self.escaped: list[tuple[float, Tensor]] = []
        self.written = 0  # elements: each write keeps a copy of the whole array


class Traced(np.lib.mixins.NDArrayOperatorsMixin):
    """An array that records what is done with it.

    Parameters
    ----------
    node : Tensor
        Its present value.
    base, index
        For a view: the array that it is a part of, and which part.
    """

    __slots__ = ("_base", "_index", "_node", "_seen", "versions")
    __hash__ = object.__hash__

    def __init__(self, node: Tensor | None, base: Traced | None = None, index: Any = None) -> None:
        self._node, self._base, self._index = node, base, index
        self._seen: Tensor | None = None
        self.versions: list[Tensor] = []  # what it held before it was written into

    @property
    def node(self) -> Tensor:
        """The node of the graph that holds the present value."""
        if self._base is not None:
            whole = self._base.node
            if self._seen is not whole:
                self._seen, self._node = whole, _node(FUNCTIONS["getitem"](whole, unwrapped(self._index)))
        assert self._node is not None
        return self._node

    def write(self, value: Any) -> None:
        """Replace the whole value, as a write into the memory would."""
        node = self.node
        spread: Any = np.broadcast_to(unwrapped(value), node.shape) if np.shape(value) != node.shape else value
        new = constant_or(spread, node.dtype)
        if self._base is not None:
            self._base[self._index] = Traced(new)
        else:
            self.versions.append(node)
            self._node = new
            for recording in new.recordings:
                if isinstance(recording, Watch):
                    recording.written += new.size
                    if recording.written > MOST_WRITTEN:
                        raise Untraceable("it writes into large arrays element by element")

    # -- what it is ----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.node)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Traced({self.node.value!r})"

    # -- leaving the graph ---------------------------------------------------------------------------------------------

    def _number(self) -> Any:
        node = self.node
        value = node.concrete("a number").item()
        for recording in node.recordings:
            if isinstance(recording, Watch):
                recording.escaped.append((float(value), node))
        return value

    def __float__(self) -> float:
        return float(self._number())

    def __int__(self) -> int:
        return int(self._number())

    def __index__(self) -> int:
        return self.node.__index__()

    def __bool__(self) -> bool:
        return bool(self.node)

    def __format__(self, spec: str) -> str:
        return format(np.asarray(self.node.value)[()], spec)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if self.node.recordings:
            raise Untraceable("an array of the forward pass was turned into a plain one")
        assert self.node.value is not None
        return np.array(self.node.value, dtype=dtype)

    def item(self) -> Any:
        """Return the one value; still recorded."""
        return wrapped(FUNCTIONS[np.reshape](self.node, ()))

    def tolist(self) -> Any:
        """Return the values as a list; those of a recorded array stay recorded."""
        return [x.tolist() if x.ndim else x for x in self] if self.node.recordings else np.asarray(self).tolist()

    # -- reading and writing -------------------------------------------------------------------------------------------

    def __getitem__(self, index: Any) -> Any:
        if _is_basic(index):
            view = Traced(None, self, index)
            view.node  # an index out of range raises here  # noqa: B018
            return view
        return wrapped(FUNCTIONS["getitem"](self.node, unwrapped(index)))

    def __setitem__(self, index: Any, value: Any) -> None:
        node = self.node
        shape = node.shape
        is_mask = isinstance(index, Traced | np.ndarray) and index.dtype == bool and index.shape == shape
        if is_mask and np.ndim(value) == 0:
            self.write(np.where(_node(index), unwrapped(value), node))
            return
        positions = np.arange(node.size).reshape(shape)[_concrete(index)]
        if positions.shape == shape and (np.diff(positions.ravel()) > 0).all():
            self.write(value)
            return
        hit = np.zeros(node.size, bool)
        hit[positions.ravel()] = True
        self.write(np.where(hit.reshape(shape), _scattered(value, positions, node), node))

    def fill(self, value: Any) -> None:
        """As of an array."""
        self.write(value)

    def astype(self, dtype: Any, **more: Any) -> Any:
        """As of an array; what becomes integer leaves the graph."""
        if np.dtype(dtype).kind != "f":
            return np.asarray(self.node.value).astype(dtype)
        if self.node.dtype.kind != "f":
            return Traced(_node(FUNCTIONS["astype"](self.node, np.dtype(np.float64))))
        return wrapped(FUNCTIONS["identity"](FUNCTIONS["astype"](self.node, np.dtype(dtype))))

    def copy(self, order: str = "C") -> Any:
        """As of an array."""
        return Traced(_node(FUNCTIONS["identity"](self.node)))

    def view(self, *_: Any) -> Any:
        """Return itself."""
        return self

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(Tensor, name):
            raise AttributeError(f"an array that is being recorded has no {name}")
        if name in _ATTRIBUTES:
            return wrapped(getattr(self.node, name))

        def method(*args: Any, **kwargs: Any) -> Any:
            out = kwargs.pop("out", None)
            node = self.node if self.node.dtype != bool else FUNCTIONS["astype"](self.node, np.dtype(np.float64))
            result = getattr(node, name)(*unwrapped(args), **unwrapped(kwargs))
            return _delivered(result, out)

        return method

    # -- NumPy's protocols ---------------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "at" and ufunc is np.add:
            target, index, value = inputs
            return _add_at(target, index, value)
        out = kwargs.pop("out", None)
        out = out[0] if isinstance(out, tuple) else out
        where = kwargs.pop("where", True)
        args = unwrapped(inputs)
        if method == "__call__" and ufunc.__name__ in _BY_NAME:
            result = _BY_NAME[ufunc.__name__](*args)
        else:
            result = getattr(ufunc, method)(*args, **unwrapped(kwargs))
        if where is not True:
            if out is None:
                raise Untraceable(f"np.{ufunc.__name__}(where=…) without out= leaves elements undefined")
            result = np.where(unwrapped(where), result, unwrapped(out))
        return _delivered(result, out)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        special = _SPECIAL.get(func)
        if special is not None:
            return special(*args, **kwargs)
        kwargs = dict(kwargs)
        out = kwargs.pop("out", None)
        args, kwargs = unwrapped(args), unwrapped(kwargs)
        if func not in FUNCTIONS:
            result = func(*_concrete(args), **_concrete(kwargs))
            given = [*named_leaves(args).values(), *named_leaves(kwargs).values()]
            if any(isinstance(x, Tensor) and x.recordings for x in given):
                kinds = {np.asarray(r).dtype.kind for r in (result if isinstance(result, tuple | list) else (result,))}
                if not kinds <= set("biuU"):
                    raise Untraceable(f"np.{func.__name__} has no rule in chainrule")
            return result
        return _delivered(func(*args, **kwargs), out)


def _node(x: Any) -> Tensor:
    x = x.node if isinstance(x, Traced) else x
    return x if isinstance(x, Tensor) else constant(np.asarray(x))


def constant_or(x: Any, dtype: Any) -> Tensor:
    """Return `x` as a tensor of `dtype`."""
    node = _node(x)
    return node if node.dtype == dtype else _node(FUNCTIONS["astype"](node, dtype))


def wrapped(x: Any) -> Any:
    """Return tensors as `Traced`, those without a history as arrays."""

    def leaf(name: str, x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return Traced(x) if x.op is not None or x.recordings else x.value

    return mapped(x, leaf)


def unwrapped(x: Any) -> Any:
    """Return `x`, a nest of lists, tuples and dicts, with tensors for what is `Traced`."""
    return mapped(x, lambda name, leaf: leaf.node if isinstance(leaf, Traced) else leaf)


def on_recorded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return one of the library's own functions, which take tensors, as a function of recording arrays."""

    def applied(*args: Any, **kwargs: Any) -> Any:
        return wrapped(function(*unwrapped(args), **unwrapped(kwargs)))

    return applied


def _concrete(x: Any) -> Any:
    return mapped(x, lambda name, leaf: _node(leaf).value if isinstance(leaf, Traced | Tensor) else leaf)


def _delivered(result: Any, out: Any) -> Any:
    if out is None:
        return wrapped(result)
    if not isinstance(out, Traced):
        if isinstance(result, Tensor) and result.recordings:
            raise Untraceable("a result of the forward pass was written into a plain array")
        out[...] = np.asarray(result.value if isinstance(result, Tensor) else result)
        return out
    out.write(result)
    return out


def _is_basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        p is None or p is Ellipsis or (isinstance(p, slice | int | np.integer) and not isinstance(p, bool))
        for p in parts
    )


def _scattered(value: Any, positions: Array, node: Tensor) -> Any:
    """Return an array like that of `node` with `value` added up at the positions, 0 elsewhere."""
    spread: Any = np.reshape(np.broadcast_to(unwrapped(value), positions.shape), (-1,))
    added = FUNCTIONS["scatter_add"](constant_or(spread, node.dtype), (positions.ravel(),), (node.size,))
    return np.reshape(added, node.shape)


def _add_at(target: Any, index: Any, value: Any) -> None:
    if not isinstance(target, Traced):
        raise Untraceable("np.add.at writes a result of the forward pass into a plain array")
    positions = np.arange(target.size).reshape(target.shape)[_concrete(index)]
    target.write(target.node + _scattered(value, positions, target.node))


# -- NumPy functions that make arrays to be written into ---------------------------------------------------------------


def _maker(make: Callable[..., Array]) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        array = make(*_concrete(unwrapped(args)), **_concrete(unwrapped(kwargs)))
        return Traced(constant(array)) if array.dtype.kind == "f" else array

    return function


def _array(value: Any, dtype: Any = None, **more: Any) -> Any:
    if isinstance(value, Traced):
        return value.copy() if dtype is None else value.astype(dtype)
    if _holds_traced(value):
        joined = _joined(value)
        return joined if dtype is None else joined.astype(dtype)
    return np.array(value, dtype=dtype, **more)


def _asarray(value: Any, dtype: Any = None, **more: Any) -> Any:
    if isinstance(value, Traced):
        return value if dtype is None or value.dtype == np.dtype(dtype) else value.astype(dtype)
    return _array(value, dtype) if _holds_traced(value) else np.asarray(value, dtype=dtype, **more)


def _holds_traced(value: Any) -> bool:
    return any(isinstance(x, Traced) for x in named_leaves(value).values())


def _joined(value: Any) -> Any:
    parts = [_joined(v) if isinstance(v, list | tuple) and _holds_traced(v) else v for v in value]
    return wrapped(np.stack([np.asarray(p) if not isinstance(p, Tensor) else p for p in unwrapped(parts)]))


def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    if not isinstance(dst, Traced):
        raise Untraceable("np.copyto writes a result of the forward pass into a plain array")
    dst.write(src if where is True else np.where(unwrapped(where), unwrapped(src), dst.node))


def _positions(condition: Any, *choices: Any) -> Any:
    if not choices:
        return np.where(_concrete(condition))
    return wrapped(np.where(unwrapped(condition), *unwrapped(choices)))


#: Functions of NumPy that give arrays to be written into -> the same, with arrays that record; `empty` gives zeros.
MAKERS: dict[str, Any] = {
    **{name: _maker(getattr(np, name)) for name in ("zeros", "ones", "full", "zeros_like", "ones_like", "full_like")},
    **{"empty": _maker(np.zeros), "empty_like": _maker(np.zeros_like), "array": _array, "copyto": _copyto},
    **dict.fromkeys(("asarray", "ascontiguousarray", "asanyarray"), _asarray),
}
_SPECIAL: dict[Any, Callable[..., Any]] = {np.where: _positions, **{getattr(np, n): f for n, f in MAKERS.items()}}
