"""`GradientFlow`: a callback that records a network's gradients during training, at a bounded cost."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.arguments import integer, number
from ..core.arrays import as_array
from ..core.node import Recording
from ..core.op import Array
from ..core.reverse import reverse, topological
from ..core.tensor import Tensor
from ..core.transforms import grad
from ..frames import as_inputs, as_targets
from ..io import write_atomically
from ..nn import Sequential, functional_call, losses
from ..nn.activations import LogSoftmax, Softmax
from ..nn.module import Module
from ..nn.naming import Layer, labels
from ..train import Callback, Run
from ..train.weights import unweighted
from . import figures
from .figures import SATURATED

FILE = "gradient_flow.jsonl"
FORMAT, VERSION = "chainrule-gradient-flow", 1

#: Number of intervals between snapshots in a run; at its beginning, and if it ends early, there are more.
PARTS = 50

#: Greatest number of snapshots of a run; ten million epochs have 120.
MOST_SNAPSHOTS = 150

#: Greatest number of layers that are recorded.
MOST_LAYERS = 32

#: The fraction of its share that the callback plans with; the rest is for snapshots that take longer than usual.
PLANNED = 0.85


class GradientFlow(Callback):
    """Write the values and gradients of a network during training into a file for `chainrule.report`.

    A snapshot runs a fixed sample of examples forward and backward, as a training step would (in training mode, with
    the regularisation of the run), and holds for each layer: the distributions of Z, A, dZ and dW, the ratios
    ‖dW‖/‖W‖ and ‖ΔW‖/‖W‖ (ΔW: the update that the optimiser would make of these gradients), the shares of dead units
    and saturated values, and the weights between the units that the report draws. Of a network with more than 32
    layers, 32 are recorded. Training is not affected.

    There is always a snapshot before the first step and one after the last. Between them, there is one after each of
    the first epochs, then after every n-th, about 50 of these, as long as the time of all snapshots stays within the
    callback's share.

    Parameters
    ----------
    folder : str or path
        Receives ``gradient_flow.jsonl``, one line per snapshot, written during the run: a run that is killed keeps its
        lines.
    X, y : arrays
        Examples to take the sample from, as given to ``fit``: the training split, usually.
    rows : int
        Examples in the sample.
    share : float
        Upper limit of the callback's time, as a share of the time of the epochs. Only in a run of few steps can the two
        snapshots that are always taken cost more (each as much as 5 to 40 steps); the report gives the actual cost.

    Attributes
    ----------
    seconds : float
        The time that the callback has taken so far.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    >>> y = (X[:, 0] > 0).astype(np.int64)
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).initialize(0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     flow = cr.GradientFlow(folder, X, y)
    ...     history = cr.fit(model, X, y, epochs=2, callbacks=[flow], progress=False)
    ...     flow.path.name
    'gradient_flow.jsonl'
    """

    def __init__(self, folder: str | os.PathLike[str], X: Any, y: Any, *, rows: int = 64, share: float = 0.05) -> None:
        rows = integer("rows", rows, at_least=1, at_most=256)
        self.path, self.share = Path(folder) / FILE, number("share", share, above=0, at_most=1)
        X, y = as_array(as_inputs(X, "X")[0], "X"), as_array(as_targets(y, "y"), "y")
        if X.ndim == 0 or not len(X) or y.ndim == 0 or len(X) != len(y):
            raise ValueError(f"X, y: expected the same number of examples, at least 1, got {X.shape} and {y.shape}")
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"GradientFlow: there is no folder {self.path.parent}")
        picked = np.sort(np.random.default_rng(0).choice(len(X), min(rows, len(X)), replace=False))
        self._X, self._y = X[picked], y[picked]
        self.seconds = 0.0
        self._usual, self._due = math.inf, 0
        self._latest: int | None = None
        self._snapshot: _Snapshot | None = None

    def on_begin(self, run: Run) -> None:
        """In a new run, begin the file with a snapshot of the initial network."""
        started = time.perf_counter()
        self._snapshot = _Snapshot(run, self._X, self._y)
        if run.step == 0 or not self.path.is_file():
            self.seconds, self._usual, self._due = 0.0, math.inf, 1
            ready = time.perf_counter()
            self._begin_file(run)
            self._usual = time.perf_counter() - ready
        else:
            self._forget_after(run.epoch)
        self._count(started)

    def on_epoch(self, run: Run) -> None:
        """Take a snapshot if one is due in this epoch and there is time for it and for the last one."""
        if run.epoch < self._due or run.epoch == run.epochs:
            return
        started = time.perf_counter()
        if self.seconds + 2 * self._usual > PLANNED * self.share * _trained(run):
            return
        self._due = run.epoch + max(1, min(-(-run.epochs // PARTS), run.epoch // 5))
        self._write(run)
        self._usual = min(self._usual, self._count(started))  # the least: more than that is due to other processes

    def on_end(self, run: Run) -> None:
        """Take a snapshot of the final network, and add a line with what collecting cost."""
        started = time.perf_counter()
        if self._latest != run.epoch or run.history.best_epoch is not None:
            self._write(run)
        self._count(started)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line({"cost": {"seconds": self.seconds, "training": _trained(run)}, "stopped": run.stopping}))
        self._snapshot = None

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"seconds": self.seconds, "usual": self._usual, "due": self._due}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.seconds, self._usual, self._due = state["seconds"], state["usual"], state["due"]

    def _count(self, started: float) -> float:
        """Add the time since then to the callback's total; return it."""
        taken = time.perf_counter() - started
        self.seconds += taken
        return taken

    def _forget_after(self, epoch: int) -> None:
        """Remove the lines of epochs that are trained again, since the run was killed after its last checkpoint."""
        kept = []
        for line in self.path.read_text("utf-8").splitlines(keepends=True):
            with contextlib.suppress(ValueError):  # the last one, half written
                kept += [line] if json.loads(line).get("epoch", 0) <= epoch else []
        write_atomically(self.path, "".join(kept).encode())

    def _begin_file(self, run: Run) -> None:
        assert self._snapshot is not None
        numbers = self._snapshot.take()
        header = {"format": FORMAT, "version": VERSION, "epochs": run.epochs, "batch_size": run.batch_size}
        header |= {
            "rows": len(self._X),
            "share": self.share,
            "of": self._snapshot.of,
            "layers": self._snapshot.described(),
        }
        header["fields"] = self._snapshot.fields()
        self.path.write_text(_line(header) + self._row(run, numbers), encoding="utf-8")

    def _write(self, run: Run) -> None:
        assert self._snapshot is not None
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self._row(run, self._snapshot.take()))

    def _row(self, run: Run, numbers: Array) -> str:
        row: dict[str, Any] = {"epoch": run.epoch, "step": run.step, "weights": run.history.best_epoch or run.epoch}
        row["history"] = run.history[-1] if len(run.history) else {}
        row["figures"] = base64.b64encode(numbers.astype("<f4").tobytes()).decode()
        self._latest = run.epoch
        return _line(row)


class _Snapshot:
    """Passes forward and backward over the sample.

    Computed operation by operation: planning a pass costs as much as many such passes, more than a short run allows.
    """

    def __init__(self, run: Run, X: Array, y: Array) -> None:
        self.training = run.training
        model, dtype = self.training.model, self.training.model.dtype
        self.X = X.astype(dtype) if X.dtype.kind == "f" and dtype is not None else X
        self.y = y.astype(dtype) if y.dtype.kind == "f" and dtype is not None else y
        layers = _layers(model)
        self.drawn = _drawn(layers) if len(layers) <= MOST_LAYERS else {}
        self.layers = [layers[i] for i in figures.spread(len(layers), MOST_LAYERS)]
        self.of = len(layers)
        of_kind: dict[str, Array | None] = {}
        slopes = {layer["activation"]: found for layer in self.layers if (found := _slopes(layer, of_kind)) is not None}
        self.steepest = {name: float(np.max(of)) for name, of in slopes.items()}
        self.one_sided = {name for name, of in slopes.items() if (of[[0, -1]] < SATURATED * np.max(of)).sum() == 1}
        kept = (layer[k] for layer in self.layers for k in ("value", "before", "activation"))
        self._kept = frozenset(name for name in kept if name)
        self._indices: dict[int, Array] = {}
        self._shapes: dict[tuple[int, str], tuple[int, ...]] = {}

    def _pass(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the gradients of the parameters, and values and gradients of the layers by their names."""
        training = self.training
        with Recording("a snapshot of the gradient flow") as recording:
            mark = frozenset({recording})
            parameters = {name: Tensor(value, recordings=mark) for name, value in training.parameters.items()}
            output, _ = functional_call(training.model, {**parameters, **training.buffers}, Tensor(self.X))
            objective = unweighted(training.loss)(output, self.y)
            if training.l1 or training.l2:
                objective = objective + losses.penalty(parameters, l1=training.l1, l2=training.l2)
            named = {node.name: node for node in topological([objective]) if node.name in self._kept}
            found, passed = reverse([objective], [np.ones((), objective.dtype)], list(parameters.values()), keep=True)
        gradients = {name: np.asarray(g) for name, g in zip(parameters, found, strict=True)}
        reached = {name: node for name, node in named.items() if id(node) in passed}
        kept = {name: np.asarray(node.value) for name, node in reached.items()}
        return gradients, kept | {f"d{name}": np.asarray(passed[id(node)]) for name, node in reached.items()}

    def described(self) -> list[dict[str, Any]]:
        """Return the layers, with the units that are drawn."""
        return [
            {k: layer[k] for k in ("name", "weight", "shape")}
            | ({"one_sided": True} if layer["activation"] in self.one_sided else {})
            | self.drawn.get(layer["weight"], {})
            for layer in self.layers
        ]

    def fields(self) -> list[Any]:
        """Return a description of a snapshot's numbers, in their order: [number of the layer, name, shape]."""
        return [[*key, list(shape)] for key, shape in self._shapes.items()]

    def take(self) -> Array:
        """Return the figures of all layers in the order of `fields`, as one vector."""
        parameters = self.training.parameters
        found: dict[tuple[int, str], Array] = {}
        with np.errstate(all="ignore"):
            gradients, kept = self._pass()
            updated = self.training.updated(gradients)
            for i, layer in enumerate(self.layers):
                W = parameters[path := layer["parameter"]]
                row = self._figures(layer, W, gradients[path], updated[path] - W, kept)
                found |= {(i, name): np.asarray(value) for name, value in row.items()}
        self._shapes = {key: value.shape for key, value in found.items()}
        return np.concatenate([value.reshape(-1) for value in found.values()] or [np.zeros(0)])

    def _figures(
        self, layer: dict[str, Any], W: Array, dW: Array, change: Array, kept: Mapping[str, Array]
    ) -> dict[str, Any]:
        Z, A, before = (str(n) if (n := layer[k]) in kept else "" for k in ("value", "activation", "before"))
        row: dict[str, Any] = {"dW": figures.magnitudes(self._some(dW))}
        row |= {"gradient": figures.ratio(dW, W), "update": figures.ratio(change, W)}
        if Z:
            row |= {"Z": figures.distribution(self._some(kept[Z])), "dZ": figures.magnitudes(self._some(kept["d" + Z]))}
        if A:
            row["A"] = figures.distribution(self._some(kept[A]))
        if A in self.steepest and before:
            entering, leaving = (kept["d" + name].reshape(-1, layer["shape"][-1]) for name in (before, A))
            row["dead"], row["saturated"], by_unit = figures.shares(entering, leaving, self.steepest[A])
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
    """Return a dict per trained weight: its path and name, and the names of Z, of the activation's input, and of A."""
    found: list[dict[str, Any]] = []
    named = list(labels(model)) if isinstance(model, Sequential) else []
    names = {label for _, _, label in named}
    givers = {label: layer for layer, attribute, label in named if not attribute}
    own = {id(p): label for layer, attribute, label in named if attribute and (p := getattr(layer, attribute))
           is not None}  # fmt: skip
    for path, parameter in model.named_parameters():
        if len(parameter.shape) < 2 or not parameter.requires_grad:
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


def _drawn(layers: list[dict[str, Any]]) -> dict[str, dict[str, list[int]]]:
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


def _slopes(layer: dict[str, Any], of_kind: dict[str, Array | None]) -> Array | None:
    """Return the sizes of an activation's slope from -8 to 8; None without one that is the same for each element.

    `of_kind` keeps what was found for activations of equal settings.
    """
    giver: Layer | None = layer["giver"]
    if giver is None or isinstance(giver, Softmax | LogSoftmax) or layer["before"] is None or giver.num_parameters:
        return None  # of PReLU, each channel has its own, which are trained

    def total(z: Any) -> Any:
        out = giver(z)
        return np.sum(out) if isinstance(out, Tensor) else out

    kind = f"{type(giver)} {giver._signature()}"
    if kind not in of_kind:
        of_kind[kind] = np.abs(grad(total)(np.linspace(-8.0, 8.0, 161)))
    return of_kind[kind]


def _trained(run: Run) -> float:
    return float(sum(row["seconds"] for row in run.history))


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(figures.finite(row), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
