"""Updates of optimisers in one form, whose fields say where published forms and known mistakes differ.

The rules themselves are `chainrule.optim`; here they are taken apart, so that a part can be exchanged. A gradient feeds
two accumulators, a ← β₁ a + w₁ g and s ← β₂ s + w₂ g², and a step is −lr a / (sqrt(s) + eps).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.op import Array
from ..optim import SGD, Adagrad, Adam, AdamW, Lion, Optimizer, RMSprop

#: Rule -> the published forms that are equal to it up to the learning rate, or differ in where eps stands.
Forms = tuple[tuple[str, "Form"], ...]


@dataclass(frozen=True)
class Steps:
    """Steps of an update: gradients, and parameters before and after each, in one row per step.

    Attributes
    ----------
    gradients : array, shape (steps, elements)
    parameters : array, shape (steps + 1, elements)
    owner : array, shape (elements,)
        The number of the parameter that an element belongs to.
    """

    gradients: Array
    parameters: Array
    owner: Array

    @property
    def moves(self) -> Array:
        """What each step has added to the parameters."""
        with np.errstate(invalid="ignore"):  # parameters that have become infinite
            return np.diff(self.parameters, axis=0)

    @property
    def count(self) -> int:
        """The number of parameters."""
        return int(self.owner[-1]) + 1


@dataclass(frozen=True)
class Form:
    """The update with a learning rate of 1, and what may be different about it.

    Attributes
    ----------
    keep1, feed1, keep2, feed2 : float
        Decay of the accumulators, and the weight of what is added; `keep2` is None where there is no second one.
    fed1, fed2 : str
        What is added: "g", "g²", "a²".
    correct1, correct2 : str
        How the bias of the start is corrected: "/", "×" or "".
    base1, base2 : float
        The number whose power t the correction has.
    count : str or tuple of int
        What t is: "t", "1", "t-1", "t+1", "shared"; or its values, step by step.
    root, root_of_correction : bool
        Whether the root of the second accumulator, and of its correction, is taken.
    eps, eps_in : float, str
        "outside" the root, "inside" it, "uncorrected" or "inside uncorrected": before the correction.
    look : float
        Nesterov: β₁ a + look · g takes the place of a; 0 is without.
    decay, weight_decay : str, float
        "coupled" (in the gradient), "decoupled", "after" the step, "without lr", "" (none).
    stale1, stale2, shared : bool
        Accumulators of the step before are used; all parameters share them.
    overwritten : str
        Which accumulators keep their corrected value: "12", "1", "2" or "".
    start : float
        First value of the second accumulator.
    largest : str
        AMSGrad: in its place, the largest second accumulator so far, "v", or the largest "corrected" one; "" is
        without.
    mix : float or None
        Lion: the step is the sign of mix · a + (1 - mix) g, with a as it was before this gradient.
    sign : bool
        Whether Lion's sign is taken.
    """

    keep1: float = 0.0
    feed1: float = 1.0
    keep2: float | None = None
    feed2: float = 1.0
    fed1: str = "g"
    fed2: str = "g²"
    correct1: str = ""
    correct2: str = ""
    base1: float = 0.0
    base2: float = 0.0
    count: str | tuple[int, ...] = "t"
    root: bool = True
    root_of_correction: bool = True
    eps: float = 0.0
    eps_in: str = "outside"
    look: float = 0.0
    decay: str = ""
    weight_decay: float = 0.0
    stale1: bool = False
    stale2: bool = False
    overwritten: str = ""
    shared: bool = False
    start: float = 0.0
    largest: str = ""
    mix: float | None = None
    sign: bool = True

    def but(self, **changes: Any) -> Form:
        """Return the form with other fields."""
        return replace(self, **changes)


def moves(form: Form, steps: Steps, lr: float) -> Array:
    """Return what the update adds to the parameters, given those it has itself come to."""
    gradients, parameters = steps.gradients, steps.parameters[:-1]
    if form.shared:  # one parameter after the other feeds the same accumulators
        rows = gradients.shape[0] * steps.count
        gradients, parameters = gradients.reshape(rows, -1), parameters.reshape(rows, -1)
    first = np.zeros(gradients.shape[1])
    held = first, first + form.start, first
    out = []
    with np.errstate(all="ignore"):
        for n, (g, p) in enumerate(zip(gradients, parameters, strict=True)):
            t = _count(form, n, steps)
            move, held = _step(form, g, p, held, t, lr)
            out.append(move)
    return np.array(out).reshape(steps.gradients.shape)


def _step(
    form: Form, g: Array, p: Array, held: tuple[Array, Array, Array], t: Any, lr: float
) -> tuple[Array, tuple[Array, Array, Array]]:
    """Return the move of one step, and the accumulators: a, s, the largest s."""
    u = g + form.weight_decay * p if form.decay == "coupled" else g
    a = form.keep1 * held[0] + form.feed1 * (np.square(u) if form.fed1 == "g²" else u)
    used = _corrected(form.correct1, held[0] if form.stale1 else a, 1 - np.power(form.base1, t))
    if form.look:
        used = form.keep1 * used + form.look * u
    if form.mix is not None:
        used = form.mix * held[0] + (1 - form.mix) * u
        used = np.sign(used) if form.sign else used
    largest = held[2]
    if form.keep2 is None:
        move, s, root_of = -lr * used, held[1], held[1]
    else:
        fed = {"g": u, "g²": np.square(u), "a²": np.square(a), "|g|": np.abs(u)}[form.fed2]
        s = form.keep2 * held[1] + form.feed2 * fed
        correction = 1 - np.power(form.base2, t)
        root_of = _corrected(form.correct2, held[1] if form.stale2 else s, correction)
        under = held[1] if form.stale2 else s
        if form.largest:
            late = form.largest == "corrected"
            under = largest = np.maximum(largest, _corrected(form.correct2, under, correction) if late else under)
            form = form.but(correct2="") if late else form
        move = -lr * used / _denominator(form, under, correction)
    if form.decay:
        move = _decayed(form, move, p, lr)
    kept_a, kept_s = "1" in form.overwritten, "2" in form.overwritten
    return move, (used if kept_a else a, root_of if kept_s else s, largest)


def _corrected(how: str, value: Array, correction: Any) -> Array:
    return value / correction if how == "/" else value * correction if how == "×" else value


def _denominator(form: Form, s: Array, correction: Any) -> Array:
    """Return sqrt(s) + eps, with the correction and eps where the form has them."""
    late = form.eps_in.endswith("uncorrected")
    inside = form.eps_in.startswith("inside")
    if not form.root:
        return _corrected(form.correct2, s, correction) + form.eps
    if not form.root_of_correction:
        return _corrected(form.correct2, np.sqrt(s), correction) + form.eps
    if not late:
        s = _corrected(form.correct2, s, correction)
    root = np.sqrt(s + form.eps) if inside else np.sqrt(s) + form.eps
    return _corrected(form.correct2, root, np.sqrt(correction)) if late else root


def _decayed(form: Form, move: Array, p: Array, lr: float) -> Array:
    rate = form.weight_decay
    if form.decay == "decoupled":
        return move - lr * rate * p
    if form.decay == "after":
        return move - lr * rate * (p + move)
    return move - rate * p if form.decay == "without lr" else move


def _count(form: Form, n: int, steps: Steps) -> Any:
    """Return the t of the corrections in step `n` = 0, 1, and so on."""
    if form.shared:  # `n` counts parameters
        n = n if form.count == "shared" else n // steps.count
        return n + 1.0
    if isinstance(form.count, tuple):
        return form.count[n]
    if form.count == "shared":
        return n * steps.count + steps.owner + 1.0
    return {"t": n + 1.0, "1": 1.0, "t-1": float(n), "t+1": n + 2.0}[form.count]


def reference(rule: Optimizer, steps: Steps) -> Array:
    """Return what the library's own rule adds to the parameters, given those the update has come to."""
    state = rule.init(steps.parameters[0])
    out = []
    for g, p in zip(steps.gradients, steps.parameters[:-1], strict=True):
        new, state = rule.update(g, state, p)
        out.append(new - p)
    return np.array(out)


def forms_of(rule: Optimizer) -> Forms:
    """Return the published forms of a rule, the library's first, each with a name that a report can show."""
    decay: dict[str, Any] = {"decay": "coupled" if rule.weight_decay else "", "weight_decay": rule.weight_decay}
    if isinstance(rule, SGD):
        return _momentum_forms(rule, Form(**decay))
    if isinstance(rule, Adam):
        return _adam_forms(rule, decay)
    if isinstance(rule, Lion):
        decay["decay"] = "decoupled" if rule.weight_decay else ""
        return (("", Form(keep1=rule.beta2, feed1=1 - rule.beta2, mix=rule.beta1, **decay)),)
    if isinstance(rule, RMSprop):
        base = Form(keep2=rule.alpha, feed2=1 - rule.alpha, base2=rule.alpha, eps=rule.eps, **decay)
        more = (
            ("with v corrected for the bias of its start", base.but(correct2="/")),
            ("with v starting at 1", base.but(start=1.0)),
        )
        return (*_eps_forms(base, ""), *more)
    assert isinstance(rule, Adagrad)
    base = Form(keep2=1.0, feed2=1.0, eps=rule.eps, start=rule.initial, **decay)
    return (*_eps_forms(base, ""), ("with sums starting at 0.1", base.but(start=0.1)))


def _momentum_forms(rule: SGD, base: Form) -> Forms:
    mu = rule.momentum
    if not mu:
        return (("", base),)
    plain = base.but(keep1=mu, look=1.0 if rule.nesterov else 0.0)
    damped = plain.but(feed1=1 - mu, look=(1 - mu) if rule.nesterov else 0.0)
    return (
        ("", plain),
        ("with a velocity that is a mean: v ← μ v + (1 − μ) g", damped),
        ("with a velocity that is a mean, corrected for the bias of its start", damped.but(correct1="/", base1=mu)),
    )


def _adam_forms(rule: Adam, decay: dict[str, Any]) -> Forms:
    if isinstance(rule, AdamW):
        decay["decay"] = "decoupled" if rule.weight_decay else ""
    b1, b2 = rule.beta1, rule.beta2
    base = Form(
        keep1=b1, feed1=1 - b1, keep2=b2, feed2=1 - b2, correct1="/", correct2="/", base1=b1, base2=b2,
        eps=rule.eps, largest="v" if rule.amsgrad else "", **decay,
    )  # fmt: skip
    forms: Forms = (
        *_eps_forms(base, ""),
        ("with eps added before the correction (ε̂)", base.but(eps_in="uncorrected")),
        ("with eps inside the root, added before the correction", base.but(eps_in="inside uncorrected")),
    )
    if rule.amsgrad:
        uncorrected = base.but(correct1="", correct2="")
        forms += (
            ("with the largest of the corrected v", base.but(largest="corrected")),
            *_eps_forms(uncorrected, "without correction of the bias, as in the article"),
        )
    if base.decay != "decoupled":
        return forms
    others = (
        ("with the decay after the step", base.but(decay="after")),
        ("with a decay that the learning rate does not scale", base.but(decay="without lr")),
    )
    return (*forms, *others)


def _eps_forms(base: Form, name: str) -> Forms:
    return ((name, base), ("with eps inside the root", base.but(eps_in="inside")))
