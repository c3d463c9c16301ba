"""Compressed files: how many bytes one may expand to, checked before they take memory."""

import gzip
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.arguments import integer

#: Every compressed file may expand to `SMALL` bytes, a larger one to `RATIO` times its size, and none to more than
#: `MOST`. Text and images are compressed to a tenth of their size, seldom to a fiftieth; zeros to a thousandth.
SMALL, RATIO, MOST = 1 << 26, 100, 1 << 32
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Expansion:
    """How many bytes the contents of a file may take.

    Attributes
    ----------
    path : path
        As messages name it.
    max_bytes : int or None
        The limit that the caller gave; None: that of this module.
    """

    path: str | os.PathLike[str]
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.max_bytes is not None:
            integer("max_bytes", self.max_bytes, at_least=1, alternative=" or None")

    def check(self, expanded: int, compressed: int) -> None:
        """Raise ValueError if `compressed` bytes, of all or of a part of the file, may not expand to so many."""
        limit = min(max(SMALL, RATIO * compressed), MOST) if self.max_bytes is None else self.max_bytes
        if expanded > limit:
            usual = f" ({RATIO} times the compressed size, at least {SMALL >> 20} MiB, at most {MOST >> 30} GiB)"
            raise ValueError(
                f"{self.path}: {compressed:,} compressed bytes expand to {expanded:,} or more, over the limit of "
                f"{limit:,} bytes{usual if self.max_bytes is None else ''}; for a file that you trust, raise it with "
                "max_bytes=N (--max-bytes N)"
            )

    def unpacked(self) -> Iterator[bytes]:
        """Yield the contents of a gzip file in blocks."""
        size = 0
        try:
            with Path(self.path).open("rb") as file, gzip.GzipFile(fileobj=file) as unpacked:
                while block := unpacked.read(_BLOCK):
                    size += len(block)
                    # what was read so far: zeros at the end do not hide behind a beginning
                    self.check(size, file.tell())
                    yield block
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{self.path}: the gzip stream is damaged or truncated ({error}); fetch it again"
            ) from None

    def gunzip(self) -> bytes:
        """Return the contents of a gzip file."""
        return b"".join(self.unpacked())
