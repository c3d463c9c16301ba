"""LeNet on Fashion-MNIST: train it, measure it, and look at what its filters see.

    python examples/lenet_fashion_mnist.py [FOLDER] [--picture lenet.png] [--short]

FOLDER holds the four IDX files of Fashion-MNIST; without it, the place is tried where Debian's package
dataset-fashion-mnist puts them. If they are not there, the 8×8 digits that come with chainrule are used, at twice
their size. A run takes about a minute on 10,000 of the 60,000 images (with --short a few seconds on a few hundred);
the same network on all of them, from the command line: ``chainrule train FOLDER --model lenet``.
"""

import argparse
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim

PLACES = ("/usr/share/datasets/fashion-mnist", "fashion-mnist")
CLASSES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def read(folder):
    """Return the training and the test split, images (m, 1, height, width) and labels, and the classes' names."""
    found = next((place for place in ([folder] if folder else PLACES) if Path(place).is_dir()), None)
    dataset = data.load_digits() if found is None else data.read(found)
    if found is None:
        print("Fashion-MNIST is not here: using the digits (apt install dataset-fashion-mnist, or give its folder)")
    train, test = dataset.split(0.2, seed=0)
    preprocessor = data.Preprocessor.fit(train, channels_first=True)
    splits = [(preprocessor.transform(split), preprocessor.transform_target(split)) for split in (train, test)]
    if found is None:
        splits = [(np.kron(X, np.ones((2, 2), np.float32)), y) for X, y in splits]
    return *splits, preprocessor.classes if found is None else CLASSES


def lenet(side):
    """LeNet-5 (LeCun et al., 1998), with ReLU and maxima."""
    after = ((side // 2) - 4) // 2
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * after**2, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    ).initialize(0)  # fmt: skip


def draw(model, X, y, classes, path):
    """Draw an image, the filters of the first layer, the maps that they make of it, and the most doubtful images."""
    import matplotlib.pyplot as plt

    b = cr.backprop(model, X[:1], y[:1], loss="cross_entropy")
    logits = cr.predict(model, X[:500])
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    doubtful = np.argsort(shares[np.arange(len(shares)), y[:500]])[:7]
    filters = np.moveaxis(np.asarray(b["W1"]), -1, 0)[:, 0]
    rows = [
        ("first image, filters W1", [X[0, 0], *filters]),
        ("feature maps A1, loss ∂L/∂A1 of one", [*np.asarray(b["A1"])[0], np.asarray(b["dA1"])[0, 0]]),
        ("least probable labels", X[doubtful, 0]),
    ]
    figure, axes = plt.subplots(3, 7, figsize=(9, 4.6), layout="constrained")
    for line, (title, images) in zip(axes, rows, strict=True):
        line[0].set_title(title, fontsize=9, loc="left")
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image, cmap="gray")
            axis.set_axis_off()
    for axis, i in zip(axes[2], doubtful, strict=True):
        text = f"{classes[y[i]]}, not {classes[logits[i].argmax()]}?"
        axis.text(0, -0.08, text, fontsize=7, transform=axis.transAxes, va="top")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description="LeNet on Fashion-MNIST")
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--picture", help="a file to draw into; needs matplotlib")
    parser.add_argument("--short", action="store_true", help="few images and epochs")
    asked = parser.parse_args()
    (X, y), (test_X, test_y), classes = read(asked.folder)
    number, epochs = (300, 2) if asked.short else (10_000, 10)
    X, y = X[:number], y[:number]
    model = lenet(X.shape[-1])
    print(model)
    steps = epochs * -(-len(X) // 32)
    history = cr.fit(model, X, y, optimizer=optim.Adam(optim.Cosine(2e-3, steps)), epochs=epochs, batch_size=32)
    print(history)
    test = slice(0, 300 if asked.short else None)
    figures = cr.evaluate(model, test_X[test], test_y[test])
    print(f"test: loss {figures['loss']:.3f}, accuracy {100 * figures['accuracy']:.1f} %")
    assert history["loss"][-1] < history["loss"][0]
    if asked.picture:
        draw(model, test_X, test_y, classes, asked.picture)


if __name__ == "__main__":
    main()
