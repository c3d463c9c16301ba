"""Updates of optimisers, as people write them: right ones are called right, and wrong ones get their cause."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import chainrule as cr
from chainrule.audit.update_forms import Steps, forms_of, moves, reference
from chainrule.audit.update_judge import RULES, _made
from tests.tables import in_turn

CASES = {}


def case(rule, cause="", form="", **settings):
    """Enter a function that makes an update: right if there is no cause."""

    def enter(make):
        CASES[make.__name__] = (make, rule, cause, form, settings)
        return make

    return enter


# -- functions of one array --------------------------------------------------------------------------------------------


@case("sgd", lr=0.1)
def plain_returning():
    return lambda w, dw: w - 0.1 * dw


@case("sgd")
def plain_in_place_of_many():
    def sgd(params, grads, lr=0.05):
        for p, g in zip(params, grads, strict=True):
            p -= lr * g

    return sgd


@case("sgd", "sign", lr=0.1)
def plain_uphill():
    return lambda w, dw: w + 0.1 * dw


@case("sgd", "no-update")
def plain_without_effect():
    def sgd(params, grads, lr=0.05):
        for p, g in zip(params, grads, strict=True):
            p = p - lr * g

    return sgd


@case("sgd", "constant-factor", lr=0.1)
def rate_twice():
    return lambda w, dw: w - 0.1 * 0.1 * dw


@case("sgd", "wrong-decay", lr=0.1, weight_decay=0.2)
def decay_grows():
    return lambda w, dw: w - 0.1 * (dw - 0.2 * w)


@case("sgd", lr=0.1, weight_decay=0.2)
def decay_shrinks():
    return lambda w, dw: (1 - 0.1 * 0.2) * w - 0.1 * dw


def configured(step):
    """Return an update in CS231n's style."""

    def update(w, dw, config=None):
        config = {} if config is None else config
        config.setdefault("learning_rate", 1e-2)
        config.setdefault("momentum", 0.9)
        v = config.get("velocity", np.zeros_like(w))
        next_w, config["velocity"] = step(w, dw, v, config["learning_rate"], config["momentum"])
        return next_w, config

    return update


@case("momentum")
def velocity_with_rate():
    return configured(lambda w, dw, v, lr, mu: (w + mu * v - lr * dw, mu * v - lr * dw))


@case("momentum", form="mean")
def velocity_as_mean():
    return configured(lambda w, dw, v, lr, mu: (w - lr * (mu * v + (1 - mu) * dw), mu * v + (1 - mu) * dw))


@case("momentum", "sign")
def velocity_uphill():
    return configured(lambda w, dw, v, lr, mu: (w + mu * v + lr * dw, mu * v + lr * dw))


@case("momentum", "stale-moment")
def velocity_of_the_step_before():
    return configured(lambda w, dw, v, lr, mu: (w - lr * v, mu * v + dw))


@case("momentum", "moment-reset")
def velocity_forgotten():
    return configured(lambda w, dw, v, lr, mu: (w - lr * dw, np.zeros_like(v)))


@case("momentum", "wrong-beta")
def velocity_weights_exchanged():
    return configured(lambda w, dw, v, lr, mu: (w - lr * ((1 - mu) * v + mu * dw), (1 - mu) * v + mu * dw))


@case("momentum", "constant-factor")
def velocity_with_rate_twice():
    return configured(lambda w, dw, v, lr, mu: (w - lr * (mu * v + lr * dw), mu * v + lr * dw))


@case("nesterov")
def looking_ahead():
    def step(w, dw, v, lr, mu):
        new = mu * v - lr * dw
        return w - mu * v + (1 + mu) * new, new

    return configured(step)


@case("nesterov")
def looking_ahead_in_the_gradient():
    return configured(lambda w, dw, v, lr, mu: (w - lr * (dw + mu * (mu * v + dw)), mu * v + dw))


@case("nesterov", "missing-lookahead")
def looking_back():
    return configured(lambda w, dw, v, lr, mu: (w + mu * v - lr * dw, mu * v - lr * dw))


@case("nesterov", "wrong-beta")
def looking_too_far():
    return configured(lambda w, dw, v, lr, mu: (w - lr * (dw + (mu * v + dw)), mu * v + dw))


# -- mean squares ------------------------------------------------------------------------------------------------------


def squares(step):
    """Return an update with a cache, whose state is an argument."""

    def update(theta, grad, cache, learning_rate=0.01, decay_rate=0.9, eps=1e-8):
        cache = step(cache, grad, decay_rate)
        return theta - learning_rate * grad / (np.sqrt(cache) + eps), cache

    return update


@case("rmsprop")
def squares_averaged():
    return squares(lambda c, g, rho: rho * c + (1 - rho) * g**2)


@case("rmsprop", "wrong-rule")
def squares_summed_instead():
    return squares(lambda c, g, rho: c + g**2)


@case("rmsprop", "wrong-beta")
def squares_weighted_backwards():
    return squares(lambda c, g, rho: (1 - rho) * c + rho * g**2)


@case("rmsprop", "squared-missing")
def sizes_averaged():
    return squares(lambda c, g, rho: rho * c + (1 - rho) * np.abs(g))


@case("rmsprop", "moment-reset")
def squares_forgotten():
    return squares(lambda c, g, rho: (1 - rho) * g**2)


@case("rmsprop", form="inside", lr=0.01, alpha=0.9, eps=1e-3)
def epsilon_inside():
    def update(w, dw, s):
        s["r"] = 0.9 * s.get("r", 0) + 0.1 * dw * dw
        return w - 0.01 * dw / np.sqrt(s["r"] + 1e-3)

    return update


@case("rmsprop", "missing-root", lr=0.01, alpha=0.9)
def squares_without_root():
    def update(w, dw, s):
        s["r"] = 0.9 * s.get("r", 0) + 0.1 * dw * dw
        return w - 0.01 * dw / (s["r"] + 1e-8)

    return update


@case("rmsprop", "stale-moment", lr=0.01, alpha=0.9, eps=0.1)
def squares_of_the_step_before():
    def update(w, dw, s):
        old = s.get("r", np.zeros_like(w))
        s["r"] = 0.9 * old + 0.1 * dw * dw
        return w - 0.01 * dw / (np.sqrt(old) + 0.1)

    return update


@case("adagrad", lr=0.1, eps=1e-7)
def sums_of_squares():
    class AdaGrad:
        def __init__(self, lr=0.1):
            self.lr, self.h = lr, None

        def update(self, params, grads):
            if self.h is None:
                self.h = {key: np.zeros_like(value) for key, value in params.items()}
            for key in params:
                self.h[key] += grads[key] * grads[key]
                params[key] -= self.lr * grads[key] / (np.sqrt(self.h[key]) + 1e-7)

    return AdaGrad()


@case("adagrad", "missing-epsilon")
def sums_of_squares_without_epsilon():
    class AdaGrad:
        def __init__(self, lr=0.1):
            self.lr, self.G = lr, {}

        def __call__(self, params, grads):
            for k in params:
                self.G[k] = self.G.get(k, 0) + grads[k] ** 2
                params[k] -= self.lr / np.sqrt(self.G[k]) * grads[k]
            return params

    return AdaGrad()


@case("adagrad", "moment-reset")
def last_square_only():
    def update(w, dw, s, lr=0.1):
        s["h"] = dw**2
        return w - lr * dw / (np.sqrt(s["h"]) + 1e-7)

    return update


def signs(direction, momentum=lambda m, g: 0.99 * m + 0.01 * g):
    def update(w, dw, s, lr=1e-3):
        m = s.get("m", np.zeros_like(w))
        s["m"] = momentum(m, dw)
        return w - lr * direction(w, m, dw)

    return update


@case("lion")
def lion():
    return signs(lambda w, m, g: np.sign(0.9 * m + 0.1 * g))


@case("lion", weight_decay=0.1)
def lion_with_decay():
    return signs(lambda w, m, g: np.sign(0.9 * m + 0.1 * g) + 0.1 * w)


@case("lion", "decay-coupled", weight_decay=0.1)
def lion_with_decay_in_the_gradient():
    return lambda w, dw, s: signs(lambda w, m, g: np.sign(0.9 * m + 0.1 * g))(w, dw + 0.1 * w, s)


@case("lion", "missing-sign")
def lion_without_sign():
    return signs(lambda w, m, g: 0.9 * m + 0.1 * g)


@case("lion", "stale-moment")
def lion_before_this_gradient():
    return signs(lambda w, m, g: np.sign(m))


@case("lion", "wrong-beta")
def lion_with_exchanged_betas():
    return signs(lambda w, m, g: np.sign(0.99 * m + 0.01 * g), lambda m, g: 0.9 * m + 0.1 * g)


@case("lion", "moment-reset")
def lion_without_momentum():
    return signs(lambda w, m, g: np.sign(g))


@case("lion", "sign")
def lion_uphill():
    return signs(lambda w, m, g: -np.sign(0.9 * m + 0.1 * g))


@case("lion", "wrong-rule")
def momentum_for_lion():
    def update(w, dw, s, lr=0.01, momentum=0.9):
        s["v"] = momentum * s.get("v", 0) + dw
        return w - lr * s["v"]

    return update


def largest(most, corrected=True):
    def update(w, dw, s, lr=0.01, beta1=0.9, beta2=0.999, eps=1e-8):
        s["t"] = t = s.get("t", 0) + 1
        s["m"] = beta1 * s.get("m", 0) + (1 - beta1) * dw
        s["v"] = beta2 * s.get("v", 0) + (1 - beta2) * dw**2
        c1, c2 = (1 - beta1**t, 1 - beta2**t) if corrected else (1, 1)
        return w - lr * s["m"] / c1 / (np.sqrt(most(s, s["v"], c2)) + eps)

    return update


def keeping(s, value):
    s["top"] = np.maximum(s.get("top", 0), value)
    return s["top"]


@case("amsgrad")
def amsgrad():
    return largest(lambda s, v, c: keeping(s, v) / c)


@case("amsgrad", form="corrected")
def amsgrad_of_corrected():
    return largest(lambda s, v, c: keeping(s, v / c))


@case("amsgrad", form="without correction")
def amsgrad_of_the_article():
    return largest(lambda s, v, c: keeping(s, v), corrected=False)


@case("amsgrad", "wrong-rule")
def adam_for_amsgrad():
    return largest(lambda s, v, c: v / c)


@case("adam", "wrong-rule")
def amsgrad_for_adam():
    return largest(lambda s, v, c: keeping(s, v) / c)


@case("amsgrad", "missing-root")
def amsgrad_without_root():
    return largest(lambda s, v, c: (keeping(s, v) / c) ** 2)


# -- Adam --------------------------------------------------------------------------------------------------------------


def initialised(moments, corrected):
    """Return an update in Coursera's style: dicts with the keys dW1, db1, and a step count among the arguments."""

    def update_parameters(parameters, grads, v, s, t, learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8):
        for name in parameters:
            d = "d" + name
            v[d], s[d] = moments(v[d], s[d], grads[d], beta1, beta2)
            a, b = corrected(v[d], s[d], t, beta1, beta2)
            parameters[name] = parameters[name] - learning_rate * a / (np.sqrt(b) + epsilon)
        return parameters, v, s

    return update_parameters


def usual(v, s, g, b1, b2):
    """Return both moments."""
    return b1 * v + (1 - b1) * g, b2 * s + (1 - b2) * g**2


def by_power(v, s, t, b1, b2):
    """Return both moments, corrected."""
    return v / (1 - b1**t), s / (1 - b2**t)


@case("adam")
def counted_by_the_caller():
    return initialised(usual, by_power)


@case("adam")
def counted_from_zero_by_the_caller():
    return initialised(usual, lambda v, s, t, b1, b2: by_power(v, s, t + 1, b1, b2))


@case("adam", "missing-bias-correction")
def second_not_corrected():
    return initialised(usual, lambda v, s, t, b1, b2: (v / (1 - b1**t), s))


@case("adam", "wrong-beta")
def corrections_exchanged():
    return initialised(usual, lambda v, s, t, b1, b2: (v / (1 - b2**t), s / (1 - b1**t)))


@case("adam", "wrong-beta")
def one_beta_for_both():
    return initialised(lambda v, s, g, b1, b2: (b1 * v + (1 - b1) * g, b1 * s + (1 - b1) * g**2), by_power)


@case("adam", "squared-missing")
def moment_squared():
    def moments(v, s, g, b1, b2):
        v = b1 * v + (1 - b1) * g
        return v, b2 * s + (1 - b2) * v**2

    return initialised(moments, by_power)


@case("adam", "never-decays")
def corrected_by_beta():
    return initialised(usual, lambda v, s, t, b1, b2: (v / (1 - b1), s / (1 - b2)))


@case("adam", "bias-correction-multiplied")
def corrected_the_wrong_way():
    return initialised(usual, lambda v, s, t, b1, b2: (v * (1 - b1**t), s * (1 - b2**t)))


def adam_class(count="step", keep=False, decay="", before=True):
    """Return an optimiser that holds its moments by name."""

    class Adam:
        def __init__(self, lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
            self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay
            self.t, self.m, self.v = 0, {}, {}

        def step(self, params, grads):
            b1, b2 = self.betas
            if count == "step":
                self.t += 1
            for k, p in params.items():
                if count == "parameter":
                    self.t += 1
                g = grads[k] + self.weight_decay * p if decay == "coupled" else grads[k]
                self.m[k] = b1 * self.m.get(k, 0) + (1 - b1) * g
                self.v[k] = b2 * self.v.get(k, 0) + (1 - b2) * g**2
                m, v = self.m[k] / (1 - b1**self.t), self.v[k] / (1 - b2**self.t)
                if keep:
                    self.m[k], self.v[k] = m, v
                if decay == "decoupled":
                    p -= self.lr * self.weight_decay * p
                p -= self.lr * m / (np.sqrt(v) + self.eps)

    return Adam


@case("adam")
def class_by_itself():
    return adam_class()


@case("adam", "shared-step-count")
def counted_per_parameter():
    return adam_class("parameter")()


@case("adam", "wrong-step-count")
def never_counted():
    return adam_class("never")()


@case("adam", "overwritten-moment")
def corrected_moments_kept():
    return adam_class(keep=True)(lr=0.002)


@case("adam", weight_decay=0.1)
def decay_in_the_gradient():
    return adam_class(decay="coupled")(weight_decay=0.1)


@case("adamw")
def decay_of_the_parameter():
    return adam_class(decay="decoupled")(weight_decay=0.1)


@case("adamw", "decay-coupled")
def decay_through_the_moments():
    return adam_class(decay="coupled")(weight_decay=0.1)


@case("adamw", "wrong-decay", weight_decay=0.1)
def decay_forgotten():
    return adam_class()()


@case("adam", lr=0.001)
def rate_corrected():
    def update(w, dw, m, v, t, lr=0.001, beta1=0.9, beta2=0.999):
        m = m + (1 - beta1) * (dw - m)
        v = v + (1 - beta2) * (dw**2 - v)
        rate = lr * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        return w - rate * m / (np.sqrt(v) + 1e-7), m, v

    return update


@case("adam", "bias-correction-multiplied", lr=0.001)
def rate_corrected_upside_down():
    def update(w, dw, m, v, t, lr=0.001, beta1=0.9, beta2=0.999):
        m = m + (1 - beta1) * (dw - m)
        v = v + (1 - beta2) * (dw**2 - v)
        rate = lr * (1 - beta1**t) / np.sqrt(1 - beta2**t)
        return w - rate * m / (np.sqrt(v) + 1e-7), m, v

    return update


@case("adam", "missing-root", lr=0.001)
def rate_corrected_without_root():
    def update(w, dw, m, v, t, lr=0.001, beta1=0.9, beta2=0.999):
        m = m + (1 - beta1) * (dw - m)
        v = v + (1 - beta2) * (dw**2 - v)
        rate = lr * (1 - beta2**t) / (1 - beta1**t)
        return w - rate * m / (np.sqrt(v) + 1e-8), m, v

    return update


@case("momentum", "shared-moment", momentum=0.9)
def one_velocity_for_all():
    class Momentum:
        def __init__(self):
            self.lr, self.v = 0.1, 0

        def apply(self, params, grads):
            for k in params:
                self.v = 0.9 * self.v + grads[k]
                params[k] -= self.lr * self.v

    return Momentum()


@case("adam")
def of_a_layer():
    class Optimizer:
        def __init__(self, learning_rate=0.001, epsilon=1e-7, beta_1=0.9, beta_2=0.999):
            self.learning_rate, self.epsilon, self.beta_1, self.beta_2 = learning_rate, epsilon, beta_1, beta_2
            self.iterations = 0

        def update_params(self, layer):
            for name in ("weights", "biases"):
                g, m, c = getattr(layer, "d" + name), name + "_m", name + "_c"
                setattr(layer, m, self.beta_1 * getattr(layer, m, 0) + (1 - self.beta_1) * g)
                setattr(layer, c, self.beta_2 * getattr(layer, c, 0) + (1 - self.beta_2) * g**2)
                a = getattr(layer, m) / (1 - self.beta_1 ** (self.iterations + 1))
                b = getattr(layer, c) / (1 - self.beta_2 ** (self.iterations + 1))
                setattr(layer, name, getattr(layer, name) - self.learning_rate * a / (np.sqrt(b) + self.epsilon))

        def post_update_params(self):
            self.iterations += 1

    return Optimizer()


def held(step):
    """Return an optimiser that was built with its parameters, in PyTorch's style."""

    class Optimizer:
        def __init__(self, params, lr=0.01, momentum=0.9):
            self.params, self.lr, self.momentum = params, lr, momentum
            self.velocities = [np.zeros_like(p.data) for p in params]

        def step(self):
            for p, v in zip(self.params, self.velocities, strict=True):
                step(self, p, v)

    rng = np.random.default_rng(0)
    return Optimizer([SimpleNamespace(data=rng.normal(size=s), grad=None) for s in ((4, 3), (3,))])


@case("momentum")
def parameters_held():
    def step(o, p, v):
        v[...] = o.momentum * v + p.grad
        p.data -= o.lr * v

    return held(step)


@case("momentum", "sign")
def parameters_held_uphill():
    def step(o, p, v):
        v[...] = o.momentum * v + p.grad
        p.data += o.lr * v

    return held(step)


@pytest.mark.parametrize("name", in_turn(CASES, every=2))
def test_an_update_gets_the_right_verdict(name):
    make, rule, cause, form, settings = CASES[name]
    report = cr.audit_optimizer(make(), rule, **settings)
    assert [f.cause for f in report.findings] == [cause] * bool(cause), str(report)
    assert form in " ".join(c.message for c in report.conventions)
    assert any(s.verdict == "wrong" for s in report.steps) == bool(cause and cause != "missing-epsilon")


@pytest.mark.parametrize("rule", RULES)
def test_the_first_form_is_the_rule_itself(rule):
    rng = np.random.default_rng(2)
    steps = Steps(rng.normal(size=(5, 6)), rng.normal(size=(6, 6)), np.repeat([0, 1], 3))
    settings = {"weight_decay": 0.3} | ({"momentum": 0.7} if rule in ("momentum", "nesterov") else {})
    made = _made(rule, settings, 0.05)
    np.testing.assert_allclose(moves(forms_of(made)[0][1], steps, 0.05), reference(made, steps), rtol=1e-10, atol=1e-14)


def test_what_cannot_be_called_is_said():
    with pytest.raises(cr.AuditError, match="no way of calling it"):
        cr.audit_optimizer(lambda: None, "sgd")
    with pytest.raises(ValueError, match=r"rule.*adam"):
        cr.audit_optimizer(lambda w, dw: w, "lamb")
    with pytest.raises(TypeError, match="speed"):
        cr.audit_optimizer(lambda w, dw: w, "sgd", speed=3)


def test_the_users_optimiser_is_left_as_it_was():
    optimizer = adam_class()()
    cr.audit_optimizer(optimizer, "adam")
    assert (optimizer.t, optimizer.m, optimizer.v) == (0, {}, {})
