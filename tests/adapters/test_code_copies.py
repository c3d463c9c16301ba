"""Copies of the user's code: they behave as the originals do, and nothing of the user's changes, for any thread."""

from __future__ import annotations

import abc
import functools
import random
import sys
import threading
import types
from collections import defaultdict, namedtuple

import numpy as np
import pytest

import chainrule as cr
from chainrule.adapters.code_copies import CodeCopies
from chainrule.adapters.recording import Traced

SOURCE = """
import random
import numpy as np
from numpy import zeros, random as draws
from numpy.random import rand

count = 0
seen = []
rng = np.random.default_rng(3)

def relu(Z):
    global count
    count += 1
    seen.append(count)
    A = zeros(Z.shape)
    for i in range(len(Z)):
        A[i] = np.maximum(Z[i], 0)
    return A

def forward(X, p):
    Z1 = X @ p["W1"]
    A1 = FUNCTIONS["relu"](Z1)
    D1 = (rand(*A1.shape) < 0.8) * (rng.random(A1.shape) < 0.9) * (draws.random(A1.shape) < 2) * (random.random() < 2)
    H = A1 * D1
    return {"X": X, "Z1": Z1, "A1": A1, "D1": D1, "H": H, "Z2": H @ p["W2"]}

def backward(c, Y, p):
    dZ2 = (c["Z2"] - Y) / len(Y)
    dZ1 = dZ2 @ p["W2"].T * c["D1"] * (c["A1"] > 0)
    return {"dZ2": dZ2, "dW2": c["H"].T @ dZ2, "dZ1": dZ1, "dW1": c["X"].T @ dZ1}

def loss(A, Y):
    return np.sum((A - Y) ** 2) / (2 * len(Y))

FUNCTIONS = {"relu": relu}
"""


@pytest.fixture
def module():
    made = types.ModuleType("module_of_the_copies_test")
    exec(compile(SOURCE, "module_of_the_copies_test.py", "exec"), made.__dict__)
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def audited(module):
    r = np.random.default_rng(0)
    p = {"W1": r.normal(size=(4, 5)), "W2": r.normal(size=(5, 2))}
    X, Y = r.normal(size=(6, 4)), r.normal(size=(6, 2))
    return cr.audit(module.backward, forward=module.forward, loss=module.loss, parameters=p, X=X, Y=Y)


def test_nothing_of_the_users_changes(module):
    before = dict(vars(module)), module.rng.bit_generator.state, np.random.get_state()[1].copy(), random.getstate()
    assert audited(module).ok
    names, state, numpy_state, python_state = before
    assert vars(module).keys() == names.keys() and all(vars(module)[k] is v for k, v in names.items())
    assert module.count == 0 and module.seen == [] and module.rng.bit_generator.state == state
    assert np.array_equal(np.random.get_state()[1], numpy_state) and random.getstate() == python_state


def test_other_threads_see_the_module_as_it_is_while_an_audit_runs(module):
    """Two audits at once give what they give one after the other, beside a thread that uses the module."""
    expected, wrong, reports, finished = str(audited(module)), [], [], threading.Event()

    def watch():
        while not finished.is_set():
            same = module.np is np and module.zeros is np.zeros and module.rand == np.random.rand
            if not same or type(module.zeros(2)) is not np.ndarray or type(module.np.array([1.0])) is not np.ndarray:
                wrong.append("the module was changed")

    threads = [threading.Thread(target=lambda: reports.append(str(audited(module)))) for _ in range(2)]
    watcher = threading.Thread(target=watch)
    watcher.start()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    finished.set()
    watcher.join()
    assert not wrong and reports == [expected] * 2


# -- what a copy is like -----------------------------------------------------------------------------------------------

VALUE = 1
Pair = namedtuple("Pair", "first second")


class Base(abc.ABC):
    def __init__(self):
        self.made = np.zeros(2)

    @abc.abstractmethod
    def kind(self): ...


class Derived(Base):
    instances = 0
    registry = []  # noqa: RUF012

    def __init__(self):
        super().__init__()
        Derived.instances += 1
        self.me = self

    def kind(self):
        return type(self) is Derived, isinstance(self, Derived), isinstance(ORIGINAL, Derived), isinstance(self, Base)

    def explicit(self):
        return super(Derived, self).__init__()  # noqa: UP008

    def new(self):
        return Derived().made

    @staticmethod
    def static():
        return np.zeros(1)

    @classmethod
    def of_class(cls):
        return cls is Derived, np.zeros(1)

    @property
    def computed(self):
        return np.ones(1)

    @functools.cached_property
    def kept(self):
        return np.ones(1)


class Slotted:
    __slots__ = ("value",)

    def __init__(self):
        self.value = [1]

    def append(self):
        self.value.append(np.zeros(1))
        return self.value


ORIGINAL = Derived()


def copies(*code, recording=True):
    return CodeCopies(code, np.random.get_state(), recording)


def test_a_copied_object_is_of_its_class_and_its_methods_record():
    made = copies(ORIGINAL)
    twin = made.of(ORIGINAL)
    assert twin is not ORIGINAL and twin.me is twin and made.of(ORIGINAL) is twin
    assert all(twin.kind())
    instances = Derived.instances
    for new in (twin.new(), twin.static(), twin.of_class()[1], twin.computed, twin.kept):
        assert isinstance(new, Traced)
    assert twin.of_class()[0] and twin.explicit() is None
    assert Derived.instances == instances and type(twin).instances > instances
    assert "kept" not in vars(ORIGINAL) and type(ORIGINAL.new()) is np.ndarray


def test_slots_are_copied():
    slotted = Slotted()
    twin = copies(slotted).of(slotted)
    assert len(twin.append()) == 2 and slotted.value == [1]


def test_containers_closures_and_defaults_are_copied():
    array, log = np.zeros(3), defaultdict(list)

    def write(to=array, *, also=log):
        also["a"].append(1)
        to += 1
        array[0] = 7
        return to

    def outer():
        return write()

    pair = Pair(write, [outer, functools.partial(write, array)])
    made = copies(write)
    twin = made.of(pair)
    assert isinstance(twin, Pair) and made.of(write) is twin.first
    assert list(twin.second[0]()) == [7, 1, 1] and list(twin.second[1]()) == [7, 2, 2]
    assert not array.any() and not log


def test_what_is_installed_is_shared():
    for x in (np.linalg.norm, np.tanh, functools.reduce, sys, threading.Lock(), ValueError, cr.nn.Linear, Pair(1, 2)):
        assert copies().of(x) is x


def test_imports_within_a_function_find_the_stand_in():
    def function():
        import numpy
        from numpy import zeros
        from numpy.random import random as draw

        return numpy.zeros(1), zeros(1), draw(2)

    state = np.random.get_state()
    first, second, numbers = copies(function).of(function)()
    assert isinstance(first, Traced) and isinstance(second, Traced)
    assert np.array_equal(state[1], np.random.get_state()[1])
    assert np.array_equal(copies(function).of(function)()[2], numbers)


def test_draws_without_a_seed_are_the_same_in_each_set_of_copies():
    def function():
        return np.random.default_rng().random(), random.random(), np.random.rand()

    state = np.random.get_state()
    first, second = (CodeCopies([function], state, False).of(function)() for _ in range(2))
    assert first == second


def test_recursion_and_functions_in_modules_are_followed():
    helpers = types.ModuleType("helpers_of_the_copies_test")
    exec("import numpy as np\ndef empty(n):\n    return np.zeros(n) if n == 2 else empty(n - 1)\n", helpers.__dict__)

    def function():
        return helpers.empty(4)

    assert isinstance(copies(function).of(function)(), Traced)
    assert type(function()) is np.ndarray and vars(helpers)["np"] is np
