"""autograd's ``extend``: functions with derivatives of their own."""

from .boxes import Box
from .core import defjvp, defjvp_argnum, defjvp_argnums, defvjp, defvjp_argnum, defvjp_argnums
from .tracer import notrace_primitive, primitive
from .vspaces import VSpace, vspace

__all__ = [
    "Box",
    "VSpace",
    "defjvp",
    "defjvp_argnum",
    "defjvp_argnums",
    "defvjp",
    "defvjp_argnum",
    "defvjp_argnums",
    "notrace_primitive",
    "primitive",
    "vspace",
]
