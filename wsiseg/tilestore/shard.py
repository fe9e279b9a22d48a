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

Chunk = tuple[bytes | memoryview, ...]
"""A compressed chunk, as parts to be written one after another."""

_MISSING = 2**64 - 1
"""Offset and length of a chunk that is not stored."""

_PROBES, _PROBED_SHARE = 4, 16
"""Strips of an image that are compressed to see whether it shrinks: together a sixteenth of it."""
_PROBED_BYTES = 2**16
"""Smaller images are compressed without asking."""
_WORTH_IT = 0.95
"""An image of which LZ4 would leave more than this is stored as it is."""


# With threads of its own Blosc writes blocks as they get ready, so that bytes would differ from run to run.
blosc.use_threads = False


_LZ4 = blosc.Blosc(cname="lz4", clevel=LZ4_LEVEL, shuffle=blosc.NOSHUFFLE)
_STORED = blosc.Blosc(cname="lz4", clevel=0, shuffle=blosc.NOSHUFFLE)


def encode_image(image: NDArray[np.uint8], jpeg_quality: int | None = None) -> Chunk:
    """Compress the image of a tile, losslessly or as JPEG; releases the interpreter's lock while it does.

    Tissue decoded from JPEG is nearly noise to LZ4. Where some strips of the image say so, its own memory
    follows the header that Blosc writes before bytes it leaves as they are.
    """
    if jpeg_quality is not None:
        return (encode_jpeg(image, jpeg_quality),)
    pixels = np.ascontiguousarray(image)
    if _shrinks(pixels):
        return (bytes(_LZ4.encode(pixels)),)
    return (_stored_header(pixels.nbytes), pixels.data)


def _shrinks(pixels: NDArray[np.uint8]) -> bool:
    if pixels.nbytes < _PROBED_BYTES:
        return True
    height = len(pixels)
    thickness = -(-height // (_PROBED_SHARE * _PROBES))
    starts = [(2 * i + 1) * height // (2 * _PROBES) - thickness // 2 for i in range(_PROBES)]
    strips = [pixels[start : start + thickness] for start in starts]
    left = sum(len(_LZ4.encode(strip)) for strip in strips)
    return left < _WORTH_IT * sum(strip.nbytes for strip in strips)


@lru_cache(maxsize=8)
def _stored_header(size: int) -> bytes:
    """What Blosc writes before this many bytes that it leaves as they are."""
    return bytes(_STORED.encode(bytes(size))[:-size])


def encode_label(label: NDArray[np.uint8]) -> Chunk:
    """Compress the label map of a tile."""
    return (bytes(Zstd(level=ZSTD_LEVEL, checksum=False).encode(np.ascontiguousarray(label))),)


@lru_cache(maxsize=8)
def encode_constant_label(shape: tuple[int, ...], value: int) -> Chunk:
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

    def add(self, chunk: Chunk | None) -> None:
        """Write the next chunk; None is not stored."""
        if chunk is not None:
            if self._file is None:
                self._target.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._target.open("wb", buffering=0)
            size = sum(_write_all(self._file, part) for part in chunk)
            self._index[self._slot] = self._position, size
            self._position += size
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


def _write_all(file: BinaryIO, data: bytes | memoryview) -> int:
    """Write bytes, and say how many; without a buffer in between, the system may take a part at a time."""
    rest = memoryview(data).cast("B")
    size = len(rest)
    while rest:
        rest = rest[file.write(rest) :]
    return size
