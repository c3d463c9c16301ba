"""``autograd.scipy.special``."""

from .tables import functions_of as _functions_of

globals().update(_functions_of("scipy.special"))
