"""Outlines with fewer vertices that still fit together: neighbours neither cross nor gap.

Each object is taken without what lies in it, so that all pieces together are a coverage: a set of
areas that share edges and never overlap. Shapely simplifies every shared edge once, for both sides
(Visvalingam and Whyatt, as in GEOS's CoverageSimplifier), and containers are put together again from
their pieces.
"""

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from wsiseg.classes import ClassSchema
from wsiseg.infer.polygonfile import Outlines
from wsiseg.infer.polygons import parents
from wsiseg.progress import Progress
from wsiseg.trace import Polygons

_BATCH_VERTICES = 200_000


def simplify(
    objects: dict[str, Outlines], schema: ClassSchema, tolerance: float, progress: Progress
) -> dict[str, Outlines]:
    """Simplify the outlines of all objects of a slide.

    Objects that touch one another are simplified together, apart from all others, so what is held at once
    is one such group or a batch of small ones.

    Args:
        objects: Valid outlines along pixel edges, by class in paint order.
        schema: Says which class lies in which.
        tolerance: Roughly the square root of the largest area that a removed vertex may cut off, in pixels.
        progress: Told of each object.

    Returns:
        One outline for each, in the same order. Where simplifying would make an outline invalid or split
        it, the whole group keeps its exact outlines.
    """
    names = [name for name in schema.paint_order() if len(objects[name])]
    if not names:
        return objects
    whole = Outlines.joined([objects[name] for name in names], objects[names[0]].file)
    parent = parents(objects, names, schema)
    progress.start("simplifying outlines", len(whole))
    result = whole.rows.copy()
    vertices = whole.map(shapely.get_num_coordinates)
    for rows in _batches(_groups(whole.map(shapely.bounds, columns=4)), vertices):
        simple = _simplify_group(whole.at(rows).read(), _local(parent, rows), tolerance)
        result[rows] = whole.file.append(simple).rows
        progress.advance(len(rows))
    ends = np.cumsum([len(objects[name]) for name in names])[:-1]
    simplified = {
        name: Outlines(whole.file, rows) for name, rows in zip(names, np.split(result, ends), strict=True)
    }
    return {name: simplified.get(name, objects[name]) for name in objects}


def _simplify_group(whole: Polygons, parent: NDArray[np.int64], tolerance: float) -> Polygons:
    """Simplify objects that share no edge with any other; containers come before what they contain."""
    own = whole.copy()
    for row in np.flatnonzero(np.bincount(parent[parent >= 0], minlength=len(whole))):
        own[row] = shapely.difference(whole[row], shapely.union_all(whole[parent == row]))
    # Vertices of a coverage must match, also where one object's corner lies on another's straight edge.
    dense = shapely.transform(shapely.segmentize(own, 1.0), np.round)
    pieces = shapely.coverage_simplify(dense, tolerance)
    result = pieces.copy()
    for row in reversed(np.flatnonzero(np.bincount(parent[parent >= 0], minlength=len(whole)))):
        result[row] = shapely.union_all([pieces[row], *result[parent == row]])
    fits = shapely.is_valid(result) & (shapely.get_type_id(result) == shapely.GeometryType.POLYGON)
    return result if fits.all() and not shapely.is_empty(result).any() else whole


def _groups(bounds: NDArray[np.float64]) -> NDArray[np.int64]:
    """A number for each object, the same for objects whose boxes ``(n, 4)`` touch."""
    boxes = shapely.box(*bounds.T)
    one, other = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(len(boxes), len(boxes)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _batches(groups: NDArray[np.int64], vertices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows in batches of whole groups, each batch in order of rows."""
    if not len(groups):
        return []
    order = np.argsort(groups, kind="stable")
    totals = np.cumsum(np.bincount(groups, weights=vertices))
    batch = (totals // _BATCH_VERTICES).astype(np.int64)[groups[order]]
    return [np.sort(rows) for rows in np.split(order, np.flatnonzero(np.diff(batch)) + 1)]


def _local(parent: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Parents as positions within ``rows``."""
    held = parent[rows]
    return np.where(held >= 0, np.searchsorted(rows, held), -1)
