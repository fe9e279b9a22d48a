"""The objects of a test slide, from label maps put together tile by tile."""

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.classes import IGNORE_INDEX, TissueClass
from wsiseg.objects import ObjectCounts, match_by_rule
from wsiseg.tilestore import TileStore
from wsiseg.trace import trace_mask

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
        """Match the objects of each foreground class by its rule.

        What is predicted where nothing is known does not count, and areas that ``wsiseg predict`` would leave
        out count on neither side.
        """
        predicted = np.where(self._truth == IGNORE_INDEX, 0, self._predicted).astype(np.uint8)
        return {one.name: self._count(one, predicted) for one in self._store.schema.foreground}

    def _count(self, one: TissueClass, predicted: NDArray[np.uint8]) -> ObjectCounts:
        schema, mpp = self._store.schema, self._store.mpp
        smallest = one.min_area_um2 / mpp**2
        ours, theirs = (
            shapely.transform(
                trace_mask(schema.whole_mask(label, one.name), min_area=smallest, min_hole=smallest),
                lambda points: points * mpp,
            ).tolist()
            for label in (self._truth, predicted)
        )
        return match_by_rule(ours, theirs, nuclei=one.nucleus).counts
