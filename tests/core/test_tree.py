"""Containers of arrays as arguments and results: every kind keeps its type, its keys and their order."""

from __future__ import annotations

import dataclasses
import enum
import types
from collections import OrderedDict, UserDict, defaultdict
from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.tree import flatten, leaves_as, map_named, paths, shown, tree_map, unflatten


class Kind(enum.Enum):
    FIRST = 1


class Point(NamedTuple):
    w: Any
    b: Any


@dataclasses.dataclass
class Plain:
    w: Any
    b: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    w: Any
    b: Any
    steps: int = 2
    name: str = "linear"
    kind: Kind = Kind.FIRST
    table: Any = dataclasses.field(default=(1.0, 2.0), metadata={"static": True})


@dataclasses.dataclass(slots=True, kw_only=True)
class Slotted:
    w: Any
    b: Any
    size: Any = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.size = None


class Params(dict[str, Any]):
    pass


class Keywords(dict[str, Any]):
    def __init__(self, **content: Any) -> None:
        super().__init__(content)


MAKERS = {
    "dict": lambda w, b: {"w": w, "b": b},
    "OrderedDict": lambda w, b: OrderedDict(w=w, b=b),
    "defaultdict": lambda w, b: defaultdict(list, {"w": w, "b": b}),
    "subclass": lambda w, b: Params(w=w, b=b),
    "keywords": lambda w, b: Keywords(w=w, b=b),
    "mapping": lambda w, b: types.MappingProxyType({"w": w, "b": b}),
    "UserDict": lambda w, b: UserDict({"w": w, "b": b}),
    "list": lambda w, b: [w, b],
    "tuple": lambda w, b: (w, b),
    "named tuple": Point,
    "dataclass": Plain,
    "frozen": Frozen,
    "slots": lambda w, b: Slotted(w=w, b=b),
    "nested": lambda w, b: {"z": Frozen(w=[w], b=None), "a": Point(w=None, b={"q": b})},
}


def parts(nest: Any) -> tuple[Any, Any]:
    """Unpack a container in the order of its own iteration, as NumPy code does."""
    if hasattr(nest, "values"):
        nest = tuple(nest.values())
    if hasattr(nest, "w"):
        nest = (nest.w, nest.b)
    w, b = nest
    if isinstance(w, Frozen):
        w, b = w.w[0], b.b["q"]
    return w, b


def f(nest: Any) -> Any:
    w, b = parts(nest)
    return np.sum(2.0 * w) + np.sum(b**2) * w[0]


W, B = np.array([3.0, 4.0]), np.array([1.0, 5.0])


@pytest.mark.parametrize("kind", MAKERS)
def test_each_kind_of_container_is_kept_by_every_transformation(kind: str) -> None:
    make: Any = MAKERS[kind]
    nest = make(W, B)
    value, gradient = cr.value_and_grad(f)(nest)
    assert value == f(nest) == 14 + 26 * 3
    for found in (gradient, cr.compile(cr.grad(f))(nest), cr.vjp(f, nest)[1](np.array(1.0))[0]):
        assert type(found) is type(nest)
        assert flatten(found)[1] == flatten(nest)[1]
        w, b = parts(found)
        np.testing.assert_array_equal(w, [28.0, 2.0])
        np.testing.assert_array_equal(b, 6 * B)
    _, moved = cr.jvp(f, (nest,), (make(np.ones(2), np.ones(2)),))
    assert moved == 28 + 2 + 36
    doubled = cr.compile(lambda x: make(x, 2 * x))(W)
    assert type(doubled) is type(nest)
    np.testing.assert_array_equal(parts(doubled)[1], 2 * W)
    assert cr.gradcheck(f, nest)
    jacobian = cr.jacobian(lambda n: parts(n)[0] * parts(n)[1])(nest)
    np.testing.assert_array_equal(parts(jacobian)[0], np.diag(B))


def test_the_same_keys_in_another_order_are_another_signature() -> None:
    gradient = cr.compile(cr.grad(f))
    gradient({"w": W, "b": B})
    other = gradient({"b": B, "w": W})  # the first is b here
    assert list(other) == ["b", "w"]
    np.testing.assert_array_equal(other["w"], 2 * W * 1)
    assert len(gradient.plans) == 2


def test_dicts_are_matched_by_key_where_two_are_combined() -> None:
    params = {"w": W, "b": B}
    optimizer = cr.optim.Adam(0.1)
    grads = {"w": np.ones(2), "b": -np.ones(2)}
    state = optimizer.init(params)
    expected, _ = optimizer.update(grads, state, params)
    sorted_state = {k: dict(sorted(v.items())) if isinstance(v, dict) else v for k, v in sorted(state.items())}
    for g, s in ((dict(sorted(grads.items())), state), (grads, sorted_state)):
        found, _ = optimizer.update(g, s, params)
        assert list(found) == ["w", "b"]
        np.testing.assert_array_equal(found["w"], expected["w"])
        np.testing.assert_array_equal(found["b"], expected["b"])
    y, pullback = cr.vjp(lambda x: {"z": x, "a": 2 * x}, np.array(3.0))
    assert list(y) == ["z", "a"]
    assert pullback({"a": np.array(1.0), "z": np.array(10.0)})[0] == 12
    _, moved = cr.jvp(lambda p: p["w"] - p["b"], ({"w": 1.0, "b": 2.0},), ({"b": 5.0, "w": 7.0},))
    assert moved == 2
    assert tree_map(lambda a, b: a - b, {"x": 5, "a": 3}, {"a": 1, "x": 2}) == {"x": 3, "a": 2}


def test_static_fields_are_part_of_the_structure() -> None:
    def g(p: Frozen) -> Any:
        assert isinstance(p.steps, int)
        assert p.name == "linear"
        return np.sum(p.w) * p.steps + np.sum(p.b * p.table[1])

    compiled = cr.compile(cr.grad(g))
    np.testing.assert_array_equal(compiled(Frozen(W, B)).w, [2.0, 2.0])
    np.testing.assert_array_equal(compiled(Frozen(W, B, steps=5)).w, [5.0, 5.0])
    assert len(compiled.plans) == 2
    found = cr.grad(g)(Frozen(W, B, steps=3))
    assert (found.steps, found.name, found.kind, found.table) == (3, "linear", Kind.FIRST, (1.0, 2.0))


def test_paths_name_the_leaves() -> None:
    nest = {"z": Frozen(1.0, [2.0]), "a": Point(3.0, None)}
    assert paths(nest, "p") == ["p['z'].w", "p['z'].b[0]", "p['a'][0]"]
    assert map_named(lambda name, x: (name, x), {"a": 1}, "p") == {"a": ("p['a']", 1)}
    with pytest.raises(TypeError, match=r"argument 0\['z'\]\.w is complex"):
        cr.grad(lambda p: p["z"].w)({"z": Plain(1j, 1.0)})


def test_a_nest_of_another_structure_is_refused() -> None:
    _, structure = flatten({"w": 1.0, "b": [2.0]})
    assert leaves_as(structure, {"b": [20.0], "w": 10.0}, "x") == [10.0, 20.0]
    for other in (
        {"w": 1.0},
        {"w": 1.0, "b": (2.0,)},
        {"w": 1.0, "c": [2.0]},
        {"w": 1.0, "b": [2.0, 3.0]},
        [1.0],
        None,
    ):
        with pytest.raises(ValueError, match=r"x: expected the structure \{'w': \*, 'b': \[\*\]\}, got"):
            leaves_as(structure, other, "x")
    assert shown(flatten((Plain(1, None), (2,)))[1]) == "(Plain(w=*, b=None), (*,))"


class Attributes:
    def __init__(self) -> None:
        self.w = W


class Counts(dict[str, Any]):
    def __init__(self, size: int, other: int) -> None:
        super().__init__(w=np.zeros(size))


@pytest.mark.parametrize("value", [Attributes(), {1.0, 2.0}, {"w": W}.values()])
def test_objects_are_refused_by_name(value: Any) -> None:
    for call in (cr.grad(lambda x: x), cr.compile(lambda x: x)):
        with pytest.raises(TypeError, match=f"argument.*{type(value).__name__}.*a dict, list, tuple, named tuple or"):
            call(value)


def test_a_mapping_that_cannot_be_rebuilt_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="type Counts cannot be rebuilt"):
        cr.grad(lambda x: np.sum(x["w"]))(Counts(1, 2))
    leaves, structure = flatten(Counts(1, 2))
    with pytest.raises(TypeError, match="Counts"):
        unflatten(structure, leaves)
