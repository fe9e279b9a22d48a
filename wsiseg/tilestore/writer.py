"""Writing a tile store so that it can be interrupted at any moment.

A store grows in ``.<stem>.zarr.partial`` beside its place::

    key             what is being made, written last of what is there at the start
    journal.jsonl   one line for each finished shard
    store/          the zarr group

A shard counts once its line is in the journal, whatever files lie there, so a shard that was cut short
is simply written again. At the end the store gets its small arrays and its marker of completeness, and
is moved into its place. Nothing that is written depends on how often that took.
"""

import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, ZstdCodec

from wsiseg.classes import IGNORE_INDEX
from wsiseg.files import PARTIAL_SUFFIX, as_output_error, discard_torn
from wsiseg.tilestore.jpeg import JpegCodec
from wsiseg.tilestore.layout import ATTRIBUTES, LZ4_LEVEL, ZSTD_LEVEL, StoreHeader, shard_file, tiles_in_shard
from wsiseg.tilestore.shard import Chunk, ShardWriter, encode_constant_label, encode_image, encode_label

# What ``wsiseg.tilestore.shard`` writes, said in zarr's words.
_IMAGES = BloscCodec(cname="lz4", clevel=LZ4_LEVEL, shuffle="noshuffle", typesize=1)
_OTHERS = ZstdCodec(level=ZSTD_LEVEL)


@dataclass(frozen=True, slots=True)
class EncodedTile:
    """One tile, compressed and ready to write; made in a worker thread with ``encode_tile``.

    Attributes:
        readable: Whether the slide could be read there.
        image: The compressed image; None where unreadable, or where the image is there already.
        label: The compressed label map; None where nothing in it is labelled.
        class_pixels: Pixels of each class.
    """

    readable: bool
    image: Chunk | None
    label: Chunk | None
    class_pixels: tuple[int, ...]


def encode_tile(
    image: NDArray[np.uint8] | None,
    label: NDArray[np.uint8] | None,
    classes: int,
    *,
    readable: bool = True,
    jpeg_quality: int | None = None,
) -> EncodedTile:
    """Compress a tile.

    Args:
        image: ``(T, T, 3)``; None where the slide is unreadable, or where the store keeps its image.
        label: ``(T, T)``; None where nothing is labelled.
        classes: Number of classes, the background included.
        readable: Whether the slide could be read there.
        jpeg_quality: Of the image; None to keep it losslessly.
    """
    if label is None or not readable:
        counts, label = (0,) * classes, None
    else:
        counts = _count_classes(label, classes)
    return EncodedTile(
        readable=readable,
        image=None if image is None or not readable else encode_image(image, jpeg_quality),
        label=None if label is None else _encode_label(label, counts),
        class_pixels=counts,
    )


def _encode_label(label: NDArray[np.uint8], counts: tuple[int, ...]) -> Chunk | None:
    if label.size in counts:
        return encode_constant_label(label.shape, counts.index(label.size))
    return encode_label(label) if any(counts) else None


def _count_classes(label: NDArray[np.uint8], classes: int) -> tuple[int, ...]:
    """Pixels of each class; counting one after another is faster than bincount, which makes long integers."""
    counts = []
    left = label.size
    for index in range(classes):
        # Most tiles hold few classes, so there is often nothing left to count.
        counts.append(_count(label, index) if left else 0)
        left -= counts[-1]
    return tuple(counts)


def _count(label: NDArray[np.uint8], index: int) -> int:
    return int(np.count_nonzero(label == index) if index else label.size - np.count_nonzero(label))


@dataclass(frozen=True, slots=True)
class StorePlan:
    """The tiles that a store shall hold, in its order.

    Attributes:
        indices: int64 ``(n,)``, indices in ``header.grid``, ascending.
        tissue_share: float32 ``(n,)``.
    """

    header: StoreHeader
    indices: NDArray[np.int64]
    tissue_share: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indices)


class StoreWriter:
    """Writes one store; the caller holds its ``write_lock``.

    Begin one with ``StoreWriter.begin``, give it every pending shard, then ``publish``.

    Attributes:
        has_images: Whether all images are there already, so that only labels are to be made.
    """

    def __init__(
        self, target: Path, plan: StorePlan, finished: dict[int, "_Line"], *, has_images: bool
    ) -> None:
        self.has_images = has_images
        self._target = target
        self._plan = plan
        self._store = partial_path(target) / "store"
        self._journal = partial_path(target) / "journal.jsonl"
        self._finished = finished
        self._per_shard = tiles_in_shard(plan.header.tile_px)
        self._lock = threading.Lock()

    @classmethod
    def begin(cls, target: Path, plan: StorePlan, *, images_from: Path | None = None) -> Self:
        """Begin a store, or go on where an interrupted run with the same content key stopped.

        Args:
            target: Where the finished store shall be.
            plan: What it shall hold.
            images_from: A finished store with the same images, whose files are used again.

        Raises:
            OutputError: The folder cannot be written, or the disk is full.
        """
        with as_output_error(target):
            partial = partial_path(target)
            key = f"{plan.header.key} {'labels only' if images_from else 'all'}"
            if _text(partial / "key") != key:
                shutil.rmtree(partial, ignore_errors=True)
                _lay_out(partial / "store", plan, images_from)
                (partial / "journal.jsonl").write_text("")
                (partial / "key").write_text(key)
            discard_torn(partial / "store")
            finished = _read_journal(partial / "journal.jsonl", len(plan.header.schema))
            # A last line that was cut short must not swallow the one written next.
            (partial / "journal.jsonl").write_text("".join(map(_Line.dump, finished.values())))
        return cls(target, plan, finished, has_images=images_from is not None)

    def pending(self) -> Iterator[tuple[int, range]]:
        """Shards still to be written, each with its tiles as positions in the plan."""
        for shard in range(-(-len(self._plan) // self._per_shard)):
            if shard not in self._finished:
                begin = shard * self._per_shard
                yield shard, range(begin, min(begin + self._per_shard, len(self._plan)))

    def write(self, shard: int, tiles: Iterable[EncodedTile]) -> None:
        """Write one shard and note it in the journal; threads may write different shards at a time.

        Args:
            shard: As ``pending`` gave it.
            tiles: Its tiles, all of them, in order; each is written as it comes.

        Raises:
            OutputError: The disk is full.
        """
        line = _Line(shard, [], [])
        paths = {"label": self._store / shard_file("labels", shard)}
        if not self.has_images:
            paths["image"] = self._store / shard_file("images", shard)
        with ExitStack() as files:
            writers = {
                name: files.enter_context(ShardWriter(path, self._per_shard)) for name, path in paths.items()
            }
            for tile in tiles:
                line.readable.append(tile.readable)
                line.class_pixels.append(list(tile.class_pixels))
                with as_output_error(self._target):
                    for name, writer in writers.items():
                        writer.add(getattr(tile, name))
            with as_output_error(self._target):
                for writer in writers.values():
                    writer.finish()
                with self._lock, self._journal.open("a") as journal:
                    journal.write(line.dump())
        self._finished[shard] = line

    def columns(self) -> dict[str, NDArray[Any]]:
        """The arrays with one entry a tile, by name; every shard must have been written."""
        lines = [self._finished[shard] for shard in sorted(self._finished)]
        class_pixels = np.array([row for line in lines for row in line.class_pixels], dtype=np.int64)
        grid = self._plan.header.grid
        boxes = [grid[int(index)].read for index in self._plan.indices]
        return {
            "index": self._plan.indices,
            "boxes": np.array([(b.x0, b.y0, b.x1, b.y1) for b in boxes], dtype=np.int32),
            "tissue_share": self._plan.tissue_share,
            "class_pixels": class_pixels,
            "labelled": np.any(class_pixels, axis=1).astype(bool),
            "readable": np.array([flag for line in lines for flag in line.readable], dtype=bool),
        }

    def publish(self) -> None:
        """Finish the store and move it into its place, over an older one.

        Raises:
            OutputError: The disk is full, or the folder cannot be written.
        """
        with as_output_error(self._target):
            group = zarr.open_group(self._store, mode="r+", zarr_format=3)
            for name, values in self.columns().items():
                _create(group, name, values.shape, values.shape, values.dtype.str)[...] = values
            group.attrs[ATTRIBUTES] = {**self._plan.header.to_json(), "complete": True}
            _replace(self._store, self._target, partial_path(self._target) / "old")
            discard_partial(self._target)


def partial_path(target: Path) -> Path:
    """Where an unfinished store lies."""
    return target.parent / f".{target.name}{PARTIAL_SUFFIX}"


def discard_partial(target: Path) -> None:
    """Remove what an interrupted run left of a store."""
    shutil.rmtree(partial_path(target), ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Line:
    """What the journal keeps of a finished shard."""

    shard: int
    readable: list[bool]
    class_pixels: list[list[int]]

    def dump(self) -> str:
        return json.dumps([self.shard, self.readable, self.class_pixels]) + "\n"


def _read_journal(path: Path, classes: int) -> dict[int, _Line]:
    finished = {}
    for text in path.read_text().splitlines():
        try:
            line = _Line(*json.loads(text))
        except (ValueError, TypeError):
            break
        if len(line.readable) == len(line.class_pixels) and all(
            len(row) == classes for row in line.class_pixels
        ):
            finished[line.shard] = line
    return finished


def _lay_out(store: Path, plan: StorePlan, images_from: Path | None) -> None:
    """Write the metadata of the group and its two large arrays."""
    count, side = len(plan), plan.header.tile_px
    shard = tiles_in_shard(side)
    group = zarr.create_group(store, zarr_format=3)
    quality = plan.header.jpeg_quality
    _create(
        group,
        "images",
        (count, side, side, 3),
        (1, side, side, 3),
        "|u1",
        shard=shard,
        fill=255,
        codecs={"compressors": _IMAGES}
        if quality is None
        else {"serializer": JpegCodec(quality), "compressors": None},
    )
    _create(group, "labels", (count, side, side), (1, side, side), "|u1", shard=shard, fill=IGNORE_INDEX)
    if images_from is not None and (images_from / "images" / "c").is_dir():
        shutil.copytree(images_from / "images" / "c", store / "images" / "c", copy_function=_link)


def _create(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: str,
    *,
    shard: int | None = None,
    fill: int = 0,
    codecs: Mapping[str, Any] = MappingProxyType({"compressors": _OTHERS}),
) -> "zarr.Array[Any]":
    array: zarr.Array[Any] = group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        shards=None if shard is None else (shard, *chunks[1:]),
        dtype=dtype,
        **codecs,
        fill_value=fill,
        overwrite=True,
        config={"write_empty_chunks": True},
    )
    return array


def _link(source: str, target: str) -> None:
    """Share a file that is never changed again, or copy it where the file system cannot share."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _replace(store: Path, target: Path, aside: Path) -> None:
    if target.exists():
        shutil.rmtree(aside, ignore_errors=True)
        target.replace(aside)
    store.replace(target)


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
