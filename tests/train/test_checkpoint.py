"""Checkpoints: a run that was cut off goes on to the same bits."""

import os
import signal
import subprocess
import sys
import textwrap
from itertools import product

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.io import load_arrays, save_arrays
from chainrule.train.step import TrainingStep
from tests.tables import in_turn

SCHEDULE = optim.WarmUp(3, optim.Cosine(1e-2, 20))
RUNS = {
    "sgd momentum": ({}, {"optimizer": optim.SGD(0.05, momentum=0.9)}),
    "adam schedule": ({}, {"optimizer": optim.Adam(SCHEDULE, clip_norm=1.0)}),
    "dropout": ({"dropout": 0.4}, {"optimizer": optim.AdamW(1e-2)}),
    "batch norm": ({"batch_norm": True}, {"optimizer": optim.RMSprop(1e-2), "l2": 0.01}),
    "validation": ({"dropout": 0.2}, {"validation": 0.2, "early_stopping": 3, "optimizer": optim.Adam(0.05)}),
    "float64": ({"dtype": np.float64}, {"optimizer": optim.Adagrad(0.1)}),
}


class CutOff:
    """Fails at a step, as a crash would."""

    def __init__(self, step):
        self.step = step

    def on_step(self, run):
        if run.step == self.step:
            raise RuntimeError("cut off")


class Quiet:
    """Stands where CutOff stood; named like it, since a checkpoint knows its callbacks by name."""

    def on_step(self, run):
        pass


Quiet.__name__ = "CutOff"


WRITTEN = ({"epochs": 1}, {"epochs": None, "steps": 3}, {"epochs": 2, "steps": 1})


@pytest.mark.parametrize(("at", "where", "name"), in_turn(product((7, 10), WRITTEN, RUNS), every=7), ids=str)
def test_resumed_runs_are_bit_identical(data, make, train, identical, tmp_path, name, where, at):
    network, settings = RUNS[name]
    settings = {**settings, "epochs": 5, "seed": 4}
    whole, rows, history = train(make(**network), *data, **settings, callbacks=[Quiet()])
    file = cr.Checkpoint(tmp_path / "run.safetensors", **where)
    with pytest.raises(RuntimeError, match="cut off"):
        train(make(**network), *data, **settings, checkpoint=file, callbacks=[CutOff(at)])
    resumed, rows_again, again = train(
        make(**network), *data, **settings, checkpoint=file, resume=True, callbacks=[Quiet()]
    )
    assert identical(whole, resumed) and rows == rows_again
    assert (history.stopped, history.best_epoch) == (again.stopped, again.best_epoch)
    assert os.listdir(tmp_path) == ["run.safetensors"]


def test_a_run_that_has_ended_stays_as_it_is(data, make, train, identical, tmp_path):
    """Also one that early stopping ended: resumed, it is not trained further."""
    for settings in ({}, {"early_stopping": 1, "optimizer": optim.Adam(0.3), "epochs": 50}):
        file = tmp_path / f"run{len(settings)}.safetensors"
        state, rows, history = train(make(), *data, **settings, checkpoint=file)
        again, rows_again, resumed = train(make(), *data, **settings, checkpoint=file, resume=True)
        assert identical(state, again) and rows == rows_again
        assert (history.stopped, history.best_epoch) == (resumed.stopped, resumed.best_epoch)
    assert history.stopped and len(rows) < 50


def test_more_epochs_go_on(data, make, train, identical, tmp_path):
    file = tmp_path / "run"
    train(make(), *data, epochs=2, checkpoint=file)
    assert identical(train(make(), *data, epochs=4, checkpoint=file, resume=True)[0], train(make(), *data, epochs=4)[0])


def test_a_stopped_run_is_saved_where_it_stopped(data, make, train, identical, tmp_path):
    file = cr.Checkpoint(tmp_path / "run", epochs=100)

    class Stop:
        def on_step(self, run):
            if run.step == 6 and not resumed:
                run.stop()

    resumed = False
    train(make(dropout=0.3), *data, checkpoint=file, callbacks=[Stop()])
    resumed = True
    state, rows, _ = train(make(dropout=0.3), *data, checkpoint=file, resume=True, callbacks=[Stop()])
    whole, whole_rows, _ = train(make(dropout=0.3), *data)
    assert identical(state, whole) and rows == whole_rows


def test_figures_that_are_not_finite_are_saved(data, make, train, tmp_path):
    def half(run):
        if run.epoch == 2:
            raise RuntimeError

    metrics = {"odd": lambda output, target: np.sum(output) * np.inf}
    train(make(), *data, metrics=metrics, checkpoint=tmp_path / "run", epochs=1)
    _, rows, _ = train(make(), *data, metrics=metrics, checkpoint=tmp_path / "run", resume=True, epochs=2)
    assert not np.isfinite([row["odd"] for row in rows]).any() and len(rows) == 2


KILLED = """
    import sys, os, signal, numpy as np, chainrule as cr
    from chainrule import nn, optim
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(64, 4)).astype("f4"), rng.integers(0, 2, 64)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 2)).initialize(1)
    def on_step(run):
        if run.step == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
    class Killer(cr.Callback):
        on_step = staticmethod(on_step)
    history = cr.fit(model, X, y, optimizer=optim.Adam(1e-2), epochs=4, batch_size=10, seed=2, callbacks=[Killer()],
                     checkpoint=cr.Checkpoint(sys.argv[1], steps=2), resume=True)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in history]
    print(rows, {k: v.tobytes().hex() for k, v in model.state_dict().items()})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is Unix's")
def test_killed_and_resumed_in_another_process(tmp_path):
    def run(file, kill_at):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / file), str(kill_at)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    whole = run("whole", -1)
    assert run("run", 12).returncode == -signal.SIGKILL
    assert load_arrays(tmp_path / "run")[1]["format"] == "chainrule-checkpoint"
    resumed = run("run", -1)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == whole.stdout != ""


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(data, make, train, tmp_path):
    file = tmp_path / "run"
    train(make(dropout=0.1), *data, checkpoint=file)
    return file


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 20}, "batch_size was 16, is 20"),
        ({"seed": 1}, "seed was 0, is 1"),
        ({"optimizer": optim.Adam(1e-2)}, "optimizer lr was 0.001, is 0.01"),
        ({"optimizer": optim.SGD(1e-3)}, "optimizer name was 'Adam', is 'SGD'"),
        ({"shuffle": False}, "shuffle was True, is False"),
        ({"l2": 0.1}, "l2 was 0.0, is 0.1"),
        ({"loss": "hinge"}, "loss was 'cross_entropy', is 'hinge'"),
        ({"metrics": ()}, r"metrics was \['accuracy'\], is \[\]"),
        ({"validation": 0.2}, "examples was 60, is 48; validation was None"),
        ({"early_stopping": 3}, "was saved with the callbacks none; this run has EarlyStopping"),
        ({"seed": 1, "l1": 0.5}, "l1 was 0.0, is 0.5; seed was 0, is 1"),
    ],
    ids=str,
)
def test_other_settings_are_refused_by_name(data, make, train, saved, changed, message):
    model = make(dropout=0.1)
    before = saved.read_bytes()
    with pytest.raises(ValueError, match=message):
        train(model, *data, checkpoint=saved, resume=True, **changed)
    assert np.array_equal(model[0].weight.value, make()[0].weight.value) and saved.read_bytes() == before


def test_other_data_and_other_networks_are_refused(data, make, train, saved):
    X, y = data
    with pytest.raises(ValueError, match=r"data was .* is "):
        train(make(dropout=0.1), X + 1, y, checkpoint=saved, resume=True)
    with pytest.raises(ValueError, match="model differs"):
        train(make(dropout=0.2), X, y, checkpoint=saved, resume=True)
    with pytest.raises(ValueError, match=r"dropout seeds was \[0\], is \[1\]"):
        train(make(dropout=0.1, seed=1), X, y, checkpoint=saved, resume=True)


def test_an_existing_checkpoint_is_not_overwritten(data, make, train, saved):
    with pytest.raises(FileExistsError, match="resume=True, or name another"):
        train(make(dropout=0.1), *data, checkpoint=saved)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"resume": True}, ValueError, "needs a checkpoint"),
        ({"checkpoint": 3}, TypeError, "checkpoint is a int"),
        ({"checkpoint": "/no/where/run"}, FileNotFoundError, "there is no folder /no/where"),
        ({"checkpoint": "/"}, IsADirectoryError, "expected a file, got the folder /"),
    ],
)
def test_arguments(data, make, train, settings, kind, message):
    with pytest.raises(kind, match=message):
        train(make(), *data, **settings)
    for bad in (0, 1.5, True):
        with pytest.raises(ValueError, match=f"steps: .*got {bad}"):
            cr.Checkpoint("x", steps=bad)


def test_truncated_checkpoints_are_refused(data, make, train, saved):
    whole = saved.read_bytes()
    for length in [*range(0, 20), *range(20, len(whole), 397), len(whole) - 1]:
        saved.write_bytes(whole[:length])
        model = make(dropout=0.1)
        with pytest.raises(ValueError, match=r"truncated|damaged|no safetensors"):
            train(model, *data, checkpoint=saved, resume=True)
        assert np.array_equal(model[0].weight.value, make()[0].weight.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, m: m.update(format="x"), "not a checkpoint"),
        (lambda a, m: m.update(version=9), "format version 1 to 2, got 9"),
        (lambda a, m: m.pop("record"), "record is damaged"),
        (lambda a, m: m.update(record="{"), "record is damaged"),
        (lambda a, m: m.update(record="[]"), "record is damaged"),
        (lambda a, m: m.update(record=m["record"].replace('"progress": [3', '"progress": [2')), "inconsistent"),
        (lambda a, m: m.update(record=m["record"].replace('"progress": [3', '"progress": ["x"')), "record is damaged"),
        (lambda a, m: a.pop("parameters/0.weight"), "parameters/0.weight is missing, the run needs"),
        (lambda a, m: a.update({"optimizer/1": np.zeros(3, "f4")}), r"optimizer/1 has shape \(3,\) float32"),
        (lambda a, m: a.update({"parameters/0.bias": np.zeros(8)}), r"parameters/0.bias has shape \(8,\) float64"),
    ],
)  # fmt: skip
def test_damaged_checkpoints_are_refused(data, make, train, saved, change, message):
    arrays, metadata = load_arrays(saved)
    change(arrays, metadata)
    save_arrays(saved, arrays, metadata)
    model = make(dropout=0.1)
    with pytest.raises(ValueError, match=message):
        train(model, *data, checkpoint=saved, resume=True)
    assert np.array_equal(model[0].weight.value, make()[0].weight.value)


def test_a_callback_that_cannot_be_saved(data, make, train, tmp_path):
    class Odd(cr.Callback):
        def state(self):
            return {"x": object()}

    with pytest.raises(TypeError, match=r"expected numbers, text and arrays in a callback's state"):
        train(make(), *data, callbacks=[Odd()], checkpoint=tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_callbacks_of_ones_own_are_restored(data, make, train, tmp_path):
    class Count(cr.Callback):
        def __init__(self):
            self.n, self.last = 0, np.zeros(2)

        def on_epoch(self, run):
            self.n, self.last = self.n + 1, self.last + 1

        def state(self):
            return {"n": np.int64(self.n), "last": self.last}

        def restore(self, state):
            self.n, self.last = state["n"], state["last"]

    train(make(), *data, epochs=2, callbacks=[Count()], checkpoint=tmp_path / "run")
    count = Count()
    train(make(), *data, epochs=5, callbacks=[count], checkpoint=tmp_path / "run", resume=True)
    assert count.n == 5 and count.last.tolist() == [5, 5]


def test_when_it_is_saved(data, make, train, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        "chainrule.train.loop.save_checkpoint", lambda path, training, p, *rest: saved.append((p.epoch, p.batch))
    )
    train(make(), *data, checkpoint=cr.Checkpoint(tmp_path / "a", epochs=2, steps=3), epochs=3, batch_size=15)
    assert saved == [(0, 3), (1, 2), (2, 0), (2, 1), (3, 0)]


def test_the_arrays_of_the_optimiser_are_numbered_by_sorted_names() -> None:
    # the order in which earlier releases wrote them
    step = TrainingStep(nn.Linear(3, 2), "mse", optim.Adam(0.1))
    names = sorted(k for k in optim.Adam(0.1).init({}))
    shapes = {"step": ()}
    assert [a.shape for a in step.optimizer_state] == [shapes.get(n, (8,)) for n in names]
    assert names != list(optim.Adam(0.1).init({}))
