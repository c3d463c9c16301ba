"""Networks from and to PyTorch: `Sequential`s of the layers that both libraries have."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn
from ..core.arrays import FLOATS
from ..nn.module import require_module
from .torch_weights import from_torch_layout, torch_state

#: Layers without settings, which have the same name there.
_ALIKE = (
    nn.Identity, nn.Flatten, nn.ReLU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Mish, nn.Hardswish
)  # fmt: skip

#: PyTorch's class -> the layer that computes the same; with settings that have another name or place there.
_FROM: dict[str, Callable[..., nn.Module]] = {
    **{kind.__name__: lambda m, dtype, kind=kind: kind() for kind in _ALIKE},
    "Linear": lambda m, dtype: nn.Linear(m.in_features, m.out_features, m.bias is not None, dtype=dtype),
    "Dropout": lambda m, dtype: nn.Dropout(m.p),
    "LayerNorm": lambda m, dtype: nn.LayerNorm(_last_axis(m), eps=m.eps, dtype=dtype),
    "BatchNorm1d": lambda m, dtype: nn.BatchNorm1d(m.num_features, eps=m.eps, momentum=m.momentum, dtype=dtype),
    "Embedding": lambda m, dtype: nn.Embedding(
        m.num_embeddings, m.embedding_dim, padding_idx=m.padding_idx, dtype=dtype
    ),
    "RNN": lambda m, dtype: nn.RNN(*_recurrent(m), nonlinearity=m.nonlinearity, dtype=dtype),
    "LSTM": lambda m, dtype: nn.LSTM(*_recurrent(m), dtype=dtype),
    "GRU": lambda m, dtype: nn.GRU(*_recurrent(m), dtype=dtype),
    "MultiheadAttention": lambda m, dtype: nn.MultiheadAttention(
        m.embed_dim, m.num_heads, m.dropout, m.in_proj_bias is not None, causal=_causal(m), dtype=dtype
    ),
    "TransformerEncoderLayer": lambda m, dtype: nn.TransformerEncoderLayer(
        m.self_attn.embed_dim,
        m.self_attn.num_heads,
        m.linear1.out_features,
        m.dropout.p,
        _activation(m.activation),
        m.norm1.eps,
        m.norm_first,
        causal=_causal(m),
        dtype=dtype,
    ),
    "LeakyReLU": lambda m, dtype: nn.LeakyReLU(m.negative_slope),
    "ELU": lambda m, dtype: nn.ELU(m.alpha),
    "GELU": lambda m, dtype: nn.GELU(m.approximate == "tanh"),
    "Softmax": lambda m, dtype: nn.Softmax(),
    "LogSoftmax": lambda m, dtype: nn.LogSoftmax(),
    "PReLU": lambda m, dtype: nn.PReLU(m.num_parameters, m.init, dtype=dtype),
    "Conv1d": lambda m, dtype: nn.Conv1d(*_convolution(m), bias=m.bias is not None, dtype=dtype),
    "Conv2d": lambda m, dtype: nn.Conv2d(*_convolution(m), bias=m.bias is not None, dtype=dtype),
    "ConvTranspose2d": lambda m, dtype: nn.ConvTranspose2d(
        m.in_channels, m.out_channels, m.kernel_size, m.stride, m.padding, m.output_padding, m.groups,
        m.bias is not None, m.dilation, dtype=dtype,
    ),
    "MaxPool1d": lambda m, dtype: nn.MaxPool1d(m.kernel_size, m.stride, m.padding, m.dilation),
    "MaxPool2d": lambda m, dtype: nn.MaxPool2d(m.kernel_size, m.stride, m.padding, m.dilation),
    "AvgPool1d": lambda m, dtype: nn.AvgPool1d(
        m.kernel_size, m.stride, m.padding, count_include_pad=m.count_include_pad
    ),
    "AvgPool2d": lambda m, dtype: nn.AvgPool2d(
        m.kernel_size, m.stride, m.padding, count_include_pad=m.count_include_pad
    ),
    "AdaptiveAvgPool2d": lambda m, dtype: nn.AdaptiveAvgPool2d(m.output_size),
    "BatchNorm2d": lambda m, dtype: nn.BatchNorm2d(m.num_features, eps=m.eps, momentum=m.momentum, dtype=dtype),
    "GroupNorm": lambda m, dtype: nn.GroupNorm(m.num_groups, m.num_channels, eps=m.eps, dtype=dtype),
    "RMSNorm": lambda m, dtype: nn.RMSNorm(
        _last_axis(m), eps=float(np.finfo(dtype).eps) if m.eps is None else m.eps, dtype=dtype
    ),
    "Dropout2d": lambda m, dtype: nn.Dropout2d(m.p),
    "ZeroPad2d": lambda m, dtype: nn.ZeroPad2d(m.padding),
    "Upsample": lambda m, dtype: nn.Upsample(m.size, _factor(m.scale_factor), m.mode, bool(m.align_corners)),
}  # fmt: skip


def _convolution(m: Any) -> tuple[Any, Any, Any, Any, Any, Any, Any]:
    return m.in_channels, m.out_channels, m.kernel_size, m.stride, m.padding, m.dilation, m.groups


def _factor(factor: Any) -> Any:
    """Return a scale factor as integers, where it is a float that is one."""
    if isinstance(factor, tuple):
        return tuple([_factor(f) for f in factor])
    return int(factor) if isinstance(factor, float) and factor.is_integer() else factor


#: The only values of further settings of PyTorch's layers at which both compute (and train) the same.
_ONLY: dict[str, dict[str, Any]] = {
    "Flatten": {"start_dim": 1, "end_dim": -1},
    "Softplus": {"beta": 1, "threshold": 20},
    "Softmax": {"dim": -1},
    "LogSoftmax": {"dim": -1},
    "Conv1d": {"padding_mode": "zeros"},
    "Conv2d": {"padding_mode": "zeros"},
    "ConvTranspose2d": {"padding_mode": "zeros"},
    "MaxPool1d": {"ceil_mode": False, "return_indices": False},
    "MaxPool2d": {"ceil_mode": False, "return_indices": False},
    "AvgPool1d": {"ceil_mode": False},
    "AvgPool2d": {"ceil_mode": False, "divisor_override": None},
    "BatchNorm2d": {"track_running_stats": True},
    "BatchNorm1d": {"track_running_stats": True},
    "Embedding": {"max_norm": None, "scale_grad_by_freq": False},
    "RNN": {"batch_first": True},
    "LSTM": {"batch_first": True, "proj_size": 0},
    "GRU": {"batch_first": True},
    "MultiheadAttention": {"batch_first": True, "bias_k": None, "add_zero_attn": False, "_qkv_same_embed_dim": True},
    "TransformerEncoderLayer": {"self_attn.batch_first": True},
}
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

#: Our class -> PyTorch's and its arguments; those with parameters take a dtype, too.
_TO: dict[type[nn.Module], Callable[[Any], tuple[str, tuple[Any, ...], dict[str, Any]]]] = {
    **{kind: lambda m: (type(m).__name__, (), {}) for kind in _ALIKE},
    nn.Linear: lambda m: ("Linear", (m.in_features, m.out_features), {"bias": m.bias is not None}),
    nn.Dropout: lambda m: ("Dropout", (m.p,), {}),
    nn.FadingDropout: lambda m: ("Dropout", (m.p,), {}),
    nn.LayerNorm: lambda m: ("LayerNorm", (m.features,), {"eps": m.eps}),
    nn.BatchNorm1d: lambda m: ("BatchNorm1d", (m.features,), {"eps": m.eps, "momentum": m.momentum}),
    nn.Embedding: lambda m: ("Embedding", (m.rows, m.dimensions), {"padding_idx": m.padding_idx}),
    nn.RNN: lambda m: ("RNN", (), {**_settings(m), "nonlinearity": m.nonlinearity}),
    nn.LSTM: lambda m: ("LSTM", (), _settings(m)),
    nn.GRU: lambda m: ("GRU", (), _settings(m)),
    nn.MultiheadAttention: lambda m: (
        "MultiheadAttention",
        (m.embed_dim, m.num_heads, m.dropout, m.bias),
        {"batch_first": True},
    ),
    nn.TransformerEncoderLayer: lambda m: (
        "TransformerEncoderLayer",
        (
            m.d_model,
            m.nhead,
            m.dim_feedforward,
            m.dropout,
            m.activation,
            m.layer_norm_eps,
            True,
            m.norm_first,
        ),
        {},
    ),
    nn.LeakyReLU: lambda m: ("LeakyReLU", (m.slope,), {}),
    nn.ELU: lambda m: ("ELU", (m.alpha,), {}),
    nn.GELU: lambda m: ("GELU", (), {"approximate": "tanh" if m.approximate else "none"}),
    nn.Softmax: lambda m: ("Softmax", (), {"dim": -1}),
    nn.LogSoftmax: lambda m: ("LogSoftmax", (), {"dim": -1}),
    nn.PReLU: lambda m: ("PReLU", (m.features,), {"init": m.init}),
    nn.Conv1d: lambda m: ("Conv1d", _convolution(m), {"bias": m.bias is not None}),
    nn.Conv2d: lambda m: ("Conv2d", _convolution(m), {"bias": m.bias is not None}),
    nn.ConvTranspose2d: lambda m: (
        "ConvTranspose2d",
        (m.in_channels, m.out_channels, m.kernel_size, m.stride, m.padding, m.output_padding, m.groups),
        {"bias": m.bias is not None, "dilation": m.dilation},
    ),
    nn.MaxPool1d: lambda m: ("MaxPool1d", _pooling(m), {"dilation": _one(m.dilation)}),
    nn.MaxPool2d: lambda m: ("MaxPool2d", _pooling(m), {"dilation": _one(m.dilation)}),
    nn.AvgPool1d: lambda m: ("AvgPool1d", _pooling(m), {"count_include_pad": m.count_include_pad}),
    nn.AvgPool2d: lambda m: ("AvgPool2d", _pooling(m), {"count_include_pad": m.count_include_pad}),
    nn.AdaptiveAvgPool2d: lambda m: ("AdaptiveAvgPool2d", (_one(m.output_size),), {}),
    nn.BatchNorm2d: lambda m: ("BatchNorm2d", (m.features,), {"eps": m.eps, "momentum": m.momentum}),
    nn.GroupNorm: lambda m: ("GroupNorm", (m.num_groups, m.features), {"eps": m.eps}),
    nn.RMSNorm: lambda m: ("RMSNorm", (m.features,), {"eps": m.eps}),
    nn.Dropout2d: lambda m: ("Dropout2d", (m.p,), {}),
    nn.ZeroPad2d: lambda m: ("ZeroPad2d", (m.padding,), {}),
    nn.Upsample: lambda m: (
        "Upsample",
        (m.size, None if m.scale_factor is None else tuple(map(float, m.scale_factor)), m.mode),
        {} if m.mode == "nearest" else {"align_corners": m.align_corners},
    ),
}


def _one(setting: tuple[int, ...]) -> Any:
    """Return a setting of all axes as one number where it is the same for them."""
    return setting[0] if len(set(setting)) == 1 else setting


def _pooling(m: Any) -> tuple[Any, ...]:
    return _one(m.kernel_size), _one(m.stride), _one(m.padding)


def from_torch(module: Any) -> nn.Module:
    """Return the same network as a PyTorch module, with copies of its weights and running statistics, in its mode.

    Parameters
    ----------
    module : torch.nn.Module
        A ``torch.nn.Sequential``, nested or not, of the layers that both libraries have, or one such layer; of float32
        or float64, on any device.

    Returns
    -------
    nn.Module
        Computes the same outputs. Frozen parameters are frozen; gradients are not converted. A normalisation
        without weight or bias gets ones or zeros.

    Raises
    ------
    TypeError
        For the first layer that chainrule does not have; the message names its position and class.
    ValueError
        For the first layer with a setting that chainrule does not have, with hooks, with a parameter that it shares
        with another layer, or with numbers of another dtype than the first's.

    Examples
    --------
    >>> import chainrule as cr
    >>> import torch  # doctest: +SKIP
    >>> cr.from_torch(torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.ReLU()))  # doctest: +SKIP
    Sequential()
      (0) Linear(4, 2)  weight (4, 2), bias (2,)  10
      (1) ReLU()
    10 parameters, float32
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module: expected a torch.nn.Module, got a {type(module).__name__}")
    numbers = (t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point())
    first = next((str(t.dtype).removeprefix("torch.") for t in numbers), "float32")
    if first not in map(str, FLOATS):
        raise ValueError(
            f"module: expected float32 or float64 parameters, got {first}; use module.float() or module.double()"
        )
    return _from(module, "", np.dtype(first), {}, {})


def _from(module: Any, path: str, dtype: Any, made: dict[int, nn.Module], owner: dict[int, str]) -> nn.Module:
    import torch

    if id(module) not in made:
        parts_of = module.modules() if type(module) is not torch.nn.Sequential else [module]
        if any(m.__dict__.get(name) for m in parts_of for name in _HOOKS):
            raise ValueError(f"{_place(path)} has hooks, which may change what it computes; remove them first")
        if "forward" in module.__dict__:
            raise ValueError(f"{_place(path)} has a custom forward, which may compute something else")
        if type(module) is torch.nn.Sequential:
            parts = [_from(m, f"{path}.{n}".strip("."), dtype, made, owner) for n, m in module._modules.items()]
            made[id(module)] = nn.Sequential(*parts)
        else:
            made[id(module)] = _layer_from(module, path, dtype, owner).train(module.training)
        made[id(module)].training = module.training
    return made[id(module)]


def _activation(function: Any) -> str:
    """Return the name of the activation of a transformer layer."""
    import torch

    if function is torch.nn.functional.relu or type(function) is torch.nn.ReLU:
        return "relu"
    exact = type(function) is torch.nn.GELU and function.approximate == "none"
    return "gelu" if exact or function is torch.nn.functional.gelu else str(function)


#: Layers with parts -> the same anew, by their constructor.
_ANEW: dict[str, Callable[[Any, Any], Any]] = {
    "MultiheadAttention": lambda m, kind: kind(
        m.embed_dim, m.num_heads, bias=m.in_proj_bias is not None, device="meta"
    ),
    "TransformerEncoderLayer": lambda m, kind: kind(
        m.self_attn.embed_dim, m.self_attn.num_heads, m.linear1.out_features, m.self_attn.dropout, m.activation,
        m.norm1.eps, True, m.norm_first, m.linear1.bias is not None, device="meta",
    ),
}  # fmt: skip


def _as_constructed(module: Any, kind: Any) -> bool:
    """Return whether a layer's parts are what its constructor makes of its settings, in the layer's mode."""
    try:
        anew = _ANEW[kind.__name__](module, kind)
    except (AttributeError, TypeError):  # a part of another class
        return False
    inner = [str(m) for m in module.modules()][1:]
    return inner == [str(m) for m in anew.modules()][1:] and {m.training for m in module.modules()} == {module.training}


def _layer_from(module: Any, path: str, dtype: Any, owner: dict[int, str]) -> nn.Module:
    import torch

    given = _called_as_here(type(module))
    kind = given.__name__
    if kind not in _FROM or given is not getattr(torch.nn, kind):
        known = type(module) is getattr(torch.nn, kind, None)
        full = f"torch.nn.{kind}" if known else f"{type(module).__module__}.{kind}"
        raise TypeError(
            f"{_place(path)} is a {full}, which chainrule does not have; expected Sequential, {', '.join(_FROM)}. "
            "Other modules may be converted through ONNX: torch.onnx.export, then from_onnx"
        )
    for name, value in _ONLY.get(kind, {}).items():
        if (found := functools.reduce(getattr, name.split("."), module)) != value:
            same = "; on two axes, dim=1 is the same" if kind == "Softmax" and found == 1 else ""
            raise ValueError(f"{_place(path)} is {kind}({name}={found!r}); only {name}={value!r} is supported{same}")
    if kind in _ANEW and not _as_constructed(module, given):
        raise ValueError(
            f"{_place(path)} is a {kind} of which parts or their modes were changed after its construction"
        )
    try:
        layer = _FROM[kind](module, dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_place(path)} is {module}: {error}") from None
    layers = dict(layer.named_modules())
    tensors = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in tensors:
        if name == "num_batches_tracked":
            continue
        if owner.setdefault(id(tensor), path) != path:
            raise ValueError(
                f"{_place(path)} shares its {name} with layer {owner[id(tensor)]}, which chainrule's layers cannot; "
                "make a copy first"
            )
        if tensor.is_meta:
            raise ValueError(f"{_place(path)}: {name} is on the device meta, where no numbers are")
        array = tensor.detach().cpu().numpy()
        if array.dtype != dtype:
            raise ValueError(f"{_place(path)}: {name} is {array.dtype}, the module's first parameter is {dtype}")
        try:
            own, _, last = name.rpartition(".")
            layer.load_state_dict({name: from_torch_layout(layers[own], last, array)}, strict=False)
        except ValueError:
            raise ValueError(f"{_place(path)}: {name} has shape {array.shape}, which does not fit {module}") from None
        if isinstance(tensor, torch.nn.Parameter):
            getattr(layers[own], last).requires_grad = tensor.requires_grad
    return layer


def _last_axis(module: Any) -> int:
    if len(module.normalized_shape) != 1:
        raise ValueError("normalized_shape: expected one number (only the last axis is normalised)")
    return int(module.normalized_shape[0])


_RECURRENT = "input_size hidden_size num_layers bias dropout bidirectional".split()  # settings, as both call them


def _recurrent(module: Any) -> list[Any]:
    return [getattr(module, name) for name in _RECURRENT]


def _settings(layer: Any) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in _RECURRENT} | {"batch_first": True}


def _place(path: str) -> str:
    return f"layer {path}" if path else "the module"


def to_torch(model: nn.Module) -> Any:
    """Return a PyTorch module that computes what `model` does, with copies of its weights and running statistics.

    Parameters
    ----------
    model : nn.Module
        A `Sequential`, nested or not, of the library's own layers, or one such layer.

    Returns
    -------
    torch.nn.Module
        A ``torch.nn.Sequential`` or a layer, in the same mode and of the same dtype. Its dropout uses PyTorch's random
        numbers, whose state is not changed by the conversion. Recurrent and attention layers in a Sequential, and
        causal ones, are of subclasses of PyTorch's whose ``forward`` takes and returns what ours does; alone,
        PyTorch's layers return tuples.

    Raises
    ------
    TypeError
        For the first layer that PyTorch does not have, a custom module; the message names its position and class.

    Examples
    --------
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> cr.to_torch(nn.Sequential(nn.Linear(4, 2), nn.ReLU()))  # doctest: +SKIP
    Sequential(
      (0): Linear(in_features=4, out_features=2, bias=True)
      (1): ReLU()
    )
    """
    require_module(model)
    import torch

    made = _to(model, "", {})
    made.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in torch_state(model).items()})
    theirs = dict(made.named_parameters())
    for path, parameter in model.named_parameters():
        theirs[path].requires_grad = parameter.requires_grad
    return made


def _to(model: nn.Module, path: str, made: dict[int, Any]) -> Any:
    import torch

    if id(model) not in made:
        if type(model) is nn.Sequential:
            parts = [_to(m, f"{path}.{i}".strip("."), made) for i, m in enumerate(model)]
            made[id(model)] = torch.nn.Sequential(*parts)
        else:
            made[id(model)] = _layer_to(model, path).train(model.training)
        made[id(model)].training = model.training
    return made[id(model)]


def _layer_to(layer: nn.Module, path: str) -> Any:
    import torch

    if type(layer) not in _TO:
        taken = ", ".join(kind.__name__ for kind in _TO)
        raise TypeError(
            f"{_place(path)} is a {type(layer).__name__}, which PyTorch does not have; expected Sequential, {taken}. "
            "to_onnx(model) exports any module"
        )
    kind, args, settings = _TO[type(layer)](layer)
    theirs = getattr(torch.nn, kind)
    if type(layer) in _CALLED and (path or getattr(layer, "causal", False)):
        theirs = _as_here(theirs, _CALLED[type(layer)], getattr(layer, "causal", False))
    if layer.dtype is None:
        return theirs(*args, **settings)
    dtype = getattr(torch, str(layer.dtype))
    made = theirs(*args, **settings, device="meta", dtype=dtype)  # so that no numbers are drawn
    return made.to_empty(device="cpu")


# -- layers that PyTorch calls in another way --------------------------------------------------------------------------


def _first(run: Any, x: Any, causal: bool) -> Any:
    return run(x)[0]


def _attention(run: Any, x: Any, causal: bool) -> Any:
    return run(x, x, x, need_weights=False, attn_mask=_mask(x) if causal else None, is_causal=causal)[0]


def _encoder(run: Any, x: Any, causal: bool) -> Any:
    return run(x, src_mask=_mask(x) if causal else None, is_causal=causal)


def _mask(x: Any) -> Any:
    """Return True where a step must not see another."""
    import torch

    return torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)


#: Layer -> how PyTorch's is called so that it takes and gives what ours does.
_CALLED: dict[type[nn.Module], Callable[[Any, Any, bool], Any]] = {
    **dict.fromkeys((nn.RNN, nn.LSTM, nn.GRU), _first),
    nn.MultiheadAttention: _attention,
    nn.TransformerEncoderLayer: _encoder,
}


def _as_here(theirs: Any, call: Callable[[Any, Any, bool], Any], causal: bool) -> Any:
    """Return PyTorch's class with a forward that takes the input alone and gives the output alone."""

    def forward(self: Any, x: Any) -> Any:
        return call(functools.partial(theirs.forward, self), x, causal)

    return type(theirs.__name__, (theirs,), {"forward": forward, "_chainrule_causal": causal})


def _called_as_here(given: Any) -> Any:
    """Return PyTorch's class for one that `_as_here` made of it."""
    return given.__base__ if "_chainrule_causal" in given.__dict__ else given


def _causal(module: Any) -> bool:
    return bool(getattr(type(module), "_chainrule_causal", False))
