"""Model files: weights and architecture, and what does not fit."""

import time

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import chainrule as cr
from chainrule import nn
from chainrule.io import load_arrays, save_arrays


def every_layer():
    return nn.Sequential(
        nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, 8, weight_init="glorot_uniform"), nn.BatchNorm1d(8), nn.ReLU(),
        nn.Dropout(0.25, seed=9), nn.Sequential(nn.Linear(8, 8, bias=False), nn.LayerNorm(8), nn.Tanh()), nn.Identity(),
        nn.LeakyReLU(0.2), nn.ELU(), nn.GELU(), nn.SiLU(), nn.Sigmoid(), nn.Softplus(), nn.Linear(8, 3), nn.Softmax(),
    ).initialize(5)  # fmt: skip


def test_round_trip_of_every_layer(tmp_path):
    model, ids = every_layer(), np.array([[0, 6], [3, 2], [1, 1]])
    cr.fit(model, ids, np.eye(3, dtype="f4"), loss="mse", epochs=3, progress=False)
    cr.save(tmp_path / "m", model, {"classes": ["a", "b"], "scale": 0.1})
    again, metadata = cr.load(tmp_path / "m")
    assert metadata == {"classes": ["a", "b"], "scale": 0.1}
    assert repr(again) == repr(model) and again.config() == model.config() and not again.training
    state, same = model.state_dict(), again.state_dict()
    assert state.keys() == same.keys() and all(state[k].tobytes() == same[k].tobytes() for k in state)
    assert cr.predict(again, ids).tobytes() == cr.predict(model, ids).tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_stays(tmp_path, dtype):
    cr.save(tmp_path / "m", nn.Sequential(nn.Linear(2, 2, dtype=dtype)))
    assert cr.load(tmp_path / "m")[0].dtype == dtype


def test_the_columns_of_its_data_frame_go_with_it(tmp_path):
    model, X = nn.Sequential(nn.Linear(2, 2)), np.eye(2, dtype="f4")
    cr.fit(model, {"größe": X[0], "<b>": X[1]}, [0, 1], epochs=1, progress=False)
    cr.save(tmp_path / "m", model, {"classes": ["a", "b"]})
    again, metadata = cr.load(tmp_path / "m")
    assert again.feature_names == ("größe", "<b>") and metadata == {"classes": ["a", "b"]}
    turned = {"<b>": X[1], "more": ["text", "text"], "größe": X[0]}
    assert np.array_equal(cr.predict(again, turned), cr.predict(model, X))
    with pytest.raises(ValueError, match="X does not have the column 'größe'"):
        cr.predict(again, {"<b>": X[1]})
    cr.fit(model, X, [0, 1], epochs=1, progress=False)
    cr.save(tmp_path / "m", model)
    assert cr.load(tmp_path / "m")[0].feature_names is None


COLUMNS = [None, "ab", 3, [], ["a", 3], ["a", "a"], [["a"], "b"], {"a": 1}, {"a": "b"}, [None, "a"], [True]]


@pytest.mark.parametrize("columns", COLUMNS, ids=repr)
def test_columns_that_are_none_are_refused(changed, columns):
    file = changed(lambda arrays, metadata: metadata.update(input_columns=columns))
    with pytest.raises(ValueError, match="input_columns: "):
        cr.load(file)
    model = nn.Sequential(nn.Linear(2, 2))
    model.feature_names = ("a", "a")
    with pytest.raises(ValueError, match=r"input_columns: .*twice"):
        cr.save(file, model)
    with pytest.raises(ValueError, match=r"metadata: .*input_columns"):
        cr.save(file, nn.Linear(1, 1), {"input_columns": ["a"]})


@pytest.mark.parametrize(
    "edit",
    [
        lambda a, m: m.update(input_columns='["a", "b"]'),
        lambda a, m: m.pop("digest"),
        lambda a, m: m.update(digest="null"),
        lambda a, m: m.update(digest='"00"'),
        lambda a, m: m.update(classes='["b", "a"]'),
        lambda a, m: a.update({"0.bias": np.full(3, np.nan, "f4")}),
        lambda a, m: m.update(architecture=m["architecture"].replace("ReLU", "Tanh")),
    ],
)
def test_the_digest_reveals_changes(tmp_path, edit):
    file = tmp_path / "m"
    cr.save(file, nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)))
    rewritten(file, edit)
    with pytest.raises(ValueError, match=r"m(:| is damaged).* digest"):
        cr.load(file)


def rewritten(file, edit):
    """Change the arrays and the texts of a file, as another program could: its digest stays."""
    with safe_open(file, "np") as opened:
        arrays, texts = {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()
    edit(arrays, texts)
    save_file(arrays, file, texts)


def test_a_model_of_an_early_version_is_read_with_a_warning(tmp_path):
    cr.save(tmp_path / "m", nn.Linear(2, 3))
    rewritten(tmp_path / "m", lambda a, m: (m.pop("digest"), m.update(version="1")))
    with pytest.warns(UserWarning, match="without a digest"):
        model, _ = cr.load(tmp_path / "m")
    assert model.weight.shape == (2, 3)


def test_loaded_weights_can_be_trained(tmp_path):
    cr.save(tmp_path / "m", nn.Sequential(nn.Linear(2, 2)))
    model, _ = cr.load(tmp_path / "m")
    cr.fit(model, np.eye(2, dtype="f4"), np.array([0, 1]), progress=False)


def test_modules_of_ones_own_and_names_that_are_taken(tmp_path):
    class Mine(nn.Module):
        pass

    with pytest.raises(TypeError, match="Mine, a custom module"):
        cr.save(tmp_path / "m", Mine())
    with pytest.raises(TypeError, match="Mine, a custom module"):
        cr.save(tmp_path / "m", nn.Sequential(nn.Linear(1, 1), Mine()))
    with pytest.raises(ValueError, match="architecture, format"):
        cr.save(tmp_path / "m", nn.Linear(1, 1), {"format": 1, "architecture": 2})
    assert not list(tmp_path.iterdir())


@pytest.fixture
def changed(tmp_path):
    def change(edit):
        file = tmp_path / "m"
        cr.save(file, nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)))
        arrays, metadata = load_arrays(file)
        edit(arrays, metadata)
        save_arrays(file, arrays, metadata)
        return file

    return change


def layers(*given):
    return {"type": "Sequential", "layers": list(given)}


def nested(depth):
    inner = layers()
    for _ in range(depth):
        inner = layers(inner)
    return inner


HUGE = {"type": "Linear", "in_features": 10**9, "out_features": 10**9}
EDITS = [
    (lambda a, m: m.update(format="other"), "not a chainrule model"),
    (lambda a, m: m.pop("format"), "not a chainrule model"),
    (lambda a, m: m.update(version=3), "format version .*3"),
    (lambda a, m: m.update(version=True), "format version .*True"),
    (lambda a, m: m.pop("architecture"), "architecture.* is missing"),
    (lambda a, m: a.pop("0.weight"), "0.weight is missing"),
    (lambda a, m: a.update(extra=np.ones(2, "f4")), "extra is unexpected"),
    (lambda a, m: a.update({"0.weight": np.ones((3, 2), "f4")}), r"0.weight has shape \(3, 2\), the model has"),
    (lambda a, m: a.update({"0.bias": np.ones(3)}), "0.bias .*float64.*float32"),
    (lambda a, m: a.update({"0.bias": np.ones(3, int)}), "0.bias .*int64.*float32"),
    (lambda a, m: m.update(architecture=HUGE), "asks for 1,000,000,001,000,000,000 parameters"),
    (lambda a, m: m.update(architecture={**HUGE, "out_features": 0}), "out_features: .* 0"),
    (lambda a, m: m.update(architecture={**HUGE, "in_features": -1}), "in_features: .* -1"),
    (lambda a, m: m.update(architecture={**HUGE, "in_features": "2"}), "in_features: .* '2'"),
    (lambda a, m: m.update(architecture={**HUGE, "in_features": 1e3}), "in_features: .* 1000.0"),
    (lambda a, m: m.update(architecture={"type": "BatchNorm1d", "features": 10**12}), "asks for 2,000,000,000,000"),
    (lambda a, m: m.update(architecture={"type": "Embedding", "rows": 10**12, "dimensions": 1}), "asks for"),
    (lambda a, m: m.update(architecture={"type": "os.system"}), "'os.system'.*Linear"),
    (lambda a, m: m.update(architecture={"type": "Linear"}), "is missing from the description"),
    (lambda a, m: m.update(architecture={"type": "ReLU", "evil": 1}), "ReLU has no setting evil"),
    (lambda a, m: m.update(architecture=layers({"type": "Dropout", "p": 7})), "p: .* 7"),
    (lambda a, m: m.update(architecture=layers({"type": "Dropout", "p": "x"})), "p: .* 'x'"),
    (lambda a, m: m.update(architecture=nested(60)), "nests Sequentials more than 50 deep"),
    (lambda a, m: m.update(architecture=None), "description: .* dict"),
    (lambda a, m: m.update(architecture=[]), "description: .* dict"),
    (lambda a, m: m.update(architecture="Linear"), "description: .* dict"),
    (lambda a, m: m.update(architecture=layers(3)), "description: .* dict"),
    (lambda a, m: m.update(architecture={"type": "Sequential", "layers": 3}), "Sequential: .* list"),
    (lambda a, m: m["architecture"]["layers"][0].update(weight_init="nope"), "nope"),
    (lambda a, m: m["architecture"]["layers"][0].update(weight_init={"name": 3}), "m: "),
    (lambda a, m: m["architecture"]["layers"][0].update(dtype="object"), "dtype: .*'object'"),
    (lambda a, m: m["architecture"]["layers"][0].update(dtype="float64"), "0.weight .*float32"),
    (lambda a, m: m["architecture"]["layers"][0].update(bias="yes"), "bias: .*'yes'"),
    (lambda a, m: m["architecture"]["layers"].pop(0), "is unexpected"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "message"), EDITS, ids=range(len(EDITS)))
def test_what_does_not_fit_is_named(changed, edit, message):
    file = changed(edit)
    began = time.process_time()
    with pytest.raises(ValueError, match=message) as caught:
        cr.load(file)
    assert str(file) in str(caught.value) and time.process_time() - began < 5


# -- what could not be read again is not written -----------------------------------------------------------------------


class Doubled(nn.Linear):
    def compute(self, x, name):
        return super().compute(x, name) * 2


class Halved(nn.Sequential):
    def forward(self, X):
        return super().forward(X) / 2


def shared():
    layer = nn.Linear(3, 3)
    return nn.Sequential(layer, nn.ReLU(), nn.Sequential(layer))


def tied():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    return nn.Sequential(first, nn.ReLU(), second)


def changed_by_hand(**attributes):
    model = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 3))
    for name, value in attributes.items():
        setattr(model[0], name, value)
    return model


UNREADABLE = [
    (lambda: nn.Sequential(nn.ReLU(), Doubled(3, 3)), r"layer 1 .*Doubled"),
    (lambda: Halved(nn.Linear(3, 3)), r"the model .*Halved"),
    (shared, r"2\.0\.bias is missing, or shared with another layer; 2\.0\.weight is missing"),
    (tied, r"2\.weight is missing, or shared"),
    (lambda: nn.Sequential(*[nn.Dropout(0.5)] * 2), r"1\.counter is missing, or shared"),
    (lambda: changed_by_hand(bias=None), r"0\.bias is missing"),
    (lambda: changed_by_hand(more=nn.Parameter(np.ones(3))), r"0\.more is more than such a layer has"),
    (lambda: changed_by_hand(weight=nn.Parameter(np.ones((1, 3), "f4"))), r"0\.weight has shape \(1, 3\) and dtype"),
    (lambda: {"0.weight": np.ones(3)}, r"Module.* got a dict"),
]


@pytest.mark.parametrize(("make", "message"), UNREADABLE, ids=range(len(UNREADABLE)))
def test_models_that_their_description_would_not_build_again_are_refused(tmp_path, make, message):
    with pytest.raises(TypeError, match=message):
        cr.save(tmp_path / "m", make())
    assert not list(tmp_path.iterdir())


def test_layers_without_state_may_stand_in_a_model_twice(tmp_path):
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(3, 3), relu, nn.Linear(3, 3), relu)
    cr.save(tmp_path / "m", model)
    X = np.eye(3, dtype="f4")
    assert np.array_equal(cr.predict(cr.load(tmp_path / "m")[0], X), cr.predict(model, X))


def deep(times):
    value = []
    for _ in range(times):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("metadata", "kind", "message"),
    [
        ({"a": [0] * 300_000}, ValueError, "metadata 'a'.*250,000 values"),
        ({"a": "x" * 17_000_000}, ValueError, "the metadata take 17,.* bytes; a model file holds at most 16,000,000"),
        ({"a": deep(100_000)}, ValueError, "metadata 'a' is nested too deep"),
        ({3: "a"}, TypeError, "metadata: expected a dict"),
    ],
    ids=["many", "long", "deep", "no name"],
)
def test_metadata_that_could_not_be_read_again_are_refused(tmp_path, metadata, kind, message):
    with pytest.raises(kind, match=message):
        cr.save(tmp_path / "m", nn.Linear(2, 2), metadata)
    assert not list(tmp_path.iterdir())
