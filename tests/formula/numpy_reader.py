"""Reads a formula in its NumPy form: parsed, checked against a list of what may be in it, and interpreted."""

from __future__ import annotations

import ast
import importlib
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.core.op import row
from chainrule.ops.activations import binary_cross_entropy_with_logits
from chainrule.ops.erf import erf_array
from chainrule.ops.logits import cross_entropy_with_logits, logsumexp, softmax

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.MatMult: operator.matmul,
    ast.Pow: operator.pow,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sigmoid": ops.sigmoid,
    "softmax": softmax,
    "logsumexp": logsumexp,
    "norm2": lambda x, axis, keepdims=False: np.sqrt(np.sum(np.square(x), axis=axis, keepdims=keepdims)),
    "cross_entropy_with_logits": cross_entropy_with_logits,
    "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
    "erf": erf_array,
    "cofactor": lambda a: row("cofactor").evaluate(a),
    "slice": slice,
    "slogdet_sign": lambda a: row("slogdet_sign").evaluate(a),
    "logabsdet": lambda a: row("logabsdet").evaluate(a),
    "cholesky": lambda a: row("cholesky").evaluate(a),
    "scatter_add": lambda values, index, shape: _added(values, index, shape),
    "place": lambda values, index, shape: _added(values, index, shape),
    "uniform": lambda counter, seed, stream, shape: np.random.Generator(
        np.random.Philox(key=np.array([seed, stream], np.uint64), counter=np.array([0, counter, 0, 0], np.uint64))
    ).random(shape),
}
_NUMPY = frozenset(
    "sum max min prod all any exp exp2 expm1 log log1p log2 log10 sqrt cbrt sin cos tan arcsin arccos arctan arctan2 "
    "sinh cosh tanh arcsinh arccosh arctanh hypot absolute sign maximum minimum floor ceil rint trunc logaddexp where "
    "transpose reshape broadcast_to concatenate arange cumsum argmax argmin argsort isnan isinf isfinite signbit "
    "eye logical_and logical_or logical_xor logical_not searchsorted power square".split()
)
_LINALG = frozenset({"inv", "solve", "det", "cholesky", "pinv"})
_CONSTANTS = {"pi": np.pi, "nan": np.nan, "inf": np.inf}


def _added(values: Any, index: Any, shape: Any) -> Any:
    total = np.zeros(shape)
    np.add.at(total, index, values)
    return total


def evaluate(source: str, values: Mapping[str, Any]) -> Any:
    """Return the value of a formula in NumPy form.

    Raises
    ------
    ValueError
        For anything that a formula does not consist of.
    """
    with np.errstate(all="ignore"):
        return _Evaluator(values).visit(ast.parse(source, mode="eval").body)


class _Evaluator(ast.NodeVisitor):
    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def generic_visit(self, node: ast.AST) -> Any:
        raise ValueError(f"a formula does not hold {type(node).__name__}")

    def visit_Name(self, node: ast.Name) -> Any:
        if node.id not in self.values:
            raise ValueError(f"a formula names {node.id!r}, which is not known")
        return self.values[node.id]

    def visit_Constant(self, node: ast.Constant) -> Any:
        if node.value is None or node.value is Ellipsis or isinstance(node.value, int | float):
            return node.value
        raise ValueError(f"a formula does not hold {node.value!r}")

    def visit_Tuple(self, node: ast.Tuple) -> Any:
        return tuple(self.visit(x) for x in node.elts)

    def visit_Slice(self, node: ast.Slice) -> Any:
        return slice(*[None if x is None else self.visit(x) for x in (node.lower, node.upper, node.step)])

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        return np.asarray(self.visit(node.value))[self.visit(node.slice)]

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        if not isinstance(node.op, ast.USub):
            raise ValueError("a formula has no other sign than -")
        operand = np.asarray(self.visit(node.operand))
        return -(operand.astype(float) if operand.dtype == bool else operand)  # a condition is 1 or 0 in formulas

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        return _BINARY[type(node.op)](self.visit(node.left), self.visit(node.right))

    def visit_Compare(self, node: ast.Compare) -> Any:
        if len(node.ops) != 1:
            raise ValueError("a formula compares two things at a time")
        return _COMPARE[type(node.ops[0])](self.visit(node.left), self.visit(node.comparators[0]))

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        if isinstance(node.value, ast.Name) and node.value.id == "np" and node.attr in _CONSTANTS:
            return _CONSTANTS[node.attr]
        if node.attr != "T":
            raise ValueError(f"a formula does not use .{node.attr}")
        return np.asarray(self.visit(node.value)).T

    def visit_Call(self, node: ast.Call) -> Any:
        arguments = [self.visit(x) for x in node.args if not _is_type(x)]
        named = {k.arg: self._keyword(k) for k in node.keywords if k.arg is not None}
        return self._function(node)(*arguments, **named)

    def _keyword(self, keyword: ast.keyword) -> Any:
        return "stable" if keyword.arg == "kind" else self.visit(keyword.value)

    def _function(self, node: ast.Call) -> Callable[..., Any]:
        called = node.func
        if isinstance(called, ast.Name) and called.id in _FUNCTIONS:
            return _FUNCTIONS[called.id]
        if isinstance(called, ast.Attribute):
            inner = called.value
            if isinstance(inner, ast.Name) and inner.id == "np" and called.attr in _NUMPY:
                return getattr(np, called.attr)  # type: ignore[no-any-return]
            if ast.unparse(inner) == "np.linalg" and called.attr in _LINALG:
                return getattr(np.linalg, called.attr)  # type: ignore[no-any-return]
            if ast.unparse(inner) == "scipy.special":
                return getattr(importlib.import_module("scipy.special"), called.attr)  # type: ignore[no-any-return]
            if called.attr == "astype" and len(node.args) == 1 and _is_type(node.args[0]):
                kind = {"float": float, "int": int, "bool": bool}[ast.unparse(node.args[0])]
                array = np.asarray(self.visit(inner))
                return lambda: array.astype(kind)
        raise ValueError(f"a formula does not call {ast.unparse(called)}")


def _is_type(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("float", "int", "bool")
