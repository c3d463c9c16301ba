"""Draw the pictures of the documentation: output of the command line as SVG, a training history, and training reports.

Run from anywhere with chainrule[plot,report], rich and Playwright installed, and Chromium for the reports:
``python tools/make_pictures.py [NAME ...]``. Writes docs/images/; without names, all pictures.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
CHARACTER = 12.2  # width of one character in the exported SVG

#: The network of the README, with two mistakes in its backward pass.
BACKPROP = """
import numpy as np

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(32, 4)), rng.normal(size=(32, 3))
parameters = {"W1": rng.normal(size=(4, 5)), "b1": np.zeros(5), "W2": rng.normal(size=(5, 3)), "b2": np.zeros(3)}


def forward(X, p):
    Z1 = X @ p["W1"] + p["b1"]
    A1 = np.tanh(Z1)
    return {"A0": X, "Z1": Z1, "A1": A1, "Z2": A1 @ p["W2"] + p["b2"]}


def loss(Z2, Y):
    return np.sum((Z2 - Y) ** 2) / (2 * len(Y))


def backward(cache, Y, p):
    m, g = len(Y), {}
    g["dZ2"] = cache["Z2"] - Y
    g["dW2"] = cache["A1"].T @ g["dZ2"] / m
    g["db2"] = g["dZ2"].sum(axis=0) / m
    g["dA1"] = g["dZ2"] @ p["W2"].T
    g["dZ1"] = g["dA1"] * (1 - cache["Z1"] ** 2)
    g["dW1"] = cache["A0"].T @ g["dZ1"] / m
    g["db1"] = g["dZ1"].sum(axis=0)
    return g
"""

#: A network in which the gradient vanishes.
DEEP = ["--hidden", ",".join(["32"] * 8), "--activation", "sigmoid", "--optimizer", "sgd", "--epochs", "50"]


def command(name: str, *arguments: str) -> None:
    """Run a command in a temporary folder and draw what it prints."""
    console = Console(record=True, width=96 if arguments[0] == "audit" else 80, file=open("/dev/null", "w"))
    console.print(Text("$ chainrule " + " ".join(arguments), style="bold"))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "my_backprop.py").write_text(BACKPROP)
        call = [sys.executable, "-c", "from chainrule.cli import main; main()", *arguments]
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True)
    if done.stderr:
        raise SystemExit(done.stderr)
    console.print(Text(done.stdout.rstrip()))
    svg = console.export_svg(title=f"chainrule {arguments[0]}", theme=MONOKAI)
    # the export refers to web fonts; the reader's own monospaced font avoids a request
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace")
    svg = re.sub(r'x="0" (y="[\d.]+") textLength="([\d.]+)"([^>]*)>((?:&#160;|\u00a0)+)', _indented, svg)
    (IMAGES / f"{name}.svg").write_text(svg)


def _indented(match: re.Match[str]) -> str:
    """Turn spaces at the beginning of a line into an offset: some viewers drop them."""
    y, length, more, spaces = match.groups()
    offset = CHARACTER * len(spaces.replace("&#160;", " "))
    return f'x="{offset:g}" {y} textLength="{float(length) - offset:g}"{more}>'


def history() -> None:
    """Train on the digits and draw loss and accuracy by epoch."""
    import chainrule as cr
    from chainrule import data, nn

    train, _ = data.load_digits().split(0.2, seed=0)
    preprocessor = data.Preprocessor.fit(train)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    X, y = preprocessor.transform(train), preprocessor.transform_target(train)
    cr.fit(model, X, y, epochs=30, validation=0.2).plot(str(IMAGES / "history.svg"))


def report(name: str, width: int, height: int, *arguments: str, section: str = "flow") -> None:
    """Train on the digits with a report; draw the beginning of one of its sections."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder:
        call = [sys.executable, "-c", "from chainrule.cli import main; main()", "train", "digits", "--report"]
        subprocess.run([*call, "--out", "run", *arguments], cwd=folder, check=True, capture_output=True)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": width, "height": 900})
            page.goto((Path(folder) / "run" / "report.html").as_uri())
            page.wait_for_timeout(2000)  # figures are drawn when they come into view
            heading = page.locator(f"#{section}").bounding_box()
            assert heading is not None
            clip = {"x": 0.0, "y": heading["y"] - 16, "width": float(width), "height": float(height)}
            picture = page.screenshot(full_page=True, clip=clip)  # type: ignore[arg-type]
            browser.close()
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(64).save(IMAGES / f"{name}.png", optimize=True)


def example(name: str, *arguments: str) -> None:
    """Run an example, which draws its own picture."""
    call = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *arguments]
    subprocess.run([*call, "--picture", str(IMAGES / f"{name}.png")], check=True)


PICTURES: dict[str, Callable[[], None]] = {
    "audit": lambda: command("audit", "audit", "my_backprop.py"),
    "backprop": lambda: command("backprop", "backprop", "digits", "--hidden", "32"),
    "train": lambda: command("train", "train", "digits", "--seed", "0"),
    "history": history,
    "report": lambda: report("report", 1000, 740),
    "report-flow": lambda: report("report-flow", 1100, 1660, *DEEP),
    "report-inside": lambda: report("report-inside", 1100, 640, "--model", "cnn", "--epochs", "5", section="inside"),
    "lenet_fashion_mnist": lambda: example("lenet_fashion_mnist"),
    "character_model": lambda: example("character_model"),
    "time_series_lstm": lambda: example("time_series_lstm"),
}

if __name__ == "__main__":
    IMAGES.mkdir(parents=True, exist_ok=True)
    for picture in sys.argv[1:] or PICTURES:
        PICTURES[picture]()
