"""Files that expand to gigabytes are refused before they take memory; limits can be raised."""

import gzip
import io
import json
import struct
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest

from chainrule import data
from chainrule.data import expansion

ZEROS = bytes(1 << 24)


def zipped_member(name, header, blocks):
    """Return a zip archive of one member: a header, and blocks of zeros, each compressed in the same few bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(header) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    body = head + blocks * block + packer.flush()
    sizes = 0, len(body), len(header) + blocks * len(ZEROS)
    local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 0, *sizes, len(name), 0) + name + body
    central = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 8, 0, 0, *sizes, len(name), *[0] * 6) + name
    return local + central + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(central), len(local), 0)


def npz():
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (200, len(ZEROS))})
    return zipped_member(b"X.npy", header.getvalue(), 200)


def idx():
    start = bytes([0, 0, 8, 2]) + struct.pack(">II", 200, len(ZEROS))
    return gzip.compress(start) + 200 * gzip.compress(ZEROS)


def csv():
    rows = gzip.compress(b"0,0\n" * (1 << 22))
    return gzip.compress(b"a,b\n") + 200 * rows


def hidden():
    """Zeros that come after numbers that hardly compress."""
    noise = np.random.default_rng(0).integers(0, 1 << 30, (100_000, 2))
    text = b"a,b\n" + b"\n".join(b"%d,%d" % tuple(row) for row in noise.tolist()) + b"\n"
    return gzip.compress(text) + 200 * gzip.compress(b"0,0\n" * (1 << 22))


BOMBS = {"bomb.npz": npz, "bomb-ubyte.gz": idx, "bomb.csv.gz": csv, "hidden.csv.gz": hidden}

READER = """
    import json, sys, time
    from chainrule import data

    def peak():
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

    for file in sys.argv[1:]:
        began = time.process_time()
        try:
            data.read_features(file)
            outcome = "loaded"
        except ValueError as error:
            outcome = str(error)
        print(json.dumps([outcome, time.process_time() - began, peak()]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory is read from /proc")
def test_bombs_are_refused_at_once(tmp_path):
    pytest.importorskip("polars")
    files = [tmp_path / name for name in BOMBS]
    for file in files:
        file.write_bytes(BOMBS[file.name]())
        assert 1_000_000 < file.stat().st_size < 6_000_000
    command = [sys.executable, "-c", textwrap.dedent(READER), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for file, line in zip(files, done.stdout.splitlines(), strict=True):
        outcome, seconds, kilobytes = json.loads(line)
        assert outcome.startswith(str(file)) and "compressed bytes expand to" in outcome and "--max-bytes" in outcome
        assert kilobytes < 200_000, (file, seconds)


def test_parquet(tmp_path):
    pl = pytest.importorskip("polars")
    file = tmp_path / "bomb.parquet"
    pl.select(pl.zeros(9_000_000, dtype=pl.Int8).alias("a"), pl.lit("x").alias("y")).write_parquet(file)
    with pytest.raises(ValueError, match="expand to 216,000,000 or more"):
        data.read(file, "a", task="regression")


def test_parquet_with_long_texts(tmp_path):
    """A dictionary stores one text of a million characters for all rows."""
    pl = pytest.importorskip("polars")
    file = tmp_path / "bomb.parquet"
    pl.DataFrame({"a": range(300), "y": ["x" * 1_000_000, "y"] * 150}).write_parquet(file)
    assert file.stat().st_size < 100_000
    with pytest.raises(ValueError, match="expand to 150,004,950 or more"):
        data.read(file, "y")


def small(folder):
    """Return files of each kind that expand to 8 kB."""
    np.savez_compressed(folder / "a.npz", X=np.zeros((500, 2)), y=np.arange(500) % 2)
    (folder / "a-ubyte.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 2]) + struct.pack(">II", 4000, 2) + bytes(8000)))
    (folder / "a.csv.gz").write_bytes(gzip.compress(b"X,y\n" + b"0,0\n1,1\n" * 1000))
    return [folder / "a.npz", folder / "a-ubyte.gz", folder / "a.csv.gz"]


def test_the_limit_is_an_argument(tmp_path, monkeypatch):
    pytest.importorskip("polars")
    for file in small(tmp_path):
        whole = data.read_features(file)
        with pytest.raises(ValueError, match=r"expand to .* or more, over the limit of 4,000 bytes; for"):
            data.read_features(file, max_bytes=4_000)
        monkeypatch.setattr(expansion, "SMALL", 1000)
        monkeypatch.setattr(expansion, "RATIO", 2)
        with pytest.raises(ValueError, match=r"over the limit of .* \(2 times the compressed size"):
            data.read_features(file)
        assert len(data.read_features(file, max_bytes=20_000)) == len(whole)
        monkeypatch.undo()
    with pytest.raises(ValueError, match=r"max_bytes: expected an integer ≥ 1 or None, got 0"):
        data.read(tmp_path / "a.npz", max_bytes=0)
