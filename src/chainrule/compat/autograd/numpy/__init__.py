"""``autograd.numpy``: NumPy's namespace, whose functions also take lists of tensors."""

import numpy as _np

from . import creation as _creation
from . import fft, linalg, random
from .namespaces import namespace as _namespace

globals().update(_namespace(_np) | _creation.MADE_OF_TENSORS | {"fft": fft, "linalg": linalg, "random": random})
__version__ = _np.__version__
