"""A model in one file: weights, architecture, and whatever its user needs to feed it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import nn
from ..core.op import Array
from ..nn.describe import KNOWN, check_size
from ..nn.module import require_module
from .files import write_atomically
from .weights import DIGEST, load_checked, shown, texts_of, with_texts

FORMAT = "chainrule-model"
VERSION = 2  # since 2 with a digest
UNDIGESTED = "written without a digest by an early version, so damage to its numbers cannot be noticed"
COLUMNS = "input_columns"  # there if the model was trained with a data frame
FROZEN = "frozen_parameters"  # there if it has some

#: Its architecture, classes and preprocessing are short texts.
MOST_HEADER_BYTES = 16_000_000

#: Greatest number of parameters that a description may need but its file not hold, so that they can be named.
FEW_PARAMETERS = 1_000_000


def save(path: str | os.PathLike[str], model: nn.Module, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a model to a safetensors file: its weights, and its architecture in the metadata.

    The columns that it was trained with (``model.feature_names``) and which parameters are frozen go with it.

    Parameters
    ----------
    path
        The file; replaced atomically if it exists.
    model
        Made of chainrule's layers (a custom module has no description that another program could rebuild).
    metadata
        Further entries that JSON can hold (preprocessing, class names, settings).

    Raises
    ------
    TypeError
        For a custom module, and for a model that its description would not build again: a layer occurs in it twice, or
        has more or fewer parameters than such layers have.
    ValueError
        For metadata that JSON cannot hold, or that are too long.
    OSError
        When the file cannot be written; an existing one is unchanged then.

    Examples
    --------
    >>> import os, tempfile
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "model.safetensors")
    ...     cr.save(file, nn.Sequential(nn.Linear(4, 2)), {"classes": ["no", "yes"]})
    ...     model, metadata = cr.load(file)
    >>> model
    Sequential()
      (0) Linear(4, 2)  weight (4, 2), bias (2,)  10
    10 parameters, float32
    >>> metadata
    {'classes': ['no', 'yes']}
    """
    write_atomically(path, model_bytes(model, metadata))


def model_bytes(model: nn.Module, metadata: Mapping[str, Any] | None = None) -> bytes:
    """Return the content of the file that `save` writes.

    Examples
    --------
    >>> from chainrule import io, nn
    >>> b"architecture" in io.model_bytes(nn.Linear(4, 2))
    True
    """
    require_module(model)
    _check_classes(model)
    described: dict[str, Any] = {"format": FORMAT, "version": VERSION, "architecture": model.config()}
    arrays = model.state_dict()
    _check_described(model, described["architecture"], arrays)
    clash = sorted({*described, COLUMNS, FROZEN, DIGEST} & set(metadata or {}))
    if clash:
        raise ValueError(f"metadata: the names {', '.join(clash)} are reserved")
    if model.feature_names is not None:
        described[COLUMNS] = list(_checked_columns(list(model.feature_names)))
    if frozen := [path for path, p in model.named_parameters() if not p.requires_grad]:
        described[FROZEN] = frozen
    content = with_texts(arrays, texts_of({**(metadata or {}), **described}))
    if (length := int.from_bytes(content[:8], "little")) > MOST_HEADER_BYTES:
        raise ValueError(f"the metadata take {length:,} bytes; a model file holds at most {MOST_HEADER_BYTES:,}")
    return content


def _check_classes(model: nn.Module) -> None:
    """Raise for a model with custom modules."""
    for path, module in model.named_modules():
        if type(module) not in KNOWN.values():
            kind = type(module).__name__
            raise TypeError(
                f"{f'layer {path}' if path else 'the model'} is a {kind}, a custom module: a file can hold its weights "
                "(save_arrays, state_dict), not its code"
            )


def _check_described(model: nn.Module, architecture: Any, arrays: Mapping[str, Array]) -> None:
    """Raise for a model that its description would not build again."""
    check_size(architecture, sys.maxsize)
    wanted = {name: (a.shape, a.dtype) for name, a in nn.from_config(_blank(architecture)).state_dict().items()}
    found = {name: (a.shape, a.dtype) for name, a in arrays.items()}
    problems = [f"{name} is more than such a layer has" for name in found if name not in wanted]
    problems += [f"{name} is missing, or shared with another layer" for name in wanted if name not in found]
    problems += [
        f"{name} has shape {found[name][0]} and dtype {found[name][1]}, not {wanted[name][0]} and {wanted[name][1]}"
        for name in wanted.keys() & found.keys()
        if wanted[name] != found[name]
    ]
    if problems:
        raise TypeError(
            f"the description of this {type(model).__name__} would build another: {'; '.join(sorted(problems)[:12])}. "
            "Its weights alone go into a file by save_arrays(path, model.state_dict())"
        )


def _blank(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of the same layers, with initial weights that need not be drawn."""
    if "layers" in architecture:
        return {**architecture, "layers": [_blank(part) for part in architecture["layers"]]}
    return {**architecture, **({"weight_init": "zeros"} if "weight_init" in architecture else {})}


def _checked_columns(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list) or not names or not all(type(name) is str for name in names):
        raise ValueError(f"{COLUMNS}: expected a list of one or more strings, got {shown(names)}")
    if len(set(names)) < len(names):
        raise ValueError(f"{COLUMNS}: expected different names, got one twice")
    return tuple(names)


def _freeze(model: nn.Module, paths: Any) -> None:
    own = dict(model.named_parameters())
    if not isinstance(paths, list) or not all(type(path) is str and path in own for path in paths):
        raise ValueError(f"{FROZEN}: expected a list of names of parameters, got {shown(paths)}")
    for path in paths:
        own[path].requires_grad = False


def load(path: str | os.PathLike[str]) -> tuple[nn.Module, dict[str, Any]]:
    """Read a model file; return the model (in evaluation mode) and the further metadata.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is not a chainrule model, or damaged, or its weights do not match its
        architecture: missing, unexpected, wrong-shaped and wrong-typed ones are named. A digest in the file reveals
        weights and metadata that were changed after saving; a file of format version 1, which has none, is read with a
        warning.

    Examples
    --------
    See `save`.
    """
    arrays, metadata, digested = load_checked(path, MOST_HEADER_BYTES)
    if metadata.get("format") != FORMAT:
        others = "; io.load_torch_weights reads PyTorch's weights, io.load_arrays any arrays"
        hint = others if metadata.get("format") in (None, "pt") else ""
        raise ValueError(f"{path} is not a chainrule model (its metadata have no format {FORMAT!r}){hint}")
    version = metadata.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ValueError(f"{path}: expected format version 1 to {VERSION}, got {shown(version)}")
    if "architecture" not in metadata:
        raise ValueError(f"{path}: the architecture is missing from its metadata")
    try:
        most = max(sum(a.size for a in arrays.values()), FEW_PARAMETERS)
        with np.errstate(all="ignore"):  # initial weights may overflow; they are replaced
            model = nn.from_config(metadata["architecture"], max_parameters=most)
        model.load_state_dict(arrays)
        wrong = [
            f"{name} has dtype {arrays[name].dtype}, the model has {array.dtype}"
            for name, array in model.state_dict().items()
            if arrays[name].dtype != array.dtype
        ]
        if wrong:
            raise ValueError(f"the weights do not fit this {type(model).__name__}: {'; '.join(wrong[:12])}")
        if version > 1 and not digested:
            raise ValueError("the digest is missing, so the file is damaged or was changed after saving")
        if COLUMNS in metadata:
            model.feature_names = _checked_columns(metadata[COLUMNS])
        if FROZEN in metadata:
            _freeze(model, metadata[FROZEN])
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not digested:
        warnings.warn(f"{path}: {UNDIGESTED}; save the model again to add one", stacklevel=2)
    model.eval()
    ours = {"format", "version", "architecture", COLUMNS, FROZEN, DIGEST}
    return model, {key: value for key, value in metadata.items() if key not in ours}
