"""fit: random numbers, settings that change, and state outside of the model."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.guards import Guards
from chainrule.train import TrainingStep
from chainrule.train.feed import Rows

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(48, 3)).astype(np.float32), RNG.normal(size=(48, 2)).astype(np.float32)


class Noisy(nn.Module):
    """Adds noise, a generator's or that of the run, to what a layer computes."""

    def __init__(self, own: bool) -> None:
        self.inner = nn.Linear(3, 2)
        self.noise = cr.random.Generator(1) if own else None
        self.scale = 0.1

    def forward(self, x: Any) -> Any:
        z = self.inner(x)
        return z + self.scale * (cr.random if self.noise is None else self.noise).normal(z.shape)


def fitted(own: bool, **more: Any) -> tuple[Noisy, cr.train.History]:
    model = Noisy(own)
    given = {"loss": "mse", "optimizer": optim.Adam(1e-2), "epochs": 4, "batch_size": 16, "progress": False} | more
    return model, cr.fit(model, X, Y, **given)


@pytest.mark.parametrize("engine", ["numpy", None])
@pytest.mark.parametrize("own", [False, True])
def test_each_step_draws_new_noise_and_runs_are_reproducible(own: bool, engine: Any) -> None:
    def residual(output: Any, target: Any) -> Any:
        return np.mean((output - target) ** 2)

    model = Noisy(own)
    step = TrainingStep(model, residual, optim.SGD(1e-30), engine=engine)
    losses = [step.run(X, Y)[0] for _ in range(6)]
    assert len(set(losses)) == 6
    one, first = fitted(own, engine=engine, seed=3, validation=0.25)
    other, second = fitted(own, engine=engine, seed=3, validation=0.25)
    assert np.array_equal(one.inner.weight.value, other.inner.weight.value)
    assert first["val_loss"] == second["val_loss"]
    if not own:
        assert not np.array_equal(one.inner.weight.value, fitted(own, engine=engine, seed=4)[0].inner.weight.value)


@pytest.mark.parametrize("own", [False, True])
def test_a_resumed_run_draws_what_the_whole_run_draws(own: bool, tmp_path: pathlib.Path) -> None:
    whole, _ = fitted(own, epochs=4)
    file = tmp_path / "run.ckpt"
    fitted(own, epochs=2, checkpoint=file)
    resumed, _ = fitted(own, epochs=4, checkpoint=file, resume=True)
    assert np.array_equal(resumed.inner.weight.value, whole.inner.weight.value)


def test_draws_of_numpy_are_refused_in_the_model_and_in_the_loss() -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            self.inner = nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            return self.inner(x) + np.random.normal()

    with pytest.raises(TypeError, match=r"np\.random during a training step"):
        cr.fit(Wrong(), X, Y, loss="mse", progress=False)
    rng = np.random.default_rng(0)
    with pytest.raises(TypeError, match="drawn from rng"):
        cr.fit(nn.Linear(3, 2), X, Y, loss=lambda o, t: np.mean((o - t) ** 2) * rng.uniform(), progress=False)


def test_settings_that_a_callback_changes_take_effect_in_the_next_epoch() -> None:
    weight = {"penalty": 0.0}

    def loss(output: Any, target: Any) -> Any:
        return np.mean((output - target) ** 2) + weight["penalty"]

    class Anneal(cr.train.Callback):
        def on_epoch(self, run: Any) -> None:
            weight["penalty"] = 100.0 * run.epoch

    history = cr.fit(
        nn.Linear(3, 2), X, Y, loss=loss, optimizer=optim.SGD(1e-30), epochs=3, callbacks=[Anneal()], progress=False
    )
    np.testing.assert_allclose(np.diff(history["loss"]), 100.0, rtol=1e-4)


class Scaled(nn.Module):
    """Multiplies by a setting; may also store something in itself while it is traced."""

    def __init__(self, stores: str) -> None:
        self.inner, self.stores, self.rows, self.seen = nn.Linear(3, 2), stores, 0, []
        self.settings = {"scale": 1.0}

    def forward(self, x: Any) -> Any:
        if self.stores == "attribute":
            self.rows = len(x)
        elif self.stores == "entry":
            self.seen.append(len(x))
        elif self.stores == "setting of short batches" and len(x) < 16:
            self.settings["scale"] = 3.0
        return self.settings["scale"] * self.inner(x)


@pytest.mark.parametrize(
    ("stores", "looks", "scales"),
    [
        ("nothing", 1, (1.0, 1.0)),  # the functions are looked through once for both sizes
        ("attribute", 1, (1.0, 1.0)),
        ("entry", 2, (1.0, 1.0)),
        ("setting of short batches", 2, (1.0, 3.0)),
    ],
)
def test_plans_of_several_batch_sizes_follow_the_settings(
    stores: str, looks: int, scales: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    original = Guards.__init__
    monkeypatch.setattr(Guards, "__init__", lambda self, functions: (made.append(self), original(self, functions))[1])
    model = Scaled(stores)
    step = TrainingStep(model, lambda output, target: np.sum(output**2), optim.SGD(1e-30))
    W, b = (p.value.copy() for p in model.parameters())

    def losses() -> list[float]:
        return [step.run(X[:n], Y[:n])[0] for n in (16, 5)]

    def expected(*scales: float) -> list[float]:
        return [float(np.sum((s * (X[:n] @ W + b)) ** 2)) for n, s in zip((16, 5), scales, strict=True)]

    np.testing.assert_allclose(losses(), expected(*scales), rtol=1e-5)
    assert len(made) == looks
    model.settings["scale"] = 2.0
    changed = (2.0, 3.0) if stores == "setting of short batches" else (2.0, 2.0)
    np.testing.assert_allclose(losses(), expected(*changed), rtol=1e-5)


def test_a_plan_that_has_been_dropped_is_made_anew_when_a_setting_has_changed() -> None:
    model = Scaled("nothing")
    step = TrainingStep(model, lambda output, target: np.sum(output**2), optim.SGD(1e-30))
    feed = Rows(X, Y, len(X), 16, lambda epoch: np.arange(len(X)))
    feed.start(0, 0)

    def loss() -> Any:
        feed.bind(step)
        return feed.run(step, 0, 1)[0][0][0]

    before = loss()
    for rows in range(1, 9):  # as many plans as are kept
        step.run(X[:rows], Y[:rows])
    model.settings["scale"] = 2.0
    np.testing.assert_allclose(loss(), 4 * before, rtol=1e-5)
    model.settings["scale"] = 3.0
    np.testing.assert_allclose(loss(), 9 * before, rtol=1e-5)


def test_buffers_of_a_module_in_the_loss_are_kept() -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            self.register_buffer("mean", np.zeros((), np.float32))

        def forward(self, output: Any, target: Any) -> Any:
            loss = np.mean((output - target) ** 2)
            self.mean = 0.5 * self.mean + loss.detach()
            return loss

    centred, expected = Centred(), 0.0
    step = TrainingStep(nn.Linear(3, 2), centred, optim.SGD(0.1))
    for _ in range(4):
        expected = 0.5 * expected + step.run(X, Y)[0]
    assert not centred.mean.any()
    step.write_back()
    np.testing.assert_allclose(centred.mean, expected, rtol=1e-6)
