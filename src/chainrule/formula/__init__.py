"""Formulas as trees: built from graphs, simplified, evaluated, and written as text, LaTeX and NumPy source."""
