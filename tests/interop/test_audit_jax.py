"""Audits of backward passes on JAX's arrays: `custom_vjp`, and functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.adapters import jax_recording
from chainrule.adapters.recording import Traced, Watch, unwrapped
from chainrule.core.tensor import Tensor

jax = pytest.importorskip("jax")
jnp = jax.numpy


def drawn(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def rule(f: Any, forward: Any, backward: Any, **options: Any) -> Any:
    made = jax.custom_vjp(f, **options)
    made.defvjp(forward, backward)
    return made


def layer(x: Any, w: Any) -> Any:
    return jnp.tanh(x @ w)


def layer_forward(x: Any, w: Any) -> Any:
    out = layer(x, w)
    return out, (x, w, out)


def layer_backward(saved: Any, g: Any, power: int = 2) -> Any:
    x, w, out = saved
    d = g * (1 - out**power)
    return d @ w.T, x.T @ d


def test_custom_vjp_is_judged() -> None:
    inputs = jnp.asarray(drawn(5, 3)), jnp.asarray(drawn(3, 2))
    report = cr.audit_module(rule(layer, layer_forward, layer_backward), *inputs)
    assert report.ok, str(report)
    assert [s.name for s in report.steps] == ["dx", "dw"]
    wrong = lambda saved, g: (layer_backward(saved, g, 1)[0], layer_backward(saved, g)[1])  # noqa: E731
    report = cr.audit_module(rule(layer, layer_forward, wrong), *inputs)
    assert [(f.name, f.cause) for f in report.findings] == [("dx", "wrong-activation-derivative")], str(report)


def test_arguments_without_a_derivative_come_first() -> None:
    power = rule(
        lambda n, x: x**n, lambda n, x: (x**n, x), lambda n, x, g: (g * n * x ** (n - 1),), nondiff_argnums=(0,)
    )
    assert cr.audit_module(power, 3, jnp.asarray(drawn(4, 2))).ok


def test_a_forward_pass_that_returns_another_output_is_refused() -> None:
    other = rule(layer, lambda x, w: (2 * layer(x, w), (x, w, layer(x, w))), layer_backward)
    with pytest.raises(cr.AuditError, match="another output"):
        cr.audit_module(other, jnp.asarray(drawn(5, 3)), jnp.asarray(drawn(3, 2)))


def test_functions_of_jax_arrays_and_of_numpy_with_a_rule() -> None:
    x, w = jnp.asarray(drawn(5, 3)), jnp.asarray(drawn(3, 2))
    assert cr.audit_layer(layer_forward, lambda d, cache: layer_backward(cache, d), x, w).ok

    @cr.custom_vjp
    def square(x: Any) -> Any:
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, g: (g * x,))
    report = cr.audit_module(square, drawn(4, 3))
    assert [(f.name, f.cause) for f in report.findings] == [("dx", "constant-factor")]


PROGRAMS: dict[str, Any] = {
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
    "relu, elu": lambda x: jax.nn.relu(x) + jax.nn.elu(x),
    "gelu, silu": lambda x: jax.nn.gelu(x) * jax.nn.silu(x),
    "normalisation": lambda x: (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5),
    "logsumexp": lambda x: jax.nn.logsumexp(x, axis=1),
    "scan": lambda x: jax.lax.scan(lambda c, v: (jnp.tanh(c * v), c + v), jnp.ones(3), x)[1],
    "reversed scan": lambda x: jax.lax.scan(lambda c, v: (c + v, c * v), jnp.ones(3), x, reverse=True)[0],
    "einsum": lambda x: jnp.einsum("ij,kj->ik", x, x),
    "batches": lambda x: jnp.matmul(x[:, None, :], x[:, :, None]),
    "views": lambda x: x.T[::-1, 1:],
    "where, clip": lambda x: jnp.where(x > 0, x, jnp.clip(x, -0.5, 0.5)),
    "concatenate, pad": lambda x: jnp.pad(jnp.concatenate([x, 2 * x], axis=1), 1),
    "at": lambda x: x.at[1:3, 0].set(x[0, 1]),
    "positions": lambda x: x[jnp.arange(4), jnp.array([0, 2, 1, 1])],
    "cross entropy": lambda x: -jnp.mean(jax.nn.log_softmax(x)[jnp.arange(4), jnp.array([0, 1, 2, 0])]),
    "one_hot": lambda x: jnp.sum(jax.nn.one_hot(jnp.array([0, 1, 2, 0]), 3) * x),
    "statistics": lambda x: x.std(0, ddof=1) + x.max(0) + jnp.cumsum(x, 0)[2],
    "tril, roll": lambda x: jnp.roll(jnp.tril(x @ x.T), 1, 0),
    "jit": jax.jit(lambda x: jnp.exp(x) ** 1.5),
    "checkpoint": jax.checkpoint(lambda x: jnp.sin(x) / (1 + x**2)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_jax_programs_are_recorded(name: str) -> None:
    node = Tensor(drawn(4, 3), name="x", recordings=frozenset({Watch()}))
    recorded = jax_recording.call_recorded(PROGRAMS[name], [Traced(node)])
    assert isinstance(recorded, Traced)
    with jax_recording.without_gradients():
        expected = np.asarray(PROGRAMS[name](jnp.asarray(drawn(4, 3))))
    np.testing.assert_allclose(np.asarray(unwrapped(recorded).value), expected, rtol=1e-10, atol=1e-12)
