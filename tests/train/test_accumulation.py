"""Gradients of several batches in one update, and averages of the weights: checked with one large batch and PyTorch."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn import losses
from chainrule.train import TrainingStep

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(52, 4)), RNG.normal(size=(52, 2))


def network(dtype: Any = np.float64) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)


def fitted(**more: Any) -> tuple[nn.Sequential, cr.History]:
    model = more.pop("model", None) or network()
    given = {"loss": "mse", "optimizer": optim.Adam(0.05, clip_norm=0.5), "epochs": 3, "progress": False} | more
    return model, cr.fit(model, X, Y, **given)


def close(a: nn.Module, b: nn.Module, **tolerance: float) -> None:
    for path, array in a.state_dict().items():
        np.testing.assert_allclose(array, b.state_dict()[path], **{"rtol": 1e-9, "atol": 1e-12} | tolerance)


@pytest.mark.parametrize("engine", ["numpy", None])
@pytest.mark.parametrize("size, accumulate", [(13, 2), (13, 4), (8, 3), (10, 2), (5, 3), (52, 2), (20, 9)])
def test_the_update_is_that_of_one_large_batch(size: int, accumulate: int, engine: Any) -> None:
    weights = np.where(RNG.random(52) < 0.3, 0.0, RNG.random(52)) if size == 8 else None
    parts, seen = fitted(batch_size=size, accumulate=accumulate, engine=engine, sample_weight=weights)
    whole, wanted = fitted(batch_size=size * accumulate, engine=engine, sample_weight=weights)
    close(parts, whole)
    assert seen["lr"] == wanted["lr"]
    if weights is None:
        assert seen["loss"][0] >= 0 and len(seen) == 3


COUNTED = {
    "ignore_index": functools.partial(losses.cross_entropy, ignore_index=-1),
    "weight": functools.partial(losses.cross_entropy, weight=[1.0, 5.0, 0.0, 2.0]),
    "both": functools.partial(functools.partial(losses.cross_entropy, ignore_index=-1), weight=[1.0, 5.0, 0.0, 2.0]),
}


@pytest.mark.parametrize("how", COUNTED)
def test_examples_that_count_more_than_others(how: str) -> None:
    """One update of uneven batches, and weights of one, give what one batch gives; weights of two what repeats do."""
    rng = np.random.default_rng(1)
    x, ids = rng.normal(size=(24, 3, 4)), rng.integers(0, 4, (24, 3))
    if how != "weight":
        ids[:12, 1:] = -1

    def trained(rows: Any = slice(None), **more: Any) -> nn.Sequential:
        model = nn.Sequential(nn.Linear(4, 4, seed=1)).to(np.float64)
        settings = {"loss": COUNTED[how], "optimizer": optim.SGD(0.5), "epochs": 1, "progress": False} | more
        cr.fit(model, x[rows], ids[rows], shuffle=False, **settings)
        return model

    whole = trained(batch_size=None)
    close(trained(batch_size=10, accumulate=3), whole)
    close(trained(batch_size=None, sample_weight=np.ones(24)), whole)
    twice = np.arange(24) < 4
    rows, weights = np.repeat(np.arange(24), 1 + twice), 1.0 + twice
    close(trained(batch_size=None, sample_weight=weights), trained(rows, batch_size=None))
    close(trained(batch_size=10, accumulate=3, sample_weight=weights), trained(rows, batch_size=None))


def test_several_losses_that_count_differently_are_refused() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            return {"a": self.a(x), "b": self.b(x)}

    y = {"a": np.arange(52) % 2, "b": Y}
    for more in ({"accumulate": 2}, {"sample_weight": np.ones(52)}):
        with pytest.raises(ValueError, match=r"loss\['a'\] counts some examples more"):
            cr.fit(Both(), X, y, loss={"a": COUNTED["ignore_index"], "b": "mse"}, progress=False, **more)


def test_schedules_and_regularisation_count_updates() -> None:
    rule = optim.SGD(optim.Cosine(0.5, 6))
    parts, seen = fitted(batch_size=13, accumulate=2, optimizer=rule, l2=0.1)
    whole, wanted = fitted(batch_size=26, optimizer=rule, l2=0.1)
    close(parts, whole)
    assert seen["lr"] == wanted["lr"] and wanted["lr"][0] == float(optim.Cosine(0.5, 6)(1))


@pytest.mark.parametrize("steps", [1, 3, None])
def test_resumed_between_the_batches_of_an_update(steps: Any, tmp_path: pathlib.Path) -> None:
    settings = {"batch_size": 8, "accumulate": 3, "ema": 0.9, "epochs": 3}
    whole, history = fitted(**settings)
    saving = cr.Checkpoint(tmp_path / "run.ckpt", steps=steps)

    class Stop(cr.Callback):
        def on_step(self, run: Any) -> None:
            if run.step == 10:
                run.stop()

    fitted(**settings, checkpoint=saving, callbacks=[Stop()])
    other, rows = fitted(**settings, model=network().initialize(4), checkpoint=saving, resume=True, callbacks=[Stop()])
    close(other, whole, rtol=0, atol=0)
    assert rows["loss"] == history["loss"]
    for path, array in (history.last_parameters or {}).items():
        assert np.array_equal(array, (rows.last_parameters or {})[path])
    with pytest.raises(ValueError, match="accumulate was 3, is None"):
        fitted(batch_size=8, ema=0.9, checkpoint=saving, resume=True)


def test_only_the_last_batch_of_an_update_pays_for_it() -> None:
    step = TrainingStep(network(np.float32), "mse", optim.Adam(0.1), accumulate=True)
    x, y = X[:8].astype(np.float32), Y[:8].astype(np.float32)
    before = {k: v.copy() for k, v in step.parameters.items()}
    plans = [step.binding(x, y, last=last).plan for last in (False, True)]
    assert len(plans[0].updates) == 2 < len(plans[1].updates)  # the sum and its count; not the moments
    step.run(x, y, last=False)
    assert all(np.array_equal(before[k], v) for k, v in step.parameters.items()) and step.updates == 0
    step.run(x, y, last=True)
    assert not any(np.array_equal(before[k], v) for k, v in step.parameters.items()) and step.updates == 1


@pytest.mark.parametrize("engine", ["numpy", None])
def test_averages_are_those_of_pytorch(engine: Any) -> None:
    torch = pytest.importorskip("torch")
    from torch.optim import swa_utils

    ours = network()
    theirs = cr.to_torch(ours)
    average = swa_utils.AveragedModel(theirs, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.8))
    rule = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for start in [0, 13, 26, 39] * 2:
        rule.zero_grad()
        rows = torch.from_numpy(X[start : start + 13]), torch.from_numpy(Y[start : start + 13])
        torch.nn.functional.mse_loss(theirs(rows[0]), rows[1]).backward()
        rule.step()
        average.update_parameters(theirs)
    _, history = fitted(
        model=ours, batch_size=13, ema=0.8, optimizer=optim.SGD(0.1), epochs=2, shuffle=False, engine=engine
    )
    close(ours, cr.from_torch(average.module))
    for path, array in cr.from_torch(theirs).state_dict().items():
        np.testing.assert_allclose((history.last_parameters or {})[path], array, rtol=1e-9)


def test_averages_are_validated_saved_and_kept_by_early_stopping() -> None:
    seen = []

    def look(run: Any) -> None:
        seen.append((run.history[-1]["val_loss"], cr.evaluate(run.model, X[:9], Y[:9], loss="mse")["loss"]))

    model, history = fitted(validation=(X[:9], Y[:9]), ema=0.95, callbacks=[look], early_stopping=2, epochs=4)
    assert all(a == pytest.approx(b, rel=1e-12) for a, b in seen)
    best = min(history["val_loss"])
    assert cr.evaluate(model, X[:9], Y[:9], loss="mse")["loss"] == pytest.approx(best, rel=1e-9)
    assert history.last_parameters is not None and fitted()[1].last_parameters is None


@pytest.mark.parametrize("rule", [optim.Adam(0.1), optim.Lion(0.1)])
def test_all_of_it_runs_in_the_native_engine(rule: Any) -> None:
    step = TrainingStep(network(np.float32), "mse", rule, accumulate=True, ema=0.99, engine="native")
    for last in (True, False):
        binding: Any = step.binding(X[:8].astype(np.float32), Y[:8].astype(np.float32), last)
        assert binding.left_to_numpy == ()


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"accumulate": 0}, "accumulate: expected an integer ≥ 1, got 0"),
        ({"accumulate": 1.5}, "accumulate: expected an integer"),
        ({"ema": 1.0}, "ema: expected a number > 0 and < 1 or None, got 1.0"),
        ({"ema": "0.9"}, "ema: expected a number"),
    ],
)
def test_wrong_settings_are_named(settings: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fitted(**settings)
