"""compile: what is traced when, what goes in, what comes out."""

import copy
import gc
import pickle
import sys
import threading
import weakref
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule.compiled import compile
from tests.plan.graphs import arrays, close


class Counted:
    """A function that counts how often it is traced."""

    def __init__(self, f: Any) -> None:
        self.f, self.calls = f, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.f(*args, **kwargs)


X, Y = arrays([(4, 3), (4, 3)], np.float64)


def test_it_computes_what_the_function_computes() -> None:
    f = compile(lambda x, y: np.tanh(x * y).sum(axis=0))
    close(f(X, Y), np.tanh(X * Y).sum(axis=0))


def test_it_keeps_name_and_doc() -> None:
    @compile
    def double(x: Any) -> Any:
        """Twice x."""
        return 2.0 * x

    assert double.__name__ == "double"
    assert double.__doc__ == "Twice x."
    assert "plan of double" in str(double.plan(X))


def test_a_callable_without_a_name() -> None:
    f = compile(Counted(lambda x: x + 1.0))
    close(f(X), X + 1)
    assert "plan of Counted" in str(f.plan())


def test_what_it_is_called_and_the_plans_it_made() -> None:
    f = compile(np.tanh, engine="numpy")
    assert (repr(f), f.plans) == ("<compiled tanh: not traced yet, numpy engine>", ())
    f(X)
    assert repr(f) == "<compiled tanh: 1 plan, numpy engine>"
    f(X[0])
    assert repr(f) == "<compiled tanh: 2 plans, numpy engine>"
    assert f.plans == (f.plan(X), f.plan(X[0]))
    cr.verify(f)
    f.plans[0].__dict__["arena"] = -1
    with pytest.raises(cr.plan.PlanError):
        cr.verify(f)


def test_plans_used_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[compile.__module__], "MOST_PLANS", 3)
    monkeypatch.setattr(sys.modules[compile.__module__], "MANY_SIGNATURES", 1000)
    f = Counted(lambda x: x * 2.0)
    c = compile(f)
    used: list[int] = []  # lengths, the one used last at the end
    traced = 0
    for n in np.random.default_rng(0).integers(1, 6, 100).tolist():
        close(c(X[0, 0] * np.ones(n)), 2 * X[0, 0] * np.ones(n))
        traced += n not in used[-3:]
        used = [k for k in used if k != n] + [n]
        assert f.calls == traced
        assert {p.values[p.inputs[0]].shape for p in c.plans} == {(k,) for k in used[-3:]}


def test_a_plan_may_be_dropped_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[compile.__module__], "MOST_PLANS", 1)
    monkeypatch.setattr(sys.modules[compile.__module__], "MANY_SIGNATURES", 1000)
    c = compile(lambda x: np.sum(np.tanh(x)))
    wrong = []

    def work(first: int) -> None:
        for k in range(20):
            x = np.arange(1.0 + first + k % 3)
            if not np.allclose(c(x), np.sum(np.tanh(x))):
                wrong.append(x)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong and len(c.plans) == 1


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda f, k: f(np.zeros(k + 1)), r"argument 0 \(float64 of shape \(1,\), float64 of shape \(2,\), "),
        (lambda f, k: f(1.0, X, name=str(k)), r"argument name \('0', '1', '2', …\)"),
        (lambda f, k: f([X, {"W": np.zeros((k, 2), "f")}]), r"argument 0\[1\]\['W'\] \(float32 of shape \(0, 2\), "),
        (lambda f, k: f(np.zeros(k), y=k % 2 or 1.0), r"argument 0 .* and argument y \(float, int\)"),
        (lambda f, k: f(*[X] * k), "the structure of their arguments"),
    ],
)
def test_very_many_signatures_are_warned_of_once(call: Any, named: str) -> None:
    def loss(*args: Any, **kwargs: Any) -> Any:
        return np.ones(1)

    c = compile(loss, engine="numpy")
    for k in range(63):
        call(c, k)
    with pytest.warns(UserWarning, match=f"loss was compiled for 64 signatures, which differ in {named}") as warned:
        call(c, 63)
    assert warned[0].filename == __file__
    for k in range(64, 70):
        call(c, k)


def test_it_traces_once_a_signature() -> None:
    f = Counted(lambda x, **more: x * 2.0 + sum(more.values()))
    c = compile(f)
    signatures: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((X,), {}),
        ((X.astype(np.float32),), {}),
        ((X[:2],), {}),
        ((np.arange(3),), {}),
        ((1.5,), {}),
        ((1,), {}),
        ((np.float64(1.5),), {}),
        ((X,), {"a": X}),
        ((X,), {"b": X}),
        ((X,), {"a": X, "b": X}),
        ((X,), {"a": 1.0}),
    ]
    for _ in range(3):
        for args, kwargs in signatures:
            np.testing.assert_array_equal(c(*args, **kwargs), args[0] * 2.0 + sum(kwargs.values()))
    assert f.calls == len(signatures)
    c(X + 1, a=X, b=X)
    c(2.5)
    assert f.calls == len(signatures)


def test_static_arguments_are_part_of_the_signature() -> None:
    def f(x: Any, mode: str, flag: bool, g: Any, dtype: Any) -> Any:
        y = g(x) if flag else x
        return (np.sum(y) if mode == "sum" else np.mean(y)).astype(dtype)

    counted = Counted(f)
    c = compile(counted)
    calls = [
        (X, m, b, g, d)
        for m in ("sum", "mean")
        for b in (True, False)
        for g in (np.tanh, np.sin)
        for d in (np.float32, "f4", "f8")
    ]
    for args in calls * 2:
        expected = f(*args)
        found = c(*args)
        close(found, expected)
    assert counted.calls == len(calls)


def test_python_numbers_are_weak() -> None:
    f = compile(lambda x, a, b: (x * a + b, a * 2))
    x = X.astype(np.float32)
    for a, b in ((2.0, 1), (3.5, 2)):
        y, twice = f(x, a, b)
        assert y.dtype == np.float32
        close(y, x * np.float32(a) + b)
        assert twice == a * 2
    assert f(x, np.float64(2.0), 1)[0].dtype == np.float64


def test_integers_beyond_int64_are_refused() -> None:
    f = compile(lambda x: x + 1)
    assert f(2**62) == 2**62 + 1
    for x in (2**63, 2**80, -(2**63) - 1):
        with pytest.raises(ValueError, match="int64"):
            f(x)


class Point(NamedTuple):
    x: Any
    y: Any


def test_nests_go_in_and_come_out() -> None:
    def f(p: Any) -> Any:
        return {"sum": p["a"].x + p["a"].y, "rest": [p["b"][0] * 2.0, (p["a"], None)], "n": len(p["b"])}

    nest = {"b": [X, Y], "a": Point(X, Y)}
    found = compile(f)(nest)
    assert set(found) == {"sum", "rest", "n"}
    close(found["sum"], X + Y)
    close(found["rest"][0], 2 * X)
    assert isinstance(found["rest"][1][0], Point)
    close(found["rest"][1][0].y, Y)
    assert found["rest"][1][1] is None
    assert found["n"] == 2 and type(found["n"]) is int


def test_results_may_be_inputs_views_constants_and_each_other() -> None:
    table = np.arange(3.0)

    def f(x: Any) -> Any:
        y = np.exp(x)
        return x, x.T, x[::-1], y, y, y[0], table, 3.0, "text", np.float32(2)

    found = compile(f)(X)
    expected = (X, X.T, X[::-1], np.exp(X), np.exp(X), np.exp(X)[0], table, 3.0, "text", np.float32(2))
    for a, b in zip(found, expected, strict=True):
        if isinstance(b, str):
            assert a == b
        else:
            np.testing.assert_allclose(a, b, rtol=1e-15)
    for a in found[:7]:
        assert not np.shares_memory(a, X) and not np.shares_memory(a, table)
        a[...] = 0.0
    np.testing.assert_array_equal(compile(f)(X)[6], np.arange(3.0))


def test_results_are_not_overwritten_by_the_next_call() -> None:
    f = compile(lambda x: (x * 2.0, x.T))
    first = f(X)
    kept = [r.copy() for r in first]
    f(Y)
    for a, b in zip(first, kept, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("n", [3, 300])
def test_inputs_are_not_written_and_may_lie_anyhow(n: int) -> None:
    f = compile(lambda x: np.tanh(x * 2.0) - x)
    (x,) = arrays([(n, n)], np.float64)
    for y in (
        x,
        x.T,
        x[::-1],
        x[:, ::-1],
        np.asfortranarray(x),
        x.astype(">f8"),
        np.broadcast_to(x[0], (n, n)),
    ):
        before = y.copy()
        close(f(y), np.tanh(2 * before) - before)
        np.testing.assert_array_equal(y, before)
        frozen = np.array(before)
        frozen.setflags(write=False)
        close(f(frozen), np.tanh(2 * before) - before)


@pytest.mark.parametrize("n", [3, 300])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_an_array_that_was_changed_is_read_anew(n: int, layout: Any) -> None:
    f = compile(lambda x: x + 1.0)
    x = np.zeros((n, n), order=layout)
    assert f(x).max() == 1
    x += 1.0
    assert f(x).min() == 2


@pytest.mark.parametrize(
    "bad", [np.ones(3, np.float16), np.ones(3, np.longdouble), np.ones(3, complex), np.array(["a"]), object()]
)
def test_what_is_no_array_of_real_numbers_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError):
        compile(lambda x: x + 1.0)(bad)


def test_empty_and_scalar() -> None:
    f = compile(lambda x: np.sum(np.exp(x) * 2.0))
    assert f(np.zeros((0, 3))) == 0
    assert f(np.zeros(())) == 2
    assert f(0.0) == 2
    close(compile(lambda x: np.exp(x)[::2])(np.zeros((0, 3))), np.zeros((0, 3)))


# -- parameters, derivatives, nesting -------------------------------------------------------


def test_parameters_are_read_anew() -> None:
    w = cr.Parameter(np.eye(3), name="W")
    counted = Counted(lambda x: x @ w)
    f = compile(counted)
    close(f(X), X)
    w.assign(2 * np.eye(3))
    close(f(X), 2 * X)
    assert counted.calls == 1


def test_arrays_beside_the_arguments_are_read_anew_after_a_change() -> None:
    table = np.ones(3)
    counted = Counted(lambda x: x + table)
    f = compile(counted)
    close(f(X), X + 1)
    table[...] = 5.0
    for _ in range(3):
        close(f(X), X + 5)
    close(f(X[:2]), X[:2] + 5)
    assert counted.calls == 3


def test_a_tensor_that_requires_a_gradient_is_a_constant() -> None:
    t = cr.tensor(np.ones(3), requires_grad=True)
    u = np.exp(t) * 2.0
    f = compile(lambda x: x + u)
    close(f(X), X + 2 * np.e)
    assert all(not s.inputs or s.op.name == "add" for s in f.plan().operations)


def test_gradients_compile_and_compiled_functions_differentiate() -> None:
    def f(x: Any, y: Any) -> Any:
        return np.sum(np.tanh(x @ y.T) ** 2)

    expected = cr.grad(f)(X, Y)
    close(compile(cr.grad(f))(X, Y), expected)
    close(cr.grad(compile(f))(X, Y), expected)
    close(compile(cr.grad(compile(f)))(X, Y), expected)
    close(cr.hvp(lambda x: compile(f)(x, Y), X, X), cr.hvp(lambda x: f(x, Y), X, X), 1e-10)


def test_compiled_in_compiled_is_one_plan() -> None:
    inner = compile(lambda x: np.tanh(x))
    outer = compile(lambda x: inner(x) * 2.0)
    close(outer(X), 2 * np.tanh(X))
    assert [s.op.name for s in outer.plan().operations] == ["tanh", "multiply"]


def test_a_compiled_function_may_call_itself_while_traced() -> None:
    @compile
    def f(x: Any) -> Any:
        return x * 2.0 if x.shape[0] == 1 else x + f(np.ones((x.shape[0] - 1, 1)))[0]

    close(f(np.zeros((3, 1))), np.full((3, 1), 3.0))


def test_within_an_outer_derivative_it_is_part_of_it() -> None:
    def total(y: Any) -> Any:
        followed = compile(lambda x: np.sum(x * y))  # y is no argument: an outer derivative goes through it
        return followed(X)

    close(cr.grad(total)(Y), X)
    with pytest.raises(ValueError, match="outer derivative"):
        cr.grad(lambda y: compile(lambda x: np.sum(x * y)).plan(X) and y)(Y)


def test_tensors_go_in() -> None:
    f = compile(lambda x: x * 2.0)
    close(f(cr.tensor(X)), 2 * X)
    t = cr.tensor(X, requires_grad=True)
    out = f(t)
    assert isinstance(out, cr.Tensor)
    np.sum(out).backward()
    close(t.grad, np.full_like(X, 2))


# -- keep, plan -------------------------------------------------------


def test_keep() -> None:
    def f(x: Any) -> Any:
        z = (x * 2.0).named("Z")
        return np.sum(np.tanh(z).named("A"))

    value, kept = compile(f, keep=("Z", "A"))(X)
    close(value, np.sum(np.tanh(2 * X)))
    close(kept["Z"], 2 * X)
    close(kept["A"], np.tanh(2 * X))
    close(compile(f, keep="Z")(X)[1]["Z"], 2 * X)
    gradient, kept = compile(cr.grad(f), keep=["dZ", "dA", "Z"])(X)
    close(kept["dA"], np.ones_like(X))
    close(kept["dZ"], 1 - np.tanh(2 * X) ** 2)
    close(gradient, 2 * kept["dZ"])
    with pytest.raises(ValueError, match=r"keep: .* B; expected one of A, Z"):
        compile(f, keep=["Z", "B"])(X)
    again, inlined = cr.vjp(lambda x: compile(f, keep="Z")(x), X, has_aux=True)[::2]
    close(again, value)
    close(inlined["Z"], 2 * X)


def test_plan_without_arguments_is_the_last_one() -> None:
    f = compile(lambda x: x * 2.0)
    with pytest.raises(ValueError, match="no plan yet"):
        f.plan()
    f(X)
    assert f.plan() is f.plan(X)
    assert f.plan(X[:1]) is f.plan() is not f.plan(X)


# -- errors -------------------------------------------------------


def test_choices_by_value_are_refused() -> None:
    with pytest.raises(TypeError, match=r"traced.*np\.where"):
        compile(lambda x: x if x.sum() > 0 else -x)(X)
    for leave in (
        lambda x: float(x.sum()),
        lambda x: np.asarray(x),
        lambda x: x.item(),
        lambda x: x.tolist(),
    ):
        with pytest.raises(TypeError, match="traced"):
            compile(leave)(X)


def test_a_failed_trace_leaves_nothing_behind() -> None:
    f = Counted(lambda x: x @ x)
    c = compile(f)
    for _ in range(2):
        with pytest.raises(ValueError, match="matmul"):
            c(X)
    assert f.calls == 2
    close(c(np.eye(3)), np.eye(3))


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match=r"f: .*int"):
        compile(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"engine: .*abacus"):
        compile(np.tanh, engine="abacus")


def test_a_tensor_that_left_its_trace_is_refused() -> None:
    kept = []
    compile(lambda x: kept.append(x * 2.0) or x)(X)
    with pytest.raises(ValueError, match="not an argument of the function"):
        compile(lambda x: x + kept[0])(X)


# -- threads, memory -------------------------------------------------------


def test_several_threads_call_it() -> None:
    f = Counted(lambda x: np.tanh(x @ x.T) @ x)
    c = compile(f)
    points = arrays([(30, 20)] * 4, np.float64)
    expected = [np.tanh(x @ x.T) @ x for x in points]
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def work(k: int) -> None:
        try:
            barrier.wait()
            for _ in range(50):
                close(c(points[k]), expected[k])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    assert f.calls == 1


def test_it_does_not_keep_what_it_was_given() -> None:
    f = compile(lambda x: (x * 2.0).sum())
    for n in (3, 300):
        x = np.ones((n, n))
        gone = weakref.ref(x)
        f(x)
        del x
        gc.collect()
        assert gone() is None


# -- copies -------------------------------------------------------


def squares(x: Any, scale: Any = 1.0) -> Any:
    return np.sum(x**2) * scale


@compile
def decorated(x: Any) -> Any:
    return x * 2.0


@cr.checkpoint
def checkpointed(x: Any) -> Any:
    return np.sin(x)


@cr.custom_vjp
def with_rule(x: Any) -> Any:
    return x + 1.0


with_rule.defvjp(lambda x: (x + 1.0, None), lambda saved, g: (g,))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f))])
def test_functions_are_pickled_and_copied(copied: Any) -> None:
    for function in (
        compile(squares),
        compile(squares, static_argnames="scale"),
        cr.grad(squares),
        cr.value_and_grad(squares, argnums=(0,)),
        cr.jacobian(squares),
        cr.hessian(squares),
        compile(cr.grad(squares)),
        cr.grad(compile(squares)),
        decorated,
        cr.vmap(squares),
        cr.checkpoint(squares),
        checkpointed,
        with_rule,
    ):
        expected = function(X)
        again = copied(function)
        for a, b in zip(cr.core.tree.flatten(again(X))[0], cr.core.tree.flatten(expected)[0], strict=True):
            np.testing.assert_array_equal(a, b)
    noisy = compile(drawing, seed=5)
    noisy(1.0)
    again = copied(noisy)
    if copied is not copy.copy:  # which shares the generator
        assert again(1.0) == noisy(1.0)
    assert all(copied(f) is f for f in (decorated, checkpointed, with_rule))


def test_derivations_are_pickled_with_their_cost() -> None:
    network = cr.nn.Sequential(cr.nn.Linear(3, 2), cr.nn.Tanh())
    for derivation in (
        cr.explain(network.initialize(0), X, np.ones((4, 2)), loss="mse"),
        cr.explain(lambda x: np.sum(np.sin(x) * x), X[0]),  # the function itself cannot be pickled
    ):
        again = pickle.loads(pickle.dumps(derivation))
        assert str(again) == str(derivation)
        assert again.cost == derivation.cost
        assert again.to_numpy() == derivation.to_numpy()
        assert again.errors() == derivation.errors()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda op: pickle.loads(pickle.dumps(op))])
def test_copies_of_operations_are_the_rows_themselves(copied: Any) -> None:
    assert all(copied(op) is op for op in cr.core.op.rows())


@pytest.mark.parametrize("depth", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_tensors_of_deep_graphs_are_pickled_by_value(depth: int) -> None:
    x = cr.tensor([1.0, 2.0], requires_grad=True)
    y = x
    for _ in range(depth):
        y = y + 1.0
    again = pickle.loads(pickle.dumps(y.detach()))
    np.testing.assert_array_equal(again.value, y.value)
    with pytest.raises(TypeError, match="detach"):  # the graph is not pickled, and its gradient never lost in silence
        pickle.dumps(y)


def drawing(x: Any) -> Any:
    return x + cr.random.uniform()


def counted_looks(n: int) -> int:
    """Return how many groups planning looks at for a loop of n steps and its gradient."""

    def loop(W: Any, x: Any) -> Any:
        h = x[0]
        for i in range(n):
            h = np.tanh(h @ W + x[i % 4])
        return np.sum(h)

    looks = 0
    group: Any = sys.modules["chainrule.plan.build"]._Group
    takes = group.takes

    def looked(self: Any, *args: Any) -> bool:
        nonlocal looks
        looks += 1
        return bool(takes(self, *args))

    group.takes = looked
    try:
        compile(cr.value_and_grad(loop), engine="numpy").plan(np.eye(2), np.ones((4, 1, 2)))
    finally:
        group.takes = takes
    return looks


def test_planning_takes_work_in_proportion_to_the_operations() -> None:
    assert counted_looks(160) < 5 * counted_looks(40)
