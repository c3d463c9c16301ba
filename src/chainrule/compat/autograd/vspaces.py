"""autograd's vector spaces: shape and dtype of a value or a nest of values, with their arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from ...core.tensor import Tensor
from ...core.tree import flatten, tree_map, unflatten

_NUMBERS = (int, float, np.number, np.ndarray, Tensor)


def differentiable(x: Any) -> Any:
    """Return a nest with integers as float64, so that a derivative can be taken of them."""
    return tree_map(lambda v: np.asarray(v, np.float64)[()] if _is_integer(v) else v, x)


def _is_integer(x: Any) -> bool:
    return not isinstance(x, Tensor | float | bool) and getattr(np.asarray(x), "dtype", np.dtype(object)).kind in "iu"


class VSpace:
    """The space of values of the structure, shapes and dtypes of one value.

    A subclass, with ``zeros``, ``_add``, ``_scalar_mul`` and ``_inner_prod``, may be registered for a class of values.
    """

    iscomplex = False
    mappings: ClassVar[dict[type, Callable[[Any], Any]]] = {}

    @classmethod
    def register(cls, value_type: type, vspace_maker: Callable[[Any], Any] | None = None) -> None:
        """Make this the space of the values of a class."""
        VSpace.mappings[value_type] = vspace_maker or cls

    def __init__(self, value: Any) -> None:
        leaves, self.structure = flatten(value)
        for x in leaves:
            if not isinstance(x, _NUMBERS) or getattr(x, "dtype", np.dtype(float)).kind not in "fiu":
                raise TypeError(
                    f"there is no vector space for {x!r} of type {type(x).__name__}: expected real numbers, arrays of "
                    "them, or dicts, lists and tuples of these"
                )
        self.shapes = [np.shape(x) for x in leaves]
        self.dtypes = [x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype for x in leaves]

    @property
    def shape(self) -> Any:
        """The shape of an array; for a nest, the nest of shapes."""
        return self._nest(self.shapes)

    @property
    def dtype(self) -> Any:
        """The dtype of an array; for a nest, the nest of dtypes."""
        return self._nest(self.dtypes)

    @property
    def ndim(self) -> int:
        """Number of axes of an array."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The dimension of the space: the number of all elements."""
        return sum(int(np.prod(s)) for s in self.shapes)

    def _nest(self, leaves: Any) -> Any:
        return unflatten(self.structure, leaves)

    def _filled(self, make: Any) -> Any:
        return self._nest([make(s).astype(d) for s, d in zip(self.shapes, self.dtypes, strict=True)])

    def zeros(self) -> Any:
        """Return the zero of the space."""
        return self._filled(np.zeros)

    def ones(self) -> Any:
        """Return a value of ones."""
        return self._filled(np.ones)

    def randn(self) -> Any:
        """Return a value of normal numbers, from NumPy's global generator, as in autograd."""
        return self._filled(lambda shape: np.asarray(np.random.standard_normal(shape)))

    def standard_basis(self) -> Iterator[Any]:
        """Yield the unit vectors."""
        for k, shape in enumerate(self.shapes):
            for index in np.ndindex(*shape):
                leaves = [np.zeros(s, d) for s, d in zip(self.shapes, self.dtypes, strict=True)]
                leaves[k][index] = 1
                yield self._nest(leaves)

    def add(self, x: Any, y: Any) -> Any:
        """Return x + y."""
        return self._add(x, y)

    mut_add = add  # tensors are values: nothing is gained by writing into x

    def scalar_mul(self, x: Any, a: Any) -> Any:
        """Return a x."""
        return self._scalar_mul(x, a)

    def inner_prod(self, x: Any, y: Any) -> Any:
        """Return ⟨x, y⟩."""
        return self._inner_prod(x, y)

    def _add(self, x: Any, y: Any) -> Any:
        return tree_map(lambda a, b: a + b, x, y)

    def _scalar_mul(self, x: Any, a: Any) -> Any:
        return tree_map(lambda v: v * a, x)

    def _inner_prod(self, x: Any, y: Any) -> Any:
        pairs = zip(flatten(x)[0], flatten(y)[0], strict=True)
        return sum((np.dot(np.ravel(a), np.ravel(b)) for a, b in pairs), 0.0)

    def covector(self, x: Any) -> Any:
        """Return `x`: the spaces are real."""
        return x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VSpace) and (
            (self.structure, self.shapes, self.dtypes) == (other.structure, other.shapes, other.dtypes)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"VSpace(shape {self.shape}, {self.dtype})"


def vspace(value: Any) -> Any:
    """Return the space of `value`: a number, an array, a nest of them, or a value of a registered class."""
    return VSpace.mappings.get(type(value), VSpace)(value)
