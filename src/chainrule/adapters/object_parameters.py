"""The parameters of objects, and where their gradients are: in attributes, returned, or in what an update changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.op import Array
from .attribute_names import attribute_of_gradient, value_of_gradient
from .backward_pass import same
from .containers import is_float_array, named_leaves
from .object_gradients import returned_gradients
from .object_methods import OUTPUT, RATE, UPSTREAM, role
from .object_setup import set_up_hint
from .object_slots import assign, identity
from .recorded_run import AuditError

if TYPE_CHECKING:
    from .objects import Objects

#: Parts of the names of arrays that are used, but not trained.
NOT_TRAINED = "running moving mean var std mask eps kernel_size position encoding data input target label state".split()


@dataclass
class Parameters:
    """Parameters by name, and where the gradient of each is.

    Attributes
    ----------
    values
        The parameters as they are.
    attributes
        Parameter -> attribute that holds its gradient.
    returned
        Parameters whose gradients backward returns.
    rates
        Parameters that backward updates -> the learning rate.
    without_rate
        Those among them whose learning rate is not known.
    candidates
        Arrays that the gradients returned may belong to, and their shapes.
    others
        Further names of the parameters.
    missing
        Arrays that the output depends on, without a gradient.
    """

    values: dict[str, Array] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    returned: tuple[str, ...] = ()
    rates: dict[str, float] = field(default_factory=dict)
    without_rate: tuple[str, ...] = ()
    candidates: dict[str, tuple[int, ...]] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)
    missing: tuple[str, ...] = ()

    def describe(self) -> list[str]:
        """Return where the parameters and their gradients are, in words."""
        names = list(self.values)
        parts = [f"parameters {', '.join(names)}" if names else "no parameters"]
        if self.attributes:
            parts.append(f"gradients in {', '.join(self.attributes.values())}")
        if self.returned:
            parts.append(f"gradients of {', '.join(self.returned)} as returned")
        if self.rates:
            rates = ", ".join(f"{r:.6g}" for r in dict.fromkeys(self.rates.values()))
            parts.append(f"gradients of {', '.join(self.rates)} from the update with learning rate {rates}")
        return parts


def find_parameters(
    subject: Objects, chosen: Sequence[str] | None, given: Mapping[str, str] | str | None
) -> Parameters:
    """Run both passes once; return the parameters: what forward leaves alone and backward has a gradient for."""
    twin = subject.copied()
    before = twin.attributes()
    unknown = [n for n in [*(chosen or ()), *(given if isinstance(given, Mapping) else ())] if n not in before]
    if unknown:
        raise AuditError(f"parameters: there is no {unknown[0]}; the object holds {', '.join(before)}")
    failing = "forward"
    try:
        with np.errstate(all="ignore"):
            values = copied_arrays(subject.values)
            output = twin.called(values)
            between = twin.attributes()
            kept = {n: v for n, v in before.items() if between.get(n) is v and _may_be_parameter(n, v)}
            old = {n: np.array(v, np.float64) for n, v in kept.items()}
            failing = "backward"
            results = twin.run_backward(output, twin.dout(output, values), values)
    except AuditError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {error}{set_up_hint(subject.handed_over['modules'])}"
        raise AuditError(f"the module fails on your inputs, in {failing}: {why}") from error
    after = twin.attributes()
    old.update({n: np.full(np.shape(after[n]), v) for n, v in old.items() if _grows(v, after.get(n))})
    synonyms = _synonyms({n: v for n, v in kept.items() if not isinstance(v, int) or _is_float(after.get(n))})
    if chosen is not None:
        synonyms = {n: names for n, names in synonyms.items() if set(names) & set(chosen)}
    found = Parameters()
    if given != "update":
        found.attributes = _in_attributes(synonyms, after, given if isinstance(given, Mapping) else {}, old)
        if given is None:
            _leave_to_returned(found, results, after, old)
    _updated(subject, found, synonyms, before, after, old)
    rest = {n: old[n].shape for n in synonyms if _is_left(found, synonyms[n]) and is_float_array(kept[n])}
    found.candidates = rest
    twin.found = found
    found.returned = tuple(twin.returned(results)) if given != "update" else ()
    names = [n for n in synonyms if n in found.attributes or n in found.rates or n in found.returned]
    found.values = {n: np.array(old[n], np.float64) for n in names}
    found.others = {n for name in names for n in synonyms[name] if n != name}
    found.missing = tuple(
        n
        for n in rest
        if n not in found.values and _is_trained(n, kept[n]) and _used(subject, n, found)
        if not (_is_loss(subject, found) and np.ndim(old[n]) < 2)  # weights of the classes
    )
    found.values.update({n: old[n] for n in found.missing})
    return found


def copied_arrays(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with copies of arrays, for code that writes into its inputs."""
    return {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in values.items()}


def _may_be_parameter(name: str, value: Any) -> bool:
    if isinstance(value, float | int) and not isinstance(value, bool):
        return role(name.rpartition(".")[2]) != RATE
    return is_float_array(value)


def _is_float(value: Any) -> bool:
    return isinstance(value, float) or is_float_array(value)


def _grows(before: Array, after: Any) -> bool:
    """Whether the first update makes an array of a number: gamma = 1 until one for each channel is subtracted."""
    return before.ndim == 0 and is_float_array(after) and after.ndim > 0


def _synonyms(kept: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return names -> all names of the same array: W and params[0]."""
    by_array: dict[Any, list[str]] = {}
    for name, value in kept.items():
        by_array.setdefault(identity(name, value), []).append(name)
    return {min(names, key=lambda n: "[" in n): names for names in by_array.values()}


def _in_attributes(
    synonyms: Mapping[str, list[str]], after: Mapping[str, Any], given: Mapping[str, str], old: Mapping[str, Array]
) -> dict[str, str]:
    found = {}
    for name, names in synonyms.items():
        if own := [given[n] for n in names if n in given]:
            found[name] = own[0]
            continue
        keys = [key for n in names if (key := attribute_of_gradient(n, after)) is not None and key not in names]
        held = [key for key in keys if value_of_gradient(after, key) is not None]
        if held:
            found[name] = held[0]
    return {n: key for n, key in found.items() if n not in found.values()}


def _leave_to_returned(
    found: Parameters, results: Sequence[Any], after: Mapping[str, Any], old: Mapping[str, Array]
) -> None:
    """Prefer gradients that are returned by name where attributes hold others, such as those without a penalty."""
    if len(results) != 1 or not isinstance(results[0], Mapping):
        return
    returned = returned_gradients(results[0], (), {n: old[n].shape for n in found.attributes})
    for name, value in returned.items():
        held = value_of_gradient(after, found.attributes[name])
        if np.shape(value) == old[name].shape and not np.array_equal(np.asarray(value), np.asarray(held)):
            del found.attributes[name]


def _is_loss(subject: Objects, found: Parameters) -> bool:
    """Whether the object takes predictions and targets, and has no gradients of its own."""
    return len(subject.methods) == 1 and subject.methods[0].judges and not found.values


def _updated(
    subject: Objects,
    found: Parameters,
    synonyms: Mapping[str, list[str]],
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    old: Mapping[str, Array],
) -> None:
    """Add the parameters that backward updates, and their learning rates."""
    for name, names in synonyms.items():
        changed = name in after and not np.array_equal(np.asarray(after[name]), old[name])
        if changed and _is_left(found, names) and _used(subject, name, found):
            rate = _rate(subject, name, before)
            found.rates[name] = 1.0 if rate is None else rate
            found.without_rate += (name,) if rate is None else ()


def _is_left(found: Parameters, names: Sequence[str]) -> bool:
    known = {*found.attributes, *found.attributes.values(), *found.rates}
    return not known & set(names)


def _is_trained(name: str, value: Any) -> bool:
    last = name.rpartition(".")[2].partition("[")[0].lower().strip("_")
    data = role(last) not in (UPSTREAM, OUTPUT) and last not in ("weights", "theta", "w")
    return np.size(value) > 1 and not data and not any(part in last for part in NOT_TRAINED)


def _used(subject: Objects, name: str, found: Parameters) -> bool:
    """Whether the output depends on a value that the objects hold."""
    outputs = []
    for factor in (1.0, 1.01):
        twin = subject.copied()
        value = np.array(twin.attributes()[name], np.float64)
        twin.found = Parameters(values={name: value})
        twin.put({name: factor * value + (factor - 1)})
        with np.errstate(all="ignore"):
            outputs.append(named_leaves(twin.called(copied_arrays(subject.values))))
    one, other = outputs
    return set(one) != set(other) or any(not same(np.asarray(x), np.asarray(other[n])) for n, x in one.items())


def _rate(subject: Objects, name: str, attributes: Mapping[str, Any]) -> float | None:
    """Return the learning rate that a parameter is updated with: given, passed, a default, or an attribute near it."""
    if subject.lr is not None:
        return subject.lr
    near = []
    for key, value in attributes.items():
        head, _, last = key.rpartition(".")
        if role(last) == RATE and isinstance(value, int | float) and name.startswith(head.rpartition(".")[0]):
            near += [(-len(head), float(value))] if _follows(subject, name, key) else []
    passed = subject.passed_rate()
    return passed if passed is not None else min(near)[1] if near else None


def _follows(subject: Objects, name: str, rate: str) -> bool:
    """Whether the update of a parameter changes with an attribute that is called as a learning rate is."""
    updated = []
    for factor in (1.0, 2.0):
        twin = subject.copied()
        for key, owner, place, value in twin.slots():
            if key == rate:
                assign(owner, place, factor * value)
        values = copied_arrays(subject.values)
        output = twin.called(values)
        twin.run_backward(output, twin.dout(output, values), values)
        updated.append(np.asarray(twin.attributes()[name]))
    return not np.array_equal(updated[0], updated[1], equal_nan=True)


def fitted_rate(subject: Objects, names: Sequence[str]) -> float:
    """Return the ratio of most parameters' gradients to finite differences; 1 where it is not a number.

    A learning rate that is written in the code shows as such a factor.
    """
    rng = np.random.default_rng(0)
    ratios = []
    try:
        gradients = subject.run(subject.values, "your data", record=False).gradients
        for name in names:
            value, found = subject.values[name], gradients.get(name)
            if found is None or np.shape(found) != np.shape(value):
                continue
            pair = [_ratio(subject, name, value, found, rng) for _ in range(2)]
            if abs(pair[0] - pair[1]) <= 1e-4 * abs(pair[0]) and pair[0] > 0:
                ratios.append(pair[0])
    except Exception:  # whatever the user's code raises
        return 1.0
    agreeing = [[r for r in ratios if abs(r - s) <= 1e-3 * s] for s in ratios]
    best = max(agreeing, key=len, default=[1.0])
    return float(f"{np.median(best):.4g}")


def _ratio(subject: Objects, name: str, value: Array, found: Array, rng: np.random.Generator) -> float:
    direction = rng.normal(size=value.shape)
    step = 1e-5 / (float(np.sqrt(np.sum(direction**2))) or 1.0)
    ends = [subject.plain_loss({**subject.values, name: value + s * step * direction}) for s in (1.0, -1.0)]
    slope = (ends[0] - ends[1]) / (2 * step)
    return float(np.sum(found * direction)) / slope if slope else np.nan
