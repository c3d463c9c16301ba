"""Updates of optimisers, second family: decay rates, weight decay, rules taken for each other; with pages."""

from __future__ import annotations

from .table import Cause


class WrongBeta(Cause):
    """An accumulator decays with another number than the rule's, or weights the gradient with another.

    Wrong
    -----
        def update(w, dw, s):
            s["t"] = s.get("t", 0) + 1
            s["m"] = 0.9 * s.get("m", 0) + 0.1 * dw
            s["v"] = 0.001 * s.get("v", 0) + 0.999 * dw**2  # wrong
            m = s["m"] / (1 - 0.9 ** s["t"])
            v = s["v"] / (1 - 0.999 ** s["t"])
            return w - 0.01 * m / (np.sqrt(v) + 1e-8)


        report = cr.audit_optimizer(update, rule="adam", lr=0.01)

    Right
    -----
        s["v"] = 0.999 * s.get("v", 0) + 0.001 * dw**2

    How it shows
    ------------
    The steps approach those of another memory: too short, too long, or of another size.

    Why it is wrong
    ---------------
    `v ← β₂ v + (1 − β₂) g²`: β weights the past, 1 − β the new gradient, and the two belong to the same moment.
    """

    code = "wrong-beta"
    shown_in = "update"


class MissingLookahead(Cause):
    """It is plain momentum, without Nesterov's look ahead.

    Wrong
    -----
        def update(w, dw, s):
            old = s.get("v", 0)
            s["v"] = 0.9 * old - 0.01 * dw
            return w + s["v"]  # wrong


        report = cr.audit_optimizer(update, rule="nesterov", lr=0.01, momentum=0.9)

    Right
    -----
        return w - 0.9 * old + 1.9 * s["v"]

    How it shows
    ------------
    Every step is that of classical momentum.

    Why it is wrong
    ---------------
    Nesterov's step is `−lr (g + μ v)` with the new velocity. With the old one, `μ v − lr g` is the new velocity
    itself.

    Notes
    -----
    If you evaluate the gradient at w + μ v, as in Sutskever's form, plain momentum is all that is left to do:
    declare `rule="momentum"`.
    """

    code = "missing-lookahead"
    shown_in = "update"


class DecayCoupled(Cause):
    """The weight decay goes through the moments, as in Adam; AdamW applies it to the parameter itself.

    Wrong
    -----
        def update(w, dw, s):
            dw, kept = dw + 0.1 * w, w  # wrong
            s["t"] = s.get("t", 0) + 1
            s["m"] = 0.9 * s.get("m", 0) + 0.1 * dw
            s["v"] = 0.999 * s.get("v", 0) + 0.001 * dw**2
            m = s["m"] / (1 - 0.9 ** s["t"])
            v = s["v"] / (1 - 0.999 ** s["t"])
            return kept - 0.01 * m / (np.sqrt(v) + 1e-8)


        report = cr.audit_optimizer(update, rule="adamw", lr=0.01, weight_decay=0.1)

    Right
    -----
        kept = w - 0.01 * 0.1 * w

    How it shows
    ------------
    Parameters with large gradients decay less than others.

    Why it is wrong
    ---------------
    In the gradient the decay is divided by sqrt(v̂) with it. Decoupled, every weight shrinks by the same factor:
    `w ← w − lr λ w`.
    """

    code = "decay-coupled"
    shown_in = "update"


class WrongDecay(Cause):
    """The weight decay is missing, has the wrong sign or stands in the wrong place.

    Wrong
    -----
        def update(w, dw):
            return w - 0.1 * (dw - 0.5 * w)  # wrong


        report = cr.audit_optimizer(update, rule="sgd", lr=0.1, weight_decay=0.5)

    Right
    -----
        return w - 0.1 * (dw + 0.5 * w)

    How it shows
    ------------
    The difference from the right step is a multiple of the parameter.

    Why it is wrong
    ---------------
    The gradient of `λ/2 w²` is `λ w`: added to the gradient of the loss, and like it subtracted.
    """

    code = "wrong-decay"
    shown_in = "update"


class WrongRule(Cause):
    """It is the step of another rule than the declared one.

    Wrong
    -----
        def update(w, dw, s):
            s["v"] = s.get("v", 0) + dw**2  # wrong
            return w - 0.01 * dw / (np.sqrt(s["v"]) + 1e-8)


        report = cr.audit_optimizer(update, rule="rmsprop", lr=0.01, alpha=0.9)

    Right
    -----
        s["v"] = 0.9 * s.get("v", 0) + 0.1 * dw**2

    How it shows
    ------------
    Every step is that of the other rule.

    Why it is wrong
    ---------------
    Adagrad sums the squares, so its steps shrink for ever; RMSprop averages them and forgets.
    """

    code = "wrong-rule"
    shown_in = "update"


class MissingEpsilon(Cause):
    """Nothing keeps the divisor from 0.

    Wrong
    -----
        def update(w, dw, s):
            s["v"] = 0.9 * s.get("v", 0) + 0.1 * dw**2
            return w - 0.01 * dw / np.sqrt(s["v"])  # wrong


        report = cr.audit_optimizer(update, rule="rmsprop", lr=0.01, alpha=0.9)

    Right
    -----
        return w - 0.01 * dw / (np.sqrt(s["v"]) + 1e-8)

    How it shows
    ------------
    A parameter whose gradient has always been 0, as of a unit that is never active, becomes NaN.

    Why it is wrong
    ---------------
    With g = 0 from the start v is 0, and `0 / 0` is NaN: `g / (sqrt(v) + eps)` is 0.
    """

    code = "missing-epsilon"
    shown_in = "update"


class NoUpdate(Cause):
    """A parameter does not change.

    Wrong
    -----
        def update(params, grads):
            for k in params:
                w = params[k]
                w = w - 0.01 * grads[k]  # wrong


        report = cr.audit_optimizer(update, rule="sgd", lr=0.01)

    Right
    -----
        w -= 0.01 * grads[k]

    How it shows
    ------------
    The loss stays as it is, however often the update is called.

    Why it is wrong
    ---------------
    `w = w − …` gives the name w to a new array and leaves the one in the dict as it was. `w −= …` or `params[k] =
    …` changes it.
    """

    code = "no-update"
    shown_in = "update"
