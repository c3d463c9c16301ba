"""Arrays to and from PyTorch and JAX: shared memory where layouts allow, clear errors where nothing can be shared."""

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.train.feed import Rows

torch = pytest.importorskip("torch")
jax = pytest.importorskip("jax")

DTYPES = ["float32", "float64", "int32", "int64", "bool"]


def address(array):
    return array.__array_interface__["data"][0]


def aligned(shape, dtype="float32"):
    """Return an array that begins at a multiple of 64 bytes, where JAX shares memory."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(count + 64, np.uint8)
    start = -address(memory) % 64
    return memory[start : start + count].view(dtype).reshape(shape)


# -- to others ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 4), (5,), (), (0, 3)])
def test_numpy_and_torch_share_a_tensors_memory(dtype, shape):
    t = cr.tensor(np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype))
    for other, start in ((np.from_dlpack(t), address), (torch.from_dlpack(t), lambda x: x.data_ptr())):
        assert tuple(other.shape) == shape and str(other.dtype).removeprefix("torch.") == dtype
        assert np.array_equal(np.asarray(other), np.asarray(t))
        assert not t.size or start(other) == address(t.value)


@pytest.mark.parametrize("view", [lambda a: a.T, lambda a: a[1:, ::2], lambda a: a[::-1] if a.ndim == 1 else a[2]])
def test_views_are_shared_with_their_strides(view):
    t = cr.Tensor(view(np.arange(24.0).reshape(4, 6)))
    for other in (np.from_dlpack(t), torch.from_dlpack(t).numpy()):
        assert address(other) == address(t.value) and other.strides == t.value.strides
        assert np.array_equal(other, t.value)


def test_jax_shares_aligned_memory_and_copies_other():
    t = cr.Tensor(aligned((4, 16)))
    assert jax.dlpack.from_dlpack(t).unsafe_buffer_pointer() == address(t.value)
    odd = cr.Tensor(np.arange(9, dtype=np.float32)[1:])
    assert np.array_equal(jax.dlpack.from_dlpack(odd), odd.value)


def test_read_only_memory_is_marked_or_copied():
    value = np.broadcast_to(np.float32(2), (3, 4))
    t = cr.Tensor(value)
    seen = np.from_dlpack(t)  # speaks the protocol's newer version, which knows of read-only memory
    assert address(seen) == address(value) and not seen.flags.writeable
    assert np.array_equal(jax.dlpack.from_dlpack(t), value)  # speaks the older one
    with pytest.raises(BufferError):
        t.__dlpack__(copy=False)


def test_a_copy_is_made_when_asked_for():
    t = cr.tensor([1.0, 2.0])
    copied = np.from_dlpack(t, copy=True)
    assert address(copied) != address(t.value) and copied.tolist() == [1, 2]
    assert t.__dlpack_device__() == (1, 0)


def test_a_derivative_or_a_trace_is_not_exported():
    def exporting(x):
        return np.sum(np.from_dlpack(x))

    with pytest.raises(TypeError, match=r"from_dlpack\(tensor\) would lose the gradient"):
        cr.grad(exporting)(np.ones(3))
    with pytest.raises(TypeError, match=r"from_dlpack\(tensor\) needs a value"):
        cr.compile(exporting)(np.ones(3))
    with pytest.raises(TypeError, match="would lose the gradient"):
        torch.from_dlpack(nn.Linear(2, 3).weight)
    assert torch.from_dlpack(nn.Linear(2, 3).weight.detach()).shape == (2, 3)


# -- from others ----------------------------------------------------------------------------------------------------


def make(values, kind):
    return torch.tensor(values) if kind == "torch" else jax.numpy.asarray(values)


@pytest.mark.parametrize("kind", ["torch", "jax"])
def test_arguments_of_transforms(kind):
    values = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    x, f = make(values, kind), lambda w: np.sum(np.tanh(w) ** 2)
    wanted = cr.grad(f)(values)
    for found in (cr.grad(f)(x), cr.value_and_grad(f)(x)[1], cr.grad(lambda p: f(p["w"]))({"w": x})["w"]):
        assert type(found) is np.ndarray and found.dtype == np.float32 and np.array_equal(found, wanted)
    assert np.array_equal(cr.hvp(f, x, x), cr.hvp(f, values, values))
    assert np.allclose(cr.compile(f)(x), f(values))
    assert np.array_equal(cr.grad(lambda w: np.sum(w * x))(values), values)  # as a constant
    tensor = cr.tensor(x)
    assert np.array_equal(tensor.value, values) and tensor.dtype == np.float32


@pytest.mark.parametrize("kind", ["torch", "jax"])
def test_arguments_of_networks(kind):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 2, 40)
    results = []
    for given in ((X, y), (make(X, kind), make(y, kind))):
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).initialize(1)
        history = cr.fit(model, *given, epochs=2, progress=False, validation=given)
        b = cr.backprop(model, *given)
        results.append([cr.predict(model, given[0]), model(given[0]).value, b["dW1"], history["val_loss"]])
        assert cr.evaluate(model, *given)["loss"] == pytest.approx(b.loss)
    for a, b in zip(*results, strict=True):
        assert np.array_equal(a, b)
    assert type(results[1][0]) is np.ndarray


def test_memory_of_others_is_shared():
    t, j = torch.arange(12.0).reshape(3, 4), jax.numpy.ones((4, 16))
    seen = []

    def look(x):
        seen.append(address(x.value))
        return np.sum(x)

    for x in (t, t.T, t[1:, ::2], j):
        cr.grad(look)(x)
    assert seen == [t.data_ptr(), t.data_ptr(), t[1:, ::2].data_ptr(), j.unsafe_buffer_pointer()]
    assert address(cr.tensor(t).value) != t.data_ptr()  # it says that it copies


@pytest.mark.parametrize("kind", ["torch", "jax"])
def test_training_reads_the_memory_of_others(kind, monkeypatch):
    X, y = make(np.ones((6, 3), np.float32), kind), make(np.arange(6) % 2, kind)
    seen, made = [], Rows.__init__

    def look(self, *args, **settings):
        made(self, *args, **settings)
        seen.extend([address(self._X), address(self._y)])

    monkeypatch.setattr(Rows, "__init__", look)
    cr.fit(nn.Linear(3, 2), X, y, epochs=1, progress=False)
    assert seen == [address(np.asarray(X)), address(np.asarray(y))]


class Exporter:
    """Speaks DLPack alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        if self.array is None:
            raise BufferError("it lies in another memory")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return (1, 0)


def test_what_speaks_dlpack_alone():
    array = np.arange(3.0)
    assert cr.grad(lambda x: np.sum(x**2))(Exporter(array)).tolist() == [0, 2, 4]
    with pytest.raises(TypeError, match=r"argument 0 is of type .*Exporter, which cannot be read .*another memory"):
        cr.grad(np.sum)(Exporter(None))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.ones(3, 2, requires_grad=True), r"requires|use x\.detach\(\) \(the gradient"),
        (torch.ones(3, 2, dtype=torch.bfloat16), r"dtype torch\.bfloat16.*use x\.float\(\)"),
        (torch.ones(3, 2, dtype=torch.float16), "float32 or float64, got float16"),
        (torch.ones(3, 2, device="meta"), r"use x\.cpu\(\)"),
        (torch.ones(3, 2).to_sparse(), r"use x\.to_dense\(\)"),
        (torch.ones(3, 2, dtype=torch.bfloat16, requires_grad=True), r"use x\.detach\(\)\.float\(\)"),
        (torch.ones(3, 2, dtype=torch.complex64), r"is complex"),
        (jax.numpy.ones((3, 2), jax.numpy.bfloat16), r"dtype bfloat16.*use x\.astype\('float32'\)"),
    ],
    ids=lambda x: str(x) if isinstance(x, str) else str(getattr(x, "dtype", "")),
)
def test_what_cannot_be_read_is_named_with_what_would_do(x, message):
    model, y = nn.Sequential(nn.Linear(2, 2)), np.array([0, 1, 0])
    calls = {
        "argument 0": lambda: cr.grad(np.sum)(x),
        "value": lambda: cr.tensor(x),
        "X": lambda: cr.fit(model, x, y, progress=False),
        "an argument": lambda: cr.compile(np.sum)(x),
    }
    calls |= {"X ": lambda: cr.predict(model, x), " X": lambda: cr.backprop(model, x, y), "X  ": lambda: model(x)}
    for argument, call in calls.items():
        with pytest.raises(TypeError, match=message) as caught:
            call()
        assert re.match(argument.strip() + "[ :]", str(caught.value))


def test_targets_and_validation_are_named_as_well():
    model, X = nn.Sequential(nn.Linear(2, 1)), np.ones((3, 2), np.float32)
    y = torch.ones(3, requires_grad=True)
    with pytest.raises(TypeError, match=r"^y is .*detach"):
        cr.fit(model, X, y, loss="mse", progress=False)
    with pytest.raises(TypeError, match=r"^validation\[1\] is .*detach"):
        cr.fit(model, X, np.ones(3), loss="mse", validation=(X, y), progress=False)


def test_every_way_in_names_its_argument():
    model, x = nn.Linear(2, 2), torch.ones(2, 2, requires_grad=True)
    pullback = cr.vjp(lambda w: 2 * w, np.ones((2, 2)))[1]
    for argument, call in {
        "the cotangent": lambda: pullback(x),
        "the new value of a parameter": lambda: model.weight.assign(x),
        "bias": lambda: model.load_state_dict({"weight": np.ones((2, 2)), "bias": x[0]}),
    }.items():
        with pytest.raises(TypeError, match=rf"^{argument} is of type torch's Tensor .*use x\.detach\(\)"):
            call()
    assert np.array_equal(pullback(x.detach())[0], np.full((2, 2), 2.0))


def test_what_has_no_array_at_all_is_named():
    class Odd:
        def __len__(self):
            return 2

        def __getitem__(self, i):
            return [[1], [1, 2]][i]

    with pytest.raises(ValueError, match=r"^X\[i\] has shapes \(1,\) and \(2,\); expected one shape for all rows"):
        cr.predict(nn.Linear(2, 2), Odd())


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i8", ">i2"])
def test_numbers_of_the_other_byte_order(dtype):
    X, y = np.arange(12).reshape(6, 2) / 4, np.arange(6) % 2
    given, wanted = X.astype(dtype), X.astype(dtype).astype(dtype.replace(">", "="))
    results = []
    for x, t in ((given, y.astype(">i8")), (wanted, y)):
        model = nn.Linear(2, 2).initialize(0)
        cr.fit(model, x, t, epochs=1, progress=False)
        results.append([cr.predict(model, x), cr.tensor(x).value, cr.compile(np.sum)(x)])
    for a, b in zip(*results, strict=True):
        assert np.array_equal(a, b) and a.dtype == b.dtype and a.dtype.isnative


def test_masked_and_structured_arrays():
    X, y = np.ones((3, 2)), [0, 1, 0]
    masked = np.ma.masked_array(X, [[0, 1], [0, 0], [1, 0]])
    for call in (lambda: cr.fit(nn.Linear(2, 2), masked, y, progress=False), lambda: nn.Linear(2, 2)(masked)):
        with pytest.raises(ValueError, match=r"^X is a masked array with 2 masked values.*x\.filled"):
            call()
    assert cr.predict(nn.Linear(2, 2), np.ma.masked_array(X)).shape == (3, 2)
    with pytest.raises(TypeError, match=r"^X is of type ndarray .*a dict of its columns"):
        cr.fit(nn.Linear(2, 2), np.zeros(3, [("a", float), ("b", float)]), y, progress=False)


def test_neither_is_imported_by_reading_arrays():
    from chainrule import tensor

    assert not {"torch", "jax"} & set(vars(tensor))
