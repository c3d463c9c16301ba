"""A highway layer (a gate between a new value and the old one), and two towers with the same weights."""

import numpy as np

from benchmarks.backward_passes.cases import network


def highway_data():
    rng = np.random.default_rng(139)
    parameters = {
        "Wt": rng.normal(size=(5, 5)) / 2,
        "bt": rng.normal(size=5) - 1,
        "Wh": rng.normal(size=(5, 5)) / 2,
        "bh": 0.1 * rng.normal(size=5),
        "wo": rng.normal(size=(5, 1)),
    }
    return parameters, rng.normal(size=(9, 5)), rng.normal(size=(9, 1))


def highway(X, parameters):
    T = 1 / (1 + np.exp(-(X @ parameters["Wt"] + parameters["bt"])))
    H = np.tanh(X @ parameters["Wh"] + parameters["bh"])
    Y1 = T * H + (1 - T) * X
    out = Y1 @ parameters["wo"]
    return {"X": X, "T": T, "H": H, "Y1": Y1, "out": out}


def mean_squared_error(out, Y):
    return np.mean((out - Y) ** 2)


def tower_data():
    rng = np.random.default_rng(149)
    parameters = {"W": rng.normal(size=(6, 4)) / 2, "b": 0.1 * rng.normal(size=4)}
    X = rng.normal(size=(11, 12))
    return parameters, X, rng.uniform(size=11) * 2


def towers(X, parameters):
    X1, X2 = X[:, :6], X[:, 6:]
    A1 = np.tanh(X1 @ parameters["W"] + parameters["b"])
    A2 = np.tanh(X2 @ parameters["W"] + parameters["b"])
    D = A1 - A2
    dist = np.sum(D**2, axis=1)
    return {"X": X, "A1": A1, "A2": A2, "D": D, "dist": dist}


def half_mean_squared_error(dist, Y):
    return 0.5 * np.mean((dist - Y) ** 2)


wrong, right = network(highway, mean_squared_error, highway_data)
wrong_towers, right_towers = network(towers, half_mean_squared_error, tower_data)


@right(convention="1/m and 2 in dout; the gate's gradient as (H - X)")
def gate_as_a_difference(cache, Y, parameters):
    X, T, H = cache["X"], cache["T"], cache["H"]
    dout = 2 * (cache["out"] - Y) / len(Y)
    dY1 = dout @ parameters["wo"].T
    dT = dY1 * (H - X)
    dH = dY1 * T
    at, ah = dT * T * (1 - T), dH * (1 - H**2)
    dX = dY1 * (1 - T) + at @ parameters["Wt"].T + ah @ parameters["Wh"].T
    return {
        "dout": dout, "dwo": cache["Y1"].T @ dout, "dY1": dY1, "dT": dT, "dH": dH, "dWt": X.T @ at,
        "dbt": at.sum(axis=0), "dWh": X.T @ ah, "dbh": ah.sum(axis=0), "dX": dX,
    }  # fmt: skip


@wrong(step="dT", cause="missing-term", also=("truncated",))
def carry_forgotten_in_the_gate(cache, Y, parameters):
    X, T, H = cache["X"], cache["T"], cache["H"]
    dout = 2 * (cache["out"] - Y) / len(Y)
    dwo = cache["Y1"].T @ dout
    dY1 = dout @ parameters["wo"].T
    dT = dY1 * H
    dH = dY1 * T
    at, ah = dT * T * (1 - T), dH * (1 - H**2)
    return {
        "dout": dout, "dwo": dwo, "dY1": dY1, "dT": dT, "dH": dH,
        "dWt": X.T @ at, "dbt": at.sum(axis=0), "dWh": X.T @ ah, "dbh": ah.sum(axis=0),
    }  # fmt: skip


@wrong(step="dH", cause="wrong-operand", also=("missing-term", "missing-factor", "sign"), subtle=True)
def gates_exchanged(cache, Y, parameters):
    X, T, H = cache["X"], cache["T"], cache["H"]
    dout = 2 * (cache["out"] - Y) / len(Y)
    dY1 = dout @ parameters["wo"].T
    dH = dY1 * (1 - T)
    dT = dY1 * (H - X)
    at, ah = dT * T * (1 - T), dH * (1 - H**2)
    return {
        "dout": dout, "dwo": cache["Y1"].T @ dout, "dY1": dY1, "dH": dH, "dT": dT,
        "dWt": X.T @ at, "dbt": at.sum(axis=0), "dWh": X.T @ ah, "dbh": ah.sum(axis=0),
    }  # fmt: skip


@wrong(step="dX", cause="missing-term", subtle=True)
def carry_path_of_the_input_forgotten(cache, Y, parameters):
    X, T, H = cache["X"], cache["T"], cache["H"]
    m = len(Y)
    dout = 2 * (cache["out"] - Y)
    dY1 = dout @ parameters["wo"].T
    dT = dY1 * (H - X)
    dH = dY1 * T
    at, ah = dT * T * (1 - T), dH * (1 - H**2)
    dX = at @ parameters["Wt"].T + ah @ parameters["Wh"].T
    return {
        "dout": dout, "dwo": cache["Y1"].T @ dout / m, "dY1": dY1, "dT": dT, "dH": dH, "dWt": X.T @ at / m,
        "dbt": at.mean(axis=0), "dWh": X.T @ ah / m, "dbh": ah.mean(axis=0), "dX": dX,
    }  # fmt: skip


@wrong(step="dWt", cause="missing-activation-derivative", or_step=("dbt",))
def gate_without_its_sigmoid(cache, Y, parameters):
    X, T, H = cache["X"], cache["T"], cache["H"]
    dout = 2 * (cache["out"] - Y) / len(Y)
    dwo = cache["Y1"].T @ dout
    dY1 = dout @ parameters["wo"].T
    dT = dY1 * (H - X)
    dH = dY1 * T
    dWt, dbt = X.T @ dT, dT.sum(axis=0)
    ah = dH * (1 - H**2)
    dWh, dbh = X.T @ ah, ah.sum(axis=0)
    return {
        "dout": dout, "dwo": dwo, "dY1": dY1, "dT": dT, "dH": dH, "dWt": dWt, "dbt": dbt, "dWh": dWh, "dbh": dbh,
    }  # fmt: skip


@right_towers(convention="both towers stacked and taken at once")
def towers_stacked(cache, Y, parameters):
    m = len(Y)
    ddist = (cache["dist"] - Y) / m
    dD = 2 * ddist[:, None] * cache["D"]
    A = np.vstack([cache["A1"], cache["A2"]])
    delta = np.vstack([dD, -dD]) * (1 - A**2)
    inputs = np.vstack([cache["X"][:, :6], cache["X"][:, 6:]])
    return {"ddist": ddist, "dD": dD, "dW": inputs.T @ delta, "db": delta.sum(axis=0)}


@wrong_towers(step="dW", cause="missing-term", or_step=("db",))
def second_tower_forgotten(cache, Y, parameters):
    m = len(Y)
    ddist = (cache["dist"] - Y) / m
    dD = 2 * ddist[:, None] * cache["D"]
    delta = dD * (1 - cache["A1"] ** 2)
    return {"ddist": ddist, "dD": dD, "dW": cache["X"][:, :6].T @ delta, "db": delta.sum(axis=0)}


@wrong_towers(step="dA2", cause="sign")
def second_tower_with_the_sign_of_the_first(cache, Y, parameters):
    m = len(Y)
    ddist = (cache["dist"] - Y) / m
    dD = 2 * ddist[:, None] * cache["D"]
    dA1, dA2 = dD, dD
    delta1, delta2 = dA1 * (1 - cache["A1"] ** 2), dA2 * (1 - cache["A2"] ** 2)
    dW = cache["X"][:, :6].T @ delta1 + cache["X"][:, 6:].T @ delta2
    db = delta1.sum(axis=0) + delta2.sum(axis=0)
    return {"ddist": ddist, "dD": dD, "dA1": dA1, "dA2": dA2, "dW": dW, "db": db}


@wrong_towers(step="dD", cause="constant-factor", also=("missing-factor",))
def two_of_the_distance_forgotten(cache, Y, parameters):
    m = len(Y)
    ddist = (cache["dist"] - Y) / m
    dD = ddist[:, None] * cache["D"]
    delta1, delta2 = dD * (1 - cache["A1"] ** 2), -dD * (1 - cache["A2"] ** 2)
    dW = cache["X"][:, :6].T @ delta1 + cache["X"][:, 6:].T @ delta2
    db = np.sum(delta1 + delta2, axis=0)
    return {"ddist": ddist, "dD": dD, "dW": dW, "db": db}


@wrong_towers(step="dW", cause="wrong-operand", also=("wrong-layer",), subtle=True)
def inputs_of_the_first_tower_for_both(cache, Y, parameters):
    m = len(Y)
    ddist = (cache["dist"] - Y) / m
    dD = 2 * ddist[:, None] * cache["D"]
    X1 = cache["X"][:, :6]
    delta1, delta2 = dD * (1 - cache["A1"] ** 2), -dD * (1 - cache["A2"] ** 2)
    dW = X1.T @ delta1 + X1.T @ delta2
    db = np.sum(delta1 + delta2, axis=0)
    return {"ddist": ddist, "dD": dD, "dW": dW, "db": db}
