"""Writing and reading back the GeoJSON of a whole slide's nuclei: seconds, peak memory, megabytes.

    python benchmarks/geojson.py [--objects 50000] [--repeat 3]

A round outline of 20 to 40 vertices for every nucleus, with a class, a name and three measurements, is
written by each method and read back to shapely polygons by the same:

* "wsiseg": ``write_qupath``, which puts every outline on QuPath's grid of 0.01 px and makes it valid
  there, and ``read_annotations``, which mends what is not valid.
* "wsiseg, gz": the same, zipped.
* "json": ``json.dump`` of ``shapely.geometry.mapping`` and ``json.load``: the plain way, without any check.
* "shapely": ``to_geojson`` and ``from_geojson``: geometries alone, without class or measurements.
* "pyogrio": GDAL, through ``write_dataframe`` and ``read_dataframe``; left out where it is not installed.

Each measurement runs in a process of its own; the table shows medians of seconds, the highest peak above
the memory that the objects themselves take, and how many outlines came back.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import mapping, shape

from wsiseg.annotation import Annotation, read_annotations, write_qupath
from wsiseg.classes import default_schema

CLASSES = ("podocyte", "non_podocyte")


def make_objects(count: int, seed: int = 0) -> list[Annotation]:
    """Rough discs all over a slide of 100,000 px; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    objects = []
    for number in range(count):
        vertices = int(rng.integers(20, 41))
        turn = np.sort(rng.uniform(0, 2 * np.pi, vertices))
        reach = rng.uniform(7, 13) * rng.uniform(0.9, 1.1, vertices)
        centre = rng.uniform(100, 99_900, 2)
        points = centre + reach[:, None] * np.column_stack([np.cos(turn), np.sin(turn)])
        figures = {
            "area_um2": float(rng.uniform(40, 120)),
            "perimeter_um": 30.5,
            "mean_probability": float(rng.uniform(0.5, 1)),
        }
        name = CLASSES[number % 2]
        objects.append(
            Annotation(shapely.Polygon(points), name, name=f"{name} {number}", measurements=figures)
        )
    return objects


def by_wsiseg(objects: list[Annotation], path: Path) -> Callable[[], int]:
    """Ours both ways; gives what reads the file back."""
    write_qupath(path, objects, default_schema(), slide_id="benchmark", kind="detection")
    return lambda: len(read_annotations(path).annotations)


def by_json(objects: list[Annotation], path: Path) -> Callable[[], int]:
    """The standard library."""
    features = [
        {
            "type": "Feature",
            "geometry": mapping(item.polygon),
            "properties": {
                "objectType": "detection",
                "name": item.name,
                "classification": {"name": item.class_name, "color": [0, 0, 0]},
                "measurements": dict(item.measurements),
            },
        }
        for item in objects
    ]
    with path.open("w", encoding="utf-8") as file:
        json.dump({"type": "FeatureCollection", "features": features}, file)

    def read() -> int:
        with path.open(encoding="utf-8") as file:
            return len([shape(feature["geometry"]) for feature in json.load(file)["features"]])

    return read


def by_shapely(objects: list[Annotation], path: Path) -> Callable[[], int]:
    """GEOS; a collection of bare geometries."""
    path.write_text(
        shapely.to_geojson(shapely.GeometryCollection([item.polygon for item in objects])), encoding="utf-8"
    )
    return lambda: len(shapely.get_parts(shapely.from_geojson(path.read_text(encoding="utf-8"))))


def by_pyogrio(objects: list[Annotation], path: Path) -> Callable[[], int]:
    """GDAL."""
    import pyogrio

    fields = ["class", *objects[0].measurements]
    columns: list[Any] = [np.array([item.class_name for item in objects], dtype=object)]
    columns += [np.array([item.measurements[key] for item in objects]) for key in fields[1:]]
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array([item.polygon for item in objects], dtype=object)),
        columns,
        fields,
        driver="GeoJSON",
        geometry_type="Polygon",
        crs="EPSG:4326",
    )
    return lambda: len(shapely.from_wkb(pyogrio.raw.read(path)[2]))


METHODS: dict[str, tuple[Callable[[list[Annotation], Path], Callable[[], int]], str]] = {
    "wsiseg": (by_wsiseg, ".geojson"),
    "wsiseg, gz": (by_wsiseg, ".geojson.gz"),
    "json": (by_json, ".geojson"),
    "shapely": (by_shapely, ".geojson"),
    "pyogrio": (by_pyogrio, ".geojson"),
}


def memory_mb(key: str) -> float:
    """``VmRSS`` or ``VmHWM`` of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def measure_here(method: str, count: int) -> dict[str, float]:
    """One measurement, in this process."""
    run, suffix = METHODS[method]
    objects = make_objects(count)
    before = memory_mb("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"objects{suffix}"
        begun = time.perf_counter()
        read = run(objects, path)
        written = time.perf_counter()
        found = read()
        return {
            "write": written - begun,
            "read": time.perf_counter() - written,
            "peak": memory_mb("VmHWM") - before,
            "mb": path.stat().st_size / 1e6,
            "found": found,
        }


def measure(method: str, count: int) -> dict[str, float]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--objects", str(count), "--run", method]
    figures: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return figures


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--objects", type=int, default=50_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--run", choices=METHODS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(measure_here(options.run, options.objects)))
        return
    methods = [name for name in METHODS if name != "pyogrio" or importlib.util.find_spec("pyogrio")]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in methods}
    for _ in range(options.repeat):
        for name, figures in runs.items():
            figures.append(measure(name, options.objects))
    print(f"{'':12} {'write s':>8} {'read s':>8} {'peak MB':>8} {'file MB':>8} {'objects':>9}")
    for name, figures in runs.items():
        write, read = (statistics.median(run[key] for run in figures) for key in ("write", "read"))
        peak, last = max(run["peak"] for run in figures), figures[-1]
        print(f"{name:12} {write:8.2f} {read:8.2f} {peak:8.0f} {last['mb']:8.1f} {last['found']:9.0f}")


if __name__ == "__main__":
    main()
