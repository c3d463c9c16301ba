"""Groups of parameters: each with its own settings, checked against PyTorch's and against separate optimisers."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(32, 4)), RNG.normal(size=(32, 2))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).to(np.float64)


def fitted(model: nn.Module, rule: Any, **more: Any) -> cr.History:
    return cr.fit(model, X, Y, **{"loss": "mse", "optimizer": rule, "epochs": 4, "batch_size": 8, "shuffle": False,
                                  "progress": False} | more)  # fmt: skip


#: Rule, its settings, and those of two groups, as both libraries have them.
RULES: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.1, "momentum": 0.9}, {"lr": 0.01}, {"momentum": 0.5, "nesterov": True}),
    "decay": ("SGD", {"lr": 0.1, "weight_decay": 0.1}, {"weight_decay": 0.0}, {"lr": 0.2, "weight_decay": 0.5}),
    "adam": ("Adam", {"lr": 0.01}, {"lr": 0.03, "eps": 1e-3}, {"weight_decay": 0.1}),
    "adamw": ("AdamW", {"lr": 0.01, "weight_decay": 0.2}, {"weight_decay": 0.0}, {"lr": 0.1}),
    "rmsprop": ("RMSprop", {"lr": 0.01}, {"alpha": 0.5}, {"lr": 0.02}),
    "adagrad": ("Adagrad", {"lr": 0.01}, {"lr": 0.1}, {"lr_decay": 0.1}),
}


@pytest.mark.parametrize("engine", ["numpy", None])
@pytest.mark.parametrize("name", RULES)
def test_groups_train_as_pytorch_s_do(name: str, engine: Any) -> None:
    torch = pytest.importorskip("torch")
    kind, settings, first, second = RULES[name]
    ours = network()
    theirs = cr.to_torch(ours)
    groups = [{"params": theirs[0].weight, **first}, {"params": [theirs[0].bias, theirs[2].bias], **second},
              {"params": [theirs[2].weight]}]  # fmt: skip
    rule = getattr(torch.optim, kind)(groups, **settings)
    data = torch.from_numpy(X), torch.from_numpy(Y)
    for start in [*range(0, 32, 8)] * 4:
        rule.zero_grad()
        torch.nn.functional.mse_loss(theirs(data[0][start : start + 8]), data[1][start : start + 8]).backward()
        rule.step()
    by_name = [{"params": "0.weight", **first}, {"params": "*.bias", **second}]
    fitted(ours, getattr(optim, kind)(**settings, groups=by_name), engine=engine)
    for path, value in cr.io.torch_weights.torch_state(ours).items():
        np.testing.assert_allclose(value, theirs.state_dict()[path].numpy(), rtol=1e-8, atol=1e-10)


def test_all_ways_to_name_a_group_are_the_same() -> None:
    def trained(make: Any) -> list[Any]:
        model = network()
        fitted(model, make(model))
        return list(model.state_dict().values())

    whole = [{"params": "0", "lr": 0.01}, {"params": ["2.*"]}]
    ways: list[Any] = [
        lambda m: optim.Adam(0.1, groups=[{"params": m[0], "lr": 0.01}]),
        lambda m: optim.Adam(0.1, groups=[{"params": m[0].parameters(), "lr": 0.01}]),
        lambda m: optim.Adam(0.1, groups=[{"params": [m[0].bias, "0.weight"], "lr_factor": 0.1}]),
        lambda m: optim.Adam([{"params": m[0].parameters(), "lr": 0.01}, {"params": m[2].parameters()}], lr=0.1),
        lambda m: optim.Adam([{"params": m[0], "lr": 0.01}, {"params": m[2]}], 0.1),
        lambda m: optim.Adam(params=whole, lr=0.1),
        lambda m: optim.get(optim.Adam(0.1, groups=whole[:1]).config()),
    ]
    first, *rest = [trained(make) for make in ways]
    for others in rest:
        for a, b in zip(first, others, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_update_on_a_nest_takes_groups_by_the_keys_of_the_nest() -> None:
    params = {"head": {"w": np.ones(3), "b": np.ones(1)}, "body": [np.ones(2), np.ones(2)]}
    grads = {"head": {"w": np.ones(3), "b": np.ones(1)}, "body": [np.ones(2), np.ones(2)]}
    rule = optim.SGD(1.0, groups=[{"params": "head.b", "lr": 0.5}, {"params": "body.1", "lr_factor": 0.25}])
    new, _ = rule.update(grads, rule.init(params), params)
    assert (new["head"]["w"][0], new["head"]["b"][0], new["body"][0][0], new["body"][1][0]) == (0, 0.5, 0, 0.75)


def test_factors_multiply_schedules_and_clipping_sees_all_gradients() -> None:
    rate = optim.WarmUp(2, optim.Cosine(0.5, 10))
    params = {"a": np.zeros(1), "b": np.zeros(1), "c": np.zeros(1)}
    groups = [{"params": "b", "lr_factor": 0.1}, {"params": "c", "lr": optim.Exponential(1.0, 0.5)}]
    rule = optim.SGD(rate, groups=groups, clip_norm=1.0)
    state = rule.init(params)
    grads = {"a": np.array([2.0]), "b": np.array([1.0]), "c": np.array([2.0])}  # norm 3
    wanted = np.zeros(3)
    for step in range(5):
        params, state = rule.update(grads, state, params)
        wanted -= np.array([2.0, 1.0, 2.0]) / 3 * np.array([rate(step), 0.1 * rate(step), 0.5**step])
        np.testing.assert_allclose([v[0] for v in params.values()], wanted, rtol=1e-12)
    assert optim.get(rule.config()) == rule


def test_a_rate_that_is_written_to_changes_all_groups_by_its_factor() -> None:
    rule = optim.SGD(optim.schedules.Adjustable(0.5), groups=[{"params": "b", "lr": 0.1}])
    params = {"a": np.zeros(1), "b": np.zeros(1)}
    state = rule.init(params)
    state["lr"][...] = 0.25
    new, _ = rule.update({"a": np.ones(1), "b": np.ones(1)}, state, params)
    assert (new["a"][0], new["b"][0]) == (-0.25, -0.05)


def test_frozen_parameters_and_groups_go_together() -> None:
    model, before = network(), network().state_dict()
    model[0].bias.requires_grad = False
    weights = {"params": "*.weight", "lr": 0.1}
    for groups in ([weights, {"params": model[2].bias}], [weights, {"params": "0.bias"}, {"params": "2.bias"}]):
        fitted(model, optim.Adam(groups, lr=1e-3))
        changed = [not np.array_equal(a, before[path]) for path, a in model.state_dict().items()]
        assert changed == [True, False, True, True]


def test_a_resumed_run_with_groups_has_the_bits_of_the_whole(tmp_path: pathlib.Path) -> None:
    def rule(model: nn.Module, lr: float = 0.1) -> Any:
        return optim.Adam(0.01, groups=[{"params": model[2].parameters(), "lr": lr}])

    whole, parts, file = network(), network(), tmp_path / "run.ckpt"
    fitted(whole, rule(whole))
    fitted(parts, rule(parts), epochs=2, checkpoint=file)
    parts = network()
    with pytest.raises(ValueError, match=r"optimizer groups was .* is "):
        fitted(parts, rule(parts, 0.2), checkpoint=file, resume=True)
    fitted(parts, rule(parts), checkpoint=file, resume=True)
    assert all(
        np.array_equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True)
    )


def sgd(*groups: Any) -> Any:
    return optim.SGD(0.1, groups=groups)


OTHER = nn.Linear(2, 1)
WRONG: list[tuple[Any, str]] = [
    (lambda: optim.SGD(0.1, groups={"params": "0"}), r"groups: expected a list of dicts .*, got \{'params': '0'\}"),
    (lambda: sgd("0.weight"), r"groups\[0\]: expected a dict .*, got '0.weight'"),
    (lambda: sgd({"lr": 1}), r"groups\[0\]: expected a dict \{\"params\""),
    (lambda: sgd({"params": "a", "beta1": 1}), "has no setting 'beta1'; it takes lr, weight_decay, mom"),
    (lambda: sgd({"params": "a", "clip_norm": 1}), "'clip_norm'; it is one for all parameters"),
    (lambda: sgd({"params": "a", "lr": -1}), "lr: expected a number > 0"),
    (lambda: sgd({"params": "a", "lr_factor": -1}), r"groups\[0\]: lr_factor: expected a number"),
    (lambda: sgd({"params": "a", "momentum": 0.9}), "must be the same in all groups"),
    (lambda: sgd({"params": []}), r"groups\[0\]: params is empty"),
    (lambda: sgd({"params": 3}), r"groups\[0\]: params: expected names, parameters or modules, got 3"),
    (lambda: sgd({"params": np.ones(2)}), r"groups\[0\]: params: expected names"),
    (lambda: fitted(network(), sgd({"params": "head"})), "'head' matches no parameter; .* 0.weight"),
    (lambda: fitted(network(), sgd({"params": OTHER})), r"holds a parameter of shape \(2, 1\) that is not"),
    (lambda: fitted(network(), sgd({"params": "0"}, {"params": "*.bias"})), r"0.bias is in groups\[0\]"),
    (lambda: fitted(network(), optim.SGD([{"params": "0"}], lr=0.1)), "2.weight, 2.bias is in none of them, so PyT"),
]


@pytest.mark.parametrize("call, said", WRONG)
def test_wrong_groups_are_named(call: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        call()
