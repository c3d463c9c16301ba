"""The sides of the benchmark: one module each, which imports its library when a runner is created.

A side's module has one function, ``make(workload, data, threads) -> Runner``. To add a side, write that module and
give it a row below; to pair it by default, name it in `DEFAULT_PAIRS`.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass

from benchmarks.sides.side import Runner, Unsupported
from benchmarks.workloads import Data, Workload

__all__ = ["DEFAULT_PAIRS", "SIDES", "Runner", "Side", "Unsupported"]


@dataclass(frozen=True)
class Side:
    """One side: its module in this package, the distribution it needs, and a description of what it runs."""

    name: str
    library: str  # the module that it imports
    distribution: str  # the name that pip knows
    runs: str

    def absent(self) -> str | None:
        """The reason why this side cannot run, or None; the library is located but not imported."""
        if importlib.util.find_spec(self.library) is None:
            return f"{self.distribution} is not installed"
        return None

    def make(self, workload: Workload, data: Data, threads: int) -> Runner:
        module = importlib.import_module(f"benchmarks.sides.{self.name}")
        runner: Runner = module.make(workload, data, threads)
        return runner


SIDES: dict[str, Side] = {
    side.name: side
    for side in (
        Side("chainrule_compiled", "chainrule", "chainrule", "a compiled training step, NumPy engine"),
        Side("chainrule_native", "chainrule", "chainrule", "an epoch of steps in one call of the native engine"),
        Side("chainrule_eager", "chainrule", "chainrule", "value_and_grad of a NumPy function, update by hand"),
        Side("numpy_hand", "numpy", "numpy", "forward, backward and update by hand, out= and reused buffers"),
        Side("torch_eager", "torch", "torch", "nn.Sequential, backward(), the fused optimiser"),
        Side("torch_compile", "torch", "torch", "torch.compile of loss and gradients, the fused optimiser"),
        Side("jax_jit", "jax", "jax", "one jitted training step, buffers donated"),
        Side("jax_scan", "jax", "jax", "an epoch of steps in one jitted lax.scan"),
        Side("sklearn", "sklearn", "scikit-learn", "MLPClassifier or MLPRegressor, partial_fit of one batch"),
        Side("autograd", "autograd", "autograd", "HIPS autograd's value_and_grad, update by hand"),
    )
}

DEFAULT_PAIRS: tuple[tuple[str, str], ...] = (
    ("chainrule_native", "jax_scan"),
    ("chainrule_native", "torch_eager"),
    ("chainrule_native", "torch_compile"),
    ("chainrule_native", "jax_jit"),
    ("chainrule_native", "sklearn"),
    ("chainrule_native", "numpy_hand"),
    ("chainrule_compiled", "numpy_hand"),
    ("chainrule_eager", "torch_eager"),
    ("chainrule_eager", "autograd"),
)
