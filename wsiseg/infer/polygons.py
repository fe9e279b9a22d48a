"""From the label mask of a slide to the outlines of its objects, a band of rows at a time."""

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.classes import ClassSchema
from wsiseg.geometry import Box
from wsiseg.progress import Progress
from wsiseg.tilestore import MaskStore
from wsiseg.trace import EdgeTracer, Polygons

_BAND_PIXELS = 1 << 23
_BAND_ROWS = 1024
_STRIP_PIXELS = 1 << 20
_STEP_ROWS = 256
"""Height of the chunks of a mask, so that a band decodes each of them once."""


def bands(size_gr: tuple[int, int]) -> list[Box]:
    """Boxes of full width that cover a mask from top to bottom, of bounded size."""
    width, height = size_gr
    rows = max(_STEP_ROWS, min(_BAND_ROWS, _BAND_PIXELS // width // _STEP_ROWS * _STEP_ROWS))
    return [Box(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]


def strips(mask: MaskStore) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """A mask from top to bottom in strips of full width that fit the processor's cache, with their rows."""
    rows = max(1, _STRIP_PIXELS // mask.size_gr[0])
    for box in bands(mask.size_gr):
        band = mask.read(box)
        for row in range(0, box.height, rows):
            yield box.y0 + row, band[row : row + rows]


def trace_objects(
    label: MaskStore, schema: ClassSchema, pixel_area_um2: float, progress: Progress
) -> dict[str, Polygons]:
    """Outlines of all objects, class by class, exactly along the pixel edges.

    A class that contains others comes out whole: the areas of the classes inside it belong to it. Objects
    smaller than the class's ``min_area_um2`` are left out and holes smaller than that are filled.

    Returns:
        Class name to polygons in grid pixels, classes in paint order, objects by topmost corner.
    """
    names = schema.paint_order()
    tracers = {name: EdgeTracer(label.size_gr[0]) for name in names}
    boxes = bands(label.size_gr)
    progress.start("tracing outlines", len(boxes))
    for box in boxes:
        band = label.read(box)
        for name, tracer in tracers.items():
            mask = schema.whole_mask(band, name)
            if mask.any():
                tracer.add(mask)
            else:
                tracer.skip(len(mask))
        progress.advance()
    return {name: _finish(tracers.pop(name), schema[name].min_area_um2 / pixel_area_um2) for name in names}


def _finish(tracer: EdgeTracer, min_area: float) -> Polygons:
    return tracer.polygons(min_area=min_area, min_hole=min_area)


MIN_OWN_SHARE = 0.25
"""A container is one where at least this share of it is of its own class, not of what it contains."""


def drop_hollow(objects: dict[str, Polygons], schema: ClassSchema) -> dict[str, Polygons]:
    """Leave out containers that are made of their content: see ``MIN_OWN_SHARE``.

    The label map is flat, so nuclei predicted where no glomerulus is would, by the union that makes
    containers whole, become a glomerulus of nothing but nuclei.
    """
    kept = dict(objects)
    for name in reversed(schema.paint_order()):
        inner = [kept[c.name] for c in schema.foreground if c.inside == name]
        if inner and len(kept[name]):
            kept[name] = kept[name][_own_share(kept[name], np.concatenate(inner)) >= MIN_OWN_SHARE]
    return kept


def _own_share(containers: Polygons, contents: Polygons) -> NDArray[np.float64]:
    within, content = contains(containers, contents)
    filled = np.bincount(within, weights=shapely.area(contents[content]), minlength=len(containers))
    return np.asarray(1 - filled / shapely.area(containers), dtype=np.float64)


def contains(containers: Polygons, contents: Polygons) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which container holds which object: pairs of indices, by container.

    Objects traced from one flat mask lie inside a container or outside of it as a whole, so one point
    inside each tells.
    """
    points = shapely.point_on_surface(contents)
    pairs = shapely.STRtree(points).query(containers, predicate="contains")
    return pairs[0], pairs[1]


def parents(objects: dict[str, Polygons], names: list[str], schema: ClassSchema) -> NDArray[np.int64]:
    """For each object, its position, in ``names`` one class after another, of the object that contains it.

    Args:
        objects: Outlines by class.
        names: Classes to look at, containers before what they contain.
        schema: Says which class lies in which.

    Returns:
        int64 ``(n,)``; -1 for an object of a class that no class contains, and for one that lies outside.
    """
    sizes = [len(objects[name]) for name in names]
    first = dict(zip(names, np.cumsum([0, *sizes]), strict=False))
    parent = np.full(sum(sizes), -1, dtype=np.int64)
    for name in names:
        holder = schema[name].inside
        if holder in first:
            which, what = contains(objects[holder], objects[name])
            parent[first[name] + what] = first[holder] + which
    return parent
