"""Scripts and notebooks with nothing to call: one iteration of their training loop, as a function of what it reads.

The file runs up to its loop. The parameters are what the loop updates (``W -= lr * dW``), their gradients what the
update multiplies by the learning rate, and the loss a variable of that name; where there is none, it is assumed from
the difference of target and output.
"""

from __future__ import annotations

import ast
import copy
import functools
import itertools
import json
import operator
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .code_copies import CodeCopies
from .containers import is_number_array
from .drawn_arguments import draws_for_training
from .loss_functions import LossFunction, with_variables
from .parameter_updates import loop_of, places_in, updated_by
from .program import imported, tolerant
from .recorded_run import AuditError
from .signatures import signature_text
from .update_gradients import gradient_in, made_in
from .updated_places import Place, gradient_variable

_LOSS = re.compile(r"loss|cost|mse|nll|objective|^(J|L|E)$|error", re.IGNORECASE)
_REACHED = "__reached__"
_LEFT_OUT = {"print", "append", "write", "plot", "pause", "show", "flush"}
Loss = Callable[[Mapping[str, Any]], Any]
Loop = ast.For | ast.While


def source_of(path: Path) -> str:
    """Return the program in a file, of a notebook the cells with code, without their magic commands."""
    text = path.read_text("utf-8")
    if path.suffix != ".ipynb":
        return text
    try:
        cells = ["".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no notebook that can be read: {type(error).__name__}: {error}") from error
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
    draw : int
        Which of the likely arguments are drawn for a function that holds the loop and that the script does not call.
    """

    drawn = ""  # the arguments that were drawn

    def __init__(self, path: Path, assumed: int = 0, draw: int = 0) -> None:
        tree = tree_of(path)
        loop = training_loop(tree.body)
        inside = loop_in_function(tree) if loop is None else None
        found = loop or inside
        if found is None:
            raise AuditError(f"{path.name} has no loop that updates parameters, such as W -= learning_rate * dW")
        self.line, self.file = found.lineno, path.name
        loop = copy.deepcopy(found)
        if inside is None:
            space = _space_before(path, tree, found)
        else:
            space, self.drawn = _space_at(path, tree, found, draw)
        places = places_in(loop, space)
        self.updates = {n: place.line for place in places for n in place.names(space)}
        read = {n.id for s in loop.body for n in ast.walk(s) if isinstance(n, ast.Name)}
        args = {n: _as_data(space[n]) for n in space if n in read and is_number_array(space[n])}
        args |= {n: np.asarray(x) for place in places for n, x in place.values(space).items()}
        self.updates = {n: line for n, line in self.updates.items() if n in args and args[n].dtype.kind == "f"}
        lengths = {n for a in args.values() for n in a.shape}
        #: Whether the loop reads a length from outside, such as n = len(X), which no other data would change.
        self.fixed_lengths = any(_is_whole(space[n]) and space[n] in lengths for n in read if n in space)
        function = _iteration(loop.body, places, list(args), str(path), space)
        try:
            self._loss, self.loss_text, self.assumed = _loss_of(function, args, loop.body, self.updates, assumed)
        except Exception as error:  # whatever the user's code raises
            if not self.drawn:
                raise
            why = f"with {self.drawn} it fails: {type(error).__name__}: {error}"
            raise AuditError(f"{_uncalled(path, tree, found)}; {why}") from error
        super().__init__(function, list(args.values()), {})
        self.exact = tuple(dict.fromkeys((*self.exact, *self.updates)))  # also what is never updated of a list
        self.title = f"Audit of {path.name}"

    def describe(self) -> str:
        """Return how the code was understood, in a line."""
        lines = ", ".join(str(n) for n in dict.fromkeys(self.updates.values()))
        text = f"script {self.file}, loop at line {self.line}; parameters {', '.join(self.updates)} from the updates "
        text += f"at line{'s' if ',' in lines else ''} {lines}; {self.loss_text}"
        return text + (f"; its function is called with {self.drawn}" if self.drawn else "")

    def forward(self, values: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return (loss, the variables of the iteration)."""
        _, variables = with_variables(self.code["function"], *self._arguments.parts(values))
        self._last = variables
        found = {n: variables.pop(gradient_variable(n), None) for n in self.updates}
        gradients = {f"d{n}": g for n, g in found.items() if g is not None}
        return self._loss(variables), {"gradients": [gradients], "variables": variables}


def _is_whole(x: Any) -> bool:
    return isinstance(x, int | np.integer) and not isinstance(x, bool)


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


def is_uncalled(path: Path) -> bool:
    """Whether the training loop is in a function of the file that nothing in the file calls."""
    tree = tree_of(path)
    loop = loop_in_function(tree) if training_loop(tree.body) is None else None
    owner = None if loop is None else _owner(tree, loop)
    called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    return isinstance(owner, ast.FunctionDef) and owner.name not in called


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
        return vars(program)


def _space_at(path: Path, tree: ast.Module, loop: Loop, draw: int) -> tuple[dict[str, Any], str]:
    """Run a program up to a loop in one of its functions; return the variables that the loop can read.

    A function that the program does not call is called with arrays of the program, by name, or drawn ones; the text
    says which.
    """
    kept = f"globals()['{_REACHED}'] = dict(locals())\nraise SystemExit"
    stopped = _Replacing(loop, ast.parse(kept).body).visit(copy.deepcopy(tree))
    with imported(path, tolerant(ast.fix_missing_locations(stopped), str(path)), own_source(path)) as program:
        said = "" if hasattr(program, _REACHED) else _call_with_draw(path, tree, loop, program, draw)
        return {**vars(program), **getattr(program, _REACHED)}, said


def _call_with_draw(path: Path, tree: ast.Module, loop: Loop, program: types.ModuleType, draw: int) -> str:
    """Call the function that holds a loop; return with what."""
    message = _uncalled(path, tree, loop)
    function = getattr(program, _owner(tree, loop).name, None)
    if not isinstance(function, types.FunctionType):
        raise AuditError(message)
    held = {n: v for n, v in vars(program).items() if is_number_array(v)}
    chosen = next(itertools.islice(draws_for_training(function, held), draw, None), None)
    if chosen is None:
        raise AuditError(message)
    failing = ""
    try:
        with np.errstate(all="ignore"):
            function(**chosen.values)
    except SystemExit:
        pass
    except Exception as error:  # whatever the user's code raises
        failing = f" ({type(error).__name__}: {error})"
    if not hasattr(program, _REACHED):
        raise AuditError(
            f"{message} such as {signature_text(function)}; with {chosen} the loop is not reached{failing}"
        )
    return str(chosen)


def _owner(tree: ast.Module, loop: Loop) -> Any:
    """Return the function or class that a loop is in."""
    return next(s for s in tree.body if any(n is loop for n in ast.walk(s)))


def _uncalled(path: Path, tree: ast.Module, loop: Loop) -> str:
    owner = _owner(tree, loop)
    inner = next(f for f in ast.walk(owner) if isinstance(f, ast.FunctionDef) and any(n is loop for n in ast.walk(f)))
    names = [a.arg for a in inner.args.args if a.arg != "self"]
    call = f"{owner.name + '(…).' if inner is not owner else ''}{inner.name}({', '.join(names)})"
    return f"the loop at line {loop.lineno} is not reached, as {path.name} does not call {inner.name}: add {call}"


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
    made = made_in(body)
    kept = [_Straight().visit(s) for s in body]
    kept = [part for s in kept for part in _as_list(_Capturing(known, made).visit(s))]
    statements = [s for s in ast.parse("".join(f"globals()[{n!r}] = {n}\n" for n in names)).body]
    statements += [s for place in places for s in place.before(space)] + kept
    statements += [s for place in places for s in place.after(space)]
    inner = _compiled(statements, names, file)
    counters = [n for n in inner.co_varnames[len(names) :] if n in space]  # p += 1, which starts before the loop
    inner = _compiled(statements, [*names, *counters], file)
    return types.FunctionType(inner, space, "iteration", tuple(space[n] for n in counters))


def _compiled(statements: list[ast.stmt], names: Sequence[str], file: str) -> types.CodeType:
    arguments = ast.arguments([], [ast.arg(n) for n in names], None, [], [], None, [])
    function: Any = ast.FunctionDef("iteration", arguments, statements, [], None, None)
    function.type_params = []
    code = compile(ast.fix_missing_locations(ast.Module([function], [])), file, "exec")
    return next(c for c in code.co_consts if isinstance(c, types.CodeType))


def _as_list(found: Any) -> list[ast.stmt]:
    return found if isinstance(found, list) else [found]


class _Capturing(ast.NodeTransformer):
    """Keep what each update subtracts, before it is made."""

    def __init__(self, places: Mapping[str, Place], made: Mapping[str, ast.expr]) -> None:
        self._places, self._made = places, made

    def _update(self, node: Any) -> Any:
        target = updated_by(node)
        place = self._places.get(ast.unparse(target)) if target is not None else None
        if place is None or target is None:
            return node
        captured, loop = place.captured(target, gradient_in(node, self._made)), loop_of(node)
        if loop is not None:
            captured = ast.For(copy.deepcopy(loop.target), loop.iter, [captured], [])
        return [ast.copy_location(captured, node), node]

    visit_AugAssign = visit_Assign = _update


# -- the loss ----------------------------------------------------------------------------------------------------------


def _loss_of(
    function: Any, args: Mapping[str, Any], body: Sequence[ast.stmt], updated: Mapping[str, int], assumed: int
) -> tuple[Loss, str, bool]:
    """Return the loss as a function of the variables, how it was understood, and whether it is assumed."""
    with np.errstate(all="ignore"):
        copies = [np.array(a, np.float64) if a.dtype.kind == "f" else a.copy() for a in args.values()]
        twin = CodeCopies([function], np.random.get_state(), recording=False).of(function)  # objects stay as they are
        _, variables = with_variables(twin, *copies)
    names = [(n, s) for s in body for n in ast.walk(s) if isinstance(n, ast.Name)]
    assigned = [(n.id, s) for n, s in names if isinstance(n.ctx, ast.Store)]
    for name, s in reversed(assigned):
        if _LOSS.search(name) and np.size(variables.get(name, ())) == 1:
            return operator.itemgetter(name), f"loss: {name}, line {s.lineno}", False
    data = {n for n in args if n not in updated}
    for error, output, target in _differences(body, data):
        if np.ndim(variables.get(error, 0.0)):
            loss, text = ASSUMED[assumed]
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
ASSUMED: tuple[tuple[Callable[[Any, Any], Any], str], ...] = (
    (lambda a, y: np.sum((a - y) ** 2) / 2, "half the squared error"),
    (lambda a, y: np.sum((a - y) ** 2) / 2 / len(y), "half the squared error, divided by the number of rows,"),
    (_entropy, "cross entropy"),
    (lambda a, y: _entropy(a, y) / len(y), "cross entropy, divided by the number of rows,"),
    (lambda a, y: -np.sum(y * np.log(a)), "cross entropy of classes"),
    (lambda a, y: -np.sum(y * np.log(a)) / len(y), "cross entropy of classes, divided by the number of rows,"),
)
CHOICES = len(ASSUMED)
