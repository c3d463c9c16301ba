"""Causal self-attention with projections, as a layer over one sequence."""

import numpy as np

from benchmarks.backward_passes.cases import layer


def causal(X, Wq, Wk, Wv):
    T, d = X.shape[0], Wq.shape[1]
    Q, K, V = X @ Wq, X @ Wk, X @ Wv
    S = np.where(np.tril(np.ones((T, T))) > 0, Q @ K.T / np.sqrt(d), -1e9)
    P = np.exp(S - S.max(axis=-1, keepdims=True))
    P = P / P.sum(axis=-1, keepdims=True)
    return P @ V, (X, Wq, Wk, Wv, Q, K, V, P)


def sequence():
    rng = np.random.default_rng(191)
    return rng.normal(size=(6, 6)), *(rng.normal(size=(6, 6)) / 2 for _ in range(3))


wrong, right = layer(causal, sequence)


@right(convention="all three paths into X added in one line; the mask needs no step of its own")
def all_paths(dout, cache):
    X, Wq, Wk, Wv, Q, K, V, P = cache
    dV = P.T @ dout
    dP = dout @ V.T
    dS = P * (dP - np.einsum("ij,ij->i", dP, P)[:, None])
    dQ, dK = dS @ K / np.sqrt(Q.shape[1]), dS.T @ Q / np.sqrt(Q.shape[1])
    return dQ @ Wq.T + dK @ Wk.T + dV @ Wv.T, X.T @ dQ, X.T @ dK, X.T @ dV


@wrong(step="dX", cause="missing-term")
def path_through_the_values_only(dout, cache):
    X, Wq, Wk, Wv, Q, K, V, P = cache
    dV = P.T @ dout
    dP = dout @ V.T
    dS = P * (dP - np.sum(dP * P, axis=1, keepdims=True)) / np.sqrt(Q.shape[1])
    dQ, dK = dS @ K, dS.T @ Q
    dX = dV @ Wv.T
    return dX, X.T @ dQ, X.T @ dK, X.T @ dV


@wrong(step="dX", cause="missing-term", subtle=True)
def path_through_the_keys_forgotten(dout, cache):
    X, Wq, Wk, Wv, Q, K, V, P = cache
    dV = P.T @ dout
    dP = dout @ V.T
    dS = P * (dP - np.sum(dP * P, axis=1, keepdims=True)) / np.sqrt(Q.shape[1])
    dQ, dK = dS @ K, dS.T @ Q
    dX = dQ @ Wq.T
    dX += dV @ Wv.T
    return dX, X.T @ dQ, X.T @ dK, X.T @ dV


@wrong(step="dWq", cause="constant-factor", also=("missing-factor",), or_step=("dX", "dWk"), subtle=True)
def divided_by_d_not_its_root(dout, cache):
    X, Wq, Wk, Wv, Q, K, V, P = cache
    d = Q.shape[1]
    dV = P.T @ dout
    dP = dout @ V.T
    dS = P * (dP - np.sum(dP * P, axis=1, keepdims=True)) / d
    dQ, dK = dS @ K, dS.T @ Q
    return dQ @ Wq.T + dK @ Wk.T + dV @ Wv.T, X.T @ dQ, X.T @ dK, X.T @ dV


@wrong(step="dX", cause="wrong-operand", also=("wrong-layer",), or_step=("dWq",), subtle=True)
def queries_and_keys_mixed_up(dout, cache):
    X, Wq, Wk, Wv, Q, K, V, P = cache
    dV = P.T @ dout
    dP = dout @ V.T
    dS = P * (dP - np.sum(dP * P, axis=1, keepdims=True)) / np.sqrt(Q.shape[1])
    dQ, dK = dS @ Q, dS.T @ Q
    return dQ @ Wq.T + dK @ Wk.T + dV @ Wv.T, X.T @ dQ, X.T @ dK, X.T @ dV


@wrong(step="dWv", cause="transposed", also=("wrong-operand",), subtle=True)
def input_not_transposed_for_the_values(dout, cache):
    X, Wq, Wk, Wv, Q, K, V, P = cache
    dV = P.T @ dout
    dP = dout @ V.T
    dS = P * (dP - np.sum(dP * P, axis=1, keepdims=True)) / np.sqrt(Q.shape[1])
    dQ, dK = dS @ K, dS.T @ Q
    return dQ @ Wq.T + dK @ Wk.T + dV @ Wv.T, X.T @ dQ, X.T @ dK, X @ dV
