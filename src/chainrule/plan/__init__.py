"""Graph to plan: an ordered, fused, buffered list of steps that an engine runs."""

from .build import build
from .model import Fused, Plan, Step, Value
from .simplify import Followed
from .verify import PlanError, verify

__all__ = ["Followed", "Fused", "Plan", "PlanError", "Step", "Value", "build", "verify"]
