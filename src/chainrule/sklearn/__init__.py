"""Estimators for scikit-learn.

MLPClassifier and MLPRegressor replace scikit-learn's; NetClassifier and NetRegressor train any network.
"""

from .mlp import MLPClassifier, MLPRegressor
from .net import NetClassifier, NetRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "NetClassifier", "NetRegressor"]
