"""What a loop over parameters updates: ``for w, g in zip(weights, grads): w -= lr * g``, ``for layer in layers: …``.

The elements are told apart by their identity, as the loop's variable is one after the other.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .containers import is_float_array
from .updated_places import Place, assigned, evaluated, gradient_variable, identifier, is_parameter

#: Larger containers hold data.
MOST = 1000
#: Functions of an iterable with the same elements.
_SAME = {"reversed", "list", "tuple", "iter"}


@dataclass(frozen=True)
class LoopedPlace(Place):
    """What an update in a loop over a container changes: ``w``, ``layer.W``.

    Attributes
    ----------
    containers
        What the loops go through whose variable it is.
    """

    containers: tuple[ast.expr, ...] = ()

    def values(self, space: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arrays and numbers that it may be, by the names that they get."""
        return {e.name: e.value for e in self._elements(space)}

    def before(self, space: Mapping[str, Any]) -> list[ast.stmt]:
        """Return statements that put the values where they are kept, and remember which element has which identity."""
        made: list[ast.stmt] = [assigned(ast.Name(self._store(), ast.Store()), ast.Dict([], []))]
        for e in self._elements(space):
            made += [assigned(_stored(home), ast.Name(e.name, ast.Load())) for home in e.homes]
            made.append(assigned(ast.Name(self._key(e.name), ast.Store()), e.identity))
        return made

    def captured(self, target: ast.expr, gradient: ast.expr) -> ast.stmt:
        """Return the statement that keeps a gradient."""
        store = ast.Name(self._store(), ast.Load())
        return assigned(ast.Subscript(store, _identity(target), ast.Store()), gradient)

    def after(self, space: Mapping[str, Any]) -> list[ast.stmt]:
        """Return statements that put the gradients of the elements into variables."""
        made: list[ast.stmt] = []
        for name in self.values(space):
            held = ast.Attribute(ast.Name(self._store(), ast.Load()), "get", ast.Load())
            call = ast.Call(held, [ast.Name(self._key(name), ast.Load())], [])
            made.append(assigned(ast.Name(gradient_variable(name), ast.Store()), call))
        return made

    def _store(self) -> str:
        return gradient_variable(identifier(self.text)) + "_entries"

    def _key(self, name: str) -> str:
        return f"key_of_{identifier(self.text)}_{name}"

    def _elements(self, space: Mapping[str, Any]) -> list[_Element]:
        """Return what the loop's variable is, one after the other, with what is updated of it."""
        found: dict[int, _Element] = {}
        kept = homes(space)
        for container in self.containers:
            for element, held in _entries(container, space):
                for target, value in self._updated_of(element, held):
                    if is_parameter(value):
                        places = kept.get(id(value)) or [target]
                        name = identifier(ast.unparse(min(places, key=_rank)))
                        owner = ast.Name(name, ast.Load()) if isinstance(self.target, ast.Name) else target
                        found.setdefault(id(value), _Element(name, value, places, _identity(owner)))
        return list(found.values())

    def _updated_of(self, element: ast.expr, held: Any) -> Iterator[tuple[ast.expr, Any]]:
        """Yield what is updated of an element: itself, its attribute, the entries of its container."""
        if isinstance(self.target, ast.Name):
            yield element, held
            return
        assert isinstance(self.target, ast.Attribute | ast.Subscript)
        owner = _Replaced(element).visit(copy.deepcopy(self.target.value))
        value: Any = _within(self.target.value, held)
        if isinstance(self.target, ast.Attribute):
            yield ast.Attribute(owner, self.target.attr, ast.Load()), getattr(value, self.target.attr, None)
        elif isinstance(value, Mapping | list):
            fixed = self.target.slice.value if isinstance(self.target.slice, ast.Constant) else None
            pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
            for k, v in pairs:
                if fixed in (None, k):
                    yield ast.Subscript(owner, ast.Constant(k), ast.Load()), v


@dataclass(frozen=True)
class _Element:
    name: str
    value: Any
    homes: list[ast.expr]  # where it is kept
    identity: ast.expr


class _Replaced(ast.NodeTransformer):
    """An element in the place of the loop's variable, the only name in an expression's chain of attributes."""

    def __init__(self, element: ast.expr) -> None:
        self._element = element

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._element


def _within(path: ast.expr, held: Any) -> Any:
    """Return the attribute or entry of an element that an expression in the loop's variable is."""
    if isinstance(path, ast.Name):
        return held
    return evaluated(path, _Anything(held))


class _Anything(dict[str, Any]):
    """Names that are all one value."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self._value = value

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value."""
        return self._value


def bound(target: ast.expr, iterable: ast.expr) -> dict[str, ast.expr]:
    """Return the variables of a loop that are elements of a container, and the container of each.

    Examples
    --------
    >>> import ast
    >>> from chainrule.adapters.looped_places import bound
    >>> loop = ast.parse("for i, (w, g) in enumerate(zip(weights, grads)): pass").body[0]
    >>> {name: ast.unparse(container) for name, container in bound(loop.target, loop.iter).items()}
    {'w': 'weights', 'g': 'grads'}
    """
    called = iterable.func if isinstance(iterable, ast.Call) else None
    arguments = iterable.args if isinstance(iterable, ast.Call) else []
    parts = target.elts if isinstance(target, ast.Tuple | ast.List) else []
    name = called.id if isinstance(called, ast.Name) else ""
    if name == "zip" and len(parts) == len(arguments):
        found: dict[str, ast.expr] = {}
        for part, argument in zip(parts, arguments, strict=True):
            found |= bound(part, argument)
        return found
    if name == "enumerate" and len(parts) == 2 and arguments:
        return bound(parts[1], arguments[0])
    if name in _SAME and len(arguments) == 1:
        return bound(target, arguments[0])
    if isinstance(called, ast.Attribute) and called.attr == "items" and len(parts) == 2:
        return bound(parts[1], called.value)
    if isinstance(called, ast.Attribute) and called.attr == "values":
        return bound(target, called.value)
    return {target.id: iterable} if isinstance(target, ast.Name) else {}


def _entries(container: ast.expr, space: Mapping[str, Any]) -> Iterator[tuple[ast.expr, Any]]:
    """Yield what a container holds: expressions and values."""
    if isinstance(container, ast.List | ast.Tuple):
        yield from ((e, evaluated(e, space)) for e in container.elts)
        return
    whole, part = container, slice(None)
    if isinstance(container, ast.Subscript) and isinstance(container.slice, ast.Slice):
        whole = container.value
        with contextlib.suppress(ValueError):  # of bounds that are variables
            bounds = (container.slice.lower, container.slice.upper, container.slice.step)
            part = slice(*(None if b is None else ast.literal_eval(b) for b in bounds))
    held = evaluated(whole, space)
    if isinstance(whole, ast.Call) and not (whole.args or whole.keywords):
        method = evaluated(whole.func, space)
        held = list(method()) if callable(method) else None
        whole = ast.Call(ast.Name("list", ast.Load()), [whole], [])
    pairs: list[tuple[Any, Any]] = []
    if isinstance(held, Mapping):
        pairs = list(held.items())
    elif isinstance(held, list | tuple):
        pairs = list(enumerate(held))[part]
    yield from ((ast.Subscript(whole, ast.Constant(key), ast.Load()), value) for key, value in pairs)


def homes(space: Mapping[str, Any]) -> dict[int, list[ast.expr]]:
    """Return where arrays are kept, by their ids: variables, entries of lists and dicts, attributes of objects."""
    found: dict[int, list[ast.expr]] = {}
    seen: set[int] = set()
    stack: list[tuple[ast.expr, Any]] = [(ast.Name(n, ast.Load()), v) for n, v in space.items() if n[:2] != "__"]
    while stack:
        place, value = stack.pop()
        if is_float_array(value):
            found.setdefault(id(value), []).append(place)
        elif id(value) not in seen:
            seen.add(id(value))
            stack += _inside(place, value)
    return found


def _rank(place: ast.expr) -> tuple[bool, bool, int]:
    """Put variables first, then attributes: what an array is best called after."""
    return not isinstance(place, ast.Name), not isinstance(place, ast.Attribute), len(ast.unparse(place))


def _inside(place: ast.expr, value: Any) -> list[tuple[ast.expr, Any]]:
    """Return the places in a container or an object; of a tuple only those of objects, since it can't be changed."""
    if isinstance(value, Mapping | list | tuple):
        if len(value) > MOST:
            return []
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        held = [(k, v) for k, v in pairs if isinstance(k, int | str) and not isinstance(k, bool)]
        if isinstance(value, tuple):
            held = [(k, v) for k, v in held if not is_float_array(v)]
        return [(ast.Subscript(place, ast.Constant(k), ast.Load()), v) for k, v in held]
    kinds = type | types.ModuleType | types.FunctionType | types.MethodType
    if isinstance(value, kinds) or not hasattr(value, "__dict__"):
        return []
    return [(ast.Attribute(place, k, ast.Load()), v) for k, v in vars(value).items() if k.isidentifier()]


def _identity(target: ast.expr) -> ast.expr:
    """Return the identity of what is updated, as an expression: that of an object with an attribute or a key of it."""
    if isinstance(target, ast.Attribute):
        return _id(target.value)
    if isinstance(target, ast.Subscript):
        return ast.Tuple([_id(target.value), target.slice], ast.Load())
    return _id(target)


def _id(x: ast.expr) -> ast.expr:
    read: Any = copy.copy(x)
    read.ctx = ast.Load()
    return ast.Call(ast.Name("id", ast.Load()), [read], [])


def _stored(place: ast.expr) -> ast.expr:
    """Return a place as what is assigned to; a variable is that of the program, which its functions read."""
    if isinstance(place, ast.Name):
        return ast.Subscript(ast.Call(ast.Name("globals", ast.Load()), [], []), ast.Constant(place.id), ast.Store())
    found = copy.copy(place)
    assert isinstance(found, ast.Attribute | ast.Subscript)
    found.ctx = ast.Store()
    return found
