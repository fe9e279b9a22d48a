"""Pyramids of labels as OME-Zarr arranges them: a group with one array a level."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from wsiseg.files import as_output_error
from wsiseg.geometry import Box
from wsiseg.tilestore.layout import ZSTD_LEVEL


class MultiscaleWriter:
    """Writes the levels of a uint8 label image, chunk by chunk; empty chunks are not stored."""

    def __init__(self, path: Path, arrays: "Sequence[zarr.Array[Any]]") -> None:
        self.path = path
        self._arrays = arrays

    @classmethod
    def create(
        cls, path: Path, sizes: Sequence[tuple[int, int]], *, chunk_px: int, attributes: Mapping[str, Any]
    ) -> Self:
        """A new, empty pyramid in zarr format 3; an older one at ``path`` is replaced.

        Args:
            path: Folder of the group.
            sizes: ``(width, height)`` of each level; the arrays are named ``0``, ``1`` ...
            chunk_px: Side of a chunk.
            attributes: Of the group.

        Raises:
            OutputError: The folder cannot be written.
        """
        with as_output_error(path):
            group = zarr.create_group(path, zarr_format=3, overwrite=True, attributes=dict(attributes))
            arrays = [
                group.create_array(
                    str(level),
                    shape=(height, width),
                    chunks=(min(chunk_px, height), min(chunk_px, width)),
                    dtype="uint8",
                    compressors=ZstdCodec(level=ZSTD_LEVEL),
                    fill_value=0,
                    dimension_names=("y", "x"),
                )
                for level, (width, height) in enumerate(sizes)
            ]
        return cls(path, arrays)

    def write(self, level: int, box: Box, label: NDArray[np.uint8]) -> None:
        """Write a box of a level, in pixels of that level.

        Raises:
            OutputError: The disk is full.
        """
        with as_output_error(self.path):
            self._arrays[level][box.slices()] = label
