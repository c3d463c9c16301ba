"""Estimators for scikit-learn.

MLPClassifier and MLPRegressor replace scikit-learn's; NetClassifier and NetRegressor train any network;
TabularClassifier and TabularRegressor are for tables as they come, with texts and missing values.
"""

from .mlp import MLPClassifier, MLPRegressor
from .net import NetClassifier, NetRegressor
from .tabular import TabularClassifier, TabularRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "NetClassifier", "NetRegressor", "TabularClassifier", "TabularRegressor"]
