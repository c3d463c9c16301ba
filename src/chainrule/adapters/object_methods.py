"""The methods of an object that make up a pass, found by their names, and what their arguments mean."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from .containers import is_float_array
from .object_slots import slots
from .recorded_run import AuditError
from .signatures import ALIASES, LEARNING_RATES, parameters_of, positional, required

#: Methods that set accumulated gradients to zero.
ZEROING = tuple(
    f"{verb}_{what}" for verb in "zero reset clear flush".split() for what in "grad grads gradients".split()
)
#: Names of forward methods without underscores, the likeliest first.
FORWARD = (
    "forward forwardpass forwardprop forwardpropagation forwardpropagate propagateforward feedforward feed fprop "
    "propagate call think query compute activate run apply predict predictproba function"
).split()
#: Names of backward methods; those of `TRAINING` do all of a training step.
BACKWARD = (
    "backward backwardpass backwardprop backwardpropagation backwardpropagate propagatebackward backprop "
    "backpropagate backpropagation backpropogate backpropogation bprop back gradient gradients grad grads "
    "computegradient computegradients getgradients calculategradients lossgradient lossgrad derivative prime "
    "lossderivative lossprime costderivative costprime inputgrad deriv diff dloss dcost"
).split()
TRAINING = "learn train trainstep trainbatch trainonbatch step update fit partialfit".split()
#: Names of methods that give the loss.
LOSSES = "loss cost computeloss computecost calculateloss calculatecost lossfunction costfunction criterion".split()
#: Methods that give local derivatives: an argument that forward takes, too, means the same in them.
_LOCAL = tuple("gradient grad derivative prime lossgradient lossgrad lossderivative lossprime deriv diff".split())
#: What the method that differentiates another adds to its name.
_DERIVED = "prime gradient gradients grad grads derivative deriv".split()

_TARGETS = {*ALIASES["Y"], "label", "true", "truth", "expected", "desired", "actual", "trues", "outputs_expected"}
_TARGETS |= {"y_train", "training_outputs", "training_set_outputs", "train_y", "ytrue", "tgt", "y_batch", "batch_y"}
_OUTPUTS = {*ALIASES["output"], "outputs", "o", "yp", "p", "a2", "activations", "output_activations"}
_OUTPUTS |= {"y_probas", "y_proba", "probas", "y_prob", "probs", "probabilities", "y_scores", "outs"}
_DATA = {"image", "images", "img", "imgs", "orig", "original", "volume", "input_data", "input_image", "x_in", "in_data"}
_DATA |= {"input_tensor", "layer_input", "features", "prev_a", "a_prev"}
_DATA |= {*ALIASES["X"], "x_train", "training_inputs", "training_set_inputs", "train_x", "inp", "x_batch", "batch_x"}
_PAIRS = {"mini_batch", "batch", "minibatch", "training_data"}
_CACHES = {*ALIASES["cache"], "ctx"} - {"c"}
_MODES = {"training", "train", "is_training", "train_flg", "is_train", "train_mode"}
_OF_INPUT, _OF_PARAMETERS = re.compile("delta|input|error|signal"), re.compile("param|weight|grad|update")
_STORES = {"grads", "gradients", "grad_dict", "gradient_dict", "param_grads"}
_COUNTS = {"n_samples", "num_samples", "n_examples", "num_examples", "batch_size", "n_batch"}
#: Learning rates, or the error that a layer's ``backward(eta)`` is handed.
_GREEK = ("eta", "alpha")
TARGET, OUTPUT, INPUT, RATE, TIMES, PAIRS, CACHE, MODE, STORE, COUNT, UPSTREAM, DEFAULT = (
    "target output input rate times pairs cache mode store count upstream default".split()
)
ARGUMENTS = "arguments"  # all that a method takes that declares no names: backward(*args)


def plain(name: str) -> str:
    """Return a method's name without underscores and capitals."""
    return name.replace("_", "").lower()


def derivative_of(module: Any, name: str) -> str | None:
    """Return the method that differentiates another one by its name: costFunctionPrime, loss_gradient, d_loss."""
    base = plain(name)
    stems = dict.fromkeys((base, base.removeprefix("compute").removeprefix("calculate"), base.removesuffix("function")))
    return named_method(module, [n for s in stems for n in (*(s + end for end in _DERIVED), "d" + s)])


def named_method(module: Any, names: list[str], parts: tuple[str, ...] = ()) -> str | None:
    """Return the method called as in `names`, the first of them first, or one whose name has one of the `parts`."""
    own = {plain(n): n for n in reversed(list(method_names(module)))}
    found = next((own[n] for n in names if n in own), None)
    shortest_first = sorted(own.items(), key=lambda item: len(item[0]))
    return found or next((n for k, n in shortest_first if any(p in k for p in parts)), None)


def method_names(module: Any) -> Iterator[str]:
    """Yield the names of what can be called of an object or a class."""
    if not inspect.isclass(module):
        held = getattr(module, "__dict__", {}).items()
        yield from (n for n, v in held if inspect.isroutine(v) or isinstance(v, functools.partial))
    for kind in (module if inspect.isclass(module) else type(module)).__mro__[:-1]:
        for name, value in vars(kind).items():
            special = name.startswith("__") and name != "__call__"
            if not special and (callable(value) or isinstance(value, staticmethod | classmethod)):
                yield name


def methods_named(kind: type) -> tuple[str, str] | None:
    """Return the names of the passes of a class, None if it has not both."""
    losses = named_method(kind, LOSSES)
    back = named_method(kind, BACKWARD, ("backward", "backprop")) or named_method(kind, TRAINING)
    ahead = named_method(kind, FORWARD, ("forward",)) or losses
    return None if back is None or ahead is None or back == ahead else (ahead, back)


def role(name: str) -> str:
    """Return what an argument of this name means; "upstream" where the name says nothing."""
    low = name.lower().strip("_")
    for kind, names in ((TARGET, _TARGETS), (OUTPUT, _OUTPUTS), (INPUT, _DATA), (PAIRS, _PAIRS), (CACHE, _CACHES)):
        if low in {n.lower() for n in names}:
            return kind
    if low in LEARNING_RATES or low.replace("_", "") in ("learningrate", "learnrate", "lrate"):
        return RATE
    if low in _MODES or low in _COUNTS:
        return MODE if low in _MODES else COUNT
    return TIMES if "iter" in low or "epoch" in low or low in ("steps", "times") else UPSTREAM


def takes_target(method: Any) -> bool:
    """Whether a method takes the targets beside something else."""
    roles = [role(p.name) for p in positional(method)]
    return len(roles) > 1 and (TARGET in roles or PAIRS in roles)


def roles_of(name: str, method: Any, forward: Any, target_known: bool, rate_given: bool) -> dict[str, str]:
    """Return what to pass for each argument of a backward method, in their order.

    Parameters
    ----------
    name : str
        The method's name.
    method, forward
        The backward and the forward method.
    target_known : bool
        Whether there are targets.
    rate_given : bool
        Whether a learning rate is passed in place of a default.
    """
    taken = positional(method)
    roles = {p.name: role(p.name) for p in taken}
    if not target_known and taken and taken[0].name in _GREEK and taken[0].default is Parameter.empty:
        roles[taken[0].name] = RATE if UPSTREAM in roles.values() else UPSTREAM
    whole = target_known and bool({TARGET, PAIRS} & set(roles.values()))
    ahead = {p.name for p in positional(forward)}
    new = [p for p in taken if p.name not in ahead and p.default is p.empty]
    stores = [p.name for p in new[1:] if p.name.lower() in _STORES and roles[p.name] == UPSTREAM]
    roles.update(dict.fromkeys(stores, STORE))  # backward(x, cache, grad, grads): it puts gradients into grads
    others = [roles[p.name] for p in new if roles[p.name] not in (CACHE, STORE, INPUT, OUTPUT)]
    given = [p for p in taken if p.name in ahead or roles[p.name] in (INPUT, OUTPUT)]
    stateless = others == [UPSTREAM] and bool(given)  # backward(x, dout)
    shared = ahead if whole or stateless or plain(name) in _LOCAL else set()
    local = plain(name) in _LOCAL and len(required(method)) == len(required(forward)) == 1  # f(z) and grad(x)
    first = True
    for p in taken:
        kind = roles[p.name]
        if local and kind == INPUT and first:
            continue
        if p.name in shared and (kind != TARGET or not target_known):
            roles[p.name] = INPUT
        elif kind in (OUTPUT, INPUT) and not whole and not stateless:
            roles[p.name] = UPSTREAM if first else DEFAULT
        elif kind == TARGET and not target_known:
            roles[p.name] = UPSTREAM if first and p.default is p.empty else DEFAULT
        elif kind == UPSTREAM and (not first or not _may_be_upstream(p)):
            roles[p.name] = DEFAULT
        elif kind == RATE and p.default not in (p.empty, None) and not rate_given:
            roles[p.name] = DEFAULT
        first = first and roles[p.name] not in ((UPSTREAM,) if stateless else (UPSTREAM, INPUT))
    for p in required(method):
        if roles[p.name] == DEFAULT:
            raise AuditError(
                f"{name}({', '.join(roles)}): {p.name} is not known; expected the upstream gradient, X, Y, output, "
                "cache or lr. Pass another method with backward=, or give the argument a default"
            )
    return roles


def _may_be_upstream(p: Parameter) -> bool:
    number = isinstance(p.default, int | float) and not isinstance(p.default, bool)
    return p.default is p.empty or p.default is None or number


def called(method: Any, roles: Mapping[str, str], available: Mapping[str, Any]) -> Any:
    """Call a method with what its arguments mean."""
    kinds = {p.name: p for p in positional(method)}
    if not kinds and any(p.kind == p.VAR_POSITIONAL for p in parameters_of(method)):
        return method(*available[ARGUMENTS])
    given: list[Any] = []
    by_name: dict[str, Any] = {}
    for name, kind in roles.items():
        if kind == DEFAULT or (kind in (MODE, CACHE) and kind not in available):
            continue
        is_setting = role(name) != INPUT and kinds[name].default is not Parameter.empty
        if kind == INPUT and name not in available and is_setting:
            continue  # forward was called without it, too: function(x, alpha=0.01)
        value = available[name] if kind == INPUT and name in available else available[kind]
        if kinds[name].kind == Parameter.POSITIONAL_ONLY:
            given.append(value)
        else:
            by_name[name] = value
    return method(*given, **by_name)


@dataclass(frozen=True)
class Methods:
    """The methods of one object.

    Attributes
    ----------
    forward, backward : str
        Their names.
    judges : bool
        Forward takes predictions and targets: the object is a loss.
    gives_loss : bool
        Forward is a network's method that returns its loss.
    gives_gradients : bool
        The same method returns (loss, gradients).
    also : tuple of str
        Methods called before backward, which give the gradients of parameters where it gives that of the input.
    """

    forward: str
    backward: str
    judges: bool = False
    gives_loss: bool = False
    gives_gradients: bool = False
    also: tuple[str, ...] = ()

    def forward_of(self, module: Any) -> Any:
        """Return the forward method of an object."""
        return getattr(module, self.forward)

    def caller_of(self, module: Any) -> Any:
        """Return what is called for it: the object itself, where it can be called and keeps what forward needs."""
        if self.forward != "forward" or not callable(module) or self.takes_cache(module):
            return self.forward_of(module)
        taken = len(positional(module))  # none: __call__(*arguments)
        return module if taken in (0, len(positional(module.forward))) else module.forward

    def backward_of(self, module: Any) -> Any:
        """Return the backward method of an object."""
        return getattr(module, self.backward)

    def takes_target(self, module: Any) -> bool:
        """Whether backward takes the targets."""
        return _has_target(module, self.backward)

    def takes_cache(self, module: Any) -> bool:
        """Whether backward takes a cache."""
        return any(role(p.name) == CACHE for p in positional(self.backward_of(module)))

    def roles(self, module: Any, target_known: bool, rate_given: bool) -> dict[str, str]:
        """Return what to pass to backward."""
        if self.gives_gradients:
            return {p.name: TARGET for p in positional(self.forward_of(module)) if role(p.name) == TARGET}
        return roles_of(self.backward, self.backward_of(module), self.forward_of(module), target_known, rate_given)

    def learning_rate(self, module: Any, roles: Mapping[str, str], lr: float) -> float | None:
        """Return the learning rate that backward is called with, None if it takes none."""
        for p in positional(self.backward_of(module)):
            if role(p.name) == RATE and roles.get(p.name) != UPSTREAM:
                return float(p.default) if isinstance(p.default, int | float) else lr
        return None


def methods_of(module: Any, forward: str | None, backward: str | None, own_loss: bool) -> Methods:
    """Return the methods of an object, by name where they are not given.

    Parameters
    ----------
    module
        The object.
    forward, backward : str or None
        As given by the caller.
    own_loss : bool
        Whether a method that returns the loss may be the forward pass.
    """
    for given in (forward, backward):
        if given is not None and not callable(getattr(module, given, None)):
            held = ", ".join(dict.fromkeys(n for n in method_names(module) if not n.startswith("__")))
            raise AuditError(f"{type(module).__name__} has no method {given}; it has {held}")
    losses = named_method(module, LOSSES)
    whole = losses is not None and takes_target(getattr(module, losses))
    back = backward or named_method(module, BACKWARD, ("backward", "backprop"))
    derived = derivative_of(module, losses) if whole and losses is not None else None
    if backward is None and derived is not None and losses is not None and "back" not in plain(back or ""):
        network = holds_arrays(module)
        return Methods(losses, derived, judges=not network, gives_loss=network)
    if back is None and whole and own_loss and losses is not None and forward in (None, losses):
        return Methods(losses, losses, gives_loss=True, gives_gradients=True)
    back = back or named_method(module, TRAINING)
    other = forward or named_method(module, FORWARD, ("forward",))
    ahead = other or losses
    if back is None or ahead is None:
        needed = "backward" if back is None else "forward"
        raise AuditError(
            f"{type(module).__name__} has no method {needed}; expected forward and backward, or their names as "
            "forward=, backward="
        )
    if own_loss and forward is None and losses is not None and other is not None and _has_target(module, back):
        if whole and role(positional(getattr(module, losses))[0].name) not in (OUTPUT, TARGET):
            network = holds_arrays(module)
            return Methods(losses, back, judges=not network, gives_loss=network)
    return Methods(ahead, back, judges=takes_target(getattr(module, ahead)), also=_of_parameters(module, back))


def holds_arrays(module: Any) -> bool:
    """Whether an object has arrays, its own or those of objects in it, as a network has and a loss has not."""
    return hasattr(module, "__dict__") and any(is_float_array(v) for *_, v in slots(module, "", {id(module)}))


def _of_parameters(module: Any, backward: str) -> tuple[str, ...]:
    """Return the methods that give the gradients of parameters, beside one that gives that of the input."""
    taken = [p.name for p in positional(getattr(module, backward))]
    if not _OF_INPUT.search(backward):
        return ()
    others = [n for n in dict.fromkeys(method_names(module)) if n != backward and "backward" in plain(n)]
    alike = [n for n in others if [p.name for p in positional(getattr(module, n))] == taken]
    return tuple(n for n in alike if _OF_PARAMETERS.search(n))


def set_gradients_to_zero(module: Any) -> None:
    """Call the methods that set accumulated gradients to zero, as a training loop does before each forward pass."""
    for name in ZEROING:
        if callable(zero := getattr(module, name, None)) and not required(zero):
            zero()


def own_loss_of(module: Any, methods: Methods) -> Callable[[Any, Any], Any] | None:
    """Return the method of a network that gives the loss of its output, as a function (output, targets)."""
    name = named_method(module, LOSSES)
    if name is None or methods.judges or methods.gives_loss:
        return None
    if not _has_target(module, methods.backward) and upstream_of(module, methods) is None:
        return None
    method = getattr(module, name)
    kinds = [role(p.name) for p in positional(method)]
    if kinds[:2] == [TARGET, OUTPUT]:
        return lambda output, targets: method(targets, output)
    return method if len(required(method)) == 2 and TARGET in kinds else None


def upstream_of(module: Any, methods: Methods) -> Callable[[Any, Any], Any] | None:
    """Return a network's method that gives the gradient of its loss, from which backward starts: (output, targets)."""
    loss = named_method(module, LOSSES)
    name = None if loss is None or methods.judges or methods.gives_loss else derivative_of(module, loss)
    if name is None or name == methods.backward or _has_target(module, methods.backward):
        return None
    method = getattr(module, name)
    kinds = [role(p.name) for p in positional(method)][:2]
    if set(kinds) - {UPSTREAM} and TARGET in kinds and len(kinds) == 2:
        return method if kinds[1] == TARGET else lambda output, targets: method(targets, output)
    return None


def knows_its_loss(module: Any) -> bool:
    """Whether an object has a method that gives its loss, or the gradient of it."""
    try:
        methods = methods_of(module, None, None, own_loss=True)
    except AuditError:
        return False
    known = (own_loss_of(module, methods), upstream_of(module, methods))
    return methods.judges or methods.gives_loss or known != (None, None)


def _has_target(module: Any, backward: str) -> bool:
    return any(role(p.name) in (TARGET, PAIRS) for p in positional(getattr(module, backward)))
