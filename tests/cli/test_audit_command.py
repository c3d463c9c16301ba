"""chainrule audit: what it finds in a file, what it prints, how it ends."""

import sys
import types

import numpy as np
import pytest

from chainrule.audit import commands
from chainrule.audit.report import Candidate, Finding, Report, Step

PROGRAM = """
import numpy as np
from math import sqrt

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(9, 5)), rng.normal(size=(9, 3))
parameters = {"W1": rng.normal(size=(5, 3))}


def forward(X, parameters):
    return {"A0": X, "Z1": X @ parameters["W1"]}


def loss(Z1, Y):
    return np.sum((Z1 - Y) ** 2) / 2 / len(Y)


def backward(cache, Y, parameters):
    dZ1 = cache["Z1"] - Y
    return {"dZ1": dZ1, "dW1": cache["A0"].T @ dZ1 / len(Y)}
"""
WRONG = PROGRAM.replace("@ dZ1 / len(Y)", "@ dZ1")

TITLE = "Audit of backward in my_backprop.py"
RIGHT = Report((), (), (Step("dW1", "right", (5, 3), 0.0, 0.0, (), "dW1 = A0ᵀ dZ1 / m"),), (), 0.5, TITLE)
FINDING = Finding("dW1", "missing-mean", "dW1 is 9 times too large.", "dW1 = A0ᵀ dZ1 / m")
FOUND = Report((FINDING,), (), (Step("dW1", "wrong", (5, 3), 8.0, 8.0),), (), 0.5, TITLE)


@pytest.fixture
def file(tmp_path):
    def write(text, name="my_backprop.py"):
        (tmp_path / name).write_text(text)
        return name

    return write


@pytest.fixture
def engine(monkeypatch):
    """Stand in for the audit itself: keep what it was called with, return a report."""
    calls = types.SimpleNamespace(report=RIGHT, network=None, layer=None)

    def audit(backward, **given):
        calls.network = {"backward": backward, **given}
        return calls.report

    def audit_layer(forward, backward, *inputs, **given):
        calls.layer = (forward, backward, inputs)
        return calls.report

    monkeypatch.setattr(commands, "audit", audit)
    monkeypatch.setattr(commands, "audit_layer", audit_layer)
    return calls


@pytest.fixture
def bad(run, tmp_path):
    """Expect exit status 2, one line on standard error, nothing printed and nothing written."""

    def call(*arguments):
        before = sorted(tmp_path.rglob("*"))
        result = run("audit", *arguments, status=2)
        assert result.stdout == ""
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
        assert sorted(tmp_path.rglob("*")) == before
        return result.stderr.removeprefix("error: ").rstrip()

    return call


def test_the_parts_are_found_by_their_names(run, file, engine, tmp_path):
    before = list(sys.path)
    result = run("audit", file(PROGRAM))
    assert result.stdout.splitlines() == str(RIGHT).splitlines()
    given = engine.network
    assert set(given) == {"backward", "forward", "loss", "parameters", "X", "Y", "ascent"}
    assert given["backward"].__name__ == "backward" and given["forward"].__name__ == "forward"
    assert given["X"].shape == (9, 5) and given["Y"].shape == (9, 3) and set(given["parameters"]) == {"W1"}
    assert given["ascent"] is False
    assert sys.path == before and "__audited__" not in sys.modules


def test_names_may_be_others_and_data_may_be_functions(run, file, engine):
    text = (
        PROGRAM.replace("def forward", "def fp")
        .replace("def backward", "def bp")
        .replace("def loss", "def cost")
        .replace("parameters = {", "weights = lambda: {")
        .replace("X, Y = ", "inputs, T = ")
        + "\ndef targets():\n    return T\n"
    )
    options = "--forward fp --backward bp --loss cost --parameters weights --x inputs --y targets --ascent".split()
    run("audit", file(text), *options)
    given = engine.network
    assert given["loss"].__name__ == "cost" and given["ascent"] is True
    assert isinstance(given["parameters"], dict) and isinstance(given["Y"], np.ndarray)


@pytest.mark.parametrize(("line", "options"), [("loss = 'mse'\n", ()), ("", ("--loss", "mse"))])
def test_the_loss_may_be_a_name_of_the_library(run, file, engine, line, options):
    text = PROGRAM.replace("def loss", "def unused") + line
    run("audit", file(text), *options)
    assert engine.network["loss"] == "mse"


def test_findings_give_status_1(run, file, engine):
    engine.report = FOUND
    result = run("audit", file(PROGRAM), status=1)
    assert "dW1 is 9 times too large." in result.stdout and "docs/causes/missing-mean.md" in result.stdout


def test_a_page_is_written(run, file, engine, tmp_path):
    engine.report = FOUND
    result = run("audit", file(PROGRAM), "--html", "report.html", status=1)
    assert (tmp_path / "report.html").read_text() == FOUND.to_html()
    assert result.stdout.splitlines() == str(FOUND).splitlines()
    assert run("audit", file(PROGRAM), "--html", "no/such/folder/r.html", status=2).stderr.startswith("error: ")


def test_a_layer_takes_its_inputs_by_the_names_of_forward(run, file, engine):
    text = "x, w = [1.0], lambda: [2.0]\ndef forward(x, w, eps=1e-5): ...\ndef backward(dout, cache): ...\n"
    run("audit", file(text), "--layer")
    assert engine.layer[2] == ([1.0], [2.0])
    run("audit", file(text + "inputs = {'a': 3, 'b': 4}\n"), "--layer")
    assert engine.layer[2] == (3, 4)
    run("audit", file(text + "def inputs(): return 5, 6\n"), "--layer")
    assert engine.layer[2] == (5, 6)


def test_the_file_may_import_its_neighbours_and_print(run, file, engine, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    file("W = 1.0\n", "beside.py")
    text = "import sys\nfrom beside import W\nprint('hello')\nassert sys.argv == [__file__]\nsys.path.clear()\n"
    before = sys.path[:], sys.argv[:]
    result = run("audit", file(text + PROGRAM.replace("from math import sqrt", "")))
    assert (sys.path, sys.argv) == before
    assert "hello" not in result.stdout and "hello" in result.stderr
    assert sorted(f.name for f in tmp_path.rglob("*")) == ["beside.py", "my_backprop.py"]  # no bytecode
    assert sys.dont_write_bytecode is False


def test_what_is_not_there_is_said(bad, file, engine):
    assert bad("none.py").startswith("none.py is not a file")
    message = bad(file(PROGRAM), "--loss", "cost", "--y", "T")
    assert message.startswith("my_backprop.py has no T; looked for T, forward, backward, parameters, X.")
    assert "It has rng, X, Y, parameters, forward, loss, backward." in message  # neither np nor sqrt
    assert "--backward NAME" in message
    message = bad(file(PROGRAM.replace("def backward", "def something")))
    assert "has nothing to audit; looked for pairs of functions" in message
    assert "It has functions forward, loss, something and no classes." in message and "--backward NAME" in message
    assert bad(file(PROGRAM), "--x", "inputs").startswith("my_backprop.py has no inputs;")
    assert "has no w;" in bad(file("x = 1\ndef forward(x, w): ...\ndef backward(dout, cache): ...\n"), "--layer")
    assert "It has no functions and no classes." in bad(file("import numpy as np\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = z\n", "my_backprop.py, line 2: NameError: name 'z' is not defined"),
        ("x = 1\nx = = 2\n", "my_backprop.py, line 2: SyntaxError: invalid syntax"),
        ("x = 1\0", "my_backprop.py: source code string cannot contain null bytes"),
        ("import sys\n\nsys.exit(3)\n", "my_backprop.py, line 3: SystemExit: 3"),
        ("class Own(BaseException): ...\nraise Own('\\033')\n", "my_backprop.py, line 2: Own: \\x1b"),
        (PROGRAM + "def X():\n    return 1 / 0\n", "my_backprop.py, line 22: ZeroDivisionError: division by zero"),
    ],
)
def test_a_program_that_fails_is_named_with_its_line(bad, file, engine, text, message):
    assert bad(file(text)).startswith(message)


def test_candidates_are_printed(run, file, engine):
    candidate = Candidate("missing-mean", "not divided", "dW1 = A0ᵀ dZ1")
    finding = Finding("dW1", "missing-mean", "dW1 is 9 times too large.", "dW1 = A0ᵀ dZ1 / m", (candidate,))
    engine.report = Report((finding,), (), (), (), 0.5, TITLE)
    assert "yours  dW1 = A0ᵀ dZ1\n" in run("audit", file(PROGRAM), status=1).stdout


# -- with the audit itself ---------------------------------------------------------------------------------------------


def test_a_right_program_passes(run, file):
    result = run("audit", file(PROGRAM))
    assert "✓ right" in result.stdout and "✗" not in result.stdout


def test_a_wrong_program_is_told_why(run, file, tmp_path):
    result = run("audit", file(WRONG), "--html", "report.html", status=1)
    assert "1. dW1 missing-mean" in " ".join(result.stdout.split())
    assert "missing-mean" in (tmp_path / "report.html").read_text()
    ascending = PROGRAM.replace('cache["Z1"] - Y', 'Y - cache["Z1"]')
    assert "sign" in run("audit", file(ascending), status=1).stdout
    run("audit", file(ascending), "--ascent")


def test_a_layer_is_audited(run, file):
    layer = (
        "import numpy as np\nx, w = np.random.default_rng(0).normal(size=(2, 9, 5))\n"
        "def forward(x, w):\n    return x * w, (x, w)\n"
        "def backward(dout, cache):\n    x, w = cache\n    return dout * w, dout * x\n"
    )
    run("audit", file(layer), "--layer")
    assert "dx" in run("audit", file(layer.replace("return dout * w", "return dout")), "--layer", status=1).stdout


def test_a_program_whose_forward_fails_is_named_with_its_line(bad, file):
    assert "line 11" in bad(file(PROGRAM.replace('X @ parameters["W1"]', 'X @ parameters["V"]')))
