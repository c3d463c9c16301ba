"""Backward passes as people write them by hand, wrong and right, each with what is true of it; see README.md."""
