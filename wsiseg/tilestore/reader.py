"""Reading a tile store."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from wsiseg.classes import ClassSchema
from wsiseg.errors import StoreError, StoreFormatError, StoreIncompleteError
from wsiseg.geometry import GridFrame, TileGrid
from wsiseg.tilestore.layout import ATTRIBUTES, FORMAT_VERSION, StoreHeader, shard_file, tiles_in_shard

_REMAKE = "Make it again with `wsiseg tile`"


class TileStore:
    """The tiles of one slide, with their labels; open one with ``TileStore.open``.

    Tile i is the i-th tile that could be read. Threads may share a store; a pickled one opens again
    where it is unpickled.

    Attributes:
        path: The ``.zarr`` folder.
        header: Everything that is not one value a tile.
        indices: int64 ``(n,)``, index of each tile in ``grid``, ascending.
        boxes: int32 ``(n, 4)``, what each tile shows: x0, y0, x1, y1 on the grid.
        labelled: bool ``(n,)``, whether any pixel of the tile has a label.
        tissue_share: float32 ``(n,)``, share of the tile's part inside the slide that is tissue.
        class_pixels: int64 ``(n, K)``, pixels of each class; ignored pixels count nowhere.
        unreadable: int64 ``(m,)``, indices in ``grid`` of tiles left out because they could not be read.
    """

    def __init__(self, path: Path, group: zarr.Group, header: StoreHeader) -> None:
        self.path = path
        self.header = header
        self._images = cast("zarr.Array[Any]", group["images"])
        self._labels = cast("zarr.Array[Any]", group["labels"])
        index, readable = _whole(group, "index"), _whole(group, "readable")
        self._rows = np.flatnonzero(readable)
        self.unreadable: NDArray[np.int64] = index[~readable]
        self.indices: NDArray[np.int64] = index[self._rows]
        self.boxes: NDArray[np.int32] = _whole(group, "boxes")[self._rows]
        self.labelled: NDArray[np.bool_] = _whole(group, "labelled")[self._rows]
        self.tissue_share: NDArray[np.float32] = _whole(group, "tissue_share")[self._rows]
        self.class_pixels: NDArray[np.int64] = _whole(group, "class_pixels")[self._rows]
        self._check_shards()

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a finished store.

        Raises:
            StoreFormatError: Not a tile store, damaged, or of another format version.
            StoreIncompleteError: Its writing never ended.
        """
        path = Path(path)
        group, header = open_header(path)
        try:
            return cls(path, group, header)
        except (KeyError, ValueError, OSError, RuntimeError) as err:
            raise StoreFormatError(
                f"{path} is damaged: {' '.join(str(err).split())}", remedy=_REMAKE
            ) from err

    def _check_shards(self) -> None:
        """Look for all files: zarr reads one that a copy has lost as white tiles, or tiles without labels.

        Raises:
            FileNotFoundError: A file is missing.
        """
        per_shard = tiles_in_shard(self.tile_px)
        files = [shard_file("images", shard) for shard in np.unique(self._rows // per_shard)]
        files += [shard_file("labels", shard) for shard in np.unique(self._rows[self.labelled] // per_shard)]
        for name in files:
            if not (self.path / name).is_file():
                raise FileNotFoundError(f"{name} is missing")

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def name(self) -> str:
        """Stem of the slide's file name."""
        return self.header.name

    @property
    def schema(self) -> ClassSchema:
        """What the labels mean."""
        return self.header.schema

    @property
    def frame(self) -> GridFrame:
        """The grid frame of the slide."""
        return self.header.frame

    @cached_property
    def grid(self) -> TileGrid:
        """All tiles of the slide, those left out included."""
        return self.header.grid

    @property
    def tile_px(self) -> int:
        """Side of a tile."""
        return self.header.tile_px

    @property
    def mpp(self) -> float:
        """Micrometres per pixel of the tiles."""
        return self.header.frame.mpp

    @property
    def provenance(self) -> dict[str, Any]:
        """Slide path and fingerprint, resolved configuration, versions, annotations."""
        return dict(self.header.provenance)

    @property
    def key(self) -> str:
        """Content key: of all that the tiles were made from."""
        return self.header.key

    @property
    def slide_fingerprint(self) -> str:
        """Fingerprint of the slide's content."""
        return str(self.header.provenance["slide"]["fingerprint"])

    @property
    def slide_path(self) -> str:
        """The slide's path, as it was given."""
        return str(self.header.provenance["slide"]["path"])

    def image(self, i: int) -> NDArray[np.uint8]:
        """RGB of tile i, uint8 ``(tile_px, tile_px, 3)``; white off the slide."""
        return self._read(self._images, i)

    def label(self, i: int) -> NDArray[np.uint8]:
        """Labels of tile i, uint8 ``(tile_px, tile_px)``; 255 where nothing is known."""
        return self._read(self._labels, i)

    def images(self, ids: Sequence[int]) -> NDArray[np.uint8]:
        """RGB of several tiles in the order asked for, uint8 ``(n, tile_px, tile_px, 3)``."""
        out = np.empty((len(ids), self.tile_px, self.tile_px, 3), dtype=np.uint8)
        for place, i in enumerate(ids):
            out[place] = self.image(i)
        return out

    def labels(self, ids: Sequence[int]) -> NDArray[np.uint8]:
        """Labels of several tiles in the order asked for, uint8 ``(n, tile_px, tile_px)``."""
        out = np.empty((len(ids), self.tile_px, self.tile_px), dtype=np.uint8)
        for place, i in enumerate(ids):
            out[place] = self.label(i)
        return out

    def _read(self, array: "zarr.Array[Any]", i: int) -> NDArray[np.uint8]:
        if not 0 <= i < len(self):
            raise IndexError(f"tile {i} of {len(self)} in {self.path}")
        try:
            return np.asarray(array[int(self._rows[i])], dtype=np.uint8)
        except (ValueError, OSError, RuntimeError) as err:
            raise StoreError(f"{self.path}: tile {i} cannot be decoded: {err}", remedy=_REMAKE) from err

    def __reduce__(self) -> tuple[object, ...]:
        return TileStore.open, (self.path,)

    def __repr__(self) -> str:
        return f"TileStore({str(self.path)!r}, {len(self)} tiles, {int(self.labelled.sum())} labelled)"


def is_store(path: Path) -> bool:
    """Whether a path holds a tile store, be it unfinished, damaged or of another format version."""
    try:
        return ATTRIBUTES in json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    except (KeyError, TypeError, ValueError, OSError):
        return False


def open_header(path: Path) -> tuple[zarr.Group, StoreHeader]:
    """The zarr group and the header of a finished store.

    Raises:
        StoreFormatError: Not a tile store, or of another format version.
        StoreIncompleteError: Its writing never ended.
    """
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
        data = cast("Mapping[str, Any]", group.attrs.asdict()[ATTRIBUTES])
        version = data["format"]
    except (KeyError, TypeError, ValueError, OSError) as err:
        raise StoreFormatError(f"{path} is not a tile store", remedy=_REMAKE) from err
    if version != FORMAT_VERSION:
        raise StoreFormatError(
            str(path), found=f"format version {version}", expected=str(FORMAT_VERSION), remedy=_REMAKE
        )
    if data.get("complete") is not True:
        raise StoreIncompleteError(f"{path} was never finished", remedy=_REMAKE)
    try:
        return group, StoreHeader.from_json(data)
    except (KeyError, TypeError, ValueError, IndexError) as err:
        raise StoreFormatError(f"{path} has a damaged header: {err!r}", remedy=_REMAKE) from err


def _whole(group: zarr.Group, name: str) -> NDArray[Any]:
    return np.asarray(cast("zarr.Array[Any]", group[name])[:])
