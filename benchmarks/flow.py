"""The cost of `GradientFlow`: calls of fit with and without it, in alternation.

    python -m benchmarks.flow [--seconds 20]

For each run: the time of fit without the callback, the median of the pairwise differences, what the callback says that
it took, that as a share of the epochs' time, and the snapshots it had for it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from benchmarks.machine import machine_record
from chainrule import nn


@dataclass(frozen=True)
class Case:
    """A run: sizes of the layers, the activation between them, rows and epochs."""

    sizes: tuple[int, ...]
    activation: Callable[[], nn.Module]
    rows: int
    epochs: int

    @property
    def name(self) -> str:
        """For the table."""
        depth = f"{self.sizes[0]}-({self.sizes[1]})×{len(self.sizes) - 2}-{self.sizes[-1]}"
        return (depth if len(self.sizes) > 5 else "-".join(map(str, self.sizes))) + f", {self.epochs} epochs"


CASES = (
    Case((64, 32, 10), nn.ReLU, 1500, 30),
    Case((64, 256, 128, 10), nn.ReLU, 1500, 30),
    Case((64, 256, 128, 10), nn.ReLU, 1500, 200),
    Case((64, *[32] * 29, 10), nn.Tanh, 1500, 100),
    Case((784, 256, 128, 10), nn.ReLU, 20_000, 5),
)


def fitted(case: Case, folder: Path | None) -> tuple[float, float, float, int]:
    """Return the seconds of a fit, those of its epochs, those that the callback says it took, and its snapshots."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(case.rows, case.sizes[0])).astype(np.float32)
    y = rng.integers(0, case.sizes[-1], case.rows)
    layers: list[nn.Module] = []
    for a, b in zip(case.sizes, case.sizes[1:], strict=False):
        layers += [nn.Linear(a, b), case.activation()]
    model = nn.Sequential(*layers[:-1]).initialize(0)
    started = time.perf_counter()
    flow = cr.GradientFlow(folder, X, y) if folder else None
    history = cr.fit(model, X, y, epochs=case.epochs, callbacks=[flow] if flow else [], progress=False)
    whole = time.perf_counter() - started
    snapshots = len(flow.path.read_text().splitlines()) - 2 if flow else 0
    return whole, sum(history["seconds"]), flow.seconds if flow else 0.0, snapshots


def measured(case: Case, seconds: float) -> dict[str, Any]:
    """Fit alternately with and without the callback for the given seconds, at least three times."""
    ends, rounds = time.perf_counter() + seconds, []
    fitted(case, None)
    with tempfile.TemporaryDirectory() as folder:
        while len(rounds) < 3 or time.perf_counter() < ends:
            rounds.append((fitted(case, None), fitted(case, Path(folder))))
    plain, with_it = np.array([r[0] for r in rounds]), np.array([r[1] for r in rounds])
    return {
        "rounds": len(rounds), "fit": np.median(plain[:, 0]), "epochs": np.median(with_it[:, 1]),
        "more": np.median(with_it[:, 0] - plain[:, 0]), "says": np.median(with_it[:, 2]),
        "share": np.median(with_it[:, 2] / with_it[:, 1]), "snapshots": np.median(with_it[:, 3]),
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="for all runs together")
    given = parser.parse_args(arguments)
    machine = machine_record(["numpy"])
    print(f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_average']}\n")
    print(f"{'run':<32}{'fits':>6}{'fit':>11}{'epochs':>11}{'more':>11}{'says':>11}{'share':>8}{'snapshots':>11}")
    for case in CASES:
        m = measured(case, given.seconds / len(CASES))
        times = "".join(f"{f'{1e3 * m[k]:.1f} ms':>11}" for k in ("fit", "epochs", "more", "says"))
        share = f"{100 * m['share']:.1f} %"
        print(f"{case.name:<32}{2 * m['rounds']:>6}{times}{share:>8}{m['snapshots']:>11.0f}", flush=True)


if __name__ == "__main__":
    main()
