"""Nuclei that touch, cut apart: watershed on the distance to the outline, object by object."""

from collections.abc import Callable

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology, segmentation

from wsiseg.classes import ClassSchema
from wsiseg.geometry import Box
from wsiseg.infer.polygonfile import Outlines
from wsiseg.progress import Progress
from wsiseg.raster import ShapePainter
from wsiseg.trace import Polygons, trace_mask

_maxima: Callable[..., NDArray[np.uint8]] = morphology.h_maxima
_watershed: Callable[..., NDArray[np.int32]] = segmentation.watershed

SOLID = 0.9
"""Outlines that fill more of their convex hull than this are one nucleus."""

NECK_UM = 0.4
"""Two nuclei are told apart where the way from one to the other is at least this much narrower, each side.

Both values were chosen on 13 H&E fields with 4949 outlined nuclei (MoNuSeg), painted into one mask and taken
apart again: F1 at IoU 0.5 rises from 0.876 to 0.942, and from 0.758 to 0.893 with outlines made rough.
"""


def split_touching(
    objects: dict[str, Outlines], schema: ClassSchema, pixel_area_um2: float, progress: Progress
) -> dict[str, Outlines]:
    """Cut apart the touching nuclei of all classes that are nuclei.

    The pieces of an object cover exactly its pixels, holes filled in before stay filled.

    Args:
        objects: Outlines along pixel edges, by class.
        schema: Tells which classes are nuclei, and how small a piece may be.
        pixel_area_um2: Area of a pixel.
        progress: Told of the objects.

    Returns:
        The same with pieces in place of what was cut, in order of their topmost corner.
    """
    result = dict(objects)
    for tissue_class in schema.foreground:
        outlines = objects[tissue_class.name]
        if not tissue_class.nucleus or not len(outlines):
            continue
        min_area = max(1.0, tissue_class.min_area_um2 / pixel_area_um2)
        progress.start(f"splitting {tissue_class.name}", len(outlines))
        parts = []
        for batch in outlines.batches():
            parts += _split_batch(batch, min_area, NECK_UM / pixel_area_um2**0.5)
            progress.advance(len(batch))
        result[tissue_class.name] = Outlines.joined(parts, outlines.file).by_corner()
    return result


def _split_batch(batch: Outlines, min_area: float, neck: float) -> list[Outlines]:
    """Some objects: those that are sure to be one, and then the pieces of the others."""
    polygons = batch.read()
    solidity = shapely.area(polygons) / shapely.area(shapely.convex_hull(polygons))
    doubtful = (solidity < SOLID) & (shapely.area(polygons) >= 2 * min_area)
    pieces = [split(polygon, min_area, neck) for polygon in polygons[doubtful]]
    return [batch.at(~doubtful), *([batch.file.append(np.concatenate(pieces))] if pieces else [])]


def split(polygon: shapely.Polygon, min_area: float, neck: float) -> Polygons:
    """The pieces of one object; the object itself where it does not fall apart.

    Args:
        polygon: An outline along pixel edges.
        min_area: A piece of fewer pixels stays with its neighbour.
        neck: Pixels by which the distance to the outline must fall between two centres.
    """
    x0, y0, x1, y1 = (int(value) for value in polygon.bounds)
    mask = ShapePainter([(polygon, 1)]).paint(Box(x0 - 1, y0 - 1, x1 + 1, y1 + 1)) > 0
    depth = ndimage.distance_transform_edt(mask)
    centres, _ = ndimage.label(_maxima(depth, neck), structure=np.ones((3, 3)))
    pieces = _pieces(depth, np.asarray(centres), mask, min_area)
    if (count := int(pieces.max())) < 2:
        return _array([polygon])
    outlines = [trace_mask(pieces == label) for label in range(1, count + 1)]
    if any(len(outline) != 1 for outline in outlines):
        return _array([polygon])
    moved = shapely.transform(np.concatenate(outlines), lambda points: np.add(points, (x0 - 1, y0 - 1)))
    return np.asarray(moved, dtype=object)


def _pieces(
    depth: NDArray[np.float64], centres: NDArray[np.int32], mask: NDArray[np.bool_], min_area: float
) -> NDArray[np.int32]:
    """Labels from 1 on; what would be too small goes to its neighbours, the smallest first."""
    while centres.max() > 1:
        pieces = np.asarray(_watershed(-depth, centres, mask=mask), dtype=np.int32)
        sizes = np.bincount(pieces.ravel())[1:]
        if sizes.min() >= min_area:
            return pieces
        _, left = np.unique(np.where(centres == sizes.argmin() + 1, 0, centres), return_inverse=True)
        centres = left.reshape(depth.shape).astype(np.int32)
    return centres


def _array(polygons: list[shapely.Polygon]) -> Polygons:
    array = np.empty(len(polygons), dtype=object)
    array[:] = polygons
    return array
