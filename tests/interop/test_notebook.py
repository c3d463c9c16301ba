"""In a notebook's kernel: the progress line, interrupting a run, and what modules and histories show."""

import contextlib
import sys
import time
import warnings

import pytest

pytestmark = pytest.mark.slow

START = """
import sys
import numpy as np, chainrule as cr
from chainrule import nn
X = np.random.default_rng(0).normal(size=(2000, 50)).astype("f4")
y = (X[:, 0] > 0).astype(int)
model = nn.Sequential(nn.Linear(50, 50), nn.ReLU(), nn.Linear(50, 2))
"""


class Kernel:
    """A running kernel; `run` returns what a cell gave, as (kind, content) in order."""

    def __init__(self, manager, client):
        self.manager, self.client = manager, client

    def run(self, code, interrupt_at=None):
        sent, found, end = self.client.execute(code), [], time.monotonic() + 60
        while time.monotonic() < end:
            message = self.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != sent:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return found
            if kind in ("display_data", "update_display_data", "execute_result"):
                found.append((kind, content["data"]))
                if interrupt_at is not None and len(found) == interrupt_at:
                    self.manager.interrupt_kernel()
            elif kind in ("stream", "error"):
                found.append((kind, content.get("text") or content["ename"]))
        raise TimeoutError(code)


@pytest.fixture(scope="module")
def kernel():
    pytest.importorskip("ipykernel")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = pytest.importorskip("jupyter_client.manager").start_new_kernel
        manager, client = start(kernel_name="python3", startup_timeout=60)
        kernel = Kernel(manager, client)
        setup = kernel.run(f"import sys; sys.path[:0] = {sys.path!r}\n{START}")
        assert setup == [], setup
        yield kernel
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        with contextlib.suppress(Exception):
            manager.cleanup_resources()


def test_progress_is_one_line_replaced_in_place(kernel):
    found = kernel.run("_ = cr.fit(model, X, y, epochs=3)")
    kinds = [kind for kind, _ in found]
    assert kinds[0] == "display_data" and set(kinds[1:]) == {"update_display_data"}
    last = found[-1][1]
    assert last["text/plain"].startswith("epoch 3/3  ") and "accuracy" in last["text/plain"]
    assert '<progress value="3" max="3"' in last["text/html"] and "<script" not in last["text/html"]
    assert kernel.run("'ipywidgets' in sys.modules")[0][1]["text/plain"] == "False"
    assert kernel.run("_ = cr.fit(model, X, y, epochs=2, progress=False)") == []


def test_interrupting_keeps_the_kernel_and_what_was_trained(kernel):
    found = kernel.run("history = cr.fit(model, X, y, epochs=1_000_000)", interrupt_at=3)
    assert [kind for kind, _ in found].count("error") == 0
    assert "interrupted in epoch" in found[-1][1]["text/plain"]
    look = "print(len(history) > 0, history.stopped, all(np.isfinite(p.value).all() for p in model.parameters()))"
    text = kernel.run(look)[0][1]
    assert text.startswith("True interrupted in epoch") and text.endswith("True\n")
    assert kernel.run("cr.evaluate(model, X, y)['accuracy'] > 0.9")[0][1]["text/plain"] == "True"


def test_a_run_in_another_thread_goes_on_until_it_is_stopped(kernel):
    kernel.run("""
import threading, time
runs, results = [], []
fitting = lambda: results.append(cr.fit(model, X, y, epochs=1_000_000, callbacks=[runs.append], progress=False))
thread = threading.Thread(target=fitting)
thread.start()
""")
    found = kernel.run("display('waiting'); time.sleep(50)", interrupt_at=1)
    assert found[-1] == ("error", "KeyboardInterrupt")
    found = kernel.run("print(thread.is_alive()); runs[0].stop('enough'); thread.join(); print(results[0].stopped)")
    assert "".join(text for _, text in found) == "True\nenough\n"


def test_modules_are_shown_as_html(kernel):
    shown = kernel.run("model")[0][1]
    assert shown["text/html"].startswith('<div class="chainrule') and "Linear" in shown["text/html"]
    assert shown["text/plain"].startswith("Sequential()")


def test_a_plot_shows_itself(kernel):
    pytest.importorskip("matplotlib")
    shown = kernel.run("cr.fit(model, X, y, epochs=2, progress=False).plot()")
    assert [kind for kind, _ in shown] == ["execute_result"] and shown[0][1]["image/png"].startswith("iVBOR")
