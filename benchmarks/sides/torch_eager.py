"""PyTorch, eager: nn.Sequential, a loss module, backward(), optimizer.step(), zero_grad(set_to_none=True).

The optimisers are the fused ones, the fastest form of them on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from benchmarks.sides.side import StepByStep, library
from benchmarks.workloads import ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON, Data, Workload


def make(workload: Workload, data: Data, threads: int) -> StepByStep:
    return build(workload, data, threads, compiled=False)


def build(workload: Workload, data: Data, threads: int, compiled: bool) -> StepByStep:
    """The runner, with loss and gradients through torch.compile if `compiled`."""
    torch = library("torch")
    torch.set_num_threads(threads)
    model = _model(torch, workload)
    linears = [module for module in model if isinstance(module, torch.nn.Linear)]
    criterion = {
        "cross_entropy": torch.nn.CrossEntropyLoss,
        "binary_cross_entropy": torch.nn.BCEWithLogitsLoss,
        "mse": torch.nn.MSELoss,
    }[workload.loss]()
    flatten = workload.loss == "binary_cross_entropy"
    last_input: Any = None

    def loss_of(x: Any, y: Any) -> Any:
        z = model(x)
        return criterion(z.squeeze(1) if flatten else z, y)

    optimizer: Any = None
    update: Callable[[], object] = lambda: None  # noqa: E731
    if workload.optimizer is not None:
        optimizer = _optimizer(torch, workload, model)
        update = optimizer.step
    if compiled:
        loss_of = torch.compile(loss_of)

    def step(x: Any, y: Any) -> Any:
        nonlocal last_input
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)
        else:
            model.zero_grad(set_to_none=True)
            x.grad = None
            last_input = x
        loss = loss_of(x, y)
        loss.backward()
        update()
        return loss

    def restore() -> None:
        with torch.no_grad():
            for linear, (weight, bias) in zip(linears, data.weights, strict=True):
                linear.weight.copy_(torch.from_numpy(weight.T))
                linear.bias.copy_(torch.from_numpy(bias))
            for state in optimizer.state.values() if optimizer is not None else ():
                for value in state.values():
                    if torch.is_tensor(value):
                        value.zero_()

    def gradients() -> list[Any]:
        by_layer = [g for linear in linears for g in (linear.weight.grad.T, linear.bias.grad)]
        return [last_input.grad, *by_layer]

    restore()
    inputs = [torch.from_numpy(x).requires_grad_(workload.input_gradient) for x in data.inputs]
    targets = [torch.from_numpy(y) for y in data.targets]
    return StepByStep(step, list(zip(inputs, targets, strict=True)), restore, gradients)


def _model(torch: Any, workload: Workload) -> Any:
    activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid}[workload.activation]
    modules: list[Any] = []
    for n_in, n_out in pairwise(workload.layers):
        modules += [torch.nn.Linear(n_in, n_out), activation()]
    return torch.nn.Sequential(*modules[:-1])


def _optimizer(torch: Any, workload: Workload, model: Any) -> Any:
    if workload.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=workload.learning_rate, fused=True)
    return torch.optim.Adam(
        model.parameters(),
        lr=workload.learning_rate,
        betas=(ADAM_BETA1, ADAM_BETA2),
        eps=ADAM_EPSILON,
        fused=True,
    )
