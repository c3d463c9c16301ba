"""Make src/chainrule/data/digits.npz from the copy of the UCI digits that scikit-learn distributes.

    python tools/make_digits.py [OUT]

The same input gives the same bytes (with the same version of zlib): members have no modification time.
"""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

OUT = Path(__file__).parents[1] / "src" / "chainrule" / "data" / "digits.npz"


def member(array: np.ndarray) -> bytes:
    """The bytes of the array as an .npy file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def main(out: Path = OUT) -> None:
    """Write the archive."""
    pixels, labels = load_digits(return_X_y=True)
    assert pixels.shape == (1797, 64), pixels.shape
    assert set(np.unique(pixels)) <= set(range(17)), "pixels count the ink in 4×4 blocks: 0 to 16"
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in (("X.npy", pixels.astype(np.uint8)), ("y.npy", labels.astype(np.uint8))):
            # A ZipInfo made by hand has the fixed date 1980-01-01.
            archive.writestr(zipfile.ZipInfo(name), member(array), zipfile.ZIP_DEFLATED, compresslevel=9)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
