"""The magic ``%%audit``, in IPython's own shell, and the fixture for pytest."""

import subprocess
import sys
from pathlib import Path

import pytest

CELL = """
import numpy as np
x, W = np.arange(12.0).reshape(4, 3) - 5, np.ones((3, 2))
def forward(x, W):
    return np.tanh(x @ W), (x, W, np.tanh(x @ W))
def backward(dout, cache):
    x, W, out = cache
    d = dout * (1 - out ** POWER)
    return d @ W.T, x.T @ d
class Scale:
    def __init__(self):
        self.s = np.ones(3)
    def forward(self, x):
        self.x = x
        return x * self.s
    def backward(self, dout):
        self.ds = (dout * self.x).sum(0)
        return dout * self.s
scale = Scale()
"""


@pytest.fixture(scope="module")
def shell():
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    made = interactive.InteractiveShell.instance()
    made.run_line_magic("load_ext", "chainrule")
    yield made
    interactive.InteractiveShell.clear_instance()


@pytest.mark.parametrize(("power", "ok"), [("2", True), ("1", False)])
def test_a_cell_with_a_layer_is_audited(shell, power, ok):
    report = shell.run_cell_magic("audit", "--layer", CELL.replace("POWER", power))
    assert report.ok == ok
    assert "dx" in report._repr_html_()


def test_an_object_is_named_with_its_inputs(shell):
    assert shell.run_cell_magic("audit", "scale x", CELL.replace("POWER", "2")).ok


def test_wrong_options_and_missing_names_are_said(shell):
    with pytest.raises(ValueError, match="%%audit: unrecognized arguments: --nothing"):
        shell.run_cell_magic("audit", "--nothing", "a = 1")
    with pytest.raises(LookupError, match="gradient_of_it"):
        shell.run_cell_magic("audit", "--layer --backward gradient_of_it", CELL.replace("POWER", "2"))


TEST = """
import numpy as np
pytest_plugins = ["chainrule.pytest_plugin"]
def test_right(assert_backward_right):
    assert_backward_right(lambda d, c: 2 * d, np.ones((3, 2)), forward=lambda x: 2 * x)
def test_wrong(assert_backward_right):
    assert_backward_right(lambda d, c: d, np.ones((3, 2)), forward=lambda x: 2 * x)
"""


def test_the_fixture_fails_with_the_report(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "test_it.py"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "1 failed, 1 passed" in finished.stdout
    assert "dx constant-factor" in finished.stdout
