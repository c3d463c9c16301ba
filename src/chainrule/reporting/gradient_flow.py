"""`GradientFlow`: a callback that looks at a network while it is trained, at a bounded cost."""

from __future__ import annotations

import base64
import itertools
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..compile import Compiled, compile
from ..nn import Sequential, functional_call, losses
from ..nn.activations import Softmax
from ..nn.module import Module
from ..nn.naming import Layer, labels
from ..op import Array
from ..tensor import Tensor
from ..train import Callback, Run
from ..transforms import grad, value_and_grad
from . import figures

FILE = "gradient_flow.jsonl"
FORMAT, VERSION = "chainrule-gradient-flow", 1

#: Snapshots of a run, at most, beside the one before the first step and the one after the last.
MOST_SNAPSHOTS = 50


class GradientFlow(Callback):
    """Write what flows through a network, from the first step to the last epoch, into a file for `chainrule.report`.

    A snapshot runs a fixed sample of examples forward and backward, as a training step would (in training mode, with
    the regularisation of the run), and holds for each layer: the distributions of Z, A, dZ and dW, the ratios
    ‖dW‖/‖W‖ and ‖ΔW‖/‖W‖ (ΔW: the update that the optimiser would make of these gradients), the shares of dead units
    and saturated values, and the weights between the units that the report draws. Nothing of the training changes.

    There is one before the first step and one after the last; between them one after every n-th epoch, at most 50 in
    all, left out as long as it would take the callback above its share of the time.

    Parameters
    ----------
    folder : str or path
        Gets ``gradient_flow.jsonl``, a line a snapshot, written as the run goes: one that is killed keeps its lines.
    X, y : arrays
        Examples to take the sample from, as given to ``fit``: the training part, usually.
    rows : int
        Examples in the sample.
    share : float
        The callback's time in the epochs, as a share of their time so far, at most. (What is done before the first and
        after the last isn't bounded: planning, as for the training step itself, and a snapshot each. The report says
        how long that took, too.)

    Attributes
    ----------
    seconds : float
        For the snapshots between the epochs.
    outside : float
        Before the first epoch and after the last.
    """

    def __init__(self, folder: str | os.PathLike[str], X: Any, y: Any, *, rows: int = 64, share: float = 0.05) -> None:
        if isinstance(rows, bool) or not hasattr(rows, "__index__") or not 1 <= rows <= 256:
            raise ValueError(f"rows is {rows!r}; a whole number from 1 to 256 would do")
        if not 0 < share <= 1:
            raise ValueError(f"share is {share!r}; a number above 0, up to 1, would do")
        X, y = np.asarray(X), np.asarray(y)
        if X.ndim == 0 or not len(X) or y.ndim == 0 or len(X) != len(y):
            raise ValueError(f"X has shape {X.shape}, y has {y.shape}; they need the same rows, one or more")
        self.path, self.share = Path(folder) / FILE, float(share)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"GradientFlow: there is no folder {self.path.parent}")
        picked = np.sort(np.random.default_rng(0).choice(len(X), min(int(rows), len(X)), replace=False))
        self._X, self._y = X[picked], y[picked]
        self.seconds, self.outside = 0.0, 0.0
        self._usual, self._due = math.inf, 0
        self._latest: int | None = None
        self._snapshot: _Snapshot | None = None

    def on_begin(self, run: Run) -> None:
        """Plan the pass; in a new run, begin the file and look at the network as it is."""
        started = time.perf_counter()
        self._snapshot = _Snapshot(run, self._X, self._y)
        self._snapshot.take()  # plans; from here on one costs what all cost
        if run.step == 0 or not self.path.is_file():
            self.seconds, self._usual, self._due = 0.0, math.inf, 1
            header = {"format": FORMAT, "version": VERSION, "epochs": run.epochs, "batch_size": run.batch_size}
            header |= {"rows": len(self._X), "share": self.share, "layers": self._snapshot.described()}
            header["fields"] = self._snapshot.fields()
            self.path.write_text(_line(header), encoding="utf-8")
            self._written(run)
        self.outside = time.perf_counter() - started

    def on_epoch(self, run: Run) -> None:
        """Take a snapshot, if it is the turn of this epoch and there is time for it."""
        if run.epoch < self._due or run.epoch == run.epochs:
            return
        # a fifth stays in reserve for one that takes longer than usual
        if self.seconds + self._usual > 0.8 * self.share * _trained(run):
            return
        every = -(-run.epochs // MOST_SNAPSHOTS)
        self._due = run.epoch - run.epoch % every + every
        self.seconds += self._written(run)

    def on_end(self, run: Run) -> None:
        """Look at the network as it was left, and add a line with what all that cost."""
        started = time.perf_counter()
        if self._latest != run.epoch or run.history.best_epoch is not None:
            self._write(run)
        self.outside += time.perf_counter() - started
        cost = {"seconds": self.seconds, "outside": self.outside, "training": _trained(run)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line({"cost": cost, "stopped": run.stopping}))
        self._snapshot = None

    def state(self) -> dict[str, Any]:
        """Return what a run that goes on needs."""
        return {"seconds": self.seconds, "usual": self._usual, "due": self._due}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `state` returned."""
        self.seconds, self._usual, self._due = state["seconds"], state["usual"], state["due"]

    def _written(self, run: Run) -> float:
        """Write a snapshot and return how long it took."""
        started = time.perf_counter()
        self._write(run)
        taken = time.perf_counter() - started
        self._usual = min(self._usual, taken)  # the least: what is more is the machine's other work
        return taken

    def _write(self, run: Run) -> None:
        assert self._snapshot is not None
        numbers = np.concatenate(list(self._snapshot.take().values()), dtype="<f4", casting="unsafe")
        row: dict[str, Any] = {"epoch": run.epoch, "step": run.step, "weights": run.history.best_epoch or run.epoch}
        row["history"] = run.history[-1] if len(run.history) else {}
        row["figures"] = base64.b64encode(numbers.tobytes()).decode()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(row))
        self._latest = run.epoch


class _Snapshot:
    """One pass forward and backward over the sample, planned once."""

    def __init__(self, run: Run, X: Array, y: Array) -> None:
        self.training = run.training
        model, dtype = self.training.model, self.training.model.dtype
        self.X = X.astype(dtype) if X.dtype.kind == "f" and dtype is not None else X
        self.y = y.astype(dtype) if y.dtype.kind == "f" and dtype is not None else y
        self.layers = _layers(model)
        self.drawn = _drawn(model, self.layers)
        self.steepest = {layer["activation"]: slope for layer in self.layers if (slope := _steepest(model, layer))}
        self._indices: dict[int, Array] = {}
        self._shaped: dict[tuple[int, str], Array] = {}
        self._pass = self._compiled(model)

    def _compiled(self, model: Module) -> Compiled:
        loss, l1, l2 = self.training.loss, self.training.l1, self.training.l2

        def objective(parameters: Mapping[str, Any], buffers: Mapping[str, Any], x: Any, y: Any) -> Any:
            output, _ = functional_call(model, {**parameters, **buffers}, x)
            total = loss(output, y)
            return total + losses.penalty(parameters, l1=l1, l2=l2) if l1 or l2 else total

        kept = [n for layer in self.layers for n in (layer["before"], layer["activation"]) if n]
        kept += [n for layer in self.layers if (n := layer["value"]) and n not in kept]
        self._keeps = bool(kept)  # compile returns the kept values beside the result only then
        return compile(
            value_and_grad(objective),
            keep=[*kept, *(f"d{n}" for n in kept)],
            engine=self.training._engine,
            threads=self.training.threads,
        )

    def described(self) -> list[dict[str, Any]]:
        """Return the layers, with which of their units are drawn."""
        return [{k: layer[k] for k in ("name", "weight", "shape")} | self.drawn.get(layer["weight"], {})
                for layer in self.layers]  # fmt: skip

    def fields(self) -> list[Any]:
        """Return what the numbers of a snapshot are, in their order: [number of the layer, name, shape]."""
        return [[*key, list(value.shape)] for key, value in self._shaped.items()]

    def take(self) -> dict[tuple[int, str], Array]:
        """Return the figures of each layer by (number of the layer, name), flat."""
        parameters, buffers = self.training.parameters, self.training.buffers
        found: dict[tuple[int, str], Any] = {}
        with np.errstate(all="ignore"):
            result = self._pass(parameters, buffers, self.X, self.y)
            (_, gradients), kept = result if self._keeps else (result, {})
            updated = self.training.updated(gradients)
            for i, layer in enumerate(self.layers):
                W = parameters[path := layer["parameter"]]
                row = self._figures(layer, W, gradients[path], updated[path] - W, kept)
                found |= {(i, name): np.asarray(value) for name, value in row.items()}
        self._shaped = found
        return {key: value.reshape(-1) for key, value in found.items()}

    def _figures(
        self, layer: dict[str, Any], W: Array, dW: Array, change: Array, kept: Mapping[str, Array]
    ) -> dict[str, Any]:
        Z, A, before = layer["value"], layer["activation"], layer["before"]
        row: dict[str, Any] = {"dW": figures.magnitudes(self._some(dW))}
        row |= {"gradient": figures.ratio(dW, W), "update": figures.ratio(change, W)}
        if Z:
            row |= {"Z": figures.distribution(self._some(kept[Z])), "dZ": figures.magnitudes(self._some(kept["d" + Z]))}
        if A:
            row["A"] = figures.distribution(self._some(kept[A]))
        if A in self.steepest:
            before, after = (kept["d" + name].reshape(-1, layer["shape"][-1]) for name in (before, A))
            row["dead"], row["saturated"], by_unit = figures.shares(before, after, self.steepest[A])
            if layer["weight"] in self.drawn:
                row["units saturated"] = by_unit[self.drawn[layer["weight"]]["units"]]
        if layer["weight"] in self.drawn:
            drawn = self.drawn[layer["weight"]]
            some = np.ix_(drawn["inputs"], drawn["units"])
            row["units dZ"] = figures.root_mean_square(kept["d" + Z].reshape(-1, W.shape[1]), drawn["units"])
            row |= {"edges W": W[some], "edges dW": dW[some], "edges update": change[some]}
        return row

    def _some(self, values: Array) -> Array:
        flat = values.reshape(-1)
        if flat.size not in self._indices:
            self._indices[flat.size] = figures.sampled(flat.size)
        return flat[self._indices[flat.size]] if len(self._indices[flat.size]) < flat.size else flat


def _layers(model: Module) -> list[dict[str, Any]]:
    """Return a dict a weight: its path and name, and the names of Z, of the activation's input, and of A."""
    found: list[dict[str, Any]] = []
    named = list(labels(model)) if isinstance(model, Sequential) else []
    names = {label for _, _, label in named}
    givers = {label: layer for layer, attribute, label in named if not attribute}
    own = {id(p): label for layer, attribute, label in named if attribute and (p := getattr(layer, attribute))
           is not None}  # fmt: skip
    for path, parameter in model.named_parameters():
        if len(parameter.shape) < 2:
            continue
        weight = own.get(id(parameter), path)
        number = weight[1:] if weight[0] == "W" and weight[1:].isdigit() else ""
        value, activation, norm = (f"{letter}{number}" if f"{letter}{number}" in names else None for letter in "ZAN")
        found.append({
            "name": f"layer {number}" if number else path, "weight": weight, "parameter": path,
            "shape": list(parameter.shape), "value": value, "activation": activation,
            "before": (norm or value) if activation else None, "giver": givers.get(activation or ""),
        })  # fmt: skip
    return found


def _drawn(model: Module, layers: list[dict[str, Any]]) -> dict[str, dict[str, list[int]]]:
    """Return which units of which layers are drawn; nothing unless the network is a chain of matrices."""
    shapes = [layer["shape"] for layer in layers]
    chained = all(len(s) == 2 for s in shapes) and all(a[1] == b[0] for a, b in itertools.pairwise(shapes))
    if not layers or not chained or not all(layer["value"] for layer in layers):
        return {}
    return {
        layer["weight"]: {"inputs": figures.drawn_units(layer["shape"][0]),
                          "units": figures.drawn_units(layer["shape"][1])}
        for layer in layers
    }  # fmt: skip


def _steepest(model: Module, layer: dict[str, Any]) -> float | None:
    """Return the largest slope of a layer's activation; None without one that works element by element."""
    giver: Layer | None = layer["giver"]
    if giver is None or isinstance(giver, Softmax) or layer["before"] is None:
        return None

    def total(z: Any) -> Any:
        out = giver(z)
        return np.sum(out) if isinstance(out, Tensor) else out

    slopes = grad(total)(np.linspace(-8.0, 8.0, 161))
    return float(np.max(np.abs(slopes)))


def _trained(run: Run) -> float:
    return float(sum(row["seconds"] for row in run.history))


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(figures.finite(row), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
