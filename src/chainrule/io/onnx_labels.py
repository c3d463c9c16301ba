"""Texts and labels in ONNX graphs: categories to their positions on the way in, positions to labels on the way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .onnx_writing import Writer

#: The operators for texts, and the version of their set that is written.
DOMAIN, VERSION = "ai.onnx.ml", 3
#: What stands for a missing text.
MISSING = ""


def positions_of(writer: Writer, texts: str, labels: Sequence[str], missing: int) -> str:
    """Add a node that gives the positions of texts among labels, -1 for others; return the name of its output."""
    from onnx import helper

    keys = [*labels, *([] if MISSING in labels else [MISSING])]
    places = [*range(len(labels)), missing][: len(keys)]
    made = writer.name(f"position of {texts}")
    settings: dict[str, Any] = {"keys_strings": keys, "values_int64s": places, "default_int64": -1, "domain": DOMAIN}
    writer.nodes.append(helper.make_node("LabelEncoder", [texts], [made], writer.name("/LabelEncoder"), **settings))
    return made


def labels_at(writer: Writer, positions: str, labels: Sequence[Any], name: str) -> int:
    """Add nodes that give, under a name, the labels at positions; return the type of their elements."""
    from onnx import helper, numpy_helper

    array = np.array(labels, object if isinstance(labels[0], str) else None)
    stored = writer.name(f"labels of {name}")
    writer.nodes += [
        helper.make_node("Constant", [], [stored], writer.name("/Constant"), value=numpy_helper.from_array(array)),
        helper.make_node("Gather", [stored, positions], [name], writer.name("/Gather"), axis=0),
    ]
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))
