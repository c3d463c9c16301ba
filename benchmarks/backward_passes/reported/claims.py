"""Cases that come as a run of the audit and a check of what they claim against central differences."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr
from benchmarks.backward_passes.cases import reported


def case(ok, steps="", causes="", note="", *, wrong="", style="", glue=0, as_written=True, reason=""):
    """Register a function that returns (run, check); `wrong` are the parameters whose gradients are wrong.

    `glue` counts the lines that were needed beside the author's own code, `reason` says why there are any.
    """

    def keep(build: Callable[[], Any]) -> Callable[[], Any]:
        reported(
            build,
            build.__name__,
            (steps.split(), causes.split()) if not ok else ((), ()),
            note,
            run=lambda: build()[0](),
            truth=lambda: difference_from(build, set(wrong.split())),
            as_written=as_written,
        )
        return build

    return keep


def difference_from(build: Callable[[], Any], claimed: set[str]) -> str:
    """Return "" where exactly the claimed gradients differ from central differences, else what is wrong."""
    np.random.seed(1)
    with np.errstate(all="ignore"):
        found = build()[1]()
    wrong = {name for name, (gradient, numeric) in found.items() if not agrees(gradient, numeric)}
    return "" if wrong == claimed else f"wrong by differences: {sorted(wrong)}, claimed: {sorted(claimed)}"


def agrees(found, numeric) -> bool:
    found, numeric = np.asarray(found, float), np.asarray(numeric, float)
    if found.shape != numeric.shape and found.size != numeric.size:
        return False
    size = max(np.max(np.abs(numeric), initial=0), 1e-8)
    return bool(np.isfinite(found).all() and np.max(np.abs(found.ravel() - numeric.ravel())) <= 1e-4 * size)


def central(f, a, h=1e-6):
    """Central differences of the scalar f() along every element of `a`, which f reads."""
    g = np.zeros(a.shape)
    for i in np.ndindex(a.shape):
        old = a[i]
        a[i] = old + h
        up = float(f())
        a[i] = old - h
        g[i] = (up - float(f())) / (2 * h)
        a[i] = old
    return g


def arrays(nest, prefix=""):
    if isinstance(nest, dict):
        return {k: v for key, x in nest.items() for k, v in arrays(x, f"{prefix}.{key}" if prefix else key).items()}
    if isinstance(nest, (list, tuple)):
        return {k: v for i, x in enumerate(nest) for k, v in arrays(x, f"{prefix}[{i}]").items()}
    return {prefix: nest} if isinstance(nest, (np.ndarray, np.floating)) else {}


NAMES = {"X": "X x", "P": "p P params parameters weights", "Y": "Y y t", "cache": "cache caches c"}


def fed(f, **have):
    meant = {n: k for k, names in NAMES.items() for n in names.split()}
    keys = [meant[q.name] for q in inspect.signature(f).parameters.values() if q.default is q.empty]
    return f(*[have[k] for k in keys])


def net(forward, backward, loss, p, X, Y, ascent=False, name=None, **options):
    """The pair of a network in functions: the call of cr.audit, and the check."""

    def run():
        if ascent:
            options["ascent"] = True
        return cr.audit(backward, forward=forward, loss=loss, parameters=p, X=X, Y=Y, **options)

    def both():
        r = fed(forward, X=X, P=p, Y=Y)
        if isinstance(r, tuple):
            return r if not isinstance(r[0], dict) else r[::-1]
        return r[options["output"]] if "output" in options else list(arrays(r).values())[-1], r

    def value():
        out = both()[0]
        return loss(out, Y, p) if len(inspect.signature(loss).parameters) > 2 else loss(out, Y)

    def check():
        saved = {k: v.copy() for k, v in arrays(p).items()}
        numeric = {k: central(value, v) for k, v in arrays(p).items()}
        g = fed(backward, cache=both()[1], X=X, Y=Y, P=p)
        for k, v in arrays(p).items():
            v[...] = saved[k]
        g = dict(arrays(g)) if isinstance(g, dict) else {"d" + k: v for k, v in zip(arrays(p), g)}
        sign = -1 if ascent else 1
        find = name or (lambda k: "d" + k)
        return {k: (sign * np.asarray(g[find(k)]), numeric[k]) for k in numeric if find(k) in g}

    return run, check


def layer(forward, backward, *inputs, names=None, seed=0):
    """The pair of a layer: the call of cr.audit_layer, and the check."""
    names = names or list(inspect.signature(forward).parameters)

    def out():
        r = forward(*inputs)
        return r[0] if isinstance(r, tuple) else r

    def check():
        dout = np.random.default_rng(seed).normal(size=np.shape(out()))
        r = forward(*inputs)
        g = backward(dout, r[1] if isinstance(r, tuple) else inputs)
        g = (
            {k[1:]: v for k, v in g.items()}
            if isinstance(g, dict)
            else dict(zip(names, g if isinstance(g, tuple) else (g,)))
        )
        return {
            n: (np.asarray(g[n]), central(lambda: np.sum(out() * dout), a))
            for n, a in zip(names, inputs)
            if n in g and g[n] is not None and isinstance(a, np.ndarray) and a.dtype.kind == "f"
        }

    return lambda: cr.audit_layer(forward, backward, *inputs), check


def module_check(make, x, params=(), dx=True):
    """Check of an object with forward and backward: `make` returns a fresh one."""

    def check():
        m = make()
        dout = np.random.default_rng(0).normal(size=np.shape(m.forward(x)))
        numeric = {n: central(lambda: np.sum(m.forward(x) * dout), getattr(m, n)) for n in params}
        if dx:
            numeric["x"] = central(lambda: np.sum(m.forward(x) * dout), x)
        m.forward(x)
        back = m.backward(dout.copy())
        found = {n: np.asarray(getattr(m, "d" + n)) for n in params} | {"x": back}
        return {n: (found[n], v) for n, v in numeric.items()}

    return check


def R(n):
    return np.random.default_rng(n)


def sig(z):
    return 1 / (1 + np.exp(-z))


def onehot(y, k):
    return np.eye(k)[y]


def half_squares(out, Y):
    return np.sum((out - Y) ** 2) / 2


def rows(back, loss, act=sig, out=sig, sizes=(4, 6, 3), m=8, seed=20, labels="onehot", **options):
    """The common two-layer network in rows: forward with a dict cache; `back` is the user's backward."""

    def forward(X, p):
        Z1 = X @ p["W1"] + p["b1"]
        A1 = act(Z1)
        Z2 = A1 @ p["W2"] + p["b2"]
        return {"X": X, "Z1": Z1, "A1": A1, "Z2": Z2, "A2": out(Z2)}

    r = R(seed)
    a, b, c = sizes
    p = {
        "W1": r.normal(size=(a, b)),
        "b1": r.normal(size=(1, b)),
        "W2": r.normal(size=(b, c)),
        "b2": r.normal(size=(1, c)),
    }
    Y = onehot(r.integers(0, c, m), c) if labels == "onehot" else r.random((m, c))
    return net(forward, back, loss, p, r.normal(size=(m, a)), Y, **options)


def softmax_rows(Z):
    E = np.exp(Z - Z.max(axis=1, keepdims=True))
    return E / E.sum(axis=1, keepdims=True)


def ce(A, Y):
    return -np.sum(Y * np.log(A)) / len(Y)


def bce_mean_rows(A, Y):
    return -np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / len(Y)


def relu(Z):
    return np.maximum(Z, 0)
