"""Files: models and arrays as safetensors, written atomically, never unpickled; PyTorch and ONNX, both ways."""

from .files import write_atomically, write_together
from .models import load, model_bytes, save
from .onnx import from_onnx, to_onnx
from .torch import from_torch, to_torch
from .torch_weights import load_torch_weights, save_torch_weights
from .weights import load_arrays, save_arrays

__all__ = [
    "from_onnx",
    "from_torch",
    "load",
    "load_arrays",
    "load_torch_weights",
    "model_bytes",
    "save",
    "save_arrays",
    "save_torch_weights",
    "to_onnx",
    "to_torch",
    "write_atomically",
    "write_together",
]
