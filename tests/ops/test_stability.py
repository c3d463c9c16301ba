"""Finite, right values and gradients over all of float range, without a warning (warnings are errors here)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops

EXTREME = np.array([-1e4, -1e3, -104, -88.8, -50, -1, -1e-4, 0, 1e-4, 1, 50, 88.8, 104, 1e3, 1e4], np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def logsumexp(z: np.ndarray) -> np.ndarray:
    return np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1)) + z.max(-1)


LOGITS = np.array(
    [
        [1e4, -1e4, 0],
        [-1e4, -1e4, -1e4],
        [1e4, 1e4, 1e4],
        [1e4, 9999, -1e4],
        [0, 1e-3, -1e-3],
        [88, -88, 100],
        [-1e4, 5, 1e4],
    ],
    np.float32,
)
TARGETS = np.eye(3, dtype=np.float32)[[1, 0, 2, 1, 0, 2, 0]]


def check(f: Callable[..., Any], z: np.ndarray, value: np.ndarray, gradient: np.ndarray, atol: float = 1e-38) -> None:
    """Compare with the float64 reference: eagerly, and twice differentiated without a NaN."""
    found = f(cr.tensor(z)).value
    assert found.dtype == np.float32 and np.isfinite(found).all()
    np.testing.assert_allclose(found, value, rtol=3e-6, atol=atol)
    weights = np.linspace(0.5, 1.5, value.size, dtype=np.float32).reshape(value.shape)
    (g,) = cr.vjp(f, z)[1](weights)
    assert g.dtype == np.float32 and np.isfinite(g).all()
    spread = weights.astype(np.float64).reshape(value.shape + (1,) * (z.ndim - value.ndim))
    np.testing.assert_allclose(g, gradient * spread, rtol=3e-6, atol=2e-6)
    assert np.isfinite(cr.hvp(lambda x: np.sum(f(x)), z, np.ones_like(z))).all()


WIDE = EXTREME.astype(np.float64)


def test_sigmoid() -> None:
    s = sigmoid(WIDE)
    with np.errstate(all="raise", under="ignore"):
        reference = s * sigmoid(-WIDE)
    check(ops.sigmoid, EXTREME, s, reference)


def test_softplus() -> None:
    check(ops.softplus, EXTREME, softplus(WIDE), sigmoid(WIDE))


def test_tanh_gelu_silu() -> None:
    check(np.tanh, EXTREME, np.tanh(WIDE), 1 / np.cosh(np.clip(WIDE, -300, 300)) ** 2)
    for f in (ops.gelu, ops.silu, lambda x: ops.gelu(x, approximate=True)):
        g = cr.grad(lambda x, f=f: np.sum(f(x)))(EXTREME)
        assert np.isfinite(g).all() and g[0] == 0 and g[-1] == 1


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_binary_cross_entropy(t: float) -> None:
    targets = np.full_like(EXTREME, t)
    t = float(np.float32(t))
    value = t * softplus(-WIDE) + (1 - t) * softplus(WIDE)
    check(lambda z: ops.binary_cross_entropy_with_logits(z, targets), EXTREME, value, sigmoid(WIDE) - t)


def test_logsumexp() -> None:
    wide = LOGITS.astype(np.float64)
    check(lambda z: ops.logsumexp(z, -1), LOGITS, logsumexp(wide), softmax(wide))


def test_cross_entropy() -> None:
    wide = LOGITS.astype(np.float64)
    value = logsumexp(wide) - (TARGETS * wide).sum(-1)
    check(lambda z: ops.cross_entropy_with_logits(z, TARGETS), LOGITS, value, softmax(wide) - TARGETS, atol=1e-7)


def test_cross_entropy_of_soft_targets() -> None:
    soft = np.array([[0.2, 0.3, 0.5]] * len(LOGITS), np.float32)
    wide = LOGITS.astype(np.float64)
    shifted = wide - logsumexp(wide)[:, None]
    check(lambda z: ops.cross_entropy_with_logits(z, soft), LOGITS, -(soft * shifted).sum(-1), softmax(wide) - soft)


def test_softmax_and_log_softmax() -> None:
    wide = LOGITS.astype(np.float64)
    found = ops.softmax(cr.tensor(LOGITS)).value
    np.testing.assert_allclose(found, softmax(wide), rtol=3e-6, atol=1e-38)
    found = ops.log_softmax(cr.tensor(LOGITS)).value
    np.testing.assert_allclose(found, wide - logsumexp(wide)[:, None], rtol=3e-6, atol=1e-6)
    jacobian = cr.jacobian(lambda z: ops.log_softmax(z))(LOGITS[3])
    np.testing.assert_allclose(jacobian, np.eye(3) - softmax(wide[3]), rtol=1e-6, atol=1e-7)
    g = cr.grad(lambda z: np.sum(TARGETS * ops.softmax(z)))(LOGITS)
    assert np.isfinite(g).all()


def test_minus_infinity_masks() -> None:
    """-inf marks what cannot be: weight 0, gradient 0."""
    z = np.array([[0.0, -np.inf, 1.0], [-np.inf, 3.0, -np.inf]], np.float32)
    np.testing.assert_allclose(ops.logsumexp(cr.tensor(z), -1).value, [np.log(1 + np.e), 3.0], rtol=1e-6)
    g = cr.grad(lambda z: np.sum(ops.logsumexp(z, -1)))(z)
    np.testing.assert_allclose(g, [[1 / (1 + np.e), 0, np.e / (1 + np.e)], [0, 1, 0]], rtol=1e-6)
    np.testing.assert_allclose(ops.softmax(cr.tensor(z)).value, g, rtol=1e-6)
    assert ops.logsumexp(cr.tensor(np.full(3, -np.inf))).value == -np.inf
    assert ops.logsumexp(cr.tensor(np.array([1.0, np.inf]))).value == np.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logsumexp_gradient_where_everything_is_minus_infinity(dtype: Any) -> None:
    g = cr.grad(lambda z: np.where(True, ops.logsumexp(z), 0.0))(np.full(3, -np.inf, dtype))
    assert g.dtype == dtype  # NaN: there is no gradient; the point is that nothing warns or raises


@pytest.mark.parametrize("classes", [3, 300])
@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64])
def test_one_hot(classes: int, kind: Any) -> None:
    ids = np.array([[0, 2], [1, 2]], kind)
    for found in (ops.one_hot(ids, classes), ops.one_hot(cr.tensor(ids), classes).value):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.eye(classes)[ids])
    with pytest.raises(TypeError, match=r"ids.*float64"):
        ops.one_hot(np.ones(2), 3)
