"""The training in PyTorch: ``python -m benchmarks.programs.mnist_torch FOLDER [--epochs N] [--seed S] [--threads T]``.

The images lie in one tensor and a batch is rows of it, which is several times faster than a DataLoader.
The last line printed is the result in JSON.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from benchmarks.programs.dataset import read_folder
from benchmarks.programs.options import BATCH, HIDDEN, LEARNING_RATE, program_options
from benchmarks.sides.side import library


def main() -> None:
    options = program_options(__doc__)
    torch: Any = library("torch")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    train_x, train_y, test_x, test_y = map(torch.from_numpy, read_folder(options.folder))

    sizes = (train_x.shape[1], *HIDDEN, int(train_y.max()) + 1)
    modules: list[Any] = []
    for n_in, n_out in pairwise(sizes):
        modules += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)

    for epoch in range(options.epochs):
        total = torch.zeros(())
        for rows in torch.randperm(len(train_x)).split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(model(train_x[rows]), train_y[rows])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(rows)
        print(f"epoch {epoch + 1}: loss {total.item() / len(train_x):.4f}")
    with torch.no_grad():
        accuracy = (model(test_x).argmax(1) == test_y).double().mean().item()
    print(json.dumps({"test_accuracy": accuracy}))


if __name__ == "__main__":
    main()
