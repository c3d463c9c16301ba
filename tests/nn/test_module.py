"""Modules: registration, state, functional calls, first weights."""

import copy
import json
import pickle
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.node import Recording
from chainrule.core.tensor import Tensor, traced_leaf

RNG = np.random.default_rng(7)
X = RNG.normal(size=(6, 4))


class Residual(nn.Module):
    """Parameters as attributes, in lists, in a nested module; a buffer."""

    def __init__(self):
        self.first = nn.Linear(4, 5)
        self.blocks = [nn.Linear(5, 5), nn.Linear(5, 5)]
        self.heads = {"a": nn.Linear(5, 2), "b": nn.Linear(5, 2)}
        self.scales = [nn.Parameter(np.ones(5, np.float32)), nn.Parameter(np.full(5, 2, np.float32))]
        self.activation = self.bent
        self.alpha = nn.Parameter(np.float32(0.3))
        self.register_buffer("calls", np.zeros((), np.int64))

    def bent(self, x):
        return np.tanh(x) + self.alpha * x

    def forward(self, X):
        self.calls = self.calls + 1
        h = self.first(X)
        for block, scale in zip(self.blocks, self.scales, strict=True):
            h = h + self.activation(block(h)) * scale
        return np.concatenate([self.heads["a"](h), self.heads["b"](h)], axis=1)


PATHS = [
    "alpha", "blocks.0.bias", "blocks.0.weight", "blocks.1.bias", "blocks.1.weight", "first.bias", "first.weight",
    "heads.a.bias", "heads.a.weight", "heads.b.bias", "heads.b.weight", "scales.0", "scales.1",
]  # fmt: skip


def test_parameters_are_found_by_path_wherever_they_are_held():
    m = Residual()
    assert sorted(dict(m.named_parameters())) == PATHS
    assert [p for p, _ in m.named_buffers()] == ["calls"]
    assert m.num_parameters == 20 + 5 + 2 * 30 + 2 * 12 + 10 + 1
    assert {p for p, _ in m.named_modules()} == {"", "first", "blocks.0", "blocks.1", "heads.a", "heads.b"}
    text = repr(m)
    assert "first" in text and "(4, 5)" in text and "120 parameters, float32" in text


def test_equal_layers_get_different_weights_also_those_appended_later():
    m = Residual()
    m.blocks.append(nn.Linear(5, 5))
    weights = [dict(m.named_parameters())[f"blocks.{i}.weight"].value for i in range(3)]
    assert not np.array_equal(weights[0], weights[1]) and not np.array_equal(weights[1], weights[2])
    a, b = (nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 3))) for _ in range(2))
    assert not np.array_equal(a[0].weight.value, a[1][0].weight.value)
    for path, value in a.state_dict().items():
        assert np.array_equal(value, b.state_dict()[path])


def test_first_weights_follow_seed_and_path_alone():
    m = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4))
    start = m.state_dict()
    m.initialize(5)
    assert not np.array_equal(m.state_dict()["0.weight"], start["0.weight"])
    five = m.state_dict()
    outer = nn.Sequential(m, nn.Linear(4, 1))  # joining a larger network leaves what was asked for
    assert np.array_equal(outer.state_dict()["0.0.weight"], five["0.weight"])
    m.initialize(0)
    for path, value in start.items():
        assert np.array_equal(m.state_dict()[path], value)
    rng = nn.init.generator(0, "0.weight")
    limit = np.sqrt(6 / 3)
    np.testing.assert_array_equal(start["0.weight"], rng.uniform(-limit, limit, (3, 4)).astype(np.float32))


def test_assigned_loaded_and_seeded_weights_survive_registration():
    layer, seeded = nn.Linear(3, 3), nn.Linear(3, 3, seed=4)
    layer.weight.assign(np.eye(3))
    before = seeded.weight.value.copy()
    m = nn.Sequential(nn.Identity(), nn.Sequential(layer, seeded))
    assert np.array_equal(m[1][0].weight.value, np.eye(3))
    assert np.array_equal(m[1][1].weight.value, before)


def test_float64_and_float32_networks_begin_alike():
    a, b = nn.Linear(5, 4), nn.Linear(5, 4, dtype=np.float64)
    np.testing.assert_array_equal(a.weight.value, b.weight.value.astype(np.float32))


def test_input_is_cast_to_the_dtype_of_the_model():
    m = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    for data in (X, X.astype(np.float32), np.ones((2, 4), int), [[1, 2, 3, 4]], X > 0):
        assert m(data).dtype == np.float32
    assert m.to(np.float64)(X.astype(np.float32)).dtype == np.float64
    assert isinstance(m(X), Tensor)
    custom = Residual()
    assert custom(X).dtype == np.float32 and custom(np.ones((2, 4), np.int8)).dtype == np.float32


def test_state_dict_round_trip_and_copies():
    a, b = Residual(), Residual().initialize(3)
    a(X)
    state = a.state_dict()
    assert sorted(state) == sorted([*PATHS, "calls"]) and state["calls"] == 1
    b.load_state_dict(state)
    state["first.weight"][:] = 0
    for path, value in a.state_dict().items():
        assert np.array_equal(value, b.state_dict()[path])
    assert np.array_equal(a(X).detach().numpy(), b(X).detach().numpy())


def test_load_state_dict_names_all_problems_and_changes_nothing():
    m = Residual()
    before = m.state_dict()
    bad = {**{k: v + 1 for k, v in before.items()}, "stranger": np.zeros(2), "alpha": np.zeros((2, 2))}
    del bad["first.bias"]
    bad["first.weight"] = np.array(["x"])
    with pytest.raises(ValueError) as error:
        m.load_state_dict(bad)
    for part in (
        "first.bias is missing",
        "stranger is unexpected",
        "alpha has shape (2, 2), the model has ()",
        "first.weight has dtype",
    ):
        assert part in str(error.value)
    for path, value in m.state_dict().items():
        assert np.array_equal(value, before[path])
    m.load_state_dict({"alpha": 2.0, "stranger": 1}, strict=False)
    assert m.alpha.value == 2.0 and m.alpha.dtype == np.float32


def test_train_eval_zero_grad():
    m = nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5))
    assert m.training and not m.eval()[1].training and m.train()[1].training
    nn.losses.mse(m(X), np.zeros((6, 2))).backward()
    assert m[0].weight.grad is not None
    m.zero_grad()
    assert m[0].weight.grad is None


def test_functional_call_replaces_and_leaves_the_module_alone():
    m = Residual()
    before = m.state_dict()
    values = {path: RNG.normal(size=v.shape) for path, v in before.items() if path != "calls"}
    out, buffers = nn.functional_call(m, {**values, "calls": np.array(41)}, X)
    assert out.dtype == np.float64 and buffers.keys() == {"calls"} and buffers["calls"].value == 42
    for path, value in m.state_dict().items():
        assert np.array_equal(value, before[path])
    same = Residual().to(np.float64)
    same.load_state_dict({**values, "calls": 0})
    np.testing.assert_array_equal(out.value, same(X).value)


def test_gradients_through_functional_call_reach_every_parameter():
    m = Residual().to(np.float64)
    start = {path: np.asarray(p.value) for path, p in m.named_parameters()}

    def loss(parameters):
        return np.sum(np.square(nn.functional_call(m, parameters, X)[0]))

    gradients = cr.grad(loss)(start)
    for path, g in gradients.items():
        direction = np.random.default_rng(3).normal(size=g.shape)
        up, down = ({**start, path: start[path] + s * 1e-6 * direction} for s in (1, -1))
        numeric = (float(loss(up).value) - float(loss(down).value)) / 2e-6
        assert np.sum(g * direction) == pytest.approx(numeric, rel=1e-6, abs=1e-7), path


def test_functional_call_works_traced_with_names():
    m = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout(0.5), nn.Linear(3, 2))
    with Recording("test") as r:
        tracers = {p: traced_leaf(v.shape, v.dtype, frozenset({r})) for p, v in m.named_parameters()}
        tracers.update((p, traced_leaf(b.shape, b.dtype, frozenset({r}))) for p, b in m.named_buffers())
        out, buffers = nn.functional_call(m, tracers, traced_leaf((8, 4), np.float32, frozenset({r}), name="A0"))
    assert out.value is None and out.shape == (8, 2) and out.dtype == np.float32 and out.name == "Z2"
    assert tracers["0.weight"].name == "W1" and tracers["4.bias"].name == "b2"
    assert buffers.keys() == {"1.running_mean", "1.running_var", "3.counter"}
    assert all(b.value is None for b in buffers.values()) and buffers["3.counter"].dtype == np.int64
    assert m[3].counter == 0 and isinstance(m[3].counter, np.ndarray)


def test_functional_call_leaves_no_trace_after_an_error():
    m = Residual()
    before = m.state_dict()
    with pytest.raises(ValueError, match="X has shape"):
        nn.functional_call(m, {"first.weight": np.zeros((4, 5))}, X[:, :3])
    with pytest.raises(KeyError, match="'nowhere' is not a parameter or buffer"):
        nn.functional_call(m, {"nowhere": np.zeros(1)}, X)
    with pytest.raises(ValueError, match=r"first.weight: expected shape \(4, 5\), got \(2,\)"):
        nn.functional_call(m, {"first.weight": np.zeros(2)}, X)
    for path, value in m.state_dict().items():
        assert np.array_equal(value, before[path])


def test_functional_call_from_many_threads():
    m = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
    wrong = []

    def work(k):
        values = {path: np.full(p.shape, k * 0.01) for path, p in m.named_parameters()}
        expected = nn.functional_call(m, values, X)[0].value
        wrong.extend(1 for _ in range(50) if not np.array_equal(nn.functional_call(m, values, X)[0].value, expected))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong


def test_shared_modules_and_parameters_count_once_and_are_replaced_everywhere():
    class Tied(nn.Module):
        def __init__(self):
            self.a = nn.Linear(3, 3, bias=False)
            self.b = self.a
            self.c = nn.Linear(3, 3, bias=False)
            self.c.weight = self.a.weight

        def forward(self, X):
            return self.c(self.b(self.a(X)))

    m = Tied()
    assert [p for p, _ in m.named_parameters()] == ["a.weight"]
    W = RNG.normal(size=(3, 3))
    out, _ = nn.functional_call(m, {"a.weight": W}, np.eye(3))
    np.testing.assert_allclose(out.value, W @ W @ W)


def test_buffers_keep_shape_and_dtype():
    m = Residual()
    m.calls = 7.9
    assert m.calls.dtype == np.int64 and m.calls == 7
    with pytest.raises(ValueError, match=r"buffer calls has shape \(\), the new value has \(2,\)"):
        m.calls = np.zeros(2)
    with pytest.raises(ValueError, match="has an attribute 'calls' already"):
        m.register_buffer("calls", 0)


def test_a_parameter_is_not_overwritten_by_numbers():
    m = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"weight.assign\(value\)"):
        m.weight = np.zeros((2, 2))
    m.weight = nn.Parameter(np.zeros((2, 2)))
    assert m.weight.value.sum() == 0


def test_copy_and_pickle_keep_everything():
    m = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.Linear(3, 2)).initialize(3)
    m(X)
    for other in (copy.deepcopy(m), pickle.loads(pickle.dumps(m))):
        assert other is not m and other[0].weight is not m[0].weight
        for path, value in m.state_dict().items():
            assert np.array_equal(other.state_dict()[path], value)
        nn.losses.mse(other(X), np.zeros((6, 2))).backward()
        assert other[0].weight.grad is not None and m[0].weight.grad is None


def every_layer():
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(4, 6, weight_init="glorot_normal", bias_init={"name": "uniform", "low": -1.0, "high": 1.0}),
        nn.BatchNorm1d(6, momentum=0.2), nn.ReLU(), nn.Dropout(0.25, seed=3), nn.Identity(),
        nn.Sequential(nn.Linear(6, 6, bias=False, dtype=np.float32), nn.LayerNorm(6), nn.LeakyReLU(0.2), nn.ELU(0.5)),
        nn.GELU(), nn.GELU(True), nn.SiLU(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.Softmax(),
    )  # fmt: skip


def test_config_round_trip_through_json():
    m = every_layer()
    again = nn.from_config(json.loads(json.dumps(m.config())))
    assert repr(again) == repr(m) and again.config() == m.config()
    again.load_state_dict(m.state_dict())
    assert np.array_equal(m.eval()(X).value, again.eval()(X).value)
    assert nn.count_parameters(m.config()) == m.num_parameters
    table = nn.Embedding(5, 3)
    assert nn.from_config(table.config()).config() == table.config() and nn.count_parameters(table.config()) == 15
    assert isinstance(nn.Linear.from_config(nn.Linear(2, 3).config()), nn.Linear)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "os.system"}, "type 'os.system'"),
        ({}, "type None"),
        ([1], "a list"),
        ({"type": "Linear", "in_features": 3, "out_features": 2, "evil": 1}, "Linear has no setting evil"),
        ({"type": "ReLU", "slope": 1}, "ReLU has no setting slope"),
        ({"type": "Linear", "in_features": 3}, "Linear: .*out_features"),
        ({"type": "Linear", "in_features": "3", "out_features": 2}, "in_features: .*'3'"),
        ({"type": "Linear", "in_features": 3, "out_features": 2, "dtype": "object"}, "dtype: .*'object'"),
        ({"type": "Linear", "in_features": 3, "out_features": 2, "weight_init": "none"}, "no initialiser 'none'"),
        ({"type": "Dropout", "p": 1.5}, "p: .*1.5"),
        ({"type": "Sequential", "layers": {}}, 'a list "layers"'),
        ({"type": "Sequential", "layers": [], "name": 1}, 'a list "layers"'),
    ],
)
def test_bad_descriptions_are_refused(config, message):
    with pytest.raises((ValueError, TypeError), match=message):
        nn.from_config(config)


def test_huge_and_deep_descriptions_are_refused_before_anything_is_allocated():
    huge = {"type": "Sequential", "layers": [{"type": "Linear", "in_features": 10**12, "out_features": 10**12}]}
    with pytest.raises(ValueError, match="at most 1,000"):
        nn.from_config(huge, max_parameters=1000)
    deep = {"type": "Sequential", "layers": []}
    for _ in range(2000):
        deep = {"type": "Sequential", "layers": [deep]}
    with pytest.raises(ValueError, match="more than 50 deep"):
        nn.from_config(deep)


def test_a_module_of_ones_own_says_why_it_has_no_description():
    with pytest.raises(TypeError, match="Residual is a custom module"):
        Residual().config()
    with pytest.raises(TypeError, match="custom initialiser"):
        nn.Linear(2, 2, weight_init=lambda rng, shape, dtype, fan_in, fan_out: np.zeros(shape)).config()


INITIALISERS = {
    "glorot_uniform": 2 / (300 + 500), "glorot_normal": 2 / (300 + 500), "he_uniform": 2 / 300, "he_normal": 2 / 300,
    "lecun_uniform": 1 / 300, "lecun_normal": 1 / 300,
    "uniform": 0.1**2 / 12, "normal": 0.05**2, "zeros": 0.0, "ones": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(("name", "variance"), INITIALISERS.items())
def test_initialisers_have_the_variance_of_their_paper(name, variance):
    values = nn.init.get(name)(nn.init.generator(1, "x"), (300, 500), np.float64, 300, 500)
    assert values.shape == (300, 500) and values.var() == pytest.approx(variance, rel=0.02)
    assert abs(values.mean() - (name == "ones")) < 4 * np.sqrt(variance / values.size) + 1e-12
    assert nn.init.get(nn.init.config(nn.init.get(name))) == nn.init.get(name)


def test_bad_initialisers():
    for bad, message in [
        ("magic", "no initialiser 'magic'"), ({"name": "uniform", "wide": 1}, "takes low, high"), (3, "not int"),
        ({"name": "constant"}, "takes value"), ({"name": "normal", "std": -1}, "std"),
        ({"name": "uniform", "low": 2, "high": 1}, "low must not exceed"),
        ({"name": "constant", "value": np.nan}, "finite"),
    ]:  # fmt: skip
        with pytest.raises((ValueError, TypeError), match=message):
            nn.init.get(bad)
    with pytest.raises(ValueError, match=r"seed: .*-1"):
        nn.Linear(2, 2, seed=-1)
    with pytest.raises(ValueError, match=r"expected \(2, 3\)"):
        nn.Linear(2, 3, weight_init=lambda rng, shape, dtype, fan_in, fan_out: np.zeros(2))
