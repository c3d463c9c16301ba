"""Names that users of PyTorch type: what there is instead, for the errors on names that do not exist."""

from __future__ import annotations

from typing import Any

import numpy as np

_CPU = "the CPU is the only device; leave it out"
_DTYPE = "use .astype(np.float32) of a tensor, or .to(np.float32) of a module"
_CONVOLUTION = "there is no such layer: write an nn.Module whose forward uses ops.conv, np.einsum or np.matmul"
_LOSS = "losses are functions, chosen by name in fit(loss=…): "
_SEED = "there is no global random state: fit(seed=…), and model.initialize(seed) for the initial weights"
_STOP = "nothing is recorded unless a gradient is asked for: leave it out, or use cr.stop_gradient(x)"
_STEPS = "optimisers are pure functions: cr.fit(model, X, y, optimizer=…) makes the steps, or use state = "
_STEPS += "optimizer.init(values) and values, state = optimizer.update(gradients, state, values)"

_TENSOR = {
    "view": "use x.reshape(shape)",
    "unsqueeze": "use np.expand_dims(x, axis), or x[:, None]",
    "unsqueeze_": "use np.expand_dims(x, axis)",
    "permute": "use x.transpose(axes)",
    "t": "use x.T",
    "dim": "use x.ndim",
    "numel": "use x.size; the shape is x.shape",
    "contiguous": "leave it out",
    "to": "use x.astype(dtype); the CPU is the only device",
    "cpu": _CPU,
    "cuda": _CPU,
    "device": _CPU,
    "float": _DTYPE,
    "double": _DTYPE,
    "half": "float32 and float64 are the types that train",
    "long": "use x.astype(np.int64)",
    "int": "use x.astype(np.int32)",
    "type": "use x.astype(dtype)",
    "requires_grad_": "use cr.tensor(x, requires_grad=True)",
    "detach_": "use x.detach()",
    "zero_grad": "set x.grad = None, or model.zero_grad()",
    "data": "use x.value; a parameter gets new values by parameter.assign(values)",
    "is_contiguous": "tensors have no memory layout",
    "element_size": "use x.dtype.itemsize",
    "grad_fn": "use x.op and x.inputs",
    "retain_grad": "use cr.backprop, which gives every gradient by name",
    "register_hook": "use cr.backprop, which gives every gradient by name",
    **dict.fromkeys(("add_", "sub_", "mul_", "div_", "pow_"), "use x += y, x -= y, x *= y, x /= y, x **= y"),
    **dict.fromkeys(
        [
            f"{name}_"
            for name in "abs ceil clamp clip cos exp floor log neg relu round sigmoid sin sqrt square tanh".split()
        ],
        "use x[...] = of the new values, or a new name for them",
    ),
    "masked_fill_": "use x[mask] = value, or np.where(mask, value, x)",
    **dict.fromkeys(("normal_", "uniform_"), "use parameter.assign(rng.normal(size=parameter.shape))"),
    "zero_": "use parameter.assign(np.zeros(parameter.shape))",
    "fill_": "use parameter.assign(np.full(parameter.shape, value))",
    "copy_": "use parameter.assign(value)",
    "masked_fill": "use np.where(mask, value, x)",
    "gather": "use np.take_along_axis(x, indices, axis)",
    "expand": "use np.broadcast_to(x, shape)",
    "expand_as": "use np.broadcast_to(x, y.shape)",
    "mm": "use x @ y",
    "bmm": "use x @ y",
    "matmul": "use x @ y",
    "norm": "use np.linalg.norm(x)",
    "softmax": "use cr.softmax(x, axis)",
    "relu": "use cr.relu(x)",
    "sigmoid": "use cr.sigmoid(x)",
    "pow": "use x ** n",
    "clamp": "use np.clip(x, least, most)",
    **{name: f"use x {sign} y" for name, sign in (("eq", "=="), ("ne", "!="), ("gt", ">"), ("ge", ">="))},
    **{name: f"use x {sign} y" for name, sign in (("lt", "<"), ("le", "<="), ("mul", "*"), ("sub", "-"), ("div", "/"))},
    "neg": "use -x",
    "mv": "use x @ y",
    "clone": "use x.copy()",
    "is_leaf": "use x.op is None",
    "nelement": "use x.size",
    "ndimension": "use x.ndim",
    "log_softmax": "use cr.log_softmax(x, axis)",
    "logsumexp": "use cr.logsumexp(x, axis)",
    "rsqrt": "use 1 / np.sqrt(x)",
    "scatter": "use x[rows, indices] = values, on a copy of x, or np.put_along_axis",
    "scatter_": "use x[rows, indices] = values, or np.put_along_axis(x, indices, values, axis)",
    **dict.fromkeys(("scatter_add", "scatter_add_", "index_add", "index_add_"), "use np.add.at(x, indices, values)"),
    "topk": "use np.sort(x, axis)[..., ::-1][..., :k]; the indices are np.argsort(x, axis)[..., ::-1][..., :k]",
    "kthvalue": "use np.partition(x, k - 1, axis)[..., k - 1]",
    "chunk": "use np.array_split(x, chunks, axis)",
    "unbind": "use np.unstack(x, axis=axis)",
    "index_select": "use np.take(x, indices, axis)",
    "take_along_dim": "use np.take_along_axis(x, indices, axis)",
    "masked_select": "use x[mask]",
    "narrow": "use x[start : start + length]",
    "repeat_interleave": "use np.repeat(x, repeats, axis)",
    "tensor_split": "use np.array_split(x, sections, axis)",
    "movedim": "use np.moveaxis(x, source, destination)",
    "type_as": "use x.astype(y.dtype)",
    **dict.fromkeys(("view_as", "reshape_as"), "use x.reshape(y.shape)"),
    "unflatten": "use x.reshape(shape)",
    "lerp": "use x + weight * (y - x)",
    "addmm": "use x + a @ b",
    "baddbmm": "use x + a @ b",
    "inverse": "use np.linalg.inv(x)",
    **{name: f"use np.linalg.{name}(x)" for name in ("det", "slogdet", "svd", "qr", "cholesky")},
    **dict.fromkeys(
        ("new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"), "use np.zeros_like(x, shape=shape)"
    ),
    "nbytes": "use x.size * x.dtype.itemsize",
    "stride": "tensors have no memory layout; use x.shape",
    "is_floating_point": 'use x.dtype.kind == "f"',
    **dict.fromkeys(("is_cuda", "bfloat16", "pin_memory", "data_ptr", "share_memory_"), _CPU),
}

_MODULE = {
    "cuda": _CPU,
    "cpu": _CPU,
    "device": _CPU,
    "float": "use model.to(np.float32)",
    "double": "use model.to(np.float64)",
    "half": "float32 and float64 are the types that train",
    "apply": "use weight_init= of the layers, or parameter.assign(value) in a loop over model.parameters()",
    "children": "use model.modules()",
    "named_children": "use model.named_modules()",
    "register_parameter": "assign it: self.name = nn.Parameter(array), or self.make_parameter(…)",
    "register_module": "assign it: self.name = module",
    "add_module": "assign it: self.name = module; of a Sequential: model.append(module)",
    "buffers": "use model.named_buffers()",
    "register_forward_hook": "use cr.backprop(model, X, y), which gives every value and gradient by name",
    "register_full_backward_hook": "use cr.backprop(model, X, y), which gives every value and gradient by name",
    "fit": "use cr.fit(model, X, y)",
    "predict": "use cr.predict(model, X)",
    "compile": "use cr.fit, which compiles, or cr.compile(function)",
    "backward": "use cr.backprop(model, X, y), or loss.backward() of the loss",
    "save": "use cr.save(path, model)",
    "summary": "use print(model)",
}

_OPTIMIZER = {
    "zero_grad": _STEPS,
    "param_groups": _STEPS + "; a learning rate that changes is a schedule: optim.Adam(optim.Cosine(1e-3, steps))",
    "add_param_group": _STEPS,
    "state_dict": "the state is what optimizer.init returns; fit(checkpoint=path) stores it",
    "load_state_dict": "the state is what optimizer.init returns; fit(checkpoint=path, resume=True) restores it",
    "minimize": "use cr.fit(model, X, y, optimizer=…)",
    "apply_gradients": _STEPS,
}

_NN = {
    **dict.fromkeys(
        "Conv3d ConvTranspose1d ConvTranspose3d MaxPool3d AvgPool3d"
        " LSTMCell GRUCell RNNCell Transformer TransformerEncoder TransformerDecoderLayer"
        " BatchNorm3d InstanceNorm2d Bilinear PixelShuffle".split(),
        _CONVOLUTION,
    ),
    "MSELoss": f'{_LOSS}"mse", nn.losses.mse',
    "L1Loss": f'{_LOSS}"mae", nn.losses.mae',
    "SmoothL1Loss": f'{_LOSS}"huber", nn.losses.huber',
    "HuberLoss": f'{_LOSS}"huber", nn.losses.huber',
    "CrossEntropyLoss": f'{_LOSS}"cross_entropy", nn.losses.cross_entropy, of logits',
    "NLLLoss": f'{_LOSS}"cross_entropy", nn.losses.cross_entropy, of logits: leave the log-softmax out',
    "BCELoss": f'{_LOSS}"binary_cross_entropy", of logits: leave the sigmoid out',
    "BCEWithLogitsLoss": f'{_LOSS}"binary_cross_entropy", nn.losses.binary_cross_entropy, of logits',
    "PoissonNLLLoss": f'{_LOSS}"poisson", nn.losses.poisson',
    "ModuleList": "assign a plain list of modules: they are found there",
    "ModuleDict": "assign a plain dict of modules: they are found there",
    "ParameterList": "assign a plain list of parameters: they are found there",
    "ParameterDict": "assign a plain dict of parameters: they are found there",
    "Swish": "use nn.SiLU()",
    "ReLU6": "write an nn.Module whose forward returns np.clip(x, 0, 6)",
    **{
        name: f"write an nn.Module whose forward returns {formula}"
        for name, formula in (
            ("Hardtanh", "np.clip(x, -1, 1)"),
            ("Hardsigmoid", "np.clip(x / 6 + 0.5, 0, 1)"),
            ("Softsign", "x / (1 + np.abs(x))"),
            ("LogSigmoid", "-cr.softplus(-x)"),
        )
    },
    "KLDivLoss": "write a function: np.mean(np.sum(y * (np.log(y) - cr.log_softmax(output)), axis=1))",
    **dict.fromkeys(("ConstantPad1d", "ConstantPad2d", "ReflectionPad2d"), "use np.pad(x, widths)"),
    "DataParallel": _CPU,
    "utils": "clipping is an argument of optimisers: optim.Adam(1e-3, clip_norm=1.0)",
}

_FUNCTIONAL = {
    **{name: f"use cr.{name}(x)" for name in ("relu", "gelu", "silu", "elu", "leaky_relu", "softplus", "sigmoid")},
    **{name: f"use cr.{name}(x, axis)" for name in ("softmax", "log_softmax")},
    "tanh": "use np.tanh(x)",
    "one_hot": "use cr.one_hot(ids, classes)",
    "cross_entropy": "use nn.losses.cross_entropy(logits, ids)",
    "nll_loss": "use nn.losses.cross_entropy(logits, ids), of logits",
    "binary_cross_entropy": "use nn.losses.binary_cross_entropy(logits, y), of logits",
    "binary_cross_entropy_with_logits": "use nn.losses.binary_cross_entropy(logits, y)",
    "mse_loss": "use nn.losses.mse(output, y)",
    "l1_loss": "use nn.losses.mae(output, y)",
    "smooth_l1_loss": "use nn.losses.huber(output, y)",
    "huber_loss": "use nn.losses.huber(output, y)",
    "linear": "use x @ weight + bias, with a weight of shape (in_features, out_features)",
    "dropout": "use an nn.Dropout layer",
    "normalize": "use x / np.linalg.norm(x, axis=1, keepdims=True)",
    "pad": "use np.pad(x, widths)",
    "relu6": "use np.clip(x, 0, 6)",
    "hardtanh": "use np.clip(x, -1, 1)",
    "logsigmoid": "use -cr.softplus(-x)",
    "kl_div": "use np.sum(y * (np.log(y) - log_probabilities))",
    "scaled_dot_product_attention": "use cr.softmax(q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])) @ v",
    **dict.fromkeys("conv1d conv2d conv3d".split(), "use ops.conv(x, w), with w of shape (channels, *size, filters)"),
    **dict.fromkeys(("max_pool1d", "max_pool2d"), "use ops.max_pool(x, size, n=axes)"),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d"), "use ops.avg_pool(x, size, n=axes)"),
    "interpolate": "use ops.upsample(x, size)",
    "embedding": "use weight[ids], or an nn.Embedding layer",
    **dict.fromkeys(("layer_norm", "batch_norm"), "use an nn.LayerNorm or nn.BatchNorm2d layer"),
}

_INIT = {
    "xavier_uniform_": 'use weight_init="glorot_uniform" of the layer',
    "xavier_normal_": 'use weight_init="glorot_normal" of the layer',
    "kaiming_uniform_": 'use weight_init="he_uniform" of the layer',
    "kaiming_normal_": 'use weight_init="he_normal" of the layer',
    **dict.fromkeys(
        ("zeros_", "ones_", "constant_", "normal_", "uniform_", "orthogonal_"),
        "use weight_init= of the layer, or parameter.assign(values)",
    ),
}

_OPTIM = {
    "lr_scheduler": "schedules are learning rates: optim.Adam(optim.Cosine(1e-3, steps=1000)), optim.Step, Exponential",
    "LBFGS": "use optim.minimize(model, X, y)",
    "NAdam": "use optim.Adam",
    "Adadelta": "use optim.Adagrad or optim.Adam",
    "Adamax": "use optim.Adam",
    "OneCycleLR": "use optim.OneCycle(lr, steps) as the learning rate",
    "MultiStepLR": "use optim.Piecewise(boundaries, rates) as the learning rate",
    "ReduceLROnPlateau": "use optim.ReduceOnPlateau(lr, factor, patience) as the learning rate",
    "LinearLR": "use optim.Linear(lr, steps) or optim.WarmUp(steps, then) as the learning rate",
    "StepLR": "use optim.Step(lr, …) as the learning rate",
    "ExponentialLR": "use optim.Exponential(lr, …) as the learning rate",
    "CosineAnnealingLR": "use optim.Cosine(lr, steps) as the learning rate",
}

#: Methods of tensors that PyTorch has as functions, too.
_OF_TENSORS = (
    "addmm bmm chunk clamp clone det div eq gather ge gt index_select inverse le lerp lt masked_fill masked_select mm "
    "movedim mul mv ne neg numel permute qr repeat_interleave rsqrt scatter slogdet sub svd t tensor_split topk unbind "
    "unsqueeze"
).split()

_PACKAGE = {
    "cat": "use np.concatenate(tensors, axis)",
    "no_grad": _STOP,
    "inference_mode": _STOP,
    "enable_grad": _STOP,
    "set_grad_enabled": _STOP,
    "manual_seed": _SEED,
    "seed": _SEED,
    "randn": "use np.random.default_rng(seed).normal(size=shape)",
    "rand": "use np.random.default_rng(seed).random(shape)",
    "from_numpy": "use cr.tensor(array); most functions take arrays as they are",
    "as_tensor": "use cr.tensor(array); most functions take arrays as they are",
    "FloatTensor": "use cr.tensor(array, dtype=np.float32)",
    "LongTensor": "use cr.tensor(array, dtype=np.int64)",
    "cuda": _CPU,
    "device": _CPU,
    "utils": "fit(X, y, batch_size=…) makes the batches",
    "autograd": "use cr.grad, cr.vjp, cr.jacobian",
    "jit": "use cr.compile",
    "func": "use cr.grad, cr.vjp, cr.jvp, cr.jacobian, cr.hessian",
    **{name: _TENSOR[name] for name in _OF_TENSORS},
    **dict.fromkeys(("randn_like", "rand_like"), "use np.random.default_rng(seed).normal(size=x.shape)"),
    "randint": "use np.random.default_rng(seed).integers(low, high, size=shape)",
    "randperm": "use np.random.default_rng(seed).permutation(n)",
    "is_tensor": "use isinstance(x, cr.Tensor)",
    "is_grad_enabled": _STOP,
    "get_default_dtype": "NumPy's float64 is the default of arrays, float32 that of layers",
    "set_default_dtype": "give each array and layer its dtype",
    "BoolTensor": "use cr.tensor(array, dtype=bool)",
    "DoubleTensor": "use cr.tensor(array, dtype=np.float64)",
    "functional": "use cr.softmax, cr.relu and the others, and cr.nn.losses",
}

#: Where a name is looked for -> the name -> what there is instead.
HABITS: dict[str, dict[str, str]] = {
    "Tensor": _TENSOR,
    "Module": _MODULE,
    "Optimizer": _OPTIMIZER,
    "chainrule.nn": _NN,
    "chainrule.nn.functional": _FUNCTIONAL,
    "chainrule.nn.init": _INIT,
    "chainrule.optim": _OPTIM,
    "chainrule": _PACKAGE,
}

PARAMETERS = (
    "an optimiser does not hold the parameters: optim.Adam(1e-3), then cr.fit(model, X, y, optimizer=…), or "
    "state = optimizer.init(values) and values, state = optimizer.update(gradients, state, values). To train some of "
    "them, freeze the others: model.requires_grad_(False); settings for some: groups=[{'params': …, 'lr': …}]"
)
STEP = f"step() of an optimiser without arguments: {_STEPS}"
REQUIRES_GRAD = (
    "requires_grad of a tensor does not change, only that of an nn.Parameter does; a tensor with a gradient is "
    "cr.tensor(x, requires_grad=True)"
)
LOADER = (
    "fit takes whole arrays and makes the batches, fit(model, X, y, batch_size=32); or batches, pairs (X, y), alone: "
    "fit(model, loader)"
)


def not_on_tensors() -> set[str]:
    """Return the names that users look for on tensors: those of PyTorch, and of NumPy's functions."""
    return {*HABITS["Tensor"], *(name for name, x in vars(np).items() if callable(x) and not name.startswith("_"))}


def missing(place: str, name: str, owner: Any = None) -> AttributeError:
    """Return the error for a name that `place`, a key of `HABITS`, does not have, with what there is instead.

    Parameters
    ----------
    place : str
    name : str
    owner
        The object or the module, from whose names Python suggests similar ones.
    """
    said = f"module {place!r}" if place.startswith("chainrule") else f"{type(owner).__name__!r} object"
    text = f"{said} has no attribute {name!r}"
    if instead := HABITS[place].get(name):
        text += f": {instead}"
    elif place.startswith("chainrule") and callable(getattr(np, name, None)) and not name.startswith("_"):
        text += f": use np.{name}, NumPy's functions take tensors"
    elif place == "Tensor":
        text += f": use np.{name}(x{', y' if getattr(getattr(np, name), 'nin', 1) == 2 else ''})"
    return AttributeError(text, name=name, obj=owner)
