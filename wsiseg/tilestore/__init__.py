"""The tile store: the only package that imports zarr.

``TileStore`` reads the tiles of one slide, ``StoreWriter`` makes them, ``MaskStore`` holds whole-slide
masks on disk, and ``MultiscaleWriter`` writes pyramids of labels for others to read.
"""

from wsiseg.tilestore.layout import FORMAT_VERSION, STORE_SUFFIX, StoreHeader
from wsiseg.tilestore.masks import MaskStore
from wsiseg.tilestore.multiscale import MultiscaleWriter
from wsiseg.tilestore.reader import TileStore, is_store
from wsiseg.tilestore.writer import (
    EncodedTile,
    StorePlan,
    StoreWriter,
    discard_partial,
    encode_tile,
    partial_path,
)

__all__ = [
    "FORMAT_VERSION",
    "STORE_SUFFIX",
    "EncodedTile",
    "MaskStore",
    "MultiscaleWriter",
    "StoreHeader",
    "StorePlan",
    "StoreWriter",
    "TileStore",
    "discard_partial",
    "encode_tile",
    "is_store",
    "partial_path",
]
