"""Layers and activations: values against PyTorch and by hand, gradients against differences, names, bad input."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.tensor import Tensor

RNG = np.random.default_rng(11)


def numeric(f, x, h=1e-6):
    """Central differences of a scalar function."""
    out = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        out[i] = (float(f(up)) - float(f(down))) / (2 * h)
    return out


ACTIVATIONS = {
    "ReLU": (nn.ReLU(), lambda F, x: F.relu(x)),
    "LeakyReLU": (nn.LeakyReLU(0.1), lambda F, x: F.leaky_relu(x, 0.1)),
    "ELU": (nn.ELU(0.7), lambda F, x: F.elu(x, 0.7)),
    "GELU": (nn.GELU(), lambda F, x: F.gelu(x)),
    "GELU tanh": (nn.GELU(True), lambda F, x: F.gelu(x, approximate="tanh")),
    "SiLU": (nn.SiLU(), lambda F, x: F.silu(x)),
    "Sigmoid": (nn.Sigmoid(), lambda F, x: F.sigmoid(x)),
    "Tanh": (nn.Tanh(), lambda F, x: F.tanh(x)),
    "Softplus": (nn.Softplus(), lambda F, x: F.softplus(x, threshold=1e9)),
    "Softmax": (nn.Softmax(), lambda F, x: F.softmax(x, -1)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_agrees_with_pytorch_in_value_and_gradient(name):
    torch = pytest.importorskip("torch")
    layer, reference = ACTIVATIONS[name]
    x = np.concatenate([RNG.normal(size=(5, 4)), [[-30.0, 30.0, 1e-3, -1e-3]]])
    weights = RNG.normal(size=x.shape)
    t = torch.tensor(x, requires_grad=True)
    out = reference(torch.nn.functional, t)
    (out * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(layer(x).value, out.detach().numpy(), rtol=1e-12, atol=1e-15)
    gradient = cr.grad(lambda z: np.sum(layer(z) * weights))(x)
    np.testing.assert_allclose(gradient, t.grad.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activation_keeps_dtype_and_is_finite_over_all_of_float_range(name, dtype):
    x = np.array([[-1e4, -80, -1, 0], [0.5, 1, 90, 1e4]], dtype)
    out = ACTIVATIONS[name][0](x)
    assert out.dtype == dtype and np.isfinite(out.value).all()
    assert np.isfinite(cr.grad(lambda z: np.sum(ACTIVATIONS[name][0](z)))(x)).all()


@pytest.mark.parametrize(
    ("layer", "slope"),
    [(nn.ReLU(), 0.0), (nn.LeakyReLU(0.1), 0.1), (nn.ELU(0.7), 0.7), (nn.Tanh(), 1.0), (nn.SiLU(), 0.5)],
)
def test_slopes_at_zero_are_those_that_pytorch_chooses(layer, slope):
    assert cr.grad(lambda z: np.sum(layer(z)))(np.zeros(3)) == pytest.approx(slope)


def test_activations_by_name():
    assert isinstance(nn.activations.get("relu"), nn.ReLU) and isinstance(nn.activations.get("Tanh"), nn.Tanh)
    with pytest.raises(ValueError, match=r"'rellu'.*relu"):
        nn.activations.get("rellu")
    with pytest.raises(ValueError, match=r"slope: .*nan"):
        nn.LeakyReLU(float("nan"))
    with pytest.raises(TypeError, match=r"approximate: .*'tanh'"):
        nn.GELU("tanh")


def test_linear_by_hand():
    layer = nn.Linear(2, 3)
    layer.weight.assign([[1, 2, 3], [4, 5, 6]])
    layer.bias.assign([0.5, 0, -1])
    np.testing.assert_array_equal(layer([[1.0, 10.0]]).value, [[41.5, 52, 62]])
    np.testing.assert_array_equal(layer([1.0, 10.0]).value, [41.5, 52, 62])
    assert layer(np.zeros((4, 5, 2))).shape == (4, 5, 3) and layer(np.zeros((0, 2))).shape == (0, 3)
    assert nn.Linear(2, 3, bias=False).num_parameters == 6


PARAMETRIC = {
    "Linear": (lambda: nn.Linear(4, 3), (5, 4)),
    "Linear, three axes": (lambda: nn.Linear(4, 3), (2, 3, 4)),
    "LayerNorm": (lambda: nn.LayerNorm(4), (5, 4)),
    "BatchNorm1d": (lambda: nn.BatchNorm1d(4), (5, 4)),
    "Dropout": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)), (5, 4)),
    "deep": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Sequential(nn.Linear(5, 3), nn.GELU()), nn.Linear(3, 2)),
        (5, 4),
    ),
}


@pytest.mark.parametrize("name", PARAMETRIC)
def test_gradients_against_differences(name):
    make, shape = PARAMETRIC[name]
    model, x = make().to(np.float64), RNG.normal(size=shape)
    start = {path: p.value + 0.1 * RNG.normal(size=p.shape) for path, p in model.named_parameters()}
    weights = RNG.normal(size=model.eval()(x).shape)
    model.train()

    def loss(parameters, x):
        return np.sum(nn.functional_call(model, parameters, x)[0] * weights)

    by_parameters, by_x = cr.grad(loss, (0, 1))(start, x)
    np.testing.assert_allclose(by_x, numeric(lambda z: loss(start, z).value, x), rtol=1e-6, atol=1e-7)
    for path, g in by_parameters.items():
        reference = numeric(lambda v, path=path: loss({**start, path: v}, x).value, start[path])
        np.testing.assert_allclose(g, reference, rtol=1e-6, atol=1e-7, err_msg=path)


def test_normalisations_agree_with_pytorch():
    torch = pytest.importorskip("torch")
    x = RNG.normal(2, 3, size=(6, 4))
    ours, theirs = nn.BatchNorm1d(4, dtype=np.float64), torch.nn.BatchNorm1d(4).double()
    for _ in range(3):
        np.testing.assert_allclose(ours(x).value, theirs(torch.tensor(x)).detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.running_mean, theirs.running_mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.running_var, theirs.running_var.numpy(), rtol=1e-12)
    np.testing.assert_allclose(ours.eval()(x).value, theirs.eval()(torch.tensor(x)).detach().numpy(), rtol=1e-12)
    assert isinstance(ours.running_mean, np.ndarray)
    layer = torch.nn.LayerNorm(4).double()
    np.testing.assert_allclose(
        nn.LayerNorm(4).to(np.float64)(x).value, layer(torch.tensor(x)).detach().numpy(), rtol=1e-12
    )


def test_dropout_thins_scales_and_counts():
    layer = nn.Dropout(0.25)
    x = np.ones((200, 100), np.float32)
    first, second = layer(x).value, layer(x).value
    assert layer.counter == 2 and layer.counter.dtype == np.int64
    assert set(np.unique(first)) == {0, np.float32(1 / 0.75)} and not np.array_equal(first, second)
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.01)
    assert layer(x).dtype == np.float32
    layer.counter = 0
    np.testing.assert_array_equal(layer(x).value, first)
    assert np.array_equal(layer.eval()(x).value, x) and layer.counter == 1
    assert np.array_equal(nn.Dropout(0)(x).value, x)


def test_dropouts_of_one_network_draw_different_masks_and_follow_the_seed():
    x = np.ones((50, 50), np.float32)

    def masks(model):
        first = model[0](x).value
        return first, model[1](x).value

    a, b = masks(nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)))
    again = masks(nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)))
    other = masks(nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)).initialize(9))
    assert not np.array_equal(a, b) and np.array_equal(a, again[0]) and not np.array_equal(a, other[0])


def test_embedding_looks_up_and_adds_gradients_of_repeated_rows():
    layer = nn.Embedding(4, 2)
    ids = np.array([[1, 3], [1, 1]])
    np.testing.assert_array_equal(layer(ids).value, layer.weight.value[ids])
    np.sum(layer(ids)).backward()
    np.testing.assert_array_equal(layer.weight.grad, [[0, 0], [3, 3], [0, 0], [1, 1]])
    net = nn.Sequential(nn.Embedding(4, 2), nn.Flatten(), nn.Linear(4, 1))
    assert net(ids).shape == (2, 1) and net.takes_ids
    with pytest.raises(ValueError, match=r"ids 0 … 4, Embedding has rows 0 … 3"):
        layer([0, 4])
    with pytest.raises(TypeError, match=r"dtype float32, Embedding expects integers"):
        layer(np.zeros(2))


def test_sequential_is_a_list():
    m = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert len(m) == 3 and [type(x) for x in m] == [nn.Linear, nn.ReLU, nn.Linear] and m[-1] is m[2]
    assert m[1:][1] is m[2] and isinstance(m[1:], nn.Sequential)
    assert m.append(nn.Tanh()) is m and len(m) == 4
    assert len(nn.Sequential([nn.ReLU(), nn.ReLU()])) == 2 and nn.Sequential()(np.ones((2, 2))).shape == (2, 2)
    with pytest.raises(IndexError, match="layer 9 of a Sequential of 4"):
        m[9]
    with pytest.raises(TypeError, match=r"layer 1 of Sequential: .*ReLU\(\)"):
        nn.Sequential(nn.Linear(2, 2), nn.ReLU)
    with pytest.raises(TypeError, match=r"layer 0 of Sequential: .*a module"):
        nn.Sequential(np.tanh)


NAMED = [
    (lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), "A0 W1 b1 Z1 A1 W2 b2 Z2"),
    (lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2), nn.Tanh()), "A0 W1 b1 Z1 W2 b2 Z2 A2"),
    (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout(0.1)),
        "A0 W1 Z1 gamma1 beta1 N1 A1 M1 D1",
    ),
    (
        lambda: nn.Sequential(
            nn.Linear(4, 3), nn.Sequential(nn.Tanh(), nn.Linear(3, 3)), nn.Tanh(), nn.ReLU(), nn.Linear(3, 1)
        ),
        "A0 W1 b1 Z1 A1 W2 b2 Z2 A2 W3 b3 Z3",
    ),
]


@pytest.mark.parametrize(("make", "names"), NAMED)
def test_sequential_names_its_values_as_the_literature_does(make, names):
    m = make()
    assert m.value_names() == names.split()
    parameters = [n for n in names.split() if n[0] in "Wb" or n.startswith("gamma")]
    assert list(m.parameter_names().values()) == parameters
    b = cr_backprop(m, RNG.normal(size=(6, 4)))
    assert [n for n in b.values if n in names.split()] and set(names.split()) <= set(b.values)


def cr_backprop(model, X):
    from chainrule import backprop

    return backprop(model, X, 0.0, lambda out, y: np.sum(out))


def test_naming_leaves_the_callers_tensor_alone_and_survives_slicing():
    m = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    x = Tensor(np.ones((2, 4), np.float32))
    m(x)
    assert x.name is None
    out = m[2:](np.ones((2, 3)))
    assert out.name == "Z1" and m[2].weight.name == "W2" and m(x).name == "Z2"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Linear(64, 10)(np.zeros((32, 10))), r"X has shape \(32, 10\), Linear expects \(…, 64\)"),
        (
            lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(5, 2))(np.zeros((2, 4))),
            r"A1 has shape \(2, 3\), Linear expects \(…, 5\)",
        ),
        (lambda: nn.Linear(4, 3)(np.float64(1)), r"X has shape \(\), Linear expects"),
        (lambda: nn.BatchNorm1d(3)(np.zeros((1, 3))), "needs at least 2 in training"),
        (lambda: nn.BatchNorm1d(3)(np.zeros((2, 4))), r"BatchNorm1d expects \(m, 3\)"),
        (lambda: nn.LayerNorm(3)(np.zeros((2, 4))), r"LayerNorm expects \(…, 3\)"),
        (lambda: nn.Flatten()(np.float64(1)), "X has no axes"),
        (lambda: nn.Linear(0, 3), "in_features: .* 0"),
        (lambda: nn.Linear(2.5, 3), "in_features: .* 2.5"),
        (lambda: nn.Linear(2, True), "out_features: .* True"),
        (lambda: nn.Linear(2, 3, bias="no"), "bias: .*'no'"),
        (lambda: nn.Linear(2, 3, dtype=np.float16), "dtype: .*float32 or float64"),
        (lambda: nn.Dropout(1.0), "^p: .* 1.0"),
        (lambda: nn.Dropout(True), "^p: .* True"),
        (lambda: nn.Dropout(0.5, seed=2**64), "seed: .*"),
        (lambda: nn.LayerNorm(3, eps=0), "eps: .* 0"),
        (lambda: nn.BatchNorm1d(3, momentum=2), "momentum: .* 2"),
        (lambda: nn.Linear(2, 3)(np.array([["a", "b"]])), "X is of type ndarray"),
        (lambda: nn.Linear(2, 3)(np.ones((1, 2)) * 1j), "X is complex"),
        (lambda: nn.Module()(1.0), "has no forward"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_a_module_with_a_table_of_its_own_takes_ids():
    class Table(nn.Module):
        def __init__(self):
            self.rows = nn.Parameter(np.arange(8.0, dtype="f4").reshape(4, 2))

        def forward(self, X):
            return self.rows[X].mean(axis=1)

    class Ids(Table):
        takes_ids = True

    ids = np.array([[0, 1], [3, 3]])
    with pytest.raises(TypeError, match=r"dtype float32; index arrays are integers.*takes_ids = True"):
        Table()(ids)
    model = nn.Sequential(Ids(), nn.Linear(2, 3))
    np.testing.assert_array_equal(model[0](ids).value, [[1, 2], [6, 7]])
    history = cr.fit(model, ids, np.array([0, 2]), epochs=2, progress=False)
    assert np.isfinite(history.rows[-1]["loss"]) and cr.predict(model, ids).shape == (2, 3)
