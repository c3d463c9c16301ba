"""Random programs with assignments, views, loops, containers and functions, to run on arrays and on tensors.

A program is made by running it on NumPy's arrays: each statement is drawn so that it fits the shapes of its operands.
What is kept is a list of functions of the variables, a dict, which run on tensors as well.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Variables = dict[str, Any]
Statement = Callable[[Variables], Any]


@dataclass
class Program:
    """Statements with their source, for messages."""

    statements: list[Statement] = field(default_factory=list)
    source: list[str] = field(default_factory=list)

    def start(self, x: Any, y: Any) -> Variables:
        """Return the variables before the first statement."""
        return {"x": x.copy(), "y": y.copy(), "box": {}, "rows": []}

    def __call__(self, x: Any, y: Any) -> Any:
        """Run the program on copies of its arguments; return a weighted sum of all variables, views included."""
        v = self.start(x, y)
        for statement in self.statements:
            statement(v)
        found = [a for name, a in sorted(v.items()) if name not in ("box", "rows")]
        found += [*v["box"].values(), *v["rows"]]
        return sum(np.sum(a * np.cos(1.0 + np.arange(np.size(a)).reshape(np.shape(a)))) for a in found)

    def __str__(self) -> str:
        return "\n".join(self.source)


class Author:
    """Writes one program."""

    def __init__(self, seed: int, length: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.x, self.y = self.rng.normal(size=(3, 4)), self.rng.normal(size=4)
        self.program = Program()
        self.v = self.program.start(self.x, self.y)
        self.count = 0
        kinds = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("write_")]
        while len(self.program.statements) < length:
            kinds[self.rng.integers(len(kinds))]()

    # -- drawing ---------------------------------------------------------------------------------------

    def add(self, source: str, statement: Statement) -> bool:
        """Add a statement if it runs, after all before it; variables then have its results."""
        trial = self.program.start(self.x, self.y)
        try:
            with np.errstate(all="ignore"):
                for each in (*self.program.statements, statement):
                    each(trial)
        except (ValueError, IndexError, TypeError):
            return False
        if any(not np.all(np.abs(a) < 20) for n, a in trial.items() if n not in ("box", "rows")):
            return False
        self.v = trial
        self.program.statements.append(statement)
        self.program.source.append(source)
        return True

    def name(self, *, axes: int = 0, writable: bool = False) -> str:
        names = [
            n
            for n, a in self.v.items()
            if n not in ("box", "rows")
            and np.ndim(a) >= axes
            and (not writable or (isinstance(a, np.ndarray) and a.flags.writeable))
        ]
        return str(self.rng.choice(sorted(names)))

    def new(self) -> str:
        """Return the name of a new variable, or of one that is replaced."""
        self.count += 1
        return f"v{self.count % 5}"

    def index(self, shape: tuple[int, ...], full: float = 0.1) -> Any:
        """Return a basic index."""
        parts: list[Any] = []
        for n in shape:
            kind = self.rng.random()
            if kind < 0.1 and len(parts) > 0:
                break
            if kind < 0.4 and n:
                parts.append(int(self.rng.integers(-n, n)))
            elif kind < 0.5:
                parts.append(slice(None))
            else:
                a, b = sorted(self.rng.integers(0, n + 1, 2).tolist())
                parts.append(slice(a, b) if kind < 0.8 else slice(None, None, int(self.rng.choice([-1, 2, -2]))))
        if self.rng.random() < 0.15:
            parts.insert(int(self.rng.integers(len(parts) + 1)), None)
        if self.rng.random() < 0.15 and len(parts) < len(shape):
            parts.append(Ellipsis)
        return tuple(parts)

    def value(self, shape: tuple[int, ...]) -> tuple[str, Statement]:
        """Return an expression that broadcasts to a shape."""
        kind = self.rng.random()
        b = self.name()
        if kind < 0.15:
            c = float(np.round(self.rng.normal(), 2))
            return f"{c}", lambda v: c
        fits = [
            n
            for n, a in sorted(self.v.items())
            if n not in ("box", "rows") and np.ndim(a) <= len(shape) and _broadcasts(np.shape(a), shape)
        ]
        if fits and kind < 0.8:
            b = str(self.rng.choice(fits))
            if kind < 0.5:
                return b, lambda v: v[b]
            return f"np.sin({b})", lambda v: np.sin(v[b])
        if kind < 0.9:
            return f"np.mean({b} ** 2)", lambda v: _mean(v[b] ** 2)
        i = int(self.rng.integers(0, 4))
        return f"y[{i}]", lambda v: v["y"].reshape(-1)[i % np.size(v["y"])] if np.size(v["y"]) else 0.5

    # -- statements ------------------------------------------------------------------------------------

    def write_expression(self) -> None:
        a, b, new = self.name(), self.name(), self.new()
        kind = self.rng.integers(9)
        source, function = [
            (f"{a} * np.tanh({b})", lambda v: v[a] * np.tanh(v[b])),
            (f"{a} + {b}", lambda v: v[a] + v[b]),
            (f"{a} - 0.5 * {b}", lambda v: v[a] - 0.5 * v[b]),
            (f"np.sin({a})", lambda v: np.sin(v[a])),
            (f"np.sum(np.atleast_1d({a}), axis=0)", lambda v: np.sum(np.atleast_1d(v[a]), axis=0)),
            (f"np.cumsum({a})", lambda v: np.cumsum(v[a])),
            (f"{a} @ np.cos({b}) / 4", lambda v: v[a] @ np.cos(v[b]) / 4),
            (f"np.stack([{a}, 2 * {a}])", lambda v: np.stack([v[a], 2 * v[a]])),
            (f"np.concatenate([{a}, {b}])", lambda v: np.concatenate([v[a], v[b]])),
        ][kind]
        if np.size(self.v[a]) < 40:
            self.add(f"{new} = {source}", lambda v: v.__setitem__(new, function(v)))

    def write_copy(self) -> None:
        a, new = self.name(), self.new()
        source, function = [
            ("{}.copy()", lambda t: t.copy()),
            ("np.copy({})", np.copy),
            ("copy.deepcopy({})", copy.deepcopy),
            ("copy.copy({})", copy.copy),
            ("+{}", lambda t: +t),
            ("{}.astype(float)", lambda t: t.astype(float)),
            ("np.zeros_like({})", np.zeros_like),
            ("np.full_like({}, 0.5)", lambda t: np.full_like(t, 0.5)),
            ("{}.flatten()", lambda t: t.flatten()),
        ][self.rng.integers(9)]
        self.add(f"{new} = {source.format(a)}", lambda v: v.__setitem__(new, function(v[a])))

    def write_alias(self) -> None:
        a, new = self.name(), self.new()
        self.add(f"{new} = {a}", lambda v: v.__setitem__(new, v[a]))

    def write_view(self) -> None:
        a, new = self.name(axes=1), self.new()
        at = self.index(np.shape(self.v[a]))
        self.add(f"{new} = {a}[{_shown(at)}]", lambda v: v.__setitem__(new, v[a][at]))

    def write_shape(self) -> None:
        a, new = self.name(axes=1), self.new()
        shape = np.shape(self.v[a])
        half = (2, -1) if np.size(self.v[a]) % 2 == 0 else (-1, 1)
        axis = int(self.rng.integers(len(shape)))
        source, function = [
            (".T", lambda t: t.T),
            (f".reshape{half}", lambda t: t.reshape(half)),
            (".ravel()", lambda t: t.ravel()),
            (f".swapaxes(0, {axis})", lambda t: t.swapaxes(0, axis)),
            (f"|moveaxis(0, {axis})", lambda t: np.moveaxis(t, 0, axis)),
            (".squeeze()", lambda t: t.squeeze()),
            (f"|expand_dims({axis})", lambda t: np.expand_dims(t, axis)),
            ("|flip", np.flip),
            ("|diagonal", np.diagonal),
            ("|broadcast_to", lambda t: np.broadcast_to(t, (2, *t.shape))),
            (f"|split({axis})[1]", lambda t: np.array_split(t, 2, axis=axis)[1]),
            ("|atleast_2d", np.atleast_2d),
            ("|rot90", np.rot90),
        ][self.rng.integers(13)]
        self.add(f"{new} = {a}{source}", lambda v: v.__setitem__(new, function(v[a])))

    def write_assignment(self) -> None:
        a = self.name(axes=1, writable=True)
        at = self.index(np.shape(self.v[a]))
        source, value = self.value(np.shape(self.v[a][at]))

        def statement(v: Variables) -> None:
            v[a][at] = value(v)

        self.add(f"{a}[{_shown(at)}] = {source}", statement)

    def write_augmented(self) -> None:
        a = self.name(axes=1, writable=True)
        at = self.index(np.shape(self.v[a]))
        source, value = self.value(np.shape(self.v[a][at]))
        sign = str(self.rng.choice(["+=", "-=", "*=", "/="]))

        def statement(v: Variables) -> None:
            if sign == "+=":
                v[a][at] += value(v)
            elif sign == "-=":
                v[a][at] -= value(v)
            elif sign == "*=":
                v[a][at] *= value(v)
            else:
                v[a][at] /= 2.5 + np.cos(value(v))

        self.add(f"{a}[{_shown(at)}] {sign} {source}", statement)

    def write_in_place(self) -> None:
        a = self.name()
        source, value = self.value(np.shape(self.v[a]))
        sign = str(self.rng.choice(["+=", "-=", "*="]))

        def statement(v: Variables) -> None:
            if sign == "+=":
                v[a] += value(v)
            elif sign == "-=":
                v[a] -= value(v)
            else:
                v[a] *= value(v)

        self.add(f"{a} {sign} {source}", statement)

    def write_mask(self) -> None:
        a = self.name(axes=1, writable=True)
        c, s = float(self.rng.normal()), float(np.round(self.rng.normal(), 2))
        mask = self.rng.random(np.shape(self.v[a])) < 0.5
        kind = self.rng.integers(4)

        def statement(v: Variables) -> None:
            if kind == 0:
                v[a][v[a] > c] = s
            elif kind == 1:
                v[a][mask] = v[a][mask] * 0.5 + s
            elif kind == 2:
                v[a][mask] -= np.sin(v[a][mask])
            else:
                v[a][np.abs(v[a]) > 1.1 + abs(c)] = _mean(v["y"] * 0.1)

        self.add(f"{a}[mask {kind}] = {s}", statement)

    def write_positions(self) -> None:
        a = self.name(axes=1, writable=True)
        n = len(self.v[a])
        if not n:
            return
        where = self.rng.integers(-n, n, 3)
        source, value = self.value((3, *np.shape(self.v[a])[1:]))
        kind = self.rng.integers(5)

        def statement(v: Variables) -> None:
            if kind == 0:
                v[a][where] = value(v)
            elif kind == 1:
                v[a][where] += value(v)
            elif kind == 2:
                np.add.at(v[a], where, value(v))
            elif kind == 3:
                np.multiply.at(v[a], where, value(v))
            else:
                v[a][..., where % np.shape(v[a])[-1]] = 0.1 * np.arange(3.0) + _mean(value(v))

        self.add(f"{a}[{where}] {kind} {source}", statement)

    def write_by_function(self) -> None:
        a = self.name(axes=1, writable=True)
        source, value = self.value(np.shape(self.v[a]))
        flat = int(self.rng.integers(max(1, np.size(self.v[a]))))

        def put(t: Any, new: Any) -> None:
            np.put(t, [0, flat], new)

        def by_flat(t: Any, new: Any) -> None:
            t.flat[flat:] = new

        word, function = [
            ("copyto", lambda t, new: np.copyto(t, new)),
            ("put", lambda t, new: put(t, _mean(new))),
            ("fill", lambda t, new: t.fill(_mean(new))),
            ("multiply out", lambda t, new: np.multiply(t, new, out=t)),
            ("add out", lambda t, new: np.add(np.sin(t), new, t)),
            ("fill_diagonal", lambda t, new: np.fill_diagonal(t, _mean(new))),
            ("flat", lambda t, new: by_flat(t, _mean(new))),
            ("where", lambda t, new: np.tanh(t, out=t, where=np.arange(np.shape(t)[-1]) % 2 == 0)),
        ][self.rng.integers(8)]
        self.add(f"{word}({a}, {source})", lambda v: function(v[a], value(v)))

    def write_loop(self) -> None:
        a = self.name(axes=1, writable=True)
        kind = self.rng.integers(4)

        def statement(v: Variables) -> None:
            t = v[a]
            if kind == 0:
                for r in t:
                    r -= _mean(r) * 0.5
            elif kind == 1:
                for i in range(1, len(t)):
                    t[i] = 0.5 * t[i - 1] + np.sin(t[i])
            elif kind == 2:
                for i, r in enumerate(list(t)):
                    t[len(t) - 1 - i] = r * 0.9
            else:
                total = 0.0
                for i in range(len(t)):
                    total += np.sum(t[i])
                    t[i] = np.tanh(total)

        self.add(f"loop {kind} over {a}", statement)

    def write_containers(self) -> None:
        a, key = self.name(axes=1), str(self.rng.choice(["p", "q"]))
        kind = self.rng.integers(5)

        def statement(v: Variables) -> None:
            box, rows = v["box"], v["rows"]
            if kind == 0:
                box[key] = v[a]
            elif kind == 1:
                box[key] *= 0.5
            elif kind == 2 and len(rows) < 4:
                rows.append(v[a][0])
            elif kind == 3:
                for r in rows:
                    r += 0.1
            else:
                v["box"] = copy.deepcopy(box)

        if kind != 1 or key in self.v["box"]:
            self.add(f"container {kind} {a} {key}", statement)

    def write_function(self) -> None:
        a, new = self.name(axes=1, writable=True), self.new()
        source, value = self.value(np.shape(self.v[a]))

        def scale(t: Any, by: Any, *, also: Any) -> Any:
            part = t[1:]
            part *= by
            also["last"] = part
            t[:1] = np.sin(t[:1])
            return t.T

        def statement(v: Variables) -> None:
            seen: dict[str, Any] = {}
            v[new] = scale(v[a], _mean(value(v)), also=seen)
            seen["last"] += 0.25

        self.add(f"{new} = scale({a}, {source})", statement)

    def write_plain_array(self) -> None:
        a = self.name(axes=1)
        shape = np.shape(self.v[a])
        factors = self.rng.normal(size=shape)
        new = self.new()

        def statement(v: Variables) -> None:
            plain = factors.copy()
            product = v[a] * plain
            plain[...] = 1.5
            v[new] = product * 0.5 + plain * v[a]
            plain[:] = 0

        self.add(f"{new} = {a} * plain", statement)

    def write_number(self) -> None:
        a, new = self.name(axes=1), self.new()
        if 0 in np.shape(self.v[a]):
            return
        at = (0,) * np.ndim(self.v[a])

        def statement(v: Variables) -> None:
            s = v[a][at]
            first = s
            s += np.sum(v["y"])
            v[new] = np.tanh(s) * first

        self.add(f"{new} = number {a}", statement)


def _mean(x: Any) -> Any:
    return np.mean(x) if np.size(x) else 0.5


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def _shown(index: Any) -> str:
    return ", ".join(str(i).replace("None", "") if isinstance(i, slice) else str(i) for i in index)
