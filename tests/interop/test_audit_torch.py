"""Audits of backward passes on PyTorch's tensors: `autograd.Function`, functions, and gradients compared by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.adapters import torch_recording
from chainrule.adapters.recording import Traced, Watch, unwrapped
from chainrule.core.tensor import Tensor

torch = pytest.importorskip("torch")
F = torch.nn.functional


def drawn(*shape: int) -> Any:
    return torch.from_numpy(np.random.default_rng(sum(shape)).normal(size=shape))


def function(forward: Any, backward: Any) -> Any:
    return type(
        "Function", (torch.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    )


def linear(ctx: Any, x: Any, weight: Any, bias: Any) -> Any:
    ctx.save_for_backward(x, weight)
    return F.linear(x, weight, bias)


def norm(ctx: Any, x: Any, gamma: Any, eps: float) -> Any:
    std = (x.var(-1, unbiased=False, keepdim=True) + eps).sqrt()
    hat = (x - x.mean(-1, keepdim=True)) / std
    ctx.save_for_backward(hat, gamma, std)
    return hat * gamma


def norm_backward(ctx: Any, g: Any, whole: bool = True) -> Any:
    hat, gamma, std = ctx.saved_tensors
    d = g * gamma
    dx = d - d.mean(-1, keepdim=True) - (hat * (d * hat).mean(-1, keepdim=True) if whole else 0)
    return dx / std, (g * hat).sum(0), None


def swish(ctx: Any, x: Any) -> Any:
    ctx.beta = 1.5
    ctx.save_for_backward(x)
    return x * torch.sigmoid(ctx.beta * x)


def swish_backward(ctx: Any, g: Any, whole: bool = True) -> Any:
    (x,) = ctx.saved_tensors
    s = torch.sigmoid(ctx.beta * x)
    return g * (s + (ctx.beta if whole else 1) * x * s * (1 - s))


def masked(ctx: Any, x: Any) -> Any:
    out = x.clone()
    out[out < 0] = 0
    out *= 2
    ctx.save_for_backward(out)
    return out


RULES = {  # forward, right backward, wrong backward, inputs, the step and the cause
    "linear": (
        linear,
        lambda ctx, g: (g @ ctx.saved_tensors[1], g.t() @ ctx.saved_tensors[0], g.sum(0)),
        lambda ctx, g: (g @ ctx.saved_tensors[1], g.t() @ ctx.saved_tensors[0], g),
        (drawn(5, 3), drawn(2, 3), drawn(2)),
        ("dbias", "bias-not-summed"),
    ),
    "normalisation": (
        norm,
        norm_backward,
        lambda ctx, g: norm_backward(ctx, g, False),
        (drawn(6, 4), drawn(4), 1e-5),
        ("dx", "missing-term"),
    ),
    "activation": (
        swish,
        swish_backward,
        lambda ctx, g: swish_backward(ctx, g, False),
        (drawn(4, 3),),
        ("dx", "constant-factor"),
    ),
    "written in place": (
        masked,
        lambda ctx, g: 2 * g * (ctx.saved_tensors[0] > 0),
        lambda ctx, g: 2 * g,
        (drawn(4, 3),),
        ("dx", "missing-factor"),
    ),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_functions_with_their_own_derivative_are_judged(name: str, dtype: str) -> None:
    forward, right, wrong, inputs, (step, cause) = RULES[name]
    inputs = tuple(x.to(getattr(torch, dtype)) if isinstance(x, torch.Tensor) else x for x in inputs)
    report = cr.audit_module(function(forward, right), *inputs)
    assert report.ok, str(report)
    assert not any("could not be recorded" in note for note in report.notes)
    report = cr.audit_module(function(forward, wrong), *inputs)
    assert [(f.name, f.cause) for f in report.findings] == [(step, cause)], str(report)


def test_setup_context_and_functions_without_a_class() -> None:
    class Product(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(a: Any, b: Any) -> Any:
            return a * b

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            a, b = ctx.saved_tensors
            return g * b, g * a

    assert cr.audit_module(Product, drawn(4, 3), drawn(4, 3)).ok

    def forward(x: Any, w: Any) -> Any:
        z = torch.tanh(x @ w)
        return z, (x, w, z)

    def backward(d: Any, cache: Any) -> Any:
        x, w, z = cache
        d = d * (1 - z)
        return d @ w.t(), x.t() @ d

    report = cr.audit_layer(forward, backward, drawn(5, 3), drawn(3, 2))
    assert [f.name for f in report.findings] == ["dx"]  # dw follows from the same d
    assert cr.audit_layer(forward, lambda d, c: backward(d * (1 + c[2]), c), drawn(5, 3), drawn(3, 2)).ok


PROGRAMS: dict[str, Any] = {
    "softmax": lambda x: F.softmax(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, 0),
    "cross_entropy": lambda x: F.cross_entropy(x, torch.tensor([0, 2, 1, 1])),
    "layer_norm": lambda x: F.layer_norm(x, (3,)),
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": F.softplus,
    "elu": F.elu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "std": lambda x: x.std(0),
    "var": lambda x: x.var(1, unbiased=False),
    "norm": lambda x: x.norm(dim=1),
    "max": lambda x: x.max(1).values,
    "amax": lambda x: x.amax((0, 1)),
    "logsumexp": lambda x: x.logsumexp(1),
    "cumsum": lambda x: x.cumsum(0),
    "prod": lambda x: x.prod(1),
    "gather": lambda x: x.gather(1, torch.tensor([[0], [1], [2], [0]])),
    "indexing": lambda x: x[torch.arange(4), torch.tensor([0, 2, 1, 1])],
    "masked_fill": lambda x: x.masked_fill(x > 0, 3.0),
    "where": lambda x: torch.where(x > 0, x, 2 * x),
    "cat, chunk": lambda x: torch.cat(x.chunk(3, 1)[::-1], 0),
    "stack, unbind": lambda x: torch.stack(x.unbind(1)),
    "permute, flip, roll": lambda x: x.permute(1, 0).flip(0).roll(1, 0),
    "expand, repeat": lambda x: x[:, :1].expand(4, 5) + x[:, :1].repeat(1, 5),
    "bmm": lambda x: x[:, None, :] @ x[:, :, None],
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
    "tril": lambda x: (x @ x.t()).tril(),
    "write a row": lambda x: _written(x),
    "mse": lambda x: F.mse_loss(x, torch.ones(4, 3, dtype=x.dtype)),
    "rsqrt, pow": lambda x: (x**2 + 1).rsqrt() ** 1.5,
    "squeeze": lambda x: x.unsqueeze(1).squeeze(),
}


def _written(x: Any) -> Any:
    out = torch.zeros(4, 3, dtype=x.dtype)
    out[1:3] = x[:2]
    out[0] += x[3]
    return out


@pytest.mark.parametrize("name", PROGRAMS)
def test_torch_programs_are_recorded(name: str) -> None:
    node = Tensor(drawn(4, 3).numpy(), name="x", recordings=frozenset({Watch()}))
    recorded = torch_recording.call_recorded(PROGRAMS[name], [Traced(node)], torch.float64)
    assert isinstance(recorded, Traced)
    np.testing.assert_allclose(np.asarray(unwrapped(recorded).value), PROGRAMS[name](drawn(4, 3)), rtol=1e-12)


# -- gradients compared one by one -------------------------------------------------------------------------------------


def compared(bug: str) -> dict[str, tuple[str, str]]:
    """Compare the gradients of a small classifier, by hand; return verdict and cause by name."""
    X, W, b, Y = drawn(6, 4), drawn(4, 3).requires_grad_(), drawn(3).requires_grad_(), torch.tensor([0, 1, 2, 0, 1, 2])
    logits = X @ W + b
    counts = logits.exp()
    total = counts.sum(1, keepdim=True)
    shares = counts / total
    loss = -shares.log()[range(6), Y].mean()
    compare = cr.Comparison(loss)
    with torch.no_grad():
        dshares = torch.zeros_like(shares)
        dshares[range(6), Y] = (-1 if bug == "mean" else -1 / 6) / shares[range(6), Y]
        compare("shares", dshares, shares)
        dtotal = (-(dshares * counts) / total**2 * (-1 if bug == "sign" else 1)).sum(1, keepdim=bug != "shape")
        compare("total", dtotal, total)
        dcounts = dshares / total + (0 if bug == "path" else dtotal.reshape(-1, 1))
        compare("counts", dcounts, counts)
        dlogits = dcounts * (logits if bug == "operand" else counts)
        compare("logits", dlogits, logits)
        compare("W", X.t() @ dlogits, W)
        compare("b", dlogits.sum(0), b)
    assert compare.ok == (bug == "")
    return {r.name: (r.verdict, r.cause) for r in compare.results}


@pytest.mark.parametrize(
    ("bug", "step", "cause"),
    [
        ("mean", "shares", "constant-factor"),
        ("sign", "total", "sign"),
        ("shape", "total", "wrong-shape"),
        ("path", "counts", "missing-term"),
        ("operand", "logits", "unknown"),
    ],
)
def test_an_error_is_told_from_those_that_inherit_it(bug: str, step: str, cause: str, capsys: Any) -> None:
    found = compared(bug)
    names = list(found)
    assert found[step] == ("wrong", cause)
    assert all(found[n][0] == "right" for n in names[: names.index(step)])
    later = {found[n][0] for n in names[names.index(step) + 1 :]}
    assert later == ({"right"} if bug == "shape" else {"inherited"})
    assert f"{step:15s} | wrong" in capsys.readouterr().out


def test_right_gradients_are_right() -> None:
    assert {verdict for verdict, _ in compared("").values()} == {"right"}


def test_sums_that_cancel_are_judged_by_what_cancels() -> None:
    x, b = drawn(64, 5).float(), torch.zeros(5, requires_grad=True)
    h = x + b
    centred = h - h.mean(0)
    loss = (centred**3).sum()
    compare = cr.Comparison(loss)
    d = 3 * centred.detach() ** 2
    dh = d - d.mean(0)
    assert compare.compare("h", dh, h).verdict == "right"
    assert compare.compare("b", dh.sum(0), b).verdict == "right"


def test_without_a_graph_only_right_and_wrong_are_told() -> None:
    w = drawn(3).requires_grad_()
    y = w.exp()
    y.retain_grad()
    loss = (y**2).sum()
    loss.backward()
    compare = cr.Comparison(loss)
    assert compare.compare("y", 2 * y.detach(), y).verdict == "right"
    wrong = compare.compare("w", 2 * y.detach(), w)
    assert wrong.verdict == "wrong"
    assert "retain_graph=True" in wrong.message


@pytest.mark.parametrize("loss", [3.0, torch.ones(2, requires_grad=True) * 2, torch.ones(())])
def test_what_is_no_loss_is_refused(loss: Any) -> None:
    with pytest.raises(ValueError, match="loss: expected a scalar tensor"):
        cr.Comparison(loss)
