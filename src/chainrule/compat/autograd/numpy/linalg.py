"""``autograd.numpy.linalg``."""

import numpy.linalg

from .namespaces import namespace as _namespace

globals().update(_namespace(numpy.linalg))
