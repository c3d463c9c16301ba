"""``autograd.numpy.linalg``."""

import numpy
import numpy.linalg

from .namespaces import namespace as _namespace

globals().update(_namespace(numpy.linalg))

#: autograd's own helpers, which programs use, too.
T, _dot = numpy.matrix_transpose, numpy.matmul
