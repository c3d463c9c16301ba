"""Recurrent networks and cells."""

import numpy as np

from benchmarks.backward_passes.reported.twins import N, case, layer, net, sig, softmax


def lstm_columns(bug):
    """Concatenated [h; x], a matrix and a bias for each gate, one-hot columns, softmax over v."""

    def forward(X, p):
        h, C = np.zeros((p["Wf"].shape[0], 1)), np.zeros((p["Wf"].shape[0], 1))
        s = {k: [] for k in "z f i g C o h y".split()}
        s["C"].append(C), s["h"].append(h)
        for t in range(X.shape[1]):
            z = np.vstack((h, X[:, t : t + 1]))
            f, i, o = sig(p["Wf"] @ z + p["bf"]), sig(p["Wi"] @ z + p["bi"]), sig(p["Wo"] @ z + p["bo"])
            g = np.tanh(p["Wc"] @ z + p["bc"])
            C = f * C + i * g
            h = o * np.tanh(C)
            y = softmax(p["Wv"] @ h + p["bv"], 0)
            for k, v in zip("z f i g C o h y".split(), (z, f, i, g, C, o, h, y)):
                s[k].append(v)
        return np.hstack(s["y"]), s

    dsigmoid = lambda y: y * (1 - y)
    dtanh = lambda y: 1 - y * y

    def backward(s, Y, p):
        d = {"d" + k: np.zeros_like(v) for k, v in p.items()}
        dh_next = dC_next = np.zeros_like(s["h"][0])
        H = len(dh_next)
        for t in reversed(range(Y.shape[1])):
            z, f, i, g, o, C, C_prev, h = (
                s["z"][t],
                s["f"][t],
                s["i"][t],
                s["g"][t],
                s["o"][t],
                s["C"][t + 1],
                s["C"][t],
                s["h"][t + 1],
            )
            dv = s["y"][t] - Y[:, t : t + 1]
            d["dWv"] += dv @ h.T
            d["dbv"] += dv
            dh = p["Wv"].T @ dv + dh_next
            dC = dC_next + dh * o * dtanh(np.tanh(C))
            do = dh * np.tanh(C) * dsigmoid(o)
            dg = dC * i * dtanh(g)
            di = dC * g * dsigmoid(i)
            df = dC * C_prev * (sig(f) if bug == "sigmoid" else dsigmoid(f))
            for k, a in (("f", df), ("i", di), ("c", dg), ("o", do)):
                d["dW" + k] += a @ z.T
                d["db" + k] += df if bug == "copied" and k in "io" else a
            dz = p["Wf"].T @ df + p["Wi"].T @ di + p["Wc"].T @ dg + p["Wo"].T @ do
            if bug != "truncated":
                dh_next, dC_next = dz[:H], f * dC
        return d

    H, D, T = 4, 3, 4
    p = (
        {"W" + k: N(50 + n, H, H + D) for n, k in enumerate("fico")}
        | {"b" + k: N(55 + n, H, 1) for n, k in enumerate("fico")}
        | {"Wv": N(60, D, H), "bv": N(61, D, 1)}
    )
    X, Y = np.eye(D)[:, [0, 2, 1, 0]], np.eye(D)[:, [2, 1, 0, 1]]
    return net(forward, backward, lambda y, Y: -np.sum(Y * np.log(y)), p, X, Y)


WHY2 = "one function runs both passes in one loop and adds into global gradients; split in two"
SIG = "dWf dbf dWi dbi dWc dbc dWo dbo"
case(
    "sigmoid_for_its_derivative",
    "dWf dbf",
    "wrong-activation-derivative",
    "unknown",
    "forget gate: sigmoid(f) for its derivative",
    glue=10,
    why=WHY2,
    follows=SIG,
)(lambda bug: lstm_columns("sigmoid" if bug else ""))
case(
    "nothing_handed_on_in_time",
    SIG,
    "missing-term truncated",
    "unknown",
    "nothing is handed on in time",
    glue=10,
    why=WHY2,
)(lambda bug: lstm_columns("truncated" if bug else ""))


case(
    "helpers_fed_with_outputs",
    ok=True,
    note="derivative helpers fed with the output, tanh of tanh(C): odd but right",
    glue=10,
    why=WHY2,
)(lambda bug: lstm_columns(""))
case(
    "delta_of_another_gate",
    "dbi dbo",
    "wrong-operand wrong-gate",
    "unknown",
    "delta of the forget gate for two other biases",
    glue=10,
    why=WHY2,
)(lambda bug: lstm_columns("copied" if bug else ""))


@case(
    "output_bias_for_every_gate",
    "dbf dbu dbo",
    "wrong-operand missing-term unused-parameter",
    "unknown",
    "forward takes the output gate's bias three times, backward thinks it does not",
)
def _(bug):
    def forward(X, p):
        h = c = np.zeros((len(X), p["Wo"].shape[1]))
        steps = []
        for t in range(X.shape[1]):
            a = np.concatenate([h, X[:, t]], axis=1)
            f = sig(a @ p["Wf"] + p["bo" if bug else "bf"])
            u = sig(a @ p["Wu"] + p["bo" if bug else "bu"])
            o, g = sig(a @ p["Wo"] + p["bo"]), np.tanh(a @ p["Wg"] + p["bg"])
            steps.append((a, f, u, o, g, c))
            c = f * c + u * g
            h = o * np.tanh(c)
            steps[-1] += (c,)
        return h, steps

    def backward(steps, Y, p):
        a, f, u, o, g, c0, c = steps[-1]
        d = {"d" + k: np.zeros_like(v) for k, v in p.items()}
        dh, dc = (o * np.tanh(c) - Y) / len(Y), 0.0
        for a, f, u, o, g, c0, c in steps[::-1]:
            dc = dc + dh * o * (1 - np.tanh(c) ** 2)
            z = dict(
                f=dc * c0 * f * (1 - f), u=dc * g * u * (1 - u), o=dh * np.tanh(c) * o * (1 - o), g=dc * u * (1 - g**2)
            )
            da = 0
            for k, v in z.items():
                d["dW" + k] += a.T @ v
                d["db" + k] += v.sum(axis=0)
                da = da + v @ p["W" + k].T
            dh, dc = da[:, : dh.shape[1]], dc * f
        return d

    p = {"W" + k: N(70 + n, 7, 4) for n, k in enumerate("fuog")} | {"b" + k: N(75 + n, 4) for n, k in enumerate("fuog")}
    return net(forward, backward, lambda h, Y: np.sum((h - Y) ** 2) / (2 * len(Y)), p, N(80, 5, 3, 3), N(81, 5, 4))


@case(
    "state_of_the_same_step",
    "dWh",
    "wrong-layer wrong-operand wrong-time-step",
    "",
    "recurrent weights at step 1 use h1, not h0",
)
def _(bug):
    def forward(X, p):
        h0 = np.zeros((len(X), 4)) + p["h0"]
        z1 = X[:, 0] @ p["Wx"] + h0 @ p["Wh"] + p["b"]
        h1 = np.tanh(z1)
        z2 = X[:, 1] @ p["Wx"] + h1 @ p["Wh"] + p["b"]
        h2 = np.tanh(z2)
        z3 = X[:, 2] @ p["Wx"] + h2 @ p["Wh"] + p["b"]
        h3 = np.tanh(z3)
        return dict(X=X, H0=h0, z1=z1, h1=h1, z2=z2, h2=h2, z3=z3, h3=h3, out=h3 @ p["V"])

    def backward(c, Y, p):
        dout = (c["out"] - Y) / len(Y)
        dh3 = dout @ p["V"].T
        dz3 = dh3 * (1 - c["h3"] ** 2)
        dh2 = dz3 @ p["Wh"].T
        dz2 = dh2 * (1 - c["h2"] ** 2)
        dh1 = dz2 @ p["Wh"].T
        dz1 = dh1 * (1 - c["h1"] ** 2)
        dWh = c["h2"].T @ dz3 + c["h1"].T @ dz2 + c["h1" if bug else "H0"].T @ dz1
        dWx = c["X"][:, 2].T @ dz3 + c["X"][:, 1].T @ dz2 + c["X"][:, 0].T @ dz1
        db = dz3.sum(axis=0) + dz2.sum(axis=0) + dz1.sum(axis=0)
        return dict(
            dout=dout,
            dV=c["h3"].T @ dout,
            dh3=dh3,
            dz3=dz3,
            dh2=dh2,
            dz2=dz2,
            dh1=dh1,
            dz1=dz1,
            dWh=dWh,
            dWx=dWx,
            db=db,
            dh0=(dz1 @ p["Wh"].T).sum(axis=0),
        )

    p = dict(Wx=N(87, 3, 4), Wh=N(88, 4, 4), b=N(89, 4), V=N(90, 4, 2), h0=N(91, 4))
    return net(forward, backward, lambda o, Y: np.sum((o - Y) ** 2) / (2 * len(Y)), p, N(92, 6, 3, 3), N(93, 6, 2))


@case(
    "two_steps_only",
    "dUz dUr dUh dWz dWr dWh",
    "missing-term truncated",
    "unknown",
    "only the last output goes back in time, and two steps only",
)
def _(bug):
    def forward(X, p):
        h, tape = np.zeros((len(X), 3)), []
        for t in range(X.shape[1]):
            x = X[:, t]
            z, r = sig(x @ p["Wz"] + h @ p["Uz"]), sig(x @ p["Wr"] + h @ p["Ur"])
            n = np.tanh(x @ p["Wh"] + (r * h) @ p["Uh"])
            new = (1 - z) * h + z * n
            tape.append((x, h, z, r, n, new))
            h = new
        return np.stack([s[-1] for s in tape], axis=1), tape

    def backward(tape, Y, p, k=2):
        d = {"d" + name: np.zeros_like(v) for name, v in p.items()}
        T, dh = len(tape), 0.0
        for t in range(T - 1, -1, -1):
            x, h, z, r, n, new = tape[t]
            if bug and t < T - k:
                break
            if not bug or t == T - 1:
                dh = dh + (new - Y[:, t])
            dz, dn = dh * (n - h) * z * (1 - z), dh * z * (1 - n * n)
            drh = dn @ p["Uh"].T
            dr = drh * h * r * (1 - r)
            for name, left, g in (("z", h, dz), ("r", h, dr), ("h", r * h, dn)):
                d["dW" + name] += x.T @ g
                d["dU" + name] += left.T @ g
            dh = dh * (1 - z) + drh * r + dz @ p["Uz"].T + dr @ p["Ur"].T
        return d

    p = {"W" + k: N(100 + i, 2, 3) for i, k in enumerate("zrh")} | {
        "U" + k: N(105 + i, 3, 3) for i, k in enumerate("zrh")
    }
    return net(forward, backward, lambda H, Y: np.sum((H - Y) ** 2) / 2, p, N(109, 4, 5, 2), N(110, 4, 5, 3))


def lstm_step(how):
    def step_forward(x, prev_h, prev_c, Wx, Wh, b):
        H = prev_h.shape[1]
        a = x @ Wx + prev_h @ Wh + b
        i, f, o, g = sig(a[:, :H]), sig(a[:, H : 2 * H]), sig(a[:, 2 * H : 3 * H]), np.tanh(a[:, 3 * H :])
        next_c = f * prev_c + i * g
        return o * np.tanh(next_c), next_c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c)

    def step_backward(dnext_h, dnext_c, cache):
        x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c = cache
        t = np.tanh(next_c)
        if how == "in place":
            dnext_c += dnext_h * o * (1 - t * t)
        else:
            dnext_c = dnext_c + dnext_h * o * (1 - t * t)
        da = np.hstack(
            [
                dnext_c * g * i * (1 - i),
                dnext_c * prev_c * f * (1 - f),
                dnext_h * t * o * (1 - o),
                dnext_c * i * (1 - g * g),
            ]
        )
        return da @ Wx.T, da @ Wh.T, dnext_c * f, x.T @ da, prev_h.T @ da, da.sum(axis=0)

    return (
        step_forward,
        step_backward,
        (N(111, 5, 3), N(112, 5, 4), N(113, 5, 4), N(114, 3, 16), N(115, 4, 16), N(116, 16)),
    )


def two_outputs(step_forward, step_backward, inputs, **k):
    def f(x, prev_h, prev_c, Wx, Wh, b):
        h, c, cache = step_forward(x, prev_h, prev_c, Wx, Wh, b)
        return (h, c), cache

    return layer(f, lambda dout, cache: step_backward(dout[0], dout[1], cache), *inputs, **k)


WHY3 = "two outputs: forward returns (h, c, cache), backward takes (dh, dc, cache)"
case("cell_that_branches", ok=True, note="the cell branches, so its gradients are added: right", glue=4, why=WHY3)(
    lambda bug: two_outputs(*lstm_step(""))
)
case(
    "sum_written_into_the_argument",
    "backward",
    "mutates-input",
    "",
    "the sum is written into the caller's array",
    glue=4,
    why=WHY3,
)(lambda bug: two_outputs(*lstm_step("in place" if bug else ""), check="mutates"))


@case("derivative_by_the_output", ok=True, note="1 - h^2 is right")
def _(bug):
    def f(x, prev_h, Wx, Wh, b):
        h = np.tanh(x @ Wx + prev_h @ Wh + b)
        return h, (x, prev_h, Wx, Wh, h)

    def b(dh, cache):
        x, prev_h, Wx, Wh, h = cache
        da = dh * (1 - h**2)
        return da @ Wx.T, da @ Wh.T, x.T @ da, prev_h.T @ da, da.sum(axis=0)

    return layer(f, b, N(117, 5, 3), N(118, 5, 4), N(119, 3, 4), N(120, 4, 4), N(121, 4))
