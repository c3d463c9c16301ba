"""Files: models and arrays as safetensors, written atomically, never unpickled."""

from .files import write_atomically, write_together
from .models import load, model_bytes, save
from .weights import load_arrays, save_arrays

__all__ = ["load", "load_arrays", "model_bytes", "save", "save_arrays", "write_atomically", "write_together"]
