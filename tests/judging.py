"""What the tests of evaluation and report share: one small slide's truth, and ways to write it down."""

from collections.abc import Callable, Iterable
from pathlib import Path

from shapely import Polygon, affinity, box

from wsiseg.annotation import Annotation, write_qupath
from wsiseg.classes import default_schema

SIZE = (900, 700)
"""Width and height of the slide, at 0.5 um/px."""

Objects = Iterable[tuple[Polygon, str | None]]

TRUTH: list[tuple[Polygon, str | None]] = [
    (box(100, 100, 400, 400), "glomerulus"),
    (box(500, 200, 800, 500), "glomerulus"),
    (box(150, 150, 170, 166), "podocyte"),
    (box(300, 300, 316, 320), "podocyte"),
    (box(200, 250, 212, 262), "non_podocyte"),
    (box(600, 300, 612, 312), "non_podocyte"),
]

Write = Callable[..., Path]
"""(objects, file name) -> the GeoJSON."""


def shifted(objects: Objects, dx: float, dy: float) -> list[tuple[Polygon, str | None]]:
    return [(affinity.translate(polygon, dx, dy), name) for polygon, name in objects]


def write_objects(path: Path, objects: Objects) -> Path:
    annotations = [Annotation(polygon, class_name) for polygon, class_name in objects]
    write_qupath(path, annotations, default_schema(), slide_id="a")
    return path
