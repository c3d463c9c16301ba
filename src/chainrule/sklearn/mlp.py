"""MLPClassifier and MLPRegressor: scikit-learn's multi-layer perceptrons, trained by this library's engines."""

from __future__ import annotations

from typing import Any

from .classifier import ClassifierPart
from .perceptron import MultilayerPerceptron
from .regressor import RegressorPart


class MLPClassifier(MultilayerPerceptron, ClassifierPart):
    """A multi-layer perceptron that classifies: two classes, several, or several labels per example.

    Parameters, attributes and methods have scikit-learn's names and meanings. With the same `random_state` and
    ``dtype="float64"`` the weights are those of scikit-learn's MLPClassifier, to rounding.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int
        Units of each hidden layer; ``()`` for none.
    activation : str, nn.Module, or a list of them
        After each hidden layer: ``"relu"``, ``"tanh"``, ``"logistic"``, ``"identity"``, any other of
        ``nn.activations``, or a layer such as ``nn.ELU(0.5)``. A list has one for each hidden layer.
    solver : {"adam", "sgd", "lbfgs", "adamw", "rmsprop", "adagrad", "lion"} or Optimizer
        An optimiser of ``chainrule.optim`` brings its own learning rate.
    alpha : float
        Strength of the L2 penalty alpha/2 Σ W², which is divided by the number (or summed weight) of a batch's
        examples.
    batch_size : int or "auto"
        ``"auto"``: 200, or all examples if they are fewer. L-BFGS takes all of them.
    learning_rate : {"constant", "invscaling", "adaptive", "warm_restarts"} or function
        ``"invscaling"``: learning_rate_init / (samples seen + 1) ** power_t, and ``"adaptive"``: a fifth of it whenever
        training stalls; both for ``solver="sgd"``. ``"warm_restarts"``: cosines down to 0, each twice as long as the
        previous one; training stops at the end of one. A function gives the learning rate of an epoch, from 0.
    learning_rate_init, power_t : float
    max_iter : int
        Greatest number of epochs, or of iterations of L-BFGS.
    shuffle : bool
        Visit the examples in a new order each epoch.
    random_state : int, RandomState or None
        Of the initial weights, the validation split and the orders; an int gives the same as in scikit-learn.
    tol : float
        What the loss (or the validation score) must improve by within `n_iter_no_change` epochs. For L-BFGS:
        the largest element of the gradient at which it has converged.
    verbose : bool
        Print the loss after each epoch.
    warm_start : bool
        Start from the weights of the last `fit`.
    momentum, nesterovs_momentum
        For ``solver="sgd"``.
    early_stopping : bool
        Hold out a validation split, stop when its score no longer improves, and keep the best weights.
    validation_fraction : float
        Fraction of the examples in the validation split.
    beta_1, beta_2, epsilon : float
        For ``solver="adam"``.
    n_iter_no_change : int or inf
    max_fun : int
        Greatest number of evaluations of the objective, for L-BFGS.
    loss : str or function
        ``"log_loss"``, ``"hinge"``, or a function (logits, target) -> scalar; targets are one-hot rows (m, classes),
        between two classes 0 and 1 in one column.
    class_weight : dict, "balanced" or None
        Weight of the examples of each class.
    dropout : float or list of float
        Fraction of a hidden layer's values that are dropped in training.
    restart_every : int
        Epochs of the first cosine of ``"warm_restarts"``.
    callbacks : sequence
        As for ``chainrule.fit``.
    dtype : {"auto", "float32", "float64"}
        Data type of training. ``"auto"``: float32 in batches, the dtype of X where all examples are taken at once.
        The trained weights and the predictions have the dtype of X in any case.
    engine, threads
        As for ``chainrule.compile``; without `threads`, what OMP_NUM_THREADS allows.
    distributed, shards
        As for ``chainrule.fit``: the processes that share each batch, all of which call `fit` with the same data.

    Attributes
    ----------
    module_ : nn.Sequential
        The trained network, in evaluation mode; its outputs are logits. To be explained, audited, saved.
    coefs_, intercepts_ : list of array
        Its weights (inputs, outputs) and biases, the arrays themselves.
    classes_ : array
    n_iter_, t_ : int
        Epochs (iterations) of the last `fit`; examples seen.
    loss_, best_loss_ : float
    loss_curve_ : list of float
        After each epoch.
    validation_scores_, validation_loss_curve_ : list of float or None
        On the validation split.
    best_validation_score_ : float or None
    n_features_in_, n_layers_, n_outputs_ : int
    feature_names_in_ : array of str
        If X has column names.
    out_activation_ : str
        Activation that turns outputs into predictions.

    Examples
    --------
    >>> from chainrule import data
    >>> from chainrule.sklearn import MLPClassifier
    >>> digits = data.load_digits()
    >>> X, y = digits.X / 16, digits.y
    >>> model = MLPClassifier(hidden_layer_sizes=32, max_iter=30, tol=0.5, n_iter_no_change=30, random_state=0)
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter('ignore')  # thirty epochs are not enough to converge
    ...     _ = model.fit(X[:1000], y[:1000])
    >>> model.score(X[1000:], y[1000:]) > 0.85
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        class_weight: Any = None,
        dropout: Any = 0.0,
        restart_every: int = 10,
        callbacks: Any = (),
        dtype: str = "auto",
        engine: str | None = None,
        threads: int | None = None,
        distributed: Any = None,
        shards: int | None = None,
    ) -> None:
        self._keep(locals())


class MLPRegressor(MultilayerPerceptron, RegressorPart):
    """A multi-layer perceptron that predicts numbers, one or several per example.

    Parameters, attributes and methods have scikit-learn's names and meanings. With the same `random_state` and
    ``dtype="float64"`` the weights are those of scikit-learn's MLPRegressor, to rounding.

    Parameters
    ----------
    loss : str or function
        ``"squared_error"``, ``"poisson"`` (of the exponential of the outputs), ``"mae"``, ``"huber"``, another of
        ``nn.losses`` for numbers, or a function (output, target) -> scalar.
    hidden_layer_sizes : sequence of int
        Units of each hidden layer; ``()`` for none.
    activation : str, nn.Module, or a list of them
        After each hidden layer: ``"relu"``, ``"tanh"``, ``"logistic"``, ``"identity"``, any other of
        ``nn.activations``, or a layer such as ``nn.ELU(0.5)``. A list has one for each hidden layer.
    solver : {"adam", "sgd", "lbfgs", "adamw", "rmsprop", "adagrad", "lion"} or Optimizer
        An optimiser of ``chainrule.optim`` brings its own learning rate.
    alpha : float
        Strength of the L2 penalty alpha/2 Σ W², which is divided by the number (or summed weight) of a batch's
        examples.
    batch_size : int or "auto"
        ``"auto"``: 200, or all examples if they are fewer. L-BFGS takes all of them.
    learning_rate : {"constant", "invscaling", "adaptive", "warm_restarts"} or function
        ``"invscaling"``: learning_rate_init / (samples seen + 1) ** power_t, and ``"adaptive"``: a fifth of it whenever
        training stalls; both for ``solver="sgd"``. ``"warm_restarts"``: cosines down to 0, each twice as long as the
        previous one; training stops at the end of one. A function gives the learning rate of an epoch, from 0.
    learning_rate_init, power_t : float
    max_iter : int
        Greatest number of epochs, or of iterations of L-BFGS.
    shuffle : bool
        Visit the examples in a new order each epoch.
    random_state : int, RandomState or None
        Of the initial weights, the validation split and the orders; an int gives the same as in scikit-learn.
    tol : float
        What the loss (or the validation score) must improve by within `n_iter_no_change` epochs. For L-BFGS:
        the largest element of the gradient at which it has converged.
    verbose : bool
        Print the loss after each epoch.
    warm_start : bool
        Start from the weights of the last `fit`.
    momentum, nesterovs_momentum
        For ``solver="sgd"``.
    early_stopping : bool
        Hold out a validation split, stop when its score no longer improves, and keep the best weights.
    validation_fraction : float
        Fraction of the examples in the validation split.
    beta_1, beta_2, epsilon : float
        For ``solver="adam"``.
    n_iter_no_change : int or inf
    max_fun : int
        Greatest number of evaluations of the objective, for L-BFGS.
    dropout : float or list of float
        Fraction of a hidden layer's values that are dropped in training.
    restart_every : int
        Epochs of the first cosine of ``"warm_restarts"``.
    callbacks : sequence
        As for ``chainrule.fit``.
    dtype : {"auto", "float32", "float64"}
        Data type of training. ``"auto"``: float32 in batches, the dtype of X where all examples are taken at once.
        The trained weights and the predictions have the dtype of X in any case.
    engine, threads
        As for ``chainrule.compile``; without `threads`, what OMP_NUM_THREADS allows.
    distributed, shards
        As for ``chainrule.fit``: the processes that share each batch, all of which call `fit` with the same data.

    Attributes
    ----------
    module_ : nn.Sequential
        The trained network, in evaluation mode; its outputs are predictions (for poisson: their logarithm). To be
        explained, audited, saved.
    coefs_, intercepts_ : list of array
        Its weights (inputs, outputs) and biases, the arrays themselves.
    n_iter_, t_ : int
        Epochs (iterations) of the last `fit`; examples seen.
    loss_, best_loss_ : float
    loss_curve_ : list of float
        After each epoch.
    validation_scores_, validation_loss_curve_ : list of float or None
        On the validation split.
    best_validation_score_ : float or None
    n_features_in_, n_layers_, n_outputs_ : int
    feature_names_in_ : array of str
        If X has column names.
    out_activation_ : str
        Activation that turns outputs into predictions.

    Examples
    --------
    >>> import numpy as np
    >>> from chainrule.sklearn import MLPRegressor
    >>> X = np.linspace(-1, 1, 200)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=20, solver="lbfgs", max_iter=2000, random_state=0)
    >>> model.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.95
    True
    """

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        restart_every: int = 10,
        callbacks: Any = (),
        dtype: str = "auto",
        engine: str | None = None,
        threads: int | None = None,
        distributed: Any = None,
        shards: int | None = None,
    ) -> None:
        self._keep(locals())
