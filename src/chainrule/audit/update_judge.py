"""Which rule an update follows, which known mistake explains its steps, and by what factor."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..core.op import Array
from ..optim import SGD, Adagrad, Adam, AdamW, Lion, Optimizer, RMSprop
from .mistakes.conduct import Nonfinite, Unknown
from .mistakes.moments import WrongStepCount
from .mistakes.rules import NoUpdate, WrongRule
from .mistakes.scaling import ConstantFactor, Sign
from .update_forms import Form, Steps, forms_of, moves, reference
from .update_mistakes import UPDATE_MISTAKES

TOLERANCE = 1e-6
#: Of a known mistake: eps may be another than the usual one.
_TOLERANCE_OF_MISTAKES = 2e-5
#: Values of a setting that is neither given nor found, the most usual first.
_USUAL: dict[str, tuple[float, ...]] = {
    "beta1": (0.9, 0.5, 0.95, 0.8), "beta2": (0.999, 0.99, 0.98, 0.95), "momentum": (0.9, 0.5, 0.95, 0.99, 0.8),
    "alpha": (0.9, 0.99, 0.95, 0.999), "eps": (1e-8, 1e-7, 1e-6, 1e-10, 1e-5), "weight_decay": (0.01, 0.1, 1e-3, 1e-4),
    "beta2 of lion": (0.99, 0.999, 0.98, 0.95),
}  # fmt: skip
_MEMORY = ("alpha", "rho", "decay_rate", "beta", "gamma", "beta2", "decay")
#: Rule -> its settings, each with the names under which it is looked for.
_SETTINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "sgd": {},
    "momentum": {"momentum": ("momentum", "mu", "beta", "gamma", "alpha", "rho", "beta1")},
    "nesterov": {"momentum": ("momentum", "mu", "beta", "gamma", "alpha", "rho", "beta1")},
    "rmsprop": {"alpha": _MEMORY, "eps": ("eps",)},
    "adagrad": {"eps": ("eps",)},
    "adam": {"beta1": ("beta1",), "beta2": ("beta2",), "eps": ("eps",)},
    "amsgrad": {"beta1": ("beta1",), "beta2": ("beta2",), "eps": ("eps",)},
    "lion": {"beta1": ("beta1",), "beta2": ("beta2",)},
    "adamw": {"beta1": ("beta1",), "beta2": ("beta2",), "eps": ("eps",), "weight_decay": ("weight_decay",)},
}
RULES = tuple(_SETTINGS)
_MAKE: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    "momentum": SGD,
    "nesterov": lambda **settings: SGD(nesterov=True, **settings),
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
    "adam": Adam,
    "amsgrad": lambda **settings: Adam(amsgrad=True, **settings),
    "lion": Lion,
    "adamw": AdamW,
}
_MOST_COUNT = 40


def rule_of(rule: str) -> type[Optimizer]:
    """Return the class of a rule."""
    return type(_made(rule, {"momentum": 0.9} if rule == "nesterov" else {}, None))


@dataclass(frozen=True)
class Verdict:
    """What the steps are: right if `cause` is empty.

    Attributes
    ----------
    cause, sentence : str
    form : str
        The name of the published form; empty for the library's own.
    factor : float
        By how much they are longer than the rule's steps; the learning rate, if that was not known.
    expected : array
        The rule's steps.
    settings : dict
        Those of the rule.
    """

    cause: str
    sentence: str
    form: str
    factor: float
    expected: Array
    settings: Mapping[str, float]


def judge_update(steps: Steps, rule: str, known: Mapping[str, float], lr: float | None) -> Verdict:
    """Return the verdict on the steps of an update.

    Parameters
    ----------
    steps : Steps
    rule : str
        One of `RULES`.
    known : dict
        Settings that were given or found, by the names here or those that are ambiguous.
    lr : float or None
        The learning rate, if known.
    """
    candidates = list(_candidates(rule, known, lr))
    first = candidates[0]
    own = reference(_made(rule, first, lr), steps)
    still = _still(steps)
    if still:
        return Verdict(NoUpdate.code, still, "", 1.0, own, first)
    for settings in candidates if np.isfinite(steps.moves).all() else ():
        made = _made(rule, settings, lr)
        expected = reference(made, steps)
        factor = _factor(steps.moves, expected)
        if factor is not None and _is_lr(factor, lr):
            return Verdict("", "", "", factor, expected, settings)
        for name, form in forms_of(made)[1:]:
            changed = moves(form, steps, lr or 1.0)
            factor = _factor(steps.moves, changed)
            if factor is not None and _is_lr(factor, lr):
                return Verdict("", "", name, factor, changed, settings)
    return _wrong(steps, rule, first, lr, own)


def _wrong(steps: Steps, rule: str, settings: Mapping[str, float], lr: float | None, own: Array) -> Verdict:
    forms = [form for _, form in forms_of(_made(rule, settings, lr))]

    def verdict(cause: str, sentence: str, factor: float = 1.0) -> Verdict:
        return Verdict(cause, sentence, "", factor, own, settings)

    def factor_of(form: Form) -> float | None:
        return _factor(steps.moves, moves(form, steps, lr or 1.0), _TOLERANCE_OF_MISTAKES)

    factor = next((f for form in forms if (f := factor_of(form)) is not None), None)
    if factor is not None and _of_factor(factor, settings, lr)[0] == Sign.code:
        return verdict(*_of_factor(factor, settings, lr), factor)
    scaled: list[tuple[str, str, float]] = []
    for cause, sentence, form in _changed(forms):
        found = factor_of(form)
        if found is not None and _is_lr(found, lr):
            return verdict(cause, sentence)
        if found is not None:
            scaled.append((cause, sentence, found))
    if factor is not None:
        return verdict(*_of_factor(factor, settings, lr), factor)
    other = _other_rule(steps, rule, settings, lr)
    if other:
        return verdict(WrongRule.code, f"it is the step of {other}, not of {rule}")
    if scaled:  # a factor with a name is the simplest
        cause, sentence, factor = min(scaled, key=lambda s: " once more" not in _of_factor(s[2], settings, lr)[1])
        return verdict(cause, f"{sentence}; and {_of_factor(factor, settings, lr)[1]}", factor)
    counts = _counts(steps, forms, lr)
    if counts:
        return verdict(WrongStepCount.code, f"the step count of the correction goes {', '.join(map(str, counts))}")
    for _, earlier, once in _changed(forms[:1]):
        for cause, sentence, form in _changed([once]):
            found = factor_of(form)
            if found is not None and _is_lr(found, lr):
                return verdict(cause, f"two mistakes: {earlier}; and {sentence}")
    if not np.isfinite(steps.moves).all():
        return verdict(Nonfinite.code, "the parameters become NaN or infinite")
    return verdict(Unknown.code, "none of the known mistakes gives its steps")


def _changed(forms: Sequence[Form]) -> Iterator[tuple[str, str, Form]]:
    for mistake in UPDATE_MISTAKES:
        for form in forms:
            for changed in mistake.changes(form):
                yield mistake.cause.code, mistake.sentence, changed


def _candidates(rule: str, known: Mapping[str, float], lr: float | None) -> Iterator[dict[str, float]]:
    """Yield settings of the rule: those that are known, and else the usual ones."""
    names = _SETTINGS[rule]
    choices = []
    for name, aliases in names.items():
        found = [known[a] for a in aliases if a in known]
        choices.append(tuple(dict.fromkeys(found)) or _USUAL.get(f"{name} of {rule}", _USUAL.get(name, ())))
    decay = known.get("weight_decay")
    for values in itertools.product(*choices):
        settings = dict(zip(names, values, strict=True))
        if decay is not None:
            settings["weight_decay"] = decay
        yield settings


def _made(rule: str, settings: Mapping[str, float], lr: float | None) -> Optimizer:
    return _MAKE[rule](lr=lr or 1.0, **settings)


def _factor(found: Array, expected: Array, tolerance: float = TOLERANCE) -> float | None:
    """Return found / expected, if that is one number; elements that become NaN in both count as equal."""
    bad, also = (~np.isfinite(x).all(axis=0) for x in (found, expected))
    if not np.array_equal(bad, also):
        return None
    found, expected = found[:, ~bad], expected[:, ~bad]
    if not found.size:
        return 1.0
    square = float(np.sum(expected * expected))
    if square == 0:
        return None
    factor = float(np.sum(found * expected)) / square
    error = np.max(np.abs(found - factor * expected)) / (np.max(np.abs(found)) or 1.0)
    return factor if error <= tolerance and factor else None


def _is_lr(factor: float, lr: float | None) -> bool:
    return factor > 0 if lr is None else abs(factor - 1) < 1e-5


def _of_factor(factor: float, settings: Mapping[str, float], lr: float | None) -> tuple[str, str]:
    """Return the cause of steps that are a multiple of the right ones, and a sentence."""
    if factor < 0 and (lr is None or abs(factor + 1) < 1e-5):
        return Sign.code, "it goes up the gradient, not down: the step has the wrong sign"
    known: dict[str, float] = {}
    for name in ("momentum", "beta1", "alpha"):
        if name in settings:
            known[f"1 − {name}"] = 1 - settings[name]
            known[name] = settings[name]
    if lr:
        known[f"the learning rate {lr:g}"] = lr
    for name, value in known.items():
        for how, number in (("multiplied by", value), ("divided by", 1 / value if value else 0.0)):
            if value and abs(abs(factor) / number - 1) < 1e-5:
                return ConstantFactor.code, f"every step is {how} {name} once more"
    return ConstantFactor.code, f"every step is {factor:.4g} times as long as the rule's"


def _other_rule(steps: Steps, rule: str, settings: Mapping[str, float], lr: float | None) -> str:
    """Return the name of another rule that gives the steps."""
    for name in RULES:
        if name == rule:
            continue
        for other in _candidates(name, {k: v for k, v in settings.items() if k in _SETTINGS[name]}, lr):
            for _, form in forms_of(_made(name, other, lr)):
                factor = _factor(steps.moves, moves(form, steps, lr or 1.0))
                if factor is not None and _is_lr(factor, lr):
                    return name
    return ""


def _counts(steps: Steps, forms: Sequence[Form], lr: float | None) -> list[int] | None:
    """Return the values that the step count of the correction must have had, step by step."""
    found = steps.moves
    if not np.isfinite(found).all():
        return None
    for form in forms:
        if not (form.correct1 or form.correct2):
            continue
        tried = [moves(form.but(count=(c,) * len(found)), steps, lr or 1.0) for c in range(1, _MOST_COUNT)]
        factors = [1.0] if lr else [f for t in tried if (f := _factor(found[:1], t[:1])) is not None and f > 0]
        for factor in factors:
            counts = [
                next((c for c, t in enumerate(tried, 1) if np.allclose(f, factor * t[n], rtol=TOLERANCE, atol=0)), 0)
                for n, f in enumerate(found)
            ]
            if all(counts):
                return counts
    return None


def _still(steps: Steps) -> str:
    """Say which parameters do not change, if any."""
    moved = [bool(np.any(steps.moves[:, steps.owner == k])) for k in range(steps.count)]
    if all(moved):
        return ""
    if not any(moved):
        return "the parameters are the same after the steps as before"
    return f"parameter {moved.index(False) + 1} of {len(moved)} is the same after the steps as before"
