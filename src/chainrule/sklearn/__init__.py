"""Estimators for scikit-learn.

MLPClassifier and MLPRegressor in the place of its own; NetClassifier and NetRegressor for any network.
"""

from .mlp import MLPClassifier, MLPRegressor
from .net import NetClassifier, NetRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "NetClassifier", "NetRegressor"]
