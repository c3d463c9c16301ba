"""Passes in the styles of courses, lectures and scripts: what the report says of them, to the number."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

import chainrule as cr
from chainrule.audit.report import INHERITED, RIGHT, WRONG
from tests.tables import in_turn

RNG = np.random.default_rng(11)


def relu(Z):
    return np.maximum(Z, 0)


def softmax(Z):
    E = np.exp(Z - Z.max(axis=0))
    return E / E.sum(axis=0)


def columns(widths, m):
    """Weights, data and labels with the examples in columns; the same for the same arguments, in any order of tests."""
    rng = np.random.default_rng((11, m))
    pairs = list(zip(widths[1:], widths[:-1], strict=True))
    parameters = {f"W{k}": rng.normal(size=shape) for k, shape in enumerate(pairs, 1)}
    parameters.update({f"b{k}": np.zeros((shape[0], 1)) for k, shape in enumerate(pairs, 1)})
    return parameters, rng.normal(size=(widths[0], m)), np.eye(widths[-1])[:, rng.integers(0, widths[-1], m)]


def forward(X, parameters):
    cache, layers = {"A0": X}, len(parameters) // 2
    for k in range(1, layers + 1):
        cache[f"Z{k}"] = parameters[f"W{k}"] @ cache[f"A{k - 1}"] + parameters[f"b{k}"]
        cache[f"A{k}"] = relu(cache[f"Z{k}"]) if k < layers else softmax(cache[f"Z{k}"])
    return cache


def cross_entropy(A, Y):
    return -np.sum(Y * np.log(A)) / Y.shape[1]


def relu_itself(summed):
    """Return a backward pass with relu in the place of its derivative, and the keys `summed` not divided by m."""

    def backward(cache, Y, parameters):
        m, layers = Y.shape[1], len(parameters) // 2
        grads = {f"dZ{layers}": cache[f"A{layers}"] - Y}
        for k in range(layers, 0, -1):
            if k < layers:
                grads[f"dA{k}"] = parameters[f"W{k + 1}"].T @ grads[f"dZ{k + 1}"]
                grads[f"dZ{k}"] = grads[f"dA{k}"] * relu(cache[f"Z{k}"])
            grads[f"dW{k}"] = grads[f"dZ{k}"] @ cache[f"A{k - 1}"].T / m
            grads[f"db{k}"] = grads[f"dZ{k}"].sum(axis=1, keepdims=True) / m
        return {k: g * m if k in summed else g for k, g in grads.items()}

    return backward


@pytest.mark.parametrize(
    ("m", "summed"), in_turn([(m, summed) for m in (16, 9) for summed in ((), ("dW1",), ("db2",))], every=4), ids=str
)
def test_the_explanation_that_needs_no_constant_comes_first(m, summed):
    parameters, X, Y = columns((4, 7, 5, 3), m)
    report = cr.audit(relu_itself(summed), forward=forward, loss=cross_entropy, parameters=parameters, X=X, Y=Y)
    found = {f.name: f for f in report.findings}
    assert set(found) == {"dZ2", "dZ1", *summed}
    for name in ("dZ2", "dZ1"):
        assert found[name].cause == "wrong-activation-derivative"
        assert found[name].candidates[0].formula == f"{name} = dA{name[-1]} ⊙ A{name[-1]}"
        formulas = [c.formula for c in found[name].candidates if c.formula]
        assert len(set(formulas)) == len(formulas)
        grads, cache = relu_itself(summed)(forward(X, parameters), Y, parameters), forward(X, parameters)
        worst = found[name].evidence["worst"]
        at = tuple(worst["index"])  # what would be right has the scale of the pass, without 1/m
        assert worst["theirs"] == pytest.approx(grads[name][at])
        assert worst["right"] == pytest.approx((grads[f"dA{name[-1]}"] * (cache[f"Z{name[-1]}"] > 0))[at])
    steps = {s.name: s for s in report.steps}
    for name in summed:
        assert found[name].cause == "missing-mean" and f"{m} times too large" in found[name].message
        assert found[name].evidence["ratio"] == pytest.approx(m)
        assert found[name].evidence["worst"]["theirs"] == pytest.approx(m * found[name].evidence["worst"]["right"])
        assert "/ m" in found[name].formula and found[name].candidates[0].formula == found[name].formula[:-4]
        assert steps[name].error > 1 and steps[name].verdict == WRONG
    assert {steps[n].verdict for n in ("dW1", "dW2", "db1", "db2") if n not in summed} == {INHERITED}


def test_the_evidence_of_a_signal_is_in_the_scale_of_the_pass():
    parameters, X, Y = columns((4, 7, 3), 16)

    def backward(cache, Y, parameters):
        grads = relu_itself(())(cache, Y, parameters)
        grads["dZ1"] = grads["dA1"] * (cache["Z1"] > 0) * 3
        grads["dW1"] = grads["dZ1"] @ cache["A0"].T / Y.shape[1]
        grads.pop("db1")
        return grads

    given = dict(forward=forward, loss=cross_entropy, parameters=parameters, X=X, Y=Y, only=())
    (finding,) = cr.audit(backward, **given).findings
    assert finding.name == "dZ1" and "3 times" in finding.message
    assert finding.evidence["ratio"] == pytest.approx(3) and finding.evidence["relative_error"] == pytest.approx(2)


def test_what_follows_from_an_unknown_mistake_is_not_blamed_for_its_scale():
    parameters, X, Y = columns((4, 7, 3), 9)

    def backward(cache, Y, parameters):
        dZ2 = (cache["A2"] - Y) * np.cos(7 * cache["Z2"])
        m = Y.shape[1]
        return {"dZ2": dZ2, "dW2": dZ2 @ cache["A1"].T / m, "db2": dZ2.sum(axis=1, keepdims=True) / m}

    report = cr.audit(backward, forward=forward, loss=cross_entropy, parameters=parameters, X=X, Y=Y, only=())
    assert [(f.name, f.cause) for f in report.findings] == [("dZ2", "unknown")]


@pytest.mark.parametrize(("power", "sign", "cause"), [(2, 1, "double-mean"), (0, -1, "sign"), (0, 1, None)])
def test_a_signal_alone_may_lack_the_mean_and_nothing_else(power, sign, cause):
    def backward(c, Y, p):
        return {"dZ1": sign * (c["Z1"] - Y) / float(len(Y)) ** (power + 1)}

    given = dict(forward=line, loss=half_square, parameters=W_ROWS, X=X_ROWS, Y=Y_ROWS, only=())
    assert [f.cause for f in cr.audit(backward, **given).findings] == ([cause] if cause else [])


# -- caches of tuples, as in course assignments ------------------------------------------------------------------------


def layered(X, parameters):
    A, caches, layers = X, [], len(parameters) // 2
    for k in range(1, layers + 1):
        W, b = parameters[f"W{k}"], parameters[f"b{k}"]
        Z = W.dot(A) + b
        caches.append(((A, W, b), Z))
        A = relu(Z) if k < layers else 1 / (1 + np.exp(-Z))
    return A, caches


def binary(A, Y):
    return np.squeeze(-np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / Y.shape[1])


def course(mask=True, key=lambda k: f"dA{k - 1}"):
    def backward(AL, Y, caches):
        grads = {}
        dA = -(np.divide(Y, AL) - np.divide(1 - Y, 1 - AL))
        for k in range(len(caches), 0, -1):
            (A, W, _), Z = caches[k - 1]
            m = A.shape[1]
            if k == len(caches):
                s = 1 / (1 + np.exp(-Z))
                dZ = dA * s * (1 - s)
            else:
                dZ = np.array(dA, copy=True)
                if mask:
                    dZ[Z <= 0] = 0
            dA, grads[f"dW{k}"] = W.T.dot(dZ), dZ.dot(A.T) / m
            grads[f"db{k}"], grads[key(k)] = dZ.sum(axis=1, keepdims=True) / m, dA
        return grads

    return backward


def course_report(backward):
    parameters, X, _ = columns((12, 7, 5, 1), 9)
    Y = RNG.integers(0, 2, (1, 9))
    return cr.audit(backward, forward=layered, loss=binary, parameters=parameters, X=X, Y=Y)


def test_layers_without_names_are_called_after_their_parameters():
    report = course_report(course())
    assert report.ok, str(report)
    verdicts = {s.name: s.verdict for s in report.steps}
    assert verdicts["dA2"] == verdicts["dA1"] == RIGHT
    report = course_report(course(mask=False))
    assert report.findings[0].name == "dW2" and report.findings[0].cause == "missing-activation-derivative"
    assert report.findings[0].formula == "dW2 = (dA2 ⊙ 1[Z2 > 0]) A1ᵀ / m"


def test_names_that_were_not_given_do_not_convict():
    report = course_report(course(key=lambda k: f"dA{k}"))  # an old habit: dA3 is the gradient of A2
    assert report.ok, str(report)
    assert any("dA3" in note for note in report.notes)


# -- dropout -----------------------------------------------------------------------------------------------------------


def dropout_forward(X, p):
    Z1 = p["W1"] @ X + p["b1"]
    D1 = np.random.rand(*Z1.shape) < 0.8
    A1 = relu(Z1) * D1 / 0.8
    return {"X": X, "Z1": Z1, "D1": D1, "A1": A1, "A2": softmax(p["W2"] @ A1 + p["b2"])}


def dropout_report(signal, after):
    parameters, X, Y = columns((6, 7, 3), 11)

    def backward(c, Y, p):
        m = Y.shape[1]
        dZ2 = c["A2"] - Y
        dA1 = signal(p["W2"].T @ dZ2, c)
        dZ1 = after(dA1, c) * (c["Z1"] > 0)
        return {"dW2": dZ2 @ c["A1"].T / m, "dA1": dA1, "dZ1": dZ1, "dW1": dZ1 @ c["X"].T / m}

    return cr.audit(backward, forward=dropout_forward, loss=cross_entropy, parameters=parameters, X=X, Y=Y, only=())


def masked(dA, c):
    return dA * c["D1"] / 0.8


def test_the_signal_of_what_dropout_has_left_may_be_before_it_or_after():
    before, after = dropout_report(masked, lambda d, c: d), dropout_report(lambda d, c: d, masked)
    assert before.ok and after.ok, f"{before}\n{after}"
    assert any("before dropout" in c.message for c in before.conventions)
    report = dropout_report(lambda d, c: d, lambda d, c: d)
    assert [(f.name, f.cause) for f in report.findings] == [("dZ1", "dropout-mask-missing")]
    assert "D1" in report.findings[0].formula


# -- regularisation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("divided", [True, False])
def test_a_penalty_left_out_is_called_so_and_stands_in_the_formula(divided):
    parameters, X, Y = columns((4, 7, 3), 9)

    def loss(A, Y, parameters):
        return cross_entropy(A, Y) + 0.7 / (2 * Y.shape[1]) * np.sum(parameters["W2"] ** 2)

    def backward(cache, Y, parameters):
        dZ2 = cache["A2"] - Y
        return {"dZ2": dZ2, "dW2": dZ2 @ cache["A1"].T / (Y.shape[1] if divided else 1)}

    given = dict(forward=forward, loss=loss, parameters=parameters, X=X, Y=Y, only=())
    (finding,) = cr.audit(backward, **given).findings
    assert (finding.name, finding.cause) == ("dW2", "missing-regularization")
    assert finding.formula.startswith("dW2 = dZ2 A1ᵀ / m + ") and finding.formula.endswith("· W2")


# -- what goes wrong around the audit ----------------------------------------------------------------------------------


def line(X, p):
    return {"X": X, "Z1": X @ p["W1"]}


def slope(c, Y, p):
    return {"dW1": c["X"].T @ (c["Z1"] - Y) / len(Y)}


def half_square(Z, Y):
    return np.sum((Z - Y) ** 2) / (2 * len(Y))


X_ROWS, Y_ROWS, W_ROWS = RNG.normal(size=(9, 4)), RNG.normal(size=(9, 3)), {"W1": RNG.normal(size=(4, 3))}


def raising(*_):
    raise RuntimeError("from here")


BAD = {
    "an unknown loss": ({"loss": "foo"}, "'foo'"),
    "no loss": ({"loss": None}, "loss has type NoneType"),
    "a loss that is not a number": ({"loss": lambda Z, Y: None}, "the loss is of type NoneType"),
    "a loss for each example": ({"loss": lambda Z, Y: (Z - Y)[:, 0]}, r"the loss has shape \(9,\)"),
    "a loss that raises": ({"loss": raising}, "loss fails on the data given: RuntimeError: from here"),
    "a constant loss": ({"loss": lambda Z, Y: 3.0}, "the loss does not change with W1"),
    "a forward that raises": ({"forward": raising}, "forward fails on the data given: RuntimeError"),
    "a backward that raises": ({"backward": raising}, "backward fails on the data given: RuntimeError"),
    "a list of numbers": ({"backward": lambda c, Y, p: [1, 2, 3]}, "no gradients by name"),
    "None": ({"backward": lambda c, Y, p: None}, "backward returned a NoneType"),
    "other parameters": (
        {"forward": lambda X, p: line(X, W_ROWS)},
        "does not depend on W1: does forward use arrays other",
    ),
    "NaN": ({"X": np.where(X_ROWS > 2, 1, X_ROWS) * [1, 1, 1, np.nan]}, "X: .* 9 of 36"),
    "no examples": ({"X": X_ROWS[:0], "Y": Y_ROWS[:0]}, r"X has shape \(0, 4\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_audited_is_refused_in_words(case):
    different, message = BAD[case]
    given = dict(backward=slope, forward=line, loss=half_square, parameters=W_ROWS, X=X_ROWS, Y=Y_ROWS)
    with pytest.raises(cr.AuditError, match=message):
        cr.audit(**{**given, **different})
    with pytest.raises(cr.AuditError, match="empty list"):
        cr.audit_module([])


def test_not_finite_elements_are_counted_where_they_are():
    def backward(c, Y, p):
        grads = slope(c, Y, p)
        grads["dW1"][0, :2] = np.nan, np.inf
        return grads

    report = cr.audit(backward, forward=line, loss=half_square, parameters=W_ROWS, X=X_ROWS, Y=Y_ROWS)
    assert report.findings[0].message.startswith("1 NaN and 1 infinite among the 12 elements of dW1, although")
    assert report.title == "Audit of backward"


@pytest.fixture
def elsewhere():
    """A module whose class is reached through a global object, with names taken from NumPy."""
    module = types.ModuleType("layers_of_the_audit_test")
    exec(
        compile(
            "import numpy as np\nfrom numpy import *\n"
            "class Net:\n"
            "    error = None\n"
            "    def forward(self, X, p):\n"
            "        if self.error is not None and type(X) is not ndarray:\n"
            "            raise self.error\n"
            "        H = zeros((len(X), 3))\n"
            "        for i in range(len(X)):\n"
            "            H[i] = X[i] @ p['W1']\n"
            "        return {'X': X, 'Z1': np.array(H)}\n",
            "layers_of_the_audit_test.py",
            "exec",
        ),
        module.__dict__,
    )
    sys.modules[module.__name__] = module
    module.net = module.Net()
    globals()["_net"] = module.net
    yield module
    del sys.modules[module.__name__], globals()["_net"]


def through_a_global_object(X, p):
    return _net.forward(X, p)  # noqa: F821


@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), SystemExit(3), RecursionError(), ValueError()], ids=repr)
def test_modules_and_generators_are_put_back_whatever_is_raised(elsewhere, error):
    elsewhere.net.error = error
    before, state = dict(vars(elsewhere)), np.random.get_state()
    given = dict(forward=through_a_global_object, loss=half_square, parameters=W_ROWS, X=X_ROWS, Y=Y_ROWS)
    if isinstance(error, KeyboardInterrupt | SystemExit):
        with pytest.raises(type(error)):
            cr.audit(slope, **given)
    else:
        report = cr.audit(slope, **given)
        assert report.ok and (error is not None or not report.notes), str(report)
    assert all(vars(elsewhere)[name] is value for name, value in before.items())
    assert all(np.array_equal(a, b) for a, b in zip(state, np.random.get_state(), strict=True))
