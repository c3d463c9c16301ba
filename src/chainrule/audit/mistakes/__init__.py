"""Known mistakes, a file for each family: their causes with documentation pages, and what they compute.

The families are imported in the order in which their mistakes are tried; of several that fit, the first is named first.
"""

from . import scaling, general, recurrence, penalties, paths, activations  # noqa: F401, I001
from . import products, normalisations, everywhere, results, conduct  # noqa: F401
from . import divisors, other_operands, derivative_places, indexing, windows  # noqa: F401
from . import unrolled_loops, other_sources, two_terms, numbers, sums, absent, moments, rules  # noqa: F401
from . import exchanged_parts  # noqa: F401
from .table import CAUSES, Cause, Mistake, mistake, mistakes, pages

__all__ = ["CAUSES", "Cause", "Mistake", "mistake", "mistakes", "pages"]
