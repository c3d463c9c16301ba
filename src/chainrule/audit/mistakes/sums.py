"""Terms of long sums with another sign or a factor, tried after what is simpler."""

from __future__ import annotations

from collections.abc import Iterator

from .general import MissingTerm
from .paths import weighted_terms
from .scaling import ConstantFactor, Sign
from .table import mistake
from .variants import Context, Variant


@mistake(MissingTerm, "some terms of the sum are left out")
def _terms_left_out(context: Context) -> Iterator[Variant]:
    yield from weighted_terms(context, (0.0, 1.0))


@mistake(Sign, "some terms of the sum have the wrong sign")
def _terms_with_other_sign(context: Context) -> Iterator[Variant]:
    yield from weighted_terms(context, (-1.0, 1.0))


@mistake(ConstantFactor, "some terms of the sum are taken twice, or half of them")
def _terms_with_factor(context: Context) -> Iterator[Variant]:
    yield from weighted_terms(context, (1.0, 2.0))
    yield from weighted_terms(context, (1.0, 0.5))
