"""Modules of several inputs and outputs: as the same network of one array, and as a loop written by hand."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

RNG = np.random.default_rng(0)
A, B, IDS = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 2, 2)), RNG.integers(0, 5, 40)
KIND, WIDTH = RNG.integers(0, 3, 40), RNG.normal(size=(40, 1))


class Base(nn.Module):
    """Two inputs and row numbers, two outputs."""

    def __init__(self) -> None:
        self.first, self.second = nn.Linear(3, 4, dtype=np.float64), nn.Linear(4, 4, dtype=np.float64)
        self.table = nn.Embedding(5, 4, dtype=np.float64)
        self.kind, self.width = nn.Linear(4, 3, dtype=np.float64), nn.Linear(4, 1, dtype=np.float64)

    def outputs(self, a: Any, b: Any, ids: Any) -> tuple[Any, Any]:
        h = np.tanh(self.first(a) + self.second(np.reshape(b, (len(b), 4))) + self.table(ids))
        return self.kind(h), self.width(h)


class Positional(Base):
    def forward(self, a: Any, b: Any, ids: Any) -> Any:
        return self.outputs(a, b, ids)


class Named(Base):
    def forward(self, image: Any, *, text: Any, ids: Any) -> Any:
        kind, width = self.outputs(image, text, ids)
        return {"kind": kind, "width": width}


class Nested(Base):
    def forward(self, batch: Any) -> Any:
        kind, width = self.outputs(batch["images"][0], batch["images"][1], batch["ids"])
        return {"kind": kind, "width": width}


def both(outputs: Any, targets: Any) -> Any:
    a, b = (outputs["kind"], outputs["width"]) if isinstance(outputs, dict) else outputs
    y, w = (targets["kind"], targets["width"]) if isinstance(targets, dict) else targets
    return nn.losses.cross_entropy(a, y) + 0.5 * nn.losses.mse(b, w)


NAMED = {"kind": KIND, "width": WIDTH}
WAYS: dict[str, tuple[Any, Any, Any, Any]] = {
    "tuples": (Positional, (A, B, IDS), (KIND, WIDTH), both),
    "tuple of losses": (Positional, (A, B, IDS), (KIND, WIDTH), ("cross_entropy", ("mse", 0.5))),
    "names": (Named, {"image": A, "text": B, "ids": IDS}, NAMED, both),
    "dict of losses": (Named, {"ids": IDS, "text": B, "image": A}, NAMED,
                       {"kind": "cross_entropy", "width": ("mse", 0.5)}),
    "a nest": (Nested, {"images": (A, B), "ids": IDS}, NAMED, {"width": ("mse", 0.5), "kind": nn.losses.cross_entropy}),
}  # fmt: skip


def by_hand(steps: int, size: int, accumulate: int = 1) -> dict[str, Any]:
    model, rule = Positional(), optim.Adam(0.02)
    values = {path: np.array(p.value) for path, p in model.named_parameters()}
    state = rule.init(values)

    def loss(values: Any, rows: slice) -> Any:
        return both(nn.functional_call(model, values, A[rows], B[rows], IDS[rows])[0], (KIND[rows], WIDTH[rows]))

    for _ in range(steps):
        for start in range(0, 40, size):
            values, state = rule.update(cr.grad(loss)(values, slice(start, start + size)), state, values)
    return values


def fitted(way: str, **more: Any) -> tuple[nn.Module, cr.History]:
    make, X, y, loss = WAYS[way]
    model = more.pop("model", None) or make()
    given = {"loss": loss, "optimizer": optim.Adam(0.02), "epochs": 3, "batch_size": 16, "shuffle": False,
             "progress": False} | more  # fmt: skip
    return model, cr.fit(model, X, y, **given)


@pytest.mark.parametrize("engine", ["numpy", None])
@pytest.mark.parametrize("way", WAYS)
def test_fit_is_the_loop_by_hand(way: str, engine: Any) -> None:
    model, history = fitted(way, engine=engine)
    for path, value in by_hand(3, 16).items():
        np.testing.assert_allclose(model.state_dict()[path], value, rtol=1e-9, atol=1e-12)
    parts, _ = fitted(way, engine=engine, batch_size=8, accumulate=2)
    for path, value in by_hand(3, 16).items():
        np.testing.assert_allclose(parts.state_dict()[path], value, rtol=1e-9, atol=1e-12)
    _, X, y, loss = WAYS[way]
    figures = cr.evaluate(model, X, y, loss=loss, batch_size=7)
    out = cr.predict(model, X, batch_size=7)
    kind, width = (out["kind"], out["width"]) if isinstance(out, dict) else out
    assert figures["loss"] == pytest.approx(float(both((kind, width), (KIND, WIDTH))), rel=1e-12)
    if not callable(loss):
        key = "kind" if isinstance(loss, dict) else 0
        assert figures[f"{key}_accuracy"] == np.mean(np.argmax(kind, 1) == KIND)
        assert f"{key}_accuracy" in history.columns and f"{key}_loss" in history.columns


@pytest.mark.parametrize("way", ["tuples", "dict of losses"])
def test_validation_weights_and_resume(way: str, tmp_path: pathlib.Path) -> None:
    weights = np.where(np.arange(40) < 30, 1.0, 0.0)
    settings = {"validation": 0.25, "shuffle": True, "batch_size": 8}
    whole, history = fitted(way, **settings)
    fitted(way, **settings, epochs=1, checkpoint=tmp_path / "run")
    other, rows = fitted(way, **settings, checkpoint=tmp_path / "run", resume=True)
    assert all(np.array_equal(a, other.state_dict()[path]) for path, a in whole.state_dict().items())
    assert rows["val_loss"] == history["val_loss"]
    if way != "tuples":
        some, _ = fitted(way, sample_weight=weights, batch_size=None)
        make, X, y, loss = WAYS[way]
        few = make()
        take = {k: v[:30] for k, v in X.items()}, {k: v[:30] for k, v in y.items()}
        cr.fit(few, *take, loss=loss, optimizer=optim.Adam(0.02), epochs=3, batch_size=None, progress=False)
        for path, value in few.state_dict().items():
            np.testing.assert_allclose(some.state_dict()[path], value, rtol=1e-9, atol=1e-12)


def test_a_dict_of_vectors_is_a_table_unless_forward_has_these_names() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            self.scale = nn.Parameter(np.ones(1))

        def forward(self, a: Any, b: Any) -> Any:
            return (a + b) * self.scale

    columns = {"a": A[:, 0], "b": A[:, 1]}
    np.testing.assert_array_equal(cr.predict(Sum(), columns), A[:, 0] + A[:, 1])
    layer = nn.Linear(2, 1, dtype=np.float64)
    np.testing.assert_allclose(cr.predict(layer, columns), A[:, :2] @ layer.weight.value + layer.bias.value)


def wrong(**more: Any) -> Any:
    make, X, y, loss = WAYS["dict of losses"]
    return lambda: cr.fit(make(), more.pop("X", X), more.pop("y", y), **{"loss": loss, "progress": False, **more})


BAD = A.copy()
BAD[3, 1] = np.nan
WRONG: list[tuple[Any, str]] = [
    (wrong(X={"image": A[:9], "text": B, "ids": IDS}), r"X\['text'\] has 40 rows, X\['image'\] has 9"),
    (wrong(X={"image": BAD, "text": B, "ids": IDS}), r"X\['image'\] holds 1 value that is not finite"),
    (wrong(y={"kind": KIND[:3], "width": WIDTH}), r"y\['kind'\] has shape \(3,\), X has 40 rows"),
    (wrong(y={"kind": KIND, "width": np.ones((40, 2))}), r"loss\['width'\]: "),
    (wrong(y={"kind": KIND + 3, "width": WIDTH}), r"loss\['kind'\]: "),
    (wrong(y={"kind": KIND}), r"loss\['width'\]: the target has \['kind'\]"),
    (wrong(y=KIND), "the target is one array, the loss is a dict"),
    (wrong(loss={"sort": "mse"}), r"loss\['sort'\]: the output has \['kind', 'width'\]"),
    (wrong(loss={"kind": "cross"}), r"loss\['kind'\]: unknown loss 'cross'"),
    (wrong(loss={"kind": ("mse", -1)}), r"the weight of loss\['kind'\]: expected a number"),
    (wrong(loss={"kind": ("mse", 1, 2)}), r"expected a loss or a pair \(loss, weight\), got 3 entries"),
    (wrong(loss={}), "loss is an empty dict"),
    (
        wrong(loss="mse", y=WIDTH),
        "the model returned a dict of 2, y is one array, and the loss 'mse' takes one of each",
    ),
]


@pytest.mark.parametrize("call, said", WRONG)
def test_wrong_nests_are_named(call: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        call()


def test_a_value_that_is_not_finite_is_named() -> None:
    with pytest.raises(cr.NonFiniteError, match=r"epoch 1, step \d of 3: the first non-finite tensor is"):
        fitted("tuples", optimizer=optim.SGD(1e300))
