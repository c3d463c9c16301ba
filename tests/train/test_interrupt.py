"""Ctrl-C: the first ends the run after the step at hand, a second at once; weights are never half updated."""

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.feed import Rows

unix = pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to a process is Unix's")


def press():
    os.kill(os.getpid(), signal.SIGINT)


class Press:
    """Presses Ctrl-C at a step."""

    def __init__(self, *steps):
        self.steps, self.ends = steps, 0

    def on_step(self, run):
        if run.step in self.steps:
            press()

    def on_end(self, run):
        self.ends += 1


@unix
def test_the_first_ends_after_the_step(data, make, train, identical):
    X, y = data
    pressing = Press(6)
    state, rows, history = train(make(), X, y, batch_size=15, callbacks=[pressing])
    assert len(rows) == 1 and history.stopped == "interrupted in epoch 2, after 6 steps" and pressing.ends == 1
    stop = cr.Callback()
    stop.on_step = lambda run: run.step == 6 and run.stop()
    assert identical(state, train(make(), X, y, batch_size=15, callbacks=[stop])[0])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@unix
def test_a_second_one_leaves_a_waiting_callback(data, make, train):
    def wait(run):
        press()
        press()
        time.sleep(60)

    began = time.perf_counter()
    state, rows, history = train(make(), *data, callbacks=[wait])
    assert time.perf_counter() - began < 30
    assert len(rows) == 1 and history.stopped.startswith("interrupted in epoch 2")
    assert all(np.isfinite(v).all() for v in state.values())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_within_a_step_the_epoch_is_taken_back(data, make, train, identical, monkeypatch):
    X, y = data
    one_epoch = train(make(dropout=0.2), X, y, epochs=1)[0]
    run = Rows.run

    def torn(self, training, batch, most, limit):
        if training.updates < one_epoch_of_updates:
            return run(self, training, batch, most, limit)
        self.torn = True
        for p in training.parameters.values():
            p[...] = np.nan
        raise KeyboardInterrupt

    one_epoch_of_updates = -(-len(X) // 16)
    monkeypatch.setattr(Rows, "run", torn)
    state, rows, history = train(make(dropout=0.2), X, y)
    assert identical(state, one_epoch) and len(rows) == 1
    assert history.stopped == "interrupted within a step; the weights are those before epoch 2"


def test_a_keyboard_interrupt_from_a_callback(data, make, train):
    class Raise(cr.Callback):
        def on_step(self, run):
            if run.step == 2:
                raise KeyboardInterrupt

    model = make()
    state, rows, history = train(model, *data, callbacks=[Raise()])
    assert rows == [] and history.stopped == "interrupted in epoch 1, after 2 steps"
    assert not np.array_equal(state["0.weight"], make().state_dict()["0.weight"])


@unix
def test_nothing_interrupts_the_writing_back(data, make, train):
    class AtEnd(cr.Callback):
        def on_end(self, run):
            press()
            press()
            self.done = True

    at_end = AtEnd()
    _, rows, _ = train(make(), *data, callbacks=[at_end])
    assert len(rows) == 3 and at_end.done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@unix
def test_a_program_that_handles_it_itself_is_left_alone(data, make, train):
    pressed = []
    mine = lambda number, frame: pressed.append(number)  # noqa: E731
    signal.signal(signal.SIGINT, mine)
    try:
        _, rows, history = train(make(), *data, callbacks=[Press(2)])
        assert len(rows) == 3 and history.stopped is None and pressed == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_another_thread_sets_no_handler(data, make, train):
    seen = []
    look = lambda run: seen.append(signal.getsignal(signal.SIGINT))  # noqa: E731
    thread = threading.Thread(target=lambda: train(make(), *data, callbacks=[look]))
    thread.start()
    thread.join()
    assert set(seen) == {signal.default_int_handler}


def test_an_interrupt_raised_in_another_thread_keeps_what_was_trained(data, make):
    """As programs that run cells in threads raise it: it comes at any instruction, within a step or between two."""
    model, histories, started = make(), [], threading.Event()

    def run():
        tell = lambda run: started.set()  # noqa: E731
        histories.append(cr.fit(model, *data, epochs=1_000_000, progress=False, callbacks=[tell]))

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(30)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt))
    thread.join(30)
    (history,) = histories
    assert len(history) > 0 and history.stopped.startswith("interrupted")
    assert all(np.isfinite(p.value).all() for p in model.parameters())
    assert not np.array_equal(model[0].weight.value, make()[0].weight.value)


PROGRAM = """
    import numpy as np, chainrule as cr
    from chainrule import nn
    X = np.random.default_rng(0).normal(size=(2000, 50)).astype("f4")
    model = nn.Sequential(nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 2))
    tell = lambda run: print("epoch", run.epoch, flush=True)
    history = cr.fit(model, X, (X[:, 0] > 0).astype(int), epochs=100_000, callbacks=[tell])
    print(len(history) > 0, history.stopped, all(np.isfinite(p.value).all() for p in model.parameters()))
"""


@unix
def test_in_a_program():
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "epoch 1\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and err == ""
    last = out.splitlines()[-1]
    assert last.startswith("True interrupted in epoch ") and last.endswith(" steps True")
