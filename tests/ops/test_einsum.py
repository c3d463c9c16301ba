"""np.einsum: every kind of subscripts gives NumPy's value, and the derivative of it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.core.tensor import Tensor
from tests.ops.checking import close, derivative
from tests.tables import for_each

CASES: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("ji", [(2, 3)]),  # implicit output, alphabetical: a transpose
    ("ij->ji", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("ij->j", [(2, 3)]),
    ("ii", [(3, 3)]),
    ("ii->i", [(3, 3)]),
    ("iji->j", [(3, 2, 3)]),
    ("iii->i", [(3, 3, 3)]),
    ("iijj->ij", [(2, 2, 3, 3)]),
    ("i,i", [(3,), (3,)]),
    ("i,j", [(3,), (2,)]),
    ("i,j->ji", [(3,), (2,)]),
    ("ij,ij->i", [(2, 3), (2, 3)]),
    ("ij,ij", [(2, 3), (2, 3)]),
    ("ij,kj->ik", [(2, 3), (4, 3)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 2)]),
    ("bij,jk->kbi", [(2, 3, 4), (4, 2)]),
    ("bhid,bhjd->bhij", [(2, 2, 3, 4), (2, 2, 2, 4)]),
    ("...ij,...jk->...ik", [(2, 2, 3), (2, 3, 2)]),
    ("...ij,jk->...ik", [(5, 2, 2, 3), (3, 2)]),
    ("...i,...i", [(2, 3), (2, 3)]),
    ("...i,...i->...", [(4, 1, 3), (2, 3)]),
    ("i...,i...->...", [(3, 2), (3, 1)]),
    ("...,...", [(2, 3), (3,)]),
    ("...", [(2, 3)]),
    ("...->...", [(2, 3)]),
    ("i...->...i", [(2, 3, 4)]),
    ("i,i", [(1,), (3,)]),  # length 1 broadcasts
    ("ij,ij->ij", [(1, 3), (2, 1)]),
    ("ij,jk->ik", [(2, 1), (3, 4)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 2)]),
    ("i,ij,j", [(2,), (2, 3), (3,)]),
    ("a,b,c->abc", [(2,), (3,), (2,)]),
    ("ij,jk,kl,lm->im", [(2, 3), (3, 2), (2, 4), (4, 2)]),
    ("ab,bc,cd,de,ea", [(2, 3), (3, 2), (2, 3), (3, 2), (2, 2)]),
    ("ijk,ilm,njm,nlk,abc->", [(2, 2, 2)] * 5),
    ("ii,ij->j", [(3, 3), (3, 2)]),
    (",ij->ij", [(), (2, 3)]),
    (",", [(), ()]),
    ("->", [()]),
    ("ij,jk->ik", [(2, 0), (0, 3)]),
    ("ij,jk->ik", [(0, 2), (2, 3)]),
    (" i j , j k -> i k ", [(2, 3), (3, 4)]),
    ("Ab,bA->A", [(2, 3), (3, 2)]),
    ("Zb,bA", [(2, 3), (3, 2)]),
]


def operands(shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=s) for s in shapes]


@for_each(("subscripts", "shapes"), CASES)
def test_value_and_gradient(subscripts: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = operands(shapes)
    expected = np.einsum(subscripts, *arrays)
    close(np.einsum(subscripts, *[Tensor(a) for a in arrays]).value, expected, 1e-13)
    weights = np.random.default_rng(1).normal(size=expected.shape)
    every = tuple(range(len(arrays)))
    found = cr.grad(lambda *xs: np.sum(weights * np.einsum(subscripts, *xs)), argnums=every)(*arrays)
    for k, g in enumerate(found):

        def loss(x: Any, k: int = k) -> Any:
            return np.sum(weights * np.einsum(subscripts, *[x if i == k else a for i, a in enumerate(arrays)]))

        close(g.reshape(1, -1), derivative(loss, arrays[k]), what=f"{subscripts}, operand {k}")


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_subscripts(data: st.DataObject) -> None:
    lengths = {"i": 2, "j": 3, "k": 1, "l": 4}
    terms = data.draw(st.lists(st.text("ijkl", max_size=3), min_size=1, max_size=3))
    seen = sorted(set("".join(terms)))
    output = data.draw(st.none() | st.lists(st.sampled_from(seen), unique=True) if seen else st.none())
    subscripts = ",".join(terms) + ("" if output is None else "->" + "".join(output))
    arrays = operands([tuple(lengths[x] for x in term) for term in terms])
    expected = np.einsum(subscripts, *arrays)
    close(np.einsum(subscripts, *[Tensor(a) for a in arrays]).value, expected, 1e-12, subscripts)


def test_the_form_with_lists() -> None:
    a, b = operands([(2, 3), (3, 4)])
    ta, tb = Tensor(a), Tensor(b)
    close(np.einsum(ta, [0, 1], tb, [1, 2], [2, 0]).value, np.einsum(a, [0, 1], b, [1, 2], [2, 0]), 1e-13)
    close(np.einsum(ta, [0, 1], tb, [1, 2]).value, a @ b, 1e-13)
    close(np.einsum(ta, [Ellipsis, 1], [1, Ellipsis]).value, a.T, 1e-13)


def test_dtype_and_constants() -> None:
    a, b = operands([(2, 3), (3, 4)])
    assert np.einsum("ij,jk", Tensor(a.astype(np.float32)), Tensor(b.astype(np.float32))).dtype == np.float32
    assert np.einsum("ij,jk", Tensor(a.astype(np.float32)), b).dtype == np.float64
    assert np.einsum("ij->i", Tensor(a.astype(np.float32)), dtype=np.float64).dtype == np.float64
    counts = np.arange(6).reshape(2, 3)
    close(np.einsum("ij,ij->j", Tensor(counts), counts).value, np.einsum("ij,ij->j", counts, counts), 0)
    close(np.einsum("ij,jk", Tensor(a), b, optimize=True).value, a @ b, 1e-13)


def test_twice() -> None:
    a, b = operands([(2, 3), (3, 2)])

    def loss(a: Any) -> Any:
        return np.sum(np.einsum("ij,jk,kl->il", a, b, a) ** 2)

    gradient = cr.grad(loss)
    close(cr.hessian(loss)(a).reshape(6, 6), derivative(gradient, a), 1e-7)


@pytest.mark.parametrize(
    ("subscripts", "shapes", "message"),
    [
        ("ij,jk", [(2, 3)], "name 2 operands, 1 were given"),
        ("ijk", [(2, 3)], r"operand 0 has shape \(2, 3\), its subscripts 'ijk' name 3 axes"),
        ("ij,jk", [(2, 3), (4, 2)], "index 'j' of 'ij,jk' has length 4 in operand 1"),
        ("ii", [(2, 3)], "index 'i'"),
        ("ij->ik", [(2, 3)], "output index 'k' of 'ij->ik' is not in any operand"),
        ("ij->ii", [(2, 3)], "names an index twice"),
        ("i1", [(2, 3)], "'1' in the subscripts"),
        ("...ij->ij", [(2, 2, 3)], "the output has not"),
    ],
)
def test_errors(subscripts: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        np.einsum(subscripts, *[Tensor(a) for a in operands(shapes)])


def test_out_is_refused() -> None:
    with pytest.raises(TypeError, match="out"):
        np.einsum("i->i", Tensor(np.ones(3)), out=np.ones(3))
