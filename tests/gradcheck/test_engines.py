"""Hand-written engines: which mistake of the reverse pass gives their gradients."""

import numpy as np
import pytest

import chainrule as cr


class Scalar:
    """A node of a small engine: value, parents, and the derivative with respect to each."""

    def __init__(self, data, parents=(), slopes=()):
        self.data, self.parents, self.slopes, self.grad = data, parents, slopes, 0.0

    def __add__(self, other):
        return Scalar(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other):
        return Scalar(self.data * other.data, (self, other), (other.data, self.data))

    def tanh(self):
        t = np.tanh(self.data)
        return Scalar(t, (self,), (1 - t * t,))

    def order(self):
        found, seen = [], set()

        def visit(node):
            if id(node) not in seen:
                seen.add(id(node))
                for parent in node.parents:
                    visit(parent)
                found.append(node)

        visit(self)
        return found


def in_order(out, assign=False):
    out.grad = 1.0
    for node in reversed(out.order()):
        for parent, slope in zip(node.parents, node.slopes, strict=True):
            parent.grad = slope * node.grad + (0.0 if assign else parent.grad)


def recursive(node, g=1.0):
    node.grad += g
    for parent, slope in zip(node.parents, node.slopes, strict=True):
        recursive(parent, slope * node.grad)


def by_queue(out):
    out.grad, queue, seen = 1.0, [out], {id(out)}
    for node in queue:
        for parent, slope in zip(node.parents, node.slopes, strict=True):
            parent.grad += slope * node.grad
            if id(parent) not in seen:
                seen.add(id(parent))
                queue.append(parent)


def shared(a, b):
    c = a * b
    return (c + c.tanh()) * (c * a) + b


def without_sharing(a, b):
    return (a * b).tanh()


def checked(function, engine):
    def gradient(*numbers):
        leaves = [Scalar(n) for n in numbers]
        engine(function(*leaves))
        return tuple(leaf.grad for leaf in leaves)

    return cr.gradcheck(lambda *n: function(*map(Scalar, n)).data, 0.7, -0.4, grad=gradient, raises=False)


@pytest.mark.parametrize(
    ("engine", "cause"),
    [(lambda out: in_order(out, True), "overwritten-overlap"), (recursive, "accumulates"), (by_queue, "missing-term")],
)
def test_mistakes_of_an_engine_are_named(engine, cause):
    result = checked(shared, engine)
    assert not result and result.cause == cause, str(result)
    assert checked(without_sharing, engine), "no value is used twice"


def test_a_right_engine_is_right():
    assert checked(shared, in_order)


def test_a_saved_value_that_is_taken_for_a_constant():
    def gradient(x):
        return np.tanh(x) + x * (1 - np.tanh(x) ** 2)

    def hvp(x, v):
        return v * (1 - np.tanh(x) ** 2)

    point = np.random.default_rng(3).normal(size=5)
    result = cr.gradcheck(lambda x: np.sum(x * np.tanh(x)), point, grad=gradient, hvp=hvp, order=2, raises=False)
    assert not result and result.cause == "missing-term", str(result)


def test_other_mistakes_keep_their_cause():
    result = cr.gradcheck(lambda a, b: a * b + a, 1.5, 2.0, grad=lambda a, b: (2 * b + 2, 2 * a), raises=False)
    assert not result and result.cause == "constant-factor", str(result)
