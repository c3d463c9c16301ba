"""A model in one file: weights, architecture, and whatever its user needs to feed it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from .. import nn
from .files import write_atomically
from .weights import load_arrays, to_bytes

FORMAT = "chainrule-model"
VERSION = 1

#: A description may ask for so many without having them in its file: then the missing ones can be named.
FEW_PARAMETERS = 1_000_000


def save(path: str | os.PathLike[str], model: nn.Module, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a model to a safetensors file: its weights, and its architecture in the metadata.

    Parameters
    ----------
    path
        The file; replaced atomically if it exists.
    model
        Made of the library's own layers (a custom module has no description that another program could rebuild).
    metadata
        Further entries, of what JSON can hold (preprocessing, class names, settings).

    Raises
    ------
    TypeError
        For a module of a class that the library doesn't know.
    OSError
        When the file cannot be written; an existing one is unchanged then.
    """
    write_atomically(path, model_bytes(model, metadata))


def model_bytes(model: nn.Module, metadata: Mapping[str, Any] | None = None) -> bytes:
    """Return the content of the file that `save` writes."""
    described = {"format": FORMAT, "version": VERSION, "architecture": model.config()}
    clash = sorted(set(described) & set(metadata or {}))
    if clash:
        raise ValueError(f"metadata may not hold {', '.join(clash)}: these names are taken")
    return to_bytes(model.state_dict(), {**(metadata or {}), **described})


def load(path: str | os.PathLike[str]) -> tuple[nn.Module, dict[str, Any]]:
    """Read a model file; return the model (in evaluation mode) and the further metadata.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is no model of this library, or damaged, or its weights don't fit its
        architecture: missing, unexpected, wrong-shaped and wrong-typed ones are named.
    """
    arrays, metadata = load_arrays(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} holds arrays, but no model of this library (its metadata has no format {FORMAT!r})")
    if metadata.get("version") != VERSION:
        raise ValueError(
            f"{path} is a model of format version {metadata.get('version')!r}; this release reads {VERSION}"
        )
    if "architecture" not in metadata:
        raise ValueError(f"{path}: the description of the architecture is missing from its metadata")
    try:
        most = max(sum(a.size for a in arrays.values()), FEW_PARAMETERS)
        model = nn.from_config(metadata["architecture"], max_parameters=most)
        model.load_state_dict(arrays)
        wrong = [
            f"{name} has dtype {arrays[name].dtype}, the model has {array.dtype}"
            for name, array in model.state_dict().items()
            if arrays[name].dtype != array.dtype
        ]
        if wrong:
            raise ValueError(f"the state does not fit this {type(model).__name__}: {'; '.join(wrong[:12])}")
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path}: {error}") from None
    model.eval()
    return model, {k: v for k, v in metadata.items() if k not in ("format", "version", "architecture")}
