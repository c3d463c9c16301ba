"""scikit-learn: partial_fit of one batch by MLPClassifier or MLPRegressor, without shuffling and penalty.

It takes the classifiers with three classes or more and with one logistic output, and the regression with Adam.
Its squared error is half of the mean, summed over the outputs for the gradient: Adam does not see that factor.
"""

from __future__ import annotations

from benchmarks.sides.side import StepByStep, Unsupported, library
from benchmarks.workloads import ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON, Data, Workload


def make(workload: Workload, data: Data, threads: int) -> StepByStep:
    if workload.optimizer is None:
        raise Unsupported("partial_fit always updates")
    if workload.loss == "cross_entropy" and workload.layers[-1] == 2:
        raise Unsupported("MLPClassifier has one logistic output for two classes")
    if workload.loss == "mse" and workload.optimizer != "adam":
        raise Unsupported("MLPRegressor's squared error has another factor")
    neural_network = library("sklearn.neural_network")
    classify = workload.loss != "mse"
    model = (neural_network.MLPClassifier if classify else neural_network.MLPRegressor)(
        hidden_layer_sizes=workload.layers[1:-1],
        activation={"relu": "relu", "tanh": "tanh", "sigmoid": "logistic"}[workload.activation],
        solver=workload.optimizer,
        alpha=0.0,
        batch_size=workload.batch,
        learning_rate_init=workload.learning_rate,
        momentum=0.0,
        nesterovs_momentum=False,
        shuffle=False,
        beta_1=ADAM_BETA1,
        beta_2=ADAM_BETA2,
        epsilon=ADAM_EPSILON,
    )
    known = {"classes": list(range(max(2, workload.layers[-1])))} if classify else {}

    def restore() -> None:
        # The model has no arrays before its first fit; after it, they are what later fits go on from.
        model.partial_fit(data.inputs[0], data.targets[0], **known)
        del model._optimizer
        for layer, (weight, bias) in enumerate(data.weights):
            model.coefs_[layer][...] = weight
            model.intercepts_[layer][...] = bias

    restore()
    return StepByStep(
        model.partial_fit,
        list(zip(data.inputs, data.targets, strict=True)),
        restore,
        gradients=lambda: [],
        read_loss=lambda fitted: float(fitted.loss_) * (1.0 if classify else 2.0),
    )
