"""autograd's interface: programs written for `autograd <https://github.com/HIPS/autograd>`_ run on chainrule.

``import autograd.numpy as np`` becomes ``import chainrule.compat.autograd.numpy as np``; for whole programs,
``python -m chainrule.compat.autograd script.py`` or `install` maps the name.

Examples
--------
>>> import chainrule.compat.autograd.numpy as np
>>> from chainrule.compat.autograd import grad
>>> float(grad(np.tanh)(0.0))
1.0
"""

from ...core.custom import checkpoint
from . import numpy
from .aliases import install
from .builtins import dict, isinstance, list, tuple, type
from .core import primitive
from .differential_operators import (
    deriv,
    egrad,
    elementwise_grad,
    grad,
    grad_and_aux,
    grad_named,
    hessian,
    hessian_tensor_product,
    hessian_vector_product,
    holomorphic_grad,
    jacobian,
    jacobian_vector_product,
    make_ggnvp,
    make_hvp,
    make_jvp,
    make_vjp,
    multigrad_dict,
    tensor_jacobian_product,
    value_and_grad,
    vector_jacobian_product,
)

__all__ = [
    "checkpoint",
    "deriv",
    "dict",
    "egrad",
    "elementwise_grad",
    "grad",
    "grad_and_aux",
    "grad_named",
    "hessian",
    "hessian_tensor_product",
    "hessian_vector_product",
    "holomorphic_grad",
    "install",
    "isinstance",
    "jacobian",
    "jacobian_vector_product",
    "list",
    "make_ggnvp",
    "make_hvp",
    "make_jvp",
    "make_vjp",
    "multigrad_dict",
    "numpy",
    "primitive",
    "tensor_jacobian_product",
    "tuple",
    "type",
    "value_and_grad",
    "vector_jacobian_product",
]
