"""The corpus of backward passes says the truth: each case is held to central differences, without the audit."""

from __future__ import annotations

import copy
import inspect
import sys
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.backward_passes import __main__ as command
from benchmarks.backward_passes import numeric
from benchmarks.backward_passes.cases import cases
from chainrule.audit.mistakes import pages
from tests.tables import for_each, slow

HALVES = ("first", "second")  # of the benchmark's own; those reported in public bring their truth
CASES = [case for half in HALVES for case in cases(half)]
TOLERANCE = 1e-5
CODES = (
    "sign, constant-factor, missing-mean, double-mean, missing-factor, missing-term, missing-activation-derivative, "
    "derivative-at-activation, derivative-applied-twice, wrong-activation-derivative, transposed, wrong-shape, "
    "wrong-operand, wrong-layer, updated-weights, bias-not-summed, bias-all-summed, missing-regularization, "
    "wrong-regularization, regularized-bias, dropout-mask-missing, mutates-input, accumulates, inconsistent-cache, "
    "nonfinite"
).split(", ")
network_gradients = cache(lambda forward, loss, data, output: numeric.network_gradients(
    SimpleNamespace(forward=forward, loss=loss, data=data, output=output)
))  # fmt: skip


def of_style(style):
    """Take one case in six, and of large networks none, which are slow to differentiate by differences."""
    cases = [c for c in CASES if c.setting.style == style]
    fast = [c for c in cases if not c.family.startswith("mnist")][::6]
    return pytest.mark.parametrize("case", [c if c in fast else slow(c) for c in cases], ids=lambda c: c.title)


def agrees(found, reference, scale=1.0):
    """Whether they are the same numbers, where the reference was sampled; a bias may be a vector or a column."""
    found = np.asarray(found, dtype=float)
    if squeezed(found.shape) != squeezed(reference.shape):
        return False
    known = ~np.isnan(reference)
    wanted = scale * reference[known]
    # Where all derivatives are nought, differences of a loss of order one still leave their rounding.
    size = max(np.abs(wanted).max(initial=0.0), 1e-4)
    return bool(np.all(np.abs(found.reshape(reference.shape)[known] - wanted) <= TOLERANCE * size))


def squeezed(shape):
    return tuple(n for n in shape if n != 1)


def ratio(found, reference):
    found = np.asarray(found, dtype=float)
    if found.size != reference.size:
        return 1.0
    known = ~np.isnan(reference)
    wanted = reference[known]
    return float(found.reshape(reference.shape)[known] @ wanted / max(wanted @ wanted, 1e-30))


def same(one, other):
    return np.array_equal(np.asarray(one), np.asarray(other), equal_nan=np.asarray(one).dtype.kind == "f")


def changed(before, after):
    return [name for name in before if not same(before[name], after[name])]


class Run:
    """A network's backward pass, run twice on what its own forward pass keeps."""

    def __init__(self, case):
        case.forget()
        setting = case.setting
        parameters, X, Y = setting.data()
        arguments = [copy.deepcopy(part) for part in (numeric.cache_of(setting.forward(X, parameters)), Y, parameters)]
        untouched = copy.deepcopy(arguments)
        self.grads = {name: np.array(grad) for name, grad in case.backward(*arguments).items()}
        inputs = [name for name in changed(untouched[0], arguments[0]) if same(untouched[0][name], X)]
        self.mutated = inputs + changed(untouched[2], arguments[2])
        self.mutated += ["Y"] if not same(untouched[1], arguments[1]) else []
        again = case.backward(*copy.deepcopy(untouched))
        self.accumulates = any(not same(self.grads[name], again[name]) for name in self.grads)
        self.reference = network_gradients(setting.forward, setting.loss, setting.data, setting.output)
        self.parameters = {"d" + name for name in parameters}
        examples = Y.shape[0] if Y.shape[0] == X.shape[0] else Y.shape[-1]
        self.scales = {1.0, float(examples), float(Y.size)}

    def is_right(self, name):
        """A parameter's gradient exactly, an error signal with or without a mean that is taken later."""
        scales = {1.0} if name in self.parameters else self.scales
        return any(agrees(self.grads[name], self.reference[name], scale) for scale in scales)


@of_style("network")
def test_network(case):
    run = Run(case)
    assert set(run.grads) <= set(run.reference), "gradients of nothing"
    assert set(run.grads) & run.parameters
    if case.is_right:
        right_network(run)
    elif case.causes[0] == "inconsistent-cache":
        inconsistent_cache(case, run)
    elif case.steps[0] == "backward":
        behaviour(case, run)
    else:
        wrong_network(case, run)


def right_network(run):
    for name, grad in run.grads.items():
        reference = run.reference[name]
        scale = 1.0 if name in run.parameters else ratio(grad, reference)
        assert agrees(grad, reference, scale), name
    assert run.parameters <= set(run.grads)
    assert not run.mutated and not run.accumulates


def inconsistent_cache(case, run):
    """The output is as intended, and the first entry that differs from the intended one is the step."""
    parameters, X, _ = case.setting.data()
    kept, intended = case.setting.forward(X, parameters), case.intended(X, parameters)
    assert same(numeric.output_of(kept, case.setting.output), numeric.output_of(intended, case.setting.output))
    assert [name for name in intended if not np.allclose(kept[name], intended[name])] == [case.steps[0]]
    assert not any(run.is_right(step) for step in case.steps[1:])


def behaviour(case, run):
    assert case.steps == ("backward",)
    assert all(run.is_right(name) for name in run.grads)
    if case.causes[0] == "accumulates":
        assert run.accumulates
    else:
        assert case.causes[0] == "mutates-input" and run.mutated


def wrong_network(case, run):
    names = list(run.grads)
    first = case.steps[0]
    assert first in names
    before = names[: names.index(first)]
    assert all(run.is_right(name) for name in before), [name for name in before if not run.is_right(name)]
    assert not any(run.is_right(step) for step in case.steps), "a step that is named as wrong is right"
    assert not run.accumulates
    assert not run.mutated or "mutates-input" in case.causes
    fits_the_cause(case, run.grads[first], run.reference[first])


def fits_the_cause(case, found, reference):
    """What a cause says by itself of the numbers."""
    cause, factor = case.causes[0], ratio(found, reference)
    proportional = agrees(found, reference, factor)
    if cause in ("sign", "constant-factor", "missing-mean", "double-mean"):
        assert proportional or cause == "missing-mean"
    if cause == "sign":
        assert factor < 0
    if cause == "missing-mean":
        assert factor > 1
    if cause == "double-mean":
        assert factor < 1
    if cause in ("missing-factor", "missing-term", "missing-activation-derivative", "transposed"):
        assert np.isfinite(factor)
    if cause == "nonfinite":
        assert not np.isfinite(found).all() and np.isfinite(reference[~np.isnan(reference)]).all()
    else:
        assert np.isfinite(found).all()
    if cause == "wrong-shape":
        assert squeezed(np.shape(found)) != squeezed(reference.shape)


@of_style("layer")
def test_layer(case):
    forward, inputs = case.setting.forward, case.setting.inputs()
    names = ["d" + name for name in inspect.signature(forward).parameters]
    out, kept = forward(*copy.deepcopy(inputs))
    dout = np.random.default_rng(0).normal(size=out.shape)
    reference = dict(zip(names, numeric.input_gradients(forward, inputs, dout), strict=True))

    def gradients():
        given, of_call = dout.copy(), copy.deepcopy(kept)
        returned = case.backward(given, of_call)
        returned = returned if isinstance(returned, dict) else dict(zip(names, returned, strict=True))
        return copy.deepcopy(returned), not same(given, dout) or not equal(of_call, kept)

    grads, mutates = gradients()
    again, _ = gradients()
    accumulates = any(not same(grads[name], again[name]) for name in grads if grads[name] is not None)
    held_to(case, grads, reference, mutates, accumulates)


@of_style("module")
def test_module(case):
    setting = case.setting
    inputs, module = setting.inputs(), setting.build(case.backward)
    out = np.asarray(copy.deepcopy(module).forward(*copy.deepcopy(inputs)))
    dout = np.random.default_rng(0).normal(size=out.shape)
    reference = numeric.module_gradients(module, setting.gradients, inputs, dout)

    before, given = copy.deepcopy(module), dout.copy()
    grads = copy.deepcopy(numeric.run_module(module, setting.gradients, copy.deepcopy(inputs), given))
    mutates = not same(given, dout) or any(not equal(kept(module, n), kept(before, n)) for n in setting.gradients)
    again = numeric.run_module(module, setting.gradients, copy.deepcopy(inputs), dout.copy())
    accumulates = any(not same(grads[name], again[name]) for name in grads)
    held_to(case, grads, reference, mutates, accumulates and "updated-weights" not in case.causes)


def kept(module, name):
    value = getattr(module, name)
    return value if isinstance(value, np.ndarray) else value.data


def equal(one, other):
    if isinstance(one, dict):
        return all(equal(one[name], other[name]) for name in other)
    if isinstance(one, (tuple, list)):
        return all(equal(a, b) for a, b in zip(one, other, strict=True))
    return same(one, other)


def held_to(case, grads, reference, mutates, accumulates):
    named = {name for name, grad in reference.items() if grad is not None}
    assert set(grads) >= named
    wrong = {name for name in named if not agrees(grads[name], reference[name])}
    if case.is_right:
        assert not wrong and not mutates and not accumulates
        return
    if case.steps[0] == "backward":
        assert not wrong
        assert {"mutates-input": mutates, "accumulates": accumulates}[case.causes[0]]
        return
    assert wrong == set(case.steps)
    assert not accumulates
    assert not mutates or "mutates-input" in case.causes
    fits_the_cause(case, grads[case.steps[0]], reference[case.steps[0]])


@pytest.mark.parametrize("half", HALVES)
def test_halves_are_large_and_wide_enough(half):
    wrong = [case for case in CASES if case.half == half and not case.is_right]
    assert len(wrong) >= 65
    assert len([case for case in CASES if case.half == half and case.is_right]) >= 22
    assert 5 * sum(case.subtle for case in wrong) >= len(wrong)
    assert {case.causes[0] for case in wrong} >= set(CODES)
    assert {case.setting.style for case in wrong} == {"network", "layer", "module"}


def test_halves_share_no_backward_pass():
    names = [{case.name for case in CASES if case.half == half} for half in HALVES]
    assert not names[0] & names[1]


@for_each("case", [pytest.param(c, id=c.title) for c in CASES if not c.is_right])
def test_causes_are_codes(case):
    assert set(case.causes) <= {*CODES, *pages()}
    assert len(set(case.steps)) == len(case.steps) > 0


def test_a_nudge_in_the_middle_by_hand():
    def forward(x, parameters):
        Z = parameters["w"] * x
        A = Z**2
        return {"Z": Z, "A": A}

    setting = SimpleNamespace(
        forward=forward,
        loss=lambda A, Y: np.sum(A - Y),
        data=lambda: ({"w": np.array([2.0])}, np.array([3.0]), np.zeros(1)),
        output=None,
    )
    found = numeric.network_gradients(setting)
    assert {name: round(float(grad[0]), 6) for name, grad in found.items()} == {"dw": 36.0, "dZ": 12.0, "dA": 1.0}
    assert sys.gettrace() is None or "coverage" in sys.modules


def test_a_wrong_label_is_noticed():
    honest = next(case for case in CASES if case.name == "tanh_derivative_forgotten")
    for different in (
        {"steps": ("dW2",)},
        {"steps": ("dW1",)},
        {"causes": ("wrong-shape",)},
        {"causes": (), "steps": ()},
    ):
        with pytest.raises(AssertionError):
            test_network(type(honest)(**{**vars(honest), **different}))


class Stub:
    """An audit that finds what it is told to."""

    def __init__(self, findings=(), error=None):
        self.findings, self.error = findings, error

    def __call__(self, *arguments, **named):
        if self.error is not None:
            raise self.error
        findings = tuple(SimpleNamespace(name=name, cause=cause, message="so it is") for name, cause in self.findings)
        return SimpleNamespace(ok=not findings, findings=findings)


def run_with(monkeypatch, capsys, stub, *arguments):
    module = SimpleNamespace(audit=stub, audit_layer=stub, audit_module=stub)
    monkeypatch.setitem(sys.modules, "chainrule", module)
    status = command.main(list(arguments))
    return status, capsys.readouterr().out


def test_the_runner_counts_what_is_found(monkeypatch, capsys):
    status, out = run_with(monkeypatch, capsys, Stub([("dZ1", "missing-activation-derivative")]), "first")
    first = [case for case in CASES if case.half == "first"]
    wrong = [case for case in first if not case.is_right]
    hits = sum("dZ1" in case.steps for case in wrong)
    assert status == 0
    assert f"wrong passes detected: {len(wrong)} of {len(wrong)} (100.0 %)" in out
    assert f"first wrong step named: {hits} of {len(wrong)}" in out
    assert f"right passes flagged: {len(first) - len(wrong)} of {len(first) - len(wrong)} (100.0 %)" in out


def test_the_runner_lists_misses_and_errors(monkeypatch, capsys):
    case = "first/planar_columns/tanh_derivative_forgotten"
    status, out = run_with(monkeypatch, capsys, Stub(), "--case", case)
    assert status == 0
    assert f"{case}: is dZ1: missing-activation-derivative; found nothing" in out
    status, out = run_with(
        monkeypatch, capsys, Stub(error=ValueError("no | way")), "--case", case, "--format", "markdown"
    )
    assert status == 1
    assert "ValueError: no \\| way" in out
    with pytest.raises(SystemExit):
        command.main(["--case", "no such case"])
