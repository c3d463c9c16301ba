"""A time series with an LSTM: learn the next value, then let the network run on by itself.

    python examples/time_series_lstm.py [--picture series.png] [--short]

The series is the equation of Mackey and Glass (1977), a usual test for such networks, computed here:
dx/dt = 0.2 x(t - τ) / (1 + x(t - τ)^10) - 0.1 x(t), with τ = 17. It never repeats, but the past determines it. The
network sees 1,600 values; the last 400 are held out. A run takes about a minute (with --short a few seconds).
"""

import argparse

import numpy as np

import chainrule as cr
from chainrule import nn, optim

DELAY, STEPS = 17, 10  # of the equation: τ, and Euler steps for each value


def series(number):
    """Return values of the equation's solution, one for each unit of time, after it has settled."""
    lag = DELAY * STEPS
    x = np.full(lag + (number + 300) * STEPS, 1.2)
    for t in range(lag, len(x) - 1):
        past = x[t - lag]
        x[t + 1] = x[t] + (0.2 * past / (1 + past**10) - 0.1 * x[t]) / STEPS
    return x[lag + 300 * STEPS :: STEPS][:number]


class Forecaster(nn.Module):
    """An LSTM, and an affine map of its state to the change of the series."""

    def __init__(self, hidden):
        self.lstm = nn.LSTM(1, hidden)
        self.last = nn.Linear(hidden, 1)

    def forward(self, X):
        return X + self.last(self.lstm(X))

    def run_on(self, past, steps):
        """Return what follows the past, each value computed from those before it."""
        out, state = self.lstm(past[None, :, None], return_state=True)
        x, found = past[-1] + self.last(out[:, -1:]).value, []
        for _ in range(steps):
            found.append(float(x[0, 0, 0]))
            out, state = self.lstm(x, state, return_state=True)
            x = x + self.last(out).value
        return np.array(found)


def draw(values, train, forecast, history, path):
    """Draw the held-out series with the forecast, and the loss by epoch."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), width_ratios=(2, 1), layout="constrained")
    times = np.arange(train - 100, train + len(forecast))
    left.plot(times, values[times], label="series")
    left.plot(times[100:], forecast, "--", label="the network, running on by itself")
    left.axvline(train, color="gray", linestyle=":")
    left.set(xlabel="t", ylabel="x")
    left.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    right.semilogy(np.arange(1, len(history) + 1), history["loss"])
    right.set(xlabel="epoch", ylabel="mean squared error")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description="A time series with an LSTM")
    parser.add_argument("--picture", help="a file to draw into; needs matplotlib")
    parser.add_argument("--short", action="store_true", help="few epochs")
    asked = parser.parse_args()
    train, window, epochs = 1600, 50, 3 if asked.short else 60
    values = series(train + 400).astype(np.float32)
    starts = np.arange(0, train - window, 7)
    X = np.stack([values[s : s + window, None] for s in starts])
    y = np.stack([values[s + 1 : s + window + 1, None] for s in starts])

    model = Forecaster(hidden=8 if asked.short else 32).initialize(0)
    optimizer = optim.Adam(optim.Cosine(5e-3, epochs * -(-len(X) // 16)))
    history = cr.fit(model, X, y, loss="mse", optimizer=optimizer, epochs=epochs, batch_size=16)
    held = values[train:]
    one_step = cr.predict(model, held[None, :-1, None])[0, :, 0]
    error, usual = (float(np.sqrt(np.mean((held[1:] - guess) ** 2))) for guess in (one_step, held[:-1]))
    print(f"next value: error {error:.4f}; saying that nothing changes: {usual:.4f}")
    forecast = model.run_on(values[train - 200 : train], 20 if asked.short else 100)
    print(f"running on by itself: error {np.sqrt(np.mean((forecast - held[: len(forecast)]) ** 2)):.3f}")
    assert history["loss"][-1] < history["loss"][0]
    if asked.picture:
        draw(values, train, forecast, history, asked.picture)


if __name__ == "__main__":
    main()
