"""The node of the graph, and NumPy's protocols on it.

A `Tensor` is an operation applied to inputs. Computed at once (eager) it has a value; while a function is traced it
has a shape and a dtype only. Both build the same graph, and everything else in the library reads that graph.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from . import habits
from .arrays import FLOATS, as_array, checked_array
from .op import VIEW, Array, Operation, Shape
from .registry import Registry
from .scipy_calls import calling_function, ufunc_name

_NOTHING: frozenset[Recording] = frozenset()

_TO_PLAIN = (
    "assignment into a plain array (make one to assign to by np.zeros_like(tensor, shape=…), join tensors by "
    "np.stack or np.concatenate)"
)

#: NumPy function -> implementation on tensors. Filled by ``chainrule.ops``; operators and both protocols read it.
FUNCTIONS: Registry[Any, Callable[..., Any]] = Registry()


class StaleTensorError(TypeError, ValueError):
    """A tensor without a value is used after the trace that it belongs to."""


class Recording:
    """One derivative or trace being taken.

    Tensors carry the recordings they depend on, so that no tensor turns into a plain array while a derivative
    through it is still being taken. A recording is closed when the call that opened it returns.
    """

    __slots__ = ("active", "nested", "purpose")

    traces = False  # whether its tensors have no values

    def __init__(self, purpose: str) -> None:
        self.purpose: str = purpose
        self.active: bool = True
        self.nested: bool = False

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.active = False

    def value_of(self, tensor: Tensor) -> Array | None:
        """Return the value of a tensor without one, if a trace can provide it."""
        return None


#: The innermost trace (`chainrule.core.trace.Trace`) of this thread, if any.
TRACE: ContextVar[Any] = ContextVar("the trace being recorded", default=None)

#: The recording of parameters and of ``tensor(…, requires_grad=True)``: never closed.
STANDING = Recording("a tensor that requires a gradient")


class Tensor:
    """A value in the graph: an operation, its inputs, a shape, a dtype, an optional name.

    Arithmetic, indexing and NumPy functions on tensors give tensors. Assignment (``x[i] = y``, ``x += y``) works as on
    arrays: every alias and view sees it, while what was computed before keeps the old values (``core/memory.py``).

    Attributes
    ----------
    op : Operation or None
        None for a leaf (an input, a parameter, a constant).
    inputs : tuple of Tensor
    attrs : dict
        Static attributes of the operation (an axis, a shape, …).
    value : numpy.ndarray or None
        None while a function is traced.
    name : str or None
    weak : bool
        True for a Python scalar, which takes the dtype of the other operand.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> x = cr.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> y = np.tanh(x) @ np.ones(2)
    >>> type(y).__name__, y.shape, y.value.round(3)
    ('Tensor', (2,), array([1.726, 1.994]))
    """

    __slots__ = (
        "__weakref__",
        "attrs",
        "dtype",
        "grad",
        "inputs",
        "memory",
        "name",
        "op",
        "recordings",
        "shape",
        "value",
        "weak",
    )

    op: Operation | None
    inputs: tuple[Tensor, ...]
    attrs: dict[str, Any]
    value: Array | None
    shape: Shape
    dtype: np.dtype[Any]
    name: str | None
    weak: bool
    recordings: frozenset[Recording]
    grad: Array | None
    memory: Any  # chainrule.core.memory.Memory of a tensor that was written, is a view or has views; else None

    def __init__(self, value: Array, *, name: str | None = None, recordings: frozenset[Recording] = _NOTHING) -> None:
        self.op = None
        self.inputs = ()
        self.attrs = {}
        self.value = value
        self.shape = value.shape
        self.dtype = value.dtype
        self.name = name
        self.weak = False
        self.recordings = recordings
        self.grad = None
        self.memory = None

    # -- attributes --------------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        n = 1
        for d in self.shape:
            n *= d
        return n

    @property
    def requires_grad(self) -> bool:
        """Whether a derivative through this tensor is being taken, now or by ``backward``."""
        return any(r.active for r in self.recordings)

    @requires_grad.setter
    def requires_grad(self, value: Any) -> None:
        raise AttributeError(habits.FROZEN)

    def __dir__(self) -> list[str]:
        kind = type(self)
        return [name for name in dir(kind) if not isinstance(inspect.getattr_static(kind, name), _Missing)]

    @property
    def T(self) -> Any:
        """The transpose: all axes reversed."""
        return FUNCTIONS[np.transpose](self)

    @property
    def mT(self) -> Any:
        """The matrix transpose: the last two axes exchanged."""
        return FUNCTIONS[np.matrix_transpose](self)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a tensor with 0 dimensions")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a tensor with 0 dimensions")
        return (self[i] for i in range(self.shape[0]))

    def __repr__(self) -> str:
        name = f"{self.name}: " if self.name else ""
        made_by = f", {self.op.name}" if self.op else ""
        if self.value is None:
            return f"Tensor({name}shape {self.shape}, {self.dtype}{made_by}, traced)"
        text = np.array2string(self.value, separator=", ", threshold=50, prefix="Tensor(" + name)
        return f"Tensor({name}{text}, {self.dtype}{made_by})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec or self._is_integer_argument() else str(self)

    def __str__(self) -> str:
        return str(self.item()) if self._is_integer_argument() else repr(self)

    def _is_integer_argument(self) -> bool:
        """Whether this is an integer passed to a traced function, which can be part of what is compiled."""
        return self.weak and self.value is None and self.dtype.kind in "iu"

    def __hash__(self) -> int:
        if self._is_integer_argument():
            return hash(self.item())  # an integer argument of a traced function, looked up in a dict
        return object.__hash__(self)

    # -- leaving the graph -------------------------------------------------------------------------

    def concrete(self, use: str) -> Array:
        """Return the value; raise if there is none yet. `use` names the purpose in the message."""
        if self.value is None:
            _refuse_stale((self,))
            for recording in self.recordings:
                if (value := recording.value_of(self)) is not None:
                    return value
            raise TypeError(
                f"{use} needs a value, but this tensor (shape {self.shape}, {self.dtype}) is being traced and has "
                "no value. Express a choice that depends on values with np.where; make an argument that decides what "
                "is computed part of the signature, compile(f, static_argnames=…); call the function without compile "
                "to look."
            )
        if (trace := TRACE.get()) is not None:
            trace.looked_at(self)
        return self.value

    def detached(self, use: str) -> Array:
        """Return the value; raise while a derivative is being taken through it."""
        scipy_function = calling_function(FUNCTIONS) if self.value is None or self.requires_grad else None
        if scipy_function is not None:
            raise TypeError(_not_dispatched(scipy_function))
        value = self.concrete(use)
        if self.value is not None and self.requires_grad and self.dtype.kind == "f":
            raise TypeError(
                f"{use} would lose the gradient: a derivative is being taken through this tensor (shape {self.shape}). "
                "Use np.stack or np.concatenate to join tensors, NumPy functions to compute with them, "
                ".detach() or .item() to exclude it from the derivative on purpose."
            )
        return value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        value = self.detached(f"np.asarray(tensor), np.array([tensors]), np.r_ or {_TO_PLAIN}")
        if dtype is not None and value.dtype != dtype:
            if copy is False:
                raise ValueError(f"a tensor of {value.dtype} can be converted to {np.dtype(dtype)} only by a copy")
            return value.astype(dtype)
        return value.copy() if copy else value

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        """Share the value with another library, by the DLPack protocol, without a copy unless one is requested.

        A consumer whose protocol cannot mark memory as read-only gets a copy of such memory.
        """
        value = self.detached("from_dlpack(tensor)")
        if not value.flags.writeable and max_version is None and copy is None:
            value = value.copy()
        asked = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        return value.__dlpack__(**{k: v for k, v in asked.items() if v is not None})

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # the CPU's memory

    def detach(self) -> Tensor:
        """Return the same value as a constant, through which no derivative is taken."""
        if self.value is None or TRACE.get() is not None:  # a plan reads the parameters that it depends on at each call
            return FUNCTIONS["stop_gradient"](self)  # type: ignore[no-any-return]
        return Tensor(self.value)

    def numpy(self) -> Array:
        """Return a copy of the value. Raises while a derivative is being taken through it; ``detach()`` first."""
        return self.detached("tensor.numpy()").copy()

    def item(self) -> Any:
        """Return the only value as a Python number; no derivative is taken through it."""
        return self.concrete("tensor.item()").item()

    def tolist(self) -> Any:
        """Return the values as (nested lists of) Python numbers."""
        return self.detached("tensor.tolist()").tolist()

    def __bool__(self) -> bool:
        return bool(self.concrete("bool(tensor)"))

    def __float__(self) -> float:
        if self.op is not None and self.grad is not None:
            return float(self.item())  # `backward` was called on it: what is wanted now is the number
        return float(self.detached(f"float(tensor) or {_TO_PLAIN}").item())

    def __int__(self) -> int:
        return int(self.detached("int(tensor)").item())

    def __index__(self) -> int:
        return self.concrete("an index").__index__()

    def __complex__(self) -> complex:
        raise TypeError("complex numbers are not differentiated here: tensors are float32 or float64")

    # -- the backward pass -------------------------------------------------------------------------

    def backward(self, gradient: Any = None) -> None:
        """Add the gradient of this scalar to ``.grad`` of every leaf made with ``requires_grad=True``.

        Parameters
        ----------
        gradient
            The cotangent to start from, shaped like this tensor; needed unless the tensor is a scalar.
        """
        FUNCTIONS["backward"](self, gradient)

    # -- copies ------------------------------------------------------------------------------------

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.value is not None and (not self.requires_grad or (self.op is None and STANDING in self.recordings)):
            return _restored, (self.value, self.name, self.weak, self.requires_grad)
        raise TypeError(
            f"pickling would lose the gradient: a derivative is being taken through this tensor (shape {self.shape}). "
            "Pickle tensor.detach()."
        )

    # -- NumPy's protocols -------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if not kwargs and method == "__call__":
            try:
                implementation = FUNCTIONS[ufunc]
            except KeyError:
                pass
            else:
                return implementation(*inputs)
        name = ufunc_name(ufunc)
        if method == "at":
            return FUNCTIONS["ufunc.at"](ufunc, *inputs)
        out = _out(kwargs, name)
        if out is not None:
            where, casting = kwargs.pop("where", True), kwargs.pop("casting", "same_kind")
            return FUNCTIONS["into"](out, getattr(ufunc, method)(*inputs, **kwargs), casting, where)
        if method == "__call__":
            function = FUNCTIONS.get(ufunc) or FUNCTIONS.get(name)
            if function is not None:
                dtype = kwargs.pop("dtype", None)
                if ufunc.signature is not None and "axis" in kwargs:  # np.vecdot and the like
                    return function(*inputs, **kwargs)
                if not kwargs:
                    result = function(*inputs)
                    return result if dtype is None else result.astype(dtype)
                raise TypeError(f"{name} on tensors does not take {', '.join(sorted(kwargs))}")
        else:
            function = FUNCTIONS.get((ufunc, method))
            if function is not None:
                return function(*inputs, **kwargs)
        raise TypeError(missing(name + ("" if method == "__call__" else "." + method)))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        for kind in types:
            if kind is not Tensor and kind is not np.ndarray and hasattr(kind, "of_tensors"):
                return NotImplemented  # a pair of tensors, which is complex, takes the call
        try:
            function = FUNCTIONS[func]
        except KeyError:
            function = None
        if len(args) > 2:
            args, kwargs = _named_out(func, args, kwargs)
        if function is not None and "out" not in kwargs:
            return function(*args, **kwargs)
        where = getattr(func, "__module__", "numpy") or "numpy"
        name = f"{where.removeprefix('numpy').lstrip('.')}.{func.__name__}".lstrip(".")
        if function is None:
            raise TypeError(missing(f"np.{name}"))
        out = _out(kwargs, f"np.{name}")
        result = func(*args, **kwargs)
        return result if out is None else FUNCTIONS["into"](out, result)

    # -- operators: each is the NumPy function of that name ----------------------------------------

    def __add__(self, other: Any) -> Any:
        return FUNCTIONS[np.add](self, other)

    def __radd__(self, other: Any) -> Any:
        return FUNCTIONS[np.add](other, self)

    def __sub__(self, other: Any) -> Any:
        return FUNCTIONS[np.subtract](self, other)

    def __rsub__(self, other: Any) -> Any:
        return FUNCTIONS[np.subtract](other, self)

    def __mul__(self, other: Any) -> Any:
        if self.weak and isinstance(other, list | tuple | str):  # repeated, as by the integer that this stands for
            return other * self.__index__()
        return FUNCTIONS[np.multiply](self, other)

    def __rmul__(self, other: Any) -> Any:
        if self.weak and isinstance(other, list | tuple | str):
            return other * self.__index__()
        return FUNCTIONS[np.multiply](other, self)

    def __truediv__(self, other: Any) -> Any:
        return FUNCTIONS[np.divide](self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return FUNCTIONS[np.divide](other, self)

    def __floordiv__(self, other: Any) -> Any:
        return FUNCTIONS[np.floor_divide](self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return FUNCTIONS[np.floor_divide](other, self)

    def __mod__(self, other: Any) -> Any:
        return FUNCTIONS[np.remainder](self, other)

    def __rmod__(self, other: Any) -> Any:
        return FUNCTIONS[np.remainder](other, self)

    def __pow__(self, other: Any) -> Any:
        return FUNCTIONS["**"](self, other)

    def __rpow__(self, other: Any) -> Any:
        return FUNCTIONS[np.power](other, self)

    def __matmul__(self, other: Any) -> Any:
        return FUNCTIONS[np.matmul](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return FUNCTIONS[np.matmul](other, self)

    def __neg__(self) -> Any:
        return FUNCTIONS[np.negative](self)

    def __pos__(self) -> Any:
        return FUNCTIONS[np.positive](self)

    def __abs__(self) -> Any:
        return FUNCTIONS[np.absolute](self)

    def __invert__(self) -> Any:
        return FUNCTIONS[np.invert](self)

    def __and__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_and](self, other)

    def __rand__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_and](other, self)

    def __or__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_or](self, other)

    def __ror__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_or](other, self)

    def __xor__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_xor](self, other)

    def __rxor__(self, other: Any) -> Any:
        return FUNCTIONS[np.bitwise_xor](other, self)

    def __lshift__(self, other: Any) -> Any:
        return FUNCTIONS[np.left_shift](self, other)

    def __rlshift__(self, other: Any) -> Any:
        return FUNCTIONS[np.left_shift](other, self)

    def __rshift__(self, other: Any) -> Any:
        return FUNCTIONS[np.right_shift](self, other)

    def __rrshift__(self, other: Any) -> Any:
        return FUNCTIONS[np.right_shift](other, self)

    def __divmod__(self, other: Any) -> Any:
        return FUNCTIONS[np.divmod](self, other)

    def __rdivmod__(self, other: Any) -> Any:
        return FUNCTIONS[np.divmod](other, self)

    def __eq__(self, other: Any) -> Any:
        return FUNCTIONS[np.equal](self, other)

    def __ne__(self, other: Any) -> Any:
        return FUNCTIONS[np.not_equal](self, other)

    def __lt__(self, other: Any) -> Any:
        return FUNCTIONS[np.less](self, other)

    def __le__(self, other: Any) -> Any:
        return FUNCTIONS[np.less_equal](self, other)

    def __gt__(self, other: Any) -> Any:
        return FUNCTIONS[np.greater](self, other)

    def __ge__(self, other: Any) -> Any:
        return FUNCTIONS[np.greater_equal](self, other)

    def __getitem__(self, index: Any) -> Any:
        return FUNCTIONS["getitem"](self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        FUNCTIONS["setitem"](self, index, value)

    def __round__(self, ndigits: int = 0) -> Any:
        return FUNCTIONS[np.round](self, ndigits)

    # -- methods as on arrays ----------------------------------------------------------------------

    def reshape(self, *shape: Any, **kwargs: Any) -> Any:
        """As ``numpy.ndarray.reshape``."""
        return FUNCTIONS[np.reshape](self, shape[0] if len(shape) == 1 else shape, **kwargs)

    def transpose(self, *axes: Any) -> Any:
        """As ``numpy.ndarray.transpose``."""
        if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], tuple | list)):
            return FUNCTIONS[np.transpose](self, axes[0])
        return FUNCTIONS[np.transpose](self, axes or None)

    def astype(
        self, dtype: Any, order: str = "K", casting: str = "unsafe", subok: bool = True, copy: bool = True
    ) -> Any:
        """Return the values converted to `dtype`, as ``numpy.ndarray.astype``."""
        if not np.can_cast(self.dtype, dtype, casting):  # type: ignore[arg-type]
            raise TypeError(f"astype: {self.dtype} cannot be cast to {np.dtype(dtype)} by the rule {casting!r}")
        return FUNCTIONS["astype"](self, dtype, copy=copy)

    def flatten(self) -> Any:
        """Return a copy of the values as one axis."""
        return self.reshape(-1).copy()

    @property
    def flat(self) -> Any:
        """The values as one axis, in C order, which can be read, written and iterated over."""
        return FUNCTIONS["flat"](self)

    @flat.setter
    def flat(self, value: Any) -> None:
        FUNCTIONS["flat"](self)[...] = value

    def copy(self, order: str = "C") -> Any:
        """Return a copy, as ``numpy.ndarray.copy``: writes into it do not change this tensor."""
        return FUNCTIONS["copied"](self)

    def fill(self, value: Any) -> None:
        """Set every element to `value`, a number or a tensor without axes."""
        self[...] = value

    def sort(self, axis: int = -1, **kwargs: Any) -> None:
        """Sort along an axis in place, as ``numpy.ndarray.sort``; ``np.sort`` returns a sorted copy."""
        self[...] = FUNCTIONS[np.sort](self, axis, **kwargs)

    def partition(self, kth: Any, axis: int = -1, **kwargs: Any) -> None:
        """Partition along an axis in place, as ``numpy.ndarray.partition``."""
        self[...] = FUNCTIONS[np.partition](self, kth, axis, **kwargs)

    def named(self, name: str) -> Tensor:
        """Return this value under `name`: plans keep it under that name, and its gradient is called ``"d" + name``."""
        if self.name == name:
            return self
        if self.name is None and self.op is not None:
            self.name = name
            return self
        same: Tensor = FUNCTIONS["identity"](self)
        same.name = name
        return same


def _method(function: Any, name: str) -> Callable[..., Any]:
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if "out" in kwargs:
            return function(self, *args, **kwargs)  # NumPy calls __array_function__
        return FUNCTIONS[function](self, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = f"As ``numpy.{name}`` on this tensor."
    return method


for _name in (
    "sum mean max min prod var std cumsum cumprod searchsorted all any argmax argmin argsort put dot squeeze swapaxes "
    "trace diagonal clip repeat take round ravel"
).split():
    setattr(Tensor, _name, _method(getattr(np, _name), _name))


def _in_place(function: Any, name: str) -> Callable[..., Any]:
    def method(self: Tensor, other: Any) -> Any:
        return FUNCTIONS["in place"](self, FUNCTIONS[function](self, other))

    method.__name__ = name
    return method


for _name, _function in (
    ("__iadd__", np.add), ("__isub__", np.subtract), ("__imul__", np.multiply),
    ("__itruediv__", np.divide), ("__ipow__", np.power), ("__ifloordiv__", np.floor_divide),
    ("__imod__", np.remainder), ("__imatmul__", np.matmul), ("__iand__", np.bitwise_and),
    ("__ior__", np.bitwise_or), ("__ixor__", np.bitwise_xor), ("__ilshift__", np.left_shift),
    ("__irshift__", np.right_shift),
):  # fmt: skip
    setattr(Tensor, _name, _in_place(_function, _name))


class _Missing:
    """A name that tensors do not have; the error says what there is instead.

    A ``__getattr__`` could say it, too, but makes Python look up every attribute of a tensor more slowly.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, tensor: Any, kind: Any = None) -> Any:
        raise habits.missing("Tensor", self.name, tensor)


for _name in habits.not_on_tensors() - set(dir(Tensor)):
    setattr(Tensor, _name, _Missing(_name))


def _latest(fact: str) -> property:
    return property(lambda self: getattr(FUNCTIONS["latest"](self), fact))


class Written(Tensor):
    """A tensor that has been written into, or that is a view of one: it shows the facts of its latest version.

    A tensor becomes one by its first write. What was computed before has it among its `inputs` and means the version
    before that write: `inputs_of` puts that in its place.
    """

    __slots__ = ()

    op = _latest("op")
    inputs = _latest("inputs")
    attrs = _latest("attrs")
    value = _latest("value")
    weak = _latest("weak")
    recordings = _latest("recordings")
    name = _latest("name").setter(lambda self, name: setattr(FUNCTIONS["latest"](self), "name", name))


def latest(x: Tensor) -> Tensor:
    """Return the node of the values that a tensor has now."""
    return FUNCTIONS["latest"](x) if type(x) is Written else x


def original(x: Tensor) -> Tensor:
    """Return the node of the values that a tensor had before it was first written into."""
    return x.memory.original if type(x) is Written else x


def inputs_of(node: Tensor) -> tuple[Tensor, ...]:
    """Return the inputs of a node: the versions that it was computed from."""
    for x in node.inputs:
        if type(x) is Written:
            node.inputs = tuple([original(x) for x in node.inputs])
            break
    return node.inputs


def _restored_parameter(value: Array, name: str | None) -> Parameter:
    return Parameter(value, name=name)


def _restored(value: Array, name: str | None, weak: bool, requires_grad: bool) -> Tensor:
    made = tensor(value, requires_grad=requires_grad, name=name)
    made.weak = weak
    return made


class Parameter(Tensor):
    """A leaf that is trained: its value may be replaced (never written into) by `assign`.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> w = cr.Parameter(np.zeros(2), name="w")
    >>> w.assign([1.0, 2.0])
    >>> w.value
    array([1., 2.])
    """

    __slots__ = ()

    def __init__(self, value: Any, *, name: str | None = None) -> None:
        array = np.array(value)
        if array.dtype not in FLOATS:
            raise TypeError(f"value: expected dtype float32 or float64 for a parameter, got {array.dtype}")
        super().__init__(array, name=name, recordings=frozenset({STANDING}))

    def __deepcopy__(self, memo: Any) -> Parameter:
        return Parameter(self.value, name=self.name)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _restored_parameter, (self.value, self.name)

    def assign(self, value: Any) -> None:
        """Replace the value by a copy of `value`, which must have the same shape; it takes the parameter's dtype."""
        array = as_array(value, f"the new value of {self.name or 'a parameter'}")
        if array.shape != self.shape:
            raise ValueError(f"parameter {self.name or ''} has shape {self.shape}; the new value has {array.shape}")
        self.value: Array | None = array.astype(self.dtype)


def tensor(value: Any, dtype: Any = None, *, requires_grad: bool = False, name: str | None = None) -> Tensor:
    """Make a tensor from numbers.

    Parameters
    ----------
    value
        A number, an array (of another library too) or nested lists of numbers. Copied.
    dtype
        float32, float64, an integer type or bool; default: that of `value`.
    requires_grad
        Record what is computed from it, so that ``backward`` computes its gradient.
    name
        Its name in graphs, plans and derivations.

    Raises
    ------
    TypeError
        For complex numbers, and for ``requires_grad`` on integers.

    Examples
    --------
    >>> import numpy as np
    >>> import chainrule as cr
    >>> x = cr.tensor([1, 2, 3], dtype=np.float32, name="x")
    >>> (x * 2).value
    array([2., 4., 6.], dtype=float32)
    """
    given = checked_array(value, "value") if dtype is None else as_array(value, "value")
    array = checked_array(np.array(given, dtype=dtype), "value")
    if requires_grad and array.dtype not in FLOATS:
        raise TypeError(f"value has dtype {array.dtype}: a gradient needs float32 or float64, e.g. dtype=np.float64")
    made = Tensor(array, name=name, recordings=frozenset({STANDING}) if requires_grad else _NOTHING)
    return made if array.shape else FUNCTIONS["as array"](made)


def constant(x: Any) -> Tensor:
    """Return `x` as a leaf through which no derivative is taken; Python scalars become weak."""
    if isinstance(x, Tensor):
        return latest(x)
    if type(x) in _SCALARS:
        leaf = Tensor(np.asarray(x))
        leaf.weak = type(x) is not bool
        return leaf
    return Tensor(checked_array(x, "a NumPy function's argument"))


def _held(x: Any) -> Tensor:
    """Return `x` as a leaf of a recorded graph, which later writes into the array do not reach."""
    leaf = constant(x)
    if type(x) is np.ndarray and leaf.value is x and x.flags.writeable:
        leaf.value = np.array(x)
    return leaf


_SCALARS = (float, int, bool)


def traced_leaf(
    shape: Shape, dtype: Any, recordings: frozenset[Recording], *, weak: bool = False, name: str | None = None
) -> Tensor:
    """Return an input without a value."""
    leaf = Tensor.__new__(Tensor)
    leaf.op, leaf.inputs, leaf.attrs, leaf.value = None, (), {}, None
    leaf.shape, leaf.dtype, leaf.name, leaf.weak = tuple(shape), np.dtype(dtype), name, weak
    leaf.recordings, leaf.grad, leaf.memory = recordings, None, None
    return leaf


def apply(op: Operation, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
    """Apply `op`: the one place where nodes are made.

    With arrays alone the result is an array; with a tensor among the inputs it is a tensor, computed at once if all
    values are known.
    """
    recordings = _NOTHING
    lifted = traced = mixed = False
    given = inputs
    values = []
    for x in inputs:
        if isinstance(x, Tensor):
            lifted = True
            if type(x) is Written:
                x, mixed = latest(x), True
            values.append(x.value)
            if x.value is None:
                traced = True
            if x.recordings is not recordings and x.recordings:
                recordings = recordings | x.recordings if recordings else x.recordings
        else:
            mixed = True
    if not lifted:
        return op.evaluate(*inputs, **attrs)
    if mixed:
        inputs = tuple([_held(x) if recordings or traced else constant(x) for x in inputs])
        values = [x.value for x in inputs]
    node = Tensor.__new__(Tensor)
    node.name = node.grad = node.memory = None
    node.weak = False
    if not traced:
        try:
            value = op.kernel(*values, **attrs) if op.kernel is not None else op.evaluate(*values, **attrs)
        except (ValueError, TypeError, IndexError):
            op.shape(*inputs, **attrs)  # raises the library's own message for shapes that do not fit
            raise
        if type(value) is not np.ndarray:
            value = np.asarray(value)
        node.value, node.shape, node.dtype = value, value.shape, value.dtype
    else:
        _refuse_stale(inputs)
        attrs = {k: _settled(v) for k, v in attrs.items()}
        node.value = None
        node.shape, node.dtype = op.shape(*inputs, **attrs)
    if recordings or traced:
        node.op, node.inputs, node.attrs = op, inputs, attrs
        if not op.differentiable:  # no derivative goes through, but a tensor without a value knows its trace
            recordings = frozenset([r for r in recordings if r.traces]) if traced else _NOTHING
        node.recordings = recordings
    elif TRACE.get() is not None and _has_graph(inputs):
        node.op, node.inputs, node.attrs, node.recordings = op, inputs, attrs, _NOTHING
    else:  # no derivative needs the operation
        node.op, node.inputs, node.attrs, node.recordings = None, (), {}, _NOTHING
    if op.kind is VIEW:
        FUNCTIONS["share"](node, given[0], op, attrs)
    return node


def _has_graph(inputs: tuple[Any, ...]) -> bool:
    """Whether constants were computed from parameters, by operations without a derivative."""
    for x in inputs:
        if x.op is not None:
            return True
    return False


def _settled(attribute: Any) -> Any:
    """Return an attribute of an operation with the integers in place of tensors: arguments of a traced function."""
    if isinstance(attribute, Tensor):
        return attribute.concrete("an argument that is not an array").item()
    if type(attribute) in (tuple, list):
        return type(attribute)([_settled(a) for a in attribute])
    if type(attribute) is slice:
        return slice(_settled(attribute.start), _settled(attribute.stop), _settled(attribute.step))
    return attribute


def _refuse_stale(inputs: tuple[Any, ...]) -> None:
    """Raise for tensors without a value whose trace is over: something has stored them."""
    for x in inputs:
        if x.value is not None:
            continue
        purpose = None
        for r in x.recordings:
            if r.traces:
                if r.active:
                    break
                purpose = purpose or r.purpose
        else:
            if purpose is None:
                continue
            raise StaleTensorError(
                f"a traced tensor (shape {x.shape}, {x.dtype}), which has no value, was stored during {purpose} and is "
                "used after it. It is not an argument of the function that uses it: return it from the one that "
                "computes it, or keep it by name with compile(…, keep=…)"
            )


def _not_dispatched(name: str) -> str:
    """Return the message for a function of SciPy that cannot be given tensors."""
    package = name.split(".")[1]
    remedy = f"Call chainrule.{name}" if name in FUNCTIONS else f"See whether chainrule.scipy.{package} has it"
    return (
        f"{name} takes plain arrays only, so its gradient would be lost. {remedy}, or apply it to tensor.detach() if "
        "it needs no derivative."
    )


def missing(name: str) -> str:
    """Return the message for a function of NumPy or SciPy without a rule."""
    return (
        f"{name} has no rule in chainrule, so its gradient would be lost. Express it through functions that have "
        "one (chainrule.ops.names() lists them), or apply it to tensor.detach() if it needs no derivative."
    )


def _named_out(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments with ``out`` given by name; those after it must have been given by name, too."""
    code = getattr(getattr(function, "__wrapped__", None), "__code__", None)  # of the Python function that NumPy wraps
    names = () if code is None else code.co_varnames[: code.co_argcount]
    at = names.index("out") if "out" in names else len(args)
    if at >= len(args):
        return args, kwargs
    return args[:at] + (None,) * (len(args) > at + 1) + args[at + 1 :], {**kwargs, "out": args[at]}


def _out(kwargs: dict[str, Any], name: str) -> Tensor | None:
    """Take ``out`` from keyword arguments: a tensor to write to, or None."""
    out = kwargs.pop("out", None)
    if isinstance(out, tuple):
        if len(out) > 1 and any(o is not None for o in out):
            raise TypeError(f"{name} on tensors takes no out= of several arrays; assign the results: x[...] = …")
        out = out[0]
    if out is None or isinstance(out, Tensor):
        return out
    raise TypeError(
        f"{name}(…, out=a) or an in-place operator (a += tensor) writes into a plain array, where the gradient would "
        f"be lost. Make a tensor to write to, a = np.zeros_like(tensor, shape={np.shape(out)}), or use a = a + tensor."
    )
