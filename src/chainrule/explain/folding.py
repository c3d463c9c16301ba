"""Steps of a loop as one formula: ``h[t] = …`` for t = 1, …, 4, and sums over the steps as Σₜ.

A derivation has a formula for every step of a recurrence. What is shown has one for all the steps that differ in their
number alone: each label and index that moves on with the step is written relative to t.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..formula.expression import Expression, frozen, name, plus
from ..formula.rows import ADD, CONCATENATE, NAME, RESHAPE, STEPS
from ..ops.index import SLICE
from .steps import Backward, Forward

#: Terms of a sum from which on they are written as one for all steps.
_FEWEST = 2


@dataclass(frozen=True)
class Shown:
    """A step as it is shown, and the steps of a loop that it holds for: (4, 0) for t = 4, …, 0.

    Attributes
    ----------
    step : Forward or Backward
    times : (int, int) or None
    stands_for : dict
        Label relative to t -> a label that it stands for.
    """

    step: Forward | Backward
    times: tuple[int, int] | None
    stands_for: dict[str, str]

    @property
    def when(self) -> str:
        """The steps of the loop, in words: "t = 4, …, 0"."""
        if self.times is None:
            return ""
        first, last = self.times
        if abs(first - last) > 2:
            return f"t = {first}, …, {last}"
        return "t = " + ", ".join(map(str, range(first, last + 1) if first < last else range(first, last - 1, -1)))


class _Differs(Exception):
    """Two steps differ in more than their number."""


class _Relative:
    """Writes what belongs to step k relative to t, by comparison with the same at step k + by."""

    def __init__(self, k: int, by: int) -> None:
        self.k, self.by = k, by
        self.stands_for: dict[str, str] = {}

    def label(self, a: str, b: str) -> str:
        if a == b:
            return a
        one, other = _numbered(a), _numbered(b)
        if one is None or other is None or one[0] != other[0] or other[1] - one[1] != self.by:
            raise _Differs
        relative = f"{one[0]}[{self._t(one[1])}]"
        self.stands_for[relative] = a
        return relative

    def _t(self, k: int) -> str:
        away = k - self.k
        return f"t{'+' if away > 0 else '−'}{abs(away)}" if away else "t"

    def labels(self, a: Sequence[str], b: Sequence[str]) -> tuple[str, ...]:
        if len(a) != len(b):
            raise _Differs
        return tuple(self.label(x, y) for x, y in zip(a, b, strict=True))

    def expression(self, a: Expression, b: Expression) -> Expression:
        if a.op is not b.op or len(a.inputs) != len(b.inputs) or a.shape != b.shape:
            raise _Differs
        if a.op is NAME:
            return name(self.label(a["name"], b["name"]), a.shape, a.kind)
        inputs = tuple(self.expression(x, y) for x, y in zip(a.inputs, b.inputs, strict=True))
        attrs = a.attrs
        if attrs != b.attrs:
            if a.op is not SLICE:
                raise _Differs
            attrs = frozen({"index": [self._index(x, y) for x, y in zip(a["index"], b["index"], strict=True)]})
        return replace(a, inputs=inputs, attrs=attrs)

    def _index(self, a: object, b: object) -> object:
        if a == b:
            return a
        if type(a) is int and type(b) is int and b - a == self.by:
            return self._t(a)
        raise _Differs

    def step(self, a: Forward | Backward, b: Forward | Backward) -> Forward | Backward:
        if isinstance(a, Backward) and isinstance(b, Backward):
            return self._backward(a, b)
        return replace(a, name=self.label(a.name, b.name), expression=self.expression(a.expression, b.expression))

    def _backward(self, a: Backward, b: Backward) -> Backward:
        if (a.inner is None) != (b.inner is None) or len(a.local) != len(b.local):
            raise _Differs
        return replace(
            a,
            name=self.label(a.name, b.name),
            of=self.label(a.of, b.of),
            expression=self.expression(a.expression, b.expression),
            users=self.labels(a.users, b.users),
            reused=self.labels(a.reused, b.reused),
            local={
                self.label(x, y): self.expression(a.local[x], b.local[y]) for x, y in zip(a.local, b.local, strict=True)
            },
            inner=self._backward(a.inner, b.inner) if a.inner is not None and b.inner is not None else None,
        )


def _numbered(label: str) -> tuple[str, int] | None:
    """Return what a label is without the number of its step, and the number."""
    match = re.fullmatch(r"(.+)\[(\d+)\]", label)
    return (match[1], int(match[2])) if match else None


def folded(steps: Sequence[Forward | Backward]) -> list[Shown]:
    """Return the steps as they are shown: one for each, or for all that differ in their number alone."""
    families: dict[str, list[Forward | Backward]] = {}
    for step in steps:
        if (numbered := _numbered(step.name)) is not None:
            families.setdefault(numbered[0], []).append(step)
    runs: dict[str, Shown | None] = {}
    found: list[Shown | None] = []
    for step in steps:
        numbered = _numbered(step.name)
        family = families.pop(numbered[0], []) if numbered is not None else [step]
        runs |= _runs(family)  # what is computed in every step stands together
        found += [runs.get(member.name, Shown(member, None, {})) for member in family]
    return [replace(shown, step=_without_repetition(shown.step)) for shown in found if shown is not None]


def _runs(family: Sequence[Forward | Backward]) -> dict[str, Shown | None]:
    """Return the first label of each run of steps with what is shown for all of them, the other labels with None."""
    found: dict[str, Shown | None] = {}
    numbers = [n[1] if (n := _numbered(step.name)) else 0 for step in family]
    at = 0
    while at + 1 < len(family):
        last, shown = at, None
        while last + 1 < len(family) and abs(by := numbers[last + 1] - numbers[last]) == 1:
            relative = _Relative(numbers[last], by)
            try:
                same = relative.step(family[last], family[last + 1])
            except _Differs:
                break
            if shown is not None and same != shown[0]:
                break
            shown = shown or (same, relative.stands_for)
            last += 1
        if shown is not None:
            found |= {step.name: None for step in family[at : last + 1]}
            found[family[at].name] = Shown(shown[0], (numbers[at], numbers[last]), shown[1])
        at = max(last, at + 1) if shown is None else last + 1
    return found


# -- sums and arrays of all steps --------------------------------------------------------------------------------------


def _without_repetition(step: Forward | Backward) -> Forward | Backward:
    e = step.expression.mapped(lambda x: _array_of_steps(x) if x.op is CONCATENATE else None)
    e = _sums_of_steps(e)
    if isinstance(step, Forward):
        return replace(step, expression=e)
    users, reused = _over_steps(step.users), _over_steps(step.reused)
    return replace(step, expression=e, users=users, reused=reused)


def _sums_of_steps(e: Expression) -> Expression:
    if e.op is not ADD:
        inputs = tuple(_sums_of_steps(x) for x in e.inputs)
        return e if inputs == e.inputs else replace(e, inputs=inputs)
    terms, rest = [], e
    while rest.op is ADD:
        terms.append(rest.inputs[1])
        rest = rest.inputs[0]
    terms = [rest, *terms[::-1]]
    made, at = [], 0
    while at < len(terms):
        last, shown = at, None
        while last + 1 < len(terms) and (same := _same_term(terms[last], terms[last + 1])) is not None:
            if shown is not None and same != shown:
                break
            shown, last = same, last + 1
        if shown is not None and last - at + 1 >= _FEWEST:
            ends = sorted((_time_of(terms[at]), _time_of(terms[last])))
            made.append(Expression(STEPS, (shown,), (("first", ends[0]), ("last", ends[1])), e.shape))
            at = last + 1
        else:
            made.append(_sums_of_steps(terms[at]))
            at += 1
    return functools.reduce(plus, made) if len(made) < len(terms) else e


def _time_of(term: Expression) -> int:
    """Return the number of the step that a term belongs to, that of its gradient; -1 if it has none."""
    numbers = [_numbered(n) for n in term.names() if n.startswith("d")]
    return next((n[1] for n in numbers if n is not None), -1)


def _same_term(a: Expression, b: Expression) -> Expression | None:
    k, n = _time_of(a), _time_of(b)
    if min(k, n) < 0 or abs(n - k) != 1:
        return None
    try:
        return _Relative(k, n - k).expression(a, b)
    except _Differs:
        return None


def _array_of_steps(e: Expression) -> Expression | None:
    """Return [h[0], …, h[4]] for all values of a loop side by side."""
    values = [x.inputs[0] if x.op is RESHAPE else x for x in e.inputs]
    found = [_numbered(x["name"]) for x in values if x.op is NAME]
    numbers = [n for n in found if n is not None]
    if len(numbers) < len(values) or len(values) < 4 or len({base for base, _ in numbers}) > 1:
        return None
    by = numbers[1][1] - numbers[0][1]
    if abs(by) != 1 or any(b[1] - a[1] != by for a, b in itertools.pairwise(numbers)):
        return None
    return replace(e, inputs=(e.inputs[0], name("…", e.inputs[0].shape), e.inputs[-1]))


def _over_steps(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return labels with those of all steps of a loop as one: z1[t]."""
    bases: dict[str, list[str]] = {}
    for label in labels:
        numbered = _numbered(label)
        bases.setdefault(numbered[0] if numbered else label, []).append(label)
    found: list[str] = []
    for base, members in bases.items():
        found += [f"{base}[t]"] if len(members) >= _FEWEST else members
    return tuple(found)
