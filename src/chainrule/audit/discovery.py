"""All backward passes of a program, found by their names, audited one by one on small data, in one report."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ..adapters.backward_pass import BackwardPass
from ..adapters.containers import is_float_array
from ..adapters.drawn_arguments import (
    BINARY,
    IN_FILE,
    LABELS,
    LAYOUTS,
    ONE_HOT,
    REAL,
    Draw,
    drawn_targets,
    draws,
    length_named,
)
from ..adapters.layer_functions import LayerFunctions
from ..adapters.loss_functions import LossFunction
from ..adapters.network_functions import NetworkFunctions
from ..adapters.object_methods import TARGET, knows_its_loss, methods_named, role
from ..adapters.object_slots import slots
from ..adapters.objects import Objects
from ..adapters.program_parts import CLASS, DERIVATIVE, LAYER, LOSS, NETWORK, Part, initializer_in, loss_in
from ..adapters.recorded_run import AuditError
from ..adapters.signatures import ALIASES, positional, required
from ..adapters.training_scripts import ASSUMED
from .report import RIGHT, WRONG, Convention, Finding, Report
from .run import report_on, report_on_loss

#: How many kinds of data are tried, and on how many of them causes are searched for.
_TRIED, _EXPLAINED = 120, 3


@dataclasses.dataclass(frozen=True)
class Audited:
    """A part of a program, and the report on it or why there is none."""

    part: Part
    report: Report | None
    reason: str = ""
    data: str = ""
    assumed: str = ""


def audited_parts(program: ModuleType, parts: Sequence[Part], given: Mapping[str, Any]) -> list[Audited]:
    """Audit each part of a program; `given` are values by the names of arguments."""
    held = {n: v for n, v in vars(program).items() if n[:1] != "_" and _is_data(v)}
    return [_audited(part, program, held, given) for part in parts]


def _is_data(value: Any) -> bool:
    numbers = isinstance(value, list) and bool(value) and all(isinstance(x, int | float) for x in value)
    return numbers or isinstance(value, np.ndarray | dict | int | float)


def _audited(part: Part, program: ModuleType, held: Mapping[str, Any], given: Mapping[str, Any]) -> Audited:
    """Audit one part on the first data on which it is right, else on those that it is called wrong on."""
    wrong: list[tuple[tuple[int, int], Attempt]] = []
    reasons: list[str] = []
    with np.errstate(all="ignore"):
        for attempt in itertools.islice(_attempts(part, program, held, given), _TRIED):
            try:
                report = attempt.report(causes=False)
            except Exception as error:  # whatever the user's code raises on data that do not suit it
                reasons.append(str(error) if isinstance(error, AuditError) else f"{type(error).__name__}: {error}")
                continue
            if report.ok and _says_something(report):
                broken = [a for _, a in wrong if a.draw.layout == IN_FILE]  # on the file's own data it is not finite
                return _read(part, broken[0] if broken else attempt)
            if not report.ok:
                wrong.append((_unlikely(report, attempt.draw), attempt))
                if attempt.draw.layout == IN_FILE and math.isfinite(report.loss):
                    break
        for _, attempt in sorted(wrong, key=lambda pair: pair[0])[:_EXPLAINED]:
            found = _read(part, attempt)
            if found.report is not None and (found.report.ok or _fits(found.report, attempt.draw)):
                return found
    if wrong:
        data = wrong[0][1].draw
        return Audited(part, None, f"its gradients have other shapes than the data that were tried: {data}")
    late = [r for r in reasons if "in backward" in r or r.startswith("backward")]
    return Audited(part, None, (late or reasons or ["no data for its arguments were found"])[0])


def _read(part: Part, attempt: Attempt) -> Audited:
    return Audited(part, attempt.report(), "", str(attempt.draw), attempt.assumed)


def _unlikely(report: Report, draw: Draw) -> tuple[int, int]:
    """Return how little the data and the loss suit a pass that is wrong on them, small numbers being best."""
    misfits = _misfits(report) + (LABELS in draw.layout) + 100 * (not math.isfinite(report.loss))
    return misfits, sum(s.verdict == WRONG for s in report.steps)


def _fits(report: Report, draw: Draw) -> bool:
    return draw.layout == IN_FILE or _misfits(report) < len(report.steps)


def _misfits(report: Report) -> int:
    """Return how many gradients have other shapes than what they belong to, as on data that do not suit a pass."""
    shapes = [(f.evidence.get("expected_shape"), f.evidence.get("found_shape")) for f in report.findings]
    misfits = sum(expected is not None and tuple(expected) != tuple(found or ()) for expected, found in shapes)
    return len(report.steps) if all(s.shape == () for s in report.steps) else misfits


def _says_something(report: Report) -> bool:
    return math.isfinite(report.loss) and any(s.verdict == RIGHT for s in report.steps)


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A way of calling a part: the data, what makes the passes on them, and the loss that is assumed."""

    draw: Draw
    make: Callable[[], BackwardPass]
    assumed: str = ""

    def report(self, *, causes: bool = True) -> Report:
        """Audit the passes; `causes` says whether those of errors are searched for."""
        subject = self.make()
        if not subject.exact:
            raise AuditError("found no array of floating-point numbers with a gradient")
        data = tuple(n for n in subject.values if n not in subject.exact or n in subject.optional)
        if isinstance(subject, LossFunction):
            return report_on_loss(subject, data, causes=causes)
        whole = isinstance(subject, NetworkFunctions)
        return report_on(subject, data if whole else tuple(subject.values), False, causes=causes)


Attempts = Iterator[Attempt]


def _attempts(part: Part, program: ModuleType, held: Mapping[str, Any], given: Mapping[str, Any]) -> Attempts:
    if part.kind == CLASS:
        yield from _of_class(part, given)
        return
    if part.kind == NETWORK:
        networks = list(_of_network(part, program, held, given))
        yield from networks
        if networks:
            return
        part = dataclasses.replace(part, kind=LAYER)
    for own in ({**held, **given}, dict(given)) if held else (dict(given),):
        for draw in draws(part.forward, own, also=[p.name for p in required(part.backward)] if part.backward else ()):
            yield Attempt(draw, functools.partial(_of_functions, part, list(draw.values.values())))


def _of_functions(part: Part, values: list[Any]) -> BackwardPass:
    if part.kind == LAYER:
        return LayerFunctions(part.forward, part.backward, values)
    if part.kind == LOSS:
        f, cost = (part.forward, None) if part.backward is None else (part.backward, part.forward)
        return LossFunction(f, values, {}, cost)
    pair = types.SimpleNamespace(**{"loss" if len(values) > 1 else "forward": part.forward, "gradient": part.backward})
    return Objects(pair, values)


def _of_network(part: Part, program: ModuleType, held: Mapping[str, Any], given: Mapping[str, Any]) -> Attempts:
    """Yield calls for forward(X, parameters), with parameters of the file or those that it makes."""
    loss, made = loss_in(program), initializer_in(program)
    own = {**held, **given}
    parameters = [v for n, v in own.items() if isinstance(v, dict) and n in ALIASES["parameters"]]
    if loss is None or not (parameters or made):
        return
    network = functools.partial(NetworkFunctions, part.backward, part.forward, loss)
    X, Y = (next((own[n] for n in ALIASES[k] if isinstance(own.get(n), np.ndarray)), None) for k in ("X", "Y"))
    if parameters and X is not None and Y is not None:
        yield Attempt(Draw({"X": X, "Y": Y}, IN_FILE), functools.partial(network, parameters[0], X, Y))
    if made is not None:
        parameters = [made(**{p.name: _length_of_network(p.name) for p in required(made)})]
    for shape, out in (((4, 6), (3, 6)), ((6, 4), (6, 3))):
        rng = np.random.default_rng(0)
        for Y in (np.eye(3)[:, rng.integers(0, 3, 6)], rng.integers(0, 2, (1, 6)) * 1.0, rng.normal(size=out)):
            X = rng.normal(size=shape)
            Y = Y if shape == (4, 6) or Y.shape == out else Y.T
            values = {"X": given.get("X", X), "Y": given.get("Y", Y)}
            layout = "examples in columns" if shape == (4, 6) else "examples in rows"
            yield Attempt(Draw(values, layout), functools.partial(network, parameters[0], *values.values()))


def _length_of_network(name: str) -> Any:
    low = name.lower()
    if "dims" in low or "sizes" in low or "layers" in low:
        return [4, 5, 3]
    return 4 if low in ("n_x", "input_size") or "in" in low.split("_") else 5 if low.startswith(("n_h", "hid")) else 3


def _of_class(part: Part, given: Mapping[str, Any]) -> Attempts:
    """Yield calls for an instance of the file, else for instances made with drawn arguments."""
    names = methods_named(part.forward)
    if names is None:
        return
    constructor = [p for p in positional(part.forward) if p.default is p.empty]
    for layout in LAYOUTS:
        made: Any = part.backward
        sizes = {p.name: given.get(p.name, length_named(p.name, layout)) for p in constructor}
        said = "an instance of the file"
        if made is None:
            said = f"{part.name}({', '.join(f'{k}={v!r}' for k, v in sizes.items())})"
            try:
                made = part.forward(**sizes)
            except Exception as error:  # whatever the user's code raises
                yield Attempt(Draw({}, layout), functools.partial(_raise, error))
                continue
        for features in (None, *_lengths_of(made)):
            for draw in draws(getattr(made, names[0]), given, layout, features=features):
                for more, loss, assumed in _targets(made, names, draw.values):
                    values = {**draw.values, **more}
                    make = functools.partial(Objects, made, list(values.values()), loss=loss)
                    yield Attempt(Draw(values, f"{said}, {draw.layout}"), make, assumed)


def _lengths_of(made: Any) -> list[int]:
    """Return the lengths of axes of the arrays that an object holds: one of them is that of its input."""
    shapes = (
        [v.shape for *_, v in slots(made, "", {id(made)}) if is_float_array(v)] if hasattr(made, "__dict__") else []
    )
    return list(dict.fromkeys(n for shape in shapes for n in shape if 1 < n < 2000))[:6]


Chosen = tuple[dict[str, Any], Any, str]  # targets by name, a loss, and what it is called where it is assumed


def _targets(made: Any, names: tuple[str, str], values: Mapping[str, Any]) -> Iterator[Chosen]:
    """Yield targets for the output of an object whose backward method takes them, and forward does not."""
    forward, backward = (positional(getattr(made, n)) for n in names)
    name = next((p.name for p in backward if role(p.name) == TARGET), None)
    if name is None or name in values or any(role(p.name) == TARGET for p in forward):
        yield {}, None, ""
        return
    try:
        output = getattr(copy.deepcopy(made), names[0])(**values)
    except Exception:  # whatever the user's code raises; the attempt without targets says it
        yield {}, None, ""
        return
    shape = np.shape(output[0] if isinstance(output, tuple) else output)
    if knows_its_loss(made):
        yield from (({name: drawn_targets(shape, kind)}, None, "") for kind in (LABELS, ONE_HOT, REAL, BINARY))
        return
    for (loss, text), kind in zip(ASSUMED, (REAL, REAL, BINARY, BINARY, ONE_HOT, ONE_HOT), strict=True):
        yield {name: drawn_targets(shape, kind)}, loss, text.rstrip(",")


def _raise(error: Exception) -> BackwardPass:
    raise error


# -- one report --------------------------------------------------------------------------------------------------------


def report_on_parts(title: str, audited: Sequence[Audited]) -> Report:
    """Return one report on several parts of a program; their steps are called "name: step"."""
    done = [(a, a.report) for a in audited if a.report is not None]
    unread = ", ".join(a.part.name for a in audited if a.report is None)
    notes = [f"{a.part.name} was not read: {a.reason}" for a in audited if a.report is None]
    notes += [f"{a.part.name}: {n}" for a, r in done for n in r.notes]
    return Report(
        tuple(_finding_of(a, f) for a, r in done for f in r.findings),
        tuple(Convention(f"{a.part.name} {c.name}".strip(), c.message) for a, r in done for c in r.conventions),
        tuple(dataclasses.replace(s, name=f"{a.part.name}: {s.name}") for a, r in done for s in r.steps),
        tuple(notes),
        math.nan,
        title,
        "\n".join(_read_as(a, r) for a, r in done),
        (*_assumptions(audited), *([f"Not read: {unread} (see the notes)."] if unread else [])),
    )


def _assumptions(audited: Sequence[Audited]) -> Iterator[str]:
    yield from (f"Loss assumed of {a.part.name}: {a.assumed}." for a in audited if a.assumed)


def _finding_of(a: Audited, finding: Finding) -> Finding:
    evidence = dict(finding.evidence)
    if evidence.get("at") == "your data" and IN_FILE not in a.data:
        evidence["at"] = "the data drawn"
    return dataclasses.replace(finding, name=f"{a.part.name}: {finding.name}", evidence=evidence)


def _read_as(a: Audited, report: Report) -> str:
    if a.part.kind == DERIVATIVE:
        head = f"{a.part.name}, the derivative of {a.part.forward.__name__}"
    else:
        head = f"{a.part.name}: {report.read_as}"
    return f"{head}; data {a.data}"
