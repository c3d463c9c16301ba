"""Fit the polynomials of the native engine's vector functions; print src/native/coefficients.hpp.

Each row is a smooth function that needs little relative accuracy, because the leading terms of the result are added
exactly: exp(r) = 1 + r + r² P(r), and so on. The fit is the weighted least-squares solution at Chebyshev points, which
is close to the minimax polynomial; the degree is the lowest that meets the required error.
"""

from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import numpy as np

mp.mp.dps = 60


@dataclass
class Fit:
    name: str
    note: str
    function: Callable[[mp.mpf], mp.mpf]
    low: float
    high: float
    errors: tuple[float, float]  # required for float32, float64; of weight × difference
    weight: Callable[[mp.mpf], mp.mpf] = lambda x: mp.mpf(1)


def near_zero(function: Callable[[mp.mpf], mp.mpf], limit: float) -> Callable[[mp.mpf], mp.mpf]:
    """Return `function` with its removable singularity at 0 filled in."""
    return lambda x: mp.mpf(limit) if x == 0 else function(x)


def scaled_erfc(x: mp.mpf) -> mp.mpf:
    """Return exp(x²) erfc(x)."""
    return mp.exp(x * x) * mp.erfc(x)


HALF_LN2 = 0.3466  # ln 2 / 2, and a little for rounding
FITS = [
    Fit(
        "kExp",
        "exp(r) = 1 + r + r² P(r), |r| <= ln 2 / 2",
        near_zero(lambda r: (mp.expm1(r) - r) / r**2, 0.5),
        -HALF_LN2,
        HALF_LN2,
        (2**-27, 2**-57),
        lambda r: r**2 / mp.exp(r) + mp.mpf(2) ** -20,
    ),
    Fit(
        "kLog",
        "log(1 + f) = f - f²/2 + f³ P(f), 1 + f from sqrt(1/2) to sqrt(2)",
        near_zero(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, 1 / mp.mpf(3)),
        -0.29294,
        0.41422,
        (2**-26, 1.0),
        lambda f: abs(f**3 / mp.log1p(f)) + mp.mpf(2) ** -12 if f else mp.mpf(2) ** -12,
    ),
    Fit(
        "kLogOfSquare",
        "log(1 + f) = 2 s + s z P(z), s = f / (2 + f), z = s²",
        near_zero(lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z, 2 / mp.mpf(3)),
        0.0,
        0.02944,
        (2**-24, 2**-58),
        lambda z: z / 2 + mp.mpf(2) ** -20,
    ),
    Fit(
        "kErf",
        "erf(x) = x + x P(x²), |x| <= 1",
        near_zero(lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, 2 / mp.sqrt(mp.pi) - 1),
        0.0,
        1.0,
        (2**-26, 2**-56),
    ),
    Fit(
        "kErfTail",
        "erf(x) = 1 - exp(-x²) P(t), t = 1 / (1 + x / 2), 1 <= x <= 6",
        lambda t: scaled_erfc(2 * (1 / t - 1)),
        0.25,
        0.6667,
        (2**-26, 2**-56),
        lambda t: mp.erfc(2 * (1 / t - 1)) / scaled_erfc(2 * (1 / t - 1)),
    ),
    Fit(
        "kSin",
        "sin(r) = r + r³ P(r²), |r| <= pi / 4",
        near_zero(lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, -1 / mp.mpf(6)),
        0.0,
        0.625,
        (2**-26, 2**-57),
        lambda z: z + mp.mpf(2) ** -16,
    ),
    Fit(
        "kCos",
        "cos(r) = 1 - r²/2 + r⁴ P(r²), |r| <= pi / 4",
        near_zero(lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, 1 / mp.mpf(24)),
        0.0,
        0.625,
        (2**-26, 2**-57),
        lambda z: z**2 + mp.mpf(2) ** -16,
    ),
    Fit(
        "kAtan",
        "arctan(t) = t + t³ P(t²), |t| <= tan(pi / 8)",
        near_zero(lambda z: (mp.atan(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, -1 / mp.mpf(3)),
        0.0,
        0.1716,
        (2**-26, 2**-58),
        lambda z: z + mp.mpf(2) ** -16,
    ),
    Fit(
        "kAsin",
        "arcsin(t) = t + t³ P(t²), |t| <= 1/2",
        near_zero(lambda z: (mp.asin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 1 / mp.mpf(6)),
        0.0,
        0.25,
        (2**-26, 2**-58),
        lambda z: z + mp.mpf(2) ** -16,
    ),
    Fit(
        "kInverseCubeRoot",
        "(1 + f)^(-1/3) = P(f), a first guess, 1 + f from sqrt(1/2) to sqrt(2)",
        lambda f: 1 / mp.cbrt(1 + f),
        -0.29294,
        0.41422,
        (2**-10, 2**-16),
    ),
    Fit(
        "kShortLog",
        "log(1 + f) = 2 s + s z P(z), s = f / (2 + f), z = s²: for floats by way of doubles",
        near_zero(lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z, 2 / mp.mpf(3)),
        0.0,
        0.02944,
        (1.0, 2**-36),
        lambda z: z / 2 + mp.mpf(2) ** -20,
    ),
    Fit(
        "kShortExp",
        "exp(r) = 1 + r + r² P(r), |r| <= ln 2 / 2: for floats by way of doubles",
        near_zero(lambda r: (mp.expm1(r) - r) / r**2, 0.5),
        -HALF_LN2,
        HALF_LN2,
        (1.0, 2**-31),
        lambda r: r**2 / mp.exp(r) + mp.mpf(2) ** -20,
    ),
    Fit(
        "kLogRest",
        "log(1 + f) = 2 s + s z (2/3 + z P(z)), s = f / (2 + f), z = s²: for sums of two numbers",
        near_zero(lambda z: ((2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z - 2 / mp.mpf(3)) / z, 2 / mp.mpf(5)),
        0.0,
        0.02944,
        (1.0, 2**-65),
        lambda z: z**2 / 2 + mp.mpf(2) ** -26,
    ),
]

CONSTANTS = [("kHalfPi", "pi / 2 as a sum, largest first", mp.pi / 2, 3)]


def chebyshev_points(low: float, high: float, count: int) -> list[mp.mpf]:
    """Return `count` points, close together at the ends."""
    middle, half = (mp.mpf(low) + high) / 2, (mp.mpf(high) - low) / 2
    return [middle + half * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]


def fitted(f: Fit, degree: int) -> list[mp.mpf]:
    """Return coefficients, the constant first."""
    points = chebyshev_points(f.low, f.high, 4 * degree + 12)
    rows = [[f.weight(x) * x**i for i in range(degree + 1)] for x in points]
    wanted = [f.weight(x) * f.function(x) for x in points]
    return list(mp.lu_solve(mp.matrix(rows), mp.matrix(wanted)))


def error(f: Fit, coefficients: list[mp.mpf]) -> float:
    """Return the largest weighted difference."""
    points = chebyshev_points(f.low, f.high, 400)
    return float(max(abs(f.weight(x) * (mp.polyval(coefficients[::-1], x) - f.function(x))) for x in points))


def row(f: Fit, dtype: type[np.floating], wanted: float) -> str:
    """Return the declaration of one array."""
    for degree in range(1, 30):
        rounded = [dtype(str(c)) for c in fitted(f, degree)]
        found = error(f, [mp.mpf(float(c)) for c in rounded])
        if found <= wanted:
            break
    else:
        raise ValueError(f"{f.name}: no degree reaches {wanted}; the best is {found}")
    return declaration(f.name, dtype, rounded, f" // error {found:.1e}")


def declaration(name: str, dtype: type[np.floating], numbers: list[np.floating], note: str) -> str:
    """Return C++ for an array of numbers."""
    suffix, kind = ("f", "float") if dtype is np.float32 else ("", "double")
    digits = [f"{c!s}{suffix}" for c in numbers]
    lines = [f"inline constexpr {kind} {name}{'F' if suffix else 'D'}[] = {{{note}"]
    lines += [f"    {d}," for d in digits]
    return "\n".join([*lines, "};"])


def parts(name: str, value: mp.mpf, count: int, dtype: type[np.floating]) -> str:
    """Return the declaration of an array whose sum is `value`, each number what the ones before it left."""
    numbers = []
    for _ in range(count):
        numbers.append(dtype(str(value)))
        value -= mp.mpf(float(numbers[-1]))
    return declaration(name, dtype, numbers, "")


def main() -> None:
    print("// Made by tools/fit_native.py; lowest power first. Errors are relative to the result.")
    print("#pragma once\n\nnamespace chainrule {\n")
    for f in FITS:
        print(f"// {f.note}")
        for dtype, wanted in zip((np.float32, np.float64), f.errors, strict=True):
            if wanted < 1:
                print(row(f, dtype, wanted))
        print()
    for name, note, value, count in CONSTANTS:
        print(f"// {note}")
        for dtype in (np.float32, np.float64):
            print(parts(name, value, count, dtype))
        print()
    print("} // namespace chainrule")


if __name__ == "__main__":
    main()
