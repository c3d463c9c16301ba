"""Labelled backward passes, correct and incorrect, as people write them by hand; see README.md."""
