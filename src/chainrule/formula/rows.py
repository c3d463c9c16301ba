"""The rows that rules of simplification are about, and what formulas consist of besides rows."""

from __future__ import annotations

import numpy as np

from ..core.notation import Layout
from ..core.op import Operation
from ..ops.contract import MATMUL
from ..ops.join import CONCATENATE
from ..ops.logic import IDENTITY, STOP_GRADIENT, WHERE
from ..ops.reduce import SUM
from ..ops.shape import BROADCAST, RESHAPE, TRANSPOSE
from ..ops.table import CAST, row_of

__all__ = [
    "ADD", "BROADCAST", "CAST", "CONCATENATE", "DIVIDE", "EXP", "EXPM1", "GREATER", "IDENTITY", "LOG", "MATMUL",
    "MULTIPLY", "NAME", "NEGATIVE", "NUMBER", "POWER", "RESHAPE", "SQRT", "SQUARE", "STEPS", "STOP_GRADIENT",
    "SUBTRACT", "SUM", "TRANSPOSE", "WHERE",
]  # fmt: skip

ADD, SUBTRACT, MULTIPLY, DIVIDE = map(row_of, (np.add, np.subtract, np.multiply, np.divide))
NEGATIVE, SQUARE, POWER, SQRT = map(row_of, (np.negative, np.square, np.power, np.sqrt))
EXP, EXPM1, LOG, GREATER = map(row_of, (np.exp, np.expm1, np.log, np.greater))


class _Leaf(Operation):
    def __reduce__(self) -> str:
        return self.name.upper()  # the module's


def _leaf(name: str, notation: Layout | str = "") -> Operation:
    def refuse(*inputs: object, **attrs: object) -> None:
        raise TypeError(f"a {name} in a formula is not computed")

    return _Leaf(name, refuse, (), refuse, notation=notation, differentiable=False, examples=lambda rng: [])  # type: ignore[arg-type]


#: The leaves of formulas, and a sum over the steps of a loop, as it is shown; they are not in the table.
NAME, NUMBER, STEPS = _leaf("name"), _leaf("number"), _leaf("steps", Layout("steps"))
