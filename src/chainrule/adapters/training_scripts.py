"""Scripts and notebooks with nothing to call: one iteration of their training loop, as a function of what it reads.

The file runs up to its loop. The parameters are what the loop updates (``W -= lr * dW``), their gradients what the
update multiplies by the learning rate, and the loss a variable of that name; where there is none, it is assumed from
the difference of target and output.
"""

from __future__ import annotations

import ast
import copy
import functools
import json
import operator
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .containers import is_number_array
from .loss_functions import LossFunction, with_variables
from .program import imported, tolerant
from .recorded_run import AuditError
from .signatures import LEARNING_RATES
from .updated_places import Place, gradient_variable, places_in, updated_by

_LOSS = re.compile(r"loss|cost|mse|nll|objective|^(J|L|E)$|error", re.IGNORECASE)
_RATES = {*LEARNING_RATES, "l_rate", "learn_rate", "step", "LR", "LEARNING_RATE"}
_REACHED = "__reached__"
_LEFT_OUT = {"print", "append", "write", "plot", "pause", "show", "flush"}
Loss = Callable[[Mapping[str, Any]], Any]
Loop = ast.For | ast.While


def source_of(path: Path) -> str:
    """Return the program in a file, of a notebook the cells with code, without their magic commands."""
    text = path.read_text("utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = ["".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    return re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", "\n".join(cells)) + "\n"


def own_source(path: Path) -> str | None:
    """Return the program in a notebook, None for a file that is a program."""
    return source_of(path) if path.suffix == ".ipynb" else None


def tree_of(path: Path) -> ast.Module:
    """Return the program in a file as a tree."""
    return ast.parse(source_of(path), str(path))


class TrainingScript(LossFunction):
    """The training loop of a script.

    Parameters
    ----------
    path : Path
        A Python file or a notebook.
    assumed : int
        Which of the losses is assumed where the script computes none.
    """

    def __init__(self, path: Path, assumed: int = 0) -> None:
        tree = tree_of(path)
        loop = training_loop(tree.body)
        inside = loop_in_function(tree) if loop is None else None
        found = loop or inside
        if found is None:
            raise AuditError(f"{path.name} has no loop that updates parameters, such as W -= learning_rate * dW")
        self.line, self.file = found.lineno, path.name
        loop = copy.deepcopy(found)
        space = _space_at(path, tree, found) if inside is not None else _space_before(path, tree, found)
        places = places_in(loop, space)
        self.updates = {n: place.line for place in places for n in place.names(space)}
        read = {n.id for s in loop.body for n in ast.walk(s) if isinstance(n, ast.Name)}
        args = {n: _as_data(space[n]) for n in space if n in read and is_number_array(space[n])}
        args |= {n: np.asarray(x) for place in places for n, x in place.values(space).items()}
        self.updates = {n: line for n, line in self.updates.items() if n in args and args[n].dtype.kind == "f"}
        function = _iteration(loop.body, places, list(args), str(path), space)
        self._loss, self.loss_text, self.assumed = _loss_of(function, args, loop.body, self.updates, assumed)
        super().__init__(function, list(args.values()), {})
        self.exact = tuple(dict.fromkeys((*self.exact, *self.updates)))  # also what is never updated of a list
        self.title = f"Audit of {path.name}"

    def describe(self) -> str:
        """Return how the code was understood, in a line."""
        lines = ", ".join(str(n) for n in dict.fromkeys(self.updates.values()))
        text = f"script {self.file}, loop at line {self.line}; parameters {', '.join(self.updates)} from the updates "
        return text + f"at line{'s' if ',' in lines else ''} {lines}; {self.loss_text}"

    def forward(self, values: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return (loss, the variables of the iteration)."""
        _, variables = with_variables(self.code["function"], *self._arguments.parts(values))
        self._last = variables
        found = {n: variables.pop(gradient_variable(n), None) for n in self.updates}
        gradients = {f"d{n}": g for n, g in found.items() if g is not None}
        return self._loss(variables), {"gradients": [gradients], "variables": variables}


def _as_data(x: Any) -> Any:
    """Return an array, a matrix of integers as one of numbers, since its methods are used on what is recorded."""
    return x.astype(np.float64) if x.ndim > 1 and x.dtype.kind in "iub" else x


# -- the loop ----------------------------------------------------------------------------------------------------------


def training_loop(body: Sequence[ast.stmt]) -> Loop | None:
    """Return the first loop, outside functions, that updates variables."""
    return next(_loops_of_updates(body, ()), None)


def loop_in_function(tree: ast.Module) -> Loop | None:
    """Return the first such loop in a function or a method."""
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))
    return next((loop for f in functions for loop in _loops_of_updates(f.body, ())), None)


def _loops_of_updates(body: Sequence[ast.stmt], loops: tuple[Loop, ...]) -> Iterator[Loop]:
    """Yield the loop that repeats each update: not one over layers, whose variable says which parameter is updated."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            continue
        target = updated_by(statement)
        if target is not None:
            names = {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
            yield from [loop for loop in reversed(loops) if not names & _variables_of(loop)][:1]
        inner = (*loops, statement) if isinstance(statement, ast.For | ast.While) else loops
        yield from _loops_of_updates([s for s in ast.iter_child_nodes(statement) if isinstance(s, ast.stmt)], inner)


def _variables_of(loop: Loop) -> set[str]:
    return {n.id for n in ast.walk(loop.target) if isinstance(n, ast.Name)} if isinstance(loop, ast.For) else set()


def _space_before(path: Path, tree: ast.Module, loop: Loop) -> dict[str, Any]:
    """Run a program up to a loop of its own; return its variables."""
    before = ast.fix_missing_locations(ast.Module(_up_to(tree.body, loop), []))
    with imported(path, compile(before, str(path), "exec"), own_source(path)) as program:
        return dict(vars(program))


def _space_at(path: Path, tree: ast.Module, loop: Loop) -> dict[str, Any]:
    """Run a program up to a loop in one of its functions; return the variables that the loop can read."""
    kept = f"globals()['{_REACHED}'] = dict(locals())\nraise SystemExit"
    stopped = _Replacing(loop, ast.parse(kept).body).visit(copy.deepcopy(tree))
    with imported(path, tolerant(ast.fix_missing_locations(stopped), str(path)), own_source(path)) as program:
        if not hasattr(program, _REACHED):
            raise AuditError(f"the loop at line {loop.lineno} is not reached: {path.name} does not call its function")
        return {**vars(program), **getattr(program, _REACHED)}


class _Replacing(ast.NodeTransformer):
    """Put statements in the place of a loop's body, and take the program for the one that is started."""

    def __init__(self, loop: Loop, statements: list[ast.stmt]) -> None:
        self._line, self._statements = (loop.lineno, loop.col_offset), statements

    def _loop(self, node: Loop) -> Any:
        if (node.lineno, node.col_offset) != self._line:
            return self.generic_visit(node)
        node.body, node.orelse = self._statements, []  # within the loop, whose variable has its first value
        return node

    visit_For = visit_While = _loop

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.copy_location(ast.Constant("__main__"), node) if node.id == "__name__" else node


def _up_to(body: Sequence[ast.stmt], loop: ast.stmt) -> list[ast.stmt]:
    """Return the statements up to the loop, and the loop with nothing in it."""
    found: list[ast.stmt] = []
    for statement in body:
        if statement is loop or any(s is loop for s in ast.walk(statement)):
            shortened: Any = copy.copy(statement)
            rest = [] if statement is loop else _up_to(shortened.body, loop)
            shortened.body = [*rest, ast.Break()] if isinstance(statement, ast.For | ast.While) else rest
            if hasattr(shortened, "orelse"):
                shortened.orelse = []
            return [*found, shortened]
        found.append(statement)
    return found


class _Straight(ast.NodeTransformer):
    """Leave out what ends or repeats the loop, and what prints or collects."""

    def _nothing(self, node: ast.AST) -> ast.AST:
        return ast.copy_location(ast.Pass(), node)

    visit_Break = visit_Continue = visit_Return = _nothing

    def visit_For(self, node: ast.For) -> ast.AST:
        return node

    def visit_While(self, node: ast.While) -> ast.AST:
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        called = node.value.func if isinstance(node.value, ast.Call) else None
        name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
        return self._nothing(node) if name in _LEFT_OUT else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        stores = isinstance(node.targets[0], ast.Subscript) and isinstance(node.value, ast.Name)
        return self._nothing(node) if stores and _LOSS.search(ast.unparse(node.value)) else node


def _iteration(
    body: Sequence[ast.stmt], places: Sequence[Place], names: Sequence[str], file: str, space: dict[str, Any]
) -> Any:
    """Return the body of the loop as a function; what updates multiply by the learning rate is in variables."""
    known = {place.text: place for place in places}
    kept = [_Straight().visit(s) for s in body]
    kept = [part for s in kept for part in _as_list(_Capturing(known).visit(s))]
    statements = [s for place in places for s in place.before(space)] + kept
    statements += [s for place in places for s in place.after(space)]
    arguments = ast.arguments([], [ast.arg(n) for n in names], None, [], [], None, [])
    function: Any = ast.FunctionDef("iteration", arguments, statements, [], None, None)
    function.type_params = []
    code = compile(ast.fix_missing_locations(ast.Module([function], [])), file, "exec")
    inner = next(c for c in code.co_consts if isinstance(c, types.CodeType))
    return types.FunctionType(inner, space, "iteration")


def _as_list(found: Any) -> list[ast.stmt]:
    return found if isinstance(found, list) else [found]


class _Capturing(ast.NodeTransformer):
    """Keep what each update subtracts, before it is made."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = places

    def _update(self, node: Any) -> Any:
        target = updated_by(node)
        place = self._places.get(ast.unparse(target)) if target is not None else None
        if place is None or target is None:
            return node
        return [ast.copy_location(place.captured(target, _gradient(node)), node), node]

    visit_AugAssign = visit_Assign = _update


def _gradient(update: Any) -> ast.expr:
    """Return what an update subtracts, without the learning rate: a name, or else a number."""
    sums: Any = update if isinstance(update, ast.AugAssign) else update.value
    term = sums.value if sums is update else sums.right
    named = any(_is_rate(n) for n in ast.walk(term))
    gradient = _without_rate(term, named) or ast.Constant(1.0)
    return ast.UnaryOp(ast.USub(), gradient) if isinstance(sums.op, ast.Add) else gradient


def _is_rate(node: ast.AST) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in _RATES


def _without_rate(term: ast.expr, named: bool) -> ast.expr | None:
    """Return a product without the factors that are learning rates; None if nothing is left."""
    if _is_rate(term) if named else isinstance(term, ast.Constant):
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


# -- the loss ----------------------------------------------------------------------------------------------------------


def _loss_of(
    function: Any, args: Mapping[str, Any], body: Sequence[ast.stmt], updated: Mapping[str, int], assumed: int
) -> tuple[Loss, str, bool]:
    """Return the loss as a function of the variables, how it was understood, and whether it is assumed."""
    with np.errstate(all="ignore"):
        copies = [np.array(a, np.float64) if a.dtype.kind == "f" else a.copy() for a in args.values()]
        _, variables = with_variables(function, *copies)
    names = [(n, s) for s in body for n in ast.walk(s) if isinstance(n, ast.Name)]
    assigned = [(n.id, s) for n, s in names if isinstance(n.ctx, ast.Store)]
    for name, s in reversed(assigned):
        if _LOSS.search(name) and np.size(variables.get(name, ())) == 1:
            return operator.itemgetter(name), f"loss: {name}, line {s.lineno}", False
    data = {n for n in args if n not in updated}
    for error, output, target in _differences(body, data):
        if np.ndim(variables.get(error, 0.0)):
            loss, text = _ASSUMED[assumed]
            return functools.partial(_assumed, loss, output, target), f"loss assumed: {text} of {output}", True
    raise AuditError("the loop computes no loss, and no difference of an output and a target from which to assume one")


def _assumed(loss: Callable[[Any, Any], Any], output: str, target: str, variables: Mapping[str, Any]) -> Any:
    return loss(variables[output], variables[target])


def _differences(body: Sequence[ast.stmt], data: set[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the variables that hold output − target or target − output, with the two."""
    for s in body:
        if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name):
            for part in ast.walk(s.value):
                if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Sub):
                    pair = [x.id for x in (part.left, part.right) if isinstance(x, ast.Name)]
                    if len(pair) == 2 and len(data & set(pair)) == 1:
                        target = next(iter(data & set(pair)))
                        yield s.targets[0].id, next(n for n in pair if n != target), target


def _entropy(a: Any, y: Any) -> Any:
    return -np.sum(y * np.log(a) + (1 - y) * np.log(1 - a))


#: The losses that are assumed, in this order, with what they are called.
_ASSUMED: tuple[tuple[Callable[[Any, Any], Any], str], ...] = (
    (lambda a, y: np.sum((a - y) ** 2) / 2, "half the squared error"),
    (lambda a, y: np.sum((a - y) ** 2) / 2 / len(y), "half the squared error, divided by the number of rows,"),
    (_entropy, "cross entropy"),
    (lambda a, y: _entropy(a, y) / len(y), "cross entropy, divided by the number of rows,"),
    (lambda a, y: -np.sum(y * np.log(a)), "cross entropy of classes"),
    (lambda a, y: -np.sum(y * np.log(a)) / len(y), "cross entropy of classes, divided by the number of rows,"),
)
CHOICES = len(_ASSUMED)
