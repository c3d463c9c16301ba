"""PyTorch's modules and weights: every layer and setting, what cannot be taken over, what is not touched."""

import importlib
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.io import load_torch_weights, save_torch_weights
from tests.tables import for_each

torch = pytest.importorskip("torch")
tn = torch.nn


def outputs(module, X):
    with torch.no_grad():
        return module(torch.from_numpy(X)).numpy()


def same(theirs, ours, X):
    wanted, found = outputs(theirs, X), np.asarray(ours(X).detach())
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


X = np.random.default_rng(0).normal(0, 3, (9, 4))

LAYERS = {
    "Linear": lambda: tn.Linear(4, 3),
    "Linear without bias": lambda: tn.Linear(4, 3, bias=False),
    "Identity": lambda: tn.Identity(),
    "Flatten": lambda: tn.Flatten(),
    "Dropout": lambda: tn.Dropout(0.3),
    "Dropout in place": lambda: tn.Dropout(0.0, inplace=True),
    "LayerNorm": lambda: tn.LayerNorm(4, eps=0.1),
    "LayerNorm by tuple": lambda: tn.LayerNorm((4,)),
    "LayerNorm without bias": lambda: tn.LayerNorm(4, bias=False),
    "LayerNorm without weights": lambda: tn.Sequential(tn.Linear(4, 4), tn.LayerNorm(4, elementwise_affine=False)),
    "BatchNorm1d": lambda: tn.BatchNorm1d(4, eps=0.1, momentum=0.3),
    "BatchNorm1d without weights": lambda: tn.BatchNorm1d(4, affine=False),
    "ReLU": lambda: tn.ReLU(),
    "LeakyReLU": lambda: tn.LeakyReLU(0.3),
    "ELU": lambda: tn.ELU(0.7),
    "GELU": lambda: tn.GELU(),
    "GELU by tanh": lambda: tn.GELU(approximate="tanh"),
    "SiLU": lambda: tn.SiLU(),
    "Sigmoid": lambda: tn.Sigmoid(),
    "Tanh": lambda: tn.Tanh(),
    "Softplus": lambda: tn.Softplus(),
    "Softmax": lambda: tn.Softmax(dim=-1),
    "LogSoftmax": lambda: tn.LogSoftmax(dim=-1),
    "PReLU": lambda: tn.PReLU(),
    "Mish": lambda: tn.Mish(),
    "Hardswish": lambda: tn.Hardswish(),
    "RMSNorm": lambda: tn.RMSNorm(4, eps=0.1),
}

IMAGES = np.random.default_rng(1).normal(size=(3, 4, 7, 6))
SERIES = IMAGES[..., 0]
#: Layers of images, or of series, and whether all settings go back.
OF_SPACE = {
    "Conv1d": (SERIES, lambda: tn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2)),
    "Conv1d that keeps the length": (SERIES, lambda: tn.Conv1d(4, 2, 3, padding="same", bias=False)),
    "Conv2d": (IMAGES, lambda: tn.Conv2d(4, 3, (3, 2), padding=(1, 0), dilation=(2, 1))),
    "ConvTranspose2d": (IMAGES, lambda: tn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2, bias=False)),
    "MaxPool1d": (SERIES, lambda: tn.MaxPool1d(3, 2, 1)),
    "MaxPool2d": (IMAGES, lambda: tn.MaxPool2d((3, 2), 1, dilation=(2, 1))),
    "AvgPool1d": (SERIES, lambda: tn.AvgPool1d(2)),
    "AvgPool2d": (IMAGES, lambda: tn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    "AdaptiveAvgPool2d": (IMAGES, lambda: tn.AdaptiveAvgPool2d((3, 4))),
    "BatchNorm1d": (SERIES, lambda: tn.BatchNorm1d(4)),
    "BatchNorm2d": (IMAGES, lambda: tn.BatchNorm2d(4, eps=0.1, momentum=0.3)),
    "GroupNorm": (IMAGES, lambda: tn.GroupNorm(2, 4, eps=0.1)),
    "Dropout2d": (IMAGES, lambda: tn.Dropout2d(0.3)),
    "ZeroPad2d": (IMAGES, lambda: tn.ZeroPad2d((1, 0, 2, 1))),
    "Upsample": (IMAGES, lambda: tn.Upsample(scale_factor=(2, 3))),
    "Upsample by interpolation": (IMAGES, lambda: tn.Upsample((9, 5), mode="bilinear", align_corners=True)),
    "PReLU": (IMAGES, lambda: tn.PReLU(4, init=0.1)),
}


@for_each("dtype", [torch.float32, torch.float64], ids=str)
@for_each("name", OF_SPACE)
def test_layers_of_images_and_series(name, dtype, tmp_path):
    data, make = OF_SPACE[name]
    theirs = make().to(dtype)
    data = data.astype(str(dtype).removeprefix("torch."))
    with torch.no_grad():
        for tensor in [*theirs.parameters(), *(b for b in theirs.buffers() if b.is_floating_point())]:
            tensor.uniform_(0.5, 2)
    theirs.eval()
    ours = cr.from_torch(theirs)
    wanted, found = outputs(theirs, data), np.asarray(ours(data).detach())
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)
    again = cr.to_torch(ours)
    np.testing.assert_allclose(outputs(again, data), wanted, rtol=2e-5, atol=2e-5)
    if name.startswith(("Conv", "Max", "Avg", "Batch", "Group", "Zero")):
        assert str(again) == str(theirs)
    if list(theirs.parameters()):
        path = tmp_path / f"{name}-{dtype}"
        save_torch_weights(path, nn.Sequential(ours))
        copy = nn.from_config(nn.Sequential(ours).config())
        load_torch_weights(path, copy)
        np.testing.assert_array_equal(np.asarray(copy.eval()(data).detach()), found)


@for_each("dtype", [torch.float32, torch.float64], ids=str)
@for_each("name", LAYERS)
def test_every_layer_and_setting(name, dtype):
    torch.manual_seed(1)
    theirs = LAYERS[name]().to(dtype)
    data = X.astype(str(dtype).removeprefix("torch."))
    with torch.no_grad():
        for tensor in [*theirs.parameters(), *(b for b in theirs.buffers() if b.is_floating_point())]:
            tensor.uniform_(0.5, 2)
    theirs.eval()
    ours = cr.from_torch(theirs)
    same(theirs, ours, data)
    same(cr.to_torch(ours), ours, data)
    whole = cr.from_torch(tn.Sequential(theirs).eval())
    assert isinstance(whole, nn.Sequential) and not whole.training
    same(theirs, whole, data)


@pytest.mark.parametrize("name", [name for name in LAYERS if "without" not in name and "place" not in name])
def test_all_settings_go_back(name):
    theirs = LAYERS[name]()
    assert str(cr.to_torch(cr.from_torch(theirs))) == str(theirs)


def test_an_embedding():
    theirs = tn.Embedding(5, 3)
    ids = np.array([[0, 4], [2, 2]])
    same(theirs, cr.from_torch(theirs), ids)
    same(cr.to_torch(cr.from_torch(theirs)), cr.from_torch(theirs), ids)


SEQUENCES = {
    "RNN": lambda: tn.RNN(4, 3, 2, nonlinearity="relu", batch_first=True),
    "LSTM": lambda: tn.LSTM(4, 3, 2, bidirectional=True, batch_first=True, dropout=0.5),
    "GRU": lambda: tn.GRU(4, 3, bias=False, batch_first=True),
    "transformer": lambda: tn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
    "transformer, norm first": lambda: tn.TransformerEncoderLayer(
        4, 2, 8, 0.0, "gelu", norm_first=True, batch_first=True
    ),
}


@for_each("name", SEQUENCES)
def test_layers_of_sequences(name):
    theirs = SEQUENCES[name]().double().eval()
    x = np.random.default_rng(0).normal(size=(2, 5, 4))
    ours = cr.from_torch(theirs)
    again = cr.to_torch(ours)
    for module in (theirs, again):
        out = module(torch.from_numpy(x))
        out = out[0] if isinstance(out, tuple) else out
        np.testing.assert_allclose(ours(x).value, out.detach().numpy(), rtol=1e-9, atol=1e-12)
    assert str(again) == str(theirs) and not again.training


def test_attention_and_what_only_one_side_has():
    theirs = tn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True).double().eval()
    x = np.random.default_rng(0).normal(size=(2, 5, 4))
    ours = cr.from_torch(theirs)
    t = torch.from_numpy(x)
    for module in (theirs, cr.to_torch(ours)):
        np.testing.assert_allclose(ours(x).value, module(t, t, t)[0].detach().numpy(), rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match=r"LSTM\(batch_first=False\); only batch_first=True"):
        cr.from_torch(tn.LSTM(4, 3))
    for layer in (nn.MultiheadAttention(4, 2, causal=True), nn.TransformerEncoderLayer(4, 2, 6, causal=True)):
        layer = layer.to("float64").eval()
        back = cr.to_torch(layer)
        np.testing.assert_allclose(back(t).detach().numpy(), layer(x).value, rtol=1e-9, atol=1e-12)
        assert repr(cr.from_torch(back)) == repr(layer)
    padded = tn.Embedding(5, 3, padding_idx=1)
    assert cr.from_torch(padded).padding_idx == 1 and cr.to_torch(cr.from_torch(padded)).padding_idx == 1


def test_training_goes_on_alike():
    """The statistics move alike, and so do the weights under plain gradient descent."""
    torch.manual_seed(0)
    theirs = tn.Sequential(
        tn.Linear(4, 5), tn.BatchNorm1d(5, momentum=0.2), tn.ELU(0.5), tn.LayerNorm(5), tn.Linear(5, 3)
    )
    theirs.double()
    ours = cr.from_torch(theirs)
    assert ours.training
    y = np.arange(9) % 3
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        tn.functional.cross_entropy(theirs(torch.from_numpy(X)), torch.from_numpy(y)).backward()
        optimizer.step()
    cr.fit(ours, X, y, loss="cross_entropy", optimizer=cr.optim.SGD(0.1), epochs=5, batch_size=9, progress=False)
    same(theirs.eval(), ours.eval(), X)


def test_copies_are_copies_and_random_numbers_are_left_alone():
    theirs = tn.Sequential(tn.Linear(4, 4), tn.BatchNorm1d(4))
    ours = cr.from_torch(theirs)
    before = outputs(theirs.eval(), X.astype("f4"))
    ours[0].weight.value[:] = 0
    ours[1].running_mean[:] = 7
    np.testing.assert_array_equal(outputs(theirs, X.astype("f4")), before)
    state = torch.get_rng_state()
    again = cr.to_torch(cr.from_torch(theirs))
    assert torch.equal(torch.get_rng_state(), state) and int(again[1].num_batches_tracked) == 0
    with torch.no_grad():
        again[0].weight.zero_()
    np.testing.assert_array_equal(outputs(theirs, X.astype("f4")), before)


def test_modes_and_sharing_stay():
    shared = tn.Linear(3, 3)
    theirs = tn.Sequential(shared, tn.Sequential(tn.Dropout(0.5), shared), tn.Dropout(0.1))
    theirs[1].eval()
    ours = cr.from_torch(theirs)
    assert ours[0] is ours[1][1] and ours.num_parameters == 12
    assert ours.training and not ours[1].training and not ours[1][0].training and ours[2].training
    again = cr.to_torch(ours)
    assert again[0] is again[1][1] and again.training and not again[1][0].training and again[2].training


def tied():
    a, b = tn.Linear(3, 3), tn.Linear(3, 3)
    b.weight = a.weight
    return tn.Sequential(a, tn.ReLU(), b)


def hooked():
    layer = tn.Linear(3, 3)
    layer.register_forward_hook(lambda module, args, output: output * 2)
    return tn.Sequential(layer)


class Mine(tn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


def hooked_backwards():
    layer = tn.Linear(3, 3)
    layer.register_full_backward_hook(lambda module, inputs, outputs: None)
    return tn.Sequential(layer)


def replaced(name, value):
    layer = tn.Linear(3, 3)
    setattr(layer, name, value)
    return tn.Sequential(tn.ReLU(), layer)


def changed(change, kind=tn.TransformerEncoderLayer, **settings):
    module = kind(
        4, 2, **({"dim_feedforward": 6} if kind is tn.TransformerEncoderLayer else {}), batch_first=True, **settings
    )
    change(module)
    return tn.Sequential(module)


PARTS = r"layer 0 is a (TransformerEncoderLayer|MultiheadAttention) of which parts or their modes were changed"

REFUSED = [
    (lambda: tn.Sequential(tn.Linear(2, 2), tn.Conv3d(1, 1, 1)), TypeError, r"layer 1 is a torch.nn.Conv3d"),
    (lambda: tn.Sequential(tn.ReLU(), tn.Sequential(tn.ReLU(), tn.LSTMCell(2, 2))), TypeError, r"1.1 is a .*LSTMCell"),
    (lambda: tn.Sequential(Mine(3, 3)), TypeError, r"layer 0 is a .*\.Mine, which chainrule does not have"),
    (lambda: tn.Conv3d(1, 1, 1), TypeError, r"the module is a torch.nn.Conv3d"),
    (lambda: tn.Sequential(tn.Softmax(dim=1)), ValueError, r"Softmax\(dim=1\); only dim=-1 .* on two axes, dim=1 is"),
    (lambda: tn.Sequential(tn.Softmax(dim=0)), ValueError, r"Softmax\(dim=0\); only dim=-1 is supported$"),
    (lambda: tn.Sequential(tn.Softplus(beta=2)), ValueError, r"layer 0 is Softplus\(beta=2.*\); only beta=1"),
    (lambda: tn.Sequential(tn.Softplus(threshold=2)), ValueError, r"only threshold=20"),
    (lambda: tn.Sequential(tn.Flatten(0)), ValueError, r"layer 0 is Flatten\(start_dim=0\); only start_dim=1"),
    (lambda: tn.Sequential(tn.LayerNorm((2, 3))), ValueError, r"layer 0 is LayerNorm\(\(2, 3\).*only the last axis"),
    (lambda: tn.Sequential(tn.BatchNorm1d(3, momentum=None)), ValueError, r"momentum: .*None"),
    (lambda: tn.Sequential(tn.BatchNorm1d(3, track_running_stats=False)), ValueError, r"only track_running_stats=True"),
    (lambda: tn.Sequential(tn.Dropout(1.0)), ValueError, r"layer 0 is Dropout\(p=1.0.*p: .*1.0"),
    (lambda: tn.Sequential(tn.Embedding(3, 3, max_norm=1.0)), ValueError, r"max_norm=1.0\); only max_norm=None"),
    (lambda: tn.Sequential(tn.Embedding(3, 3, max_norm=1.0)), ValueError, r"max_norm=1.0\); only max_norm=None"),
    (tied, ValueError, r"layer 2 shares its weight with layer 0"),
    (hooked, ValueError, r"layer 0 has hooks"),
    (hooked_backwards, ValueError, r"layer 0 has hooks"),
    (lambda: replaced("forward", lambda x: 2 * x), ValueError, r"layer 1 has a custom forward"),
    (lambda: replaced("weight", tn.Parameter(torch.ones(2, 3))), ValueError, r"layer 1: weight has shape \(2, 3\)"),
    (lambda: tn.Linear(2, 2, device="meta"), ValueError, r"the module: weight is on the device meta"),
    (lambda: tn.ModuleList([tn.Linear(2, 2)]), TypeError, r"the module is a torch.nn.ModuleList"),
    (lambda: tn.Sequential(tn.utils.parametrizations.weight_norm(tn.Linear(2, 2))), TypeError, r"ParametrizedLinear"),
    (lambda: tn.Sequential(tn.Linear(2, 2)).half(), ValueError, r"got float16.*module.float\(\)"),
    (lambda: tn.Sequential(tn.Linear(2, 2), tn.Linear(2, 2).double()), ValueError, r"layer 1: weight is float64"),
    (lambda: nn.Linear(2, 2), TypeError, r"torch.nn.Module.* got a Linear"),
    (lambda: changed(lambda m: None, activation=tn.GELU("tanh")), ValueError, r"activation: .*got \"GELU\(approx"),
    (lambda: changed(lambda m: setattr(m, "activation", tn.SiLU())), ValueError, r"activation: expected 'relu'"),
    (lambda: changed(lambda m: setattr(m, "norm1", tn.Identity())), ValueError, PARTS),
    (lambda: changed(lambda m: setattr(m.norm2, "eps", 0.5)), ValueError, PARTS),
    (lambda: changed(lambda m: setattr(m.dropout2, "p", 0.5)), ValueError, PARTS),
    (lambda: changed(lambda m: setattr(m.self_attn, "dropout", 0.5)), ValueError, PARTS),
    (lambda: changed(lambda m: m.dropout1.eval()), ValueError, PARTS),
    (lambda: changed(lambda m: tn.utils.parametrizations.weight_norm(m.linear1)), ValueError, PARTS),
    (lambda: changed(lambda m: setattr(m, "out_proj", tn.Identity()), tn.MultiheadAttention), ValueError, PARTS),
]  # fmt: skip


@pytest.mark.parametrize(("make", "kind", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_taken_over_is_named(make, kind, message):
    with pytest.raises(kind, match=message):
        cr.from_torch(make())


def test_modules_of_ones_own_do_not_go_to_pytorch():
    class Twice(nn.Layer):
        def compute(self, x, name):
            return x * 2.0

    with pytest.raises(TypeError, match=r"layer 1.0 is a Twice.*to_onnx\(model\)"):
        cr.to_torch(nn.Sequential(nn.ReLU(), nn.Sequential(Twice())))
    with pytest.raises(TypeError, match=r"Module.* got a Linear"):
        cr.to_torch(tn.Linear(2, 2))


# -- weights alone -----------------------------------------------------------------------------------------------------


def network():
    return nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5),
                         nn.Sequential(nn.Linear(6, 2, bias=False), nn.LayerNorm(2)))  # fmt: skip


def twin():
    return tn.Sequential(tn.Embedding(5, 3), tn.Flatten(), tn.Linear(6, 6), tn.BatchNorm1d(6), tn.Dropout(0.5),
                         tn.Sequential(tn.Linear(6, 2, bias=False), tn.LayerNorm(2)))  # fmt: skip


IDS = np.array([[0, 4], [2, 2], [1, 3]])


def test_weights_go_both_ways_through_safetensors(tmp_path):
    tensors = importlib.import_module("safetensors.torch")
    theirs = twin()
    theirs(torch.from_numpy(IDS))
    theirs.eval()
    tensors.save_file(theirs.state_dict(), tmp_path / "a")
    ours = network().eval()
    load_torch_weights(tmp_path / "a", ours)
    same(theirs, ours, IDS)
    save_torch_weights(tmp_path / "b", ours)
    again = twin().eval()
    assert not any(again.load_state_dict(tensors.load_file(tmp_path / "b")))
    same(again, ours, IDS)


def test_layers_and_weights_that_stand_in_a_network_twice(tmp_path):
    """PyTorch's state dict has them under each name; its `save_model` writes one of them."""
    tensors = importlib.import_module("safetensors.torch")
    layer = tn.Linear(4, 4)
    theirs = tn.Sequential(layer, tn.Tanh(), tn.Sequential(layer, tn.Dropout(0.1)))
    ours = cr.from_torch(theirs)
    save_torch_weights(tmp_path / "a", ours)
    assert not any(theirs.load_state_dict(tensors.load_file(tmp_path / "a")))
    for written in (tensors.save_model, lambda m, path: tensors.save_file({k: v.clone() for k, v in
                    m.state_dict().items()}, path)):  # fmt: skip
        written(theirs, tmp_path / "b")
        again = cr.from_torch(theirs).initialize(3)
        load_torch_weights(tmp_path / "b", again)
        same(theirs.eval(), again.eval(), X.astype("f4"))
    state = {k: v.clone() for k, v in theirs.state_dict().items()}
    state["2.0.bias"] += 1
    tensors.save_file(state, tmp_path / "c")
    with pytest.raises(ValueError, match=r"c: 2\.0\.bias is 0\.bias again in the network, but holds other numbers"):
        load_torch_weights(tmp_path / "c", again)
    second = nn.Linear(4, 4)
    second.weight = ours[0].weight
    tied = nn.Sequential(ours[0], second)
    save_torch_weights(tmp_path / "d", tied)
    before = tied.state_dict()
    load_torch_weights(tmp_path / "d", tied)
    assert all(np.array_equal(v, before[k]) for k, v in tied.state_dict().items())


def test_a_module_of_ones_own(tmp_path):
    class Ours(nn.Module):
        def __init__(self):
            self.fc = nn.Linear(4, 3)
            self.scale = nn.Parameter(np.ones((2, 3), "f4"))

        def forward(self, X):
            return self.fc(X) @ self.scale.T

    model = Ours().eval()
    save_torch_weights(tmp_path / "a", model)
    arrays, metadata = cr.io.load_arrays(tmp_path / "a")
    assert {k: v.shape for k, v in arrays.items()} == {"fc.weight": (3, 4), "fc.bias": (3,), "scale": (2, 3)}
    assert metadata == {"format": "pt"}
    again = Ours().initialize(4)
    load_torch_weights(tmp_path / "a", again)
    assert all(np.array_equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("2.weight"), r"2.weight is missing"),
        (lambda s: s.update(more=torch.zeros(2)), r"more is unexpected"),
        (lambda s: s.update({"2.bias": torch.zeros(5)}), r"2.bias has shape \(5,\), the model has \(6,\)"),
        (
            lambda s: s.update({"5.0.weight": torch.zeros(6, 2)}),
            r"5.0.weight has shape \(2, 6\), the model has \(6, 2\)",
        ),
        (lambda s: s.update({"2.bias": torch.zeros(6, dtype=torch.int64)}), r"2.bias has dtype int64, not float32"),
        (
            lambda s: s.update({"2.bias": torch.zeros(6).half()}),
            r"2.bias.*F16.*F32",
        ),
        (lambda s: s.pop("3.running_mean"), r"3.running_mean is missing"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, message):
    tensors = importlib.import_module("safetensors.torch")
    state = twin().state_dict()
    change(state)
    tensors.save_file(state, tmp_path / "a")
    model = network()
    before = {k: v.tobytes() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=message) as caught:
        load_torch_weights(tmp_path / "a", model)
    assert str(tmp_path / "a") in str(caught.value)
    assert {k: v.tobytes() for k, v in model.state_dict().items()} == before


def test_the_librarys_own_files_are_not_transposed(tmp_path):
    model = nn.Sequential(nn.Linear(3, 3))
    cr.save(tmp_path / "a", model)
    with pytest.raises(ValueError, match="is a chainrule model"):
        load_torch_weights(tmp_path / "a", model)


def test_load_says_where_pytorchs_weights_go(tmp_path):
    save_torch_weights(tmp_path / "a", network())
    with pytest.raises(ValueError, match=r"not a chainrule model.*io.load_torch_weights"):
        cr.load(tmp_path / "a")
    importlib.import_module("safetensors.torch").save_file(twin().state_dict(), tmp_path / "b")
    with pytest.raises(ValueError, match=r"not a chainrule model.*io.load_torch_weights"):
        cr.load(tmp_path / "b")


def test_weights_need_no_pytorch(tmp_path):
    save_torch_weights(tmp_path / "a", network())
    code = f"""
import sys, chainrule as cr
from chainrule import nn
sys.modules["torch"] = None
model = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5),
                      nn.Sequential(nn.Linear(6, 2, bias=False), nn.LayerNorm(2)))
cr.io.load_torch_weights({str(tmp_path / "a")!r}, model)
cr.io.save_torch_weights({str(tmp_path / "b")!r}, model)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
