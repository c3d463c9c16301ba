"""What in a program can be audited: pairs of functions, functions that return gradients, classes; found by their names.

Nothing is run here but the names and sources of what a module defines.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from .object_methods import LOSSES, OUTPUT, TARGET, TRAINING, methods_named, plain, role
from .signatures import ALIASES, positional, required

_FORWARD = set("forward forwards fwd fprop fw feedforward".split())
_BACKWARD = set("backward backwards bwd bprop back bw backprop backpropagation backpropagate".split())
_DERIVATIVE = set("prime derivative deriv derv derivate der gradient gradients grad grads dash dx dz diff d".split())
#: Words that say nothing where the others agree.
_VERBS = set("compute calculate calc get eval evaluate".split())
_FILLING = set("pass prop propagation propagate function func fn the of".split())
#: Names of an argument that asks for the derivative.
_FLAGS = set("deriv derivative derv prime grad gradient derive der diff is_derivative return_grad d".split())
_NUMERIC = re.compile(r"numeric|check|approx|finite|plot|test|_fd$|eval_", re.IGNORECASE)
_LOSS = re.compile(r"^(.*_)?(loss|cost|J|L|E|error|nll|mse|obj|objective)(_.*)?$", re.IGNORECASE)
_GRADIENT = re.compile(r"^(d[A-Za-z_].*|.*grad.*|.*nabla.*|delta.*)$")

LAYER, DERIVATIVE, LOSS, CLASS, NETWORK = "layer derivative loss class network".split()


@dataclass(frozen=True)
class Part:
    """Something of a program that can be audited.

    Attributes
    ----------
    kind : str
        LAYER: a forward and a backward function; DERIVATIVE: a function and its derivative; LOSS: one function that
        returns (loss, gradients), or one for each; CLASS: a class or an instance of it; NETWORK: forward and backward
        take all parameters.
    name : str
        What the report calls it.
    forward, backward : any
        The functions; of a CLASS, what it is and an instance, or None.
    """

    kind: str
    name: str
    forward: Any
    backward: Any = None


def parts_in(program: ModuleType) -> list[Part]:
    """Return what can be audited in a module, in the order of its definitions."""
    functions = {n: f for n, f in _own(program, types.FunctionType).items() if not _NUMERIC.search(n)}
    parts = [*_pairs(functions), *_flagged(functions)]
    used = {id(f) for p in parts for f in (p.forward, p.backward)}
    parts += [Part(LOSS, n, f) for n, f in functions.items() if id(f) not in used and _returns_gradients(f)]
    classes = _own(program, type)
    instances = _instances(program, list(classes.values()))
    parts += [Part(CLASS, n, c, instances.get(c)) for n, c in classes.items() if _has_passes(c)]
    lines = {id(p): _line(p.backward if callable(p.backward) else p.forward) for p in parts}
    return sorted(parts, key=lambda p: lines[id(p)])


def argument_names_of(part: Part) -> list[str]:
    """Return the names of the arguments that a part is called with; of a class, those of its methods, too."""
    methods = methods_named(part.forward) if part.kind == CLASS else None
    called = [getattr(part.forward, name) for name in methods or ()]
    functions = [part.forward, *called, *([] if part.kind == CLASS else [part.backward])]
    return [p.name for f in functions if callable(f) for p in positional(f) if p.name != "self"]


def contents(program: ModuleType) -> str:
    """Return the names of the functions and classes that a module defines, in words."""
    found = []
    for kind, what in ((types.FunctionType, "functions"), (type, "classes")):
        names = list(_own(program, kind))
        found.append(f"{what} {', '.join(names[:12])}{', …' if len(names) > 12 else ''}" if names else f"no {what}")
    return " and ".join(found)


def loss_in(program: ModuleType) -> Any:
    """Return the function that computes a loss from output and targets, None if there is none."""
    for name, f in _own(program, types.FunctionType).items():
        kinds = [role(p.name) for p in positional(f)]
        if plain(name) in LOSSES and len(kinds) > 1 and {TARGET, OUTPUT} & set(kinds[:2]):
            return f
    return None


def initializer_in(program: ModuleType) -> Any:
    """Return the function that makes the parameters of a network, None if there is none."""
    for name, f in _own(program, types.FunctionType).items():
        if re.match(r"(init|initiali[sz]e|make|create|build)\w*(param|weight|model|net)", name, re.IGNORECASE):
            return f
    return None


def _own(program: ModuleType, kind: type) -> dict[str, Any]:
    held = {n: v for n, v in vars(program).items() if isinstance(v, kind)}
    return {n: v for n, v in held.items() if getattr(v, "__module__", "") == program.__name__}


def _line(f: Any) -> int:
    f = f.func if isinstance(f, functools.partial) else f
    try:
        return inspect.getsourcelines(f if inspect.isroutine(f) or inspect.isclass(f) else type(f))[1]
    except (OSError, TypeError):
        return 0


# -- functions ---------------------------------------------------------------------------------------------------------


def _words(name: str) -> list[str]:
    return [w.lower() for w in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def _rest(name: str, left_out: set[str]) -> tuple[str, ...]:
    rest = tuple(w for w in _words(name) if w not in left_out)
    return tuple(w for w in rest if w not in _FILLING) or rest


def _pairs(functions: Mapping[str, Any]) -> Iterator[Part]:
    for name, backward in functions.items():
        words = set(_words(name))
        if words & _BACKWARD and not words & _FORWARD:
            forward = _forward_of(name, functions)
            if forward is not None:
                yield Part(NETWORK if _takes_all(functions[forward]) else LAYER, name, functions[forward], backward)
        elif (cost := _cost_of(name, functions)) is not None:
            yield Part(LOSS, name, functions[cost], backward)
        elif (other := _differentiated(name, functions)) is not None and positional(backward):
            yield Part(DERIVATIVE, name, functions[other], backward)


def _forward_of(name: str, functions: Mapping[str, Any]) -> str | None:
    """Return which function is differentiated by one such as ``conv_backward_naive``."""
    rest = [w for w in _rest(name, _BACKWARD)]
    best: tuple[int, str] | None = None
    for other in functions:
        if other == name or set(_words(other)) & (_BACKWARD | _DERIVATIVE):
            continue
        has_marker = bool(set(_words(other)) & _FORWARD)
        theirs = list(_rest(other, _FORWARD))
        trimmed = [w for w in theirs if w not in _FILLING]
        mine = [w for w in rest if w not in _FILLING]
        if trimmed == mine:
            score = 2 + has_marker
        elif has_marker and trimmed and mine[: len(trimmed)] == trimmed:  # batchnorm_backward_alt
            score = 1
        else:
            continue
        if best is None or score > best[0]:
            best = score, other
    return None if best is None else best[1]


def _takes_all(forward: Any) -> bool:
    """Whether a forward function takes the data and all parameters of a network."""
    names = [p.name for p in positional(forward)]
    kinds = {k for k in ("X", "parameters") for n in names if n in ALIASES[k]}
    first = plain(getattr(forward, "__name__", ""))
    return kinds == {"X", "parameters"} and len(required(forward)) == 2 and "cell" not in first and "step" not in first


def _differentiated(name: str, functions: Mapping[str, Any]) -> str | None:
    """Return the function whose derivative is called `name`: sigmoid_prime, d_relu, dtanh, relu_derivative."""
    words = _words(name)
    if set(words) & _DERIVATIVE:
        rest = [w for w in _rest(name, _DERIVATIVE)]
        for other in functions:
            theirs = [w for w in _rest(other, set())]
            if other != name and rest and rest == theirs:
                return other
    shorter = name[1:].lstrip("_") if name[:1] == "d" else ""
    return next((n for n in functions if shorter and n.lower() == shorter.lower()), None)


def _cost_of(name: str, functions: Mapping[str, Any]) -> str | None:
    """Return the function with the same three arguments or more whose gradients one such as compute_gradients gives."""
    words = [w for w in _words(name) if w not in _VERBS]
    taken = {p.name for p in positional(functions[name])}
    if len(taken) < 3 or not set(words) & _DERIVATIVE:
        return None
    rest = [w for w in words if w not in _DERIVATIVE and w not in _FILLING and not _LOSS.match(w)]
    for other in functions:
        theirs = [w for w in _words(other) if w not in _VERBS and w not in _FILLING]
        others = [w for w in theirs if not _LOSS.match(w)]
        if others == rest and len(others) < len(theirs) and {p.name for p in positional(functions[other])} == taken:
            return other
    return None


def _flagged(functions: Mapping[str, Any]) -> Iterator[Part]:
    """Yield functions such as ``sigmoid(x, deriv=False)``."""
    for name, f in functions.items():
        flags = [p.name for p in positional(f) if p.name.lower() in _FLAGS and p.default in (False, 0)]
        if flags and len(positional(f)) > 1:
            yield Part(DERIVATIVE, f"{name}({flags[0]}=True)", f, functools.partial(f, **{flags[0]: True}))


def _returns_gradients(f: Any) -> bool:
    """Whether a function returns a loss and gradients: ``return loss, grads``."""
    returned = [n.value for n in ast.walk(source_tree(f)) if isinstance(n, ast.Return)]
    for value in returned[-1:]:
        if isinstance(value, ast.Tuple) and len(value.elts) > 1:
            losses = [e for e in value.elts if _LOSS.match(_name(e)) and not _GRADIENT.match(_name(e))]
            return bool(losses) and any(_is_gradient(e) for e in value.elts)
    return False


def _is_gradient(returned: ast.expr) -> bool:
    """Whether a value is called as a gradient is, or computed from one, or a product of matrices."""
    if _name(returned):
        return bool(_GRADIENT.match(_name(returned)))
    inner = list(ast.walk(returned)) if isinstance(returned, ast.BinOp) else []
    products = any(isinstance(n, ast.MatMult) or getattr(n, "attr", "") in ("T", "dot") for n in inner)
    return products or any(_GRADIENT.match(_name(n)) for n in inner)


def _name(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = ast.Name(node.attr) if isinstance(node, ast.Attribute) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def source_tree(f: Any) -> ast.AST:
    """Return the source of a function or a class as a tree, an empty one where it is not known."""
    f = f.func if isinstance(f, functools.partial) else f
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(f)))
    except (OSError, TypeError, SyntaxError, ValueError):
        return ast.Module([], [])


# -- classes -----------------------------------------------------------------------------------------------------------


def _has_passes(kind: type) -> bool:
    """Whether a class has both passes, and they are more than a place for those of its subclasses."""
    if inspect.isabstract(kind):
        return False
    names = methods_named(kind)
    if names is None or (plain(names[1]) in TRAINING and _repeats(getattr(kind, names[1]))):
        return False
    return all(_does_something(getattr(kind, n)) for n in names if plain(n) not in TRAINING)


def _repeats(method: Any) -> bool:
    """Whether a method loops over epochs: fit(X, y), which is a training loop."""
    return any(isinstance(n, ast.For | ast.While) for n in ast.walk(source_tree(method)))


def _does_something(method: Any) -> bool:
    function = next((n for n in ast.walk(source_tree(method)) if isinstance(n, ast.FunctionDef)), None)
    return function is None or not all(map(_is_empty, function.body))


def _is_empty(s: ast.stmt) -> bool:
    return isinstance(s, ast.Pass | ast.Raise) or (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))


def _instances(program: ModuleType, classes: Sequence[type]) -> dict[type, Any]:
    """Return an instance of each class that the module holds, by class."""
    found: dict[type, Any] = {}
    for value in vars(program).values():
        for x in value if isinstance(value, list | tuple) else [value]:
            if type(x) in classes:
                found.setdefault(type(x), x)
    return found
