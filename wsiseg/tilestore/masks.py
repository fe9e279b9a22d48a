"""Whole-slide arrays on disk, for masks and probabilities too large for memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from wsiseg.errors import StoreFormatError
from wsiseg.files import as_output_error
from wsiseg.geometry import Box
from wsiseg.tilestore.layout import ATTRIBUTES, ZSTD_LEVEL


class MaskStore:
    """An array over the grid frame of a slide, read and written by boxes; zero where nothing was written.

    Arrays are ``(height, width)``, or ``(channels, height, width)`` where the store has channels. Boxes
    may be written in any order. Two threads may write at once when no chunk belongs to both.
    """

    def __init__(self, path: Path, array: "zarr.Array[Any]") -> None:
        self.path = path
        self._array = array

    @classmethod
    def create(
        cls,
        path: Path,
        size_gr: tuple[int, int],
        *,
        channels: int | None = None,
        dtype: str = "uint8",
        chunk_px: tuple[int, int] = (1024, 1024),
        attributes: Mapping[str, Any] | None = None,
    ) -> Self:
        """A new, empty store at ``path``; an older one is replaced.

        Args:
            path: Folder of the store.
            size_gr: ``(width, height)``.
            channels: Channels of a pixel; None for one value without a channel axis.
            dtype: A numpy dtype.
            chunk_px: Columns and rows of a chunk; all channels of a pixel lie in one.
            attributes: Plain data about the values, under the attribute ``wsiseg``.

        Raises:
            OutputError: The folder cannot be written.
        """
        width, height = size_gr
        lead = () if channels is None else (channels,)
        with as_output_error(path):
            array: zarr.Array[Any] = zarr.create_array(
                path,
                shape=(*lead, height, width),
                chunks=(*lead, min(chunk_px[1], height), min(chunk_px[0], width)),
                dtype=dtype,
                compressors=ZstdCodec(level=ZSTD_LEVEL),
                fill_value=0,
                attributes={ATTRIBUTES: dict(attributes)} if attributes else None,
                overwrite=True,
            )
        return cls(path, array)

    @classmethod
    def open(cls, path: Path, *, writable: bool = False) -> Self:
        """Open a store.

        Raises:
            StoreFormatError: There is none at ``path``.
        """
        try:
            array = zarr.open_array(path, mode="r+" if writable else "r", zarr_format=3)
        except (KeyError, TypeError, ValueError, OSError) as err:
            raise StoreFormatError(f"{path} is not a mask store") from err
        return cls(path, array)

    @property
    def size_gr(self) -> tuple[int, int]:
        """``(width, height)``."""
        return self._array.shape[-1], self._array.shape[-2]

    @property
    def channels(self) -> int | None:
        """Channels of a pixel, or None."""
        return self._array.shape[0] if self._array.ndim == 3 else None

    @property
    def attributes(self) -> dict[str, Any]:
        """What the store says about its values; empty where it says nothing."""
        found = self._array.attrs.get(ATTRIBUTES)
        return dict(found) if isinstance(found, Mapping) else {}

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a value."""
        return np.dtype(self._array.dtype)

    def write(self, box_gr: Box, array: NDArray[Any]) -> None:
        """Write a box that lies inside the store.

        Raises:
            ValueError: The box reaches outside, or the array has not its shape.
            OutputError: The disk is full.
        """
        expected = (*self._array.shape[:-2], box_gr.height, box_gr.width)
        if array.shape != expected or not Box(0, 0, *self.size_gr).contains(box_gr):
            raise ValueError(f"{array.shape} at {box_gr} does not fit {self.size_gr}, expected {expected}")
        with as_output_error(self.path):
            self._array[(..., *box_gr.slices())] = array

    def read(self, box_gr: Box) -> NDArray[Any]:
        """Values of a box that lies inside the store.

        Raises:
            ValueError: The box reaches outside.
        """
        if not Box(0, 0, *self.size_gr).contains(box_gr):
            raise ValueError(f"{box_gr} reaches outside {self.size_gr}")
        return np.asarray(self._array[(..., *box_gr.slices())])

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.path, not self._array.read_only)

    def __repr__(self) -> str:
        return f"MaskStore({str(self.path)!r}, {self.size_gr[0]} x {self.size_gr[1]}, {self.dtype})"


def _reopen(path: Path, writable: bool) -> MaskStore:
    return MaskStore.open(path, writable=writable)
