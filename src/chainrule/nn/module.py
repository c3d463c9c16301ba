"""`Module`: what a network is made of. Parameters, buffers and modules belong to it by assignment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from .. import show
from ..core.arrays import FLOATS, as_array, checked_array
from ..core.habits import missing
from ..core.keywords import refuse, translated, translates
from ..core.node import TRACE
from ..core.op import Array
from ..core.tensor import Parameter, Tensor
from ..core.tree import flatten, tree_map
from ..frames import as_inputs
from ..ops.table import as_dtype
from . import init
from .describe import build, check_size
from .outline import Part, text
from .twins import Nested


@dataclass
class Draw:
    """How a parameter's first value came about, so that it can be drawn again under its path in the whole network."""

    initializer: init.Initializer
    fan_in: int
    fan_out: int
    seed: int | None  # None: the network's
    depth: int  # components of the path it was drawn under
    value: Array  # what was drawn; as long as the parameter holds this very array nobody has assigned to it


class Module(Nested):
    """A function with parameters.

    Subclass it, assign parameters (`make_parameter`, or ``nn.Parameter(array)``) and other modules to attributes, and
    write ``forward``. Parameters and modules in lists, tuples and dicts count too. No ``super().__init__()`` is needed.

    Calling a module, ``model(X)``, takes arrays or tensors and gives a tensor. Floating-point input is cast to the
    dtype of the module's parameters (float64 data does not promote a float32 network), integers too, unless
    the module begins by looking rows up (`Embedding`).

    Attributes
    ----------
    training : bool
        True after construction and ``train()``, False after ``eval()``; dropout and batch norm depend on it.
    feature_names : tuple of str or None
        The columns of the data frame that ``fit`` was given; frames given later are read in this order.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule import nn
    >>> class Residual(nn.Module):
    ...     def __init__(self):
    ...         self.inner = nn.Linear(3, 3)
    ...     def forward(self, X):
    ...         return X + np.tanh(self.inner(X))
    >>> model = Residual()
    >>> model(np.ones((2, 3))).shape
    (2, 3)
    >>> [path for path, _ in model.named_parameters()]
    ['inner.weight', 'inner.bias']
    """

    training: bool
    feature_names: tuple[str, ...] | None = None
    _unread = ("feature_names",)
    _takes_one = False  # whether its input is an array, not a nest of arrays
    _matrices = False  # whether its matrices are (inputs, outputs), for which PyTorch has (outputs, inputs)
    _ids = False  # whether integer input means row numbers
    _nests = False  # for descriptions (`described`): whether it is made of other layers,
    _lengths: tuple[str, ...] = ()  # which arguments are lengths of axes,
    _buffers: dict[str, Array]
    _draws: dict[str, Draw]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # so that subclasses need no super().__init__()
        """Set up the bookkeeping of parameters and buffers."""
        refuse(cls, kwargs)
        module = super().__new__(cls)
        module.__dict__.update(training=True, _buffers={}, _draws={})
        return module

    def __init__(self) -> None:
        """Take no arguments, unless a subclass does."""

    @staticmethod
    def _count_of(settings: Mapping[str, Any]) -> int:  # and how many parameters there are with these arguments
        return 0

    # -- registration ------------------------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._buffers:
            value = self._as_buffer(name, value)
        elif isinstance(self.__dict__.get(name), Parameter) and not isinstance(value, Parameter) and value is not None:
            raise TypeError(
                f"{name} is a parameter: replace its numbers with {name}.assign(value), or the parameter with "
                f"nn.Parameter(value); found a {type(value).__name__}"
            )
        object.__setattr__(self, name, value)
        if (trace := TRACE.get()) is not None and (twin := trace.twins.get(id(self), self)) is not self:
            twin.__dict__[name] = value  # such as the mode, set by a traced function
        if isinstance(value, (Module, *_NESTS)):
            self._adopt()

    def make_parameter(
        self,
        name: str,
        shape: tuple[int, ...],
        initializer: Any,
        *,
        fan_in: int | None = None,
        fan_out: int | None = None,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> Parameter:
        """Draw a parameter, assign it to the attribute `name` and return it.

        Parameters
        ----------
        name, shape, dtype
            Of the parameter.
        initializer
            A name or a callable of ``nn.init``.
        fan_in, fan_out
            Inputs and outputs of a unit; default: the first and the last axis.
        seed
            Fixes the draw. Without one, the value depends on the path in the network that the module becomes part of
            (so that equal layers of a network differ), until somebody assigns to it.
        """
        fan_in = fan_in if fan_in is not None else (shape[0] if shape else 1)
        fan_out = fan_out if fan_out is not None else (shape[-1] if shape else 1)
        if seed is not None:
            seed = init.checked_seed(seed)
        draw = Draw(init.get(initializer), fan_in, fan_out, seed, 1, np.empty(0))
        parameter = Parameter(np.zeros(shape, checked_dtype(dtype)))
        self._draws[name] = draw
        _redraw(parameter, draw, seed or 0, name)
        setattr(self, name, parameter)
        return parameter

    def register_buffer(self, name: str, value: Any) -> None:
        """Make the attribute `name` a buffer: state that is saved with the parameters but not trained.

        `forward` may replace it (``self.count = self.count + 1``), by a value of the same shape; the dtype is kept.
        """
        if hasattr(self, name):
            raise ValueError(f"{type(self).__name__} has an attribute {name!r} already")
        array = np.array(checked_array(value, f"buffer {name}"))
        self._buffers[name] = array
        object.__setattr__(self, name, array)

    def _as_buffer(self, name: str, value: Any) -> Any:
        trace = TRACE.get()
        if trace is not None and id(self) not in trace.twins:
            raise TypeError(
                f"{type(self).__name__}: the buffer {name} is replaced outside of a call of this module, while it is "
                f"part of {trace.purpose}. Replace buffers in forward, and call the module"
            )
        first = self._buffers[name]
        value = as_dtype(value if isinstance(value, Tensor) else np.asarray(value), first.dtype)
        if tuple(value.shape) != first.shape:
            raise ValueError(f"buffer {name} has shape {first.shape}, the new value has {tuple(value.shape)}")
        if isinstance(value, Tensor) and value.value is not None:
            return np.array(value.value)  # state is not part of the derivative, and must not keep the graph alive
        return value if isinstance(value, Tensor) else np.array(value)

    def _adopt(self) -> None:
        """Draw again, under their path from here, what was drawn under a shorter one and never assigned."""
        for path, module, members in self._visit():
            module._placed(path)
            for name, draw in module._draws.items():
                depth = path.count(".") + 2 if path else 1
                if draw.depth >= depth or draw.seed is not None:
                    continue
                parameter = next((v for n, v in members if n == name), None)
                if isinstance(parameter, Parameter) and parameter.value is draw.value:
                    draw.depth = depth
                    _redraw(parameter, draw, 0, _join(path, name))

    def _placed(self, path: str) -> None:
        """Learn the path in a larger network; for modules whose randomness depends on it."""

    def initialize(self, seed: int = 0) -> Self:
        """Draw all parameters again from `seed` and their paths; set buffers back. Return the module.

        With ``seed=0`` this gives the values of construction (except for layers made with another seed).
        Parameters made from arrays (``nn.Parameter(array)``) have no recipe and are left alone.
        """
        seed = init.checked_seed(seed)
        for path, owner, name, parameter in self._walk():
            draw = owner._draws.get(name)
            if draw is not None:
                draw.seed = None
                _redraw(parameter, draw, seed, path)
                draw.value = np.empty(0)  # chosen by the caller: joining a larger network must not draw it again
        for path, module in self.named_modules():
            for name, first in module._buffers.items():
                setattr(module, name, first)
            module._reseeded(seed, path)
        return self

    def _reseeded(self, seed: int, path: str) -> None:
        """Take over `seed`; for modules that draw random numbers when called."""

    # -- what belongs to it ------------------------------------------------------------------------------------------

    def _members(self) -> list[tuple[str, Any]]:
        """Return (path component, tensor or module) for each one held directly or in containers."""
        members: list[tuple[str, Any]] = []
        for name, value in self.__dict__.items():
            if type(value) in _PLAIN:
                continue
            if isinstance(value, _HELD):
                members.append((name, value))
            elif isinstance(value, _NESTS) and value:
                members += _held(name if name != "_layers" else "", value)
        return members

    def _visit(self) -> Iterator[tuple[str, Module, list[tuple[str, Any]]]]:
        """Yield (dotted path, module, its members), this one first, each once."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [("", self)]
        while stack:
            path, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            members = module._members()
            yield path, module, members
            stack.extend([(_join(path, n), m) for n, m in members[::-1] if isinstance(m, Module)])

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Yield (dotted path, module), this one first, each once."""
        return ((path, module) for path, module, _ in self._visit())

    def modules(self) -> Iterator[Module]:
        """Yield every module, this one first, each once."""
        return (m for _, m in self.named_modules())

    def _walk(self) -> Iterator[tuple[str, Module, str, Parameter]]:
        """Yield (path, owner, name within the owner, parameter), each parameter once, under its first path."""
        seen: set[int] = set()
        for path, module, members in self._visit():
            for name, value in members:
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield _join(path, name), module, name, value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield (dotted path, parameter), each once; a shared one under its first path."""
        self._adopt()
        return ((path, parameter) for path, _, _, parameter in self._walk())

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter once."""
        return (p for _, p in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Any]]:
        """Yield (dotted path, array) for every buffer."""
        for path, module in self.named_modules():
            for name in module._buffers:
                yield _join(path, name), getattr(module, name)

    @property
    def num_parameters(self) -> int:
        """Number of trained numbers."""
        return sum(p.size for _, _, _, p in self._walk())

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The dtype of the (first) parameter; None for a module without parameters."""
        for module in self.modules():
            for _, value in module._members():
                if isinstance(value, Tensor) and value.dtype in FLOATS:
                    return value.dtype
        return None

    @property
    def takes_ids(self) -> bool:
        """Whether integer input stays integer (row numbers to look up), as for an `Embedding`.

        A module with a table of its own says so in its class: ``takes_ids = True``.
        """
        modules = list(self.modules())
        kinds: set[Any] = set(map(type, modules))
        return any(m._ids for m in modules) or any(kind.takes_ids is True for kind in kinds)

    def parameter_names(self) -> dict[str, str]:
        """Return {dotted path: name of the value}: ``{"0.weight": "W1", …}``; unnamed ones have their path as name."""
        return {path: parameter.name or path for path, parameter in self.named_parameters()}

    def __getattr__(self, name: str) -> Any:
        raise missing("Module", name, self)

    # -- calling -----------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` on arrays or tensors."""
        if (trace := TRACE.get()) is not None:
            self = trace.twin(self)
        if any(isinstance(v, list | dict) for k, v in self.__dict__.items() if not k.startswith("_")):
            self._adopt()  # a plain list may have grown since it was assigned
        inputs = [self._as_input(x, i) for i, x in enumerate(args)]
        try:
            return self.forward(*inputs, **kwargs)
        except TypeError as error:
            if not kwargs:
                raise
            raise translated(error, kwargs) from None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output. To be written by subclasses."""
        raise TypeError(f"{type(self).__name__} has no forward(self, X); write one")

    def _as_input(self, x: Any, position: int) -> Any:
        if x is None or isinstance(x, str | Module) or callable(x):
            return x
        if _is_nest(x, position):
            if self._takes_one:
                raise TypeError(
                    f"{type(self).__name__} takes one array, got a {type(x).__name__} of arrays; np.stack or "
                    "np.concatenate makes one"
                )
            return tree_map(lambda leaf: self._as_input(leaf, position + 1) if hasattr(leaf, "shape") else leaf, x)
        if not isinstance(x, Tensor):
            argument = "X" if position == 0 else f"argument {position}"
            x, _ = as_inputs(x, argument, self.feature_names if position == 0 else None)
            x = Tensor(checked_array(x, argument))
        dtype = self.dtype
        if dtype is None or x.dtype == dtype:
            return x
        if x.dtype in FLOATS or (position == 0 and not self.takes_ids):
            return as_dtype(x, dtype)
        return x

    # -- state -------------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set training mode here and below; return the module."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and below (no dropout, batch norm by running statistics); return the module."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train all parameters here and below, or freeze them (False); return the module.

        A frozen parameter gets no gradient, and ``fit`` does not change it. Batch norm's running statistics are
        buffers, which change in training mode.
        """
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    @translates
    def zero_grad(self) -> None:
        """Forget the gradients that ``backward`` left in ``.grad``."""
        for parameter in self.parameters():
            parameter.grad = None

    @translates
    def to(self, dtype: Any) -> Self:
        """Convert parameters and floating-point buffers to float32 or float64; return the module."""
        dtype = checked_dtype(dtype)
        for _, owner, name, parameter in self._walk():
            assert parameter.value is not None
            draw = owner._draws.get(name)
            pristine = draw is not None and parameter.value is draw.value
            parameter.value, parameter.dtype, parameter.grad = parameter.value.astype(dtype), dtype, None
            if draw is not None and pristine:
                draw.value = parameter.value
        for module in self.modules():
            for name, first in module._buffers.items():
                if first.dtype in FLOATS:
                    module._buffers[name] = first.astype(dtype)
                    setattr(module, name, getattr(module, name))
        return self

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers by dotted path."""
        state = {path: np.array(p.value) for path, p in self.named_parameters()}
        state.update((path, np.array(buffer)) for path, buffer in self.named_buffers())
        return state

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Assign parameters and buffers by dotted path.

        With ``strict=False`` missing and unexpected names are ignored; shapes must always match. Values are cast
        to the dtype of what they replace.

        Raises
        ------
        ValueError
            Naming everything that is missing, unexpected or of the wrong shape; the module is unchanged then.
        """
        targets: dict[str, tuple[tuple[int, ...], Callable[[Any], None]]] = {}
        for path, parameter in self.named_parameters():
            targets[path] = parameter.shape, parameter.assign
        for path, module in self.named_modules():
            for name, first in module._buffers.items():
                targets[_join(path, name)] = first.shape, _setter(module, name)
        problems = []
        if strict:
            problems += [f"{path} is missing" for path in targets if path not in state]
            problems += [f"{path} is unexpected" for path in state if path not in targets]
        values = {}
        for path, (shape, _) in targets.items():
            if path not in state:
                continue
            given = state[path]
            array = given.concrete("load_state_dict") if isinstance(given, Tensor) else as_array(given, path)
            if array.dtype.kind not in "fiub":
                problems.append(f"{path} has dtype {array.dtype}, not real numbers")
            elif array.shape != shape:
                problems.append(f"{path} has shape {array.shape}, the model has {shape}")
            values[path] = array
        if problems:
            more = f"; and {len(problems) - 12} more" if len(problems) > 12 else ""
            raise ValueError(f"the state does not fit this {type(self).__name__}: {'; '.join(problems[:12])}{more}")
        for path, array in values.items():
            targets[path][1](array)

    # -- description -------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """Return the architecture as JSON-able data, from which ``nn.from_config`` builds it again."""
        raise TypeError(
            f"{type(self).__name__} is a custom module: a file can hold its weights (state_dict), not its code. "
            "chainrule's layers, and Sequentials of them, have a description."
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **limits: Any) -> Self:
        """Build a module from what `config` returned. See `chainrule.nn.from_config`."""
        module = from_config(config, **limits)
        if not isinstance(module, cls):
            raise ValueError(f"this describes a {type(module).__name__}, not a {cls.__name__}")
        return module

    def _signature(self) -> str:
        """Return what the repr shows between its brackets."""
        return ""

    def _outline(self) -> list[Part]:
        """Return what is shown of this module and those below it."""
        parts = []
        depths: dict[str, int] = {}
        for path, module, members in self._visit():
            names = path.split(".") if path else []
            above = next((p for k in range(len(names) - 1, 0, -1) if (p := ".".join(names[:k])) in depths), "")
            depths[path] = depths[above] + 1 if path else 0
            own = tuple((name, value) for name, value in members if isinstance(value, Parameter))
            call = type(module).__name__, module._signature()
            parts.append(Part(depths[path], path[len(above) :].lstrip("."), call, own, module.num_parameters))
        return parts

    def __repr__(self) -> str:
        return text(self._outline(), str(self.dtype or ""))

    def _repr_html_(self) -> str:
        from .html import document  # what notebooks alone need

        facts = [str(self.dtype)] if self.dtype is not None else []
        if not self.training:
            facts.append("evaluation mode")
        if names := self.feature_names:
            facts.append("columns " + ", ".join(names[:6]) + (", …" if len(names) > 6 else ""))
        return show.as_fragment(document(self._outline(), facts), bare=True)


def from_config(config: Mapping[str, Any], *, max_parameters: int | None = None) -> Module:
    """Build a module from what ``Module.config`` returned; its parameters have their initial values.

    Parameters
    ----------
    config
        ``{"type": "Linear", "in_features": 64, …}``, for Sequential ``{"type": "Sequential", "layers": […]}``.
    max_parameters
        Refuse a larger network (or one of thousands of layers) before allocating anything: for descriptions from files.

    Raises
    ------
    ValueError, TypeError
        For unknown types, unknown, missing or invalid settings, and more than `max_parameters`.

    Examples
    --------
    >>> from chainrule import nn
    >>> nn.from_config({"type": "Sequential", "layers": [{"type": "Linear", "in_features": 4, "out_features": 2}]})
    Sequential()
      (0) Linear(4, 2)  weight (4, 2), bias (2,)  10
    10 parameters, float32
    """
    if max_parameters is not None:
        check_size(config, max_parameters)
    module: Module = build(config)
    return module


def _is_nest(x: Any, position: int) -> bool:
    """Return whether an argument is a container of arrays, such as a tuple of states, not an array in lists."""
    if isinstance(x, dict) or dataclasses.is_dataclass(x):
        return not isinstance(x, type)
    if isinstance(x, list) and position == 0:
        return any(isinstance(part, Tensor) for part in x)  # a list of arrays holds rows
    return isinstance(x, tuple | list) and any(hasattr(leaf, "shape") for leaf in flatten(x)[0])


_HELD = (Tensor, Module)
_NESTS = (list, tuple, dict)
_PLAIN = frozenset([bool, int, float, str, type(None)])  # most attributes: to tell these by their type takes least time


def _redraw(parameter: Parameter, draw: Draw, seed: int, path: str) -> None:
    rng = init.generator(seed, path)
    value = np.asarray(draw.initializer(rng, parameter.shape, parameter.dtype, draw.fan_in, draw.fan_out))
    if value.shape != parameter.shape:
        raise ValueError(f"the initialiser of {path} returned shape {value.shape}, expected {parameter.shape}")
    parameter.assign(value)
    assert parameter.value is not None
    draw.value = parameter.value


def _held(name: str, container: Any) -> Iterator[tuple[str, Any]]:
    items = container.items() if isinstance(container, dict) else enumerate(container)
    for key, value in items:
        if isinstance(value, _HELD):
            yield _join(name, str(key)), value
        elif isinstance(value, _NESTS):
            yield from _held(_join(name, str(key)), value)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _setter(module: Module, name: str) -> Callable[[Any], None]:
    return lambda value: setattr(module, name, value)


def checked_dtype(dtype: Any) -> np.dtype[Any]:
    """Return `dtype` as a NumPy dtype; raise unless it is float32 or float64."""
    try:
        return FLOATS[FLOATS.index(np.dtype(dtype))]
    except (TypeError, ValueError):
        raise TypeError(f"dtype: expected float32 or float64, got {dtype!r}; the CPU is the only device") from None


def require_module(model: Any) -> None:
    """Raise TypeError unless `model` is a module: a function has no parameters."""
    if not isinstance(model, Module):
        raise TypeError(f"model: expected an nn.Module, such as nn.Sequential(…), got a {type(model).__name__}")
