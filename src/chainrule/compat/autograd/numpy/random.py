"""``autograd.numpy.random``: NumPy's own."""

import numpy.random

globals().update({name: value for name, value in vars(numpy.random).items() if not name.startswith("_")})
