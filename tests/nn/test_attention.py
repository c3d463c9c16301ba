"""Attention and transformer layers: by their formulas, by what they must not see, against PyTorch, in both engines."""

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import engine, nn
from tests.tables import for_each

ENGINES = engine.available()


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng((seed, *shape)).normal(size=shape)


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_values_are_those_of_the_formula() -> None:
    layer, x, other = nn.MultiheadAttention(6, 2, dtype=np.float64), draw(3, 4, 6), draw(3, 5, 6)
    layer.in_proj_bias.assign(draw(18))  # type: ignore[union-attr]
    W, b = np.split(layer.in_proj_weight.value, 3, 1), np.split(layer.in_proj_bias.value, 3)  # type: ignore[union-attr]
    for keys in (x, other):
        q, k, v = x @ W[0] + b[0], keys @ W[1] + b[1], keys @ W[2] + b[2]
        heads = [slice(0, 3), slice(3, 6)]
        A = [softmax(q[..., h] @ np.swapaxes(k[..., h], 1, 2) / np.sqrt(3)) for h in heads]
        joined = np.concatenate([a @ v[..., h] for a, h in zip(A, heads, strict=True)], -1)
        out, weights = layer(x, keys, return_weights=True)
        np.testing.assert_allclose(out.value, joined @ layer.out_proj.weight.value, 1e-12, 1e-14)
        np.testing.assert_allclose(weights.value, np.stack(A, 1), 1e-12)
    np.testing.assert_allclose(layer(x, x + 0, x + 0).value, layer(x).value, 1e-12)


LAYERS = {
    "attention": lambda **more: nn.MultiheadAttention(6, 3, dtype=np.float64, **more),
    "norm last": lambda **more: nn.TransformerEncoderLayer(6, 2, 8, 0.0, dtype=np.float64, **more),
    "norm first": lambda **more: nn.TransformerEncoderLayer(
        6, 2, 8, 0.0, "gelu", norm_first=True, dtype=np.float64, **more
    ),
}


@for_each("name", LAYERS)
def test_causal_layers_do_not_look_ahead(name: str) -> None:
    layer, x = LAYERS[name](causal=True), draw(2, 5, 6)
    out = layer(x).value
    for t in range(1, 5):
        np.testing.assert_allclose(layer(x[:, :t]).value, out[:, :t], 1e-12, 1e-14)
    assert not np.allclose(LAYERS[name]()(x[:, :2]).value, LAYERS[name]()(x).value[:, :2])


@for_each("name", LAYERS)
def test_masked_keys_are_not_there(name: str) -> None:
    layer, x = LAYERS[name](), draw(2, 5, 6)
    mask = np.zeros((2, 5), bool)
    mask[0, 3:] = True
    out = layer(x, key_padding_mask=mask).value
    np.testing.assert_allclose(out[0, :3], layer(x[:1, :3]).value[0], 1e-12, 1e-14)
    np.testing.assert_allclose(out[1], layer(x[1:]).value[0], 1e-12, 1e-14)


@for_each("name", LAYERS)
def test_compiled_and_eager_gradients_agree(name: str) -> None:
    layer, x = LAYERS[name](causal=True), draw(2, 5, 6)
    start = {path: p.value for path, p in layer.named_parameters()}

    def loss(parameters: Any, x: Any) -> Any:
        return np.sum(np.sin(nn.functional_call(layer, parameters, x)[0]))

    expected = cr.grad(loss, (0, 1))(start, x)
    for engine_name in ENGINES:
        found = cr.compile(cr.grad(loss, (0, 1)), engine=engine_name)(start, x)
        np.testing.assert_allclose(found[1], expected[1], 1e-9, 1e-12)
        for path, g in expected[0].items():
            np.testing.assert_allclose(found[0][path], g, 1e-9, 1e-12, err_msg=path)
    assert cr.gradcheck(lambda x: nn.functional_call(layer, start, x)[0], x[:1, :3])
    assert layer(x[:0]).shape == (0, 5, 6) and layer(x[:, :1]).shape == (2, 1, 6)


@for_each("name", LAYERS)
def test_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    layer, x = LAYERS[name](causal=True), draw(2, 5, 6)
    if name == "attention":
        theirs = torch.nn.MultiheadAttention(6, 3, batch_first=True)
    else:
        activation = {"norm last": "relu", "norm first": "gelu"}[name]
        first = name == "norm first"
        theirs = torch.nn.TransformerEncoderLayer(6, 2, 8, 0.0, activation, batch_first=True, norm_first=first)
    theirs = theirs.double()
    ours = dict(layer.named_parameters())
    for path, p in theirs.named_parameters():
        ours[path].assign(p.detach().numpy().T)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5).double()
    t = torch.tensor(x)
    out = theirs(t, t, t, attn_mask=mask)[0] if name == "attention" else theirs(t, src_mask=mask)
    np.testing.assert_allclose(layer(x).value, out.detach().numpy(), 1e-9, 1e-12)


def test_names_of_heads() -> None:
    model = nn.Sequential(nn.MultiheadAttention(6, 3), nn.TransformerEncoderLayer(6, 2, 8, 0.0), nn.Linear(6, 2))
    found = cr.backprop(model, draw(2, 5, 6), np.zeros((2, 5), int), loss="cross_entropy")
    assert found["S1"].shape == found["dA1"].shape == (2, 3, 5, 5) and found["Q1"].shape == (2, 3, 5, 2)
    assert found["dS2[self_attn]"].shape == (2, 2, 5, 5) and found["dgamma2[norm1]"].shape == (6,)


def test_descriptions_count_and_rebuild() -> None:
    layers = [nn.MultiheadAttention(6, 2, 0.1, bias=False, causal=True), nn.TransformerEncoderLayer(6, 2, 8)]
    for layer in layers:
        again = nn.from_config(layer.config())
        assert again.config() == layer.config()
        assert nn.count_parameters(layer.config()) == layer.num_parameters == again.num_parameters


MISTAKES = {
    "heads": (lambda: nn.MultiheadAttention(6, 4), r"num_heads: expected a divisor of embed_dim \(6\), got 4"),
    "features": (lambda: nn.MultiheadAttention(6, 2)(np.ones((2, 3, 5))), r"\(2, 3, 5\), .* expects \(m, T, 6\)"),
    "axes": (lambda: nn.TransformerEncoderLayer(6, 2)(np.ones((2, 6))), r"\(2, 6\), .* expects \(m, T, 6\)"),
    "keys": (lambda: nn.MultiheadAttention(6, 2)(np.ones((2, 3, 6)), np.ones((1, 3, 6))), "query, key and value"),
    "mask": (
        lambda: nn.MultiheadAttention(6, 2)(np.ones((2, 3, 6)), key_padding_mask=np.ones((2, 4), bool)),
        r"key_padding_mask: expected truth values of shape \(2, 3\), got \(2, 4\)",
    ),
    "activation": (lambda: nn.TransformerEncoderLayer(6, 2, activation="tanh"), "activation: expected"),
}


@for_each("mistake", MISTAKES)
def test_mistakes(mistake: str) -> None:
    call, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        call()
