"""The native engine: runs plans without Python."""

from collections.abc import Callable, Mapping, Sequence

class PlanError(ValueError):
    pass

class LoopBody:
    def __init__(
        self,
        arg0: Sequence[tuple[int, int, int, int, Sequence[int], Sequence[int], int]],
        arg1: Sequence[
            tuple[bool, Sequence[tuple[str, Sequence[int], int, Sequence[int]]], Mapping[int, int], Sequence[int]]
        ],
        arg2: Sequence[int],
        arg3: Sequence[int],
        arg4: Sequence[int],
        arg5: Sequence[tuple[int, int]],
        arg6: int,
        arg7: Mapping[int, tuple[int, int]],
        arg8: Mapping[int, LoopBody],
        /,
    ) -> None: ...

def without_kernel(
    values: Sequence[tuple[int, int, int, int, Sequence[int], Sequence[int], int]],
    groups: Sequence[
        tuple[bool, Sequence[tuple[str, Sequence[int], int, Sequence[int]]], Mapping[int, int], Sequence[int]]
    ],
    inputs: Sequence[int],
    states: Sequence[int],
    outputs: Sequence[int],
    updates: Sequence[tuple[int, int]],
    arena: int,
    bodies: Mapping[int, LoopBody] = {},
) -> list[int]:
    """The groups of a plan that have no kernel here."""

def instruction_set() -> str:
    """The instruction set in use."""

def vector_bytes() -> int:
    """Bytes of a vector."""

def select(arg: str, /) -> bool:
    """Choose an instruction set; for tests."""

def caches() -> tuple[int, int, int]:
    """Bytes of the caches: first and second level of a core, and the third."""

def blocking() -> tuple[int, int, int]:
    """How multiplies are cut and copied; see blocking.hpp."""

def default_blocking() -> tuple[int, int, int]:
    """The blocking that follows from the caches."""

def set_blocking(strip: int, panels: int, reuse: int) -> None:
    """Plan multiplies with this from now on; results stay the same."""

def multiply_rate() -> float:
    """Flop/s of one thread in float32, from the first-level cache."""

def default_threads() -> int:
    """Threads that this process may use."""

class Block:
    pass

class Program:
    def __init__(
        self,
        values: Sequence[tuple[int, int, int, int, Sequence[int], Sequence[int], int]],
        groups: Sequence[
            tuple[bool, Sequence[tuple[str, Sequence[int], int, Sequence[int]]], Mapping[int, int], Sequence[int]]
        ],
        inputs: Sequence[int],
        states: Sequence[int],
        outputs: Sequence[int],
        updates: Sequence[tuple[int, int]],
        arena: int,
        constants: Mapping[int, tuple[int, int]],
        state_memory: Sequence[tuple[int, int]],
        host_groups: Sequence[int],
        host: Callable[..., object],
        threads: int,
        kept: Sequence[int],
        bodies: Mapping[int, LoopBody] = {},
    ) -> None: ...
    def run(self) -> None: ...
    def run_timed(self, arg: int, /) -> list[float]: ...
    def block(self) -> Block: ...
    def address(self, arg: int, /) -> int: ...
    def set_input(self, arg0: int, arg1: int, arg2: int, /) -> None: ...
    def run_batches(
        self,
        rest: Program | None,
        x: tuple[int, int],
        x_row: int,
        y: tuple[int, int],
        y_row: int,
        order: tuple[int, int],
        first: int,
        size: int,
        rows: int,
        results: tuple[int, int],
        milliseconds: float,
    ) -> int: ...
