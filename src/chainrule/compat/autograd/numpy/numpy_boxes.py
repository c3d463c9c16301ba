"""``autograd.numpy.numpy_boxes``: the class of traced arrays, for tests of types."""

from ....core.tensor import Tensor as ArrayBox

__all__ = ["ArrayBox"]
