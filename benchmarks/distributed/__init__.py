"""Training in several processes: what a step costs with 1 to 4 of them here, and what a model predicts for more."""
