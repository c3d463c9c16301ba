"""The audit of networks: each known mistake is found at its step, right passes in odd conventions are not touched."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import chainrule as cr
from chainrule.audit.report import CAUSES, INHERITED, RIGHT, WRONG
from tests.tables import slow

RATE = 0.1
LAMBDA = 0.3


def data(rows, widths=(4, 6, 6, 3), m=9):
    rng = np.random.default_rng(3)
    parameters = {}
    for layer in range(1, len(widths)):
        W = rng.normal(size=(widths[layer - 1], widths[layer])) / np.sqrt(widths[layer - 1])
        b = 0.1 * rng.normal(size=(1, widths[layer]))
        parameters[f"W{layer}"], parameters[f"b{layer}"] = (W, b) if rows else (W.T, b.T)
    X, Y = rng.normal(size=(m, widths[0])), np.eye(widths[-1])[rng.integers(widths[-1], size=m)]
    return parameters, *((X, Y) if rows else (X.T, Y.T))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def passes(rows, wrong="", penalty=0.0):
    """A network of tanh, ReLU and sigmoid under binary cross entropy; `wrong` names what is wrong in backward."""
    axis = 0 if rows else 1

    def product(A, W):  # of the forward pass
        return A @ W if rows else W @ A

    def forward(X, p):
        Z1 = product(X, p["W1"]) + p["b1"]
        A1 = np.tanh(Z1)
        Z2 = product(A1, p["W2"]) + p["b2"]
        A2 = np.maximum(0, Z2)
        Z3 = product(A2, p["W3"]) + p["b3"]
        A3 = sigmoid(Z3)
        return {"X": X, "Z1": Z1, "A1": A1, "Z2": Z2, "A2": A2, "Z3": Z3, "A3": A3}

    def loss(A, Y, p):
        m = Y.shape[axis]
        return -np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / m + penalty / 2 / m * np.sum(p["W1"] ** 2)

    def weights(A, dZ):
        return A.T @ dZ if rows else dZ @ A.T

    def down(dZ, W):
        return dZ @ W.T if rows else W.T @ dZ

    def bias(dZ):
        return np.sum(dZ, axis=axis, keepdims=True)

    def backward(c, Y, p):
        m = Y.shape[axis]
        W2 = p["W2"]
        dZ3 = c["A3"] - Y
        if wrong == "sign of the error":
            dZ3 = Y - c["A3"]
        if wrong == "factor of two":
            dZ3 = 2 * dZ3
        if wrong == "sigmoid once more":
            dZ3 = dZ3 * c["A3"] * (1 - c["A3"])
        if wrong == "one term":
            dZ3 = -Y / c["A3"] * c["A3"] * (1 - c["A3"])
        dW3, db3 = weights(c["A2"], dZ3) / m, bias(dZ3) / m
        if wrong == "no mean":
            dW3 = dW3 * m
        if wrong == "mean twice":
            dW3 = dW3 / m
        if wrong == "bias unsummed":
            db3 = dZ3 / m
        if wrong == "bias all summed":
            db3 = np.sum(dZ3) / m
        if wrong == "input of another layer":
            dW3 = weights(c["A1"], dZ3) / m
        dA2 = down(dZ3, p["W3"])
        if wrong == "divided on the way":
            dA2 = dA2 / m
        dZ2 = dA2 * (c["Z2"] > 0)
        if wrong == "relu left out":
            dZ2 = dA2
        if wrong == "relu of another layer":
            dZ2 = dA2 * (c["Z1"] > 0)
        if wrong == "mutates":
            c["A2"] *= 0
        dW2, db2 = weights(c["A1"], dZ2) / m, bias(dZ2) / m
        if wrong == "transposed result":
            dW2 = dW2.T
        if wrong == "wrong operand":
            dW2 = weights(c["Z1"], dZ2) / m
        if wrong == "updated":
            W2 = W2 - RATE * dW2
        dA1 = down(dZ2, W2)
        if wrong == "not transposed":
            dA1 = dZ2 @ W2 if rows else W2 @ dZ2
        dZ1 = dA1 * (1 - c["A1"] ** 2)
        if wrong == "at the input":
            dZ1 = dA1 * (1 - c["Z1"] ** 2)
        if wrong == "twice":
            dZ1 = dA1 * (1 - c["A1"] ** 2) ** 2
        if wrong == "sigmoid for tanh":
            dZ1 = dA1 * c["A1"] * (1 - c["A1"])
        dW1, db1 = weights(c["X"], dZ1) / m + penalty / m * p["W1"], bias(dZ1) / m
        if wrong == "no penalty":
            dW1 = weights(c["X"], dZ1) / m
        if wrong == "penalty twice":
            dW1 = dW1 + penalty / m * p["W1"]
        if wrong == "penalty on the bias":
            db1 = db1 + LAMBDA / m * p["b1"]
        if wrong == "nan":
            dW1 = dW1 / (dZ1.sum() * 0)
        if wrong == "wrong shape":
            dW1 = dW1[:-1]
        if wrong == "nonsense":
            dW1 = dW1 * np.cos(p["W1"] * 7)
        return {
            "dZ3": dZ3, "dW3": dW3, "db3": db3, "dA2": dA2, "dZ2": dZ2, "dW2": dW2, "db2": db2, "dA1": dA1, "dZ1": dZ1,
            "dW1": dW1, "db1": db1,
        }  # fmt: skip

    return forward, loss, backward


def audited(rows, wrong="", penalty=0.0, **different):
    forward, loss, backward = passes(rows, wrong, penalty)
    parameters, X, Y = data(rows)
    given = dict(forward=forward, loss=loss, parameters=parameters, X=X, Y=Y)
    return cr.audit(backward, **{**given, **different})


report_on = functools.cache(audited)  # for tests that read the same report

MISTAKES = [
    ("sign of the error", "dZ3", "sign", 0.0),
    ("factor of two", "dZ3", "constant-factor", 0.0),
    ("divided on the way", "dA2", "double-mean", 0.0),
    ("sigmoid once more", "dZ3", "derivative-applied-twice", 0.0),
    ("one term", "dZ3", "missing-term", 0.0),
    ("no mean", "dW3", "missing-mean", 0.0),
    ("mean twice", "dW3", "double-mean", 0.0),
    ("bias unsummed", "db3", "bias-not-summed", 0.0),
    ("bias all summed", "db3", "bias-all-summed", 0.0),
    ("input of another layer", "dW3", "wrong-layer", 0.0),
    ("relu left out", "dZ2", "missing-activation-derivative", 0.0),
    ("relu of another layer", "dZ2", "wrong-layer", 0.0),
    ("transposed result", "dW2", "transposed", 0.0),
    ("wrong operand", "dW2", "wrong-operand", 0.0),
    ("updated", "dA1", "updated-weights", 0.0),
    ("not transposed", "dA1", "transposed", 0.0),
    ("at the input", "dZ1", "derivative-at-activation", 0.0),
    ("twice", "dZ1", "derivative-applied-twice", 0.0),
    ("sigmoid for tanh", "dZ1", "wrong-activation-derivative", 0.0),
    ("no penalty", "dW1", "missing-regularization", LAMBDA),
    ("penalty twice", "dW1", "wrong-regularization", LAMBDA),
    ("penalty on the bias", "db1", "regularized-bias", LAMBDA),
    ("nan", "dW1", "nonfinite", 0.0),
    ("wrong shape", "dW1", "wrong-shape", 0.0),
    ("nonsense", "dW1", "unknown", 0.0),
]


def in_rows_and_columns():
    """Yield each mistake with examples in rows and in columns; one in six is not slow."""
    for i, mistake in enumerate(MISTAKES):
        for rows in (True, False):
            marks = pytest.mark.slow if i % 3 or rows == i // 3 % 2 else ()
            yield pytest.param(rows, *mistake, marks=marks, id=f"{mistake[0]}-{'rows' if rows else 'columns'}")


@pytest.mark.parametrize(("rows", "wrong", "step", "cause", "penalty"), [*in_rows_and_columns()])
def test_a_mistake_is_found_at_its_step(rows, wrong, step, cause, penalty):
    report = report_on(rows, wrong, penalty)
    assert not report.ok
    assert (report.findings[0].name, report.findings[0].cause) == (step, cause), str(report)
    assert {f.cause for f in report.findings} == {cause}, "what follows from it is not blamed"
    assert len(report.findings) == 1, str(report)
    verdicts = {s.name: s.verdict for s in report.steps}
    assert verdicts.pop(step) == WRONG
    assert set(verdicts.values()) <= {RIGHT, INHERITED}


@pytest.mark.parametrize("rows", [True, False], ids=["rows", "columns"])
def test_what_follows_from_a_mistake_is_inherited(rows):
    verdicts = {s.name: s.verdict for s in report_on(rows, "relu left out").steps}
    assert [n for n, v in verdicts.items() if v == INHERITED] == ["dW2", "db2", "dA1", "dZ1", "dW1", "db1"]
    assert [n for n, v in verdicts.items() if v == RIGHT] == ["dZ3", "dW3", "db3", "dA2"]


@pytest.mark.parametrize("penalty", [0.0, LAMBDA])
@pytest.mark.parametrize("rows", [True, False], ids=["rows", "columns"])
def test_a_right_pass_is_right(rows, penalty):
    report = report_on(rows, penalty=penalty)
    assert report.ok and report.findings == ()
    assert {s.verdict for s in report.steps} == {RIGHT}
    assert max(s.error for s in report.steps) < 1e-12
    assert any("1/m" in c.message for c in report.conventions)


def test_the_formulas_are_those_of_the_layout():
    rows = {s.name: s.formula for s in report_on(True).steps}
    columns = {s.name: s.formula for s in report_on(False).steps}
    assert rows["dW2"] == "dW2 = A1ᵀ dZ2 / m" and columns["dW2"] == "dW2 = dZ2 A1ᵀ / m"
    assert rows["dA1"] == "dA1 = dZ2 W2ᵀ" and columns["dA1"] == "dA1 = W2ᵀ dZ2"
    assert rows["dZ2"] == columns["dZ2"] == "dZ2 = dA2 ⊙ 1[Z2 > 0]"
    assert rows["dZ1"] == "dZ1 = dA1 ⊙ (1 − A1²)"
    assert rows["db1"] == "db1 = Σ dZ1 / m"


def test_the_steps_stand_in_the_order_of_the_backward_pass():
    assert [s.name for s in report_on(True).steps] == "dZ3 dW3 db3 dA2 dZ2 dW2 db2 dA1 dZ1 dW1 db1".split()
    assert {s.name: s.upstream for s in report_on(True).steps}["dA1"] == ("dZ2",)


def test_the_wrong_formula_is_written_beside_the_right_one():
    (finding,) = report_on(True, "relu left out").findings
    assert finding.formula == "dZ2 = dA2 ⊙ 1[Z2 > 0]"
    assert finding.candidates[0].formula == "dZ2 = dA2"
    (finding,) = report_on(False, "updated").findings
    assert f"step of {RATE}" in finding.candidates[0].message
    (finding,) = report_on(True, "no mean").findings
    assert finding.message == "dW3 is 9 times too large: the sum over the batch is not divided by m = 9."
    assert finding.formula == "dW3 = A2ᵀ dZ3 / m" and finding.candidates[0].formula == "dW3 = A2ᵀ dZ3"
    (finding,) = report_on(True, "sign of the error").findings
    assert finding.candidates[0].formula == "dZ3 = −(A3 − Y) / m"


def test_every_cause_is_known():
    assert {m[2] for m in MISTAKES} <= set(CAUSES)


# -- conventions -------------------------------------------------------------------------------------------------------


def convention(change, **more):
    """A right pass whose gradients `change` brings into another form."""
    forward, loss, backward = passes(True)
    parameters, X, Y = data(True)
    return cr.audit(
        lambda c, Y, p: change(backward(c, Y, p), Y),
        forward=forward,
        loss=loss,
        parameters=parameters,
        X=X,
        Y=Y,
        **more,
    )


def test_the_mean_may_be_taken_in_the_signals_or_in_the_parameters():
    divided = convention(lambda g, Y: {k: v / len(Y) if k[1] in "ZA" else v for k, v in g.items()})
    assert divided.ok and divided.conventions == ()


def test_signals_may_have_any_scale_that_is_made_up_for():
    odd = convention(lambda g, Y: {k: v * -17.0 if k in ("dZ2", "dA1") else v for k, v in g.items()})
    assert odd.ok and {c.name for c in odd.conventions} >= {"dZ2", "dA1"}


def test_biases_may_be_vectors():
    report = convention(lambda g, Y: {k: v[0] if k[1] == "b" else v for k, v in g.items()})
    assert report.ok and {c.name for c in report.conventions} >= {"db1", "db2", "db3"}


def test_any_subset_of_the_gradients_will_do():
    assert convention(lambda g, Y: {k: v for k, v in g.items() if k[1] in "Wb"}).ok
    assert convention(lambda g, Y: {"dW1": g["dW1"]}, only=("W1",)).ok


def test_parameters_without_a_gradient_are_never_passed_over():
    report = convention(lambda g, Y: {k: v for k, v in g.items() if k not in ("dW1", "db2")})
    assert {(f.name, f.cause) for f in report.findings} == {("dW1", "missing-gradient"), ("db2", "missing-gradient")}
    report = convention(lambda g, Y: {**g, "dW1": 0 * g["dW1"]})
    assert [(f.name, f.cause) for f in report.findings] == [("dW1", "zero-gradient")]
    with pytest.raises(cr.AuditError, match=r"only=\['V'\]; expected names among W1"):
        convention(lambda g, Y: g, only=["V"])


def test_a_gradient_without_a_value_is_noted():
    report = convention(lambda g, Y: {**g, "dfoo": g["dW1"]})
    assert report.ok and any("dfoo" in n for n in report.notes)


def test_gradients_to_be_added_have_the_other_sign():
    forward, loss, backward = passes(False)
    parameters, X, Y = data(False)
    given = dict(forward=forward, loss=loss, parameters=parameters, X=X, Y=Y)

    def ascending(c, Y, p):
        return {k: -v if k[1] in "Wb" else v for k, v in backward(c, Y, p).items()}

    assert cr.audit(ascending, ascent=True, **given).ok
    assert cr.audit(ascending, **given).findings[0].cause == "sign"


def test_a_small_constant_in_the_loss_may_be_left_out_of_its_derivative():
    report = audited(True, loss=lambda A, Y: -np.sum(Y * np.log(A + 1e-5) + (1 - Y) * np.log(1 - A + 1e-5)) / len(Y))
    assert report.ok and any("1e-05" in c.message for c in report.conventions)


def test_relu_at_zero_may_have_any_slope_between():
    parameters, X, Y = data(True)
    X[0], parameters["b1"][:] = 0.0, 0.0

    def forward(X, p):
        Z1 = X @ p["W1"] + p["b1"]
        A1 = np.maximum(0, Z1)
        return {"Z1": Z1, "A1": A1, "Z2": A1 @ p["W2"] @ p["W3"]}

    def backward(c, Y, p):
        dZ2 = 2 * (c["Z2"] - Y) / Y.size
        dZ1 = (dZ2 @ p["W3"].T @ p["W2"].T) * (c["Z1"] >= 0)
        return {"dZ1": dZ1, "db1": dZ1.sum(0)}

    report = cr.audit(
        backward,
        forward=forward,
        loss=lambda A, Y: np.mean((A - Y) ** 2),
        parameters=parameters,
        X=X,
        Y=Y,
        only=("b1",),
    )
    assert report.ok and any("kink" in n for n in report.notes)


# -- behaviour ---------------------------------------------------------------------------------------------------------


def test_the_arrays_given_are_left_as_they_were():
    parameters, X, Y = data(True)
    before = {k: v.copy() for k, v in parameters.items()}, X.copy(), Y.copy()
    forward, loss, backward = passes(True)

    def violent(c, Y, p):
        grads = backward(c, Y, p)
        for array in [*p.values(), *c.values(), Y]:
            array[...] = 7.0
        return grads

    state = np.random.get_state()[1].copy()
    report = cr.audit(violent, forward=forward, loss=loss, parameters=parameters, X=X, Y=Y)
    assert report.findings[-1].name == "backward" and report.findings[-1].cause == "mutates-input"
    assert all(np.array_equal(before[0][k], parameters[k]) for k in parameters)
    assert np.array_equal(before[1], X) and np.array_equal(before[2], Y)
    assert np.array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("rows", [True, False])
def test_writing_into_the_cache_is_a_note(rows):
    report = audited(rows, "mutates")
    assert report.ok and any("in place: harmless in training" in n for n in report.notes)
    assert {s.verdict for s in report.steps} == {RIGHT}


def test_gradients_that_add_up_over_calls_are_found():
    forward, loss, backward = passes(True)
    parameters, X, Y = data(True)
    kept = {k: np.zeros_like(v) for k, v in parameters.items()}

    def adding(c, Y, p):
        for k, v in backward(c, Y, p).items():
            if k[1:] in kept:
                kept[k[1:]] += v
        return {"d" + k: v for k, v in kept.items()}

    report = cr.audit(adding, forward=forward, loss=loss, parameters=parameters, X=X, Y=Y)
    assert [(f.name, f.cause) for f in report.findings] == [("backward", "accumulates")]


def test_the_update_within_backward_is_found():
    forward, loss, backward = passes(True)
    parameters, X, Y = data(True)

    def learning(c, Y, p):
        grads = backward(c, Y, p)
        for k in p:
            p[k] -= 0.1 * grads["d" + k]
        return grads

    report = cr.audit(learning, forward=forward, loss=loss, parameters=parameters, X=X, Y=Y)
    (finding,) = report.findings
    assert finding.cause == "mutates-input" and "W1" in finding.message


def test_a_size_of_the_batch_that_is_written_down_is_found():
    forward, loss, backward = passes(True)
    parameters, X, Y = data(True)

    def nine(c, Y, p):
        return {k: v * len(Y) / 9 if k[1] in "Wb" else v for k, v in backward(c, Y, p).items()}

    report = cr.audit(nine, forward=forward, loss=loss, parameters=parameters, X=X, Y=Y)
    assert not report.ok and "9" in report.findings[0].message


def test_a_batch_of_one_is_tried():
    def squeezed(c, Y, p):
        grads = backward(c, Y, p)
        return grads if len(Y) > 1 else {k: v * 2 if k == "dW1" else v for k, v in grads.items()}

    forward, loss, backward = passes(True)
    parameters, X, Y = data(True)
    report = cr.audit(squeezed, forward=forward, loss=loss, parameters=parameters, X=X, Y=Y)
    assert report.ok and any("batch of one, dW1" in n for n in report.notes)


def test_single_precision_is_judged_as_such():
    forward, loss, backward = passes(True)
    parameters, X, Y = data(True)
    narrow = {k: v.astype(np.float32) for k, v in parameters.items()}

    def in_single(X, p):
        return forward(X.astype(np.float32), {k: v.astype(np.float32) for k, v in p.items()})

    given = dict(loss=loss, X=X.astype(np.float32), Y=Y, parameters=narrow)
    assert cr.audit(backward, forward=forward, **given).ok
    assert cr.audit(backward, forward=in_single, **given).ok
    report = cr.audit(
        lambda c, Y, p: {k: v * 1.01 if k == "dW1" else v for k, v in backward(c, Y, p).items()},
        forward=in_single,
        **given,
    )
    assert [f.name for f in report.findings] == ["dW1"]


def test_a_clipped_gradient_is_said_to_be_one():
    report = convention(lambda g, Y: {k: v / np.linalg.norm(v) if k == "dW1" else v for k, v in g.items()})
    (finding,) = report.findings
    assert (finding.name, finding.cause) == ("dW1", "unknown") and "clipped" in finding.message


def test_several_mistakes_are_told_apart():
    def change(grads, Y):
        grads = dict(grads)
        grads["dW3"] = grads["dW3"] * len(Y)
        grads["db2"] = -grads["db2"]
        grads["dW1"] = grads["dW1"] / len(Y)
        return grads

    found = [(f.name, f.cause) for f in convention(change).findings]
    assert found == [("dW3", "missing-mean"), ("db2", "sign"), ("dW1", "double-mean")]


def test_a_scale_of_a_signal_is_its_own_beside_other_mistakes():
    def change(grads, Y):
        on_the_way = {
            k: v / len(Y) if k in ("dA2", "dZ2", "dW2", "db2", "dA1", "dZ1", "dW1", "db1") else v
            for k, v in grads.items()
        }
        return {**on_the_way, "db1": -on_the_way["db1"]}

    found = [(f.name, f.cause) for f in convention(change).findings]
    assert found == [("dA2", "double-mean"), ("db1", "sign")]


def test_two_mistakes_in_one_step_are_both_named():
    forward, loss, backward = passes(True)
    parameters, X, Y = data(True)

    def two(c, Y, p):
        dZ2 = backward(c, Y, p)["dZ2"]
        return {"dZ2": dZ2, "dZ1": (dZ2 @ p["W2"]) * (1 - c["A1"] ** 2) ** 2}

    report = cr.audit(two, forward=forward, loss=loss, parameters=parameters, X=X, Y=Y, only=())
    (finding,) = report.findings
    assert finding.name == "dZ1" and finding.cause in ("transposed", "derivative-applied-twice")
    assert "twice" in finding.message and "transposed" in finding.message


def test_a_gradient_that_is_overwritten_by_the_next_is_not_judged():
    forward, loss, backward = passes(True)
    parameters, X, Y = data(True)

    def in_place(c, Y, p):
        grads = backward(c, Y, p)
        dZ2 = grads["dA2"]
        dZ2[c["Z2"] <= 0] = 0
        return {**grads, "dZ2": dZ2}

    report = cr.audit(in_place, forward=forward, loss=loss, parameters=parameters, X=X, Y=Y)
    assert report.ok and {s.name: s.verdict for s in report.steps}["dA2"] == "unseen"


def test_one_mistake_behind_several_parameters_is_told_once():
    forward, loss, backward = passes(True, "relu left out")
    parameters, X, Y = data(True)

    def parameters_only(c, Y, p):
        return {k: v for k, v in backward(c, Y, p).items() if k[1] in "Wb"}

    report = cr.audit(parameters_only, forward=forward, loss=loss, parameters=parameters, X=X, Y=Y)
    assert [(f.name, f.cause) for f in report.findings] == [("dW2", "missing-activation-derivative")]
    assert {s.name: s.verdict for s in report.steps} == {
        "dW3": RIGHT, "db3": RIGHT, "dW2": WRONG, "db2": INHERITED, "dW1": INHERITED, "db1": INHERITED,
    }  # fmt: skip


# -- the test of the test ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [slow("tanh"), "matmul", slow("multiply")])
def test_with_a_broken_reference_it_refuses_to_judge(name):
    op = cr.ops.row(name)
    right = op.vjp
    wrong = tuple(lambda g, out, *xs, rule=rule: 1.01 * rule(g, out, *xs) for rule in right)
    object.__setattr__(op, "vjp", wrong)
    try:
        with pytest.raises(cr.AuditError, match="does not agree with finite differences"):
            audited(True)
    finally:
        object.__setattr__(op, "vjp", right)
    assert audited(True).ok


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_bad_input_is_refused_in_words():
    forward, loss, backward = passes(True)
    parameters, X, Y = data(True)
    given = dict(forward=forward, loss=loss, parameters=parameters, X=X, Y=Y)
    with pytest.raises(cr.AuditError, match="backward: expected a function, got a int"):
        cr.audit(3, **given)
    with pytest.raises(cr.AuditError, match="floating-point"):
        cr.audit(backward, **{**given, "parameters": {"lambda": 3}})
    with pytest.raises(cr.AuditError, match="none of the gradients"):
        cr.audit(lambda c, Y, p: {"foo": X}, **given)
    with pytest.raises(cr.AuditError, match="backward fails on the data given: KeyError"):
        cr.audit(lambda c, Y, p: c["nothing"], **given)
    with pytest.raises(cr.AuditError, match="not in the cache"):
        cr.audit(backward, **given, output="A7")
    with pytest.raises(cr.AuditError, match="scalar"):
        cr.audit(backward, **{**given, "loss": lambda A, Y: A - Y})
