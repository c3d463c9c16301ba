"""compile: state, modes, random numbers and everything else that a function reads besides its arguments."""

from __future__ import annotations

import dataclasses
import enum
import os
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compiled import compile

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 4))


def network() -> nn.Module:
    layers = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2))
    return layers.to(np.float64)


class Moving(nn.Module):
    """Subtracts a moving average, which is a buffer, and counts its calls in an attribute."""

    def __init__(self) -> None:
        self.inner = nn.Linear(4, 4, dtype=np.float64)
        self.register_buffer("mean", np.zeros(4))
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        z = self.inner(x)
        self.mean = 0.5 * self.mean + 0.5 * np.mean(z, axis=0).detach()
        if x.shape[0] == 7:
            raise ValueError("seven")
        return z - self.mean


def plain(x: Any) -> Any:
    return x.value if isinstance(x, cr.Tensor) else x


def same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(plain(found), plain(expected), atol=1e-12)


WRAPPED: list[Callable[[nn.Module], Any]] = [
    lambda m: m,
    lambda m: m.__call__,
    lambda m: lambda x: np.sum(m(x) ** 2),
    lambda m: cr.value_and_grad(lambda x: np.sum(m(x) ** 2)),
    lambda m: types.SimpleNamespace(models=[m], __call__=None) and (lambda x, ms=(m,): ms[0](x) * 2.0),
]


@pytest.mark.parametrize("make", [network, Moving])
@pytest.mark.parametrize("wrap", WRAPPED)
def test_compiled_and_eager_calls_leave_the_same_buffers(make: Any, wrap: Any) -> None:
    ours, theirs = make(), make()
    step, eager = compile(wrap(ours)), wrap(theirs)
    for mode in (True, True, False, True):
        ours.train(mode)
        theirs.train(mode)
        for found, expected in zip(cr.core.tree.flatten(step(X))[0], cr.core.tree.flatten(eager(X))[0], strict=True):
            same(found, expected)
        for (path, found), (_, expected) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
            assert type(found) is np.ndarray, path
            same(found, expected)
    same(cr.predict(ours, X), cr.predict(theirs, X))


def test_modules_hold_arrays_after_a_trace_that_failed() -> None:
    m = Moving()
    step = compile(m)
    with pytest.raises(ValueError, match="seven"):
        step(X[:7])
    assert type(m.mean) is np.ndarray and not m.mean.any()
    assert step(X).shape == X.shape


def test_buffers_that_are_replaced_outside_of_a_call_are_refused() -> None:
    m = Moving()

    def f(x: Any) -> Any:
        m.mean = np.mean(x, axis=0)
        return x

    with pytest.raises(TypeError, match=r"buffer mean.*compile of f"):
        compile(f)(X)
    assert type(m.mean) is np.ndarray


@pytest.mark.parametrize(
    "use", [lambda t: t + 1, np.sum, np.asarray, lambda t: float(t[0, 0]), lambda t: compile(lambda x: x + t)(X)]
)
def test_a_stored_tensor_says_where_it_is_from(use: Any) -> None:
    class Caching(nn.Module):
        cache: Any = None

        def forward(self, x: Any) -> Any:
            self.cache = x * 2.0
            return x

    box: dict[str, Any] = {}

    def store(x: Any) -> Any:
        box["z"] = x * 2.0
        return x

    m = Caching()
    compile(m)(X)
    compile(store)(X)
    for stored, name in ((m.cache, "Caching"), (box["z"], "store")):
        with pytest.raises(TypeError, match=f"compile of {name}"):
            use(stored)


def test_dropout_draws_a_new_mask_at_each_call_also_through_functional_call() -> None:
    m = nn.Dropout(0.5)
    step = compile(m)
    masks = [step(np.ones(50)) for _ in range(4)]
    again = nn.Dropout(0.5)
    for mask in masks:
        same(mask, again(np.ones(50)))
    assert len({mask.tobytes() for mask in masks}) == 4
    whole = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).to(np.float64)

    @compile
    def call(buffers: Any, x: Any) -> Any:
        return nn.functional_call(whole, buffers, x)

    buffers = dict(whole.named_buffers())
    one, buffers = call(buffers, X)
    two, buffers = call(buffers, X)
    same(one, whole(X))
    same(two, whole(X))


# -- what a function reads ---------------------------------------------------------------------------------------------

SCALE: Any = 2.0
TABLE = {"scale": 2.0}
LARGE = np.ones(300_000)


class Settings:
    """Attributes, one of them behind a property."""

    def __init__(self) -> None:
        self.scale: Any = 2.0
        self.nested = types.SimpleNamespace(scale=2.0)

    @property
    def doubled(self) -> Any:
        return 2 * self.scale


@dataclasses.dataclass
class Slotted:
    __slots__ = ("scale",)
    scale: Any


def helper(x: Any) -> Any:
    return x * SCALE


def readers() -> Iterator[tuple[str, Callable[[Any], Any], Callable[[], None]]]:
    """Yield functions, and what changes their result."""
    settings, slotted, array, items = Settings(), Slotted(2.0), np.full(4, 2.0), [2.0, [1.0]]
    power = 2.0

    def change_global() -> None:
        global SCALE
        SCALE = SCALE + 1.0

    def change_cell() -> None:
        nonlocal power
        power += 1.0

    class Model:
        def __init__(self) -> None:
            self.w, self.k = np.ones(4), 2

        def scaled(self, x: Any) -> Any:
            return x * self.w * self.k

        def __call__(self, x: Any) -> Any:
            return self.scaled(x)

    model, model_2 = Model(), Model()
    yield "global", lambda x: x * SCALE, change_global
    yield "global of a function that is called", lambda x: helper(x), change_global
    yield "variable", lambda x: x**power, change_cell
    yield "attribute", lambda x: x * settings.scale, lambda: setattr(settings, "scale", settings.scale + 1)
    yield (
        "type of a number",
        lambda x: x * settings.nested.scale,
        lambda: setattr(settings.nested, "scale", 3),
    )  # not 3.0
    yield "property", lambda x: x * settings.doubled, lambda: setattr(settings, "scale", settings.scale + 1)
    yield "slot", lambda x: x * slotted.scale, lambda: setattr(slotted, "scale", 5.0)
    yield "entry of a dict", lambda x: x * TABLE["scale"], lambda: TABLE.update(scale=TABLE["scale"] + 1)
    yield "length of a dict", lambda x: x * len(TABLE), lambda: TABLE.update({str(len(TABLE)): 0.0})
    yield "nested list", lambda x: x * items[1][0], lambda: items[1].__setitem__(0, items[1][0] + 1)  # type: ignore[index, union-attr]
    yield "array in place", lambda x: x * array, lambda: array.__setitem__(1, array[1] + 1)
    yield "derived array", lambda x: x * np.tanh(array), lambda: array.__setitem__(1, array[1] + 1)
    yield "large array", lambda x: x * LARGE.mean(), lambda: LARGE.__iadd__(1.0)  # type: ignore[func-returns-value]
    yield "callable object", model, lambda: setattr(model, "w", model.w + 1)
    yield "method", model_2.scaled, lambda: setattr(model_2, "k", model_2.k + 1)
    yield "derivative", cr.grad(lambda x: np.sum(x**2 * settings.scale)), lambda: setattr(settings, "scale", 7.0)
    yield "default", lambda x, a=array: x * a, lambda: array.__setitem__(2, array[2] + 1)
    yield from replaced()


def replaced() -> Iterator[tuple[str, Callable[[Any], Any], Callable[[], None]]]:
    """Yield functions, and what replaces code or defines names that they use."""

    class Base:
        @property
        def factor(self) -> float:
            return 2.0

        @classmethod
        def of_class(cls) -> float:
            return 2.0

        @staticmethod
        def static() -> float:
            return 2.0

        def inherited(self) -> float:
            return 2.0

        def own(self) -> float:
            return 2.0

    class Derived(Base):
        pass

    class Doubling(nn.Module):
        def forward(self, x: Any) -> Any:
            return 2.0 * x

    one, linear, doubling, other = Derived(), nn.Linear(4, 4, dtype=np.float64), Doubling(), Doubling()

    for name in ("DEFINED_LATER", "LOOKED_FOR", "ord"):
        globals().pop(name, None)

    def fallback(x: Any) -> Any:
        try:
            return x * DEFINED_LATER  # type: ignore[name-defined]
        except NameError:
            return x

    yield "name defined later", fallback, lambda: globals().update(DEFINED_LATER=3.0)
    yield (
        "name looked for in globals()",
        lambda x: x * globals().get("LOOKED_FOR", 1.0),
        lambda: globals().update(LOOKED_FOR=3.0),
    )
    yield "builtin shadowed", lambda x: x * ord("a"), lambda: globals().update(ord=lambda c: 1.0)
    yield (
        "environment",
        lambda x: x * float(os.environ.get("CHAINRULE_TEST", "1")),
        lambda: os.environ.update(CHAINRULE_TEST=str(float(os.environ.get("CHAINRULE_TEST", "1")) + 1)),
    )
    yield "property of a class", lambda x: x * one.factor, lambda: setattr(Base, "factor", property(lambda self: 9.0))
    yield "class method", lambda x: x * one.of_class(), lambda: setattr(Base, "of_class", classmethod(lambda c: 9.0))
    yield "static method", lambda x: x * one.static(), lambda: setattr(Base, "static", staticmethod(lambda: 9.0))
    yield "overridden", lambda x: x * one.inherited(), lambda: setattr(Derived, "inherited", lambda self: 9.0)
    yield "method of an instance", lambda x: x * one.own(), lambda: setattr(one, "own", lambda: 9.0)
    yield "forward of an instance", lambda x: doubling(x), lambda: setattr(doubling, "forward", lambda x: 9.0 * x)
    yield "forward of a layer", lambda x: linear(x), lambda: setattr(linear, "forward", lambda x: 9.0 * x)

    def rewritten(x: Any) -> Any:
        return x * 1.5

    def with_default(x: Any, by: float = 1.5, *, of: float = 1.0) -> Any:
        return x * by * of

    def helper(x: Any) -> Any:
        return x * 1.5

    def another(x: Any) -> Any:
        return x * 9.0

    yield "code of the function", rewritten, lambda: setattr(rewritten, "__code__", another.__code__)
    yield "code of a helper", lambda x: helper(x), lambda: setattr(helper, "__code__", another.__code__)
    yield "defaults", with_default, lambda: setattr(with_default, "__defaults__", (9.0,))
    yield "defaults by name", with_default, lambda: setattr(with_default, "__kwdefaults__", {"of": 9.0})
    yield "forward of a class", lambda x: other(x), lambda: setattr(Doubling, "forward", lambda self, x: 9.0 * x)


@pytest.mark.parametrize("name", [name for name, *_ in readers()])
@pytest.mark.parametrize("engine", ["numpy", None])
def test_a_function_is_traced_again_when_what_it_reads_has_changed(name: str, engine: Any) -> None:
    function, change = {n: (f, c) for n, f, c in readers()}[name]
    step = compile(function, engine=engine)
    former = step(X)
    for _ in range(2):
        same(step(X), function(X))
        assert step._traced == 1
    change()
    same(step(X), function(X))
    assert not np.allclose(step(X), former)
    assert step._traced == 2


READS_OF_PARAMETERS: dict[str, Callable[[Any, Any], Any]] = {
    "without a derivative": lambda w, x: x * np.argmax(w),
    "compared": lambda w, x: np.where(w > 2, x, -x),
    "compared sum": lambda w, x: np.where(np.sum(w) > 6.5, x, -x),
    "counted": lambda w, x: x * np.sum(w > 2.5),
    "order": lambda w, x: x[np.argsort(w)],
    "rounded": lambda w, x: x * np.floor(w) + np.round(w),
    "alone": lambda w, x: np.sign(w - 2.5),
    "value": lambda w, x: x * w.value,
    "value of a view": lambda w, x: x * w[::-1].value,
    "value of an expression": lambda w, x: x * np.exp(w).value,
    "value in a list": lambda w, x: x * sum([p.value for p in [w]]),
    "detached": lambda w, x: x * w.detach(),
    "detached expression": lambda w, x: x * np.exp(w).detach(),
    "array": lambda w, x: x * w.detach().numpy(),
    "list": lambda w, x: x * np.array(w.detach().tolist()),
    "item": lambda w, x: x * w[0].item(),
    "branch": lambda w, x: x if w[0] > 2 else -x,
    "loop": lambda w, x: sum(x for _ in range(int(w[1].detach()))),
}


@pytest.mark.parametrize("name", READS_OF_PARAMETERS)
def test_values_of_parameters_are_not_frozen(name: str) -> None:
    w, f, x = nn.Parameter(np.array([1.0, 3.0, 2.0])), READS_OF_PARAMETERS[name], np.array([1.0, 2.0, 4.0])
    module = nn.Module()
    module.w = w  # type: ignore[attr-defined]
    for step in (compile(lambda x: f(w, x)), compile(lambda x: f(module.w, x))):
        for values in ([1.0, 3.0, 2.0], [5.0, 1.0, 0.0], [1.0, 2.0, 3.0]):
            w.assign(values)
            same(step(x), f(w, x))


def test_what_a_function_only_counts_or_collects_is_not_read() -> None:
    class Counted:
        calls = 0
        seen: list[Any] = []  # noqa: RUF012

        def __call__(self, x: Any) -> Any:
            self.calls += 1
            self.seen.append(1)
            return x * 2.0

    f = Counted()
    step = compile(f)
    for _ in range(3):
        step(X)
    assert f.calls == 1


def test_state_in_attributes_is_not_frozen() -> None:
    class Decaying:
        t = 0

        def __call__(self, x: Any) -> Any:
            self.t += 1
            return x / self.t

    ours, theirs = Decaying(), Decaying()
    step = compile(ours)
    for _ in range(5):
        same(step(X), theirs(X))
    with pytest.warns(UserWarning, match=r"traced 64 times, because what it reads has changed: .*\.t\b"):
        for _ in range(70):
            same(step(X), theirs(X))
    assert len(step.plans) <= 8


# -- random numbers ----------------------------------------------------------------------------------------------------

DRAWS: dict[str, Callable[[], Any]] = {
    "uniform": lambda: cr.random.uniform((2, 3), low=-1.0, dtype=np.float64),
    "normal": lambda: cr.random.normal(5),
    "bernoulli": lambda: cr.random.bernoulli(0.3, 40),
    "integers": lambda: cr.random.integers(2, 9, 30),
    "permutation": lambda: cr.random.permutation(12),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("engine", ["numpy", None])
def test_compiled_functions_draw_what_the_function_draws(name: str, engine: Any) -> None:
    draw = DRAWS[name]
    step = compile(lambda x: (draw(), x + 1.0, draw()), seed=3, engine=engine)
    found = [step(1.0) for _ in range(3)]
    with cr.random.Generator(3):
        expected = [draw() for _ in range(6)]
    values = [v for one in found for v in (one[0], one[2])]
    for a, b in zip(values, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    assert len({v.tobytes() for v in values}) == 6
    assert not np.array_equal(compile(lambda x: draw(), seed=4)(1.0), values[0])
    with pytest.raises(RuntimeError, match=rf"cr\.random\.{name}: .*Generator"):
        draw()


def test_the_distributions() -> None:
    with cr.random.Generator(1):
        z = cr.random.normal(40_000, dtype=np.float64)
        assert np.allclose([z.mean(), z.std(), (z**3).mean(), (z**4).mean()], [0, 1, 0, 3], atol=0.1)
        assert np.allclose(np.bincount(cr.random.integers(0, 4, 40_000)) / 10_000, 1, atol=0.05)
        assert np.array_equal(np.sort(cr.random.permutation(100)), np.arange(100))
        assert abs(cr.random.bernoulli(np.array([0.2, 0.9]), (20_000, 2)).mean(axis=0) - [0.2, 0.9]).max() < 0.02


def test_gradients_go_past_the_noise() -> None:
    def f(mean: Any, spread: Any) -> Any:
        return np.sum((mean + spread * cr.random.normal(3, dtype=np.float64)) ** 2)

    step = compile(cr.value_and_grad(f, argnums=(0, 1)), seed=2)
    for k in range(2):
        with cr.random.Generator(2) as generator:
            generator.counter = np.asarray(k)
            noise = cr.random.normal(3, dtype=np.float64)
        value, (by_mean, by_spread) = step(np.ones(3), 0.5)
        same(value, np.sum((1 + 0.5 * noise) ** 2))
        same(by_mean, 2 * (1 + 0.5 * noise))
        same(by_spread, np.sum(2 * (1 + 0.5 * noise) * noise))


def test_a_generator_is_state_wherever_it_is_kept() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            self.noise = cr.random.Generator(5)

        def forward(self, x: Any) -> Any:
            return x + self.noise.uniform(x.shape)

    ours, theirs, box = Noisy(), Noisy(), [cr.random.Generator(6)]
    step = compile(ours)
    for _ in range(3):
        same(step(X), theirs(X))
    assert int(ours.noise.counter) == 3
    other, expected = compile(lambda x: x + box[0].normal(4)), cr.random.Generator(6)
    for _ in range(3):
        np.testing.assert_allclose(other(X), X + expected.normal(4), atol=1e-6)


@pytest.mark.parametrize(
    ("draw", "named"),
    [
        (lambda: np.random.normal(), r"np\.random"),
        (lambda: np.random.rand(2), r"np\.random"),
        (lambda: RNG.normal(), "RNG"),
        (lambda: RNG.permutation(4), "RNG"),
        (lambda: np.random.default_rng().normal(), "default_rng"),
        (lambda: __import__("random").random(), "random"),
    ],
)
def test_generators_of_numpy_are_refused(draw: Any, named: str) -> None:
    def f(x: Any) -> Any:
        return x + np.sum(draw())

    for function in (f, cr.grad(lambda x: np.sum(f(x)))):
        with pytest.raises(TypeError, match=f"drawn from .*{named}.* during compile .*chainrule.random"):
            compile(function)(X)
    assert compile(lambda x: x + np.random.default_rng(0).normal())(1.0) == 1.0 + np.random.default_rng(0).normal()


def test_draws_of_other_threads_are_not_held_against_a_function() -> None:
    """Those of a function itself are, also while other threads run."""
    import random

    over = threading.Event()
    other = threading.Thread(target=over.wait)
    other.start()
    try:
        traces: list[int] = []

        def f(x: Any) -> Any:
            traces.append(1)
            if len(traces) < 3:  # in the first two traces another thread draws
                drawing = threading.Thread(target=random.random)
                drawing.start()
                drawing.join()
            return x + 1

        assert compile(f)(1.0) == 2.0 and len(traces) == 3
        with pytest.raises(TypeError, match="drawn from random during compile"):
            compile(lambda x: x + random.random())(1.0)
    finally:
        over.set()
        other.join()


def test_clocks_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"time\.perf_counter is evaluated once"):
        compile(lambda x: x + time.perf_counter())(X)


# -- arguments that decide what is computed ----------------------------------------------------------------------------


def assigned(x: Any, n: Any) -> Any:
    x[:n, n] = x[:n, 0]
    return x


BY_INTEGER: dict[str, Callable[[Any, Any], Any]] = {
    "axis": lambda x, n: np.sum(x, axis=n),
    "axis as a method's argument": lambda x, n: x.sum(n),
    "axes": lambda x, n: np.transpose(x, (n, 0)),
    "keyword": lambda x, n: np.concatenate([x, x], axis=n),
    "slice": lambda x, n: x[: n + 1],
    "negative slice": lambda x, n: x[:-n],
    "index": lambda x, n: x[n],
    "index of an array": lambda x, n: x * X[n],
    "index of a list": lambda x, n: [x, -x, x * 2.0][n],
    "range": lambda x, n: sum((x[i] for i in range(n)), x[0]),
    "zeros": lambda x, n: x[:, :n] @ np.zeros((n, 2)),
    "arange": lambda x, n: x[0, 0] * np.arange(n + 2),
    "eye": lambda x, n: np.eye(n, 12) @ x,
    "reshape": lambda x, n: np.reshape(x, (2 * n, -1)),
    "choice": lambda x, n: x if n == 1 else -x,
    "truth": lambda x, n: x if n else -x,
    "repeated list": lambda x, n: np.stack([x] * (n + 1)) if isinstance(n, int) else np.stack([x] * int(n + 1)),
    "int": lambda x, n: x * int(n),
    "roll": lambda x, n: np.roll(x, n, axis=0),
    "diagonal": lambda x, n: np.diag(x[0], n),
    "order of a norm": lambda x, n: np.linalg.norm(x, n) + np.linalg.norm(x[0], n),
    "deleted": lambda x, n: np.delete(x, n, 0),
    "inserted": lambda x, n: np.insert(x, n, 0.0, axis=0),
    "assigned": lambda x, n: assigned(np.array(x) if isinstance(x, np.ndarray) else x.copy(), n),
    "linspace": lambda x, n: np.linspace(0.0, 1.0, 12 * n)[:12] @ x,
}


@pytest.mark.parametrize("name", BY_INTEGER)
@pytest.mark.parametrize("kind", [int, np.int64, np.asarray])
def test_an_integer_on_which_shapes_depend_becomes_static(name: str, kind: Any) -> None:
    f = BY_INTEGER[name]
    step = compile(f)
    for n in (1, 1, 0 if name in ("choice", "truth", "index", "roll") else 1, 1):
        np.testing.assert_allclose(step(X, kind(n)), f(X, n), atol=1e-12)
    assert step._traced <= 2


def test_an_integer_in_a_string_becomes_static() -> None:
    step = compile(lambda x, n: {"W1": x, "W2": -x}[f"W{n}"] + {"b1": 1.0, "b2": 2.0}["b" + str(n)])
    for n in (1, 2, 1):
        same(step(X, n), [X + 1, -X + 2][n - 1])


def test_a_number_that_is_only_computed_with_does_not_become_static() -> None:
    step = compile(lambda x, n: x * n + n)
    for n in range(5):
        same(step(X, n), X * n + n)
    assert len(step.plans) == 1


class Mode(enum.Enum):
    SUM = 1
    MEAN = 2


@pytest.mark.parametrize("values", [(Mode.SUM, Mode.MEAN), (frozenset({1}), frozenset()), (range(2), range(3))])
def test_values_that_are_no_arrays_are_part_of_the_signature(values: Any) -> None:
    step = compile(lambda x, value: np.sum(x) if value == values[0] else np.mean(x))
    for value in values * 2:
        same(step(X, value), np.sum(X) if value == values[0] else np.mean(X))
    assert len(step.plans) == 2


def test_static_arguments() -> None:
    def f(x: Any, options: Any = ("sum", 1.0), *, power: Any = 1) -> Any:
        assert isinstance(power, int)
        return (np.sum(x) if options[0] == "sum" else np.max(x)) * options[1] ** power

    for static in ({"static_argnames": ("options", "power")}, {"static_argnames": "power", "static_argnums": 1}):
        step = compile(f, **static)
        for call in ((("sum", 2.0), 2), (("max", 2.0), 2), (("max", 2), 3)):
            same(step(X, call[0], power=call[1]), f(X, call[0], power=call[1]))
            same(step(X, options=call[0], power=call[1]), f(X, call[0], power=call[1]))
        same(step(X), f(X))
    with pytest.raises(ValueError, match=r"static_argnames: .*'size'"):
        compile(f, static_argnames="size")
    with pytest.raises(ValueError, match=r"static_argnums: .*5"):
        compile(f, static_argnums=5)
    with pytest.raises(TypeError, match=r"argument options is static.*dict"):
        compile(f, static_argnames="options")(X, options={"a": []})
    with pytest.raises(TypeError, match="static_argnames"):
        compile(lambda x, n: x[: n[0]])(X, np.array([2]))


def test_one_changed_element_of_a_large_array_is_noticed() -> None:
    large = np.ones((3, 100_003))[:, 1:]
    step = compile(lambda x: x * np.sum(large))
    for place in ((0, 1), (1, 77_777), (2, -1)):
        same(step(2.0), 2.0 * np.sum(large))
        large[place] += 10.0
        same(step(2.0), 2.0 * np.sum(large))


def test_attributes_that_are_asked_for_may_appear_later() -> None:
    class Settings:
        pass

    settings = Settings()
    step = compile(lambda x: x * 2.0 if hasattr(settings, "doubled") else x * getattr(settings, "factor", 5.0))
    same(step(X), X * 5.0)
    settings.factor = 3.0  # type: ignore[attr-defined]
    same(step(X), X * 3.0)
    settings.doubled = True  # type: ignore[attr-defined]
    same(step(X), X * 2.0)
    del settings.doubled  # type: ignore[attr-defined]
    same(step(X), X * 3.0)
