"""What the statements of a training loop update: variables, entries of lists and dicts, attributes of objects."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .containers import is_float_array


@dataclass(frozen=True)
class Place:
    """What an update changes: ``W``, ``weights[i]``, ``params["W1"]``, ``net.W``.

    Attributes
    ----------
    target
        The expression.
    line : int
    """

    target: ast.expr
    line: int

    @property
    def text(self) -> str:
        """The expression as text."""
        return ast.unparse(self.target)

    def values(self, space: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arrays and numbers that it may be, by the names that they get."""
        if isinstance(self.target, ast.Name):
            held = space.get(self.target.id)
            return {self.target.id: held} if is_parameter(held) else {}
        return {self._name(key): x for key, x in self._entries(space).items()}

    def names(self, space: Mapping[str, Any]) -> list[str]:
        """Return the names of `values`."""
        return list(self.values(space))

    def before(self, space: Mapping[str, Any]) -> list[ast.stmt]:
        """Return statements that put the values into the container, and make a place for their gradients."""
        if isinstance(self.target, ast.Name):
            return []
        made: list[ast.stmt] = [assigned(ast.Name(self._store(), ast.Store()), ast.Dict([], []))]
        for key in self._entries(space):
            made.append(assigned(self._at(ast.Constant(key)), ast.Name(self._name(key), ast.Load())))
        return made

    def captured(self, target: ast.expr, gradient: ast.expr) -> ast.stmt:
        """Return the statement that keeps a gradient."""
        if isinstance(target, ast.Name):
            return assigned(ast.Name(gradient_variable(target.id), ast.Store()), gradient)
        key = target.slice if isinstance(target, ast.Subscript) else ast.Constant(_attribute(target))
        return assigned(ast.Subscript(ast.Name(self._store(), ast.Load()), key, ast.Store()), gradient)

    def after(self, space: Mapping[str, Any]) -> list[ast.stmt]:
        """Return statements that put the gradients of a container's entries into variables."""
        if isinstance(self.target, ast.Name):
            return []
        held = ast.Attribute(ast.Name(self._store(), ast.Load()), "get", ast.Load())
        variables = {key: ast.Name(gradient_variable(self._name(key)), ast.Store()) for key in self._entries(space)}
        return [assigned(v, ast.Call(held, [ast.Constant(key)], [])) for key, v in variables.items()]

    def _container(self) -> ast.expr:
        assert isinstance(self.target, ast.Subscript | ast.Attribute)
        return self.target.value

    def _entries(self, space: Mapping[str, Any]) -> dict[Any, Any]:
        """Return what the container holds, by its keys; one entry for a constant key."""
        held = evaluated(self._container(), space)
        if isinstance(self.target, ast.Attribute):
            found: dict[Any, Any] = {_attribute(self.target): getattr(held, _attribute(self.target), None)}
        else:
            pairs = held.items() if isinstance(held, Mapping) else enumerate(held if isinstance(held, list) else ())
            key = self.target.slice if isinstance(self.target, ast.Subscript) else None
            found = {k: x for k, x in pairs if not isinstance(key, ast.Constant) or key.value == k}
        return {k: x for k, x in found.items() if is_parameter(x) and isinstance(k, int | str)}

    def _at(self, key: ast.Constant) -> ast.expr:
        if isinstance(self.target, ast.Attribute):
            return ast.Attribute(self._container(), str(key.value), ast.Store())
        return ast.Subscript(self._container(), key, ast.Store())

    def _store(self) -> str:
        return gradient_variable(identifier(ast.unparse(self._container()))) + "_entries"

    def _name(self, key: Any) -> str:
        return identifier(f"{ast.unparse(self._container())}_{key}")


def gradient_variable(name: str) -> str:
    """Return the variable that holds the gradient of a parameter."""
    return f"gradient_of_{name}"


def identifier(text: str) -> str:
    """Return an expression's text as a name."""
    return re.sub(r"\W+", "_", text).strip("_")


def _attribute(target: ast.expr) -> str:
    return target.attr if isinstance(target, ast.Attribute) else ""


def assigned(target: ast.expr, value: ast.expr) -> ast.stmt:
    """Return an assignment."""
    return ast.Assign([target], value)


def is_parameter(x: Any) -> bool:
    """Whether a value may be trained: an array of floating-point numbers, or such a number."""
    return is_float_array(x) or isinstance(x, float)


def evaluated(node: ast.expr, space: Mapping[str, Any]) -> Any:
    """Return what a name, or an attribute or an entry of one, is; None where it is not known."""
    if isinstance(node, ast.Name):
        return space.get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(evaluated(node.value, space), node.attr, None)
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
        held: Any = evaluated(node.value, space)
        key: Any = node.slice.value
        return held[key] if isinstance(held, dict) or (isinstance(held, list) and isinstance(key, int)) else None
    return None
