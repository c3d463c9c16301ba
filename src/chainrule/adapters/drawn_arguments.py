"""Small data for the arguments of a function, by their names, by the shapes in its docstring, and by its annotations.

A name says what an argument is (data, weights, a bias, a stride), a layout how large: examples in rows or in columns,
images, sequences. Shapes that the docstring gives go before all layouts.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .object_methods import INPUT, OUTPUT, TARGET, role
from .program_parts import source_tree
from .signatures import LEARNING_RATES, positional

Shape = tuple[int, ...]
#: Kinds of targets.
LABELS, ONE_HOT, REAL, BINARY = "labels", "one-hot targets", "real targets", "targets 0 and 1"

#: Which targets are tried, and whether with outputs from 0 to 1, as probabilities are.
_TARGETS = ((LABELS, False), (ONE_HOT, False), (REAL, False), (ONE_HOT, True), (BINARY, True), (LABELS, True))
_TARGETS_OF_ONE = ((BINARY, False), (REAL, False), (BINARY, True), (LABELS, False), (ONE_HOT, False), (LABELS, True))
DOCUMENTED, IN_FILE = "as documented", "as in the file"


def _layout(data: Shape, weights: Shape, bias: Shape, scale: Shape, output: Shape) -> dict[str, Shape]:
    found = {"data": data, "weights": weights, "bias": bias, "scale": scale, "state": output}
    return {**found, "recurrent": (max(bias, default=1),) * 2}


#: What arrays are for -> their shapes. The lengths of different axes differ, so that they can be told from each other.
LAYOUTS: dict[str, dict[str, Shape]] = {
    "examples in rows": _layout((6, 4), (4, 3), (3,), (4,), (6, 3)),
    "examples in rows, row biases": _layout((6, 4), (4, 3), (1, 3), (1, 4), (6, 3)),
    "examples in columns": _layout((4, 6), (3, 4), (3, 1), (4, 1), (3, 6)),
    "images, channels first": _layout((2, 3, 6, 4), (5, 3, 3, 3), (5,), (3,), (2, 5, 6, 4)),
    "images, channels last": _layout((2, 6, 4, 3), (3, 3, 3, 5), (1, 1, 1, 5), (3,), (2, 6, 4, 5)),
    "one output": _layout((6, 4), (4, 1), (1,), (4,), (6, 1)),
    "one output, as a vector": _layout((6, 4), (4,), (), (4,), (6,)),
    "one output, examples in columns": _layout((4, 6), (4, 1), (), (4, 1), (1, 6)),
    "sequences": _layout((2, 5, 4), (4, 3), (3,), (4,), (2, 3)),
    "one column": _layout((4, 1), (3, 4), (3, 1), (4, 1), (3, 1)),
    "one vector": _layout((4,), (3, 4), (3,), (4,), (3,)),
    "an image": _layout((6, 4), (3, 3), (1,), (4,), (6, 4)),
    "an image with channels": _layout((3, 6, 4), (5, 3, 3, 3), (5,), (3,), (5, 6, 4)),
    "numbers": _layout((), (), (), (), ()),
}
_WEIGHTS = re.compile(r"^(w|weights?|kernels?|filters?|theta|u|v|wx|w_?x|k)_?\d*$", re.IGNORECASE)
_RECURRENT = re.compile(r"^(wh|whh|w_hh|w_h|waa|u_h|recurrent\w*)$", re.IGNORECASE)
_BIAS = re.compile(r"^(b|bias|biases)_?\w?\d*$", re.IGNORECASE)
_SCALE = re.compile(r"^(gamma|beta|scale|shift)\d*$", re.IGNORECASE)
_STATE = re.compile(
    r"^(prev_?[hca]|[hca]_?prev|h0?|[hc]_?(prev|minus_1)|prev_(hidden|state)|hidden|state)$", re.IGNORECASE
)
#: Names of numbers and settings, a part of the name being enough -> a value.
_NUMBERS: tuple[tuple[str, Any], ...] = (
    ("stride", 1), ("pad", 1), ("pool", 2), ("kernel", 3), ("ksize", 3), ("filter", 3), ("size_f", 3), ("eps", 1e-5),
    ("keep", 0.8), ("drop", 0.4), ("prob", 0.6), ("momentum", 0.9), ("lambd", 0.1), ("reg", 0.1), ("delta", 1.0),
    ("seed", 0), ("group", 3), ("alpha", 0.1), ("rate", 0.1), ("slope", 0.1), ("axis", 1), ("gamma", 2.0),
    ("temp", 2.0), ("train", True), ("mode", "train"), ("l1", 0.1), ("l2", 0.1), ("decay", 0.1), ("margin", 1.0),
)  # fmt: skip
_SHORT_NUMBERS = {"p": 0.6, "f": 3, "s": 1, "k": 3, "g": 3, "n_c": 3, "m": 6, "lr": 0.1, "eta": 0.1}
#: What the letters of a shape usually mean -> a length.
_SIZES = {"N": 6, "D": 4, "M": 3, "C": 3, "H": 6, "W": 4, "F": 5, "HH": 3, "WW": 3, "T": 5, "V": 7, "G": 3, "m": 6}
_OTHER_SIZES = (4, 3, 5, 2, 7, 8)


@dataclass(frozen=True)
class Draw:
    """Values for arguments, by name, and how they were found."""

    values: dict[str, Any]
    layout: str

    def __str__(self) -> str:
        return f"{self.shown()} ({self.layout})"

    def shown(self) -> str:
        """Return the shapes of arrays, and other values."""
        shown = [f"{n} {np.shape(v)}" for n, v in self.values.items() if isinstance(v, np.ndarray)]
        settings = {n: v for n, v in self.values.items() if not isinstance(v, np.ndarray | dict)}
        shown += [f"{n}={v:.6g}" if isinstance(v, float) else f"{n}={v!r}" for n, v in settings.items()]
        shown += [f"{n}={_short(v)}" for n, v in self.values.items() if isinstance(v, dict)]
        return ", ".join(shown)


def with_features(layout: str, features: int | None) -> dict[str, Shape]:
    """Return the shapes of a layout, with data of so many features or channels."""
    usual, sizes = 3 if "channels" in layout else 4, LAYOUTS[layout]
    return sizes if features is None else {**sizes, "data": tuple(features if n == usual else n for n in sizes["data"])}


def draws(
    f: Any, given: Mapping[str, Any], only: str = "", also: Sequence[str] = (), features: int | None = None
) -> Iterator[Draw]:
    """Yield values for the arguments of a function, the likeliest first.

    Parameters
    ----------
    f : callable
    given : mapping
        Values by name: what the program holds, or the user gives.
    only : str
        The one layout that is wanted, besides documented shapes; all by default.
    also : sequence of str
        Arguments that are given although they have a default.
    features : int, optional
        The number of features or channels of data.
    """
    wanted = [p for p in positional(f) if p.default is p.empty or p.name in {*given, *also}]
    fixed = {p.name: p.default for p in wanted if p.default is not p.empty}
    fixed |= {p.name: given[p.name] for p in wanted if p.name in given}
    missing = [p for p in wanted if p.name not in fixed]
    if not missing:
        yield Draw(fixed, IN_FILE)
        return
    shapes = documented_shapes(f)
    layouts = {DOCUMENTED: LAYOUTS["examples in rows"]} if shapes else {}
    layouts |= {n: with_features(n, features) for n in LAYOUTS if only in ("", n)}
    has_targets = any(role(p.name) == TARGET for p in missing)
    seen: set[str] = set()
    for i in range(len(_TARGETS) if has_targets else 1):
        for layout, sizes in layouts.items():
            one = layout.startswith("one output")
            targets, between = (_TARGETS_OF_ONE if one else _TARGETS)[i] if has_targets else ("", False)
            source = _Source(f, shapes if layout == DOCUMENTED else {}, sizes, targets, between)
            values = {**{p.name: source.value(p) for p in wanted if p.name not in fixed}, **fixed}
            said = f"{layout}, {targets}" + (", values from 0 to 1" if between else "")
            draw = Draw({p.name: values[p.name] for p in wanted}, said if targets else layout)
            if (key := draw.shown() + str(between) + targets) not in seen:
                seen.add(key)
                yield draw


def draws_for_training(f: Any, given: Mapping[str, Any]) -> Iterator[Draw]:
    """Yield values for the arguments of a function that trains: its targets are those of weights that it makes."""
    targets = [p.name for p in positional(f) if role(p.name) == TARGET and p.name not in given]
    if not targets:
        yield from itertools.islice(draws(f, given), len(_TRAINED))
        return
    for shape, kind in _TRAINED:
        drawn = dict.fromkeys(targets, drawn_targets(shape, kind))
        yield from itertools.islice(draws(f, {**given, **drawn}, "examples in rows"), 1)


#: The targets that are tried for a function that trains.
_TRAINED: tuple[tuple[Shape, str], ...] = (
    ((6, 1), BINARY), ((6, 3), ONE_HOT), ((6, 3), LABELS), ((6,), BINARY), ((6,), REAL), ((6, 1), REAL),
    ((1, 6), BINARY),
)  # fmt: skip


class _Source:
    """Values for the arguments of one function in one layout."""

    def __init__(
        self, f: Any, shapes: Mapping[str, Sequence[str]], sizes: Mapping[str, Shape], targets: str, between: bool
    ) -> None:
        self._shapes, self._sizes, self._targets, self._between = shapes, sizes, targets, between
        self._tree = source_tree(f)
        kinds = {p.name: kind_of(p.name) for p in positional(f)}
        self._has_data = any(k == "data" and (role(n) == INPUT or n[:1] in "xX") for n, k in kinds.items())
        has_weights = "weights" in kinds.values()
        self._output = sizes["state" if has_weights else "data"]
        self._symbols: dict[str, int] = {}

    def value(self, p: inspect.Parameter) -> Any:
        """Return a value for an argument."""
        keys = _keys_read(self._tree, p.name)
        if keys and p.name not in self._shapes:
            return {k: self._named(k) for k in keys}
        if p.annotation in (int, "int"):
            return number_named(p.name, 3)
        if p.annotation in (float, "float"):
            return float(number_named(p.name, 0.5))
        if p.annotation in (bool, "bool"):
            return True
        return self._named(p.name)

    def _named(self, name: str) -> Any:
        if text := _compared_text(self._tree, name):
            return text
        if name not in self._shapes and (number := number_named(name)) is not None:
            return number
        shape = self._documented(name) if name in self._shapes else self._sizes[self._kind(name)]
        if self._targets and role(name) == TARGET:
            return drawn_targets(shape if name in self._shapes else self._output, self._targets)
        return drawn_array(name, shape, between=self._between)

    def _kind(self, name: str) -> str:
        kind = kind_of(name)
        return "data" if kind == "state" and not self._has_data else kind  # A_prev, without an xt

    def _documented(self, name: str) -> tuple[int, ...]:
        used = set(self._symbols.values())
        shape = []
        for symbol in self._shapes[name]:
            factor, base = re.fullmatch(r"(\d*)\s*\*?\s*(.*)", symbol).groups()  # type: ignore[union-attr]
            if base and base not in self._symbols:
                free = next((s for s in _OTHER_SIZES if s not in used), 4)
                self._symbols[base] = _SIZES.get(base, free)
                used.add(self._symbols[base])
            shape.append(int(factor or 1) * (self._symbols[base] if base else 1))
        return tuple(shape)


def kind_of(name: str) -> str:
    """Return what an array of this name is for: data, weights, recurrent (weights), bias, scale or state."""
    kinds = {"scale": _SCALE, "state": _STATE, "recurrent": _RECURRENT, "weights": _WEIGHTS, "bias": _BIAS}
    for kind, pattern in kinds.items():
        if pattern.match(name):
            return kind
    return "data"


def drawn_array(name: str, shape: Sequence[int], *, between: bool = False) -> Any:
    """Draw an array; the same name and shape give the same numbers."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if between and kind_of(name) == "data":
        return rng.uniform(0.1, 0.9, size=tuple(shape))
    return rng.normal(size=tuple(shape))


def drawn_targets(shape: Shape, kind: str) -> Any:
    """Draw targets for an output of this shape."""
    rng = np.random.default_rng(7)
    if kind == REAL:
        return rng.normal(size=shape)
    if kind == BINARY:
        return rng.integers(0, 2, shape).astype(float)
    columns = len(shape) == 2 and shape[1] == 6
    ends = (*shape[:1], *shape[-1:]) if len(shape) > 1 else (*shape, 1, 3)
    classes, examples = ends[:2] if columns else (ends[-1], ends[0])
    labels = rng.integers(0, max(2, min(3, classes)), examples)
    if kind == LABELS or len(shape) != 2:
        return labels
    one_hot = np.eye(classes)[labels % classes]
    return one_hot.T if columns else one_hot


def number_named(name: str, otherwise: Any = None) -> Any:
    """Return a number or a setting for an argument of this name."""
    low = name.lower()
    if low in _SHORT_NUMBERS:
        return _SHORT_NUMBERS[low]
    if kind_of(name) != "data" or low in ("filters", "kernels"):
        return otherwise
    if low in LEARNING_RATES:
        return 0.1
    return next((value for part, value in _NUMBERS if part in low and role(name) not in (TARGET, OUTPUT)), otherwise)


def _keys_read(tree: ast.AST, name: str) -> list[str]:
    """Return the keys of a dict argument that a function reads: ``param["stride"]``; not those it has a default for."""
    found: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == name:
            if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
                if isinstance(node.ctx, ast.Load):
                    found[node.slice.value] = None
    return list(found)


def _compared_text(tree: ast.AST, name: str) -> str | None:
    """Return the first text that a function compares an argument or a key of this name with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq) and _is_called(node.left, name, tree):
            constant = node.comparators[0]
            if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                return constant.value
    return None


def _is_called(node: ast.AST, name: str, tree: ast.AST) -> bool:
    return (isinstance(node, ast.Name) and node.id == name) or (
        isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value == name
    )


def _short(value: Mapping[str, Any]) -> str:
    parts = (f"{k}: {np.shape(v) if isinstance(v, np.ndarray) else repr(v)}" for k, v in value.items())
    return "{" + ", ".join(parts) + "}"


# -- what a docstring says ---------------------------------------------------------------------------------------------


_SHAPE = re.compile(r"(?:shape|dimensions?|size|array)\W+(?:of\s+|is\s+)?[(\[]([^()\[\]]*)[)\]]")
_PARENTHESES = re.compile(r"[(\[]([^()\[\]]*,[^()\[\]]*)[)\]]")


def documented_shapes(f: Any) -> dict[str, list[str]]:
    """Return the shapes in the docstring of a function by argument: ``{"x": ["N", "D"]}``."""
    text = inspect.getdoc(f) or ""
    found: dict[str, list[str]] = {}
    for name, said in _entries(text):
        match = _SHAPE.search(said) or _PARENTHESES.search(said)
        if match is None:
            continue
        axes = [a.strip() for a in match.group(1).replace("...,", "").split(",") if a.strip()]
        if all(re.fullmatch(r"[\w\s*^/.+-]{1,40}", a) for a in axes) and len(axes) < 6:
            found.setdefault(name, _one_length_for_many(axes))
    return found


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, what is said of it) for lines such as ``- x: …``, ``W -- …``, ``x : …``."""
    current: tuple[str, list[str]] | None = None
    for line in text.splitlines():
        match = re.match(r"\s*[-*]?\s*`?(\w+)`?\s*(?:\([^)]*\))?\s*(?::|--|—)\s*(.*)", line)
        if match is not None:
            if current is not None:
                yield current[0], " ".join(current[1])
            current = match.group(1), [match.group(2)]
        elif current is not None:
            current[1].append(line.strip())
    if current is not None:
        yield current[0], " ".join(current[1])


def _one_length_for_many(axes: list[str]) -> list[str]:
    """Return the axes, d_1, ..., d_k as the one length D."""
    if any("." in a for a in axes) or any(re.fullmatch(r"d_?1", a) for a in axes):
        return [axes[0], "D"]
    return axes


def length_named(name: str, layout: str) -> Any:
    """Return a value for an argument of a constructor: what goes in, what comes out, of hidden values; a setting."""
    low = name.lower()
    size_in, size_out = (3, 5) if "channel" in low or "image" in layout else (4, 3)
    if re.search(r"shape", low):
        return (2, 2) if "pool" in low else (3, 3) if re.search(r"kern|filt", low) else LAYOUTS[layout]["data"][1:]
    if re.search(r"layers|dims|sizes|architect|structure|topology|units_per", low):
        return [4, 5, 3]
    if re.search(r"hid", low):
        return 5
    if re.search(r"out|unit|neuron|class|filters?$|n_f|next|nodes|kernels$|num_of", low):
        return size_out
    if re.search(r"reg|l1|l2|lambd|decay|penal", low):  # a penalty is no part of a layer's output
        return 0.0
    found = number_named(name)
    return size_in if found is None else found
