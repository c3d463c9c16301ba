"""The families of operations that are loaded when one of their functions, or the whole table, is first asked for."""

from . import (  # noqa: F401
    bessel,
    complex_pair,
    decompositions,
    fourier,
    least_squares,
    matrix_functions,
    polynomials,
    quantiles,
    signal,
    spacing,
    special,
    statistics,
)
