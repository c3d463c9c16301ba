"""scikit-learn's own tests of its estimators, run on ours: their file is loaded with our classes in place of theirs."""

import importlib.util
import sys

import pytest

import chainrule.sklearn as ours

theirs = pytest.importorskip("sklearn.neural_network", reason="needs scikit-learn")
NAME = "sklearn.neural_network.tests.test_mlp"

#: Tests that read private attributes of scikit-learn's classes.
PRIVATE = {
    "test_gradient": "_loss_grad_lbfgs",
    "test_learning_rate_warmstart": "_optimizer",
    "test_adaptive_learning_rate": "_optimizer",
    "test_n_iter_no_change": "_no_improvement_count",
    "test_n_iter_no_change_inf": "_no_improvement_count",
}


def loaded():
    """Return a copy of their module of tests, whose MLPClassifier and MLPRegressor are ours."""
    found = importlib.util.find_spec(NAME)
    if found is None or found.origin is None:
        return None
    spec = importlib.util.spec_from_file_location("their_tests_of_ours", found.origin)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:  # for the time in which it imports them
        for name in ("MLPClassifier", "MLPRegressor"):
            patch.setattr(theirs, name, getattr(ours, name))
        sys.modules[spec.name] = module
        try:
            spec.loader.exec_module(module)
        finally:
            del sys.modules[spec.name]
    return module


def judged(name, function):
    if name in PRIVATE:
        reason = f"reads scikit-learn's private attribute {PRIVATE[name]}"
        return pytest.mark.xfail(reason=reason, raises=AttributeError, strict=True)(function)
    return function


module = loaded()
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]
if module is None:
    pytestmark.append(pytest.mark.skip(reason="this scikit-learn comes without its tests"))
else:
    globals().update({name: judged(name, value) for name, value in vars(module).items() if name.startswith("test_")})


@pytest.fixture
def global_random_seed():
    """The seed that scikit-learn's own fixture provides by default."""
    return 42


def test_the_classes_are_ours():
    assert module.MLPClassifier is ours.MLPClassifier and module.MLPRegressor is ours.MLPRegressor
    assert theirs.MLPClassifier is not ours.MLPClassifier
    assert set(PRIVATE) < {name for name in globals() if name.startswith("test_")}
