"""Containers that are none: a flat label map makes a glomerulus of nuclei that lie where no glomerulus is."""

from collections.abc import Mapping, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.classes import ClassSchema
from wsiseg.trace import Polygons

MIN_OWN_SHARE = 0.25
"""A container is one where at least this share of it is of its own class, not of what it contains."""


def without_hollow(traced: Mapping[str, Polygons], schema: ClassSchema) -> dict[str, Polygons]:
    """Leave out containers that are made of their content: see ``MIN_OWN_SHARE``.

    The same as ``wsiseg.infer.polygons.drop_hollow``, for outlines in memory.

    Args:
        traced: Outlines by class, containers whole, all traced from one label map.
        schema: Says which class lies in which.
    """
    kept = dict(traced)
    for name in reversed(schema.paint_order()):
        inner = [kept[c.name] for c in schema.foreground if c.inside == name]
        if inner and len(kept[name]):
            kept[name] = kept[name][_own_share(kept[name], inner) >= MIN_OWN_SHARE]
    return kept


def _own_share(containers: Polygons, inner: Sequence[Polygons]) -> NDArray[np.float64]:
    filled = np.zeros(len(containers))
    for contents in inner:
        # Of one flat map, an object lies in a container or outside of it as a whole: a point in it tells.
        tree = shapely.STRtree(shapely.point_on_surface(contents))
        within, content = tree.query(containers, predicate="contains")
        filled += np.bincount(within, weights=shapely.area(contents)[content], minlength=len(containers))
    return np.asarray(1 - filled / shapely.area(containers), dtype=np.float64)
