"""Loggers: what they hand on, and what happens when that fails."""

import re
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.loggers import Logger


class Board:
    """Keeps what it is given; refuses the calls of these numbers, from 1."""

    def __init__(self, *refused):
        self.points, self.config, self.refused, self.calls = [], {}, refused, 0

    def log(self, figures, step=None):
        self.calls += 1
        if self.calls in self.refused:
            raise OSError("no route to host")
        self.points.append((step, figures))

    @property
    def steps(self):
        return [step for step, _ in self.points]


def test_each_epoch_is_logged_with_its_figures_and_the_settings_before(data, make, train):
    board = Board()
    _, _, history = train(make(), *data, validation=0.2, l2=0.1, seed=3, callbacks=[cr.LogTo(board)])
    assert board.steps == [1, 2, 3]
    for (_, figures), row in zip(board.points, history, strict=True):
        assert figures == {k: v for k, v in row.items() if k != "epoch"}
    wanted = {"loss": "cross_entropy", "optimizer.name": "Adam", "optimizer.lr": 1e-3, "epochs": 3, "batch_size": 16}
    wanted |= {"seed": 3, "l2": 0.1, "examples": 48, "validation_examples": 12, "parameters": make().num_parameters}
    assert wanted.items() <= board.config.items() and board.config["model"] == repr(make())
    assert all(isinstance(v, str | bool | int | float) for v in board.config.values())


def test_settings_that_are_there_stay(data, make, train):
    board = Board()
    board.config["epochs"] = "as planned"
    train(make(), *data, callbacks=[cr.LogTo(board)])
    assert board.config["epochs"] == "as planned" and board.config["seed"] == 0


def test_a_function_and_a_prefix(data, make, train):
    seen = []
    train(make(), *data, callbacks=[cr.LogTo(lambda figures, step: seen.append((step, sorted(figures))), "run/")])
    assert seen == [(n, ["run/accuracy", "run/loss", "run/lr", "run/seconds"]) for n in (1, 2, 3)]


def test_what_other_callbacks_add_is_logged_if_it_is_a_finite_number(data, make, train):
    board = Board()
    more = {"gap": np.float32(2), "why": "text", "none": None, "nan": float("nan"), "epoch": 1}
    train(make(), *data, epochs=1, callbacks=[lambda run: run.history[-1].update(more), cr.LogTo(board)])
    assert sorted(board.points[0][1]) == ["accuracy", "gap", "loss", "lr", "seconds"]


def test_a_failure_is_told_once_and_made_up_for(data, make, train, identical):
    board = Board(2, 3, 4)
    with pytest.warns(RuntimeWarning) as warned:
        state, rows, _ = train(make(), *data, epochs=6, callbacks=[cr.LogTo(board)])
    assert [str(w.message) for w in warned] == ["LogTo failed, training continues: OSError: no route to host"]
    assert board.steps == [1, 2, 3, 4, 5, 6] and len(rows) == 6
    assert identical(state, train(make(), *data, epochs=6)[0])


def test_what_could_never_be_written_is_said_in_the_end(data, make, train):
    board = Board(*range(3, 100))
    with pytest.warns(RuntimeWarning) as warned:
        train(make(), *data, epochs=5, callbacks=[cr.LogTo(board)])
    messages = [str(w.message) for w in warned]
    assert len(messages) == 2 and re.search(
        "the last 3 epochs could not be written; the history .* has all", messages[1]
    )
    with pytest.warns(RuntimeWarning) as warned:  # a second run is told, too
        train(make(), *data, epochs=1, callbacks=[cr.LogTo(board)])
    assert len(warned) == 2 and "the last epoch could not be written" in str(warned[1].message)


def test_a_failure_before_the_first_step_ends_the_call(data, make, train):
    class Closed(Logger):
        def begin(self, run, settings):
            raise PermissionError("not logged in")

    with pytest.raises(PermissionError, match="not logged in"):
        train(make(), *data, callbacks=[Closed()])


def test_what_was_open_by_then_is_closed(data, make, train):
    closed = []

    class Torn(Logger):
        def begin(self, run, settings):
            raise PermissionError("not logged in")

        def end(self, run):
            closed.append(run.epoch)
            raise OSError("nor can it be closed")

    with pytest.raises(PermissionError, match="not logged in"):
        train(make(), *data, callbacks=[Torn()])
    assert closed == [0]


class Book(Logger):
    def __init__(self):
        super().__init__()
        self.entries = []

    def write(self, run, figures, epoch):
        self.entries.append(epoch)

    def end(self, run):
        self.entries.append("end")


def fail(run):
    if run.epoch == 2:
        raise ZeroDivisionError


def interrupt(run):
    if run.epoch == 2:
        raise KeyboardInterrupt


def stop(run):
    if run.epoch == 2:
        run.stop()


@pytest.mark.parametrize("ending", [fail, interrupt, stop])
@pytest.mark.parametrize("first", [True, False])
def test_however_a_run_ends_it_is_written_and_closed(data, make, train, ending, first):
    book = Book()
    callbacks = [book, ending] if first else [ending, book]
    try:
        train(make(), *data, callbacks=callbacks)
    except ZeroDivisionError:
        assert ending is fail
    assert book.entries == [1, 2, "end"]


def test_a_resumed_run_goes_on_where_it_was(data, make, train, tmp_path):
    path, board = tmp_path / "run.safetensors", Board()
    train(make(), *data, callbacks=[cr.LogTo(board), stop], checkpoint=path)
    train(make(), *data, callbacks=[cr.LogTo(board), stop], checkpoint=path, resume=True)
    assert board.steps == [1, 2, 3]


def test_what_cannot_be_logged_to(data, make, train):
    with pytest.raises(TypeError, match="target: expected an object with log"):
        cr.LogTo(3)


@pytest.mark.parametrize(("name", "package"), [("TensorBoardLogger", "tensorboardX"), ("MLflowLogger", "mlflow")])
def test_without_the_package_the_extra_is_named(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{name} needs \w+: pip install 'chainrule\[\w+\]'"):
        getattr(cr, name)("runs")
