"""Tile stores made without a slide."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.classes import default_schema
from wsiseg.geometry import GridFrame
from wsiseg.lock import write_lock
from wsiseg.tilestore import EncodedTile, StoreHeader, StorePlan, StoreWriter, encode_tile

Array = NDArray[np.uint8]


def make_header(key: str = "k", image_key: str = "i", *, tile_px: int = 32, **provenance: Any) -> StoreHeader:
    """A header of a slide of 500 x 400 px on the grid, 0.5 um/px."""
    return StoreHeader(
        name="slide",
        schema=default_schema(),
        frame=GridFrame((1000, 800), (2.0, 2.0), 0.5),
        tile_px=tile_px,
        overlap_px=0,
        key=key,
        image_key=image_key,
        provenance={"slide": {"path": "slide.svs", "fingerprint": "f" * 32}, **provenance},
    )


def make_plan(header: StoreHeader, count: int) -> StorePlan:
    """The first tiles of the grid."""
    share = np.linspace(0.1, 1, count).astype(np.float32)
    return StorePlan(header, np.arange(count, dtype=np.int64), share)


def encode(images: Array, labels: Array, position: int, unreadable: Collection[int] = ()) -> EncodedTile:
    """One tile of these."""
    label = labels[position]
    return encode_tile(
        images[position],
        None if (label == 255).all() else label,
        len(default_schema()),
        readable=position not in unreadable,
    )


def write_store(
    target: Path,
    plan: StorePlan,
    images: Array,
    labels: Array,
    *,
    unreadable: Collection[int] = (),
    shards: int | None = None,
) -> Path:
    """Write a store, or, with ``shards``, only so many of its shards, as if the run had been killed."""
    with write_lock(target):
        writer = StoreWriter.begin(target, plan)
        for done, (shard, positions) in enumerate(list(writer.pending())):
            if done == shards:
                return target
            writer.write(shard, [encode(images, labels, i, unreadable) for i in positions])
        writer.publish()
    return target


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its relative path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
