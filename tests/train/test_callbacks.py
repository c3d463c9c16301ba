"""Callbacks, early stopping, the history, and the bar."""

import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import chainrule as cr


class Log(cr.Callback):
    """Writes down what is called, and whether the model has the plan's weights."""

    def __init__(self, **actions):
        self.calls, self.actions = [], actions

    def note(self, name, run):
        self.calls.append(name)
        self.actions.get(name, lambda run: None)(run)

    def on_begin(self, run):
        self.note("begin", run)

    def on_step(self, run):
        self.note("step", run)

    def on_epoch(self, run):
        trained = run.training.parameters
        assert all(np.array_equal(p.value, trained[k]) for k, p in run.model.named_parameters())
        self.note("epoch", run)

    def on_end(self, run):
        self.note("end", run)


def fail(run):
    raise ZeroDivisionError("in a callback")


def test_the_order_of_calls(data, make, train):
    log = Log()
    train(make(), *data, callbacks=[log], epochs=2, batch_size=30)
    assert log.calls == ["begin", "step", "step", "epoch", "step", "step", "epoch", "end"]


def test_functions_objects_and_instances_with_methods(data, make, train):
    epochs, steps = [], []
    bag = SimpleNamespace(on_step=lambda run: steps.append(run.loss))
    train(make(), *data, callbacks=[lambda run: epochs.append(run.history[-1]["epoch"]), bag], epochs=2, batch_size=30)
    assert epochs == [1, 2] and len(steps) == 4 and np.isfinite(steps).all()


@pytest.mark.parametrize(("where", "steps", "rows"), [("begin", 0, 0), ("step", 1, 0), ("epoch", 4, 1)])
def test_stopping(data, make, train, where, steps, rows):
    log = Log(**{where: lambda run: run.stop("enough")})
    state, _, history = train(make(), *data, callbacks=[log])
    assert log.calls.count("step") == steps and len(history) == rows and log.calls[-1] == "end"
    assert history.stopped == "enough" and str(history).endswith("stopped: enough")
    assert all(np.isfinite(v).all() for v in state.values())


def test_stopping_within_the_epoch_leaves_the_weights_of_that_step(data, make, train, identical):
    X, y = data
    two_steps = Log(step=lambda run: run.step == 2 and run.stop())
    stopped = train(make(), X, y, callbacks=[two_steps], shuffle=False, batch_size=20)[0]
    alone = train(make(), X[:40], y[:40], shuffle=False, batch_size=20, epochs=1)[0]
    assert identical(stopped, alone)


@pytest.mark.parametrize("where", ["begin", "step", "epoch", "end"])
def test_an_error_in_a_callback(data, make, train, where):
    """Comes out; every other callback that began gets its end; the model is whole and in its mode."""
    model, first, last = make(), Log(), Log()
    model.eval()
    with pytest.raises(ZeroDivisionError, match="in a callback"):
        train(model, *data, callbacks=[first, Log(**{where: fail}), last])
    assert first.calls.count("end") == 1
    assert last.calls.count("end") == (where != "begin")
    assert not model.training
    moved = not np.array_equal(model[0].weight.value, make()[0].weight.value)
    assert moved == (where != "begin")
    train(model, *data)


def test_an_error_keeps_the_steps_made(data, make, train, identical):
    X, y = data
    model = make()
    with pytest.raises(ZeroDivisionError):
        train(model, X, y, callbacks=[Log(step=lambda run: run.step == 2 and fail(run))], shuffle=False, batch_size=20)
    assert identical(model.state_dict(), train(make(), X[:40], y[:40], shuffle=False, batch_size=20, epochs=1)[0])


def test_at_the_end_the_model_has_its_weights_and_may_be_given_others(data, make, train):
    def check(run):
        trained = run.training.parameters
        assert run.step == 2 and all(np.array_equal(p.value, trained[k]) for k, p in run.model.named_parameters())
        trained["0.bias"][...] = 7

    log = Log(step=lambda run: run.step == 2 and run.stop(), end=check)
    state, _, _ = train(make(), *data, callbacks=[log])
    assert log.calls[-1] == "end" and state["0.bias"].tolist() == [7] * 8


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([3], "callbacks: .*got int"),
        ([cr.EarlyStopping], r"class EarlyStopping.*EarlyStopping\(\)"),
        (print, "callbacks: .*got <built-in"),
    ],
)
def test_what_is_no_callback(data, make, train, given, message):
    with pytest.raises(TypeError, match=message):
        train(make(), *data, callbacks=given)


# -- early stopping -------------------------------------------------------------------------------------------------


class Script:
    """Writes the figures that early stopping will see, and keeps the weights of each epoch."""

    def __init__(self, column, figures):
        self.column, self.figures, self.weights = column, figures, []

    def on_epoch(self, run):
        run.history[-1][self.column] = self.figures[run.epoch - 1]
        self.weights.append(run.model.state_dict())


@pytest.mark.parametrize(
    ("column", "figures", "settings", "epochs", "best"),
    [
        ("loss", [3, 2, 2, 2.5, 1], {"patience": 2}, 4, 2),
        ("loss", [3, 2.9, 2.8, 2.7, 1], {"patience": 2, "min_delta": 0.5}, 3, 1),
        ("accuracy", [0.5, 0.7, 0.6, 0.9, 0.1], {"patience": 1, "metric": "accuracy"}, 3, 2),
        ("odd", [1, 5, 4, 3, 2], {"patience": 3, "metric": "odd", "maximize": True}, 5, 2),
        ("loss", [np.nan, np.nan, 1, 1, 1], {"patience": 2}, 2, None),
    ],
)
def test_early_stopping_keeps_the_best_weights(data, make, train, identical, column, figures, settings, epochs, best):
    script = Script(column, figures)
    state, rows, history = train(
        make(batch_norm=True), *data, epochs=5, callbacks=[script], early_stopping=cr.EarlyStopping(**settings)
    )
    assert len(rows) == epochs and history.best_epoch == best
    assert identical(state, script.weights[best - 1 if best else -1])
    assert (history.stopped is None) == (epochs == 5 and best is not None and 5 - best < settings["patience"])


def test_early_stopping_watches_validation_and_others_see_its_choice(data, make, train, identical):
    seen = []
    log = Log(end=lambda run: seen.append(run.model.state_dict()))
    state, _, history = train(make(), *data, epochs=40, validation=0.3, early_stopping=1, callbacks=[log])
    best = min(history, key=lambda row: row["val_loss"])
    assert history.best_epoch == best["epoch"] and identical(seen[0], state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 0}, "patience: .*got 0"),
        ({"patience": "x"}, "patience: .*got 'x'"),
        ({"min_delta": -1.0}, "min_delta: .*got -1"),
    ],
)
def test_early_stopping_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        cr.EarlyStopping(**settings)


def test_early_stopping_on_a_column_that_is_not_there(data, make, train):
    with pytest.raises(ValueError, match="EarlyStopping watches 'val_loss'; the history has epoch, loss, accuracy"):
        train(make(), *data, early_stopping=cr.EarlyStopping(2, "val_loss"))
    with pytest.raises(TypeError, match=r"early_stopping: .*got 'loss'"):
        train(make(), *data, early_stopping="loss")


# -- history and bar ------------------------------------------------------------------------------------------------


def test_history_is_a_table(data, make, train):
    _, _, history = train(make(), *data, validation=0.2)
    table = history.to_dict()
    assert list(table) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"] == history.columns
    assert table["epoch"] == [1, 2, 3] == [row["epoch"] for row in history] and history[-1] is history.rows[2]
    assert history[:2] == history.rows[:2] and len(str(history).splitlines()) == 4
    assert table["lr"] == [0.001] * 3 and all(s > 0 for s in table["seconds"])
    assert repr(history).startswith("History(3 epochs; loss ")
    with pytest.raises(KeyError, match="no column 'vall'; there are epoch, loss"):
        history["vall"]


def test_an_empty_history():
    history = cr.History()
    assert (len(history), history.columns, history.to_dict(), str(history)) == (0, [], {}, "")
    assert repr(history) == "History(0 epochs; empty)"


def test_plot(data, make, train, tmp_path):
    pytest.importorskip("matplotlib")
    _, _, history = train(make(), *data, validation=0.2)
    figure = history.plot(tmp_path / "history.png")
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy"]
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]
    assert (tmp_path / "history.png").read_bytes()[:4] == b"\x89PNG"
    assert pickle.loads(pickle.dumps(figure))._repr_png_()[:4] == b"\x89PNG"  # for notebooks
    assert cr.History().plot().axes == []


def test_plot_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"needs matplotlib: pip install 'chainrule\[plot\]'"):
        cr.History().plot()


PROGRAM = """
import numpy as np, chainrule as cr
from chainrule import nn
cr.fit(nn.Sequential(nn.Linear(3, 2)), np.eye(3, dtype="f4"), np.array([0, 1, 1]), epochs=3)
print("done")
"""


def test_quiet_without_a_terminal(data, make, capsys):
    cr.fit(make(), *data, epochs=1)
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are Unix's")
def test_a_bar_on_a_terminal():
    import pty

    outer, inner = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=inner, env=environment, check=True
    )
    os.close(inner)
    shown = os.read(outer, 100_000).decode()
    os.close(outer)
    assert done.stdout == b"done\n" and "3/3" in shown and "accuracy" in shown
