"""autograd's operators on functions: grad, jacobian, hessian, products with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.transforms import jacobian as _jacobian
from . import core
from .tracer import plain
from .vspaces import differentiable, vspace
from .wrap_util import unary_to_nary

Function = Callable[..., Any]

make_vjp = unary_to_nary(core.make_vjp)
make_jvp = unary_to_nary(core.make_jvp)


def _scalar_vjp(fun: Function, x: Any, name: str) -> tuple[Function, Any]:
    vjp, value = core.make_vjp(fun, x)
    if vspace(value).size != 1:
        raise TypeError(
            f"{name} applies to functions with a real scalar output; got shape {np.shape(value)}. "
            "Use jacobian or elementwise_grad."
        )
    return vjp, value


@unary_to_nary
def grad(fun: Function, x: Any) -> Any:
    """
    Returns a function which computes the gradient of `fun` in argument `argnum`.

    `fun` has a scalar output. The gradient has the structure of the argument.

    Examples
    --------
    >>> import chainrule.compat.autograd.numpy as np
    >>> from chainrule.compat.autograd import grad
    >>> grad(lambda x: np.sum(np.array([x[0], 2 * x[1]])))(np.zeros(2))
    array([1., 2.])
    """
    vjp, value = _scalar_vjp(fun, x, "grad")
    return vjp(np.ones(np.shape(value)))


@unary_to_nary
def value_and_grad(fun: Function, x: Any) -> Any:
    """Returns a function to the value and the gradient, as ``scipy.optimize`` takes it."""
    vjp, value = _scalar_vjp(fun, x, "value_and_grad")
    return value, vjp(np.ones(np.shape(value)))


@unary_to_nary
def elementwise_grad(fun: Function, x: Any) -> Any:
    """Returns a function that computes the sum of the rows of the Jacobian: its diagonal, if it has nothing else."""
    vjp, value = core.make_vjp(fun, x)
    return vjp(vspace(value).ones())


egrad = elementwise_grad


@unary_to_nary
def deriv(fun: Function, x: Any) -> Any:
    """Returns a function that computes the derivative along a vector of ones."""
    return core.make_jvp(fun, x)(vspace(differentiable(x)).ones())[1]


@unary_to_nary
def jacobian(fun: Function, x: Any) -> Any:
    """Returns a function that computes the Jacobian, of shape ``(*output.shape, *argument.shape)``."""
    return plain(_jacobian(fun)(differentiable(x)))


@unary_to_nary
def hessian(fun: Function, x: Any) -> Any:
    """Returns a function that computes the Hessian."""
    return jacobian(jacobian(fun))(x)


@unary_to_nary
def holomorphic_grad(fun: Function, x: Any) -> Any:
    """Is refused: chainrule differentiates functions of real numbers."""
    raise TypeError("holomorphic_grad differentiates complex functions; chainrule differentiates real functions")


def grad_named(fun: Function, argname: str) -> Any:
    """Returns a function that computes the gradient in the argument of that name."""
    return grad(fun, list(inspect.signature(fun).parameters).index(argname))


@unary_to_nary
def make_hvp(fun: Function, x: Any) -> tuple[Function, Any]:
    """Returns a function to ``(v -> Hessian times v, gradient)`` at a point."""
    return core.make_vjp(grad(fun), x)


def hessian_tensor_product(fun: Function, argnum: int = 0) -> Any:
    """Returns a function of the arguments of `fun` and a tensor, to the Hessian times the tensor."""
    gradient = grad(fun, argnum)

    def along_the_tensor(*args: Any, **kwargs: Any) -> Any:
        return np.tensordot(gradient(*args[:-1], **kwargs), args[-1], np.ndim(args[-1]))

    return grad(along_the_tensor, argnum)


def tensor_jacobian_product(fun: Function, argnum: int = 0) -> Any:
    """Returns a function of the arguments of `fun` and a tensor, to the tensor times the Jacobian."""

    def along_the_tensor(*args: Any, **kwargs: Any) -> Any:
        return np.tensordot(args[-1], fun(*args[:-1], **kwargs), np.ndim(args[-1]))

    return jacobian(along_the_tensor, argnum)


def jacobian_vector_product(fun: Function, argnum: int = 0) -> Function:
    """Returns a function of the arguments of `fun` and a tangent, to the Jacobian times the tangent."""
    push = make_jvp(fun, argnum)
    return lambda *args, **kwargs: push(*args[:-1], **kwargs)(args[-1])[1]


hessian_vector_product = hessian_tensor_product
vector_jacobian_product = tensor_jacobian_product


@unary_to_nary
def make_jvp_reversemode(fun: Function, x: Any) -> Function:
    """Returns a function to ``v -> Jacobian times v`` at a point."""
    push = core.make_jvp(fun, x)
    return lambda v: push(v)[1]


def _half_sum_of_squares(x: Any) -> Any:
    return 0.5 * np.sum(x**2, axis=-1)


def make_ggnvp(f: Function, g: Function = _half_sum_of_squares, f_argnum: int = 0) -> Any:
    """Returns a function to ``v -> generalized Gauss-Newton matrix times v`` at a point, for the composition g ∘ f."""

    @unary_to_nary
    def ggnvp_of(f: Function, x: Any) -> Function:
        pull, value = core.make_vjp(f, x)
        of_g, _ = core.make_vjp(grad(g), value)
        push = core.make_jvp(f, x)
        return lambda v: pull(of_g(push(v)[1]))

    return ggnvp_of(f, f_argnum)


@unary_to_nary
def grad_and_aux(fun: Function, x: Any) -> Any:
    """Returns a function to the gradient of the first output and the second output as it is."""
    vjp, (value, aux) = core.make_vjp(lambda x: tuple(fun(x)), x)
    return vjp((np.ones(np.shape(value)), vspace(aux).zeros())), aux


def multigrad_dict(fun: Function) -> Function:
    """Returns a function to the gradients in all arguments, a dict by name."""
    signature = inspect.signature(fun)

    def gradient(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()

        def of_all(arguments: dict[str, Any]) -> Any:
            bound.arguments.update(arguments)
            return fun(*bound.args, **bound.kwargs)

        return grad(of_all)(dict(bound.arguments))

    return gradient
