"""Where progress is shown: on terminals, in notebooks, and nowhere else."""

import io
import sys
import types

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.train import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def ipython(monkeypatch, shell):
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))


KERNEL, COMMAND_LINE = types.SimpleNamespace(kernel=object()), types.SimpleNamespace()


@pytest.mark.parametrize(
    ("asked", "terminal", "shell", "wanted"),
    [
        (None, True, None, progress.TerminalBar),
        (None, False, None, None),
        (True, False, None, progress.TerminalBar),
        (False, True, KERNEL, None),
        (None, False, KERNEL, progress.NotebookLine),
        (True, True, KERNEL, progress.NotebookLine),
        (None, True, COMMAND_LINE, progress.TerminalBar),
        (None, False, COMMAND_LINE, None),
    ],
)
def test_what_is_shown(monkeypatch, asked, terminal, shell, wanted):
    monkeypatch.setattr(sys, "stderr", Terminal() if terminal else io.StringIO())
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    if shell is not None:
        ipython(monkeypatch, shell)
    found = progress.shown(asked)
    assert type(found) is (wanted or type(None))


def test_nothing_without_standard_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert progress.shown(None) is None


def test_nothing_on_what_stands_in_for_standard_error(monkeypatch, data, make):
    class Writer:
        def write(self, text):
            raise AssertionError

    closed = io.StringIO()
    closed.close()
    for stream in (Writer(), closed):
        monkeypatch.setattr(sys, "stderr", stream)
        cr.fit(make(), *data, epochs=1)


def test_the_bar_of_a_terminal(monkeypatch, data, make):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    monkeypatch.setenv("COLUMNS", "70")
    cr.fit(make(), *data, epochs=4)
    lines = [line.removesuffix("\x1b[K") for line in stream.getvalue().split("\r")[1:]]
    assert lines[0] == "─" * 20 + "  epoch 0/4" and lines[2].startswith("━" * 10 + "─" * 10 + "  epoch 2/4  ")
    assert "  loss " in lines[4] and max(map(len, lines)) == 69 and lines[-1] == "" and len(lines) == 7


def test_the_bar_moves_within_an_epoch(monkeypatch, data, make):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    monkeypatch.setattr("chainrule.train.loop.SLICE", 0.0)
    cr.fit(make(), *data, epochs=2, batch_size=15, engine="numpy")
    lines = [line.removesuffix("\x1b[K") for line in stream.getvalue().split("\r")[1:]]
    assert lines[1].startswith("━" * 2 + "─" * 18 + "  epoch 1/2, 25 %  ") and " left  loss " in lines[1]
    within = [line.split("epoch ")[1].split("  ")[0] for line in lines[1:-3]]
    assert within == ["1/2, 25 %", "1/2, 50 %", "1/2, 75 %", "1/2", "2/2, 25 %", "2/2, 50 %", "2/2, 75 %"]


def test_names_of_metrics_reach_the_terminal_as_text(monkeypatch, data, make):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    cr.fit(make(), *data, epochs=1, metrics={"\x1b[2Jmine": lambda output, target: 1.0})
    assert "\x1b[2J" not in stream.getvalue() and "\\x1b[2Jmine" in stream.getvalue()


def test_the_line_of_a_notebook(monkeypatch, data, make):
    sent = []

    class Handle:
        def update(self, content, raw):
            sent.append(content)

    def display(content, raw, display_id):
        sent.append(content)
        return Handle()

    ipython(monkeypatch, KERNEL)
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    cr.fit(make(), *data, epochs=2, callbacks=[lambda run: run.epoch == 2 and run.stop("<enough>")])
    texts = [content["text/plain"] for content in sent]
    assert texts[0] == "epoch 0/2" and texts[1].startswith("epoch 1/2  ") and " left  loss " in texts[1]
    assert texts[-1].startswith("epoch 2/2  ") and texts[-1].endswith("  <enough>") and len(texts) == 4
    assert "&lt;enough&gt;" in sent[-1]["text/html"] and '<progress value="2" max="2"' in sent[-1]["text/html"]
    sent.clear()
    monkeypatch.setattr(progress, "PAUSE", 60.0)
    cr.fit(nn.Linear(2, 2), np.ones((4, 2)), np.zeros(4, int), epochs=50)
    assert len(sent) == 2


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (59.4, "59.4 s"), (61, "1:01"), (7325, "2:02:05")])
def test_durations(seconds, text):
    assert progress.duration(seconds) == text
