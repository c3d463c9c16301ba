"""Cases of the benchmark, and the decorators that register a backward pass as a case.

A file of cases says once what its backward passes belong to, and gets its two decorators:

    wrong, right = network(forward, loss, data)      # backward(cache, Y, parameters) -> grads
    wrong, right = layer(forward, inputs)            # backward(dout, cache) -> a tuple, in the order of the inputs
    wrong, right = module(build, inputs)             # a class with forward and backward
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

#: The first two are networks, layers and modules of the benchmark's own; the third holds mistakes reported in public.
HALVES = ("first", "second", "reported")

Decorator = Callable[..., Callable[[Any], Any]]


@dataclass(frozen=True)
class Setting:
    """What a backward pass belongs to.

    `data()` gives (parameters, X, Y) of a network; `inputs()` gives the inputs of a layer or of a module, and
    `build(cls)` an instance of a module's class. `gradients` says under which attribute a module keeps the gradient of
    a parameter, "W.g" for an attribute of the parameter itself.
    """

    style: str
    forward: Callable[..., Any] | None = None
    loss: Any = None
    data: Callable[[], tuple[Any, Any, Any]] | None = None
    inputs: Callable[[], tuple[Any, ...]] | None = None
    build: Callable[[Any], Any] | None = None
    gradients: dict[str, str] = field(default_factory=dict)
    output: str | None = None


@dataclass(frozen=True)
class Case:
    """A backward pass (a class, in the module style) and its labels.

    `steps` and `causes` are the answers that are right, the plainest first; both are empty when the pass is right.
    `intended` is the forward pass whose cache the author meant to keep, where it is the cache that is wrong. `forget`
    empties what the pass remembers of earlier calls.

    A reported case brings its own `run` of the audit, that of its `twin`, the corrected code, and its `truth`,
    which says what differs from the labels ("" if nothing does). `as_written` is false where the code as it was
    reported could not be handed over.
    """

    half: str
    family: str
    name: str
    setting: Setting
    backward: Any
    steps: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    subtle: bool = False
    convention: str = ""
    run: Callable[[], Any] | None = None
    twin: Callable[[], Any] | None = None
    truth: Callable[[], str] | None = None
    as_written: bool = True
    intended: Callable[..., Any] | None = None
    forget: Callable[[], Any] = lambda: None

    @property
    def title(self) -> str:
        return f"{self.half}/{self.family}/{self.name}"

    @property
    def is_right(self) -> bool:
        return not self.causes


_CASES: dict[str, Case] = {}


def network(forward: Any, loss: Any, data: Any, output: str | None = None) -> tuple[Decorator, Decorator]:
    """The decorators `wrong, right` for the backward passes of a network."""
    return _decorators(Setting("network", forward=forward, loss=loss, data=data, output=output))


def layer(forward: Any, inputs: Any) -> tuple[Decorator, Decorator]:
    """The decorators `wrong, right` for the backward passes of a layer."""
    return _decorators(Setting("layer", forward=forward, inputs=inputs))


def module(build: Any, inputs: Any, gradients: dict[str, str]) -> tuple[Decorator, Decorator]:
    """The decorators `wrong, right` for classes; `gradients` maps a parameter's attribute to that of its gradient."""
    return _decorators(Setting("module", build=build, inputs=inputs, gradients=gradients))


def reported(
    build: Callable[..., Any], name: str, labels: tuple[Sequence[str], Sequence[str]], note: str, **how: Any
) -> None:
    """Register a reported case: its labels are (steps, causes), both empty for code that is right."""
    steps, causes = (tuple(part) for part in labels)
    family = build.__module__.rpartition(".")[2]
    _add(Case("reported", family, name, Setting("reported"), build, steps, causes, convention=note, **how))


def _decorators(setting: Setting) -> tuple[Decorator, Decorator]:
    def wrong(
        step: str,
        cause: str,
        also: tuple[str, ...] = (),
        or_step: tuple[str, ...] = (),
        subtle: bool = False,
        forget: Callable[[], Any] = lambda: None,
        **different: Any,
    ) -> Callable[[Any], Any]:
        """An incorrect pass; `also` and `or_step` are equally valid labels; `different` replaces parts of its setup."""
        truth = {"steps": (step, *or_step), "causes": (cause, *also), "subtle": subtle, "forget": forget}
        return _registrar(setting, different, **truth)

    def right(convention: str, **different: Any) -> Callable[[Any], Any]:
        """A correct pass with an unusual convention."""
        return _registrar(setting, different, convention=convention)

    return wrong, right


def _registrar(setting: Setting, different: dict[str, Any], **truth: Any) -> Callable[[Any], Any]:
    def register(backward: Any) -> Any:
        half, family = backward.__module__.split(".")[-2:]
        if "forward" in different:
            truth["intended"] = setting.forward
        setting_of_case = Setting(**{**vars(setting), **different})
        case = Case(
            half=half, family=family, name=backward.__name__, setting=setting_of_case, backward=backward, **truth
        )
        _add(case)
        return backward

    return register


def _add(case: Case) -> None:
    if case.title in _CASES:
        raise ValueError(f"duplicate case {case.title}")
    _CASES[case.title] = case


def families(half: str) -> Iterator[str]:
    package = importlib.import_module(f"benchmarks.backward_passes.{half}")
    return (name for _, name, _ in pkgutil.iter_modules(package.__path__))


def cases(half: str = "all") -> list[Case]:
    """All cases of a half, family by family, in the order in which they are written."""
    halves = HALVES if half == "all" else (half,)
    for each in halves:
        for family in families(each):
            importlib.import_module(f"benchmarks.backward_passes.{each}.{family}")
    return [case for case in _CASES.values() if case.half in halves]
