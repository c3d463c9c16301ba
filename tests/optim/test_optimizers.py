"""Optimisers: against PyTorch step by step, by hand, traced, and their schedules."""

import json

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.node import Recording
from chainrule.core.tensor import traced_leaf
from chainrule.core.tree import tree_map
from chainrule.optim import schedules
from chainrule.train import TrainingStep

RNG = np.random.default_rng(3)

PAIRS = {
    "SGD": (optim.SGD(0.1), lambda o, p: o.SGD(p, lr=0.1)),
    "SGD decay": (optim.SGD(0.1, weight_decay=0.2), lambda o, p: o.SGD(p, lr=0.1, weight_decay=0.2)),
    "momentum": (optim.SGD(0.1, 0.9), lambda o, p: o.SGD(p, lr=0.1, momentum=0.9)),
    "Nesterov": (
        optim.SGD(0.1, momentum=0.8, nesterov=True, weight_decay=0.01),
        lambda o, p: o.SGD(p, lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01),
    ),
    "Adam": (optim.Adam(0.01), lambda o, p: o.Adam(p, lr=0.01)),
    "Adam, other": (
        optim.Adam(0.01, beta1=0.5, beta2=0.9, eps=1e-3, weight_decay=0.1),
        lambda o, p: o.Adam(p, lr=0.01, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.1),
    ),
    "AdamW": (optim.AdamW(0.01, weight_decay=0.3), lambda o, p: o.AdamW(p, lr=0.01, weight_decay=0.3)),
    "AMSGrad": (
        optim.Adam(0.01, beta2=0.9, amsgrad=True, weight_decay=0.1),
        lambda o, p: o.Adam(p, lr=0.01, betas=(0.9, 0.9), amsgrad=True, weight_decay=0.1),
    ),
    "AdamW, AMSGrad": (
        optim.AdamW(0.01, beta2=0.9, amsgrad=True),
        lambda o, p: o.AdamW(p, lr=0.01, betas=(0.9, 0.9), amsgrad=True),
    ),
    "RMSprop": (optim.RMSprop(0.01, weight_decay=0.1), lambda o, p: o.RMSprop(p, lr=0.01, weight_decay=0.1)),
    "RMSprop, all": (
        optim.RMSprop(0.01, alpha=0.9, momentum=0.5, centered=True),
        lambda o, p: o.RMSprop(p, lr=0.01, alpha=0.9, momentum=0.5, centered=True),
    ),
    "Adagrad": (
        optim.Adagrad(0.1, lr_decay=0.1, initial=0.2, weight_decay=0.1),
        lambda o, p: o.Adagrad(p, lr=0.1, lr_decay=0.1, initial_accumulator_value=0.2, weight_decay=0.1),
    ),
}
EVERY = [o for o, _ in PAIRS.values()] + [
    optim.Adam(optim.WarmUp(3, optim.Cosine(0.01, 20)), clip_norm=0.5),
    optim.SGD(optim.Step(0.1, 2), clip_value=0.1),
    optim.SGD(0.1, 0.9, True, rate_in_velocity=True),
    optim.Adam(schedules.Adjustable(0.1), eps_hat=True),
    optim.Lion(optim.OneCycle(0.1, 10), weight_decay=0.1),
    optim.Lion(optim.Piecewise([2, 4], [0.1, 0.01, 0.02])),
    optim.SGD(optim.ReduceOnPlateau(0.1, patience=2)),
]


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-6)])
@pytest.mark.parametrize("name", PAIRS)
def test_against_pytorch_step_by_step(name, dtype, tolerance):
    torch = pytest.importorskip("torch")
    ours, make = PAIRS[name]
    params = {"W": RNG.normal(size=(3, 4)).astype(dtype), "b": RNG.normal(size=4).astype(dtype)}
    theirs = {k: torch.tensor(v.copy(), requires_grad=True) for k, v in params.items()}
    reference, state = make(torch.optim, list(theirs.values())), ours.init(params)
    for i in range(12):
        grads = {k: (RNG.normal(size=v.shape) * 10.0 ** (i % 3 - 1)).astype(dtype) for k, v in params.items()}
        for k, g in grads.items():
            theirs[k].grad = torch.tensor(g)
        reference.step()
        params, state = ours.update(grads, state, params)
        for k, v in params.items():
            assert v.dtype == dtype
            np.testing.assert_allclose(v, theirs[k].detach().numpy(), rtol=tolerance, atol=tolerance)
    assert state["step"] == 12 and state["step"].dtype == np.int64


@pytest.mark.parametrize("optimizer", EVERY, ids=lambda o: type(o).__name__)
def test_shapes_and_dtypes_are_kept_and_tracing_gives_them_too(optimizer):
    params = {"a": np.ones((2, 3), np.float32), "b": {"c": np.ones(3), "d": np.ones((), np.float32)}}
    grads = tree_map(lambda p: np.full(p.shape, 0.3, p.dtype), params)
    state = optimizer.init(params)
    new, new_state = optimizer.update(grads, state, params)
    with Recording("test") as r:
        leaf = lambda x: traced_leaf(x.shape, x.dtype, frozenset({r}))  # noqa: E731
        traced, traced_state = optimizer.update(*(tree_map(leaf, nest) for nest in (grads, state, params)))
    for before, after, without_values in ((params, new, traced), (state, new_state, traced_state)):
        tree_map(lambda x, y, z: _same(x, y, z), before, after, without_values)
    again = optimizer.update(grads, state, params)[0]
    tree_map(np.testing.assert_array_equal, new, again)  # pure
    assert params["a"].sum() == 6 and state["step"] == 0


def _same(x, y, z):
    assert x.shape == y.shape == z.shape and x.dtype == y.dtype == z.dtype and z.value is None


@pytest.mark.parametrize("optimizer", EVERY, ids=lambda o: type(o).__name__)
def test_config_round_trip(optimizer):
    assert optim.get(json.loads(json.dumps(optimizer.config()))) == optimizer
    state = optimizer.init({"0.weight": np.zeros(2)})
    assert isinstance(state["step"], np.ndarray) and all(
        v.keys() == {"0.weight"} for k, v in state.items() if k not in ("step", "lr")
    )


def test_sgd_and_adam_by_hand():
    p, _ = optim.SGD(0.5).update(
        {"x": np.array([2.0])}, optim.SGD(0.5).init({"x": np.array([1.0])}), {"x": np.array([1.0])}
    )
    assert p["x"] == 0
    adam = optim.Adam(0.1, eps=1e-12)
    p, _ = adam.update(np.array([7.0, -0.02]), adam.init(np.zeros(2)), np.zeros(2))
    np.testing.assert_allclose(p, [-0.1, 0.1], rtol=1e-9)  # the first step of Adam is lr in the sign's direction


def test_lion_by_hand():
    rule = optim.Lion(0.1, beta1=0.8, beta2=0.5, weight_decay=0.3)
    p, m = RNG.normal(size=6), np.zeros(6)
    params, state = p.copy(), rule.init(p)
    for _ in range(8):
        g = RNG.normal(size=6)
        params, state = rule.update(g, state, params)
        p = p - 0.1 * 0.3 * p - 0.1 * np.sign(0.8 * m + 0.2 * g)
        m = 0.5 * m + 0.5 * g
        np.testing.assert_allclose(params, p, rtol=1e-12)


@pytest.mark.parametrize("rule", [optim.Lion(0.1), optim.Adam(0.1, amsgrad=True), optim.Lion(optim.OneCycle(0.1, 9))])
def test_every_step_of_an_update_runs_in_the_native_engine(rule):
    step = TrainingStep(nn.Linear(3, 2), "mse", rule, engine="native")
    assert step.binding(np.ones((4, 3), np.float32), np.ones((4, 2), np.float32)).left_to_numpy == ()


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("steps, rise", [(10, 0.3), (7, 0.5), (100, 0.25), (5, 0.1)])
def test_one_cycle_and_piecewise_are_pytorch_s(steps, rise):
    torch = pytest.importorskip("torch")
    sgd = torch.optim.SGD([torch.zeros(1)], lr=0.2)
    pieces = torch.optim.lr_scheduler.MultiStepLR(sgd, [3, 5])
    ours = optim.Piecewise([3, 5], [0.2, 0.02, 0.002])
    for step in range(8):
        assert float(ours(step)) == pytest.approx(pieces.get_last_lr()[0], rel=1e-12)
        pieces.step()
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        torch.optim.SGD([torch.zeros(1)], lr=1, momentum=0.9), 0.2, total_steps=steps, pct_start=rise
    )
    for step in range(steps):
        assert float(optim.OneCycle(0.2, steps, rise)(step)) == pytest.approx(cycle.get_last_lr()[0], rel=1e-9)
        if step < steps - 1:
            cycle.step()


@pytest.mark.parametrize("figures", [[3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5], [5, 4, 4, 3.9999, 3, 3, 3]])
def test_reduce_on_plateau_is_pytorch_s(figures):
    torch = pytest.importorskip("torch")
    rate = optim.ReduceOnPlateau(1.0, factor=0.5, patience=1, min_lr=0.3, metric="figure")
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        torch.optim.SGD([torch.zeros(1)], lr=1.0), factor=0.5, patience=1, min_lr=0.3
    )
    values = iter(figures)

    class Figures(cr.Callback):
        def on_epoch(self, run):
            run.history[-1]["figure"] = next(values)

    seen = []
    for figure in figures:
        theirs.step(figure)
        seen.append(theirs.get_last_lr()[0])
    history = cr.fit(
        nn.Linear(2, 1), np.ones((4, 2)), np.ones((4, 1)), loss="mse", optimizer=optim.SGD(rate), progress=False,
        epochs=len(figures), callbacks=[Figures()],
    )  # fmt: skip
    assert history["lr"] == [1.0, *seen[:-1]]


def test_wrong_settings_of_new_schedules_are_named():
    for call, said in (
        (lambda: optim.OneCycle(0.1, 1), "steps: expected an integer ≥ 2, got 1"),
        (lambda: optim.OneCycle(0.1, 9, rise=1.0), "rise: expected a number"),
        (lambda: optim.Piecewise([3, 2], [1, 1, 1]), "boundaries: expected increasing steps"),
        (lambda: optim.Piecewise([3], [1]), "1 steps .3,. and 1 rates"),
        (lambda: optim.ReduceOnPlateau(0.1, factor=1.5), "factor: expected a number"),
        (lambda: optim.ReduceOnPlateau(0.1, metric=3), "metric: expected a column of the history or None, got 3"),
        (lambda: optim.Lion(beta1=1.0), "beta1: expected a number"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


def test_all_parameters_update_from_gradients_taken_before():
    f = lambda p: p["a"] * p["b"]  # noqa: E731
    opt, params = optim.SGD(0.1), {"a": np.array(2.0), "b": np.array(3.0)}
    new, _ = opt.update(cr.grad(f)(params), opt.init(params), params)
    assert new["a"] == pytest.approx(2 - 0.1 * 3) and new["b"] == pytest.approx(3 - 0.1 * 2)  # not 3 - 0.1 * 1.7


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("nesterov", [False, True])
def test_a_velocity_of_steps_keeps_the_rates_that_they_were_made_with(momentum, nesterov):
    rule = optim.SGD(schedules.Adjustable(0.5), momentum, nesterov=nesterov and momentum > 0, rate_in_velocity=True)
    params = np.array([1.0, -2.0])
    state, expected, velocity = rule.init(params), params.copy(), np.zeros(2)
    for rate in (0.5, 0.1, 0.1, 0.02):
        state["lr"][...] = rate
        g = RNG.normal(size=2)
        params, state = rule.update(g, state, params)
        velocity = momentum * velocity - rate * g
        expected += momentum * velocity - rate * g if nesterov else velocity
        np.testing.assert_allclose(params, expected, rtol=1e-12)
        assert state["lr"] == rate


def test_eps_hat_is_added_to_the_root_of_the_second_moment():
    rule = optim.Adam(0.1, eps=1.0, eps_hat=True)
    params, _ = rule.update(np.array([2.0]), rule.init(np.zeros(1)), np.zeros(1))
    m, root = 0.1 * 2.0, np.sqrt(0.001) * 2.0
    np.testing.assert_allclose(params, [-0.1 * np.sqrt(0.001) / 0.1 * m / (root + 1.0)], rtol=1e-9)


def test_a_network_learns_with_every_optimizer():
    model = nn.Sequential(nn.Linear(2, 8, seed=1), nn.Tanh(), nn.Linear(8, 2, seed=2))
    X = RNG.normal(size=(64, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    step = cr.value_and_grad(lambda p: nn.losses.cross_entropy(nn.functional_call(model, p, X)[0], y))
    for optimizer in (
        optim.SGD(0.5, 0.9),
        optim.Adam(0.05),
        optim.AdamW(0.05),
        optim.RMSprop(0.02),
        optim.Adagrad(0.2),
    ):
        params = {k: p.value for k, p in model.named_parameters()}
        state = optimizer.init(params)
        first = None
        for _ in range(60):
            loss, grads = step(params)
            first = first or loss
            params, state = optimizer.update(grads, state, params)
        assert loss < 0.4 * first, optimizer
        assert all(p.dtype == np.float32 for p in params.values())


def test_clipping():
    g = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]], np.float32)}
    assert optim.global_norm(g) == 5
    clipped = optim.clip_by_norm(g, 1.0)
    np.testing.assert_allclose(clipped["a"], [0.6, 0])
    assert clipped["b"].dtype == np.float32 and optim.global_norm(clipped) == pytest.approx(1)
    tree_map(np.testing.assert_array_equal, optim.clip_by_norm(g, 5.0), g)
    tree_map(
        np.testing.assert_array_equal, optim.clip_by_norm(tree_map(np.zeros_like, g), 1.0), tree_map(np.zeros_like, g)
    )
    np.testing.assert_array_equal(optim.clip_by_value(g, 1.5)["a"], [1.5, 0])
    opt = optim.SGD(1.0, clip_norm=1.0)
    new, _ = opt.update(g, opt.init(g), g)
    np.testing.assert_allclose(new["a"], [2.4, 0])


def test_clipping_by_norm_against_pytorch():
    torch = pytest.importorskip("torch")
    g = [RNG.normal(size=(3, 4)), RNG.normal(size=5)]
    p = [torch.zeros(x.shape, dtype=torch.float64, requires_grad=True) for x in g]
    for t, x in zip(p, g, strict=True):
        t.grad = torch.tensor(x)
    torch.nn.utils.clip_grad_norm_(p, 0.7)
    for ours, t in zip(optim.clip_by_norm(g, 0.7), p, strict=True):
        np.testing.assert_allclose(ours, t.grad.numpy(), rtol=1e-5)  # theirs adds 1e-6 to the norm


SCHEDULES = {
    "Constant": (optim.Constant(0.2), {0: 0.2, 99: 0.2}),
    "Adjustable": (schedules.Adjustable(0.2), {0: 0.2, 99: 0.2}),
    "Step": (optim.Step(1.0, 10, 0.5), {0: 1.0, 9: 1.0, 10: 0.5, 25: 0.25}),
    "Exponential": (optim.Exponential(1.0, 0.5, 10), {0: 1.0, 5: 0.5**0.5, 10: 0.5}),
    "Cosine": (optim.Cosine(1.0, 10, 0.2), {0: 1.0, 5: 0.6, 10: 0.2, 50: 0.2}),
    "WarmUp": (optim.WarmUp(4, 1.0), {0: 0.2, 3: 0.8, 4: 1.0, 9: 1.0}),
    "WarmUp, Cosine": (optim.WarmUp(4, optim.Cosine(1.0, 10)), {0: 0.2, 4: 1.0, 9: 0.5, 14: 0.0}),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name):
    schedule, expected = SCHEDULES[name]
    for step, lr in expected.items():
        for form in (step, np.int64(step), np.array(step)):
            assert schedule(form) == pytest.approx(lr, abs=1e-12)
        assert cr.tensor(step).dtype == np.int64
        assert float(getattr(schedule(cr.tensor(step)), "value", schedule(0))) == pytest.approx(lr, abs=1e-12)
    assert schedules.get(json.loads(json.dumps(schedule.config()))) == schedule


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optim.SGD(0), "lr: .*got 0"),
        (lambda: optim.SGD("fast"), "lr: .*got 'fast'"),
        (lambda: optim.SGD(float("nan")), "lr: .*got nan"),
        (lambda: optim.SGD(0.1, momentum=1), "momentum: .*got 1"),
        (lambda: optim.SGD(0.1, momentum=1.1, rate_in_velocity=True), "momentum: .*got 1.1"),
        (lambda: optim.SGD(0.1, nesterov=True), "needs a momentum"),
        (lambda: optim.Adam(beta2=1.0), "beta2: .*got 1.0"),
        (lambda: optim.Adam(eps=0), "eps: .*got 0"),
        (lambda: optim.Adam(weight_decay=-1), "weight_decay: .*got -1"),
        (lambda: optim.Adam(clip_norm=0), "clip_norm: .*got 0"),
        (lambda: optim.Cosine(0.1, 0), "steps: .*got 0"),
        (lambda: optim.Cosine(0.1, 5, -1), "final: .*got -1"),
        (lambda: optim.WarmUp(5, "x"), "lr: .*got 'x'"),
        (lambda: optim.get("adamm"), "no optimiser 'adamm'; there are SGD, Adam"),
        (lambda: optim.get("adam", momentum=0.9), "Adam has no setting momentum"),
        (lambda: optim.get(optim.Adam), r"Adam\(lr=…\)"),
        (lambda: schedules.get({"name": "Zig"}), "no schedule 'Zig'"),
        (lambda: schedules.get({"name": "Step", "lr": 1}), "schedule Step takes lr, every, factor"),
        (
            lambda: optim.SGD().update({"a": np.ones(2)}, {"step": np.array(0)}, {"b": np.ones(2)}),
            "structure .*b.*, got .*a",
        ),
        (
            lambda: optim.SGD().update([np.ones(2)], {"step": np.array(0)}, [np.ones(3)]),
            r"shape \(2,\), its parameter \(3,\)",
        ),
    ],
)
def test_bad_settings(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_get():
    assert optim.get("sgd") == optim.SGD() and optim.get("Adam", lr=0.5) == optim.Adam(0.5)
    assert optim.get(optim.RMSprop(0.1), lr=0.2).lr == 0.2 and optim.get(optim.SGD(0.3)).lr == 0.3
    assert optim.get("SGD", lr=optim.Step(0.1, 5)).learning_rate(5) == pytest.approx(0.01)
