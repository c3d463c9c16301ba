"""The elementwise functions, reductions and random numbers of the native core against NumPy and wider arithmetic."""

import math
import os
import subprocess

import numpy as np
import pytest

from tests.native.core import (
    FLOATS,
    TYPES,
    Selected,
    aligned,
    binary,
    find,
    folder,
    instruction_sets,
    kernel,
    library,
    names,
    unary,
)
from tests.tables import some

pytestmark = pytest.mark.slow  # building the library takes a minute; tests/engine runs it as it was installed

LENGTHS = (0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 100, 257)
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-45, -3e-40, 1e-310, 88.8, -104.0, 3.4e38, np.inf, -np.inf, np.nan]
FAR = [2e5, -1e6, 1e9, -1.1e9, 3e12, 1e20]  # where sin and its like take another way
EXACT = (
    "negative",
    "absolute",
    "sign",
    "square",
    "sqrt",
    "reciprocal",
    "relu",
    "identity",
    "floor",
    "ceil",
    "rint",
    "trunc",
)
ROUNDED = tuple(name for name in names("CHAINRULE_UNARY") if name not in EXACT)
OF_TWO = ("power", "arctan2", "hypot", "logaddexp")
OTHERS = {  # NumPy has no such functions; in the widest floating type
    "sigmoid": lambda x: np.where(x < 0, np.exp(-abs(x)), 1) / (1 + np.exp(-abs(x))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-abs(x))),
    "erf": lambda x: np.array([math.erf(v) for v in x], x.dtype),
}
ULPS = {"float32": 4.0, "float64": 2.0}


@pytest.fixture(params=instruction_sets())
def isa(request):
    with Selected(request.param):
        yield request.param


def samples(n, dtype, seed=0):
    """Return n values, special ones among them."""
    rng = np.random.default_rng(seed)
    x = aligned((n,), dtype, offset=1)
    with np.errstate(over="ignore", under="ignore"):
        x[...] = rng.standard_normal(n) * 3
        x[: len(SPECIAL)] = rng.permutation(np.array(SPECIAL).astype(dtype))[:n]
    return x


def same(a, b):
    """Whether two arrays agree to the bit; any NaN is any NaN."""
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(np.signbit(a[a == a]), np.signbit(b[b == b]))


@pytest.mark.parametrize("dtype", FLOATS)
def test_exact_functions_equal_numpys(isa, dtype):
    for n in LENGTHS:
        x = samples(n, dtype, n)
        with np.errstate(all="ignore"):
            for name in set(EXACT) - {"reciprocal", "relu", "identity"}:
                assert same(unary(name, x), getattr(np, name)(x)), name
            assert same(unary("reciprocal", x), 1 / x)
            assert same(unary("relu", x) + dtype(0), np.maximum(x, dtype(0)) + dtype(0))
            assert same(unary("identity", x), x)


@pytest.mark.parametrize("dtype", FLOATS)
def test_functions_of_two_arguments(isa, dtype):
    for n in LENGTHS:
        x, y = samples(n, dtype, n), samples(n, dtype, n + 1)
        for a, b in ((x, y), (x, y[:1]), (x[:1], y)) if n else ((x, y),):
            with np.errstate(all="ignore"):
                for name in ("add", "subtract", "multiply", "divide"):
                    assert same(binary("binary", name, a, b), getattr(np, name)(a, b)), name
                for name in ("maximum", "minimum"):  # which zero it is, NumPy leaves open too
                    assert np.array_equal(binary("binary", name, a, b), getattr(np, name)(a, b), equal_nan=True), name
                for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
                    assert np.array_equal(binary("compare", name, a, b), getattr(np, name)(a, b)), name


@pytest.mark.parametrize("dtype", FLOATS)
def test_questions_and_choices(isa, dtype):
    for n in LENGTHS:
        x, y = samples(n, dtype, n), samples(n, dtype, n + 1)
        for name in ("isnan", "isinf", "isfinite", "signbit"):
            out = np.empty(n, np.bool_)
            kernel("test", dtype)(find("test", name), n, x.ctypes.data, out.ctypes.data)
            assert np.array_equal(out, getattr(np, name)(x)), name
        c = x > y
        for steps in np.ndindex(2, 2, 2):
            out = np.empty(n, dtype)
            operands = [v for array, step in zip((c, x, y), steps, strict=True) for v in (array.ctypes.data, step)]
            kernel("where", dtype)(n, *operands, out.ctypes.data)
            if n:
                taken = [v if step else v[:1] for v, step in zip((c, x, y), steps, strict=True)]
                assert same(out, np.broadcast_to(np.where(*taken), (n,)))


WITH_OPERAND = {  # of the running value x and an operand v
    "load": lambda x, v: v,
    "add": lambda x, v: x + v,
    "subtract": lambda x, v: x - v,
    "subtract_from": lambda x, v: v - x,
    "multiply": lambda x, v: x * v,
    "divide": lambda x, v: x / v,
    "divide_into": lambda x, v: v / x,
    "greater": lambda x, v: (x > v).astype(x.dtype),
    "less": lambda x, v: (x < v).astype(x.dtype),
}
ALONE = {
    "negative": np.negative,
    "square": np.square,
    "sqrt": np.sqrt,
    "absolute": np.abs,
    "reciprocal": np.reciprocal,
    "relu": lambda x: np.where((x > 0) | np.isnan(x), x, x.dtype.type(0)),
}
CODES = [name + suffix for name in WITH_OPERAND for suffix in ("", "_number")] + [*ALONE, "store"]


def run_pass(steps, operands, n, dtype):
    """Run (name, operand) steps over arrays; the last of `operands` takes what "store" stores."""
    codes = np.array([CODES.index(name) for name, _ in steps], np.int32)
    which = np.array([k for _, k in steps], np.int32)
    at = np.array([o.ctypes.data for o in operands], np.uint64)
    kernel("pass", dtype)(n, len(steps), codes.ctypes.data, which.ctypes.data, at.ctypes.data)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", CODES[:-1])
def test_step_of_a_pass(isa, name, dtype):
    for n in LENGTHS:
        x, v, out = samples(n, dtype, 1), samples(n, dtype, 2), aligned((n,), dtype, offset=1)
        one = np.array([1.5], dtype)
        run_pass([("load", 0), (name, 2 if name.endswith("_number") else 1), ("store", 3)], [x, v, one, out], n, dtype)
        with np.errstate(all="ignore"):
            if name in ALONE:
                wanted = ALONE[name](x)
            else:
                wanted = WITH_OPERAND[name.removesuffix("_number")](x, one if name.endswith("_number") else v)
        assert same(out, np.broadcast_to(wanted, (n,))), n


@pytest.mark.parametrize("dtype", FLOATS)
def test_pass_in_place(isa, dtype):
    for n in LENGTHS:
        x, g = samples(n, dtype, 3), samples(n, dtype, 4)
        rate, number = np.array([0.25], dtype), dtype(0.25)
        with np.errstate(all="ignore"):
            wanted = x - (number * g) * (number * g)
        steps = [("load", 1), ("multiply_number", 2), ("square", 0), ("subtract_from", 0), ("store", 0)]
        run_pass(steps, [x, g, rate], n, dtype)
        assert same(x, wanted), n


def test_logic(isa):
    rng = np.random.default_rng(0)
    for n in LENGTHS:
        a, b = rng.random(n) > 0.5, rng.random(n) > 0.5
        for name in ("logical_and", "logical_or", "logical_xor"):
            assert np.array_equal(binary("logic", name, a, b), getattr(np, name)(a, b))
        out = np.empty(n, np.bool_)
        library().core_logical_not(n, a.ctypes.data, out.ctypes.data)
        assert np.array_equal(out, ~a)


def test_casts(isa):
    for n in LENGTHS:
        for i, source in enumerate(TYPES):
            x = samples(n, np.float64, n)
            with np.errstate(all="ignore"):
                x = (x if source in FLOATS else np.nan_to_num(x, posinf=9, neginf=-9) % 1000).astype(source)
                for j, target in enumerate(TYPES):
                    out = np.empty(n, target)
                    library().core_cast(i, j, n, x.ctypes.data, out.ctypes.data)
                    kept = np.abs(x) < 2**63 if source in FLOATS and target == np.int64 else np.full(n, True)
                    assert np.array_equal(out[kept], x.astype(target)[kept], equal_nan=target in FLOATS)
                    assert np.all(out[~kept] == np.iinfo(np.int64).min)


def off(found, wanted, dtype):
    """Return the largest error in ulp; infinite where signs of zero, infinities or NaN differ."""
    rounded = wanted.astype(dtype)
    exact = (rounded == 0) | ~np.isfinite(rounded)
    if not same(found[exact], rounded[exact]) or not np.all(np.isfinite(found[~exact])):
        return np.inf
    wide = wanted[~exact]
    spacing = np.spacing(abs(rounded[~exact])).astype(wide.dtype)
    return float(np.max(abs(found[~exact] - wide) / spacing, initial=0))


def wider(dtype):
    return np.float64 if dtype == np.float32 else np.longdouble


@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values(isa, dtype):
    with np.errstate(all="ignore"):
        x = np.array(SPECIAL + FAR).astype(dtype)
        for name in ROUNDED:
            wanted = OTHERS.get(name, getattr(np, name, None))(x.astype(wider(dtype)))
            assert off(unary(name, x), wanted, dtype) <= ULPS[dtype.__name__], name


def pairs(name, dtype, n=40_000):
    """Return arguments of a function of two: special values against each other, ordinary ones, any exponents."""
    rng = np.random.default_rng(5)
    info = np.finfo(dtype)
    least, most, whole = info.smallest_subnormal, info.max, 2.0**info.nmant
    ends = [0.0, 1.0, 0.5, 2.0, 3.0, np.inf, np.nan, least, info.tiny, most, whole - 1, whole + 1, 2 * whole, 1e-3]
    grid = np.array([*ends, *(-v for v in ends)], dtype)
    left, right = np.repeat(grid, grid.size), np.tile(grid, grid.size)
    ordinary = rng.standard_normal((2, n)) * 3
    with np.errstate(all="ignore"):
        if name == "power":
            base, result = 2.0 ** rng.uniform(-1, 1, n), rng.uniform(-1, 1, n) * math.log2(most)
            ordinary = np.stack([np.exp2(rng.uniform(-1, 1, n) * 30), rng.uniform(-1, 1, n) * 40])
            spread = np.stack([base, result / np.log2(base)])
        elif name == "logaddexp":  # far from where the sum of exponentials is 1, and its logarithm 0
            ordinary = abs(ordinary)
            spread = np.stack([rng.uniform(1, 700, n), rng.uniform(-700, 700, n)])
        else:
            spread = np.exp2(rng.uniform(math.log2(least), math.log2(most), (2, n))) * rng.choice([-1.0, 1.0], (2, n))
        near = spread * np.stack([np.ones(n), np.zeros(n)]) + spread[0] * np.stack([np.zeros(n), rng.uniform(0, 3, n)])
        more = [ordinary, spread] if name in ("power", "logaddexp") else [ordinary, spread, near]
        columns = np.concatenate(more, axis=1).astype(dtype)
    return np.concatenate([left, columns[0]]), np.concatenate([right, columns[1]])


@pytest.mark.parametrize("name", OF_TWO)
@pytest.mark.parametrize("dtype", FLOATS)
def test_accuracy_of_functions_of_two_arguments(isa, dtype, name):
    a, b = pairs(name, dtype)
    with np.errstate(all="ignore"):
        wanted = getattr(np, name)(a.astype(wider(dtype)), b.astype(wider(dtype)))
        assert off(binary("binary", name, a, b), wanted, dtype) <= ULPS[dtype.__name__]


@pytest.mark.parametrize("dtype", FLOATS)
def test_an_element_does_not_depend_on_its_place(isa, dtype):
    x = samples(300, dtype)
    x[60:240:30] = FAR
    for name in ROUNDED:
        whole = unary(name, x)
        for start, end in ((1, 300), (5, 22), (299, 300), (17, 80), *((60, 60 + n) for n in range(36))):
            assert same(unary(name, x[start:end].copy()), whole[start:end]), name
        out = x.copy()
        kernel("unary", dtype)(find("unary", name), x.size, out.ctypes.data, out.ctypes.data)
        assert same(out, whole), name


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_pair_does_not_depend_on_its_place(isa, dtype):
    a, b = samples(300, dtype), samples(300, dtype, seed=1)
    for name in OF_TWO:
        whole = binary("binary", name, a, b)
        for start, end in ((1, 300), (5, 22), (299, 300), *((60, 60 + n) for n in range(36))):
            assert same(binary("binary", name, a[start:end].copy(), b[start:end].copy()), whole[start:end]), name
        one = b[37:38].copy()
        assert same(binary("binary", name, a, one), binary("binary", name, a, np.repeat(one, a.size))), name
        assert same(binary("binary", name, one, a), binary("binary", name, np.repeat(one, a.size), a)), name
        for out, left, right in ((x := a.copy(), x, b), (y := b.copy(), a, y)):
            tail = (left.ctypes.data, 1, right.ctypes.data, 1, out.ctypes.data)
            kernel("binary", dtype)(find("binary", name), out.size, *tail)
            assert same(out, whole), name


def test_hand_computed():
    x = np.array([0.0, 1.0, -1.0, 2.0])
    np.testing.assert_allclose(unary("exp", x), [1, math.e, 1 / math.e, math.e**2], rtol=1e-15)
    np.testing.assert_allclose(unary("sigmoid", x)[:2], [0.5, 0.7310585786300049], rtol=1e-15)
    np.testing.assert_allclose(unary("softplus", x)[:2], [math.log(2), 1.3132616875182228], rtol=1e-15)
    np.testing.assert_allclose(unary("erf", x), [math.erf(v) for v in x], rtol=1e-15)
    np.testing.assert_allclose(unary("log2", np.array([8.0, 0.5])), [3, -1], rtol=0)
    np.testing.assert_allclose(unary("sin", x), [0, 0.8414709848078965, -0.8414709848078965, 0.9092974268256817], 1e-15)
    np.testing.assert_allclose(unary("arctan", x)[:2], [0, math.pi / 4], rtol=1e-15)
    np.testing.assert_allclose(unary("arccos", x)[:3], [math.pi / 2, 0, math.pi], rtol=1e-15)
    np.testing.assert_allclose(unary("sinh", x)[1:2], [(math.e - 1 / math.e) / 2], rtol=1e-15)
    np.testing.assert_allclose(unary("cbrt", np.array([27.0, -8.0])), [3, -2], rtol=0)
    np.testing.assert_allclose(binary("binary", "power", x, np.array([3.0])), [0, 1, -1, 8], rtol=0)
    np.testing.assert_allclose(binary("binary", "hypot", np.array([3.0]), np.array([4.0])), [5], rtol=0)
    assert find("unary", "abacus") == -1


def worst(isa_name, dtype, function, *arguments):
    """Return the largest error in ulp of each function, measured by the program `accuracy`."""
    command = [str(folder() / "accuracy"), dtype, function, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "CHAINRULE_ISA": isa_name}
    )
    return {line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines()}


def bound(function, dtype):
    return 0.5 if function in EXACT else ULPS[dtype]


@pytest.mark.parametrize(("dtype", "arguments"), [("float32", (7, 1009)), ("float64", (1, 300_000))])
def test_accuracy(isa, dtype, arguments):
    errors = worst(isa, dtype, "all", *arguments)
    assert set(errors) == set(names("CHAINRULE_UNARY"))
    assert {name: e for name, e in errors.items() if not e <= bound(name, dtype)} == {}


@pytest.mark.slow
@pytest.mark.parametrize("function", names("CHAINRULE_UNARY"))
def test_accuracy_of_all_floats(function):
    every = int(os.environ.get("CHAINRULE_EVERY_FLOAT", "1"))  # n: only each n-th, where time is short
    errors = worst(library().core_name().decode(), "float32", function, 0, every)
    assert errors[function] <= bound(function, "float32")


@pytest.mark.slow
@pytest.mark.parametrize("function", names("CHAINRULE_UNARY"))
def test_accuracy_of_many_doubles(function):
    errors = worst(library().core_name().decode(), "float64", function, 11, some(10_000_000))
    assert errors[function] <= bound(function, "float64")


@pytest.mark.parametrize("dtype", FLOATS)
def test_reductions(isa, dtype):
    rng = np.random.default_rng(3)
    for n in (*LENGTHS, 1000, 1025, 5000, 100_003):
        x = aligned((n,), dtype, offset=1)
        x[...] = rng.standard_normal(n)
        total = kernel("sum", dtype)(n, x.ctypes.data)
        bound = np.finfo(dtype).eps * float(np.abs(x).sum()) * 4
        assert abs(total - math.fsum(x.astype(float))) <= bound
        if n:
            assert kernel("maximum", dtype)(n, x.ctypes.data) == x.max()
            assert kernel("minimum", dtype)(n, x.ctypes.data) == x.min()
            for place in {0, n // 2, n - 1}:
                y = x.copy()
                y[place] = np.nan
                assert np.isnan(kernel("maximum", dtype)(n, y.ctypes.data))
                assert np.isnan(kernel("minimum", dtype)(n, y.ctypes.data))


@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_of_rows_and_columns(isa, dtype):
    rng = np.random.default_rng(4)
    for rows, columns in ((1, 1), (3, 10), (32, 64), (128, 10), (300, 37), (1000, 200), (0, 5), (5, 0)):
        whole = rng.standard_normal((rows, columns + 3)).astype(dtype)
        x = whole[:, :columns]
        out = np.full(rows, np.nan, dtype)
        kernel("sum_rows", dtype)(rows, columns, x.ctypes.data, columns + 3, out.ctypes.data)
        scale = np.abs(x).astype(float)
        assert np.all(abs(out - x.sum(1, dtype=float)) <= 4 * np.finfo(dtype).eps * scale.sum(1))
        for add in (0, 1):
            out = np.ones(columns, dtype)
            kernel("sum_columns", dtype)(rows, columns, x.ctypes.data, columns + 3, add, out.ctypes.data)
            wanted = x.sum(0, dtype=float) + add
            assert np.all(abs(out - wanted) <= 16 * np.finfo(dtype).eps * (scale.sum(0) + add))


@pytest.mark.parametrize("key", [(0, 0, 0), (7, 1, 3), (2**64 - 1, 2**63, 2**64 - 1)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_uniform_numbers_are_numpys_philox(isa, dtype, key):
    seed, stream, counter = key
    generator = np.random.Philox(
        key=np.array([seed, stream], np.uint64), counter=np.array([0, counter, 0, 0], np.uint64)
    )
    words = generator.random_raw(400)
    if dtype == np.float64:
        wanted = (words >> np.uint64(11)) * 2.0**-53
    else:
        wanted = ((words.astype("<u8").view("<u4") >> 8) * 2.0**-24).astype(np.float32)
    for first, n in ((0, 400), (0, 1), (3, 0), (1, 2), (5, 390), (16, 32), (399, 1)):
        out = np.empty(n, dtype)
        kernel("uniform", dtype)(seed, stream, counter, first, n, out.ctypes.data)
        assert np.array_equal(out, wanted[first : first + n])
