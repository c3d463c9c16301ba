"""Losses: values by hand and against PyTorch, gradients against differences, stability, checks of targets."""

import functools

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.node import Recording
from chainrule.core.tensor import traced_leaf
from chainrule.nn import losses

RNG = np.random.default_rng(5)
Z = RNG.normal(size=(6, 4))
IDS = np.array([0, 3, 1, 1, 2, 0])
HOT = np.eye(4)[IDS]
SOFT = RNG.dirichlet(np.ones(4), size=6)
YES = (RNG.random((6, 4)) > 0.5).astype(float)

CASES = {
    "mse": (losses.mse, Z, HOT),
    "half_mse": (losses.half_mse, Z, HOT),
    "mae": (losses.mae, Z, HOT),
    "huber": (losses.huber, 2 * Z, HOT),
    "huber 0.3": (functools.partial(losses.huber, delta=0.3), Z, HOT),
    "binary_cross_entropy": (losses.binary_cross_entropy, Z, YES),
    "binary_cross_entropy column": (losses.binary_cross_entropy, Z[:, :1], YES[:, 0]),
    "cross_entropy ids": (losses.cross_entropy, Z, IDS),
    "cross_entropy one-hot": (losses.cross_entropy, Z, HOT),
    "cross_entropy soft": (losses.cross_entropy, Z, SOFT),
    "hinge ±1": (losses.hinge, Z[:, 0], 2 * YES[:, 0] - 1),
    "hinge 0/1": (losses.hinge, Z[:, :1], YES[:, 0]),
    "hinge ids": (losses.hinge, Z, IDS),
}


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_values_by_hand():
    a, y = np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[0.0, 2.0], [1.0, 1.0]])  # errors 1 0 2 4
    assert losses.mse(a, y) == 21 / 4
    assert losses.half_mse(a, y) == (0.5 + 10) / 2
    assert losses.mae(a, y) == 7 / 4
    assert losses.huber(a, y) == (0.5 + 0 + 1.5 + 3.5) / 4
    np.testing.assert_allclose(losses.huber(a, y, delta=2.0, reduction="none"), [[0.5, 0], [2, 6]])
    np.testing.assert_array_equal(losses.half_mse(a, y, reduction="none"), [0.5, 10])
    assert losses.binary_cross_entropy([[0.0, 0.0]], [[1, 0]]) == pytest.approx(2 * np.log(2))
    assert losses.cross_entropy(np.zeros((3, 5)), [0, 4, 2]) == pytest.approx(np.log(5))
    np.testing.assert_array_equal(losses.hinge([2.0, 0.5, -1.0], [1, 1, 1], reduction="none"), [0, 0.5, 2])
    np.testing.assert_array_equal(losses.hinge([2.0, -2.0], [0, 0], reduction="none"), [3, 0])
    assert losses.hinge([[3.0, 2.5, 0.0]], [0]) == 0.5 and losses.hinge([[0.0, 2.5, 1.0]], [0]) == 3.5 + 2


def test_against_pytorch():
    torch = pytest.importorskip("torch")
    F, t = torch.nn.functional, torch.tensor
    pairs = [
        (losses.mse(Z, HOT), F.mse_loss(t(Z), t(HOT))),
        (losses.mae(Z, HOT), F.l1_loss(t(Z), t(HOT))),
        (losses.huber(2 * Z, HOT, delta=0.7), F.huber_loss(t(2 * Z), t(HOT), delta=0.7)),
        (losses.binary_cross_entropy(Z, YES), F.binary_cross_entropy_with_logits(t(Z), t(YES)) * 4),
        (
            losses.binary_cross_entropy(Z[:, :1], YES[:, :1]),
            F.binary_cross_entropy_with_logits(t(Z[:, 0]), t(YES[:, 0])),
        ),
        (losses.cross_entropy(Z, IDS), F.cross_entropy(t(Z), t(IDS))),
        (losses.cross_entropy(Z, SOFT), F.cross_entropy(t(Z), t(SOFT))),
        (losses.cross_entropy(Z, IDS, reduction="sum"), F.cross_entropy(t(Z), t(IDS), reduction="sum")),
        (losses.hinge(Z, IDS), F.multi_margin_loss(t(Z), t(IDS)) * 4),
    ]
    for ours, theirs in pairs:
        assert float(ours) == pytest.approx(float(theirs), rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_reductions_agree_and_gradients_match_differences(case):
    loss, z, y = CASES[case]
    each = loss(z, y, reduction="none")
    assert loss(z, y, reduction="sum") == pytest.approx(each.sum()) and loss(z, y) == pytest.approx(each.mean())
    gradient = cr.grad(loss)(z, y)
    for i in np.ndindex(z.shape):
        up, down = z.copy(), z.copy()
        up[i] += 1e-6
        down[i] -= 1e-6
        assert gradient[i] == pytest.approx((loss(up, y) - loss(down, y)) / 2e-6, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_dtype_is_the_outputs_and_tracing_gives_the_same_graph(case):
    loss, z, y = CASES[case]
    out = loss(cr.tensor(z.astype(np.float32)), y)
    assert out.dtype == np.float32 and out.shape == ()
    with Recording("test") as r:
        traced = loss(
            traced_leaf(z.shape, np.float32, frozenset({r})),
            traced_leaf(np.shape(y), np.asarray(y).dtype, frozenset({r})),
        )
    assert traced.value is None and traced.dtype == np.float32 and traced.shape == ()


def test_dz_of_the_three_pairings_is_a_minus_y_over_m():
    m = len(Z)
    np.testing.assert_allclose(cr.grad(losses.half_mse)(Z, HOT), (Z - HOT) / m, rtol=1e-14)
    np.testing.assert_allclose(cr.grad(losses.binary_cross_entropy)(Z, YES), (sigmoid(Z) - YES) / m, rtol=1e-12)
    np.testing.assert_allclose(cr.grad(losses.cross_entropy)(Z, IDS), (softmax(Z) - HOT) / m, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropies_are_finite_and_right_for_huge_logits(dtype):
    z = np.array([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4]], dtype)
    for loss, y, value in [
        (losses.cross_entropy, [0, 0, 1], [0, 2e4, np.log(2)]),
        (losses.binary_cross_entropy, [[1, 0], [1, 0], [1, 0]], [0, 2e4, 1e4]),
    ]:
        np.testing.assert_allclose(loss(z, y, reduction="none"), np.array(value), rtol=1e-6)
        assert np.isfinite(cr.grad(loss)(z, y)).all()


def test_a_column_and_a_vector_are_the_same_targets_and_never_broadcast():
    a, y = RNG.normal(size=(5, 1)), RNG.normal(size=5)
    for loss in (losses.mse, losses.half_mse, losses.mae, losses.huber):
        assert loss(a, y) == loss(a[:, 0], y) == loss(a[:, 0], y[:, None]) == loss(a, y[:, None])
    assert losses.cross_entropy(Z, IDS[:, None]) == losses.cross_entropy(Z, IDS.astype(np.uint8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.cross_entropy(np.zeros((3, 10)), [1, 12, 0]), "labels reach 12, but the output has 10 columns"),
        (lambda: losses.cross_entropy(np.zeros((3, 10)), [1, -1, 0]), "class ids.* -1"),
        (lambda: losses.cross_entropy(np.zeros((3, 10)), [1.0, 2.0, 0.0]), r"y.astype\(int\)"),
        (lambda: losses.cross_entropy(np.zeros((3, 10)), [1, 2]), r"output has shape \(3, 10\), target \(2,\)"),
        (lambda: losses.cross_entropy(np.zeros((3, 1)), [0, 0, 0]), "at least 2"),
        (lambda: losses.cross_entropy(np.zeros((2, 2)), [[0.5, 0.6], [1, 0]]), "a row sums to 1.1"),
        (lambda: losses.cross_entropy(np.zeros((2, 2)), [[-0.5, 1.5], [1, 0]]), "the least is -0.5"),
        (lambda: losses.cross_entropy(np.zeros((0, 2)), np.zeros(0, int)), "shape .*expected at least one example"),
        (lambda: losses.mse(np.zeros((3, 2)), np.zeros((3, 1))), r"mse: output has shape \(3, 2\), target \(3, 1\)"),
        (lambda: losses.mse(np.zeros((3, 3)), np.zeros(3)), "must be equal"),
        (lambda: losses.mse(np.zeros((0, 3)), np.zeros((0, 3))), "shape .*expected at least one example"),
        (lambda: losses.mse(np.zeros(3), np.zeros(3), reduction="avg"), "reduction: .*'avg'"),
        (lambda: losses.mse(np.zeros(3), np.array(["a", "b", "c"])), "target is of type ndarray"),
        (lambda: losses.binary_cross_entropy(np.zeros(3), [0, 1, 2]), "from 0 to 2"),
        (lambda: losses.binary_cross_entropy(np.zeros(3), [0, 1, np.nan]), "probabilities between"),
        (lambda: losses.hinge(np.zeros(3), [0, 1, 2]), "hinge: .*0, 1, 2"),
        (lambda: losses.hinge(np.zeros((3, 4)), [0, 1, 4]), "labels reach 4"),
        (lambda: losses.huber(np.zeros(3), np.zeros(3), delta=0), "delta: .* 0"),
        (lambda: losses.get("mze"), "loss 'mze'.*mse"),
        (lambda: losses.get(3), "loss: .*int"),
        (lambda: losses.get(lambda out, y: out - y)(np.zeros(3), np.zeros(3)), r"shape \(3,\)"),
        (lambda: losses.get(lambda out, y: None)(np.zeros(3), np.zeros(3)), "NoneType"),
        (lambda: losses.penalty({}, l2=-1), "l2: .* -1"),
        (lambda: losses.check_target("cross_entropy", (3, 10), [1, 12, 0]), "labels reach 12"),
        (lambda: losses.check_target("mse", (3, 10), np.zeros(3)), "must be equal"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_any_scalar_function_is_a_loss_and_names_know_their_activation():
    loss = losses.get(lambda out, y: np.max(np.abs(out - y)))
    assert loss(np.array([1.0, 5.0]), np.zeros(2)) == 5 and losses.get(loss) is loss
    assert losses.get("mse") is losses.mse and set(losses.names()) >= {"mse", "hinge"}
    expected = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid", "mse": "identity", "hinge": "identity"}
    for name, activation in expected.items():
        assert losses.output_activation(name) == losses.output_activation(losses.get(name)) == activation
    assert losses.output_activation(functools.partial(losses.cross_entropy, reduction="sum")) == "softmax"
    assert losses.output_activation(loss) == "identity"
    losses.check_target(loss, (3,), np.zeros(3))
    np.testing.assert_allclose(losses.activate("cross_entropy", Z), softmax(Z))
    np.testing.assert_allclose(losses.activate("binary_cross_entropy", Z), sigmoid(Z))


def test_penalty_is_of_weights_alone():
    p = {"W": np.array([[1.0, -2.0]]), "b": np.array([100.0])}
    assert losses.penalty(p, l1=0.1, l2=0.5) == pytest.approx(0.1 * 3 + 0.25 * 5) and losses.penalty(p) == 0
    g = cr.grad(lambda p: losses.penalty(p, l2=0.5), allow_unused=True)(p)
    np.testing.assert_allclose(g["W"], 0.5 * p["W"])
    assert g["b"] == 0
