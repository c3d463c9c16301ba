"""Training reports: one HTML file that shows a run: curves, predictions, gradient flow and time."""

from .gradient_flow import GradientFlow
from .judged import Columns
from .page import report, require_plotly
from .storage import forget, store_predictions, store_run

__all__ = ["Columns", "GradientFlow", "forget", "report", "require_plotly", "store_predictions", "store_run"]
