"""The table of known mistakes: adding one takes one place, and so does an operation whose derivative is got wrong."""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.audit.mistakes import CAUSES, Cause, mistake, mistakes, pages, search, table
from chainrule.audit.mistakes.variants import replaced
from chainrule.core import op as rows_of_operations
from chainrule.ops.elementwise import REAL, elementwise_row
from tests.tables import in_turn

ROOT = Path(__file__).resolve().parents[2]
RNG = np.random.default_rng(5)


def make_cause_pages():
    spec = importlib.util.spec_from_file_location("make_cause_pages", ROOT / "tools" / "make_cause_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def own_table(monkeypatch):
    """A copy of the table for the test, since what is registered stays registered."""
    for name in ("_CAUSES", "_PAGES"):
        monkeypatch.setattr(table, name, dict(getattr(table, name)))
    monkeypatch.setattr(table, "_MISTAKES", list(table._MISTAKES))


def test_a_mistake_is_added_in_one_place(own_table):
    forward = "def forward(x):\n    return x**3, x\n"
    backward = "def backward(dout, x):\n    return dout * 3 * x**2 + 7  # wrong\n"

    class AddedSeven(Cause):
        __doc__ = f"""Seven is added.

        Wrong
        -----
            x = rng.normal(size=(9, 5))


            {forward.replace(chr(10), chr(10) + " " * 12)}

            {backward.replace(chr(10), chr(10) + " " * 12)}

            report = cr.audit_layer(forward, backward, x)

        Right
        -----
            return dout * 3 * x**2

        How it shows
        ------------
        Everything is too large by seven.

        Why it is wrong
        ---------------
        There is no seven.
        """
        code = "added-seven"
        shown_in = "dx"

    @mistake(AddedSeven, "{what} is added to it")
    def _seven(context):
        yield replaced(lambda c: c.result + 7, what="seven")

    def right_forward(x):
        return x**3, x

    x = RNG.normal(size=(9, 5))
    report = cr.audit_layer(right_forward, lambda dout, x: dout * 3 * x**2 + 7, x)
    assert [(f.name, f.cause, f.message) for f in report.findings] == [
        ("dx", "added-seven", "dx is wrong: seven is added to it.")
    ]
    assert "added-seven" in str(report)
    page = make_cause_pages().page(AddedSeven)
    assert page.startswith("# added-seven\n\nSeven is added.\n") and "There is no seven." in page
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    exec(program, {})  # it asserts that the audit finds it


def test_the_pages_are_up_to_date():
    made = make_cause_pages()
    assert {p.name: p.read_text(encoding="utf-8") for p in made.FOLDER.glob("*.md")} == made.written()


def test_every_mistake_has_a_cause_with_a_page():
    assert {row.cause.code for row in mistakes()} <= set(CAUSES) == set(pages())
    with pytest.raises(ValueError, match="sign"):
        type("Again", (Cause,), {"code": "sign", "__doc__": "Again."})


@pytest.fixture
def log_cosh(monkeypatch):
    monkeypatch.setattr(rows_of_operations, "_ROWS", dict(rows_of_operations._ROWS))

    def kernel(x, out=None):
        return np.subtract(np.logaddexp(x, -x, out=out), np.log(2.0), out=out)

    rule = (lambda g, out, x: g * np.tanh(x),)
    return elementwise_row(kernel, rule, r"\log \cosh {0}", REAL, name="log_cosh", floating=True)


LOG_COSH_MISTAKES = {
    "left out": (lambda dout, x, y: dout, "missing-activation-derivative"),
    "squared": (lambda dout, x, y: dout * np.tanh(x) ** 2, "derivative-applied-twice"),
    "at the output": (lambda dout, x, y: dout * np.tanh(y), "derivative-at-activation"),
    "of another activation": (lambda dout, x, y: dout * (1 - np.tanh(x) ** 2), "wrong-activation-derivative"),
    "of its inverse sign": (lambda dout, x, y: -dout * np.tanh(x), "sign"),
}


@pytest.mark.parametrize("wrong", in_turn([None, *LOG_COSH_MISTAKES], every=2))
def test_an_operation_from_one_place_is_audited(log_cosh, wrong):
    def forward(x):
        y = log_cosh(x)
        return y, (x, y)

    def backward(dout, cache):
        x, y = cache
        return {"dx": LOG_COSH_MISTAKES[wrong][0](dout, x, y) if wrong else dout * np.tanh(x)}

    report = cr.audit_layer(forward, backward, RNG.normal(size=(9, 5)))
    expected = [("dx", LOG_COSH_MISTAKES[wrong][1])] if wrong else []
    assert [(f.name, f.cause) for f in report.findings] == expected
    if wrong and wrong not in ("left out", "of its inverse sign"):
        assert "log_cosh" in report.findings[0].message


def test_its_derivative_is_found_in_place_of_another(log_cosh):
    """The derivative of the new row, tanh, used for sigmoid's."""

    def forward(x):
        return 1 / (1 + np.exp(-x)), x

    report = cr.audit_layer(forward, lambda dout, x: dout * np.tanh(x), RNG.normal(size=(9, 5)))
    (finding,) = report.findings
    assert finding.cause == "wrong-activation-derivative" and "log_cosh" in finding.message


def test_no_operation_is_named_by_a_literal():
    names = {row.name for row in cr.ops.rows()} - set(CAUSES)
    for path in (ROOT / "src" / "chainrule" / "audit").rglob("*.py"):
        code = re.sub(r'"""(?:.|\n)*?"""', "", path.read_text(encoding="utf-8"))
        found = set(re.findall(r'"(\w+)"', code)) & names
        assert not found, f"{path.name}: {found}"


# -- verdicts do not depend on the clock -------------------------------------------------------------------------------


def unknown_report():
    """A step that no mistake explains, so that all of them are tried, and pairs of them."""
    parameters = {f"W{k}": np.random.default_rng(k).normal(size=(6, 6)) for k in range(1, 5)}
    X, Y = np.random.default_rng(8).normal(size=(2, 9, 6))

    def forward(X, p):
        cache = {"A0": X}
        for k in range(1, 5):
            cache[f"Z{k}"] = cache[f"A{k - 1}"] @ p[f"W{k}"]
            cache[f"A{k}"] = np.tanh(cache[f"Z{k}"])
        return cache

    def backward(c, Y, p):
        dZ = (c["A4"] - Y) / len(Y) * (1 - c["A4"] ** 2)
        grads = {"dZ4": dZ}
        for k in range(4, 0, -1):
            grads[f"dW{k}"] = c[f"A{k - 1}"].T @ dZ
            if k > 1:
                dA = dZ @ p[f"W{k}"].T
                dZ = dA * (1 - c[f"A{k - 1}"] ** 2) + (0.01 * np.cumsum(dA, axis=1) if k == 3 else 0)
        return grads

    def loss(A, Y):
        return np.mean(np.sum((A - Y) ** 2, axis=1)) / 2

    return cr.audit(backward, forward=forward, loss=loss, parameters=parameters, X=X, Y=Y)


def spin(until):
    while time.monotonic() < until:
        pass


@pytest.mark.slow
def test_the_report_is_the_same_on_a_busy_machine():
    alone = unknown_report()
    context = multiprocessing.get_context("spawn")
    busy = [context.Process(target=spin, args=(time.monotonic() + 60,)) for _ in range(2 * (os.cpu_count() or 1))]
    for process in busy:
        process.start()
    try:
        crowded = unknown_report()
    finally:
        for process in busy:
            process.kill()
    assert str(crowded) == str(alone) and crowded.to_dict() == alone.to_dict()


def test_the_clock_is_not_asked():
    for path in (ROOT / "src" / "chainrule" / "audit").rglob("*.py"):
        assert not re.search(r"^(import|from) time\b", path.read_text(encoding="utf-8"), flags=re.MULTILINE), path


def test_a_search_ends_when_its_budget_is_spent(monkeypatch):
    tried = []
    fits = search._fits
    monkeypatch.setattr(search, "_fits", lambda *a: tried.append(1) or fits(*a))
    unknown_report()
    all_of_them = len(tried)
    tried.clear()
    step = importlib.import_module("chainrule.audit.step")
    monkeypatch.setattr(step, "WORK", 2000.0)
    monkeypatch.setattr(search, "LEAST", 0.0)
    monkeypatch.setattr(step, "PAIRS_WORK", 0.0)
    report = unknown_report()
    assert 0 < len(tried) < all_of_them / 4
    assert {f.cause for f in report.findings} == {"unknown"}
