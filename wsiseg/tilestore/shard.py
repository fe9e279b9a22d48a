"""Shard files, encoded here so that every worker thread compresses its own tiles.

zarr's writer compresses a whole shard behind one event loop, which holds a raw and a compressed copy of
it and leaves workers waiting. A shard is simple enough to write: compressed chunks one after another,
then for each chunk its offset and length as uint64, then a CRC-32C of that index (zarr 3,
``sharding_indexed`` codec, version 1.0). Tests hold the bytes against those that zarr writes.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

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
    if (label == label.flat[0]).all():
        return _encode_constant(label.shape, int(label.flat[0]))
    return bytes(Zstd(level=ZSTD_LEVEL, checksum=False).encode(np.ascontiguousarray(label)))


@lru_cache(maxsize=8)
def _encode_constant(shape: tuple[int, ...], value: int) -> bytes:
    """Every second tile of a slide is all background: compressed once."""
    label = np.full(shape, value, dtype=np.uint8)
    return bytes(Zstd(level=ZSTD_LEVEL, checksum=False).encode(label))


def write_shard(target: Path, chunks: Sequence[bytes | None], slots: int) -> None:
    """Write a shard file of ``slots`` chunks; None, and slots past the end, are not stored.

    A shard in which nothing is stored is no file at all: zarr then gives the fill value.
    """
    if all(chunk is None for chunk in chunks):
        target.unlink(missing_ok=True)
        return
    index = np.full((slots, 2), _MISSING, dtype="<u8")
    position = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        for slot, chunk in enumerate(chunks):
            if chunk is None:
                continue
            index[slot] = position, len(chunk)
            position += file.write(chunk)
        encoded = index.tobytes()
        file.write(encoded)
        file.write(google_crc32c.value(encoded).to_bytes(4, "little"))
