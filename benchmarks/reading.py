"""How fast slides are read: the direct path against its limit and its peers.

    python benchmarks/reading.py [--side 20000] [--slide FILE.svs] [--tiles 600] [--repeat 5]

Without ``--slide``, wsiseg synth first writes a slide of that side. Readers take turns, each opening the
slide anew, and the table shows medians. Part one reads 512-px tiles of level 0, row by row; "limit" decodes
once each stored JPEG tile that these tiles touch and does nothing with it. Part two reads 512-px tiles at
half the resolution from slides with and without a stored level there. Speeds are in Mpx/s of what is
returned; all readers' pixels are compared first.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import openslide
import tiffslide
from numpy.typing import NDArray

from wsiseg.geometry import Box
from wsiseg.slide import BackendName, Slide
from wsiseg.slide.direct import DirectBackend
from wsiseg.slide.openslide_backend import OpenSlideBackend
from wsiseg.synthetic import SlideSpec, make_slide

TILE_PX = 512
Reader = Callable[[Path, Sequence[Box], int], int]
"""Reads boxes shrunk by a factor and returns a sum of pixels, so that readers can be compared."""


def checksum(image: NDArray[np.uint8]) -> int:
    """A cheap fingerprint that sees every tile but not every pixel, so that timing is of reading."""
    return int(image[::37, ::41].sum(dtype=np.int64))


def limit(path: Path, boxes: Sequence[Box], factor: int) -> int:
    """Read and decode each stored tile under the boxes once; full resolution only."""
    assert factor == 1
    backend = DirectBackend(str(path), OpenSlideBackend(str(path)))
    tiled = backend._tiles[0]
    width, height = tiled.tile
    touched = {
        row * tiled.columns + column
        for box in boxes
        for row in range(box.y0 // height, min(tiled.rows, -(-box.y1 // height)))
        for column in range(box.x0 // width, min(tiled.columns, -(-box.x1 // width)))
    }
    for index in sorted(touched):
        backend._decode(tiled, index)
    backend.close()
    return 0


def by_slide(name: BackendName) -> Reader:
    """``Slide.read`` with a backend."""

    def read(path: Path, boxes: Sequence[Box], factor: int) -> int:
        size = (TILE_PX, TILE_PX)
        assert factor * TILE_PX == boxes[0].width
        with Slide.open(path, backend=name) as slide:
            return sum(checksum(slide.read(box, size)) for box in boxes)

    return read


def by_openslide(path: Path, boxes: Sequence[Box], factor: int) -> int:
    """The loop that everyone writes: ``read_region``, ``convert``, and PIL's box filter to shrink."""
    total = 0
    with openslide.OpenSlide(path) as slide:
        level = slide.get_best_level_for_downsample(factor + 0.01)
        rest = round(factor / slide.level_downsamples[level])
        for box in boxes:
            side = TILE_PX * rest
            picture = slide.read_region((box.x0, box.y0), level, (side, side)).convert("RGB")
            total += checksum(np.asarray(picture if rest == 1 else picture.reduce(rest)))
    return total


def by_tiffslide(path: Path, boxes: Sequence[Box], factor: int) -> int:
    """The same loop with tiffslide."""
    total = 0
    with tiffslide.TiffSlide(path) as slide:
        level = slide.get_best_level_for_downsample(factor + 0.01)
        rest = round(factor / slide.level_downsamples[level])
        for box in boxes:
            side = TILE_PX * rest
            picture = slide.read_region((box.x0, box.y0), level, (side, side))
            total += checksum(np.asarray(picture if rest == 1 else picture.reduce(rest)))
    return total


READERS: dict[str, Reader] = {
    "limit": limit,
    "wsiseg direct": by_slide("direct"),
    "wsiseg openslide": by_slide("openslide"),
    "openslide": by_openslide,
    "tiffslide": by_tiffslide,
}


def boxes_of(path: Path, side: int, count: int) -> list[Box]:
    """Whole boxes of the slide, row by row, from the middle rows where the tissue is."""
    with Slide.open(path) as slide:
        columns, rows = (length // side for length in slide.size_l0)
    wanted = min(rows, max(1, -(-count // columns)))
    first = (rows - wanted) // 2
    return [
        Box.from_size(column * side, row * side, side, side)
        for row in range(first, first + wanted)
        for column in range(columns)
    ]


def compare(title: str, path: Path, factor: int, *, readers: Sequence[str], count: int, repeat: int) -> None:
    """Time readers in turn and print their table."""
    boxes = boxes_of(path, TILE_PX * factor, count)
    sums = {name: READERS[name](path, boxes, factor) for name in readers if name != "limit"}
    exact = {value for name, value in sums.items() if not (factor > 1 and "wsiseg" not in name)}
    assert len(exact) == 1, f"the readers disagree: {sums}"
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(repeat):
        for name, times in seconds.items():
            begun = time.perf_counter()
            READERS[name](path, boxes, factor)
            times.append(time.perf_counter() - begun)
    speed = {
        name: len(boxes) * TILE_PX**2 / 1e6 / statistics.median(times) for name, times in seconds.items()
    }
    print(f"\n{title}: {len(boxes)} tiles of {TILE_PX} px, median of {repeat}")
    print(f"{'reader':18} {'Mpx/s':>7} {'of limit':>9} {'x openslide':>12}")
    for name, value in speed.items():
        share = f"{value / speed['limit']:9.0%}" if "limit" in speed else " " * 9
        print(f"{name:18} {value:7.0f} {share} {value / speed['openslide']:12.1f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--slide", type=Path)
    parser.add_argument("--tiles", type=int, default=600)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    readers = list(READERS)
    with tempfile.TemporaryDirectory() as folder:
        slide = options.slide or _synthetic(Path(folder) / "a.svs", options.side, 4)
        compare("level 0", slide, 1, readers=readers, count=options.tiles, repeat=options.repeat)
        if options.slide is None:
            stored = _synthetic(Path(folder) / "b.svs", min(options.side, 8192), 2)
            for title, path in (("no level stored", slide), ("level stored", stored)):
                compare(
                    f"half resolution, {title}",
                    path,
                    2,
                    readers=readers[1:],
                    count=options.tiles // 4,
                    repeat=options.repeat,
                )


def _synthetic(path: Path, side: int, level_factor: Literal[2, 4]) -> Path:
    make_slide(path, SlideSpec(seed=1, size_px=(side, side), level_factor=level_factor), workers=2)
    return path


if __name__ == "__main__":
    main()
