"""scikit-learn's own checks of estimators: all of them, with no exceptions."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from chainrule import nn
from chainrule.sklearn import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor


class Network(nn.Sequential):
    """A class, not a function: the tests are named after it, and a function's repr differs from process to process."""

    def __init__(self, n_features, n_outputs, hidden=16):
        super().__init__(nn.Linear(n_features, hidden), nn.ReLU(), nn.Linear(hidden, n_outputs))


#: Small networks that learn fast; `test_all_checks_as_they_begin` takes all, as they begin.
ESTIMATORS = [MLPClassifier((16,), max_iter=60, learning_rate_init=0.02)]
OTHERS = [
    NetRegressor(Network, max_epochs=60, learning_rate=0.02),
    MLPRegressor(hidden_layer_sizes=(16,), max_iter=60, learning_rate_init=0.02),
    NetClassifier(Network, max_epochs=60, learning_rate=0.02),
]


@parametrize_with_checks(ESTIMATORS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(OTHERS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_checks_of_the_others(estimator, check):
    check(estimator)


ALL = """
import json, warnings
from sklearn.utils.estimator_checks import check_estimator
from chainrule import nn
from chainrule.sklearn import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor

def network(n_features, n_outputs, hidden=20):
    return nn.Sequential(nn.Linear(n_features, hidden), nn.ReLU(), nn.Linear(hidden, n_outputs))

warnings.simplefilter("ignore")
found = []
for estimator in (MLPClassifier(), MLPRegressor(), NetClassifier(network, learning_rate=0.01), NetRegressor(network)):
    for result in check_estimator(estimator, on_fail=None, on_skip=None):
        if result["status"] != "passed":
            found.append([type(estimator).__name__, result["check_name"], result["status"], repr(result["exception"])])
print(json.dumps(found))
"""


@pytest.mark.slow
def test_all_checks_as_they_begin():
    """With SciPy's array API switched on, which must be before it is imported, no check is left out either."""
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, "-c", ALL], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
