"""The sides: estimators as they are after `import`, with two threads, and the least preparation that each asks for."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.tables.sets import Task, expanded

Frame = pd.DataFrame
MOST_CODES = 254  # that scikit-learn's boosting and one-hot encoding take


@dataclass(frozen=True)
class Side:
    """A side of the comparison.

    Attributes
    ----------
    name : str
    make : function
        (task, frame, threads) -> an estimator with `fit` and `predict` or `predict_proba`.
    needs : str
        The module without which it is skipped.
    prepare : function
        What is made of the frame before it is split: nothing is learnt from the rows.
    large : bool
        Whether it also takes the large tables.
    """

    name: str
    make: Callable[[Task, Frame, int], Any]
    needs: str
    prepare: Callable[[Frame], Frame] = expanded
    large: bool = True

    def absent(self) -> str | None:
        package, _, name = self.needs.partition(":")
        if importlib.util.find_spec(package.partition(".")[0]) is None:
            return f"{package} is not installed"
        if name and not hasattr(importlib.import_module(package), name):
            return f"{package} has no {name}"
        return None


def _of(module: str, task: Task, names: str, **settings: Any) -> Any:
    """The classifier or the regressor of a module, by the name that they have in common."""
    kind = "Regressor" if task == "regression" else "Classifier"
    return getattr(importlib.import_module(module), names.format(kind))(**settings)


def _baseline(task: Task, frame: Frame, threads: int) -> Any:
    strategy = "mean" if task == "regression" else "prior"
    return _of("sklearn.dummy", task, "Dummy{}", strategy=strategy)


def _ours(task: Task, frame: Frame, threads: int) -> Any:
    return _of("chainrule.sklearn", task, "Tabular{}", random_state=0, threads=threads)


def _ours_simple(task: Task, frame: Frame, threads: int) -> Any:
    """The settings of RealMLP-TD-S."""
    rate = {"learning_rate": 0.07} if task == "regression" else {}
    simple = {"embed_numbers": False, "dropout": 0.0, "weight_decay": 0.0, **rate}
    return _of("chainrule.sklearn", task, "Tabular{}", random_state=0, threads=threads, **simple)


def _hist_gradient_boosting(task: Task, frame: Frame, threads: int) -> Any:
    return _of("sklearn.ensemble", task, "HistGradientBoosting{}", random_state=0)


def few_levels(frame: Frame) -> Frame:
    """With columns of more levels than scikit-learn takes as numbers, in the order of the names."""
    frame = expanded(frame)
    many = [name for name in categories(frame) if len(frame[name].cat.categories) > MOST_CODES]
    return frame.assign(**{name: frame[name].cat.codes.where(frame[name].notna()).astype(float) for name in many})


def _mlp(task: Task, frame: Frame, threads: int) -> Any:
    compose: Any = importlib.import_module("sklearn.compose")
    pipeline: Any = importlib.import_module("sklearn.pipeline")
    preprocessing: Any = importlib.import_module("sklearn.preprocessing")
    impute: Any = importlib.import_module("sklearn.impute")
    texts = categories(frame)
    numbers = [name for name in frame if name not in texts]
    one_hot = preprocessing.OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MOST_CODES)
    scaled = [impute.SimpleImputer(strategy="median", add_indicator=True), preprocessing.StandardScaler()]
    columns = compose.make_column_transformer((pipeline.make_pipeline(*scaled), numbers), (one_hot, texts))
    network = _of("sklearn.neural_network", task, "MLP{}", random_state=0)
    if task == "regression":
        network = compose.TransformedTargetRegressor(network, transformer=preprocessing.StandardScaler())
    return pipeline.make_pipeline(columns, network)


def _lightgbm(task: Task, frame: Frame, threads: int) -> Any:
    return _of("lightgbm", task, "LGBM{}", n_jobs=threads, random_state=0, verbosity=-1)


def plain_names(frame: Frame) -> Frame:
    """With columns named by their position: LightGBM refuses some characters."""
    frame = expanded(frame)
    return frame.set_axis([f"c{i}" for i in range(frame.shape[1])], axis=1)


def _xgboost(task: Task, frame: Frame, threads: int) -> Any:
    return _of("xgboost", task, "XGB{}", n_jobs=threads, random_state=0, enable_categorical=True)


def _catboost(task: Task, frame: Frame, threads: int) -> Any:
    settings = {"thread_count": threads, "random_seed": 0, "verbose": False, "allow_writing_files": False}
    return _of("catboost", task, "CatBoost{}", cat_features=categories(frame), **settings)


def words(frame: Frame) -> Frame:
    """With missing categories as a word of their own: CatBoost takes texts and integers."""
    frame = expanded(frame)
    texts = {
        name: frame[name].astype(object).where(frame[name].notna(), "missing").astype(str) for name in categories(frame)
    }
    return frame.assign(**{name: column.astype("category") for name, column in texts.items()})


def _realmlp(names: str) -> Callable[[Task, Frame, int], Any]:
    def make(task: Task, frame: Frame, threads: int) -> Any:
        return _of("pytabkit", task, names, device="cpu", n_threads=threads, random_state=0, verbosity=0)

    return make


def imputed(frame: Frame) -> Frame:
    """With missing numbers as medians and a column that tells them: RealMLP takes none (categories may be missing)."""
    frame = expanded(frame)
    gaps = [name for name in frame if name not in categories(frame) and frame[name].isna().any()]
    flags = {f"{name} missing": frame[name].isna().astype(float) for name in gaps}
    return frame.fillna({name: frame[name].median() for name in gaps}).assign(**flags)


def categories(frame: Frame) -> list[str]:
    return [str(name) for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.CategoricalDtype)]


SIDES = {
    side.name: side
    for side in (
        Side("baseline", _baseline, "sklearn"),
        Side("chainrule", _ours, "chainrule.sklearn:TabularClassifier", prepare=lambda frame: frame),
        Side("chainrule simple", _ours_simple, "chainrule.sklearn:TabularClassifier", prepare=lambda frame: frame),
        Side("RealMLP-TD", _realmlp("RealMLP_TD_{}"), "pytabkit", prepare=imputed, large=False),
        Side("RealMLP-TD-S", _realmlp("RealMLP_TD_S_{}"), "pytabkit", prepare=imputed, large=False),
        Side("sklearn MLP", _mlp, "sklearn", large=False),
        Side("HistGradientBoosting", _hist_gradient_boosting, "sklearn", prepare=few_levels),
        Side("LightGBM", _lightgbm, "lightgbm", prepare=plain_names),
        Side("XGBoost", _xgboost, "xgboost"),
        Side("CatBoost", _catboost, "catboost", prepare=words),
    )
}
OURS = "chainrule"


def outputs(estimator: Any, task: Task, frame: Frame) -> np.ndarray[Any, Any]:
    """Probabilities of all classes, or numbers."""
    found = estimator.predict(frame) if task == "regression" else estimator.predict_proba(frame)
    return np.asarray(found, np.float64)
