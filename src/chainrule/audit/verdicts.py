"""The verdicts on a step."""

from __future__ import annotations

RIGHT, WRONG, INHERITED, UNSEEN = "right", "wrong", "inherited", "unseen"
