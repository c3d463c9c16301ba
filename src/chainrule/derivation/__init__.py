"""Derivations: the formulas of a network's gradients, read off the gradient graph.

The package is not called like its function, ``chainrule.explain``: a package and a function cannot share a name.
"""

from .derivation import Derivation, explain

__all__ = ["Derivation", "explain"]
