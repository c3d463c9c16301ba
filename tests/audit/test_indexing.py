"""Loops over positions that go wrong in backward: windows, scatters, orders of axes."""

import numpy as np
import pytest

import chainrule as cr
from tests.tables import in_turn

RNG = np.random.default_rng(3)
X, KERNEL = RNG.normal(size=(4, 9)), RNG.normal(size=3)
IMAGE = RNG.normal(size=(2, 4, 4))
IDS = np.array([0, 2, 2, 1])


def slide(x, w):
    return np.stack([x[:, 2 * t : 2 * t + 3] @ w for t in range(4)], axis=1), (x, w)


def slide_backward(
    dout, cache, *, stride=2, read=2, steps=range(4), add=True, kernel=slice(None), upstream=lambda d: d
):
    x, w = cache
    dx, dw, g = np.zeros_like(x), np.zeros_like(w), upstream(dout)
    for t in steps:
        window = dx[:, stride * t : stride * t + 3]
        window[...] = window * add + g[:, t, None] * w[kernel]
        dw += dout[:, t] @ x[:, read * t : read * t + 3]
    return {"dx": dx, "dw": dw}


SLIDING = {
    "right": ({}, []),
    "overwritten": ({"add": False}, [("dx", "overwritten-overlap")]),
    "one stride": ({"stride": 1}, [("dx", "wrong-window")]),
    "read elsewhere": ({"read": 1}, [("dw", "wrong-window")]),
    "last left out": ({"steps": range(3)}, [("dx", "partial-loop")]),
    "reversed": ({"upstream": lambda d: d[:, ::-1]}, [("dx", "flipped")]),
    "no upstream": ({"upstream": np.ones_like}, [("dx", "missing-upstream")]),
}


@pytest.mark.parametrize("case", in_turn(SLIDING))
def test_windows(case):
    options, expected = SLIDING[case]
    report = cr.audit_layer(slide, lambda dout, cache: slide_backward(dout, cache, **options), X, KERNEL)
    found = [(f.name, f.cause) for f in report.findings]
    other_names = {"overwritten-overlap": "missing-term", "partial-loop": "missing-term"}  # as true, where it is a sum
    assert [n for n, _ in found] == [n for n, _ in expected]
    assert all(c in (e, other_names.get(e)) for (_, c), (_, e) in zip(found, expected, strict=True)), found


def pooled(x):
    return np.stack([x[:, i : i + 2, j : j + 2].max(axis=(1, 2)) for i in (0, 2) for j in (0, 2)], axis=1), x


def pooled_backward(dout, x):
    dx = np.zeros_like(x)
    for i, j in ((0, 0), (0, 2), (2, 0), (2, 2)):
        window = x[:, i : i + 2, j : j + 2]
        dx[:, i : i + 2, j : j + 2] = window == window.max(axis=(1, 2), keepdims=True)
    return dx


def assigned(dout, x):
    dx = np.zeros_like(x)
    dx[:, IDS] = dout
    return dx


LAYERS = {
    "kernel gradient": (lambda x: (np.cumsum(x, axis=1), x), lambda d, x: np.cumsum(d[:, ::-1], axis=1), "flipped"),
    "axes": (
        lambda x: (x.transpose(0, 2, 1).reshape(len(x), -1), x),
        lambda d, x: d.reshape(x.shape),
        "transposed",
    ),
    "maximum": (pooled, pooled_backward, "missing-upstream"),
    "tile": (lambda x: (np.tile(x, (1, 3)), x), lambda d, x: d[:, : x.shape[1]], "partial-loop"),
    "scatter": (lambda x: (x[:, IDS], x), assigned, "overwritten-overlap"),
    "padding": (lambda x: (np.pad(x, ((0, 0), (2, 2))), x), lambda d, x: d[:, 4:], "wrong-window"),
}


@pytest.mark.parametrize("case", in_turn(LAYERS, every=2))
def test_layers(case):
    forward, backward, cause = LAYERS[case]
    report = cr.audit_layer(forward, backward, IMAGE if case in ("axes", "maximum") else X)
    assert [(f.name, f.cause) for f in report.findings] == [("dx", cause)]


def test_no_bias_code_for_weights():
    w = RNG.normal(size=5)
    report = cr.audit_layer(
        lambda x, w: (x @ w, (x, w)),
        lambda dout, c: {"dx": dout[:, None] * c[1], "dw": dout @ c[0] + 0.1 * c[1]},
        RNG.normal(size=(6, 5)),
        w,
    )
    assert [(f.name, f.cause) for f in report.findings] == [("dw", "wrong-regularization")]
