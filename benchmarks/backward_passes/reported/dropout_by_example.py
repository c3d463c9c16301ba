"""Dropout in loops over scalars."""

import numpy as np

import chainrule as cr
from benchmarks.backward_passes.reported.claims import R, case, central, sig


@case(
    False,
    "dw1 db1 dz1 dh",
    "dropout-mask-missing",
    "mask and scale are used forward only",
    wrong="w1 b1",
    style="scalar loops, per example",
    glue=6,
    as_written=False,
    reason="lists of floats refused: arrays; forward returns values and mask",
)
def mask_forward_only():
    keep = 0.6

    def forward(X, p):
        h, mask, zs = [], [], []
        for j in range(5):
            z = p["b1"][j]
            for i in range(3):
                z = z + p["w1"][j][i] * X[i]
            zs.append(z)
            mask.append(float(np.random.rand() < keep))
            h.append(np.maximum(0, z) * mask[j] / keep)
        o = p["b2"]
        for j in range(5):
            o = o + p["w2"][j] * h[j]
        return {"x": X, "z": zs, "h": h, "mask": np.array(mask), "out": sig(o)}

    def backward(c, Y, p):
        d = c["out"] - Y
        g = {"dw2": np.zeros(5), "db2": d, "dw1": np.zeros((5, 3)), "db1": np.zeros(5)}
        for j in range(5):
            g["dw2"][j] = d * c["h"][j]
            dh = d * p["w2"][j] * (1.0 if c["z"][j] > 0 else 0.0)
            g["db1"][j] = dh
            for i in range(3):
                g["dw1"][j][i] = dh * c["x"][i]
        return g

    def loss(o, y):
        return -(y * np.log(o) + (1 - y) * np.log(1 - o))

    r = R(57)
    p = {"w1": r.normal(size=(5, 3)), "b1": r.normal(size=5), "w2": r.normal(size=5), "b2": np.array(0.1)}
    X, Y = r.normal(size=3), np.array(1.0)

    def check():
        def f():
            np.random.seed(2)
            return forward(X, p)

        numeric = {k: central(lambda: loss(f()["out"], Y), p[k]) for k in p}
        g = backward(f(), Y, p)
        return {k: (g["d" + k], numeric[k]) for k in p}

    return lambda: cr.audit(backward, forward=forward, loss=loss, parameters=p, X=X, Y=Y), check
