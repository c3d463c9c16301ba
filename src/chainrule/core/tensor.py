"""Tensors: nodes of the graph that behave as arrays.

A `Tensor` is an operation applied to inputs. Computed at once (eager) it has a value; while a function is traced it
has a shape and a dtype only. Both build the same graph, and everything else in the library reads that graph.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

from . import habits
from .arguments import unexpected
from .arrays import FLOATS, as_array, checked_array
from .dispatch import Dispatched
from .keywords import translates
from .methods import ArrayMethods
from .node import FROZEN, FUNCTIONS, NOTHING, STANDING, TRACE, Recording
from .op import Array, Shape


class Tensor(ArrayMethods, Dispatched):
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

    __slots__ = ()

    inputs: tuple[Tensor, ...]

    def __dir__(self) -> list[str]:
        kind = type(self)
        return [name for name in dir(kind) if not isinstance(inspect.getattr_static(kind, name), _Missing)]

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a tensor with 0 dimensions")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a tensor with 0 dimensions")
        return (self[i] for i in range(self.shape[0]))

    def __hash__(self) -> int:
        if self._is_integer_argument():
            return hash(self.item())  # an integer argument of a traced function, looked up in a dict
        return object.__hash__(self)

    def detach(self) -> Tensor:
        """Return the same value as a constant, through which no derivative is taken."""
        if self.value is None or TRACE.get() is not None:  # a plan reads the parameters that it depends on at each call
            return FUNCTIONS["stop_gradient"](self)  # type: ignore[no-any-return]
        return Tensor(self.value)

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

    @translates
    def backward(self, gradient: Any = None) -> None:
        """Add the gradient of this scalar to ``.grad`` of every leaf made with ``requires_grad=True``.

        Parameters
        ----------
        gradient
            The cotangent to start from, shaped like this tensor; needed unless the tensor is a scalar.
        """
        FUNCTIONS["backward"](self, gradient)

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


def _restored_parameter(value: Array, name: str | None, requires_grad: bool = True) -> Parameter:
    return Parameter(value, name=name, requires_grad=requires_grad)


def _restored(value: Array, name: str | None, weak: bool, requires_grad: bool) -> Tensor:
    made = tensor(value, requires_grad=requires_grad, name=name)
    made.weak = weak
    return made


class Parameter(Tensor):
    """A leaf that is trained: its value may be replaced (never written into) by `assign`.

    With ``requires_grad = False`` it is frozen: it gets no gradient, and ``fit`` does not change it. It stays part of
    its module, and of files.

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

    @translates
    def __init__(self, value: Any, *, name: str | None = None, requires_grad: bool = True) -> None:
        array = np.array(value)
        if array.dtype not in FLOATS:
            raise TypeError(f"value: expected dtype float32 or float64 for a parameter, got {array.dtype}")
        super().__init__(array, name=name)
        self.requires_grad = requires_grad

    @property
    def requires_grad(self) -> bool:
        """Whether it is trained; False for a frozen one."""
        return STANDING in self.recordings

    @requires_grad.setter
    def requires_grad(self, value: Any) -> None:
        if not isinstance(value, bool | np.bool):
            raise unexpected("requires_grad", "True or False", value)
        self.recordings = frozenset({STANDING if value else FROZEN})

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set `requires_grad`; return the parameter."""
        self.requires_grad = requires_grad
        return self

    def __deepcopy__(self, memo: Any) -> Parameter:
        return Parameter(self.value, name=self.name, requires_grad=self.requires_grad)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _restored_parameter, (self.value, self.name, self.requires_grad)

    def assign(self, value: Any) -> None:
        """Replace the value by a copy of `value`, which must have the same shape; it takes the parameter's dtype."""
        array = as_array(value, f"the new value of {self.name or 'a parameter'}")
        if array.shape != self.shape:
            raise ValueError(f"parameter {self.name or ''} has shape {self.shape}; the new value has {array.shape}")
        self.value: Array | None = array.astype(self.dtype)


@translates
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
    made = Tensor(array, name=name, recordings=frozenset({STANDING}) if requires_grad else NOTHING)
    return made if array.shape else FUNCTIONS["as array"](made)


def constant(x: Any) -> Tensor:
    """Return `x` as a leaf through which no derivative is taken; Python scalars become weak."""
    if isinstance(x, Tensor):
        return latest(x)
    if type(x) in _SCALARS:
        leaf = Tensor(np.asarray(x))
        leaf.weak = type(x) is not bool
        return leaf
    if type(x) is np.ndarray and (x.dtype is _FLOAT32 or x.dtype is _FLOAT64):
        return Tensor(x)
    return Tensor(checked_array(x, "a NumPy function's argument"))


_SCALARS = (float, int, bool)
_FLOAT32, _FLOAT64 = FLOATS


def traced_leaf(
    shape: Shape, dtype: Any, recordings: frozenset[Recording], *, weak: bool = False, name: str | None = None
) -> Tensor:
    """Return an input without a value."""
    leaf = Tensor.__new__(Tensor)
    leaf.op, leaf.inputs, leaf.attrs, leaf.value = None, (), {}, None
    leaf.shape, leaf.dtype, leaf.name, leaf.weak = tuple(shape), np.dtype(dtype), name, weak
    leaf.recordings, leaf.grad, leaf.memory = recordings, None, None
    return leaf
