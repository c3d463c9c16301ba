"""What ``chainrule explain`` does: find the network or the function, make example inputs, derive."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..adapters.program import arguments, attribute, blaming, drawn, imported
from ..adapters.signatures import required
from ..core.arguments import integer
from ..data import preprocessing
from ..io import load
from ..nn import BatchNorm1d, Embedding, LayerNorm, Linear, Module, losses
from . import explain
from .derivation import Derivation

FORMS: dict[str, Callable[[Derivation], str]] = {
    "text": str,
    "markdown": Derivation.to_markdown,
    "latex": Derivation.to_latex,
    "html": Derivation.to_html,
    "numpy": Derivation.to_numpy,
}


def explained(
    target: str, shapes: list[str], loss: str | None, batch_size: int, layout: str, notation: str, seed: int
) -> Derivation:
    """Derive what `target` names: a model file, the folder of a run, or ``file.py:function``.

    Parameters
    ----------
    target : str
    shapes : list of str
        ``"x=3,4"``: draw that argument at random; the others are what the file calls by their names.
    loss : str or None
        For a model: the loss, on the file's Y or y, or on random targets.
    batch_size, seed : int
        For a model: how many random examples; of everything that is random.
    layout, notation : str
        As in `explain`.
    """
    integer("batch_size", batch_size, at_least=1)
    if target.endswith(".py"):
        raise ValueError(f"{target} is a file: expected {target}:NAME, a function or a network in it")
    path, colon, name = target.rpartition(":")
    if colon and path.endswith(".py"):
        return _in_file(Path(path), name, shapes, loss, batch_size, layout, notation, seed)
    place = Path(target)
    model, metadata = load(place / "model.safetensors" if place.is_dir() else place)
    rng = np.random.default_rng(seed)
    if "preprocessing" in metadata:
        X = preprocessing(metadata["preprocessing"]).example(batch_size, rng)
    else:
        X = _inputs(model, batch_size, rng)
    if loss is None:
        return explain(model, X, layout=layout, notation=notation)
    return explain(model, X, _targets(model, X, loss, rng), loss, layout=layout, notation=notation)


def _inputs(model: Module, m: int, rng: np.random.Generator) -> Any:
    for module in model.modules():
        if isinstance(module, Linear):
            return rng.normal(size=(m, module.in_features))
        if isinstance(module, LayerNorm | BatchNorm1d):
            return rng.normal(size=(m, module.features))
        if isinstance(module, Embedding):
            return _ids(model, module, m, rng)
    raise ValueError(
        "no layer of the model says how many inputs it takes (Linear, LayerNorm, BatchNorm1d, Embedding): use "
        "explain(model, X) in Python"
    )


def _ids(model: Module, first: Embedding, m: int, rng: np.random.Generator) -> Any:
    """Return ids of rows that there are: as many for each example as the layer after them takes."""
    widths = [x.in_features for x in model.modules() if isinstance(x, Linear)]
    counts = [widths[0] // first.dimensions] if widths and widths[0] % first.dimensions == 0 else []
    for shape in [*((m, k) for k in counts if k > 1), (m,), (m, 3)]:
        ids = rng.integers(0, first.rows, shape)
        try:
            model(ids)
        except ValueError:
            continue
        return ids
    raise ValueError("no number of ids per example fits the network: use explain(model, X) in Python")


def _targets(model: Module, X: Any, loss: str, rng: np.random.Generator) -> Any:
    """Return random targets of the kind that the loss is for."""
    shape = tuple(model(X).shape)
    tasks = losses.NAMED[loss].tasks if loss in losses.NAMED else ()
    if "multiclass" in tasks and (shape[-1] > 1 or "binary" not in tasks):
        return rng.integers(0, shape[-1], shape[:-1])
    if "binary" in tasks:
        return rng.integers(0, 2, shape).astype(float)
    return np.asarray(losses.activate(loss, rng.normal(size=shape)))


def _in_file(
    path: Path, name: str, shapes: list[str], loss: str | None, m: int, layout: str, notation: str, seed: int
) -> Derivation:
    draws = drawn(shapes, seed)
    with imported(path) as program:
        subject = attribute(program, name, path)
        if isinstance(subject, Module):
            inputs = _examples(program, subject, draws, loss, m, np.random.default_rng(seed))
        else:
            if loss is not None:
                raise ValueError(f"--loss {loss} is for a network; {name} is a function, which contains its loss")
            if not callable(subject):
                raise TypeError(f"{name}: expected a function or a network, got a {type(subject).__name__}")
            inputs = arguments(program, path, required(subject), draws)
        with blaming(path):
            return explain(subject, *inputs, layout=layout, notation=notation)


def _examples(
    program: ModuleType, model: Module, draws: dict[str, Any], loss: str | None, m: int, rng: np.random.Generator
) -> list[Any]:
    """Return X, and with a loss Y and the loss: drawn, or what the file calls so, or random."""
    X = draws["X"] if "X" in draws else getattr(program, "X", None)
    X = _inputs(model, m, rng) if X is None else X
    if loss is None:
        return [X]
    Y = next((getattr(program, n) for n in ("Y", "y") if hasattr(program, n)), None)
    return [X, _targets(model, X, loss, rng) if Y is None else Y, loss]
