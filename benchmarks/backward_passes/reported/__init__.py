"""Mistakes that people reported in public, recreated small in the style in which they were written."""
