"""Judging a model: metrics in one table, intervals, the baseline, calibration, thresholds, and sentences about them."""

from .baseline import Baseline
from .bootstrap import intervals
from .calibration import binned, confidences, fit_temperature
from .judgement import TELLING, Judgement, judge, of_classes, of_overfitting
from .metrics import METRICS, Metric, confusion, measure
from .predictions import Predictions, UndefinedMetric, scored
from .ranking import precision_recall_curve, roc_curve
from .thresholds import CHOICES, best_threshold

__all__ = [
    "CHOICES",
    "METRICS",
    "TELLING",
    "Baseline",
    "Judgement",
    "Metric",
    "Predictions",
    "UndefinedMetric",
    "best_threshold",
    "binned",
    "confidences",
    "confusion",
    "fit_temperature",
    "intervals",
    "judge",
    "measure",
    "of_classes",
    "of_overfitting",
    "precision_recall_curve",
    "roc_curve",
    "scored",
]
