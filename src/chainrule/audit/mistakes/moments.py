"""Updates of optimisers, first family: moments, their correction and their steps; causes with pages."""

from __future__ import annotations

from .table import Cause


class NeverDecays(Cause):
    """The correction for the bias of the start is that of the first step, for ever.

    Wrong
    -----
        def update(w, dw, s):
            s["t"] = s.get("t", 0) + 1
            s["m"] = 0.9 * s.get("m", 0) + 0.1 * dw
            s["v"] = 0.999 * s.get("v", 0) + 0.001 * dw**2
            m = s["m"] / (1 - 0.9)  # wrong
            v = s["v"] / (1 - 0.999 ** s["t"])
            return w - 0.01 * m / (np.sqrt(v) + 1e-8)


        report = cr.audit_optimizer(update, rule="adam", lr=0.01)

    Right
    -----
        m = s["m"] / (1 - 0.9 ** s["t"])

    How it shows
    ------------
    The first step is right. From then on the steps are too large: after many, by a factor of 10 with β₁ = 0.9.

    Why it is wrong
    ---------------
    A mean that starts at 0 holds `1 − βᵗ` of the gradients' weight after t steps, so the correction is a power of
    β, which goes to 1.
    """

    code = "never-decays"
    shown_in = "update"


class BiasCorrectionMultiplied(Cause):
    """The moments are multiplied by 1 − βᵗ where they should be divided.

    Wrong
    -----
        def update(w, dw, s):
            s["t"] = s.get("t", 0) + 1
            s["m"] = 0.9 * s.get("m", 0) + 0.1 * dw
            s["v"] = 0.999 * s.get("v", 0) + 0.001 * dw**2
            m = s["m"] * (1 - 0.9 ** s["t"])  # wrong
            v = s["v"] / (1 - 0.999 ** s["t"])
            return w - 0.01 * m / (np.sqrt(v) + 1e-8)


        report = cr.audit_optimizer(update, rule="adam", lr=0.01)

    Right
    -----
        m = s["m"] / (1 - 0.9 ** s["t"])

    How it shows
    ------------
    The first steps are too small, and approach the right size slowly.

    Why it is wrong
    ---------------
    The moments start at 0 and are too small by the factor `1 − βᵗ`. Dividing by it takes it out; multiplying
    takes it in twice.
    """

    code = "bias-correction-multiplied"
    shown_in = "update"


class MissingBiasCorrection(Cause):
    """The moments are not corrected for the bias of their start.

    Wrong
    -----
        def update(w, dw, s):
            s["t"] = s.get("t", 0) + 1
            s["m"] = 0.9 * s.get("m", 0) + 0.1 * dw
            s["v"] = 0.999 * s.get("v", 0) + 0.001 * dw**2
            m = s["m"]  # wrong
            v = s["v"] / (1 - 0.999 ** s["t"])
            return w - 0.01 * m / (np.sqrt(v) + 1e-8)


        report = cr.audit_optimizer(update, rule="adam", lr=0.01)

    Right
    -----
        m = s["m"] / (1 - 0.9 ** s["t"])

    How it shows
    ------------
    The first steps have the wrong size, since m and v start at 0 and grow at different speeds.

    Why it is wrong
    ---------------
    After t steps from 0 a moment is `1 − βᵗ` of the mean that it stands for: `m̂ = m / (1 − β₁ᵗ)`, `v̂ = v / (1 −
    β₂ᵗ)`.
    """

    code = "missing-bias-correction"
    shown_in = "update"


class OverwrittenMoment(Cause):
    """The corrected moment is written into the accumulator, and corrected again in the next step.

    Wrong
    -----
        def update(w, dw, s):
            s["t"] = s.get("t", 0) + 1
            s["m"] = 0.9 * s.get("m", 0) + 0.1 * dw
            s["v"] = 0.999 * s.get("v", 0) + 0.001 * dw**2
            m = s["m"] = s["m"] / (1 - 0.9 ** s["t"])  # wrong
            v = s["v"] / (1 - 0.999 ** s["t"])
            return w - 0.01 * m / (np.sqrt(v) + 1e-8)


        report = cr.audit_optimizer(update, rule="adam", lr=0.01)

    Right
    -----
        m = s["m"] / (1 - 0.9 ** s["t"])

    How it shows
    ------------
    The first step is right, the following ones are too large.

    Why it is wrong
    ---------------
    The correction belongs to the step, not to the moment: `m ← β₁ m + (1 − β₁) g` goes on from the uncorrected m.
    """

    code = "overwritten-moment"
    shown_in = "update"


class WrongStepCount(Cause):
    """The step count of the correction is not 1, 2, 3, ….

    Wrong
    -----
        def update(w, dw, s):
            s["t"] = s.get("t", 1) + 1  # wrong
            s["m"] = 0.9 * s.get("m", 0) + 0.1 * dw
            s["v"] = 0.999 * s.get("v", 0) + 0.001 * dw**2
            m = s["m"] / (1 - 0.9 ** s["t"])
            v = s["v"] / (1 - 0.999 ** s["t"])
            return w - 0.01 * m / (np.sqrt(v) + 1e-8)


        report = cr.audit_optimizer(update, rule="adam", lr=0.01)

    Right
    -----
        s["t"] = s.get("t", 0) + 1

    How it shows
    ------------
    The first steps have the wrong size. A count that starts at 0 divides by `1 − β⁰ = 0`.

    Why it is wrong
    ---------------
    t counts the gradients that are in the moments: it is 1 when they have seen one, and starts anew only with
    them.
    """

    code = "wrong-step-count"
    shown_in = "update"


class SharedStepCount(Cause):
    """One step count is increased for each parameter, so the correction is that of a later step.

    Wrong
    -----
        class Adam:
            def __init__(self):
                self.t, self.m, self.v = 0, {}, {}

            def update(self, params, grads):
                for k in params:
                    self.t += 1  # wrong
                    self.m[k] = 0.9 * self.m.get(k, 0) + 0.1 * grads[k]
                    self.v[k] = 0.999 * self.v.get(k, 0) + 0.001 * grads[k] ** 2
                    m, v = self.m[k] / (1 - 0.9**self.t), self.v[k] / (1 - 0.999**self.t)
                    params[k] -= 0.01 * m / (np.sqrt(v) + 1e-8)


        report = cr.audit_optimizer(Adam(), rule="adam", lr=0.01)

    Right
    -----
        self.t += k == next(iter(params))

    How it shows
    ------------
    The first parameter's first step is right, the second's is that of t = 2.

    Why it is wrong
    ---------------
    t counts the updates of a parameter. With one count for all of them it must be increased once per step, before
    the loop.
    """

    code = "shared-step-count"
    shown_in = "update"


class SquaredMissing(Cause):
    """The second moment does not average the squares of the gradients.

    Wrong
    -----
        def update(w, dw, s):
            s["t"] = s.get("t", 0) + 1
            s["m"] = 0.9 * s.get("m", 0) + 0.1 * dw
            s["v"] = 0.999 * s.get("v", 0) + 0.001 * dw  # wrong
            m = s["m"] / (1 - 0.9 ** s["t"])
            v = s["v"] / (1 - 0.999 ** s["t"])
            return w - 0.01 * m / (np.sqrt(v) + 1e-8)


        report = cr.audit_optimizer(update, rule="adam", lr=0.01)

    Right
    -----
        s["v"] = 0.999 * s.get("v", 0) + 0.001 * dw**2

    How it shows
    ------------
    Negative entries make the root NaN; the others move by steps of another size.

    Why it is wrong
    ---------------
    The second moment is a mean of g². Its root is the gradient's size, by which the step is divided.
    """

    code = "squared-missing"
    shown_in = "update"


class MissingRoot(Cause):
    """The step is divided by the mean square, not by its root.

    Wrong
    -----
        def update(w, dw, s):
            s["t"] = s.get("t", 0) + 1
            s["m"] = 0.9 * s.get("m", 0) + 0.1 * dw
            s["v"] = 0.999 * s.get("v", 0) + 0.001 * dw**2
            m = s["m"] / (1 - 0.9 ** s["t"])
            v = s["v"] / (1 - 0.999 ** s["t"])
            return w - 0.01 * m / (v + 1e-8)  # wrong


        report = cr.audit_optimizer(update, rule="adam", lr=0.01)

    Right
    -----
        return w - 0.01 * m / (np.sqrt(v) + 1e-8)

    How it shows
    ------------
    Small gradients make large steps, and large gradients small ones.

    Why it is wrong
    ---------------
    v has the unit of g², so only its root cancels the size of the gradient.
    """

    code = "missing-root"
    shown_in = "update"


class MissingSign(Cause):
    """Lion steps by the momentum itself, not by its sign.

    Wrong
    -----
        def update(w, dw, s):
            m = s.get("m", np.zeros_like(w))
            s["m"] = 0.99 * m + 0.01 * dw
            return w - 1e-4 * (0.9 * m + 0.1 * dw)  # wrong


        report = cr.audit_optimizer(update, rule="lion", lr=1e-4)

    Right
    -----
        return w - 1e-4 * np.sign(0.9 * m + 0.1 * dw)

    How it shows
    ------------
    Training hardly moves: the learning rate of Lion is that of steps of one size, and gradients are much smaller.

    Why it is wrong
    ---------------
    Without the sign it is momentum, whose steps have the size of the gradients.
    """

    code = "missing-sign"
    shown_in = "update"


class StaleMoment(Cause):
    """The step uses the moment as it was before this gradient.

    Wrong
    -----
        def update(w, dw, s):
            old = s.get("v", 0)
            s["v"] = 0.9 * old + dw
            return w - 0.01 * old  # wrong


        report = cr.audit_optimizer(update, rule="momentum", lr=0.01, momentum=0.9)

    Right
    -----
        return w - 0.01 * s["v"]

    How it shows
    ------------
    Every step is the right one of the step before; the first one is 0.

    Why it is wrong
    ---------------
    The velocity takes up the present gradient first, then the parameter moves by it.
    """

    code = "stale-moment"
    shown_in = "update"


class MomentReset(Cause):
    """An accumulator does not carry over from one step to the next.

    Wrong
    -----
        def update(w, dw, s):
            s["v"] = 0.9 * np.zeros_like(w) + dw  # wrong
            return w - 0.01 * s["v"]


        report = cr.audit_optimizer(update, rule="momentum", lr=0.01, momentum=0.9)

    Right
    -----
        s["v"] = 0.9 * s.get("v", 0) + dw

    How it shows
    ------------
    The first step is right; then the past is missing.

    Why it is wrong
    ---------------
    The accumulators are the state of the optimiser: created once, before the first step.
    """

    code = "moment-reset"
    shown_in = "update"


class SharedMoment(Cause):
    """One accumulator is shared by all parameters.

    Wrong
    -----
        class Momentum:
            def update(self, params, grads):
                for k in params:
                    name = "velocity"  # wrong
                    setattr(self, name, 0.9 * getattr(self, name, 0) + grads[k])
                    params[k] -= 0.01 * getattr(self, name)


        report = cr.audit_optimizer(Momentum(), rule="momentum", lr=0.01, momentum=0.9)

    Right
    -----
        name = "velocity of " + k

    How it shows
    ------------
    The first parameter's first step is right; the second moves along the gradient of the first, too.

    Why it is wrong
    ---------------
    Each parameter has its own past: a velocity of its shape, kept under its name.
    """

    code = "shared-moment"
    shown_in = "update"
