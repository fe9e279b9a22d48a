"""The objects of a test slide, from label maps put together tile by tile."""

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.classes import IGNORE_INDEX
from wsiseg.containers import without_hollow
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
        ours, theirs = self._traced(self._truth), self._traced(predicted)
        return {
            one.name: match_by_rule(ours[one.name], theirs[one.name], nuclei=one.nucleus).counts
            for one in self._store.schema.foreground
        }

    def _traced(self, label: NDArray[np.uint8]) -> dict[str, list[shapely.Polygon]]:
        """Outlines in um, class by class."""
        schema, mpp = self._store.schema, self._store.mpp
        traced = {}
        for one in schema.foreground:
            smallest = one.min_area_um2 / mpp**2
            whole = schema.whole_mask(label, one.name)
            traced[one.name] = trace_mask(whole, min_area=smallest, min_hole=smallest)
        return {
            name: shapely.transform(polygons, lambda points: points * mpp).tolist()
            for name, polygons in without_hollow(traced, schema).items()
        }
