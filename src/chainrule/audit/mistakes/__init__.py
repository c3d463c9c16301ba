"""Known ways to get a backward pass wrong."""
