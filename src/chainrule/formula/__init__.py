"""Formulas as trees: built from graphs, simplified, written in several notations, evaluated."""
