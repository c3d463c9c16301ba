"""Random plans around large multiplies and long chains: both engines, NumPy itself, any number of threads, one result.

Numbers are small integers in floating point, so that sums come out the same in any order and results are compared
exactly: a comparison never falls out another way because of rounding.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("chainrule.engine._native", reason="the native engine was not built")

import chainrule as cr
from chainrule.core.tensor import constant
from chainrule.engine.native import NativeBinding
from chainrule.engine.numpy import NumPyBinding
from tests.plan.graphs import planned
from tests.tables import slow, some

SIZES = (1, 2, 3, 8, 16, 17, 31, 33, 64, 96, 100, 128, 130, 256, 300)
LONG = (1000, 1023, 1024, 1025, 2048, 3071, 3072, 3073, 4100)
LARGEST = 25_000  # elements of one value
WORK = 2e6  # multiplications of one matrix product
LIMIT = 24.0  # factors stay within, so that sums of products are exact in float32, too
EXACT = 2.0**22  # and summands within this

Function = Callable[..., Any]

SMOOTH: list[Function] = [  # continuous: rounding changes little
    lambda a: -a,
    abs,
    cr.relu,
    np.square,
    lambda a: a * a - a,
    lambda a: 1 - a,
    lambda a: np.maximum(a, -2.0),
]
STEPS: list[Function] = [
    lambda a: np.sqrt(np.square(a)),
    lambda a: (a > 0).astype(a.dtype),
    lambda a: (0 < a).astype(a.dtype) * a,
    lambda a: np.where(a > 1, a, -1.0),
    np.sign,
    np.floor,
]
SMOOTH_PAIRS: list[Function] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: b - 2 * a,
    lambda a, b: a * b,
    lambda a, b: np.maximum(a, b),
]
STEP_PAIRS: list[Function] = [
    lambda a, b: (a > b).astype(a.dtype),
    lambda a, b: (a < b).astype(a.dtype) - b,
    lambda a, b: np.where(a == b, a, b - a),
    lambda a, b: np.minimum(a, b) * a,
]
LARGE: list[Function] = [  # for what may be large
    lambda a: -a,
    cr.relu,
    lambda a: 1 - a,
    lambda a: np.maximum(a, -2.0),
    lambda a: np.maximum(np.minimum(a, 5.0), -4.0) - 1.0,
    lambda a: 2.0 * a + 1.0,
]
LARGE_PAIRS: list[Function] = [lambda a, b: a + b, lambda a, b: b - a, np.maximum, lambda a, b: cr.relu(a) - b]
LARGE_STEPS: list[Function] = [lambda a: (a > 0).astype(a.dtype), np.sign]
LARGE_STEP_PAIRS: list[Function] = [lambda a, b: (a > b).astype(a.dtype), lambda a, b: np.where(a == b, a, b)]
FRACTIONS: list[Function] = [lambda a: 2.0 / (np.square(a) + 1.0), lambda a: np.sqrt(abs(a))]
FRACTION_PAIRS: list[Function] = [lambda a, b: a / (abs(b) + 1.0)]
FUNCTIONS: list[Function] = [
    np.tanh,
    lambda a: np.exp(-a * a),
    cr.sigmoid,
    np.sin,
    lambda a: np.log(np.square(a) + 1.0),
]


def clamped(a: Any) -> Any:
    return np.maximum(np.minimum(a, 2.0), -2.0)


class Writer:
    """Writes one random function over arrays: a list of steps over a pool, which runs on arrays and tensors alike."""

    def __init__(self, seed: int, exact: bool = True) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.exact = exact
        self.dtype = np.dtype(rng.choice(["float32", "float64"]))
        m, k, n = (int(rng.choice(SIZES)) for _ in range(3))
        if rng.random() < 0.3:
            m, n = [(m, int(rng.choice(LONG))), (int(rng.choice(LONG)), n)][rng.integers(2)]
        if rng.random() < 0.15:
            k = int(rng.choice([801, 1600, 2048, 2500]))
        while m * n > LARGEST or m * k > LARGEST or k * n > LARGEST or m * k * n > WORK:
            m, k, n = (max(d // 2, 1) if d == max(m, k, n) else d for d in (m, k, n))
        if rng.random() < 0.7:  # a product large enough for a chain at its end
            k = max(k, min(int(3e5 / (m * n)) + 1, LARGEST // max(m, n)))
        shapes = [(m, k), (k, n), (m, n), (n,), (1, n), (m, 1), ()]
        shapes += [(n, m), (k,), (n, n)] if n * n <= LARGEST else [(n, m)]
        self.special = exact and rng.random() < 0.1
        self.inputs = [self.array(s) for s in shapes]
        self.states = [self.array(s) for s in ((m, n), (n,), (), (m, n), (k, n), (k, n))]
        self.steps: list[tuple[Function, tuple[int, ...]]] = []
        self.products: set[int] = set()
        with np.errstate(all="ignore"):
            self.pool: list[Any] = [*self.inputs, *self.states]
            self.whole = [True] * len(self.pool)  # integers, which sum exactly
            self.bounds = [LIMIT] * len(self.pool)
            for _ in range(int(rng.integers(3, 40))):
                self.step()
        self.results()

    def array(self, shape: tuple[int, ...]) -> Any:
        x = self.rng.integers(-3, 4, shape).astype(self.dtype)
        if not self.exact:
            x = (x + self.rng.normal(size=shape)).astype(self.dtype)
        if self.special and x.size:
            x.reshape(-1)[self.rng.integers(x.size, size=3)] = self.rng.choice([np.nan, np.inf, -np.inf, -0.0], 3)
        return np.asarray(x)

    def some(
        self, wanted: Callable[[Any], bool] = lambda a: True, whole: bool = False, limit: float = LIMIT
    ) -> int | None:
        """Choose a value, rather one of the last, or a product."""
        found = [
            i for i, a in enumerate(self.pool) if wanted(a) and self.bounds[i] <= limit and (self.whole[i] or not whole)
        ]
        if not found:
            return None
        products = [i for i in found if i in self.products]
        if products and self.rng.random() < 0.25:
            return int(self.rng.choice(products))
        return found[-1 - int(self.rng.integers(len(found)) * self.rng.random())]

    def add(self, function: Function, *places: int, bound: float, whole: bool = True) -> None:
        """Add a step; `bound`: of its results, which the next to read them reads clamped where that is large."""
        out = np.asarray(function(*[self.pool[i] for i in places]))
        if out.size > LARGEST:
            return
        self.steps.append((function, places))
        self.pool.append(out)
        self.whole.append(whole and all(self.whole[i] for i in places))
        self.bounds.append(bound)
        if bound > LIMIT:
            self.add(clamped, len(self.pool) - 1, bound=2)

    def step(self) -> None:
        kind = self.rng.choice(
            ["multiply", "unary", "binary", "view", "reduce", "other"], p=[0.2, 0.25, 0.3, 0.12, 0.08, 0.05]
        )
        getattr(self, str(kind))()

    def multiply(self) -> None:
        i = self.some(lambda a: a.ndim == 2 and 0 not in a.shape, whole=self.exact)
        if i is None or self.special:  # BLAS may leave out what is multiplied by zero
            return
        for turn in self.rng.permutation(4):
            left, right = bool(turn & 1), bool(turn & 2)
            inner = self.pool[i].shape[0 if left else 1]
            j = self.factor(self.pool[i].size // inner, inner, 1 if right else 0)
            if j is None:
                continue
            scale = 1.0 if self.exact else float(1 / np.sqrt(inner))

            def product(a: Any, b: Any, left: bool = left, right: bool = right, scale: float = scale) -> Any:
                return (a.T if left else a) @ ((b.T if right else b) if self.exact else (b.T if right else b) * scale)

            self.products.add(len(self.pool))
            return self.add(product, i, j, bound=self.bounds[i] * self.bounds[j] * inner)

    def factor(self, rows: int, inner: int, axis: int) -> int | None:
        """Choose a matrix that so many rows of so many elements can be multiplied by, along one of its axes."""

        def fits(b: Any) -> bool:
            return (
                b.ndim == 2 and b.shape[axis] == inner and rows * b.size <= WORK and rows * b.shape[1 - axis] <= LARGEST
            )

        return self.some(fits, whole=self.exact)

    def chosen(
        self, smooth: list[Function], steps: list[Function], fractions: list[Function], *places: int
    ) -> tuple[Function, bool]:
        """Choose a function, and say whether it makes whole numbers of whole numbers."""
        sharp = self.exact and all(self.whole[i] for i in places)  # no rounding can make a step fall out another way
        functions = smooth + (steps if sharp else [] if self.exact or steps is not STEPS else FUNCTIONS)
        at = int(self.rng.integers(len(functions) + len(fractions)))
        return (functions + fractions)[at], at < len(functions)

    def unary(self) -> None:
        i = self.some(limit=EXACT)
        assert i is not None
        bound = self.bounds[i]
        if bound > LIMIT:
            function, whole = self.chosen(LARGE, LARGE_STEPS, [], i)
            return self.add(function, i, bound=2 * bound + 1, whole=whole)
        function, whole = self.chosen(SMOOTH, STEPS, FRACTIONS, i)
        self.add(function, i, bound=bound * (bound + 1) + 1, whole=whole)

    def binary(self) -> None:
        i = self.some(limit=EXACT)
        assert i is not None
        first = self.pool[i]

        def fits(b: Any) -> bool:
            try:
                return bool(np.prod(np.broadcast_shapes(first.shape, b.shape)) <= LARGEST)
            except ValueError:
                return False

        j = self.some(fits, limit=EXACT)
        assert j is not None
        order = (i, j) if self.rng.random() < 0.5 else (j, i)
        a, b = (self.bounds[i] for i in order)
        if max(a, b) > LIMIT:
            function, whole = self.chosen(LARGE_PAIRS, LARGE_STEP_PAIRS, [], i, j)
            return self.add(function, *order, bound=a + b, whole=whole)
        function, whole = self.chosen(SMOOTH_PAIRS, STEP_PAIRS, FRACTION_PAIRS, i, j)
        self.add(function, *order, bound=max(a * b, 2 * a + b, a + 2 * b), whole=whole)

    def view(self) -> None:
        i = self.some(lambda a: a.size > 0, limit=EXACT)
        assert i is not None
        a = self.pool[i]
        views: list[Callable[[Any], Any]] = [lambda a: a.T, lambda a: np.reshape(a, -1)]
        if a.ndim == 2:
            m, n = a.shape
            views += [lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a[0], lambda a: a[:, :1], lambda a: a[-1:]]
            views += [lambda a: a[1:] if m > 1 else a, lambda a: a[:, ::2], lambda a: np.reshape(a, (n, m))]
        if a.ndim == 1:
            views += [lambda a: a[None], lambda a: a[:, None], lambda a: a[::-1]]
            views += [
                lambda a, s=s: np.reshape(a, s)
                for b in self.pool
                if a.ndim == 1 and b.size == a.size
                for s in [b.shape]
            ]
        self.add(views[self.rng.integers(len(views))], i, bound=self.bounds[i])

    def reduce(self) -> None:
        i = self.some(lambda a: a.ndim > 0 and a.size > 0, whole=self.exact)
        if i is None:
            return
        axis = [None, *range(self.pool[i].ndim)][self.rng.integers(self.pool[i].ndim + 1)]
        keep = bool(self.rng.integers(2))
        f = [np.sum, np.max, np.min][self.rng.integers(3)]
        scale = 1.0 if self.exact else float(1 / np.sqrt(self.pool[i].size))
        count = self.pool[i].size if f is np.sum else 1
        self.add(lambda a: f(a, axis=axis, keepdims=keep) * scale, i, bound=self.bounds[i] * count)

    def other(self) -> None:
        i = self.some(lambda a: a.ndim == 2 and a.size > 0)
        if i is None:
            return
        m = self.pool[i].shape[0]
        ids = self.rng.integers(-m, m, m)
        others: list[Callable[[Any], Any]] = [
            lambda a: np.concatenate([a, a[::-1]]),
            lambda a: np.concatenate([a * 2, a + 1, a]),
            lambda a: a[ids],
            lambda a: np.where(a > 0, a, a[ids]) if self.exact else a[ids] + a,
        ]
        self.add(others[self.rng.integers(len(others))], i, bound=2 * self.bounds[i] + 1)

    def results(self) -> None:
        """Choose outputs, values to keep, and updates."""
        rng = self.rng

        def some(most: int) -> list[int]:
            count = int(rng.integers(most == 5, most + 1))
            return [len(self.pool) - 1 - int(rng.integers(len(self.pool)) * rng.random()) for _ in range(count)]

        self.outputs, self.kept = some(5), some(2)
        first = len(self.inputs)
        self.updates: dict[int, int] = {}
        for s, state in enumerate(self.states):
            same = [
                i
                for i, a in enumerate(self.pool)
                if a.shape == state.shape and self.bounds[i] <= LIMIT and self.whole[i]
            ]
            later = [i for i in same if i >= first + len(self.states)]
            if rng.random() < 0.6:
                chosen = later if later and rng.random() < 0.8 else same
                self.updates[s] = chosen[int(rng.integers(len(chosen)))]

    def values(self, x: Any, s: Any) -> list[Any]:
        pool = [*x, *s]
        for function, places in self.steps:
            pool.append(function(*[pool[i] for i in places]))
        return pool

    def function(self, x: Any, s: Any) -> Any:
        pool = self.values(x, s)
        return [pool[i] for i in self.outputs], {k: pool[i] for k, i in self.updates.items()}

    def plan(self) -> Any:
        nodes: dict[str, Any] = {}

        def function(x: Any, s: Any) -> Any:
            pool = self.values(x, s)
            nodes.update({f"kept{k}": constant(pool[i]) for k, i in enumerate(self.kept)})
            return [pool[i] for i in self.outputs], {k: pool[i] for k, i in self.updates.items()}

        return planned(function, self.inputs, self.states, keep=nodes)


def compare(found: Any, expected: Any, exact: bool, what: str) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), what
    if exact:
        np.testing.assert_array_equal(found, expected, err_msg=what)
        return
    tolerance = 2e-3 if expected.dtype == np.float32 else 1e-10
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale, err_msg=what)


def hold(seed: int, threads: tuple[int, ...] = (1, 2, 3)) -> None:
    """Run one random plan twice on both engines and with each number of threads; compare all that it gives."""
    exact = seed % 4 != 3
    w = Writer(seed, exact)
    with np.errstate(all="ignore"):
        plan = w.plan()
        native = [(NativeBinding(plan, s, t), s) for t in threads for s in [[x.copy() for x in w.states]]]
        states = [x.copy() for x in w.states]
        other = NumPyBinding(plan, states)
        for turn in range(2):
            inputs = [x if turn == 0 else np.asarray(x[..., ::-1] if x.ndim else x + 1, order="C") for x in w.inputs]
            before = [x.copy() for x in inputs]
            pool = w.values(inputs, [s.copy() for s in states])
            other.run(inputs)
            for binding, _ in native:
                binding.run(inputs)
            for x, kept in zip(inputs, before, strict=True):
                np.testing.assert_array_equal(x, kept)
            wanted = [*zip(plan.outputs, w.outputs, strict=True)]
            wanted += [(plan.kept[f"kept{k}"], i) for k, i in enumerate(w.kept)]
            for n, i in wanted:
                compare(other.value(n), pool[i], exact, f"seed {seed}: NumPy engine, %{n}")
                compare(native[0][0].value(n), other.value(n), exact, f"seed {seed}: native engine, %{n}")
            for s, state in enumerate(states):
                compare(state, pool[w.updates.get(s, len(inputs) + s)], exact, f"seed {seed}: NumPy engine, state {s}")
                compare(native[0][1][s], state, exact, f"seed {seed}: native engine, state {s}")
            for binding, mine in native[1:]:
                for n, _ in wanted:
                    assert _bits(binding.value(n)) == _bits(native[0][0].value(n)), f"seed {seed}: threads, %{n}"
                for s in range(len(states)):
                    assert _bits(mine[s]) == _bits(native[0][1][s]), f"seed {seed}: threads, state {s}"
            for _, mine in native:  # rounding must not add up
                for s in range(len(states)):
                    np.copyto(mine[s], states[s])


def _bits(x: Any) -> bytes:
    return np.ascontiguousarray(x).tobytes()


def seeds(seconds: float, first: int) -> Iterator[int]:
    """Count on from a seed, for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield first
        first += 1


def hold_product(seed: int, threads: tuple[int, ...] = (1, 2, 3)) -> None:
    """Compare a product of any form, and a chain over it with operands of any form, with NumPy's."""
    rng = np.random.default_rng(seed)
    m, k, n = np.exp(rng.uniform(0, np.log(6000), 3)).astype(int)
    if rng.random() < 0.2:
        m, k, n = (1 if rng.random() < 0.3 else int(rng.choice([*SIZES, *LONG])) for _ in range(3))
    while m * n > 1e5 or m * k > 2e5 or k * n > 2e5 or m * k * n > 6e6:
        m, k, n = (max(d * 3 // 4, 1) if d == max(m, k, n) else d for d in (m, k, n))
    dtype = rng.choice(["float32", "float64"])

    def whole(*shape: int) -> Any:
        return rng.integers(-2, 3, shape).astype(dtype)

    operands = [whole(*s) for s in ((m, n), (n,), (m, 1), (1, n), (n, m), (2 * m, n), (m, 2 * n), ())]
    forms: list[Function] = [lambda a: a] * 4
    forms += [np.transpose, lambda a: a[::2], lambda a: a[:, ::2], lambda a: a]
    turned = rng.random(2) < 0.4
    A, B = whole(*((k, m) if turned[0] else (m, k))), whole(*((n, k) if turned[1] else (k, n)))
    if rng.random() < 0.2:
        A = whole(*(2 * d for d in A.shape))
        doubled = True
    else:
        doubled = False
    chain = [
        (int(rng.integers(len(LARGE_PAIRS))), int(rng.integers(8)), bool(rng.integers(2)))
        for _ in range(int(rng.integers(1, 5)))
    ]
    results = set(rng.choice(["product", "sum", "view", "again", "last", "next"], int(rng.integers(0, 5))).tolist())
    ones = np.ones((n, min(n, 100_000 // max(m, n))), dtype)  # of a product that stands between two chains

    def function(x: Any, s: Any) -> Any:
        A, B, *rest = x
        A = A[::2, 1::2] if doubled else A
        z = (A.T if turned[0] else A) @ (B.T if turned[1] else B)
        y, all_of_it = z, []
        out = [cr.relu(z) @ ones, cr.relu(z)] if "next" in results else []
        for which, operand, swapped in chain:
            other = forms[operand](rest[operand])
            if m == 1 and operand == 4:  # the product again, in another form
                other = np.reshape(z, -1)
            y = LARGE_PAIRS[which](other, y) if swapped else LARGE_PAIRS[which](y, other)
            all_of_it.append(y)
        out.append(y)
        if "product" in results:
            out.append(z)
        if "sum" in results:
            out.append(np.sum(z, axis=0))
        if "view" in results:
            out.append(z.T[::-1])
        if "again" in results:
            out.append(cr.relu(np.transpose(z)) if m != n else z * z.T)
        if "last" in results:
            out.append(all_of_it[0] - z)
        return out, {0: s[0] - y} if seed % 3 == 0 else {}

    inputs, state = [A, B, *operands], whole(m, n)
    plan = planned(function, inputs, [state])
    for t in threads:
        mine = [state.copy()]
        binding = NativeBinding(plan, mine, t)
        for _ in range(2):
            wanted, new = function(inputs, [mine[0].copy()])
            binding.run(inputs)
            what = f"seed {seed}: {m} x {k} x {n} {dtype}, {t} threads"
            for number, expected in zip(plan.outputs, wanted, strict=True):
                np.testing.assert_array_equal(binding.value(number), expected, err_msg=what)
            np.testing.assert_array_equal(mine[0], new.get(0, mine[0]), err_msg=what)


@pytest.mark.parametrize("first", [0, slow(20), slow(40), slow(60), slow(80)])
def test_random_plans(first: int) -> None:
    for seed in range(first, first + 20):
        hold(seed)


@pytest.mark.parametrize("first", [0, slow(20), slow(40), slow(60), slow(80)])
def test_products_with_chains_at_their_end(first: int) -> None:
    for seed in range(first, first + 20):
        hold_product(seed)


@pytest.mark.slow
@pytest.mark.parametrize("one", [hold, hold_product])
def test_many_random_plans(one: Callable[[int], None]) -> None:
    for seed in seeds(some(24), 1000):
        one(seed)


@pytest.mark.parametrize("first", [0, 1])
def test_batches_are_seen_by_steps_of_numpy_and_off_their_alignment(first: int) -> None:
    rng = np.random.default_rng(0)
    memory = bytearray(4 * 256 * 64 + first)  # 1: rows of float32 that no address of a float32 begins
    X = np.ndarray((256, 64), np.float32, memory, first)
    X[:] = rng.normal(size=X.shape)
    y = rng.normal(size=(256, 64)).astype(np.float32)

    def function(x: Any, s: Any) -> Any:
        return [np.sum(np.linalg.inv(x[0]) * x[1]) if first == 0 else np.sum(x[0] * x[1])], {}

    plan = planned(function, [X[:64], y[:64]])
    binding = NativeBinding(plan, [], 1)
    assert (first == 0) == bool(binding.left_to_numpy)
    wanted = []
    for k in range(4):
        binding.run([X[64 * k : 64 * k + 64], y[64 * k : 64 * k + 64]])
        wanted.append([binding.value(plan.outputs[0]).item()])
    results = np.zeros((4, 1))
    assert binding.run_batches(None, X, y, np.arange(256), 0, 64, 256, results, 1e9) == 4
    np.testing.assert_array_equal(results, wanted)


def test_a_state_is_not_updated_before_a_step_that_refuses() -> None:
    rng = np.random.default_rng(0)
    x, g, W = rng.normal(size=(200, 100)), rng.normal(size=(200, 64)), np.zeros((100, 64))
    ids = np.array([0, 5, 999])

    def function(x: Any, s: Any) -> Any:
        gradient = x[0].T @ x[1]
        return [np.sum(s[0][0]) + np.sum(gradient), np.sum(x[1][x[2]])], {0: s[0] - 0.1 * gradient}

    plan = planned(function, [x, g, ids], [W])
    with pytest.raises(IndexError, match="index 999 is out of bounds"):
        NativeBinding(plan, [W]).run([x, g, ids])
    assert not W.any()
