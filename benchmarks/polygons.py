"""How fast a large mask becomes polygons, in how much memory, and whether they are exact.

    python benchmarks/polygons.py [--side 20000] [--glomeruli 300] [--nuclei 50000] [--repeat 3]

A mask of lobed glomeruli with holes and nuclei inside and outside of them is written to disk once. Each
method runs in a process of its own, in turn, ``--repeat`` times; the table shows medians of seconds and
the highest peak of resident memory. "wrong" is the number of pixels that differ after painting back.
Both methods trace the regions of every label by itself, background left out.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio.features
import shapely
from numpy.typing import NDArray

from wsiseg.trace import EdgeTracer

BAND_ROWS = 512


def make_mask(side: int, glomeruli: int, nuclei: int, seed: int = 0) -> NDArray[np.uint8]:
    """Labels 1 (glomerulus), 2 and 3 (nuclei) on 0; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), dtype=np.uint8)
    for _ in range(glomeruli):
        _stamp(mask, rng, radius=rng.uniform(100, 220), lobes=int(rng.integers(5, 12)), depth=0.25, value=1)
    for _ in range(glomeruli * 4):
        _stamp(mask, rng, radius=rng.uniform(5, 25), lobes=3, depth=0.2, value=0)
    for number in range(nuclei):
        _stamp(mask, rng, radius=rng.uniform(4, 9), lobes=2, depth=0.25, value=2 + number % 2)
    return mask


def _stamp(
    mask: NDArray[np.uint8], rng: np.random.Generator, *, radius: float, lobes: int, depth: float, value: int
) -> None:
    """A lobed disc with a rough edge."""
    reach = int(radius * (1 + depth) + 2)
    x, y = rng.integers(reach, mask.shape[0] - reach, 2)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    angle = np.arctan2(dy, dx)
    edge = radius * (
        1 + depth * np.sin(lobes * angle + rng.uniform(0, 7)) * np.sin(angle + rng.uniform(0, 7))
    )
    inside = np.hypot(dx, dy) + rng.uniform(-0.6, 0.6, dx.shape) < edge
    mask[y - reach : y + reach + 1, x - reach : x + reach + 1][inside] = value


def by_bands(path: Path, side: int) -> dict[int, NDArray[np.object_]]:
    """wsiseg: a band of rows at a time, as from a store; all polygons are held, as by the other method."""
    tracers = {label: EdgeTracer(side) for label in (1, 2, 3)}
    found: dict[int, list[NDArray[np.object_]]] = {label: [] for label in tracers}
    with path.open("rb") as file:
        for _ in range(0, side, BAND_ROWS):
            band = np.fromfile(file, dtype=np.uint8, count=BAND_ROWS * side).reshape(-1, side)
            for label, tracer in tracers.items():
                tracer.add(band == label)
                found[label].append(tracer.finished())
    for label, parts in found.items():
        parts.append(tracers.pop(label).polygons())
    return {label: np.concatenate(parts) for label, parts in found.items()}


def by_rasterio(path: Path, side: int) -> dict[int, NDArray[np.object_]]:
    """``rasterio.features.shapes`` on the whole array, 4-connected."""
    mask = np.fromfile(path, dtype=np.uint8).reshape(side, side)
    found: dict[int, list[shapely.Geometry]] = {1: [], 2: [], 3: []}
    for shape, value in rasterio.features.shapes(mask, mask=mask > 0, connectivity=4):
        found[int(value)].append(shapely.geometry.shape(shape))
    return {label: np.array(polygons, dtype=object) for label, polygons in found.items()}


METHODS = {"wsiseg": by_bands, "rasterio": by_rasterio}


def wrong_pixels(path: Path, side: int, polygons: dict[int, NDArray[np.object_]]) -> int:
    """Pixels that differ once the polygons are painted back."""
    painted = np.zeros((side, side), dtype=np.uint8)
    for label, shapes in polygons.items():
        rasterio.features.rasterize([(shape, label) for shape in shapes], out=painted)
    return int(np.count_nonzero(painted != np.fromfile(path, dtype=np.uint8).reshape(side, side)))


def peak_mb() -> float:
    """Highest resident memory of this process; unlike ``ru_maxrss`` it owes nothing to the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def run_here(method: str, path: Path, side: int, *, check: bool) -> dict[str, float]:
    """One measurement, in this process."""
    baseline = peak_mb()
    begun = time.perf_counter()
    polygons = METHODS[method](path, side)
    seconds = time.perf_counter() - begun
    figures = {
        "seconds": seconds,
        "baseline_mb": baseline,
        "peak_mb": peak_mb(),
        "polygons": sum(map(len, polygons.values())),
        "vertices": sum(int(shapely.get_num_coordinates(shapes).sum()) for shapes in polygons.values()),
        "invalid": sum(int((~shapely.is_valid(shapes)).sum()) for shapes in polygons.values()),
    }
    if check:
        figures["wrong"] = wrong_pixels(path, side, polygons)
    return figures


def measure(method: str, path: Path, side: int, *, check: bool) -> dict[str, float]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--side", str(side), "--run", method, "--mask", str(path)]
    done = subprocess.run([*command, *(["--check"] if check else [])], check=True, capture_output=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--glomeruli", type=int, default=300)
    parser.add_argument("--nuclei", type=int, default=50_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--run", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--mask", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(run_here(options.run, options.mask, options.side, check=options.check)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.raw"
        make_mask(options.side, options.glomeruli, options.nuclei).tofile(path)
        runs: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
        for _ in range(options.repeat):
            for method, figures in runs.items():
                figures.append(measure(method, path, options.side, check=False))
        wrong = {method: measure(method, path, options.side, check=True)["wrong"] for method in METHODS}
    print(
        f"{'method':10} {'s':>7} {'peak MB':>8} {'of it before':>13} {'polygons':>9} {'vertices':>9} "
        f"{'invalid':>8} {'wrong':>6}"
    )
    for method, figures in runs.items():
        last = figures[-1]
        print(
            f"{method:10} {statistics.median(run['seconds'] for run in figures):7.2f} "
            f"{max(run['peak_mb'] for run in figures):8.0f} {last['baseline_mb']:13.0f} "
            f"{last['polygons']:9.0f} {last['vertices']:9.0f} {last['invalid']:8.0f} {wrong[method]:6.0f}"
        )


if __name__ == "__main__":
    main()
