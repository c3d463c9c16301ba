"""Files: models and arrays as safetensors, written atomically, never unpickled."""

from .files import write_atomically
from .models import load, save
from .weights import load_arrays, save_arrays

__all__ = ["load", "load_arrays", "save", "save_arrays", "write_atomically"]
