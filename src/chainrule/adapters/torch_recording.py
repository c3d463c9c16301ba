"""Recording a function of PyTorch's tensors: every operation that runs is done on recording arrays, too.

PyTorch reports each operation that it runs under ATen's name (``aten::mm``). The table says what the operation is in
NumPy; its result is compared with PyTorch's, so an entry that is wrong or misunderstood ends the recording.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import ops
from ..core.tensor import constant
from .containers import mapped, named_leaves
from .recording import Traced, Untraceable, on_recorded, unwrapped

NAME = "PyTorch"

#: Largest relative difference between an array that was recorded and PyTorch's.
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}


def _axes(dim: Any) -> Any:
    """Return a dimension or a list of them as NumPy's axis; an empty list means all."""
    return (tuple(dim) or None) if isinstance(dim, list | tuple) else dim


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dim=None, keepdim=False, dtype=None: function(x, axis=_axes(dim), keepdims=bool(keepdim))


def _extreme(function: Callable[..., Any], position: Callable[..., Any]) -> Callable[..., Any]:
    """Return max or min: of two arrays, of all elements, or along an axis with the positions."""

    def apply(x: Any, other: Any = None, keepdim: bool = False, **more: Any) -> Any:
        if other is None:
            return function(x)
        return function(x, axis=other, keepdims=keepdim), position(x, axis=other, keepdims=keepdim)

    return apply


def _variance(x: Any, dim: Any = None, unbiased: Any = None, correction: Any = None, keepdim: bool = False) -> Any:
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    ddof = correction if correction is not None else (1 if unbiased is None else int(unbiased))
    return np.var(x, axis=_axes(dim), ddof=ddof, keepdims=keepdim)


def _index(x: Any, indices: Sequence[Any]) -> Any:
    return x[tuple(slice(None) if i is None else i for i in indices)]


def _slice(x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    return x[(slice(None),) * (dim % np.ndim(x)) + (slice(start, end, step),)]


def _select(x: Any, dim: int, index: int) -> Any:
    return x[(slice(None),) * (dim % np.ndim(x)) + (int(index),)]


def _expand(x: Any, sizes: Sequence[int], **more: Any) -> Any:
    lead = len(sizes) - np.ndim(x)
    shape = tuple(np.shape(x)[i - lead] if s == -1 else int(s) for i, s in enumerate(sizes))
    return np.broadcast_to(x, shape)


def _permuted(x: Any, first: int = 0, second: int = 1) -> Any:
    return np.swapaxes(x, first, second) if np.ndim(x) > 1 else x


def _layer_norm(x: Any, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    axes = tuple(range(-len(shape), 0))
    mean = np.mean(x, axis=axes, keepdims=True)
    scale = 1.0 / np.sqrt(np.var(x, axis=axes, keepdims=True) + eps)
    result = (x - mean) * scale
    result = result if weight is None else result * weight
    return (result if bias is None else result + bias), mean, scale


def _clipped(x: Any, low: Any = None, high: Any = None) -> Any:
    x = x if low is None else np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


def _loss(x: Any, target: Any, reduction: int = 1, square: bool = True) -> Any:
    each = (x - target) ** 2 if square else np.abs(x - target)
    return each if reduction == 0 else np.mean(each) if reduction == 1 else np.sum(each)


def _nll(x: Any, target: Any, weight: Any = None, reduction: int = 1, ignore: int = -100) -> Any:
    if weight is not None or (np.asarray(target) == ignore).any():
        raise Untraceable("nll_loss with weights or ignored targets is not recorded")
    each = -(x[np.arange(np.shape(x)[0]), target] if np.ndim(x) == 2 else x[target])
    result = each if reduction == 0 else np.mean(each) if reduction == 1 else np.sum(each)
    return result, np.asarray(float(np.size(target)))


def _repeated(x: Any, count: Any, dim: Any = None, **more: Any) -> Any:
    return np.repeat(x, count, axis=dim)


_SAME = (
    "exp log log1p expm1 log2 log10 sqrt tanh sin cos tan sinh cosh abs sign floor ceil square maximum minimum where "
    "arctan2 logical_not logical_and logical_or isnan isfinite isinf reciprocal outer cross trace"
).split()
_ALSO = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh"}
_COMPARED = dict(zip("eq ne lt le gt ge".split(), ("equal", "not_equal", "less", "less_equal"), strict=False))
_COMPARED |= {"gt": "greater", "ge": "greater_equal"}

#: What ATen's operations are in NumPy.
ATEN: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in _SAME},
    **{name: getattr(np, other) for name, other in (_ALSO | _COMPARED).items()},
    **{name: on_recorded(getattr(ops, name)) for name in ("sigmoid", "relu", "erf", "silu", "softplus")},
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "matmul"), np.matmul),
    "add": lambda x, y, alpha=1: x + (y if alpha == 1 else alpha * y),
    "sub": lambda x, y, alpha=1: x - (y if alpha == 1 else alpha * y),
    "rsub": lambda x, y, alpha=1: y - (x if alpha == 1 else alpha * x),
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "pow": lambda x, y: x**y,
    "neg": lambda x: -x,
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "addmm": lambda c, a, b, beta=1, alpha=1: beta * c + alpha * (a @ b),
    "baddbmm": lambda c, a, b, beta=1, alpha=1: beta * c + alpha * (a @ b),
    "linear": lambda x, w, b=None: x @ w.T if b is None else x @ w.T + b,
    "sum": _reduction(np.sum),
    "mean": _reduction(np.mean),
    "prod": _reduction(np.prod),
    "amax": _reduction(np.max),
    "amin": _reduction(np.min),
    "any": _reduction(np.any),
    "all": _reduction(np.all),
    "logsumexp": _reduction(on_recorded(ops.logsumexp)),
    "max": _extreme(np.max, np.argmax),
    "min": _extreme(np.min, np.argmin),
    "argmax": lambda x, dim=None, keepdim=False: np.argmax(x, axis=dim, keepdims=keepdim),
    "argmin": lambda x, dim=None, keepdim=False: np.argmin(x, axis=dim, keepdims=keepdim),
    "cumsum": lambda x, dim, dtype=None: np.cumsum(x, axis=dim),
    "var": _variance,
    "std": lambda *args, **more: np.sqrt(_variance(*args, **more)),
    "var_mean": lambda x, *args, **more: (
        _variance(x, *args, **more),
        np.mean(x, axis=_axes(args[0] if args else more.get("dim")), keepdims=more.get("keepdim", False)),
    ),
    "linalg_vector_norm": lambda x, ord=2, dim=None, keepdim=False, dtype=None: np.linalg.norm(
        np.reshape(x, (-1,)) if dim is None else x, ord, axis=_axes(dim), keepdims=keepdim
    ),
    "clamp": _clipped,
    "clamp_min": _clipped,
    "clamp_max": lambda x, high: np.minimum(x, high),
    "hardtanh": _clipped,
    "gelu": lambda x, approximate="none": on_recorded(ops.gelu)(x, approximate=approximate == "tanh"),
    "leaky_relu": lambda x, slope=0.01: on_recorded(ops.leaky_relu)(x, slope),
    "elu": lambda x, alpha=1.0, scale=1.0, input_scale=1.0: scale * on_recorded(ops.elu)(x, alpha),
    "_softmax": lambda x, dim, half=False: on_recorded(ops.softmax)(x, axis=dim),
    "_log_softmax": lambda x, dim, half=False: on_recorded(ops.log_softmax)(x, axis=dim),
    "native_layer_norm": _layer_norm,
    "mse_loss": _loss,
    "nll_loss_forward": _nll,
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "_reshape_alias"), lambda x, s, *more: np.reshape(x, tuple(s))),
    "t": _permuted,
    "transpose": _permuted,
    "permute": lambda x, dims: np.transpose(x, dims),
    "flip": lambda x, dims: np.flip(x, tuple(dims)),
    "roll": lambda x, shifts, dims=(): np.roll(x, tuple(shifts), _axes(dims)),
    "unsqueeze": lambda x, dim: np.expand_dims(x, dim),
    "squeeze": lambda x, dim=None: np.reshape(x, np.shape(np.squeeze(np.empty(np.shape(x)), _ones(x, dim)))),
    "expand": _expand,
    "repeat": lambda x, counts: np.tile(x, tuple(counts)),
    "repeat_interleave": _repeated,
    "cat": lambda xs, dim=0: np.concatenate(xs, axis=dim),
    "stack": lambda xs, dim=0: np.stack(xs, axis=dim),
    "split": lambda x, size, dim=0: np.split(x, range(size, np.shape(x)[dim], size), axis=dim),
    "unbind": lambda x, dim=0: tuple(_select(x, dim, i) for i in range(np.shape(x)[dim])),
    "select": _select,
    "slice": _slice,
    "index": _index,
    "index_select": lambda x, dim, index: np.take(x, index, axis=dim),
    "gather": lambda x, dim, index, **more: np.take_along_axis(x, index, dim),
    "embedding": lambda weight, ids, *more: weight[ids],
    "masked_fill": lambda x, mask, value: np.where(mask, value, x),
    "tril": lambda x, diagonal=0: np.tril(x, diagonal),
    "triu": lambda x, diagonal=0: np.triu(x, diagonal),
    "diagonal": lambda x, offset=0, *dims: np.diagonal(x, offset),
    "_to_copy": lambda x, **more: x * 1.0,
    "clone": lambda x, **more: x * 1.0,
    **dict.fromkeys(("detach", "alias", "contiguous", "lift_fresh"), lambda x: x),
}

#: Operations that write into their first argument, and what they write there.
WRITES: dict[str, Callable[..., Any]] = {
    "copy_": lambda x, y, *more: y,
    "fill_": lambda x, y: y,
    "zero_": lambda x: np.zeros(np.shape(x)),
}


def _ones(x: Any, dim: Any) -> tuple[int, ...]:
    """Return the axes that ``squeeze`` takes away."""
    axes = range(np.ndim(x)) if dim is None else (dim,) if isinstance(dim, int) else dim
    return tuple(a for a in axes if np.shape(x)[a] == 1)


class _Twins:
    """The recording arrays that belong to PyTorch's tensors."""

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[Any, Any]] = {}  # the tensors are kept, so that their ids stay taken

    def of(self, x: Any) -> Any:
        """Return what stands for `x`: its recording array, or the tensor's plain array."""
        torch = sys.modules["torch"]
        if not isinstance(x, torch.Tensor):
            return x
        known = self._pairs.get(id(x))
        return known[1] if known else left(x)

    def knows(self, x: Any) -> bool:
        """Whether a recording array belongs to `x`."""
        return id(x) in self._pairs

    def keep(self, tensor: Any, twin: Any, operation: str) -> None:
        """Let a recording array stand for a tensor; raise if it holds other numbers."""
        if not isinstance(twin, Traced):
            return
        value, expected = np.asarray(unwrapped(twin).value), left(tensor)
        rtol = TOLERANCE.get(str(expected.dtype), 1e-9)
        if value.shape != expected.shape or not np.allclose(value, expected, rtol, rtol, equal_nan=True):
            raise Untraceable(f"torch's {operation} differs from its equivalent in NumPy")
        self._pairs[id(tensor)] = tensor, twin


def _replayed(
    twins: _Twins, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, before: Any
) -> None:
    """Do on the recording arrays what PyTorch has done on tensors."""
    torch = sys.modules["torch"]
    name = func.overloadpacket.__name__
    inputs = [mapped(a, lambda _, x: twins.of(x)) for a in args]
    options = {k: mapped(v, lambda _, x: twins.of(x)) for k, v in kwargs.items()}
    written = name.endswith("_") and not name.startswith("_")
    if written and not isinstance(inputs[0], Traced):
        twins.keep(args[0], Traced(constant(np.asarray(before, np.float64))), name)
        inputs[0] = twins.of(args[0])
    if name == "index_put_":
        place = tuple(slice(None) if i is None else i for i in inputs[1])
        inputs[0][place] = inputs[0][place] + inputs[2] if inputs[3:] and inputs[3] else inputs[2]
        return
    form = WRITES.get(name) or ATEN.get(name.rstrip("_") if written else name)
    if form is None:
        raise Untraceable(f"torch's {name} has no equivalent in NumPy here")
    if name == "_to_copy" and not result.is_floating_point():
        return
    new = form(*inputs, **options)
    if written:
        inputs[0].write(new)
        return
    for tensor, twin in zip(result, new, strict=False) if isinstance(result, list | tuple) else ((result, new),):
        if isinstance(tensor, torch.Tensor):
            twins.keep(tensor, twin, name)


@contextmanager
def recording(twins: _Twins) -> Iterator[None]:
    """Record what PyTorch does on tensors that recording arrays stand for."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Mode(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            writes = func._schema.is_mutable and isinstance(args[0], torch.Tensor)
            before = args[0].numpy().copy() if writes and not twins.knows(args[0]) else None
            result = func(*args, **kwargs)
            found: list[Any] = []
            mapped([list(args), dict(kwargs)], lambda _, x: found.append(x) if twins.knows(x) else None)
            made = isinstance(result, torch.Tensor) and result.is_floating_point()
            if made and not any(isinstance(a, torch.Tensor) for a in args):
                twins.keep(result, Traced(constant(np.array(left(result)))), "factory")  # it may be written into
            if found:
                _replayed(twins, func, args, kwargs, result, before)
            return result

    with Mode():
        yield


def left(x: Any) -> Any:
    """Return a tensor as a NumPy array, other values unchanged."""
    torch = sys.modules["torch"]
    return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else x


def entered(x: Any, dtype: Any) -> Any:
    """Return an array, recorded or not, as a new tensor; floating ones with `dtype`."""
    torch = sys.modules["torch"]
    value = unwrapped(x).value if isinstance(x, Traced) else x
    if not isinstance(value, np.ndarray | np.generic):
        return x
    made = torch.from_numpy(np.array(value))
    return made.to(dtype) if made.is_floating_point() else made


def is_tensor(x: Any) -> bool:
    """Whether `x` is one of PyTorch's tensors, which nobody has made unless torch is loaded."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def without_gradients() -> Any:
    """Return the context in which the passes run: PyTorch records no graph of its own."""
    return sys.modules["torch"].no_grad()


def dtype_for(forward: Any, inputs: Sequence[Any]) -> Any:
    """Return float64 if `forward` can be run in it, else the dtype of the first floating input."""
    torch = sys.modules["torch"]
    try:
        forward(*[mapped(x, lambda _, leaf: entered(leaf, torch.float64)) for x in inputs])
    except Exception:
        leaves = [x for x in named_leaves(list(inputs)).values() if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
        return torch.from_numpy(leaves[0]).dtype if leaves else torch.float64
    return torch.float64


def call_recorded(f: Callable[..., Any], values: Sequence[Any], dtype: Any) -> Any:
    """Call `f` with `values` as tensors; return its results with recording arrays in place of tensors.

    Where no value is recorded, the results are plain arrays.
    """
    torch = sys.modules["torch"]
    twins = _Twins()

    def with_twin(_: str, x: Any) -> Any:
        tensor = entered(x, dtype)
        if isinstance(x, Traced):
            twins.keep(tensor, x, "from_numpy")
        return tensor

    tensors = [mapped(v, with_twin) for v in values]
    with recording(twins), without_gradients():
        result = f(*tensors)
    return mapped(result, lambda _, x: twins.of(x) if isinstance(x, torch.Tensor) else x)
