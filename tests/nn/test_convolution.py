"""Convolution, pooling and their layers, against SciPy and PyTorch; on both engines, in both dtypes, at the edges."""

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.signal

import chainrule as cr
from chainrule import nn, ops
from tests.tables import for_each

#: (layer, input shape): odd lengths, strides that leave a rest, one channel, groups, everything at once.
LAYERS: list[tuple[Any, tuple[int, ...]]] = [
    (lambda t: nn.Conv1d(2, 3, 4, stride=2, padding=1, dilation=2, dtype=t), (3, 2, 11)),
    (lambda t: nn.Conv1d(4, 6, 3, padding="same", groups=2, dtype=t), (2, 4, 5)),
    (lambda t: nn.Conv1d(1, 1, 5, bias=False, dtype=t), (1, 1, 5)),
    (lambda t: nn.Conv2d(1, 2, 3, dtype=t), (2, 1, 3, 3)),
    (lambda t: nn.Conv2d(3, 4, (3, 2), stride=(2, 3), padding=(1, 0), dtype=t), (2, 3, 7, 8)),
    (lambda t: nn.Conv2d(4, 4, (2, 3), padding="same", dilation=(1, 2), groups=4, dtype=t), (2, 4, 5, 6)),
    (lambda t: nn.Conv2d(2, 2, 1, stride=5, padding=3, dtype=t), (2, 2, 4, 4)),
    (lambda t: nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_padding=1, dtype=t), (2, 2, 3, 4)),
    (lambda t: nn.ConvTranspose2d(4, 2, (1, 3), dilation=2, groups=2, bias=False, dtype=t), (1, 4, 2, 3)),
    (lambda t: nn.MaxPool1d(3, 2, 1), (2, 3, 8)),
    (lambda t: nn.MaxPool2d(2), (2, 3, 5, 4)),
    (lambda t: nn.MaxPool2d((3, 2), (1, 3), (1, 1), dilation=(2, 1)), (2, 1, 6, 7)),
    (lambda t: nn.AvgPool1d(3, 1, 1), (2, 3, 5)),
    (lambda t: nn.AvgPool2d((2, 3), 2, (1, 1), count_include_pad=False), (2, 2, 5, 6)),
    (lambda t: nn.AdaptiveAvgPool2d((2, 3)), (2, 2, 5, 6)),
    (lambda t: nn.AdaptiveAvgPool2d(1), (2, 2, 5, 6)),
    (lambda t: nn.Upsample(scale_factor=(2, 3)), (1, 2, 3, 2)),
    (lambda t: nn.Upsample((5, 2), mode="bilinear"), (1, 2, 3, 4)),
    (lambda t: nn.Upsample((5, 4), mode="bilinear", align_corners=True), (1, 2, 3, 1)),
    (lambda t: nn.ZeroPad2d((1, 0, 2, 1)), (2, 1, 2, 3)),
    (lambda t: nn.BatchNorm1d(3, dtype=t), (4, 3, 2)),
    (lambda t: nn.BatchNorm2d(3, dtype=t), (2, 3, 2, 4)),
    (lambda t: nn.GroupNorm(2, 4, dtype=t), (2, 4, 3, 2)),
    (lambda t: nn.RMSNorm(5, dtype=t), (3, 5)),
    (lambda t: nn.PReLU(3, 0.1, dtype=t), (2, 3, 4)),
    (lambda t: nn.Mish(), (3, 4)),
    (lambda t: nn.Hardswish(), (3, 4)),
    (lambda t: nn.LogSoftmax(), (3, 4)),
]


def drawn(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@for_each(("make", "shape"), LAYERS)
def test_layers_compute_the_same_everywhere(make: Any, shape: Any) -> None:
    """Eager, and compiled by both engines, in both dtypes; also of inputs that are views or cannot be written."""
    for dtype, near in ((np.float64, 1e-12), (np.float32, 2e-5)):
        layer, x = make(dtype).eval(), drawn(shape, dtype)
        out = layer(x).detach().value
        assert out.dtype == dtype
        for engine in ("numpy", "native"):
            for threads in (1, 3):
                run = cr.compile(lambda x, layer=layer: layer(x), engine=engine, threads=threads)
                np.testing.assert_allclose(run(x), out, near, near)
        backwards = np.flip(np.flip(x).copy())
        fortran = np.array(x, order="F")
        fortran.setflags(write=False)
        for view in (backwards, fortran):
            np.testing.assert_allclose(layer(view).detach().value, out, near, near)


@pytest.mark.slow
@for_each(("make", "shape"), LAYERS)
def test_gradients_of_layers(make: Any, shape: Any) -> None:
    layer = make(np.float64)
    parameters = dict(layer.named_parameters())

    def f(x: Any, values: Any) -> Any:
        return nn.functional_call(layer, values, x)[0]

    values = {name: p.value for name, p in parameters.items()}
    assert cr.gradcheck(f, drawn(shape, np.float64), values)
    assert cr.gradcheck(lambda x: np.sum(np.sin(f(x, values))), drawn(shape, np.float64), order=2)


@for_each(("make", "shape"), LAYERS)
def test_layers_from_their_descriptions(make: Any, shape: Any, tmp_path: Any) -> None:
    import json

    layer = make(np.float32)
    again = nn.from_config(json.loads(json.dumps(layer.config())))
    assert again.config() == layer.config() and repr(again) == repr(layer)
    assert nn.count_parameters(layer.config()) == layer.num_parameters
    network = nn.Sequential(layer)
    cr.save(tmp_path / "m.safetensors", network)
    x = drawn(shape, np.float32)
    stored, _ = cr.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(stored.eval()(x).value, network.eval()(x).value)


def test_no_examples_are_no_error() -> None:
    for layer, shape in ((nn.Conv2d(2, 3, 3, padding=1), (0, 2, 4, 4)), (nn.MaxPool2d(2), (0, 2, 4, 4)),
                         (nn.AvgPool2d(2), (0, 2, 4, 4)), (nn.Conv1d(2, 3, 2), (0, 2, 4))):  # fmt: skip
        x = np.zeros(shape, np.float32)
        for engine in ("numpy", "native"):
            f = cr.value_and_grad(lambda x, layer=layer: np.sum(layer(x)))
            value, gradient = cr.compile(f, engine=engine)(x)
            assert value == 0 and gradient.shape == shape


def test_the_kernel_is_not_reversed() -> None:
    x, w = drawn((6, 7), np.float64), drawn((3, 2), np.float64, 1)
    expected = scipy.signal.correlate(x, w, "valid")
    np.testing.assert_allclose(ops.conv(x[None, None], w[None, ..., None])[0, 0], expected, 1e-12)
    layer = nn.Conv2d(1, 1, (3, 2), dtype=np.float64)
    layer.weight.assign(w[None, ..., None])
    np.testing.assert_allclose(layer(x[None, None]).value[0, 0], expected, 1e-12)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: nn.Conv2d(1, 1, 5)(np.zeros((1, 1, 4, 9))), r"kernel of \(5, 5\).* does not fit into \(4, 9\)"),
        (lambda: nn.Conv2d(3, 1, 2)(np.zeros((1, 1, 4, 4))), r"shape \(1, 1, 4, 4\), Conv2d expects \(m, 3, h, w\)"),
        (lambda: nn.Conv2d(1, 1, 2)(np.zeros((1, 4, 4))), r"X\[:, None\] adds an axis of channels"),
        (lambda: nn.Conv2d(3, 4, 2, groups=2), "groups is 2, expected a divisor of in_channels, 3"),
        (lambda: nn.Conv2d(1, 1, 3, stride=2, padding="same"), "padding='same' needs stride 1"),
        (lambda: nn.Conv2d(1, 1, 3, padding="full"), "padding: expected 'same' or 'valid'"),
        (lambda: nn.Conv2d(1, 1, (3, 3, 3)), "kernel_size: expected an integer or 2 of them"),
        (lambda: nn.Conv2d(1, 1, 0), "kernel_size: expected an integer ≥ 1 or 2 of them, got 0"),
        (lambda: nn.MaxPool2d(3)(np.zeros((1, 1, 2, 9))), r"windows of \(3, 3\).* do not fit into \(2, 9\)"),
        (lambda: nn.MaxPool2d(2, padding=2), "padding is 2, expected at most half of kernel_size, 2"),
        (lambda: nn.MaxPool1d(2)(np.zeros((1, 1, 4, 4))), r"MaxPool1d expects \(m, channels, length\)"),
        (lambda: nn.ConvTranspose2d(1, 1, 2, output_padding=1)(np.zeros((1, 1, 2, 2))), "less than the stride"),
        (lambda: nn.GroupNorm(2, 3), "num_groups is 2, expected a divisor of the 3 features"),
        (lambda: nn.BatchNorm2d(2)(np.zeros((1, 2, 1, 1))), "needs at least 2 in training"),
        (lambda: nn.BatchNorm2d(2)(np.zeros((4, 2))), r"BatchNorm2d expects \(m, 2, h, w\)"),
        (lambda: nn.Upsample(), "size: expected either size or scale_factor"),
        (lambda: nn.Residual(nn.Linear(2, 3))(np.zeros((1, 2))), r"Residual: the module returned shape \(1, 3\)"),
        (lambda: ops.conv(np.zeros((1, 2, 3)), np.zeros((1, 2, 3))), "x has 2 channels and w 1 in 1 group"),
    ],
)  # fmt: skip
def test_errors_say_what_was_found(call: Any, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        call()


def test_the_first_of_equal_elements_gets_the_gradient() -> None:
    x = np.zeros((1, 1, 4, 4))
    for engine in ("numpy", "native"):
        gradient = cr.compile(cr.grad(lambda x: np.sum(nn.MaxPool2d(2)(x))), engine=engine)(x)
        assert np.asarray(gradient)[0, 0].tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    x[0, 0, 1, 1] = np.nan
    assert np.isnan(nn.MaxPool2d(2)(x).value[0, 0, 0, 0])


def test_names_of_a_network() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Residual(nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.PReLU())), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(2, 2),
    )  # fmt: skip
    names = "A0 W1 b1 Z1 gamma1 beta1 N1 A1 P1 W2 b2 Z2 a2 A2 P2 W3 b3 Z3".split()
    assert model.value_names() == names
    assert [p.name for p in model.parameters()] == [n for n in names if n[0] in "Wbga"]
    steps = cr.backprop(model, drawn((3, 1, 6, 6), np.float32), np.array([0, 1, 0]), "cross_entropy")
    for name in names[1:]:
        assert steps[f"d{name}"].shape == steps[name].shape


@for_each("seed", range(6))
def test_random_settings_against_pytorch(seed: int) -> None:
    check_against_pytorch(seed)


@pytest.mark.slow
@for_each("seed", range(6, 80))
def test_more_settings_against_pytorch(seed: int) -> None:
    check_against_pytorch(seed)


def check_against_pytorch(seed: int) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    n, groups = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    limits = (1, 4), (1, 4), (0, 3), (1, 3)
    size, stride, pad, dilation = (rng.integers(low, high, n).tolist() for low, high in limits)
    space = [int(d * (k - 1) + 1 + rng.integers(0, 9)) for k, d in zip(size, dilation, strict=True)]
    inputs, outputs = (groups * int(rng.integers(1, 4)) for _ in range(2))
    x, w = rng.normal(size=(2, inputs, *space)), rng.normal(size=(inputs // groups, *size, outputs))
    given = {"stride": stride, "padding": pad, "dilation": dilation, "groups": groups}
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, w)]
    convolve = torch.nn.functional.conv1d if n == 1 else torch.nn.functional.conv2d
    out = convolve(theirs[0], torch.movedim(theirs[1], -1, 0), **given)
    g = rng.normal(size=tuple(out.shape))
    (out * torch.tensor(g)).sum().backward()

    def weighted(x: Any, w: Any) -> Any:
        y = ops.conv(x, w, **given)
        return np.sum(y * g), y

    for engine in ("numpy", "native"):
        run = cr.compile(cr.value_and_grad(weighted, argnums=(0, 1), has_aux=True), engine=engine)
        (_, y), (dx, dw) = run(x, w)
        for found, expected in ((y, out.detach()), (dx, theirs[0].grad), (dw, theirs[1].grad)):
            np.testing.assert_allclose(np.asarray(found), expected.numpy(), 1e-10, 1e-10)


def test_pooling_against_pytorch() -> None:
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x = np.random.default_rng(0).integers(0, 4, (2, 3, 9, 8)).astype(float)  # with ties
    for k, s, p in itertools.product((2, 3), (1, 2, 3), (0, 1)):
        for ours, theirs in (
            (ops.max_pool(x, k, stride=s, padding=p), functional.max_pool2d(torch.tensor(x), k, s, p)),
            (ops.avg_pool(x, k, stride=s, padding=p), functional.avg_pool2d(torch.tensor(x), k, s, p)),
        ):
            np.testing.assert_allclose(ours, theirs.numpy(), 1e-14)
        mine = cr.grad(lambda x, k=k, s=s, p=p: np.sum(ops.max_pool(x, k, stride=s, padding=p) ** 2))(x)
        leaf = torch.tensor(x, requires_grad=True)
        (functional.max_pool2d(leaf, k, s, p) ** 2).sum().backward()
        np.testing.assert_allclose(mine, leaf.grad.numpy(), 1e-12)
    for size in ((1, 1), (3, 4), (2, 5), (10, 9)):
        theirs = functional.adaptive_avg_pool2d(torch.tensor(x), size).numpy()
        np.testing.assert_allclose(ops.adaptive_avg_pool(x, size), theirs, 1e-13)
        for mode, corners in (("nearest", None), ("bilinear", False), ("bilinear", True)):
            theirs = functional.interpolate(torch.tensor(x), size, mode=mode, align_corners=corners).numpy()
            layer = nn.Upsample(size, mode=mode, align_corners=bool(corners))
            np.testing.assert_allclose(layer(x).value, theirs, 1e-12, 1e-12)


@for_each("seed", range(4))
def test_engines_agree_on_training_and_threads_on_every_bit(seed: int) -> None:
    """Batches that fill the lanes of vectors, that leave a rest, and few examples; no step is left to NumPy."""
    rng = np.random.default_rng(seed)
    dtype = (np.float32, np.float64)[seed % 2]
    m, groups, stride = ((1, 1, 1), (19, 2, 2), (40, 1, 1), (64, 3, 1))[seed]
    x = rng.normal(size=(m, 3 * groups, 9, 10)).astype(dtype)
    w = rng.normal(size=(3, 3, 2, 17 * groups)).astype(dtype)
    weights = np.sin(np.arange(1000.0)).astype(dtype)

    def f(x: Any, w: Any) -> Any:
        z = ops.conv(x, w, stride=stride, padding=((1, 0), (2, 1)), groups=groups)
        y = ops.max_pool(z, 2)
        y = y + ops.avg_pool(z, 3, stride=2, padding=1)[..., : y.shape[2], : y.shape[3]]
        return np.sum(y * np.resize(weights, y.shape)), y

    step = cr.value_and_grad(f, argnums=(0, 1), has_aux=True)
    found = {}
    for engine, threads in (("numpy", 1), ("native", 1), ("native", 2), ("native", 5)):
        run = cr.compile(step, engine=engine, threads=threads)
        (_, y), (dx, dw) = run(x, w)
        assert "through NumPy" not in str(run.plan(x, w))
        found[engine, threads] = [np.array(a) for a in (y, dx, dw)]
    near = 1e-4 if dtype == np.float32 else 1e-11
    for expected, *native in zip(*found.values(), strict=True):
        np.testing.assert_allclose(native[0], expected, near, near * np.abs(expected).max())
        assert len({a.tobytes() for a in native}) == 1
