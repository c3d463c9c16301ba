"""Custom graphs: values that know what they were computed from."""

import numpy as np

from benchmarks.backward_passes.reported.twins import N, case, gc, mod


class Value:
    def __init__(self, data, parents=(), local=()):
        self.data, self.parents, self.local, self.grad = data, parents, local, 0.0

    def __add__(self, o):
        return Value(self.data + o.data, (self, o), (1.0, 1.0))

    def __mul__(self, o):
        return Value(self.data * o.data, (self, o), (o.data, self.data))

    def exp(self):
        e = np.exp(self.data)
        return Value(e, (self,), (e,))

    def backward_ordered(self, assign=False):
        order, seen = [], set()

        def visit(v):
            if v not in seen:
                seen.add(v)
                for p in v.parents:
                    visit(p)
                order.append(v)

        visit(self)
        self.grad = 1.0
        for v in reversed(order):
            for p, l in zip(v.parents, v.local):
                p.grad = l * v.grad + (0.0 if assign else p.grad)

    def backward_recursive(self, g=1.0):
        self.grad += g
        for p, l in zip(self.parents, self.local):
            p.backward_recursive(l * self.grad)


def scalar_graph(bug, expression, wrong, *args):
    def grad(*numbers):
        leaves = [Value(n) for n in numbers]
        out = expression(*leaves)
        wrong(out) if bug else out.backward_ordered()
        return tuple(l.grad for l in leaves)

    return gc(lambda *numbers: expression(*map(Value, numbers)).data, *args, kw=dict(grad=grad))


def twice_used(a, b):
    c = a * b
    d = c + c * a
    return d * c


case(
    "paths_run_again", "0 1 a b", "accumulates", "unknown constant-factor", "each path runs all that is below it again"
)(lambda bug: scalar_graph(bug, twice_used, lambda o: o.backward_recursive(), 2.0, -3.0))
case("product_used_twice", "0 1 a b", "accumulates", "unknown constant-factor", "x*a used in two products")(
    lambda bug: scalar_graph(
        bug, lambda x, a: (lambda y: y * x + y * a)(x * a), lambda o: o.backward_recursive(), 1.5, 2.0
    )
)


case("exponential_by_its_output", ok=True, note="exp's derivative is its output: right")(
    lambda bug: scalar_graph(False, lambda a, b: (a * b).exp() + a, None, 0.7, -0.4)
)
case(
    "assigned_not_added",
    "0 1 a b",
    "missing-term overwritten-overlap",
    "unknown constant-factor",
    "= for += where a value is used twice",
)(
    lambda bug: scalar_graph(
        bug, lambda a, b: (a * b).exp() + a.exp() * b, lambda o: o.backward_ordered(True), 0.7, -0.4
    )
)


def mlp(how):
    class MLP:
        def __init__(self):
            self.W1, self.b1, self.W2 = N(134, 3, 4), N(135, 4), N(136, 4, 2)
            self.grad_W1 = self.grad_b1 = self.grad_W2 = None

        def forward(self, x):
            self.x, self.h = x, np.tanh(x @ self.W1 + self.b1)
            return self.h @ self.W2

        def backward(self, grad):
            self.grad_W2 = self.h.T @ grad
            if how == "tanh cut":
                return None
            d = grad @ self.W2.T * (1 - self.h**2)
            self.grad_W1, self.grad_b1 = self.x.T @ d, d.sum(axis=0)
            return d @ self.W1.T

    return mod(MLP, N(137, 5, 3), names="W1 b1 W2", prefix="grad_")


case(
    "nothing_through_tanh",
    "dW1 db1 dx grad_W1 grad_b1",
    "missing-gradient missing-term",
    "",
    "nothing goes through tanh: the layer below has None",
)(lambda bug: mlp("tanh cut" if bug else ""))


@case(
    "scale_and_shift_without_gradient",
    "dgamma dbeta",
    "missing-gradient missing-term",
    "",
    "gamma and beta never get a gradient",
)
def _(bug):
    class LayerNorm:
        def __init__(self):
            self.gamma, self.beta, self.dgamma, self.dbeta = N(139, 4), N(140, 4), None, None

        def forward(self, x):
            self.std = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
            self.xhat = (x - x.mean(axis=-1, keepdims=True)) / self.std
            return self.gamma * self.xhat + self.beta

        def backward(self, dy):
            if not bug:
                self.dgamma, self.dbeta = (dy * self.xhat).sum(axis=0), dy.sum(axis=0)
            g = dy * self.gamma
            return (g - g.mean(-1, keepdims=True) - self.xhat * (g * self.xhat).mean(-1, keepdims=True)) / self.std

    return mod(LayerNorm, N(141, 5, 4), names="gamma beta")
