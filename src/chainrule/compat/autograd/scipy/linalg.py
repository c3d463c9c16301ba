"""``autograd.scipy.linalg``."""

from .tables import functions_of as _functions_of

globals().update(_functions_of("scipy.linalg"))
