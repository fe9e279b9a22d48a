"""Shard files, encoded here so that every worker thread compresses its own tiles.

zarr's writer compresses a whole shard behind one event loop, which holds a raw and a compressed copy of
it and leaves workers waiting. A shard is simple enough to write: compressed chunks one after another,
then for each chunk its offset and length as uint64, then a CRC-32C of that index (zarr 3,
``sharding_indexed`` codec, version 1.0). Tests hold the bytes against those that zarr writes.
"""

from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import google_crc32c
import numpy as np
from numcodecs import blosc
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from wsiseg.tilestore.jpeg import encode_jpeg
from wsiseg.tilestore.layout import LZ4_LEVEL, ZSTD_LEVEL

_MISSING = 2**64 - 1
"""Offset and length of a chunk that is not stored."""


# With threads of its own Blosc writes blocks as they get ready, so that bytes would differ from run to run.
blosc.use_threads = False


def encode_image(image: NDArray[np.uint8], jpeg_quality: int | None = None) -> bytes:
    """Compress the image of a tile, losslessly or as JPEG; releases the interpreter's lock while it does."""
    if jpeg_quality is not None:
        return encode_jpeg(image, jpeg_quality)
    codec = blosc.Blosc(cname="lz4", clevel=LZ4_LEVEL, shuffle=blosc.NOSHUFFLE)
    return bytes(codec.encode(np.ascontiguousarray(image)))


def encode_label(label: NDArray[np.uint8]) -> bytes:
    """Compress the label map of a tile."""
    return bytes(Zstd(level=ZSTD_LEVEL, checksum=False).encode(np.ascontiguousarray(label)))


@lru_cache(maxsize=8)
def encode_constant_label(shape: tuple[int, ...], value: int) -> bytes:
    """The same for one value everywhere: every second tile of a slide is all background."""
    return encode_label(np.full(shape, value, dtype=np.uint8))


class ShardWriter:
    """Writes one shard file, chunk by chunk as they come, and ``finish`` after the last one.

    A context manager, which closes the file: a file that was never finished has no index and is no shard. A
    shard in which nothing is stored is no file at all: zarr then gives the fill value.

    Args:
        target: The file; an older one is replaced.
        slots: How many chunks belong into a shard; those never added are not stored.
    """

    def __init__(self, target: Path, slots: int) -> None:
        self._target = target
        self._index = np.full((slots, 2), _MISSING, dtype="<u8")
        self._slot = 0
        self._position = 0
        self._file: BinaryIO | None = None

    def add(self, chunk: bytes | None) -> None:
        """Write the next chunk; None is not stored."""
        if chunk is not None:
            if self._file is None:
                self._target.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._target.open("wb", buffering=0)
            _write_all(self._file, chunk)
            self._index[self._slot] = self._position, len(chunk)
            self._position += len(chunk)
        self._slot += 1

    def finish(self) -> None:
        """Write the index."""
        if self._file is None:
            self._target.unlink(missing_ok=True)
            return
        encoded = self._index.tobytes()
        _write_all(self._file, encoded + google_crc32c.value(encoded).to_bytes(4, "little"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _write_all(file: BinaryIO, data: bytes) -> None:
    """Without a buffer in between, the system may take a part at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
