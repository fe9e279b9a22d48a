"""In which order outlines are painted, so that what lies in another is seen."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.annotation.model import Annotation, Polygonal
from wsiseg.annotation.repair import parts_of
from wsiseg.classes import ClassSchema


def in_paint_order(
    objects: Sequence[tuple[Annotation, str]], schema: ClassSchema
) -> list[tuple[Polygonal, int]]:
    """Outlines of objects with their labels, each to be painted over those before it.

    Containers come before their content and the background before all (``ClassSchema.paint_ranks``). But a
    background outline most of which lies in a larger object is a hole in it, as ASAP and CAMELYON draw
    holes: it comes among the objects of that class, the larger ones before the smaller. So it erases the
    object and nothing that lies in the hole, be it a nucleus or an island of the same class, and a
    background outline around everything erases nothing.

    Returns:
        Outlines in level-0 pixels; a background outline of several parts is one for each.
    """
    ranks = schema.paint_ranks()
    shapes = [
        (outline, name)
        for annotation, name in objects
        for outline in ([annotation.polygon] if ranks[name] else parts_of(annotation.polygon))
    ]
    outlines = np.fromiter((outline for outline, _ in shapes), dtype=object, count=len(shapes))
    rank = np.fromiter((ranks[name] for _, name in shapes), dtype=np.int64, count=len(shapes))
    size = np.zeros(len(shapes))
    background = rank == 0
    if background.any() and not background.all():
        size = shapely.area(outlines)
        rank[background] = _hole_ranks(outlines[background], outlines[~background], rank[~background])
    labels = {name: schema.index(name) for name in schema.names}
    return [(shapes[i][0], labels[shapes[i][1]]) for i in np.lexsort((-size, rank)).tolist()]


def _hole_ranks(
    holes: NDArray[np.object_], objects: NDArray[np.object_], ranks: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The rank of the innermost class in whose objects each hole lies; 0 for one that is in none."""
    hole, owner = shapely.STRtree(objects).query(holes)
    hole_area = shapely.area(holes)
    larger = shapely.area(objects)[owner] > hole_area[hole]
    hole, owner = hole[larger], owner[larger]
    # Most lie wholly within or wholly outside, which prepared outlines tell at once.
    owners = objects[np.unique(owner)]
    shapely.prepare(owners)
    within = shapely.covers(objects[owner], holes[hole])
    across = np.flatnonzero(~within)
    across = across[shapely.intersects(objects[owner[across]], holes[hole[across]])]
    shapely.destroy_prepared(owners)
    shared = shapely.area(shapely.intersection(objects[owner[across]], holes[hole[across]]))
    within[across] = shared > hole_area[hole[across]] / 2
    found = np.zeros(len(holes), dtype=np.int64)
    np.maximum.at(found, hole[within], ranks[owner[within]])
    return found
