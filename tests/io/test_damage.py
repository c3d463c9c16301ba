"""Damaged files that carry a digest: whatever is changed in them, none loads other numbers."""

import json
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.train.checkpoint import load_checkpoint, save_checkpoint
from tests.io import hostile

pytestmark = pytest.mark.filterwarnings("ignore:.*without a digest")


def damaged(content, rng):
    """Return content with some bits flipped, a part lost, blocks exchanged, bytes put in, or overwritten."""
    kind, size = rng.choice(["bits", "cut", "swap", "more", "zeros", "lost", "tail"]), len(content)
    a, b = sorted(rng.integers(0, size, 2).tolist())
    extra = rng.integers(0, 256, rng.integers(1, 65), np.uint8).tobytes()
    block = int(rng.choice([8, 32, 64, 512]))
    if kind == "bits":
        changed = bytearray(content)
        for place in rng.integers(0, size, rng.choice([1, 1, 2, 5])):
            changed[place] ^= 1 << int(rng.integers(8))
        return bytes(changed)
    if kind == "swap":
        a, b = a - a % block, b - b % block
        first, second = content[a : a + block], content[b : b + block]
        return content[:a] + second + content[a + block : b] + first + content[b + block :] if b > a else content
    return {
        "cut": content[:b],
        "more": content[:a] + extra + content[a:],
        "zeros": content[:a] + bytes(min(block, size - a)) + content[a + block :],
        "lost": content[:a] + content[a + block :],
        "tail": content + extra,
    }[kind]


def digits_of(model):
    return {name: (array.dtype.str, array.tobytes()) for name, array in model.state_dict().items()}


class Checkpoints:
    """A checkpoint within a run: its state is that of the training step, its record the rest."""

    def __init__(self, folder):
        self.file = folder / "file"
        training = self._training()
        run = cr.train.checkpoint.Progress(1, 2, 5, 0.25, (1.5, 2.5))
        save_checkpoint(self.file, training, run, [{"epoch": 1, "loss": 0.5}], [], {"seed": 0})
        self.whole = self.read()

    @staticmethod
    def _training():
        from chainrule.train.step import TrainingStep

        return TrainingStep(hostile.model(), "cross_entropy", optim.Adam(1e-3))

    def read(self):
        training = self._training()
        progress, rows = load_checkpoint(self.file, training, [], {"seed": 0})
        return repr(progress), json.dumps(rows), [a.tobytes() for a in training.states]


class Models:
    """A model and its metadata."""

    def __init__(self, folder):
        self.file = folder / "file"
        self.file.write_bytes(hostile.intact())
        self.whole = self.read()

    def read(self):
        model, metadata = cr.load(self.file)
        return digits_of(model), model.config(), metadata


class Onnx:
    """A network as ONNX, with metadata."""

    def __init__(self, folder):
        self.file = folder / "file"
        self.X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
        cr.to_onnx(hostile.model(), self.file, metadata={"classes": ["a", "b"]})
        self.whole = self.read()

    def read(self):
        return cr.predict(cr.from_onnx(self.file), self.X).tobytes()


def wrong(kind, folder, count, seed):
    """Damage a file so many times; return how many were refused, and those that loaded something else."""
    if kind is Onnx:
        pytest.importorskip("onnx")
    case = kind(folder)
    content, found, refused = case.file.read_bytes(), [], 0
    for i in range(count):
        changed = damaged(content, np.random.default_rng([seed, i]))
        Path(case.file).write_bytes(changed)
        try:
            if case.read() != case.whole:
                found.append(i)
        except ValueError:
            refused += 1
        else:
            refused += changed == content
    return refused, found


@pytest.mark.parametrize("kind", [Checkpoints, Models, Onnx])
def test_damaged_files(kind, tmp_path):
    refused, loaded = wrong(kind, tmp_path, 30, seed=1)
    assert loaded == []
    assert refused > 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Checkpoints, Models, Onnx])
def test_two_thousand_damaged_files(kind, tmp_path):
    refused, loaded = wrong(kind, tmp_path, 700, seed=2)
    assert loaded == []
    assert refused > 650
