"""What derivations say of one element of a convolution, evaluated element by element."""

import itertools
import re

import numpy as np
import pytest

from chainrule import ops
from chainrule.core.op import row

SETTINGS = {
    "plain": {"stride": (1, 1), "dilation": (1, 1), "padding": ((0, 0), (0, 0)), "groups": 1},
    "strided": {"stride": (2, 1), "dilation": (1, 2), "padding": ((1, 0), (2, 2)), "groups": 1},
}


def element(array, index, values):
    """Return array[index], the index given as text in letters; zero outside, as padding is."""
    numbers = []
    for part in index.split(","):
        terms = re.findall(r"([+−]?) ?(\d*)([a-z]?)", part.strip())
        numbers.append(sum(
            (-1 if sign == "−" else 1) * int(times or 1) * (values[letter] if letter else 1)
            for sign, times, letter in terms if times or letter
        ))  # fmt: skip
    inside = all(0 <= n < d for n, d in zip(numbers, array.shape, strict=True))
    return array[tuple(numbers)] if inside else 0.0


def computed(name, arrays, shape, ranges, settings, **more):
    index, formula, _ = row(name).entry(**settings, **more)
    factors = re.findall(r"\{(\d)\}\[([^]]*)\]", formula)
    out, free = np.zeros(shape), [x.strip() for x in index.split(",")]
    for numbers in itertools.product(*map(range, ranges.values())):
        values = dict(zip(ranges, numbers, strict=True))
        term = np.prod([element(arrays[int(k)], at, values) for k, at in factors])
        out[tuple(values[letter] for letter in free)] += term
    return out


@pytest.mark.parametrize("settings", SETTINGS)
def test_output_and_weight_gradient_of_a_convolution(settings):
    rng = np.random.default_rng(0)
    x, w, given = rng.normal(size=(2, 2, 4, 5)), rng.normal(size=(2, 2, 3, 3)), SETTINGS[settings]
    y = row("conv").evaluate(x, w, **given)
    ranges = {"i": 2, "k": 3, "p": y.shape[2], "q": y.shape[3], "c": 2, "u": 2, "v": 3}
    np.testing.assert_allclose(computed("conv", (x, w), y.shape, ranges, given), y)
    g = rng.normal(size=y.shape)
    dw = row("conv_weight").evaluate(x, g, size=(2, 3), **given)
    np.testing.assert_allclose(computed("conv_weight", (x, g), dw.shape, ranges, given, size=(2, 3)), dw)


def test_gradient_of_the_input_runs_over_what_its_condition_says():
    given = SETTINGS["strided"]
    index, formula, over = row("conv_input").entry(**given, space=(4, 5))
    assert (index, formula) == ("i, c, r, s", "Σ {0}[i, k, p, q] {1}[c, u, v, k]")
    assert over == "k and all p, q, u, v with 2p + u − 1 = r, q + 2v − 2 = s"
    rng = np.random.default_rng(0)
    g, w = rng.normal(size=(1, 3, 2, 5)), rng.normal(size=(2, 2, 3, 3))
    dx = row("conv_input").evaluate(g, w, space=(4, 5), **given)
    out = np.zeros_like(dx)
    for k, c, p, q, u, v in itertools.product(range(3), range(2), range(2), range(5), range(2), range(3)):
        r, s = 2 * p + u - 1, q + 2 * v - 2
        if 0 <= r < 4 and 0 <= s < 5:
            out[0, c, r, s] += g[0, k, p, q] * w[c, u, v, k]
    np.testing.assert_allclose(dx, out)
    assert row("conv_input").entry(**given | {"groups": 2}, space=(4, 5)) is None


def test_largest_elements():
    x = np.random.default_rng(0).normal(size=(1, 5, 5))
    given = {"stride": (2, 2), "dilation": (1, 1), "padding": ((0, 0), (0, 0))}
    index, formula, over = row("max_pool").entry(size=(2, 3), **given)
    assert (index, formula, over) == ("…, p, q", "max {0}[…, 2p + u, 2q + v]", "u, v")
    pooled = ops.max_pool(x[None], (2, 3), stride=2)[0]
    assert all(pooled[0, p, q] == x[0, 2 * p : 2 * p + 2, 2 * q : 2 * q + 3].max() for p in (0, 1) for q in (0, 1))
