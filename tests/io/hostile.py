"""Files that are damaged or made to do harm: safetensors, ONNX and others under their names."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn


def model() -> nn.Sequential:
    """Return the network that the damaged files were."""
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.2), nn.Linear(4, 2)).initialize(1)


def intact() -> bytes:
    return cr.io.model_bytes(model(), {"classes": ["a", "b"], "scale": 0.5})


def header_of(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def written(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(shape: Any, start: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


class Harm:
    """Unpickled, it would write a file."""

    def __reduce__(self) -> Any:
        return open, ("unpickled", "w")


def other_files() -> dict[str, bytes]:
    """Return what is no model at all."""
    packed, archive = io.BytesIO(), io.BytesIO()
    np.savez(packed, a=np.arange(3))
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("archive/data.pkl", pickle.dumps(Harm()))
    return {
        "empty": b"",
        "a byte": b"\x08",
        "zeros": bytes(4096),
        "ones": b"\xff" * 4096,
        "text": b"weights: none\n" * 50,
        "a pickle": pickle.dumps(Harm()),
        "a pickle of long ago": pickle.dumps(Harm(), 0),
        "npz": packed.getvalue(),
        "PyTorch's zip": archive.getvalue(),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        "json": json.dumps({"weights": [1, 2, 3]}).encode(),
        "html": b"<!doctype html><script>alert(1)</script>",
    }


def truncated() -> dict[str, bytes]:
    """Return the model file cut off at every byte of its header, and at each array."""
    whole = intact()
    header, body = header_of(whole)
    start = len(whole) - len(body)
    ends = {start + v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"}
    cuts = sorted({*range(start + 1), *ends, *(e - 1 for e in ends)} - {len(whole)})
    return {f"cut off at byte {n}": whole[:n] for n in cuts}


def _changed(change: Callable[[dict[str, Any]], Any]) -> bytes:
    header, body = header_of(intact())
    change(header)
    return written(header, body)


def _rearranged(name: str, **parts: Any) -> bytes:
    return _changed(lambda h: h[name].update(parts))


def headers() -> dict[str, bytes]:
    """Return the model file with other headers, and headers of their own."""
    header, body = header_of(intact())
    text = json.dumps(header).encode()
    name, other = "0.weight", "4.weight"
    start, end = header[name]["data_offsets"]
    files = {
        f"a header of {n} bytes": written(text, body, n)
        for n in (0, 1, len(text) - 1, len(text) + 1, 10**6, 10**8, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
    }
    for dtype in ("F64", "F16", "BF16", "I32", "BOOL", "I64", "U8", "F8_E4M3", "OBJECT", "", None, 3, ["F32"], "f32"):
        files[f"dtype {dtype!r}"] = _rearranged(name, dtype=dtype)
    shapes = (
        [4, 3], [12], [3, 4, 1], [], [0], [3], [3, -4], [-3, -4], [2**32, 2**32], [2**63, 2], [10**12], [10**6, 10**6],
        [2**62, 4], [0, 2**62], [3.0, 4], [3, True], ["3", 4], [None], 12, "3,4", None, {}, [[3, 4]], [1] * 70 + [12],
        [10**400],
    )  # fmt: skip
    for shape in shapes:
        files[f"shape {str(shape)[:40]}"] = _rearranged(name, shape=shape)
    offsets = (
        [start + 4, end + 4], [start - 4, end - 4], [end, start], [start, end + 4], [start, end - 4], [-48, 0],
        [start, 2**62], [2**62, 2**62 + 48], [start, len(body) + 48], [0, len(body)], [start], [start, end, end],
        [float(start), end], [str(start), end], None, 0, {}, [None, None], [start, start], [2**64, 2**64 + 48],
    )  # fmt: skip
    for pair in offsets:
        if pair != [start, end]:
            files[f"offsets {pair}"] = _rearranged(name, data_offsets=pair)
    files |= {
        "two arrays in one place": _changed(lambda h: h[other].update(data_offsets=[start, start + 32])),
        "arrays exchanged": _changed(lambda h: h.update({"1.weight": {**h["1.bias"]}, "1.bias": {**h["1.weight"]}})),
        "an array left out": _changed(lambda h: h.pop(name)),
        "the last array left out": written({k: v for k, v in header.items() if k != other}, body[:-32]),
        "an entry with more": _rearranged(name, pickle="gASV"),
        "an entry that lacks": _changed(lambda h: h[name].pop("dtype")),
        "an entry that is a list": _changed(lambda h: h.update({name: [1]})),
        "an entry that is null": _changed(lambda h: h.update({name: None})),
        "bytes after the end": intact() + b"\0",
        "more after the end": intact() * 2,
        "a key twice": written(text.replace(b'"0.bias"', b'"0.weight"'), body),
        "a key twice in an entry": written(text.replace(b'"shape": [3, 4]', b'"shape": [4, 3], "shape": [3, 4]'), body),
        "metadata twice": written(text[:-1] + b', "__metadata__": {}}', body),
        "NaN": written(text.replace(b"[3, 4]", b"[3, NaN]"), body),
        "Infinity": written(text.replace(b"[3, 4]", b"[Infinity, 4]"), body),
        "a number too large": written(text.replace(b"[3, 4]", b"[3e999, 4]"), body),
        "a number too long": written(text.replace(b"[3, 4]", b"[" + b"9" * 10_000 + b"]"), body),
        "no UTF-8": written(text.replace(b"0.weight", b"\xff\xfe0.weight"), body),
        "a comment": written(b"//" + text, body),
        "two documents": written(text + text, body),
        "a list": written([header], body),
        "a text": written("header", body),
        "a number": written(3, body),
        "nested lists": written(b"[" * 100_000),
        "nested objects": written(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "nested in an entry": written(b'{"a":{"dtype":' + b"[" * 50_000 + b"]" * 50_000 + b"}}"),
        "many lists": written(b"[" + b"[]," * 5_000_000 + b"[]]"),
        "many texts": written(b"[" + b'"",' * 2_000_000 + b'""]'),
        "many empty arrays": written({f"a{i}": entry([0], 0, 0) for i in range(10_000)}),
        "escaped quotes": written(b'"' + b'\\",' * 2_000_000),
        "spaces": written(b" " * 5_000_000),
    }
    names = (
        "../../etc/passwd", "/etc/passwd", "..\\..\\boot.ini", "C:\\Windows\\x", "~/.ssh/id_rsa", "file:///etc/passwd",
        "0.weight\0", "\0", "", "\n", "\x1b[2J", "\u202e0.weight", "\ud800", "a" * 100_000, "__class__",
        "__metadata__ ", "0..weight", "0.weight.weight", "0", "0.__dict__", "self", "training", "0.training",
        "_layers", "𝟎.weight",
    )  # fmt: skip
    for wanted in names:
        files[f"the name {wanted[:30]!r}"] = _changed(lambda h, wanted=wanted: h.update({wanted: h.pop(name)}))
    return files


def _described(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Return the model file with other metadata, under a digest that fits nothing."""
    header, body = header_of(intact())
    change(header["__metadata__"])
    return written(header, body)


def _architecture(description: Any) -> bytes:
    return _described(
        lambda m: m.update(architecture=description if isinstance(description, str) else json.dumps(description))
    )


def _layers(*layers: Any) -> dict[str, Any]:
    return {"type": "Sequential", "layers": list(layers)}


def _nested(depth: int, inner: Any) -> Any:
    for _ in range(depth):
        inner = _layers(inner)
    return inner


def metadata() -> dict[str, bytes]:
    """Return the model file with other metadata: wrong types, and networks that nobody could build."""
    header, body = header_of(intact())
    linear = {"type": "Linear", "in_features": 1, "out_features": 1}
    files = {
        f"metadata {str(value)[:30]!r}": written({**header, "__metadata__": value}, body)
        for value in ([], 3, "text", None, True, {"a": 1}, {"a": None}, {"a": ["b"]}, {"format": {"a": "b"}}, {})
    }
    for key in ("format", "version", "architecture", "digest"):
        files[f"no {key}"] = _described(lambda m, key=key: m.pop(key))
        for text in ("", "null", "[]", "{}", "NaN", "true", "-1", '"x"', "[" * 100_000, '{"type": 1}', "9" * 5_000):
            files[f"{key} {text[:12]!r}"] = _described(lambda m, key=key, text=text: m.update({key: text}))
    architectures: dict[str, Any] = {
        "huge": {"type": "Linear", "in_features": 10**6, "out_features": 10**6},
        "huger": {"type": "Linear", "in_features": 10**30, "out_features": 10**30},
        "just below what is allowed": {"type": "Linear", "in_features": 999, "out_features": 999},
        "huge embedding": {"type": "Embedding", "rows": 10**12, "dimensions": 1},
        "huge norms": _layers(*[{"type": "LayerNorm", "features": 10**9}] * 20),
        "many layers": _layers(*[linear] * 100_000),
        "many layers without weights": _layers(*[{"type": "ReLU"}] * 100_000),
        "many layers in a nest": _nested(49, _layers(*[linear] * 3_000)),
        "deep": _nested(60, _layers()),
        "too deep": _nested(300, _layers()),
        "unknown": {"type": "os.system", "command": "touch unpickled"},
        "dunder": {"type": "__import__", "name": "os"},
        "a module": {"type": "Module"},
        "an abstract layer": {"type": "Activation"},
        "no layers": _layers(),
        "layers as a dict": {"type": "Sequential", "layers": {"0": linear}},
        "layers and more": {**_layers(linear), "forward": "x"},
        "settings of the wrong type": {**linear, "in_features": [1]},
        "a text as a number": {**linear, "in_features": "3"},
        "a fraction": {**linear, "in_features": 1.5},
        "a truth": {**linear, "in_features": True},
        "a dtype": {**linear, "dtype": "object"},
        "a dtype that is a list": {**linear, "dtype": [["a", "f4"]]},
        "an initialiser": {**linear, "weight_init": "os.system"},
        "an initialiser with limits": {**linear, "weight_init": {"name": "uniform", "low": -1e308, "high": 1e308}},
        "an initialiser that overflows": {**linear, "weight_init": {"name": "normal", "mean": 0, "std": 1e300}},
        "an initialiser of the wrong type": {**linear, "weight_init": {"name": []}},
        "dropout": {"type": "Dropout", "p": 1.5},
        "dropout's seed": {"type": "Dropout", "p": 0.5, "seed": 2**70},
        "eps": {"type": "LayerNorm", "features": 3, "eps": -1},
        "a slope": {"type": "LeakyReLU", "slope": "steep"},
    }
    for name, description in architectures.items():
        files[f"architecture: {name}"] = _architecture(description)
    files["architecture: infinite eps"] = _architecture('{"type": "LayerNorm", "features": 3, "eps": 1e999}')
    files["architecture: a key twice"] = _architecture('{"type": "Linear", "type": "ReLU"}')
    files["architecture: nested"] = _architecture('{"type":' * 50_000)
    files["another preprocessing"] = _described(lambda m: m.update(scale="0.25"))
    files["other classes"] = _described(lambda m: m.update(classes='["b", "a"]'))
    files["another entry"] = _described(lambda m: m.update(more="1"))
    for i in range(0, len(body), 9):
        files[f"byte {i} of the weights changed"] = written(header, body[:i] + bytes([body[i] ^ 1]) + body[i + 1 :])
    return files


def safetensors_files() -> dict[str, bytes]:
    return {**other_files(), **truncated(), **headers(), **metadata()}
