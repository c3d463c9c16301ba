"""An LSTM's step as a layer, and a recurrent network that answers at every step, examples in columns."""

import numpy as np

from benchmarks.backward_passes.cases import layer, network


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm_step(x, h_prev, c_prev, W, b):
    H = h_prev.shape[1]
    z = np.hstack([x, h_prev]) @ W + b
    i, f, o = sigmoid(z[:, :H]), sigmoid(z[:, H : 2 * H]), sigmoid(z[:, 2 * H : 3 * H])
    g = np.tanh(z[:, 3 * H :])
    c = f * c_prev + i * g
    h = o * np.tanh(c)
    return h, (x, h_prev, c_prev, W, i, f, o, g, c)


def step_inputs():
    rng = np.random.default_rng(179)
    m, D, H = 4, 4, 4
    states = rng.normal(size=(m, D)), rng.normal(size=(m, H)), rng.normal(size=(m, H))
    return *states, rng.normal(size=(D + H, 4 * H)) / 2, 0.2 * rng.normal(size=4 * H)


wrong_lstm, right_lstm = layer(lstm_step, step_inputs)


@right_lstm(convention="gates' gradients in one array, joined with hstack")
def lstm_right(dh, cache):
    x, h_prev, c_prev, W, i, f, o, g, c = cache
    tc = np.tanh(c)
    do = dh * tc
    dc = dh * o * (1 - tc * tc)
    dz = np.hstack([dc * g * i * (1 - i), dc * c_prev * f * (1 - f), do * o * (1 - o), dc * i * (1 - g * g)])
    dxh = dz @ W.T
    D = x.shape[1]
    return dxh[:, :D], dxh[:, D:], dc * f, np.hstack([x, h_prev]).T @ dz, dz.sum(axis=0)


@wrong_lstm(
    step="dx",
    cause="missing-activation-derivative",
    also=("missing-factor",),
    or_step=("dh_prev", "dc_prev", "dW", "db"),
)
def tanh_of_the_cell_not_derived(dh, cache):
    x, h_prev, c_prev, W, i, f, o, g, c = cache
    do = dh * np.tanh(c)
    dc = dh * o
    di, df, dg = dc * g, dc * c_prev, dc * i
    dz = np.hstack([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)])
    dxh = dz @ W.T
    D = x.shape[1]
    return dxh[:, :D], dxh[:, D:], dc * f, np.hstack([x, h_prev]).T @ dz, dz.sum(axis=0)


@wrong_lstm(step="dc_prev", cause="wrong-operand", also=("wrong-layer",), subtle=True)
def input_gate_for_the_old_cell(dh, cache):
    x, h_prev, c_prev, W, i, f, o, g, c = cache
    tc = np.tanh(c)
    dc = dh * o * (1 - tc**2)
    di, df, do, dg = dc * g, dc * c_prev, dh * tc, dc * i
    dz = np.hstack([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)])
    dxh = dz @ W.T
    D = x.shape[1]
    return dxh[:, :D], dxh[:, D:], dc * i, np.hstack([x, h_prev]).T @ dz, dz.sum(axis=0)


@wrong_lstm(
    step="dx",
    cause="wrong-activation-derivative",
    also=("wrong-operand",),
    or_step=("dh_prev", "dW", "db"),
    subtle=True,
)
def candidate_derived_like_a_gate(dh, cache):
    x, h_prev, c_prev, W, i, f, o, g, c = cache
    tc = np.tanh(c)
    dc = dh * o * (1 - tc**2)
    gates = np.hstack([i, f, o, g])
    dgates = np.hstack([dc * g, dc * c_prev, dh * tc, dc * i])
    dz = dgates * gates * (1 - gates)
    dxh = dz @ W.T
    D = x.shape[1]
    return dxh[:, :D], dxh[:, D:], dc * f, np.hstack([x, h_prev]).T @ dz, dz.sum(axis=0)


@wrong_lstm(step="dx", cause="wrong-operand", also=("wrong-layer",), or_step=("dh_prev",), subtle=True)
def parts_of_the_input_exchanged(dh, cache):
    x, h_prev, c_prev, W, i, f, o, g, c = cache
    tc = np.tanh(c)
    dc = dh * o * (1 - tc**2)
    di, df, do, dg = dc * g, dc * c_prev, dh * tc, dc * i
    dz = np.hstack([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)])
    dxh = dz @ W.T
    D = x.shape[1]
    return dxh[:, D:], dxh[:, :D], dc * f, np.hstack([x, h_prev]).T @ dz, dz.sum(axis=0)


def data():
    rng = np.random.default_rng(181)
    n_a, n_x, m, T = 5, 3, 7, 3
    parameters = {
        "Waa": rng.normal(size=(n_a, n_a)) / 2,
        "Wax": rng.normal(size=(n_a, n_x)) / 2,
        "ba": 0.1 * rng.normal(size=(n_a, 1)),
        "Wya": rng.normal(size=(1, n_a)),
        "by": np.zeros((1, 1)),
    }
    return parameters, rng.normal(size=(T, n_x, m)), rng.normal(size=(T, m))


def forward(X, parameters):
    T, _, m = X.shape
    cache = {"X": X, "a0": np.zeros((len(parameters["ba"]), m))}
    outputs = []
    for t in range(1, T + 1):
        state = parameters["Waa"] @ cache[f"a{t - 1}"] + parameters["Wax"] @ X[t - 1] + parameters["ba"]
        cache[f"a{t}"] = np.tanh(state)
        outputs.append((parameters["Wya"] @ cache[f"a{t}"] + parameters["by"])[0])
    cache["Yhat"] = np.stack(outputs)
    return cache


def loss(Yhat, Y):
    return np.sum((Yhat - Y) ** 2) / (2 * Y.shape[1])


wrong, right = network(forward, loss, data)


@right(convention="the carried signal is da_next, as in the course; 1/m at once")
def carried_signal(cache, Y, parameters):
    X, T, m = cache["X"], len(Y), Y.shape[1]
    dYhat = (cache["Yhat"] - Y) / m
    grads = {"d" + name: np.zeros_like(value) for name, value in parameters.items()}
    da_next = np.zeros_like(cache["a0"])
    for t in range(T, 0, -1):
        da = parameters["Wya"].T @ dYhat[t - 1 : t] + da_next
        dz = (1 - cache[f"a{t}"] ** 2) * da
        grads["dWya"] += dYhat[t - 1 : t] @ cache[f"a{t}"].T
        grads["dby"] += dYhat[t - 1].sum()
        grads["dWaa"] += dz @ cache[f"a{t - 1}"].T
        grads["dWax"] += dz @ X[t - 1].T
        grads["dba"] += dz.sum(axis=1, keepdims=True)
        da_next = parameters["Waa"].T @ dz
        grads[f"da{t}"] = da
    return {"dYhat": dYhat, **grads}


@wrong(step="da2", cause="missing-term", also=("truncated",), subtle=True)
def signal_of_the_later_steps_not_carried(cache, Y, parameters):
    X, T, m = cache["X"], len(Y), Y.shape[1]
    dYhat = (cache["Yhat"] - Y) / m
    signals, sums = {}, {"d" + name: np.zeros_like(value) for name, value in parameters.items()}
    for t in range(T, 0, -1):
        da = parameters["Wya"].T @ dYhat[t - 1 : t]
        dz = (1 - cache[f"a{t}"] ** 2) * da
        sums["dWya"] += dYhat[t - 1 : t] @ cache[f"a{t}"].T
        sums["dby"] += dYhat[t - 1].sum()
        sums["dWaa"] += dz @ cache[f"a{t - 1}"].T
        sums["dWax"] += dz @ X[t - 1].T
        sums["dba"] += dz.sum(axis=1, keepdims=True)
        signals[f"da{t}"] = da
    return {"dYhat": dYhat, **signals, **sums}


@wrong(
    step="da2",
    cause="missing-term",
    also=(
        "truncated",
        "wrong-operand",
    ),
    subtle=True,
)
def carried_signal_replaces_that_of_the_output(cache, Y, parameters):
    X, T, m = cache["X"], len(Y), Y.shape[1]
    dYhat = (cache["Yhat"] - Y) / m
    signals, sums = {}, {"d" + name: np.zeros_like(value) for name, value in parameters.items()}
    da = parameters["Wya"].T @ dYhat[T - 1 :]
    for t in range(T, 0, -1):
        signals[f"da{t}"] = da
        dz = (1 - cache[f"a{t}"] ** 2) * da
        sums["dWya"] += dYhat[t - 1 : t] @ cache[f"a{t}"].T
        sums["dby"] += dYhat[t - 1].sum()
        sums["dWaa"] += dz @ cache[f"a{t - 1}"].T
        sums["dWax"] += dz @ X[t - 1].T
        sums["dba"] += dz.sum(axis=1, keepdims=True)
        da = parameters["Waa"].T @ dz
    return {"dYhat": dYhat, **signals, **sums}


@wrong(step="dWax", cause="wrong-layer", also=("wrong-operand", "wrong-time-step"), subtle=True)
def input_of_the_step_before(cache, Y, parameters):
    X, T, m = cache["X"], len(Y), Y.shape[1]
    dYhat = (cache["Yhat"] - Y) / m
    signals, sums = {}, {"d" + name: np.zeros_like(value) for name, value in parameters.items()}
    da_next = 0
    for t in range(T, 0, -1):
        da = parameters["Wya"].T @ dYhat[t - 1 : t] + da_next
        signals[f"da{t}"] = da
        dz = (1 - cache[f"a{t}"] ** 2) * da
        sums["dWya"] += dYhat[t - 1 : t] @ cache[f"a{t}"].T
        sums["dby"] += dYhat[t - 1].sum()
        sums["dWaa"] += dz @ cache[f"a{t - 1}"].T
        sums["dWax"] += dz @ X[t - 2].T
        sums["dba"] += dz.sum(axis=1, keepdims=True)
        da_next = parameters["Waa"].T @ dz
    return {"dYhat": dYhat, **signals, **sums}


@wrong(step="dWaa", cause="missing-term", also=("truncated", "accumulates", "wrong-operand"), subtle=True)
def recurrent_gradient_overwritten_at_each_step(cache, Y, parameters):
    X, T, m = cache["X"], len(Y), Y.shape[1]
    dYhat = (cache["Yhat"] - Y) / m
    dWya, dby, dWax, dba = (np.zeros_like(parameters[name]) for name in ("Wya", "by", "Wax", "ba"))
    da_next = np.zeros_like(cache["a0"])
    for t in range(T, 0, -1):
        da = parameters["Wya"].T @ dYhat[t - 1 : t] + da_next
        dz = (1 - cache[f"a{t}"] ** 2) * da
        dWya += dYhat[t - 1 : t] @ cache[f"a{t}"].T
        dby += dYhat[t - 1].sum()
        if t > 1:
            dWaa = dz @ cache[f"a{t - 1}"].T
        dWax += dz @ X[t - 1].T
        dba += dz.sum(axis=1, keepdims=True)
        da_next = parameters["Waa"].T @ dz
    return {"dYhat": dYhat, "dWya": dWya, "dby": dby, "dWax": dWax, "dba": dba, "dWaa": dWaa}
