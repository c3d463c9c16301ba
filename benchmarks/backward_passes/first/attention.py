"""Scaled dot-product attention with one head, as a layer: queries, keys and values in rows."""

import numpy as np

from benchmarks.backward_passes.cases import layer


def forward(Q, K, V):
    d = Q.shape[1]
    S = Q @ K.T / np.sqrt(d)
    E = np.exp(S - S.max(axis=1, keepdims=True))
    A = E / E.sum(axis=1, keepdims=True)
    return A @ V, {"Q": Q, "K": K, "V": V, "A": A}


def inputs():
    rng = np.random.default_rng(31)
    return rng.normal(size=(4, 4)), rng.normal(size=(4, 4)), rng.normal(size=(4, 4))


wrong, right = layer(forward, inputs)


@right(convention="softmax's Jacobian row by row")
def jacobian_row_by_row(dout, cache):
    Q, K, V, A = cache["Q"], cache["K"], cache["V"], cache["A"]
    dA = dout @ V.T
    dS = np.zeros_like(A)
    for i, a in enumerate(A):
        dS[i] = (np.diag(a) - np.outer(a, a)).dot(dA[i])
    dS /= np.sqrt(K.shape[1])
    return dS @ K, dS.T @ Q, A.T @ dout


@wrong(step="dQ", cause="missing-factor", also=("constant-factor",), or_step=("dK",))
def scale_forgotten(dout, cache):
    Q, K, V, A = cache["Q"], cache["K"], cache["V"], cache["A"]
    dV = A.T @ dout
    dA = dout @ V.T
    dS = A * (dA - (dA * A).sum(axis=1, keepdims=True))
    dQ = dS @ K
    dK = dS.T @ Q
    return dQ, dK, dV


@wrong(step="dQ", cause="missing-activation-derivative", also=("missing-factor", "missing-term"), or_step=("dK",))
def softmax_skipped(dout, cache):
    Q, K, V, A = cache["Q"], cache["K"], cache["V"], cache["A"]
    dA = dout @ V.T
    dS = dA / np.sqrt(Q.shape[1])
    return dS @ K, dS.T @ Q, A.T @ dout


@wrong(step="dQ", cause="wrong-activation-derivative", also=("missing-term",), or_step=("dK",))
def softmax_derived_like_a_sigmoid(dout, cache):
    Q, K, V, A = cache["Q"], cache["K"], cache["V"], cache["A"]
    dV = A.T @ dout
    dA = dout @ V.T
    dS = dA * A * (1 - A) / np.sqrt(Q.shape[1])
    dQ = dS @ K
    dK = dS.T @ Q
    return dQ, dK, dV


@wrong(step="dK", cause="transposed", subtle=True)
def scores_not_transposed_for_the_keys(dout, cache):
    Q, K, V, A = cache["Q"], cache["K"], cache["V"], cache["A"]
    dV = A.T @ dout
    dA = dout @ V.T
    dS = A * (dA - (dA * A).sum(axis=1, keepdims=True)) / np.sqrt(Q.shape[1])
    return dS @ K, dS @ Q, dV


@wrong(step="dV", cause="transposed", subtle=True)
def weights_not_transposed_for_the_values(dout, cache):
    Q, K, V, A = cache["Q"], cache["K"], cache["V"], cache["A"]
    dA = dout @ V.T
    dS = A * (dA - np.sum(dA * A, axis=1, keepdims=True)) / np.sqrt(Q.shape[1])
    return dS @ K, dS.T @ Q, A @ dout


@wrong(step="dQ", cause="wrong-operand", also=("transposed",), or_step=("dK",), subtle=True)
def softmax_summed_over_the_queries(dout, cache):
    Q, K, V, A = cache["Q"], cache["K"], cache["V"], cache["A"]
    dA = dout @ V.T
    dS = A * (dA - np.sum(dA * A, axis=0)) / np.sqrt(Q.shape[1])
    return dS @ K, dS.T @ Q, A.T @ dout
