"""How fast ``wsiseg tile`` is from end to end, against a loop that only reads.

    python benchmarks/tiling.py [--side 20000] [--large 60000x40000] [--repeat 3]

Without ``--slide``, wsiseg synth first writes an annotated slide of that side. Each measurement runs in a
process of its own, in turn; tables show medians of seconds, imports not counted. A run beside which other
processes took more than an eighth of a processor is made again, up to ten times.

1. ``wsiseg tile`` (tissue, reading, painting the annotations, compressing, writing) with one worker and
   with two, against the plain OpenSlide loop over the same tiles, which writes nothing, and against two
   commands at once with a worker each: that shares nothing, so it is what two of these processors can do.
2. Painting 50,000 nuclei, by tiles and as one array, against rasterio.
3. Codecs on the slide's own tiles: speed of one thread, and size.
4. With ``--large``: the peak memory of ``wsiseg tile`` on a slide of that size.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openslide
import rasterio.features
import shapely
from numcodecs import Blosc, Zstd
from numpy.typing import NDArray

from wsiseg.annotation import find_beside
from wsiseg.config import load_config
from wsiseg.geometry import Box, TileGrid
from wsiseg.process import settle
from wsiseg.progress import NullProgress
from wsiseg.raster import ShapePainter
from wsiseg.synthetic import SlideSpec, make_slide
from wsiseg.tilestore import TileStore
from wsiseg.tilestore.shard import encode_image
from wsiseg.tiling import TileJob, TileOptions, tile_slide

NUMCODECS = {
    "blosc lz4 1": Blosc(cname="lz4", clevel=1, shuffle=Blosc.NOSHUFFLE),
    "blosc lz4 1, bit shuffle": Blosc(cname="lz4", clevel=1, shuffle=Blosc.BITSHUFFLE),
    "blosc zstd 3, bit shuffle": Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE),
    "zstd -1": Zstd(level=-1),
    "zstd 1": Zstd(level=1),
}
ATTEMPTS, MOST_OTHERS = 10, 0.125
MODES = {"openslide loop": 0, "wsiseg tile, 1 worker": 1, "wsiseg tile, 2 workers": 2}
PAIR = "two of them at once (half)"


def tile_with(workers: int) -> Callable[[Path, Path], int]:
    """``wsiseg tile`` as the command does it."""

    def tile(slide: Path, store: Path) -> int:
        shutil.rmtree(store.parent, ignore_errors=True)
        job = TileJob(str(slide), annotations=find_beside(slide))
        options = TileOptions(workers=workers)
        return tile_slide(job, load_config(), store.parent, options=options, progress=NullProgress()).tiles

    return tile


def openslide_loop(slide: Path, store: Path) -> int:
    """The loop that everyone writes, over the tiles of a store that is there."""
    boxes = TileStore.open(store).boxes
    with openslide.OpenSlide(slide) as opened:
        for x0, y0, x1, y1 in boxes.tolist():
            np.asarray(opened.read_region((x0, y0), 0, (x1 - x0, y1 - y0)).convert("RGB"))
    return len(boxes)


def run_here(mode: str, slide: Path, store: Path) -> dict[str, float]:
    """One measurement, in this process."""
    settle()
    work = tile_with(MODES[mode]) if MODES[mode] else openslide_loop
    begun, cpu = time.perf_counter(), time.process_time()
    tiles = work(slide, store)
    return {
        "seconds": time.perf_counter() - begun,
        "cpu": time.process_time() - cpu,
        "tiles": tiles,
        "peak_mb": peak_mb(),
    }


def measure(mode: str, slide: Path, store: Path) -> dict[str, float]:
    """The same in a fresh process."""
    (figures,) = measure_together(mode, slide, [store])
    return figures


def measure_together(mode: str, slide: Path, stores: Sequence[Path]) -> list[dict[str, float]]:
    """The same in fresh processes that run at once, one for each store."""
    command = [sys.executable, __file__, "--run", mode, "--slide", str(slide), "--store"]
    started = [subprocess.Popen([*command, str(store)], stdout=subprocess.PIPE) for store in stores]
    printed = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"{mode} failed")
    return [json.loads(text) for text in printed]


def measure_pair(slide: Path, store: Path) -> dict[str, float]:
    """Two commands at once with a worker each: the time of the slower one, shared between two slides."""
    stores = [store.parent.with_name(f"{store.parent.name}-{which}") / store.name for which in "ab"]
    first, second = measure_together("wsiseg tile, 1 worker", slide, stores)
    for folder in (path.parent for path in stores):
        shutil.rmtree(folder)
    together = {"seconds": max(first["seconds"], second["seconds"]) / 2}
    return {**first, **together, "cpu": (first["cpu"] + second["cpu"]) / 2}


def undisturbed(mode: str, slide: Path, store: Path) -> dict[str, float]:
    """The same, made again while other processes disturb it; ``others`` is what they took of a processor."""
    for _ in range(ATTEMPTS):
        begun, busy, own = time.perf_counter(), busy_seconds(), children_seconds()
        figures = measure_pair(slide, store) if mode == PAIR else measure(mode, slide, store)
        others = busy_seconds() - busy - (children_seconds() - own)
        figures["others"] = others / (time.perf_counter() - begun)
        if figures["others"] < MOST_OTHERS:
            break
    return figures


def busy_seconds() -> float:
    """Processor time that the whole machine has spent: user, nice, system and interrupts of /proc/stat."""
    ticks = [int(text) for text in Path("/proc/stat").read_text(encoding="ascii").split()[1:8]]
    return (sum(ticks[:3]) + sum(ticks[5:])) / os.sysconf("SC_CLK_TCK")


def children_seconds() -> float:
    """Processor time of the processes that this one has started and seen end."""
    times = os.times()
    return times.children_user + times.children_system


def peak_mb() -> float:
    """Highest resident memory of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def end_to_end(slide: Path, store: Path, repeat: int) -> None:
    """Table 1; leaves a store at ``store``."""
    measure("wsiseg tile, 2 workers", slide, store)
    runs: dict[str, list[dict[str, float]]] = {mode: [] for mode in (*MODES, PAIR)}
    for _ in range(repeat):
        for mode, figures in runs.items():
            figures.append(undisturbed(mode, slide, store))
    seconds = {mode: statistics.median(run["seconds"] for run in figures) for mode, figures in runs.items()}
    tiles = runs["openslide loop"][0]["tiles"]
    loop, one = seconds["openslide loop"], seconds["wsiseg tile, 1 worker"]
    print(f"\n{tiles:.0f} tiles of 512 px, median of {repeat}; CPU seconds tell less of what else runs")
    print(f"{'':26} {'s':>7} {'CPU s':>7} {'Mpx/s':>7} {'x openslide':>12} {'x 1 worker':>11} {'peak MB':>8}")
    disturbed = sum(run["others"] >= MOST_OTHERS for figures in runs.values() for run in figures)
    if disturbed:
        print(f"{disturbed} of these runs were disturbed by other processes all the same")
    for mode, value in seconds.items():
        cpu = statistics.median(run["cpu"] for run in runs[mode])
        peak = max(run["peak_mb"] for run in runs[mode])
        print(
            f"{mode:26} {value:7.2f} {cpu:7.2f} {tiles * 512**2 / 1e6 / value:7.0f} {loop / value:12.2f} "
            f"{one / value:11.2f} {peak:8.0f}"
        )


def painting(repeat: int, side: int = 20_000, count: int = 50_000) -> None:
    """Table 2."""
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    centre = rng.uniform(20, side - 20, (count, 2))
    radius = rng.uniform(6, 14, (count, 1)) * (1 + 0.2 * np.sin(3 * angle))
    points = np.stack(
        [centre[:, :1] + radius * np.cos(angle), centre[:, 1:] + radius * np.sin(angle)], axis=-1
    )
    shapes = [(polygon, 1 + i % 3) for i, polygon in enumerate(shapely.polygons(points))]
    grid = TileGrid((side, side), 512)

    def by_tiles() -> int:
        painter = ShapePainter(shapes)
        return sum(int(np.count_nonzero(painter.paint(tile.read))) for tile in grid)

    methods: dict[str, Callable[[], int]] = {
        "wsiseg, by tiles": by_tiles,
        "wsiseg, one array": lambda: int(np.count_nonzero(ShapePainter(shapes).paint(Box(0, 0, side, side)))),
        "rasterio, one array": lambda: int(
            np.count_nonzero(rasterio.features.rasterize(shapes, (side, side), dtype="uint8"))
        ),
    }
    print(f"\npainting {count} nuclei of 40 corners on {side} x {side} px, median of {repeat}")
    pixels = set()
    for name, method in methods.items():
        seconds = []
        for _ in range(repeat):
            begun = time.perf_counter()
            pixels.add(method())
            seconds.append(time.perf_counter() - begun)
        print(f"{name:24} {statistics.median(seconds):7.2f} s")
    assert len(pixels) == 1, f"the methods disagree: {pixels}"


def codecs(store: Path, repeat: int, count: int = 64) -> None:
    """Table 3."""
    opened = TileStore.open(store)
    images = opened.images(np.linspace(0, len(opened) - 1, min(count, len(opened))).astype(int).tolist())
    encoders: dict[str, tuple[Callable[[NDArray[np.uint8]], bytes | bytearray], Callable[[Any], object]]] = {
        **{name: (codec.encode, codec.decode) for name, codec in NUMCODECS.items()},
        "png 1": (lambda image: imagecodecs.png_encode(image, level=1), imagecodecs.png_decode),
        "wsiseg": (lambda image: b"".join(encode_image(image)), NUMCODECS["blosc lz4 1"].decode),
        "jpeg 85 (lossy)": (lambda image: imagecodecs.jpeg_encode(image, level=85), imagecodecs.jpeg_decode),
    }
    megapixels = len(images) * images.shape[1] * images.shape[2] / 1e6
    print(f"\ncodecs, CPU seconds of one thread, {len(images)} tiles of the slide, median of {repeat}")
    print(f"{'':24} {'write Mpx/s':>12} {'read Mpx/s':>11} {'size / raw':>11}")
    for name, (encode, decode) in encoders.items():
        writing, reading = [], []
        for _ in range(repeat):
            begun = time.process_time()
            encoded = [encode(image) for image in images]
            middle = time.process_time()
            for data in encoded:
                decode(data)
            writing.append(middle - begun)
            reading.append(time.process_time() - middle)
        size = sum(map(len, encoded)) / images.nbytes
        print(
            f"{name:24} {megapixels / statistics.median(writing):12.0f} "
            f"{megapixels / statistics.median(reading):11.0f} {size:11.3f}"
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--large", metavar="WIDTHxHEIGHT")
    parser.add_argument("--slide", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--run", choices=MODES, help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(run_here(options.run, options.slide, options.store)))
        return
    with tempfile.TemporaryDirectory() as folder:
        slide = options.slide or _synthetic(Path(folder) / "a.svs", options.side, options.side)
        store = Path(folder) / "tiles" / f"{slide.stem}.zarr"
        end_to_end(slide, store, options.repeat)
        painting(options.repeat)
        codecs(store, options.repeat)
        if options.large:
            large = _synthetic(Path(folder) / "large.svs", *map(int, options.large.split("x")))
            figures = measure("wsiseg tile, 2 workers", large, store.with_name("large.zarr"))
            print(f"\n{options.large}: {figures['tiles']:.0f} tiles, {figures['seconds']:.1f} s, "
                  f"peak {figures['peak_mb']:.0f} MB")  # fmt: skip


def _synthetic(path: Path, width: int, height: int) -> Path:
    make_slide(path, SlideSpec(seed=1, size_px=(width, height)), workers=2)
    return path


if __name__ == "__main__":
    main()
