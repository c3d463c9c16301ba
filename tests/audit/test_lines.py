"""Each finding points to the statement of the user's that made its gradient, in the original file."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr

RNG = np.random.default_rng(3)
X, W, B = RNG.normal(size=(7, 4)), RNG.normal(size=(4, 3)), RNG.normal(size=3)


def forward(x, W, b):
    a = np.tanh(x @ W + b)
    return a, (x, W, a)


def in_statements(dout, cache):
    x, W, a = cache
    dz = dout * (1 - a**2)
    db = np.zeros(3)
    for row in dz:
        db -= row  # here: db
    dW = x.T @ dz
    dx = np.dot(
        dz,  # here: nothing
        2 * W.T,
    )
    return dx, dW, db


def in_the_return(dout, cache):
    x, W, a = cache
    dz = dout * (1 - a**2)
    return dz @ W.T, -x.T @ dz, dz.sum(axis=0)  # here: dW


def linear_backward(dz, x, W):
    gradient = x.T @ dz * 7  # here: dW
    return dz @ W.T, gradient, dz.sum(axis=0)


def in_another_function(dout, cache):
    x, W, a = cache
    dx, dW, db = linear_backward(dout * (1 - a**2), x, W)
    return dx, dW, db


def in_a_dict(dout, cache):
    x, W, a = cache
    grads = {}
    grads["dz"] = dout * (1 - a**2)
    grads["dx"] = grads["dz"] @ W.T
    grads["dW"] = x.T @ grads["dz"]
    grads["db"] = grads["dz"].sum(axis=0) / 5  # here: db
    return {k: grads[k] for k in ("dx", "dW", "db")}


class Layer:
    def __init__(self):
        self.W, self.b = W.copy(), B.copy()

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW = self.x.T @ dout
        self.db = 3 * dout.sum(axis=0)  # here: db
        return dout @ self.W.T


def marked(name, f):
    """Return the lines of this file that are marked for a gradient, within a function."""
    lines, first = inspect.getsourcelines(f)
    return [first + i for i, line in enumerate(lines) if line.rstrip().endswith(f"# here: {name}")]


@pytest.mark.parametrize(
    ("backward", "name", "within"),
    [
        (in_statements, "db", in_statements),
        (in_the_return, "dW", in_the_return),
        (in_another_function, "dW", linear_backward),
        (in_a_dict, "db", in_a_dict),
        (Layer(), "db", Layer.backward),
    ],
)
def test_a_finding_is_at_the_statement_that_made_the_gradient(backward, name, within):
    if isinstance(backward, Layer):
        report = cr.audit_module(backward, X)
    else:
        report = cr.audit_layer(forward, backward, X, W, B)
    (finding,) = [f for f in report.findings if f.name == name]
    assert Path(finding.file) == Path(__file__) and [finding.line] == marked(name, within)
    assert f"test_lines.py:{finding.line}" in str(report) and finding.statement[:8] in str(report)
    assert f"{finding.line}" in report.to_html() and finding.statement[:8] in report.to_markdown()


def test_a_statement_of_several_lines_is_shown_as_one():
    (finding,) = [f for f in cr.audit_layer(forward, in_statements, X, W, B).findings if f.name == "dx"]
    assert finding.statement.startswith("dx = np.dot( dz,") and finding.statement.endswith(")")


def test_cells_of_a_notebook_have_lines_too():
    import linecache

    source = "def backward(dout, x):\n    dx = -2 * dout\n    return dx\n"
    name = "<ipython-input-7-0f>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    space = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), space)
    (finding,) = cr.audit_layer(lambda x: (2 * x, x), space["backward"], X).findings
    assert (finding.file, finding.line, finding.statement) == ("<cell>", 2, "dx = -2 * dout")


def test_a_trace_function_that_is_set_stays_set():
    seen = []

    def trace(frame, event, arg):
        seen.append(event)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        cr.audit_layer(forward, in_the_return, X, W, B)
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)


# -- formats -----------------------------------------------------------------------------------------------------------


def test_github_gets_an_annotation_at_the_line(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)
    text = cr.audit_layer(forward, in_the_return, X, W, B).to_github()
    (line,) = marked("dW", in_the_return)
    assert text.startswith(f"::error file=test_lines.py,line={line},title=dW%3A sign::dW is -1 times")
    assert text.count("\n") == 1
    assert cr.audit_layer(forward, lambda d, c: (d, d, d)[:0] or _right(d, c), X, W, B).to_github() == ""


def _right(dout, cache):
    x, W, a = cache
    dz = dout * (1 - a**2)
    return dz @ W.T, x.T @ dz, dz.sum(axis=0)


def test_sarif_has_what_the_schema_asks_for(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent)
    report = cr.audit_layer(forward, in_statements, X, W, B)
    log = json.loads(report.to_sarif())
    assert log["version"] == "2.1.0" and set(log) == {"$schema", "version", "runs"}
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"] == "chainrule" and len({r["id"] for r in rules}) == len(rules)
    assert [r["ruleId"] for r in run["results"]] == [f.cause for f in report.findings]
    for result, finding in zip(run["results"], report.findings, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] and result["level"] == "error"
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "test_lines.py"
        assert place["region"]["startLine"] == finding.line >= 1
        assert result["message"]["text"].startswith(finding.message)
    assert json.loads(report.to_json()) == report.to_dict()


def test_sarif_names_no_file_where_there_is_none():
    found = {}
    exec(compile("def twice(dout, x):\n    return 2 * dout", "<stdin>", "exec"), found)
    report = cr.audit_layer(lambda x: (x**2, x), found["twice"], X)
    (result,) = json.loads(report.to_sarif())["runs"][0]["results"]
    assert "locations" not in result and result["message"]["text"]
    right = cr.audit_layer(lambda x: (x**2, x), lambda dout, x: 2 * dout * x, X)
    assert json.loads(right.to_sarif())["runs"][0]["results"] == []
