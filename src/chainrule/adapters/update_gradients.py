"""The gradient in an update of a parameter: what is left without the learning rate and what an optimiser makes of it.

Of ``W -= lr * dW`` it is ``dW``; of ``W -= lr * m / (np.sqrt(v) + eps)``, where ``m = b1 * m + (1 - b1) * dW``, too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .parameter_updates import difference_of
from .signatures import LEARNING_RATES

_RATES = {*LEARNING_RATES, "l_rate", "learn_rate", "step", "LR", "LEARNING_RATE"}
_FACTOR = re.compile(r"^(beta|mu|rho|momentum|decay|gamma|alpha|b)_?\d?$|decay_?rate", re.IGNORECASE)
#: How many names are looked up: m_hat, m, dW.
_DEEPEST = 4

Made = Mapping[str, ast.expr]  # what a variable is assigned, or added to


def gradient_in(update: Any, made: Made) -> ast.expr:
    """Return what an update subtracts, without the learning rate: a name, or else a number.

    Parameters
    ----------
    update : ast.AugAssign or ast.Assign
    made : mapping
        Of the loop's variables, as `made_in` returns it.
    """
    sums: Any = update if isinstance(update, ast.AugAssign) else difference_of(update)
    term = sums.value if sums is update else sums.right
    named = any(is_rate(n) for n in ast.walk(term))
    gradient = _without_optimiser(_without_rate(term, named) or ast.Constant(1.0), made, _DEEPEST)
    return ast.UnaryOp(ast.USub(), gradient) if isinstance(sums.op, ast.Add) else gradient


def is_rate(node: ast.AST) -> bool:
    """Whether an expression is called as a learning rate is."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in _RATES


def _without_rate(term: ast.expr, named: bool) -> ast.expr | None:
    """Return a product without the factors that are learning rates; None if nothing is left."""
    if is_rate(term) if named else isinstance(term, ast.Constant):
        return None
    if isinstance(term, ast.UnaryOp) and isinstance(term.op, ast.USub):
        return ast.UnaryOp(ast.USub(), _without_rate(term.operand, named) or ast.Constant(1.0))
    if isinstance(term, ast.BinOp) and isinstance(term.op, ast.Mult | ast.Div | ast.MatMult):
        left = _without_rate(term.left, named)
        if isinstance(term.op, ast.Div):
            return ast.BinOp(left or ast.Constant(1.0), term.op, term.right)
        right = _without_rate(term.right, named)
        return ast.BinOp(left, term.op, right) if left and right else left or right
    return term


# -- optimisers --------------------------------------------------------------------------------------------------------


def made_in(statements: Iterable[ast.stmt]) -> dict[str, ast.expr]:
    """Return what a loop assigns to its variables, by their text; ``v += x`` as ``v + x``."""
    found: dict[str, ast.expr] = {}
    for s in statements:
        for node in ast.walk(s):
            if isinstance(node, ast.Assign):
                found[ast.unparse(node.targets[0])] = node.value
            elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub):
                found[ast.unparse(node.target)] = ast.BinOp(node.target, node.op, node.value)
    return found


def _without_optimiser(term: ast.expr, made: Made, left: int) -> ast.expr:
    """Return the gradient in what an optimiser makes of it: an average, with or without momentum, over a root."""
    if isinstance(term, ast.UnaryOp) and isinstance(term.op, ast.USub):
        return ast.UnaryOp(term.op, _without_optimiser(term.operand, made, left))
    if isinstance(term, ast.BinOp) and isinstance(term.op, ast.Div) and _has_root(term.right):
        return _without_optimiser(term.left, made, left)
    text = ast.unparse(term)
    value = made.get(text)
    if value is None or not left:
        return term
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add | ast.Sub):
        found = _averaged(value, text)
        return term if found is None else _without_optimiser(found, made, left - 1)
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Div) and _is_number(value.right):
        inner = _without_optimiser(value.left, made, left - 1)  # m / (1 - b1**t)
        return term if inner is value.left else inner
    return term


def _averaged(value: ast.BinOp, text: str) -> ast.expr | None:
    """Return g in ``v = a * v ± b * g``; None for another sum."""
    own, other = (value.left, value.right) if _contains(value.left, text) else (value.right, value.left)
    if not _contains(own, text) or _contains(other, text) or not _is_multiple(own, text):
        return None
    gradient = _without_numbers(other)
    negative = isinstance(value.op, ast.Sub) and other is value.right
    return ast.UnaryOp(ast.USub(), gradient) if negative and gradient is not None else gradient


def _contains(node: ast.expr, text: str) -> bool:
    return any(isinstance(n, ast.expr) and ast.unparse(n) == text for n in ast.walk(node))


def _is_multiple(node: ast.expr, text: str) -> bool:
    rest = _without_numbers(node)
    return rest is not None and ast.unparse(rest) == text


def _without_numbers(node: ast.expr) -> ast.expr | None:
    """Return a product without its factors that are numbers."""
    if _is_number(node):
        return None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        parts = [_without_numbers(node.left), _without_numbers(node.right)]
        return ast.BinOp(parts[0], node.op, parts[1]) if parts[0] and parts[1] else parts[0] or parts[1]
    return node


def _is_number(node: ast.expr) -> bool:
    """Whether an expression is a constant, a rate, a setting of an optimiser, or one minus a power of such."""
    if isinstance(node, ast.Constant) or is_rate(node):
        return True
    if isinstance(node, ast.Name | ast.Attribute):
        return bool(_FACTOR.search(node.id if isinstance(node, ast.Name) else node.attr))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _is_number(node.left)
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and isinstance(node.left, ast.Constant)


def _has_root(node: ast.expr) -> bool:
    """Whether an expression has a square root in it."""
    for n in ast.walk(node):
        if isinstance(n, ast.Call) and ast.unparse(n.func).rpartition(".")[2] == np.sqrt.__name__:
            return True
        if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Pow) and ast.unparse(n.right) in ("0.5", "1 / 2"):
            return True
    return False
