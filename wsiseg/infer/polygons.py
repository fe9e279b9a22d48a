"""From the label mask of a slide to the outlines of its objects, a band of rows at a time."""

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.classes import ClassSchema
from wsiseg.containers import MIN_OWN_SHARE
from wsiseg.geometry import Box
from wsiseg.infer.polygonfile import Outlines, PolygonFile
from wsiseg.progress import Progress
from wsiseg.tilestore import MaskStore
from wsiseg.trace import EdgeTracer, Polygons

_BAND_PIXELS = 1 << 23
_BAND_ROWS = 1024
_STRIP_PIXELS = 1 << 20
_STEP_ROWS = 128
"""Height of the chunks of a mask, so that a band decodes each of them once."""


def bands(size_gr: tuple[int, int]) -> list[Box]:
    """Boxes of full width that cover a mask from top to bottom, of bounded size."""
    width, height = size_gr
    rows = max(_STEP_ROWS, min(_BAND_ROWS, _BAND_PIXELS // width // _STEP_ROWS * _STEP_ROWS))
    return [Box(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]


def strips(mask: MaskStore) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """A mask from top to bottom in strips of full width that fit the processor's cache, with their rows."""
    for box in bands(mask.size_gr):
        yield from band_strips(mask, box)


def band_strips(mask: MaskStore, box: Box) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The same of one band."""
    rows = max(1, _STRIP_PIXELS // mask.size_gr[0])
    band = mask.read(box)
    for row in range(0, box.height, rows):
        yield box.y0 + row, band[row : row + rows]


def trace_objects(
    label: MaskStore, schema: ClassSchema, pixel_area_um2: float, progress: Progress, file: PolygonFile
) -> dict[str, Outlines]:
    """Outlines of all objects, class by class, exactly along the pixel edges.

    A class that contains others comes out whole: the areas of the classes inside it belong to it. Objects
    smaller than the class's ``min_area_um2`` are left out and holes smaller than that are filled.

    Args:
        label: The mask.
        schema: The classes.
        pixel_area_um2: Area of a pixel.
        progress: Told of each band.
        file: Where outlines go as soon as they are closed.

    Returns:
        Class name to polygons in grid pixels, classes in paint order, objects by topmost corner.
    """
    names = schema.paint_order()
    tracers = {name: _tracer(label, schema[name].min_area_um2 / pixel_area_um2) for name in names}
    found: dict[str, list[Outlines]] = {name: [] for name in names}
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
            found[name].append(file.append(tracer.finished()))
        progress.advance()
    for name in names:
        found[name].append(file.append(tracers.pop(name).polygons()))
    return {name: Outlines.joined(parts, file).by_corner() for name, parts in found.items()}


def _tracer(label: MaskStore, min_area: float) -> EdgeTracer:
    return EdgeTracer(label.size_gr[0], min_area=min_area, min_hole=min_area)


def drop_hollow(objects: dict[str, Outlines], schema: ClassSchema) -> dict[str, Outlines]:
    """Leave out containers that are made of their content: see ``MIN_OWN_SHARE``.

    The label map is flat, so nuclei predicted where no glomerulus is would, by the union that makes
    containers whole, become a glomerulus of nothing but nuclei.
    """
    kept = dict(objects)
    for name in reversed(schema.paint_order()):
        inner = [kept[c.name] for c in schema.foreground if c.inside == name]
        if inner and len(kept[name]):
            kept[name] = kept[name].at(_own_share(kept[name], inner) >= MIN_OWN_SHARE)
    return kept


def _own_share(containers: Outlines, inner: list[Outlines]) -> NDArray[np.float64]:
    filled = np.zeros(len(containers))
    for contents in inner:
        within, content = contains(containers, contents)
        area = contents.map(shapely.area)
        filled += np.bincount(within, weights=area[content], minlength=len(containers))
    return np.asarray(1 - filled / containers.map(shapely.area), dtype=np.float64)


def contains(containers: Outlines, contents: Outlines) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which container holds which object: pairs of positions, by container.

    Objects traced from one flat mask lie inside a container or outside of it as a whole, so one point
    inside each tells. Containers come from top to bottom, and only points in the rows of those at hand are
    looked at.
    """
    points = contents.map(_inner_points, columns=2)
    order = np.argsort(points[:, 1], kind="stable")
    pairs, first = [np.zeros((2, 0), dtype=np.int64)], 0
    for batch in containers.batches():
        polygons = batch.read()
        _, top, _, bottom = shapely.bounds(polygons).T
        near = order[slice(*np.searchsorted(points[order, 1], (top.min(), bottom.max())))]
        tree = shapely.STRtree(shapely.points(points[near]))
        which, what = tree.query(polygons, predicate="contains")
        pairs.append(np.stack([which + first, near[what]]))
        first += len(batch)
    within, content = np.concatenate(pairs, axis=1)
    return within, content


def _inner_points(polygons: Polygons) -> NDArray[np.float64]:
    """A point inside each: ``(n, 2)``."""
    return np.asarray(shapely.get_coordinates(shapely.point_on_surface(polygons)), dtype=np.float64)


def parents(objects: dict[str, Outlines], names: list[str], schema: ClassSchema) -> NDArray[np.int64]:
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
