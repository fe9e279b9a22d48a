"""What a tile store is made of; the whole of format version 1 (see ``docs/reference/tilestore.md``)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from wsiseg.classes import ClassSchema
from wsiseg.geometry import GridFrame, TileGrid

FORMAT_VERSION = 1
"""Raised when an older program could no longer read a new store, or would read it wrongly."""

ATTRIBUTES = "wsiseg"
"""The one attribute of the zarr group under which everything is kept."""

LZ4_LEVEL = 1
"""Images: LZ4 in Blosc's frame, losslessly. On tissue it writes three times and reads four times as fast as
zstd at level 1, for a tenth more bytes; see ``docs/design/003-zarr-layout.md``."""

ZSTD_LEVEL = 1
"""Labels and everything small: they shrink to almost nothing."""

STORE_SUFFIX = ".zarr"

_SHARD_PIXELS = 64 * 512 * 512
_MOST_IN_A_SHARD = 64


@dataclass(frozen=True)
class StoreHeader:
    """Everything about a store that is not one value a tile.

    Attributes:
        name: Stem of the slide's file name.
        schema: What the labels mean.
        frame: The grid frame of the slide.
        tile_px: Side of a tile.
        overlap_px: Overlap of neighbouring tiles.
        key: Content key: the same slide and settings give the same key, and the same bytes.
        image_key: Content key of the images alone; labels may be made anew while it stays.
        jpeg_quality: Of the images, where they are kept as JPEG; None where they are kept losslessly.
        provenance: Slide path and fingerprint, resolved configuration, versions, annotations.
    """

    name: str
    schema: ClassSchema
    frame: GridFrame
    tile_px: int
    overlap_px: int
    key: str
    image_key: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    jpeg_quality: int | None = None

    @property
    def grid(self) -> TileGrid:
        """All tiles of the slide, those left out included."""
        return TileGrid(self.frame.size_gr, self.tile_px, self.overlap_px)

    def to_json(self) -> dict[str, Any]:
        """Plain data: the value of the ``wsiseg`` attribute, but for ``complete``."""
        return {
            "format": FORMAT_VERSION,
            "name": self.name,
            "classes": self.schema.to_json(),
            "frame": {
                "size_l0": list(self.frame.size_l0),
                "downsample": list(self.frame.downsample),
                "mpp": self.frame.mpp,
            },
            "tile_px": self.tile_px,
            "overlap_px": self.overlap_px,
            "key": self.key,
            "image_key": self.image_key,
            "provenance": dict(self.provenance),
            "jpeg_quality": self.jpeg_quality,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of ``to_json``; ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        frame = data["frame"]
        return cls(
            name=str(data["name"]),
            schema=ClassSchema.from_json(data["classes"]),
            frame=GridFrame(
                size_l0=(int(frame["size_l0"][0]), int(frame["size_l0"][1])),
                downsample=(float(frame["downsample"][0]), float(frame["downsample"][1])),
                mpp=float(frame["mpp"]),
            ),
            tile_px=int(data["tile_px"]),
            overlap_px=int(data["overlap_px"]),
            key=str(data["key"]),
            image_key=str(data["image_key"]),
            provenance=dict(data["provenance"]),
            jpeg_quality=data.get("jpeg_quality"),
        )


def tiles_in_shard(tile_px: int) -> int:
    """Tiles in one shard file: 64, fewer where tiles are so large that a shard would pass 50 MB raw."""
    return max(1, min(_MOST_IN_A_SHARD, _SHARD_PIXELS // (tile_px * tile_px)))


def shard_file(array: Literal["images", "labels"], shard: int) -> str:
    """Where zarr looks for a shard of ``images`` or ``labels``, from the store's folder."""
    return f"{array}/c/{shard}/0/0" + ("/0" if array == "images" else "")
