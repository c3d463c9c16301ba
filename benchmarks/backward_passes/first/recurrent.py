"""A recurrent network through time, X is (examples, time, features); the last state is read out; half squared error."""

import numpy as np

from benchmarks.backward_passes.cases import network


def data():
    rng = np.random.default_rng(19)
    m, T, d, h = 6, 4, 3, 6
    parameters = {
        "Wx": rng.normal(size=(d, h)) / 2,
        "Wh": rng.normal(size=(h, h)) / 2,
        "b": 0.1 * rng.normal(size=h),
        "Wy": rng.normal(size=(h, 2)),
        "by": np.zeros(2),
    }
    X = rng.normal(size=(m, T, d))
    return parameters, X, rng.normal(size=(m, 2))


def forward(X, parameters):
    m, T, _ = X.shape
    cache = {"X": X, "h0": np.zeros((m, len(parameters["b"])))}
    for t in range(1, T + 1):
        a = X[:, t - 1] @ parameters["Wx"] + cache[f"h{t - 1}"] @ parameters["Wh"] + parameters["b"]
        cache[f"h{t}"] = np.tanh(a)
    cache["y"] = cache[f"h{T}"] @ parameters["Wy"] + parameters["by"]
    return cache


def loss(y, Y):
    return 0.5 * np.mean(np.sum((y - Y) ** 2, axis=1))


wrong, right = network(forward, loss, data)


@right(convention="1/m in dy, the state's gradient carried in one variable")
def through_time(cache, Y, parameters):
    X, m, T = cache["X"], Y.shape[0], cache["X"].shape[1]
    dy = (cache["y"] - Y) / m
    grads = {"dy": dy, "dWy": cache[f"h{T}"].T @ dy, "dby": dy.sum(axis=0)}
    dWx, dWh, db = (np.zeros_like(parameters[name]) for name in ("Wx", "Wh", "b"))
    dh = dy @ parameters["Wy"].T
    for t in range(T, 0, -1):
        grads[f"dh{t}"] = dh
        da = dh * (1 - cache[f"h{t}"] ** 2)
        dWx += X[:, t - 1].T @ da
        dWh += cache[f"h{t - 1}"].T @ da
        db += da.sum(axis=0)
        dh = da @ parameters["Wh"].T
    return {**grads, "dWx": dWx, "dWh": dWh, "db": db}


@right(convention="summed up in lists, the mean over the examples comes last")
def through_time_with_lists(cache, Y, parameters):
    X, T = cache["X"], cache["X"].shape[1]
    error = cache["y"] - Y
    da, signals = error @ parameters["Wy"].T, []
    for t in reversed(range(T)):
        da = da * (1 - cache[f"h{t + 1}"] ** 2)
        signals.insert(0, da)
        da = da @ parameters["Wh"].T
    m = len(Y)
    return {
        "dWy": cache[f"h{T}"].T @ error / m,
        "dby": error.mean(axis=0),
        "dWx": sum(X[:, t].T @ signals[t] for t in range(T)) / m,
        "dWh": sum(cache[f"h{t}"].T @ signals[t] for t in range(T)) / m,
        "db": sum(signals).mean(axis=0),
    }


@wrong(step="dh3", cause="transposed", subtle=True)
def recurrent_weights_not_transposed(cache, Y, parameters):
    X, m, T = cache["X"], Y.shape[0], cache["X"].shape[1]
    dy = (cache["y"] - Y) / m
    grads = {"dy": dy, "dWy": cache[f"h{T}"].T @ dy, "dby": dy.sum(axis=0)}
    dWx, dWh, db = (np.zeros_like(parameters[name]) for name in ("Wx", "Wh", "b"))
    dh = dy @ parameters["Wy"].T
    for t in range(T, 0, -1):
        grads[f"dh{t}"] = dh
        da = dh * (1 - cache[f"h{t}"] ** 2)
        dWx += X[:, t - 1].T @ da
        dWh += cache[f"h{t - 1}"].T @ da
        db += da.sum(axis=0)
        dh = da @ parameters["Wh"]
    return {**grads, "dWx": dWx, "dWh": dWh, "db": db}


@wrong(step="dWx", cause="missing-term", also=("truncated",), or_step=("dWh", "db"))
def truncated_after_two_steps(cache, Y, parameters):
    X, m, T = cache["X"], Y.shape[0], cache["X"].shape[1]
    dy = (cache["y"] - Y) / m
    dWy, dby = cache[f"h{T}"].T @ dy, dy.sum(axis=0)
    dWx, dWh, db = np.zeros_like(parameters["Wx"]), np.zeros_like(parameters["Wh"]), np.zeros_like(parameters["b"])
    dh = dy @ parameters["Wy"].T
    for t in range(T, T - 2, -1):
        da = dh * (1 - cache[f"h{t}"] ** 2)
        dWx += X[:, t - 1].T @ da
        dWh += cache[f"h{t - 1}"].T @ da
        db += da.sum(axis=0)
        dh = da @ parameters["Wh"].T
    return {"dy": dy, "dWy": dWy, "dby": dby, "dWx": dWx, "dWh": dWh, "db": db}


@wrong(step="dh3", cause="missing-activation-derivative", also=("missing-factor",))
def tanh_left_out_on_the_way_back_in_time(cache, Y, parameters):
    X, m, T = cache["X"], Y.shape[0], cache["X"].shape[1]
    dy = (cache["y"] - Y) / m
    grads = {"dy": dy, "dWy": cache[f"h{T}"].T @ dy, "dby": dy.sum(axis=0)}
    dWx, dWh, db = (np.zeros_like(parameters[name]) for name in ("Wx", "Wh", "b"))
    dh = dy @ parameters["Wy"].T
    for t in range(T, 0, -1):
        grads[f"dh{t}"] = dh
        da = dh * (1 - cache[f"h{t}"] ** 2)
        dWx += X[:, t - 1].T @ da
        dWh += cache[f"h{t - 1}"].T @ da
        db += da.sum(axis=0)
        dh = dh @ parameters["Wh"].T
    return {**grads, "dWx": dWx, "dWh": dWh, "db": db}


@wrong(step="dWh", cause="wrong-operand", also=("wrong-layer",), subtle=True)
def state_after_the_step_for_the_recurrent_weights(cache, Y, parameters):
    X, m, T = cache["X"], Y.shape[0], cache["X"].shape[1]
    dy = (cache["y"] - Y) / m
    grads = {"dy": dy, "dWy": cache[f"h{T}"].T @ dy, "dby": dy.sum(axis=0)}
    dWx, dWh, db = (np.zeros_like(parameters[name]) for name in ("Wx", "Wh", "b"))
    dh = dy @ parameters["Wy"].T
    for t in range(T, 0, -1):
        grads[f"dh{t}"] = dh
        da = dh * (1 - cache[f"h{t}"] ** 2)
        dWx += X[:, t - 1].T @ da
        dWh += cache[f"h{t}"].T @ da
        db += da.sum(axis=0)
        dh = da @ parameters["Wh"].T
    return {**grads, "dWx": dWx, "dWh": dWh, "db": db}


@wrong(step="db", cause="missing-term", also=("truncated",), subtle=True)
def bias_of_the_first_step_only(cache, Y, parameters):
    X, m, T = cache["X"], Y.shape[0], cache["X"].shape[1]
    dy = (cache["y"] - Y) / m
    grads = {"dy": dy, "dWy": cache[f"h{T}"].T @ dy, "dby": dy.sum(axis=0)}
    dWx, dWh = np.zeros_like(parameters["Wx"]), np.zeros_like(parameters["Wh"])
    dh = dy @ parameters["Wy"].T
    for t in range(T, 0, -1):
        grads[f"dh{t}"] = dh
        da = dh * (1 - cache[f"h{t}"] ** 2)
        dWx += X[:, t - 1].T @ da
        dWh += cache[f"h{t - 1}"].T @ da
        dh = da @ parameters["Wh"].T
    db = da.sum(axis=0)
    return {**grads, "dWx": dWx, "dWh": dWh, "db": db}


@right(convention="written into what forward keeps for it")
def states_overwritten_by_their_derivatives(cache, Y, parameters):
    X, m, T = cache["X"], Y.shape[0], cache["X"].shape[1]
    dy = (cache["y"] - Y) / m
    grads = {"dWy": cache[f"h{T}"].T @ dy, "dby": dy.sum(axis=0)}
    dWx, dWh, db = (np.zeros_like(parameters[name]) for name in ("Wx", "Wh", "b"))
    dh = dy @ parameters["Wy"].T
    for t in range(T, 0, -1):
        h = cache[f"h{t}"]
        h *= h
        da = dh * (1 - h)
        dWx += X[:, t - 1].T @ da
        dWh += cache[f"h{t - 1}"].T @ da
        db += da.sum(axis=0)
        dh = da @ parameters["Wh"].T
    return {**grads, "dWx": dWx, "dWh": dWh, "db": db}
