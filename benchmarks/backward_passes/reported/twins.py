"""Cases that are functions of `bug`: bug=False gives the corrected code, the twin of the wrong one."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr
from benchmarks.backward_passes.cases import reported


def case(id, steps="", causes="", tolerable="", note="", ok=False, glue=0, why="", wish="", follows=""):
    """Register a function of `bug` that returns what is audited.

    `follows` are steps that are wrong only because an earlier one is; `glue` counts the lines that were needed beside
    the author's own code, `why` says what for; `wish` is a word that the notes of a right pass should have.
    """

    def keep(make: Callable[[bool], Any]) -> Callable[[bool], Any]:
        reported(
            make,
            id,
            (steps.split(), causes.split()) if not ok else ((), ()),
            note,
            run=lambda: call(make(not ok)),
            twin=None if ok else lambda: call(make(False)),
            truth=lambda: difference_from(make, ok, set(steps.split()), set(follows.split())),
            as_written=glue <= 1,
        )
        return make

    return keep


def difference_from(make: Callable[[bool], Any], ok: bool, steps: set[str], follows: set[str]) -> str:
    """Return "" where the case is wrong at one of its steps, or right, as claimed, and its twin is right."""
    wrong, twin = wrong_gradients(make(not ok)), wrong_gradients(make(False))
    good = not wrong if ok else bool(wrong & steps) and wrong <= steps | follows
    return "" if good and not twin else f"wrong by differences: {sorted(wrong)}, of the twin: {sorted(twin)}"


ALL, R = {}, np.random.default_rng
sig = lambda z: 1 / (1 + np.exp(-z))
softmax = lambda z, axis=-1: np.exp(z) / np.exp(z).sum(axis=axis, keepdims=True)


def call(s):
    """Call the tool on what a case's function returned."""
    s = {**s, **copy.deepcopy({k: s[k] for k in ("inputs", "P", "X", "Y", "args") if k in s})}
    if "run" in s:
        return s["run"](cr)
    if s["kind"] == "layer":
        return cr.audit_layer(s["f"], s["b"], *s["inputs"])
    if s["kind"] == "net":
        return cr.audit(s["b"], forward=s["f"], loss=s["loss"], parameters=s["P"], X=s["X"], Y=s["Y"])
    if s["kind"] == "module":
        return cr.audit_module(s["module"](), *s["inputs"])
    if s["kind"] == "gc":
        return cr.gradcheck(s["f"], *s["args"], raises=False, **s["kw"])
    return None


layer = lambda f, b, *inputs, **k: dict(kind="layer", f=f, b=b, inputs=inputs, **k)
net = lambda f, b, loss, P, X, Y, **k: dict(kind="net", f=f, b=b, loss=loss, P=P, X=X, Y=Y, **k)
gc = lambda f, *args, kw, **k: dict(kind="gc", f=f, args=args, kw=kw, **k)
mod = lambda module, *inputs, **k: dict(kind="module", module=module, inputs=inputs, **k)
N = lambda seed, *shape: R(seed).normal(size=shape)


def slopes(L, arrays, h=1e-6):
    found = []
    for a in arrays:
        g = np.zeros(a.shape)
        for i in np.ndindex(a.shape):
            o = a[i]
            a[i] = o + h
            up = L()
            a[i] = o - h
            down = L()
            a[i] = o
            g[i] = (up - down) / (2 * h)
        found.append(g)
    return found


def differs(g, num):
    if g is None:
        return True
    g = np.asarray(g, float)
    return g.shape != num.shape or not np.allclose(g, num, rtol=2e-5, atol=2e-7)


def wrong_gradients(s):
    """Names of gradients that differ from central differences in float64, apart from the tool."""
    s = copy.deepcopy({k: v for k, v in s.items() if k in ("inputs", "P", "X", "Y", "args")}) | {
        k: v for k, v in s.items() if k not in ("inputs", "P", "X", "Y", "args")
    }
    rng, first = R(99), lambda r: r[0] if isinstance(r, tuple) else r
    if s["kind"] == "opt":
        p, q, sp, sq, bad = np.ones(3), np.ones(3), {}, {}, False
        for k in range(4):
            g = N(k, 3)
            p, q = s["update"](p, g, sp), s["reference"](q, g, sq)
            bad |= not np.allclose(p, q, rtol=1e-6)
        return {"update"} if bad else set()
    if s["kind"] == "net":
        f = lambda: s["loss"](list(o.values())[-1] if isinstance(o := s["f"](s["X"], s["P"]), dict) else o[0], s["Y"])
        out = s["f"](s["X"], s["P"])
        G = s["b"](out if isinstance(out, dict) else out[1], s["Y"], s["P"])
        return {
            "d" + k for k, num in zip(s["P"], slopes(f, s["P"].values())) if "d" + k in G and differs(G["d" + k], num)
        }
    if s["kind"] == "gc":
        args = s["args"]
        if isinstance(args[0], dict):
            num = dict(zip(args[0], slopes(lambda: s["f"](*args), args[0].values())))
            G = s["kw"]["grad"](*args)
            return {"d" + k for k in num if differs(G[k], num[k])}
        arrays = [np.array(a, float) for a in args]
        read = lambda: [a if a.ndim else float(a) for a in arrays]
        if s.get("check") == "hvp":
            v = rng.normal(size=arrays[0].shape)
            return (
                {"x"}
                if differs(
                    s["kw"]["hvp"](arrays[0], v), slopes(lambda: np.sum(s["kw"]["grad"](arrays[0]) * v), arrays)[0]
                )
                else set()
            )
        num = slopes(lambda: s["f"](*read()), arrays)
        G = s["kw"]["grad"](*read())
        if s.get("check") == "twice":
            G = s["kw"]["grad"](*read())
        G = G if isinstance(G, tuple) else (G,)
        return {str(i) for i, (g, n) in enumerate(zip(G, num)) if differs(g, n)}
    if s["kind"] == "module":
        m, x, names = s["module"](), s["inputs"][0], s["names"].split()
        dout = rng.normal(size=m.forward(x).shape)
        dx = m.backward(dout)
        G = {"dx": dx, **{"d" + n: getattr(m, s.get("prefix", "d") + n) for n in names}}
        num = slopes(lambda: np.sum(m.forward(x) * dout), [x, *(getattr(m, n) for n in names)])
        return {k for (k, g), n in zip(G.items(), num) if differs(g, n)}
    ins = s["inputs"]
    outs = lambda: (lambda o: o if isinstance(o, tuple) else (o,))(first(s["f"](*ins)))
    shapes = [np.shape(o) for o in outs()]
    douts = [
        rng.normal(size=sh[::-1]).T if s.get("check") == "transposed dout" else rng.normal(size=sh) for sh in shapes
    ]
    L = lambda: sum(np.sum(o * d) for o, d in zip(outs(), douts))
    r = s["f"](*ins)
    cache = r[1] if isinstance(r, tuple) else ins
    names = [
        n
        for n, a in zip(inspect.signature(s["f"]).parameters, ins)
        if isinstance(a, np.ndarray) and a.dtype.kind == "f"
    ]
    num = slopes(L, [a for a in ins if isinstance(a, np.ndarray) and a.dtype.kind == "f"])
    handed = copy.deepcopy(douts) if s.get("check") != "transposed dout" else douts
    give = tuple(handed) if len(handed) > 1 else handed[0]
    if s.get("check") == "mutates":
        before = copy.deepcopy((cache, douts))
        flat = lambda o: (
            [o] if isinstance(o, np.ndarray) else [a for p in o for a in flat(p)] if isinstance(o, tuple | list) else []
        )
        s["b"](give, cache)
        return (
            {"backward"}
            if any(not np.array_equal(a, b) for a, b in zip(flat(before), flat((cache, handed))))
            else set()
        )
    G = s["b"](give, cache)
    G = G if isinstance(G, tuple | list) else (G,)
    return {"d" + n for n, g, u in zip(names, G, num) if differs(g, u)}
