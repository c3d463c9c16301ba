"""``autograd.numpy.fft``."""

import numpy.fft

from .namespaces import namespace as _namespace

globals().update(_namespace(numpy.fft))
