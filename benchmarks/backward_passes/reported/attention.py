"""Embeddings and attention."""

import numpy as np

from benchmarks.backward_passes.reported.twins import N, case, layer, mod, softmax


def attention(how):
    def f(Q, K, V):
        S = Q @ K.transpose(0, 2, 1) / np.sqrt(Q.shape[-1])
        P = softmax(S)
        return P @ V, (Q, K, V, P)

    def b(dO, cache):
        Q, K, V, P = cache
        dV, dP = P.transpose(0, 2, 1) @ dO, dO @ V.transpose(0, 2, 1)
        dS = P * dP if how == "rowsum" else P * (dP - np.sum(P * dP, axis=-1, keepdims=True))
        s = 1 if how == "scale" else 1 / np.sqrt(Q.shape[-1])
        return dS @ K * s, (dS if how == "transpose" else dS.transpose(0, 2, 1)) @ Q * s, dV

    return layer(f, b, N(123, 2, 4, 3), N(124, 2, 4, 3), N(125, 2, 4, 3))


case("scale_left_out", "dQ dK", "missing-factor constant-factor", "", "the scale is left out")(
    lambda bug: attention("scale" if bug else "")
)
case("row_sum_left_out", "dQ dK", "missing-term", "", "softmax: the row sum is left out")(
    lambda bug: attention("rowsum" if bug else "")
)
case("keys_not_transposed", "dK", "transposed", "", "dK without a transpose")(
    lambda bug: attention("transpose" if bug else "")
)


@case(
    "graph_cut_by_numbers",
    "dWq dWk dWv",
    "missing-gradient missing-term zero-gradient",
    "",
    "attention rebuilt from raw numbers: nothing reaches Wq, Wk, Wv",
    follows="dx",
)
def _(bug):
    class MultiHead:
        def __init__(self):
            self.Wq, self.Wk, self.Wv, self.Wo = (N(129 + i, 4, 4) for i in range(4))
            self.dWq = self.dWk = self.dWv = self.dWo = None

        def split(self, a):
            return a.reshape(len(a), 2, -1).transpose(1, 0, 2)

        def join(self, a):
            return a.transpose(1, 0, 2).reshape(a.shape[1], -1)

        def forward(self, x):
            self.x = x
            self.q, self.k, self.v = self.split(x @ self.Wq), self.split(x @ self.Wk), self.split(x @ self.Wv)
            self.p = softmax(self.q @ self.k.transpose(0, 2, 1) / np.sqrt(2))
            self.a = self.join(self.p @ self.v)
            return self.a @ self.Wo

        def backward(self, dout):
            self.dWo = self.a.T @ dout
            if bug:
                self.dWq, self.dWk, self.dWv = np.zeros((3, 4, 4))
                return np.zeros_like(self.x)
            do = self.split(dout @ self.Wo.T)
            dp = do @ self.v.transpose(0, 2, 1)
            ds = self.p * (dp - (self.p * dp).sum(-1, keepdims=True)) / np.sqrt(2)
            dq, dk, dv = (
                self.join(ds @ self.k),
                self.join(ds.transpose(0, 2, 1) @ self.q),
                self.join(self.p.transpose(0, 2, 1) @ do),
            )
            self.dWq, self.dWk, self.dWv = self.x.T @ dq, self.x.T @ dk, self.x.T @ dv
            return dq @ self.Wq.T + dk @ self.Wk.T + dv @ self.Wv.T

    return mod(MultiHead, N(133, 5, 4), names="Wq Wk Wv Wo")
