"""``autograd.scipy``: functions of SciPy on tensors."""

from . import integrate, signal, special, stats

__all__ = ["integrate", "signal", "special", "stats"]
