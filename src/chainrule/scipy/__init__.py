"""Functions of SciPy on tensors, under SciPy's names: ``special``, ``linalg``, ``signal`` and ``stats``.

``scipy.special``'s element-by-element functions take tensors themselves. The others convert their arguments to arrays;
their counterparts here do not.
"""

from . import linalg, signal, special, stats

__all__ = ["linalg", "signal", "special", "stats"]
