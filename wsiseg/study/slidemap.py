"""The objects of a test slide, from label maps put together tile by tile."""

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.classes import IGNORE_INDEX, TissueClass
from wsiseg.objects import ObjectCounts, match_by_rule
from wsiseg.tilestore import TileStore
from wsiseg.trace import Polygons, trace_mask

MOST_PIXELS = 1 << 26
"""Of a slide in the grid: beyond that its objects are not counted, so that memory stays bounded."""


class SlideMap:
    """Truth and prediction of one slide, each pixel from the tile that owns it.

    Objects are connected areas of a label map on both sides, so neighbours that touch in the truth count as
    one: a tile store keeps pixels, not outlines.

    Args:
        store: Of the slide; what no tile shows is unknown.
    """

    def __init__(self, store: TileStore) -> None:
        self._store = store
        width, height = store.frame.size_gr
        self._truth = np.full((height, width), IGNORE_INDEX, dtype=np.uint8)
        self._predicted = np.zeros((height, width), dtype=np.uint8)

    @staticmethod
    def fits(store: TileStore) -> bool:
        """Whether a slide is small enough."""
        width, height = store.frame.size_gr
        return width * height <= MOST_PIXELS

    def put(self, tile: int, label: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Take in the part of a tile that it owns.

        Args:
            tile: Position in the store.
            label: True classes, ``(T, T)``.
            predicted: Predicted classes, the same.
        """
        found = self._store.grid[int(self._store.indices[tile])]
        place, own = found.keep.slices(), found.keep.slices((found.read.x0, found.read.y0))
        self._truth[place], self._predicted[place] = label[own], predicted[own]

    def count(self) -> dict[str, ObjectCounts]:
        """Match the objects of each foreground class, as ``wsiseg evaluate`` does.

        A predicted object counts where its centre is known, if it is as large as ``wsiseg predict`` wants it.
        """
        return {one.name: self._count(one) for one in self._store.schema.foreground}

    def _count(self, one: TissueClass) -> ObjectCounts:
        schema, mpp = self._store.schema, self._store.mpp
        smallest = one.min_area_um2 / mpp**2
        true = trace_mask(schema.whole_mask(self._truth, one.name))
        predicted = trace_mask(
            schema.whole_mask(self._predicted, one.name), min_area=smallest, min_hole=smallest
        )
        both = (true, self._known(predicted))
        ours, theirs = (shapely.transform(shapes, lambda points: points * mpp).tolist() for shapes in both)
        return match_by_rule(ours, theirs, nuclei=one.nucleus).counts

    def _known(self, shapes: Polygons) -> Polygons:
        """Those whose centre lies where the truth is known."""
        height, width = self._truth.shape
        x, y = shapely.get_coordinates(shapely.centroid(shapes)).astype(np.int64).reshape(-1, 2).T
        known = self._truth[np.minimum(y, height - 1), np.minimum(x, width - 1)] != IGNORE_INDEX
        kept: Polygons = shapes[known]
        return kept
