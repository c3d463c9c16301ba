"""Frozen parameters: no gradient, no update, and the rest as if the frozen ones were constants."""

from __future__ import annotations

import copy
import json
import pathlib
import pickle
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.train import TrainingStep

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(24, 4)), RNG.integers(0, 3, 24)


def network(dtype: Any = np.float64) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 3)).to(dtype)


FREEZE = {
    "a layer": lambda m: m[0].requires_grad_(False),
    "the last layer": lambda m: m[3].requires_grad_(False),
    "a bias": lambda m: setattr(m[0].bias, "requires_grad", False),
    "all but a bias": lambda m: (m.requires_grad_(False), m[3].bias.requires_grad_()),
    "weights and a norm": lambda m: (m[2].requires_grad_(False), m[3].weight.requires_grad_(False)),
}


def frozen(model: nn.Module) -> list[str]:
    return [path for path, p in model.named_parameters() if not p.requires_grad]


def fitted(model: nn.Module, **more: Any) -> cr.History:
    given = {"optimizer": optim.AdamW(0.05, weight_decay=0.1), "epochs": 3, "batch_size": 8, "progress": False} | more
    return cr.fit(model, X, Y, **given)


@pytest.mark.parametrize("engine", ["numpy", None])
@pytest.mark.parametrize("which", FREEZE)
def test_fit_trains_the_rest_as_constants_would(which: str, engine: Any) -> None:
    model = network()
    before = model.state_dict()
    FREEZE[which](model)
    fitted(model, engine=engine, shuffle=False)
    values = {path: before[path] for path in before if path not in frozen(model)}
    rule = optim.AdamW(0.05, weight_decay=0.1)
    state = rule.init(values)

    def loss(values: Any, x: Any, y: Any) -> Any:
        return nn.losses.cross_entropy(nn.functional_call(network(), {**before, **values}, x)[0], y)

    for start in [0, 8, 16] * 3:
        gradients = cr.grad(loss)(values, X[start : start + 8], Y[start : start + 8])
        values, state = rule.update(gradients, state, values)
    for path, array in model.state_dict().items():
        np.testing.assert_allclose(array, values.get(path, before[path]), rtol=1e-9, atol=1e-12)
        assert (path in frozen(model)) == np.array_equal(array, before[path])


def test_the_plan_drops_what_only_frozen_parameters_need() -> None:
    def steps(freeze: str) -> int:
        model = network(np.float32)
        if freeze:
            FREEZE[freeze](model)
        return len(TrainingStep(model, "cross_entropy", optim.SGD(0.1)).plan((8, 4), "f4", (8,), "i8").steps)

    assert steps("all but a bias") < steps("a layer") < steps("")
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    model[0].requires_grad_(False)
    plan = TrainingStep(model, "cross_entropy", optim.SGD(0.1)).plan((8, 4), "f4", (8,), "i8")
    products = [s for s in plan.steps if "matmul" in str(getattr(s, "op", ""))]
    assert len(products) == 3  # two forward, dW2; neither dA1 nor dW1


def test_backward_and_backprop_give_frozen_parameters_no_gradient() -> None:
    model = network()
    model[0].requires_grad_(False)
    nn.losses.cross_entropy(model(X), Y).backward()
    assert model[0].weight.grad is None and model[3].weight.grad is not None
    passed = cr.backprop(model, X, Y)
    assert "W1" in passed.values and "dW1" not in passed and "dZ1" in passed
    np.testing.assert_array_equal(passed["dW2"], model[3].weight.grad)
    model.requires_grad_(False)
    assert not nn.losses.cross_entropy(model(X), Y).requires_grad
    with pytest.raises(ValueError, match="a parameter that is not frozen"):
        nn.losses.cross_entropy(model(X), Y).backward()
    with pytest.raises(ValueError, match=r"all parameters of the model are frozen; model.requires_grad_\(True\)"):
        fitted(model)


def test_a_compiled_function_reads_frozen_parameters_anew() -> None:
    layer = nn.Linear(2, 2, dtype=np.float64).requires_grad_(False)
    f = cr.compile(lambda x: x @ (2 * layer.weight))
    x = np.eye(2)
    np.testing.assert_array_equal(f(x), 2 * layer.weight.value)
    layer.weight.assign([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(f(x), [[2.0, 4.0], [6.0, 8.0]])
    with pytest.raises(TypeError, match="assignment into a parameter"):
        layer.weight[0] = 1.0


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda m: pickle.loads(pickle.dumps(m))}


@pytest.mark.parametrize("how", [*COPIES, "file"])
def test_copies_and_files_keep_what_is_frozen(how: str, tmp_path: pathlib.Path) -> None:
    model = network()
    FREEZE["weights and a norm"](model)
    file = tmp_path / "model.safetensors"
    if how == "file":
        cr.save(file, model, {"note": 1})
        found, metadata = cr.load(file)
        assert metadata == {"note": 1}
    else:
        found = COPIES[how](model)
    assert frozen(found) == frozen(model) == ["2.weight", "2.bias", "3.weight"]
    assert "weight (6, 3) frozen, bias (3,)" in repr(found)
    assert frozen(found.initialize(3).to(np.float32)) == frozen(model)
    assert frozen(found.requires_grad_()) == []


def test_a_damaged_list_of_frozen_parameters_is_named(tmp_path: pathlib.Path) -> None:
    from chainrule.io.weights import with_texts

    model, file = nn.Linear(2, 1), tmp_path / "model.safetensors"
    for listed in (["nothing"], "weight", [3]):
        texts = {"format": "chainrule-model", "version": 1, "architecture": model.config(), "frozen_parameters": listed}
        file.write_bytes(with_texts(model.state_dict(), cr.io.weights.texts_of(texts)))
        with pytest.raises(ValueError, match="frozen_parameters: expected a list of names of parameters"):
            cr.load(file)


def test_a_resumed_run_has_the_bits_of_the_whole_run(tmp_path: pathlib.Path) -> None:
    whole, parts, file = network(), network(), tmp_path / "run.ckpt"
    for model in (whole, parts):
        FREEZE["a layer"](model)
    fitted(whole, epochs=4)
    fitted(parts, epochs=2, checkpoint=file)
    other = network().initialize(7)  # also the frozen weights come from the checkpoint
    FREEZE["a layer"](other)
    fitted(other, epochs=4, checkpoint=file, resume=True)
    for path, array in whole.state_dict().items():
        assert np.array_equal(array, other.state_dict()[path]), path
    with pytest.raises(ValueError, match="belongs to another run"):
        fitted(network(), epochs=4, checkpoint=file, resume=True)


def test_frozen_values_may_change_while_training_but_not_what_is_frozen() -> None:
    model = network()
    model[0].requires_grad_(False)
    fixed = np.full((4, 6), 0.5)

    def replace(run: Any) -> None:
        if run.epoch == 1:
            model[0].weight.assign(fixed)

    history = fitted(model, callbacks=[replace], epochs=2, batch_size=None)
    assert np.array_equal(model[0].weight.value, fixed)
    again = network()
    again[0].requires_grad_(False)
    first = fitted(again, epochs=1, batch_size=None)
    again[0].weight.assign(fixed)
    second = cr.evaluate(again.train(), X, Y)
    assert history["loss"] == pytest.approx([first["loss"][0], second["loss"]])
    with pytest.raises(ValueError, match=r"requires_grad of 0.weight, 0.bias has changed since the training began"):
        fitted(model, callbacks=[lambda run: model[0].requires_grad_(True)])


def test_minimize_and_reports_leave_frozen_parameters_alone(tmp_path: pathlib.Path) -> None:
    from chainrule.reporting.gradient_flow import GradientFlow

    model = network()
    before = model.state_dict()
    model[0].requires_grad_(False)
    optim.minimize(model, X, Y, max_iter=3)
    assert np.array_equal(model[0].weight.value, before["0.weight"])
    assert not np.array_equal(model[3].weight.value, before["3.weight"])
    flow = GradientFlow(tmp_path, X, Y)
    fitted(model, callbacks=[flow], epochs=2)
    header = json.loads((tmp_path / "gradient_flow.jsonl").read_text("utf-8").splitlines()[0])
    assert [layer["weight"] for layer in header["layers"]] == ["W2"]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_estimators_leave_frozen_parameters_alone() -> None:
    pytest.importorskip("sklearn")
    from chainrule.sklearn import NetClassifier

    for solver in (optim.Adam(0.01), optim.SGD(0.1, groups=[{"params": "3.bias", "lr_factor": 0.0}])):
        module = network(np.float32)
        before = module.state_dict()
        module[0].requires_grad_(False)
        found = NetClassifier(module, optimizer=solver, max_epochs=3).fit(X, Y).module_
        assert frozen(found) == ["0.weight", "0.bias"]
        same = [path for path, a in found.state_dict().items() if np.array_equal(a, before[path])]
        assert same == ["0.weight", "0.bias"] + ["3.bias"] * (solver.groups is not None)


def test_pytorch_s_frozen_parameters_stay_frozen_both_ways() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.LSTM(6, 3, batch_first=True))
    theirs[0].requires_grad_(False)
    theirs[1].bias_hh_l0.requires_grad_(False)
    ours = cr.from_torch(theirs)
    wanted = ["0.weight", "0.bias", "1.bias_hh_l0"]
    assert frozen(ours) == wanted
    assert [name for name, p in cr.to_torch(ours).named_parameters() if not p.requires_grad] == wanted
