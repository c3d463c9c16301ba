"""Regression in a loop, and a graph of nodes."""

import numpy as np

from benchmarks.backward_passes.reported.twins import N, case, net, sig


def regression(how):
    n = 12
    X = N(158, n, 3)
    y = X @ np.array([1.0, -2.0, 0.5]) + 0.1 * N(159, n)
    Y = y[:, None] if how in ("column y", "fixed", "mixed") else y
    column_w = how in ("vector y", "vector fixed")
    p = {"w": N(160, 3, 1) if column_w else N(160, 3), "b": np.zeros(1)}
    forward = lambda X, p: {"X": X, "out": X @ p["w"] + p["b"]}
    loss = lambda out, Y: np.mean((out.ravel() - Y.ravel()) ** 2)
    if how == "mixed":
        loss = lambda out, Y: np.mean((out - Y) ** 2)

    def backward(cache, Y, p):
        out, m = cache["out"], len(cache["out"])
        if how == "mixed":
            e = 2 * (out - Y) / (m * m)
            return {"dw": (e @ cache["X"]).sum(axis=0), "db": np.array([e.sum()])}
        e = out - (Y.reshape(out.shape) if "fixed" in how else Y)
        dw = 2 / m * cache["X"].T @ (e.T if how == "column y" else e)
        return {"dw": dw, "db": 2 / m * e.sum(axis=0, keepdims=e.ndim == 1)}

    return net(forward, backward, loss, p, X, Y)


case(
    "column_targets",
    "dw db",
    "wrong-shape",
    "",
    "(n,) minus (n, 1) is n x n; weights become a matrix",
    glue=3,
    why="all in one loop of fit",
)(lambda bug: regression("column y" if bug else "fixed"))
case(
    "loss_over_all_pairs",
    ok=True,
    note="right gradient of a loss over all pairs",
    wish="mix pair broadcast",
    glue=3,
    why="all in one loop of fit",
)(lambda bug: regression("mixed"))
case(
    "vector_targets",
    "dw db",
    "wrong-shape",
    "",
    "targets (n,), predictions (n, 1): the gradient is a matrix",
    glue=3,
    why="all in one loop of fit",
)(lambda bug: regression("vector y" if bug else "vector fixed"))


class Node:
    def __init__(self, *inbound):
        self.inbound_nodes, self.outbound_nodes, self.value, self.gradients = inbound, [], None, {}
        for n in inbound:
            n.outbound_nodes.append(self)


class Input(Node):
    def forward(self):
        pass

    def backward(self):
        self.gradients = {self: sum(n.gradients[self] for n in self.outbound_nodes)}


def miniflow(how):
    class Linear(Node):
        def forward(self):
            X, W, b = (n.value for n in self.inbound_nodes)
            self.value = np.dot(X, W) + b

        def backward(self):
            X, W, b = self.inbound_nodes
            g = sum(n.gradients[self] for n in self.outbound_nodes)
            self.gradients = {X: np.dot(g, W.value.T), W: np.dot(X.value.T, g), b: np.sum(g, axis=0)}

    class Sigmoid(Node):
        def forward(self):
            self.value = sig(self.inbound_nodes[0].value)

        def backward(self):
            g = sum(n.gradients[self] for n in self.outbound_nodes)
            self.gradients = {self.inbound_nodes[0]: self.value * (1 - self.value) * (1 if how == "local" else g)}

    class MSE(Node):
        def forward(self):
            y, a = (n.value.reshape(-1, 1) for n in self.inbound_nodes)
            self.m, self.diff = len(y), y - a
            self.value = np.mean(self.diff**2)

        def backward(self):
            y, a = self.inbound_nodes
            self.gradients = {y: 2 / self.m * self.diff, a: -2 / self.m * self.diff}

    def graph(X, Y, p):  # glue: the graph as forward and backward
        nodes = {k: Input() for k in ("X", "y", *p)}
        l1 = Linear(nodes["X"], nodes["W1"], nodes["b1"])
        s1 = Sigmoid(l1)
        l2 = Linear(s1, nodes["W2"], nodes["b2"])
        order = [*nodes.values(), l1, s1, l2] + ([MSE(nodes["y"], l2)] if Y is not None else [])
        for k, v in {"X": X, "y": Y, **p}.items():
            nodes[k].value = v
        for n in order:
            n.forward()
        return nodes, order, l2

    def forward(X, p):
        return {"X": X, "out": graph(X, None, p)[2].value}

    def backward(cache, Y, p):
        nodes, order, _ = graph(cache["X"], Y, p)
        for n in order[::-1]:
            if not (isinstance(n, Input) and not n.outbound_nodes):
                n.backward()
        return {"d" + k: nodes[k].gradients[nodes[k]] for k in p}

    p = dict(W1=N(161, 3, 4), b1=N(162, 4), W2=N(163, 4, 1), b2=N(164, 1))
    return net(forward, backward, lambda a, Y: np.mean((Y.reshape(-1, 1) - a) ** 2), p, N(165, 6, 3), N(166, 6))


WHY4 = "a graph of nodes: forward() and backward() without arguments, gradients in dicts with nodes as keys"
case("reference_solution", ok=True, note="the corrected reference solution", glue=14, why=WHY4)(
    lambda bug: miniflow("")
)
case(
    "local_gradient_only",
    "dW1 db1",
    "missing-factor missing-upstream",
    "unknown",
    "sigmoid node: local gradient only",
    glue=14,
    why=WHY4,
)(lambda bug: miniflow("local" if bug else ""))
