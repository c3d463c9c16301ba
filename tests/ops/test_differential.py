"""Every implemented NumPy function on every dtype and special values: NumPy's value, dtype, shape and errors.

The functions and their arguments are the cases of `test_numpy_api`, which has one for each; ufuncs, operators and
reductions are tried on more.
"""

import fractions
import itertools
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.node import FUNCTIONS
from tests.ops.differential import DTYPES, ENGINES, WEAK, Trial, difference, equal, outcome, special
from tests.ops.test_numpy_api import CASES, named
from tests.tables import some

#: How many units in the last place a ufunc may differ by from NumPy's, which is not exact itself.
ULP = (
    dict.fromkeys(
        "exp exp2 expm1 log log2 log10 log1p sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh "
        "cbrt power float_power arctan2 hypot logaddexp logaddexp2 sinc i0".split(),
        8,
    )
    | dict.fromkeys(("rad2deg", "degrees"), 1)
    | {"logaddexp": 64, "**": 8}
)


def binary_args() -> Iterator[tuple[Any, Any]]:
    for d, e in itertools.product(DTYPES, repeat=2):
        a, b = np.meshgrid(special(d), special(e), indexing="ij")
        yield a.reshape(-1), b.reshape(-1)
    for d, scalar in itertools.product(DTYPES, WEAK):
        yield special(d), scalar
        yield scalar, special(d)
        yield special(d)[:1].reshape(()), scalar


def unary_args() -> Iterator[tuple[Any]]:
    for d in DTYPES:
        yield (special(d),)
        yield from ((x,) for x in special(d)[:3])


def of_ufunc(ufunc: Any) -> Iterator[Trial]:
    ulp = ULP.get(ufunc.__name__, 0)
    if ufunc.signature is not None:
        return
    for args in binary_args() if ufunc.nin == 2 else unary_args():
        yield Trial(
            ufunc.__name__,
            ufunc,
            tuple(np.asarray(x) if isinstance(x, np.generic) else x for x in args),
            ulp,
            signed=ufunc.__name__ not in EXTREMES,
        )


#: Functions whose zero has the sign that NumPy's processor-dependent code gives it.
EXTREMES = set("maximum minimum fmax fmin max min amax amin nanmax nanmin ptp clip median reduce".split())
#: Functions that are computed from sums: on numbers whose sums are exact in any order.
SUMS = set(
    "sum mean var std average cumsum cumulative_sum trapezoid matmul dot inner vdot outer tensordot kron vecdot cross "
    "einsum convolve correlate trace nansum reduce accumulate prod cumprod cumulative_prod ptp norm "
    "vector_norm matrix_norm".split()
)
#: Of these, sums of integers in float64; and what BLAS computes, some of which leaves out zero times infinity.
MEANS = set("mean var std average".split())
FINITE = set("dot inner kron convolve correlate".split())
DISTINCT = {"argsort"}
#: Functions of matrices that must be regular: on numbers near those of the case.
REGULAR = set(
    "inv solve det slogdet cholesky pinv matrix_power multi_dot interp nanquantile quantile percentile nanpercentile "
    "nanstd nanvar nanmean nanmedian cov corrcoef geomspace logspace linspace gradient unwrap polyfit polyval "
    "sliding_window_view polymul".split()
)


def of_case(c: Any, label: str, rng: np.random.Generator) -> Iterator[Trial]:
    name = named(c).split(".")[-1]
    for d in DTYPES:
        if name in REGULAR or (getattr(c.key, "__module__", "") == "numpy.linalg" and name not in SUMS):
            if d.kind in "ub" or (d.kind == "i" and name not in REGULAR):
                continue
            inputs = [(3 * x).round().astype(d) if d.kind == "i" else x.astype(d) for x in c.inputs]
            ulp = 2e4
        else:
            values = special(d, summable=name in SUMS)
            if name in FINITE:
                values = values[np.isfinite(values)]
            if name in MEANS and d.kind in "iu":
                values = values[(values >= 0) & (values < 100)]
            repeated = name not in DISTINCT
            if not repeated:
                if d.kind == "b":
                    continue
                values = np.arange(99).astype(d)
            inputs = [rng.choice(values, x.shape, replace=repeated) if x.dtype.kind == "f" else x for x in c.inputs]
            ulp = ULP.get(name, 16 if name in SUMS else 0)
        yield Trial(label, c.call, tuple(inputs), ulp, c.traceable, name not in EXTREMES)


OPERATORS: dict[str, Any] = {
    name: getattr(operator, name)
    for name in "add sub mul truediv floordiv mod pow and_ or_ xor lshift rshift eq ne lt le gt ge".split()
} | {"divmod": divmod}


def of_operators() -> Iterator[Trial]:
    for name, call in OPERATORS.items():
        for args in binary_args():
            yield Trial(f"operator_{name}", call, args, 8 if name == "pow" else 0)
    for name in ("neg", "pos", "abs", "invert"):
        for d in DTYPES:
            yield Trial(f"operator_{name}", getattr(operator, name), (special(d),))


REDUCTIONS = (
    "sum prod mean max min amax amin any all argmax argmin cumsum cumprod std var median ptp count_nonzero nansum "
    "nanmax nanmin sort average".split()
)
ARGUMENTS: list[dict[str, Any]] = [
    {}, {"axis": 0}, {"axis": -1}, {"axis": 1, "keepdims": True}, {"axis": None, "keepdims": True}, {"axis": (0, 1)},
    {"axis": ()},
    {"axis": 2}, {"axis": (0, 0)}, {"axis": -3}, {"axis": 1.5},
    {"dtype": np.float32}, {"dtype": np.float64}, {"dtype": np.int8}, {"dtype": np.uint64}, {"dtype": bool},
    {"dtype": int, "axis": 0},
    {"ddof": 1}, {"ddof": 2, "axis": 1}, {"correction": 1}, {"where": np.array([True, False, True, True])},
    {"initial": 2},
    {"initial": 1, "where": np.array([[True], [False], [False]]), "axis": 1}, {"where": True},
]  # fmt: skip


def of_reductions(rng: np.random.Generator) -> Iterator[Trial]:
    for name, kwargs, d in itertools.product(REDUCTIONS, ARGUMENTS, DTYPES):
        exact = name not in SUMS
        values = special(d, summable=not exact)
        if name in MEANS and d.kind in "iu":
            values = values[(values >= 0) & (values < 100)]
        if kwargs.get("dtype") in (np.float32, np.float64):
            values = values[np.isfinite(values) & (np.abs(values.astype(float)) < 100)]
        for shape in [(3, 4), (0, 4)] if len(kwargs) < 2 and name not in ("average", "median") else [(3, 4)]:
            x = rng.choice(values, shape)
            function = getattr(np, name)
            call = lambda a, function=function, kwargs=kwargs: function(a, **kwargs)  # noqa: E731
            yield Trial(f"reduction_{name}-{kwargs}", call, (x,), 0 if exact else 16, signed=name not in EXTREMES)
    for name, d in itertools.product(REDUCTIONS, DTYPES):
        if name in dir(np.ndarray):
            for kwargs in ARGUMENTS[:6]:
                call = lambda a, name=name, kwargs=kwargs: getattr(a, name)(**kwargs)  # noqa: E731
                values = special(d, summable=True)
                if name in MEANS and d.kind in "iu":
                    values = values[(values >= 0) & (values < 100)]
                x = rng.choice(values, (3, 4))
                if name != "sort":
                    yield Trial(f"method_{name}-{kwargs}", call, (x,), 16, signed=name not in EXTREMES)


def of_choices(rng: np.random.Generator) -> Iterator[Trial]:
    """Functions whose result is one of several operands: all pairs of dtypes, and Python numbers."""
    bounds = (None, 0, 1, -1, 300, 2.5, np.nan, np.inf, -0.0, True)
    for d in DTYPES:
        x = special(d)
        for low, high in itertools.product(bounds, repeat=2):
            yield Trial("clip", lambda a, low=low, high=high: np.clip(a, low, high), (x,), signed=False)
        for scalar in WEAK:
            mask = np.arange(x.size) % 2 == 0
            yield Trial("where", lambda a, mask=mask, scalar=scalar: np.where(mask, a, scalar), (x,))
            yield Trial("where", lambda a, mask=mask, scalar=scalar: np.where(mask, scalar, a), (x,))
            yield Trial("where", lambda a, scalar=scalar: np.where(a, scalar, -1), (x,))
            yield Trial("select", lambda a, mask=mask, scalar=scalar: np.select([mask, ~mask], [a, a], scalar), (x,))
            yield Trial("append", lambda a, scalar=scalar: np.append(a, scalar), (x,))
            yield Trial("full_like", lambda a, scalar=scalar: np.full_like(a, scalar), (x,))
            yield Trial("pad", lambda a, scalar=scalar: np.pad(a, 1, constant_values=scalar), (x,))
            yield Trial("insert", lambda a, scalar=scalar: np.insert(a, 1, scalar), (x,))
            yield Trial("isclose", lambda a, scalar=scalar: np.isclose(a, scalar), (x,))
        for e in DTYPES:
            y = rng.choice(special(e), x.size)
            for name in (
                "isclose",
                "append",
                "maximum",
                "allclose",
                "array_equal",
                "searchsorted",
                "heaviside",
                "clip",
                "full_like",
            ):
                function = getattr(np, name)
                args = (np.sort(x), y) if name == "searchsorted" else (x, y, y) if name == "clip" else (x, y)
                traceable = name not in ("allclose", "array_equal")
                yield Trial(name, function, args, traceable=traceable, signed=name not in EXTREMES)
            yield Trial("isclose", lambda a, b: np.isclose(a, b, equal_nan=True, rtol=0.1), (x, y))
            for join in (np.concatenate, np.stack, np.hstack, np.vstack, np.column_stack):
                yield Trial(join.__name__, lambda a, b, join=join: join([a, b]), (x, y))
            yield Trial("concatenate", lambda a, b: np.concatenate([a, b], dtype=np.float32, casting="unsafe"), (x, y))
            yield Trial("where", lambda c, a, b: np.where(c, a, b), (y, x, y))
            yield Trial("result_type", lambda a, b: np.ones(2, np.result_type(a, b, 3)), (x, y))
            fits = (
                x if d.kind != "f" or e.kind in "fb" else np.array([0.0, 1.5, 100.0], d)
            )  # others are undefined in NumPy
            yield Trial("astype", lambda a, e=e: a.astype(e), (fits,))
            yield Trial("zeros_like", lambda a, e=e: a * np.zeros_like(a, dtype=e), (x,))


def every_trial() -> Iterator[Trial]:
    for key in FUNCTIONS:
        if isinstance(key, np.ufunc):
            yield from of_ufunc(key)
    rng = np.random.default_rng(0)
    for i, c in enumerate(CASES):
        yield from of_case(c, f"case_{named(c)}-{i}", rng)
    yield from of_operators()
    yield from of_reductions(rng)
    yield from of_choices(rng)


def differences(trials: list[Trial]) -> list[str]:
    found = []
    for trial in trials:
        expected = outcome(trial.call, trial.args)
        for way in ENGINES:
            wrong = difference(trial, way, expected)
            if wrong is not None:
                found.append(f"{trial}, {way}: {wrong}")
    return found


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return list(every_trial())


def test_a_sample_agrees_with_numpy(trials: list[Trial]) -> None:
    """One trial of every fifth function, and some of all."""
    names = {trial.name.partition("-")[0]: trial for trial in trials}
    sample = np.random.default_rng(7).permutation(len(trials))[:30]
    assert differences([*[*names.values()][::5], *(trials[i] for i in sample)]) == []


#: Differences that are there, by how the name of the call begins: dtypes that tensors do not have, ways of computing.
KNOWN = {
    "case_add.reduceat": "the sign of zero of a sum",
    "case_angle": "float16 and float32 of small integers",
    "case_logaddexp.": "float16 and float32 of small integers",
    "case_piecewise": "float16 of small integers; sin of the native engine in its last digit",
    "case_poly": "integers are computed with as float64",
    "case_nancumprod": "products of numbers below the smallest normal one",
    "case_nanpercentile": "float32 is interpolated in float32",
    "case_nanquantile": "float32 is interpolated in float32; what the quantiles are is not known while traced",
    "case_quantile": "what the quantiles are is not known while traced",
    "case_percentile": "what the quantiles are is not known while traced",
    "case_norm": "singular values of infinite matrices raise an error",
    "case_vecmat": "the order of summation",
    "case_nansum": "the order of summation",
    "clip(": "bounds that are exchanged, one of them infinite",
    "conjugate(bool": "NumPy has int8",
    "case_conjugate": "NumPy has int8 for truth values",
    "case_geomspace": "the last digits of float32 ends",
    "pad(": "infinite fill values of integers",
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64", "bool", "int8", "uint64", "other"])
def test_every_third_agrees_with_numpy(trials: list[Trial], dtype: str) -> None:
    """By the dtype of the first array; every third, or some of them, for the time that they take."""

    def kind(trial: Trial) -> str:
        first = next((str(x.dtype) for x in trial.args if isinstance(x, np.ndarray | np.generic)), "other")
        return first if first in ("float32", "float64", "bool", "int8", "uint64") else "other"

    third = [trial for trial in trials if kind(trial) == dtype][1::3]
    order = np.random.default_rng(0).permutation(len(third))[: some(len(third))]
    found = differences([third[i] for i in order])
    assert [difference for difference in found if not difference.startswith(tuple(KNOWN))] == []


def test_a_difference_is_found() -> None:
    x, wrong = np.array([1.0, -0.0, np.nan]), np.array([1.0, 0.0, np.nan])
    trial = Trial("add", lambda a: a + wrong if isinstance(a, np.ndarray) else a + 0.0 * wrong, (x,))
    assert "NumPy np.float64(2.0)" in str(difference(trial, "eager", outcome(trial.call, trial.args)))
    assert equal(x, wrong).tolist() == [True, False, True]
    assert equal(np.float32([1]), np.float32([1 + 2**-23]), ulp=1).all()
    refused = Trial("negative", lambda a: -a, (np.array([True]),))
    assert "NumPy raises" in str(difference(Trial("identity", lambda a: a, (np.array([True]),)), "eager", ValueError()))
    assert difference(refused, "native", outcome(refused.call, refused.args)) is None


def test_numbers_that_do_not_fit() -> None:
    x = np.array([1, 200], np.uint8)
    add, less = cr.compile(lambda x, n: x + n), cr.compile(lambda x, n: x < n)
    assert add(x, 3).tolist() == [4, 203]
    with pytest.raises(OverflowError, match="300 out of bounds for uint8"):
        add(x, 300)
    assert less(x, 300).tolist() == [True, True]
    assert less(x, -1).tolist() == [False, False]
    with pytest.raises(TypeError, match="computed from Python numbers"):
        cr.compile(lambda x, n: x + (n + 1))(x, 3)


@pytest.mark.parametrize("function", [np.remainder, np.fmod])
def test_gradients_near_multiples(function: Any) -> None:
    """The slope in the divisor is the whole quotient, also where the rounded quotient is another number."""
    for a, b in ((1.0, 0.1), (3.0, 1.5), (-1.0, 0.1), (5.5, -0.5), (1e17, 3.0), (0.3, 0.1), (-7.0, 3.0), (2.0, np.inf)):
        rest = function(a, b)
        quotient = fractions.Fraction(a) - fractions.Fraction(float(rest))
        expected = 0.0 if np.isinf(b) else -float(quotient / fractions.Fraction(b))
        da, db = cr.grad(lambda a, b: function(a, b) * 1.0, argnums=(0, 1))(a, b)
        assert (da, db) == (1.0, expected), (a, b)
