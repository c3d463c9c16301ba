"""Gradients that were worked out by hand on PyTorch's tensors, compared one after the other with PyTorch's own.

An error is told from one that is inherited by superposition: a gradient whose step is right differs from the true one
by what the errors of earlier steps become on their way to it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.op import Array
from .mistakes.conduct import Unknown, WrongShape
from .mistakes.general import MissingTerm, Transposed
from .mistakes.scaling import ConstantFactor, Sign

RIGHT, INHERITED, WRONG = "right", "inherited", "wrong"
_KEEP = "keep the graph, loss.backward(retain_graph=True), to see whether it is inherited and why it is wrong"


@dataclass(frozen=True)
class Compared:
    """One gradient, compared.

    Attributes
    ----------
    name : str
        As given.
    verdict : {"right", "inherited", "wrong"}
        "inherited" means: it follows correctly from gradients that are wrong.
    cause : str
        The code of the mistake; "" for a gradient that is right.
    message : str
        The verdict in a sentence.
    difference : float
        The greatest absolute difference from PyTorch's gradient.

    Examples
    --------
    >>> print(Compared("dW", "right", "", "right (exact)", 0.0))
    dW              | right (exact)
    """

    name: str
    verdict: str
    cause: str
    message: str
    difference: float

    def __str__(self) -> str:
        return f"{self.name:15s} | {self.message}"


@dataclass
class _Step:
    name: str
    tensor: Any
    found: Array
    error: Array | None  # what this step adds to the errors that it inherits; None for a right step


class Comparison:
    """Compare gradients that were worked out by hand, in the order of the backward pass.

    Parameters
    ----------
    loss : torch.Tensor
        The loss, a scalar. Its graph is needed: do not call ``loss.backward()`` before, or with ``retain_graph=True``.

    Attributes
    ----------
    results : list of Compared
        All that was compared.

    Examples
    --------
    >>> import torch
    >>> from chainrule.audit import Comparison
    >>> counts = torch.tensor([[1.0, 3.0], [2.0, 2.0]], requires_grad=True)
    >>> total = counts.sum(1, keepdim=True)
    >>> shares = counts / total
    >>> loss = (shares**2).sum()
    >>> compare = Comparison(loss)
    >>> dshares = 2 * shares
    >>> compare("shares", dshares, shares)
    shares          | right (exact)
    >>> dtotal = -(dshares * counts / total**2).sum(1, keepdim=True)
    >>> compare("total", dtotal, total)
    total           | right (exact)
    >>> compare("counts", dshares / total, counts)
    counts          | wrong: the path through total is left out (greatest difference 0.312)
    >>> compare.ok
    False
    """

    def __init__(self, loss: Any) -> None:
        if getattr(loss, "grad_fn", None) is None or loss.numel() != 1:
            raise ValueError(f"loss: expected a scalar tensor with a graph, got {_described(loss)}")
        self.results: list[Compared] = []
        self._steps = [_Step("loss", loss, np.ones(tuple(loss.shape)), None)]

    @property
    def ok(self) -> bool:
        """Whether all gradients so far are right."""
        return all(r.verdict == RIGHT for r in self.results)

    def __call__(self, name: str, grad: Any, tensor: Any) -> None:
        """Compare a gradient with PyTorch's, and print the result.

        Parameters
        ----------
        name : str
            What to call it.
        grad : torch.Tensor or array
            The gradient, worked out by hand.
        tensor : torch.Tensor
            The value that it is the gradient of, from the graph of the loss.
        """
        result = self.compare(name, grad, tensor)
        print(result)

    def compare(self, name: str, grad: Any, tensor: Any) -> Compared:
        """Compare a gradient with PyTorch's, and return the result; the arguments are those of the call."""
        if not hasattr(tensor, "requires_grad"):
            raise TypeError(f"tensor: expected a tensor from the graph of the loss, got {_described(tensor)}")
        found = _array(grad)
        result = self._judged(name, found, tensor)
        self.results.append(result)
        return result

    # -- judging -------------------------------------------------------------------------------------------------------

    def _judged(self, name: str, found: Array, tensor: Any) -> Compared:
        truth = self._truth(name, tensor)
        shape = tuple(tensor.shape)
        if found.shape != shape:
            message = f"wrong: it has shape {found.shape}, the tensor {shape}{_shape_hint(found, truth)}"
            return Compared(name, WRONG, WrongShape.code, message, float("nan"))
        tolerance = 1e-9 if str(tensor.dtype) == "torch.float64" else 1e-5
        rounding = tolerance / 10 * float(np.max(np.abs(self._near(tensor).found), initial=0.0))
        difference = float(np.max(np.abs(found - truth), initial=0.0))
        if _close(found, truth, tolerance, rounding):
            self._steps.append(_Step(name, tensor, found, None))
            text = "right (exact)" if difference == 0 else f"right (greatest difference {difference:.3g})"
            return Compared(name, RIGHT, "", text, difference)
        seen = f"(greatest difference {difference:.3g})"
        try:
            expected = truth + self._inherited(tensor, truth.shape)
            if _close(found, expected, 100 * tolerance, rounding):
                self._steps.append(_Step(name, tensor, found, None))
                sources = ", ".join(s.name for s in self._steps if s.error is not None)
                message = f"inherited: right, given your gradient of {sources} {seen}"
                return Compared(name, INHERITED, "", message, difference)
            cause, why = self._cause(tensor, found, expected, 100 * tolerance)
        except RuntimeError:  # PyTorch has freed the graph
            return Compared(name, WRONG, Unknown.code, f"wrong {seen}; {_KEEP}", difference)
        self._steps.append(_Step(name, tensor, found, found - expected))
        return Compared(name, WRONG, cause, f"wrong: {why} {seen}", difference)

    def _near(self, tensor: Any) -> _Step:
        """Return the last compared value that depends on `tensor`; without a graph, the last one."""
        try:
            reached = (s for s in self._steps[::-1] if self._pulled(s.tensor, tensor, s.found) is not None)
            return next(reached, self._steps[-1])
        except RuntimeError:
            return self._steps[-1]

    def _truth(self, name: str, tensor: Any) -> Array:
        if (tensor.is_leaf or tensor.retains_grad) and tensor.grad is not None:
            return _array(tensor.grad)
        try:
            found = self._pulled(self._steps[0].tensor, tensor, np.ones(tuple(self._steps[0].tensor.shape)))
        except RuntimeError as error:
            raise ValueError(
                f"{name}: PyTorch's gradient is not there; call {name}.retain_grad() before loss.backward(), or keep "
                "the graph with loss.backward(retain_graph=True)"
            ) from error
        if found is None:
            raise ValueError(f"{name}: the loss does not depend on this tensor")
        return found

    def _pulled(self, output: Any, tensor: Any, cotangent: Array) -> Array | None:
        """Return a cotangent of `output` pulled back to `tensor`; None where no path leads there."""
        import torch

        if output is tensor:
            return None
        start = torch.as_tensor(cotangent, dtype=output.dtype).reshape(output.shape)
        (found,) = torch.autograd.grad(output, tensor, start, retain_graph=True, allow_unused=True)
        return None if found is None else _array(found)

    def _inherited(self, tensor: Any, shape: tuple[int, ...]) -> Array:
        """Return what the errors of earlier steps become at `tensor`."""
        total = np.zeros(shape)
        for step in self._steps:
            if step.error is not None:
                part = self._pulled(step.tensor, tensor, step.error)
                total = total if part is None else total + part
        return total

    # -- causes --------------------------------------------------------------------------------------------------------

    def _parts(self, tensor: Any) -> dict[str, Array]:
        """Return the parts of the expected gradient, by the compared value through which each comes last."""
        above = [s for s in self._steps if s.tensor is not tensor]
        found: dict[str, Array] = {}
        for k, step in enumerate(above):
            whole = self._pulled(step.tensor, tensor, step.found)
            if whole is None:
                continue
            first: list[tuple[_Step, Array]] = []  # what reaches later values from this one, past all in between
            for other in above[k + 1 :]:
                direct = self._pulled(step.tensor, other.tensor, step.found)
                if direct is None:
                    continue
                direct = direct - self._sum(first, other.tensor)
                first.append((other, direct))
            whole = whole - self._sum(first, tensor)
            if np.any(np.abs(whole) > 1e-12):
                found[step.name] = whole
        return found

    def _sum(self, cotangents: list[tuple[_Step, Array]], tensor: Any) -> Any:
        pulled = (self._pulled(step.tensor, tensor, g) for step, g in cotangents)
        return sum((p for p in pulled if p is not None), 0.0)

    def _cause(self, tensor: Any, found: Array, expected: Array, tolerance: float) -> tuple[str, str]:
        """Return the code of the mistake and what is said of it."""
        parts = self._parts(tensor)
        names = list(parts)
        if parts:
            columns = np.stack([p.ravel() for p in parts.values()], axis=1)
            factors, *_ = np.linalg.lstsq(columns, found.ravel(), rcond=None)
            if _close((columns @ factors).reshape(found.shape), found, tolerance):
                return _of_factors(names, factors)
        for axes in itertools.permutations(range(found.ndim)):
            turned = np.transpose(found, axes)
            if (
                turned.shape == expected.shape
                and axes != tuple(range(found.ndim))
                and _close(turned, expected, tolerance)
            ):
                return Transposed.code, "it is transposed"
        return Unknown.code, "it does not follow from the gradients before it"


def _of_factors(names: list[str], factors: Array) -> tuple[str, str]:
    off = {n: float(c) for n, c in zip(names, factors, strict=True) if abs(c - 1) > 1e-4}
    missing = [n for n, c in off.items() if abs(c) < 1e-4]
    if missing:
        return MissingTerm.code, f"the path through {' and '.join(missing)} is left out"
    which = "it" if len(off) == len(names) and len(set(np.round(list(off.values()), 6))) == 1 else None
    name, factor = next(iter(off.items()))
    which = which or f"the part that comes through {name}"
    if abs(factor + 1) < 1e-4:
        return Sign.code, f"{which} has the opposite sign"
    return ConstantFactor.code, f"{which} is {factor:.6g} times what it should be"


def _close(a: Array, b: Array, tolerance: float, rounding: float = 0.0) -> bool:
    """Whether two arrays agree; `rounding` is what may be left of terms that cancel."""
    scale = float(np.max(np.abs(b), initial=0.0))
    return bool(np.all(np.abs(a - b) <= tolerance * scale + rounding))


def _shape_hint(found: Array, truth: Array) -> str:
    """Return what would bring a gradient to the tensor's shape."""
    if found.shape == truth.shape[::-1] and _close(found.T, truth, 1e-4):
        return ": it is transposed"
    for count in range(1, found.ndim + 1):
        for axes in itertools.combinations(range(found.ndim), count):
            summed = found.sum(axis=axes)
            if summed.size == truth.size and _close(summed.reshape(truth.shape), truth, 1e-4):
                return f": sum it over axis {', '.join(map(str, axes))}"
    return ""


def _array(x: Any) -> Array:
    return np.asarray(x.detach().cpu().numpy() if hasattr(x, "detach") else x, np.float64)


def _described(x: Any) -> str:
    return f"a {type(x).__name__} of shape {tuple(x.shape)}" if hasattr(x, "shape") else f"a {type(x).__name__}"
