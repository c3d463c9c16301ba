"""What a search tries for a setting: numbers between two limits, or one of some values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Between:
    """Numbers between two limits, on a logarithmic scale if `log`; three digits of them, so that they can be typed."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Any, name: str) -> float:
        """Ask a trial for a value."""
        return float(f"{trial.suggest_float(name, self.low, self.high, log=self.log):.3g}")

    def __str__(self) -> str:
        """Describe it."""
        return f"{self.low:g} to {self.high:g}{' (logarithmic)' if self.log else ''}"


@dataclass(frozen=True)
class OneOf:
    """One of some values."""

    values: tuple[Any, ...]

    def suggest(self, trial: Any, name: str) -> Any:
        """Ask a trial for a value."""
        by_text = {typed(value): value for value in self.values}
        return by_text[trial.suggest_categorical(name, list(by_text))]

    def __str__(self) -> str:
        """Describe it."""
        return "; ".join(map(typed, self.values))


Space = Between | OneOf


def typed(value: Any) -> str:
    """Return a setting as it is typed on the command line."""
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
