"""Truth against prediction, pixel by pixel, a block of the slide at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wsiseg.classes import IGNORE_INDEX
from wsiseg.evaluate.calibration import CalibrationCounts
from wsiseg.evaluate.inputs import Side, to_grid
from wsiseg.geometry import Box, GridFrame
from wsiseg.metrics import confusion
from wsiseg.progress import Progress
from wsiseg.raster import ShapePainter
from wsiseg.tilestore import MaskStore

CELL_UM = 256.0
"""Side of the cells for which errors are told apart, to find the worst places."""

RIGHT, MISSED, INVENTED, CONFUSED = range(4)
"""What a foreground pixel can be: right, background in the prediction, background in the truth, or of
another class."""

_BLOCK_PX = 2048


@dataclass
class PixelCounts:
    """Everything that was counted on one slide.

    Attributes:
        classes: How many classes K there are.
        cell_px: Side of a cell, in grid pixels.
        cells: (column, row) of a cell -> ``(K, K)`` int64 confusion matrix of its pixels.
        errors: ``(4, h, w)`` float32, on a coarse picture of the slide, how many pixels under each of its
            pixels are right, missed, invented, confused.
        calibration: How far probabilities can be trusted; None where none were kept.
    """

    classes: int
    cell_px: int
    cells: dict[tuple[int, int], NDArray[np.int64]] = field(default_factory=dict)
    errors: NDArray[np.float32] = field(default_factory=lambda: np.zeros((4, 1, 1), np.float32))
    calibration: CalibrationCounts | None = None

    @property
    def matrix(self) -> NDArray[np.int64]:
        """``(K, K)`` confusion matrix of the slide."""
        return sum(self.cells.values(), np.zeros((self.classes, self.classes), dtype=np.int64))


class TissueMask:
    """The tissue of a thumbnail, looked up in the grid frame.

    Args:
        mask: ``(h, w)`` bool, on the thumbnail.
        frame: The grid frame.
    """

    def __init__(self, mask: NDArray[np.bool_], frame: GridFrame) -> None:
        self._mask = mask
        self._places = Lookup(frame, mask.shape)

    def paint(self, box_gr: Box) -> NDArray[np.bool_]:
        """Tissue of a box, bool ``(h, w)``."""
        rows, columns = self._places.of(box_gr)
        return self._mask[np.ix_(rows, columns)]


class Lookup:
    """Where the pixels of the grid frame lie on a small picture of the whole slide.

    Args:
        frame: The grid frame.
        shape: ``(height, width)`` of the picture.
    """

    def __init__(self, frame: GridFrame, shape: tuple[int, ...]) -> None:
        self._steps = [
            factor * side / size
            for factor, side, size in zip(frame.downsample, shape[1::-1], frame.size_l0, strict=True)
        ]
        self._shape = shape

    def of(self, box_gr: Box) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Picture rows ``(h,)`` and columns ``(w,)`` under the pixel centres of a box."""
        (step_x, step_y), (height, width) = self._steps, self._shape[:2]
        rows = ((np.arange(box_gr.y0, box_gr.y1) + 0.5) * step_y).astype(np.int64)
        columns = ((np.arange(box_gr.x0, box_gr.x1) + 0.5) * step_x).astype(np.int64)
        return np.minimum(rows, height - 1), np.minimum(columns, width - 1)


def count_pixels(
    truth: Side,
    prediction: Side,
    tissue: NDArray[np.bool_],
    frame: GridFrame,
    classes: int,
    *,
    progress: Progress,
    name: str,
    probabilities: MaskStore | None = None,
) -> PixelCounts:
    """Compare a whole slide in bounded memory.

    Counted is the tissue together with whatever either side outlines; inside the truth's regions only,
    where it has any; never where the truth says that nothing is known.

    Args:
        truth: The side that is right.
        prediction: The side that is judged.
        tissue: ``(h, w)`` bool, on a thumbnail of the slide; ``errors`` of the result has its size.
        frame: The grid frame of both sides.
        classes: How many classes there are.
        progress: Told about each block.
        name: The slide's name, for the progress bar.
        probabilities: Of all classes, uint8 ``(K, H, W)`` in the grid frame, where they were kept.
    """
    cell_px = max(1, round(CELL_UM / frame.mpp))
    counts = PixelCounts(classes, cell_px, errors=np.zeros((4, *tissue.shape), np.float32))
    counts.calibration = None if probabilities is None else CalibrationCounts.empty(classes)
    mask, lookup = TissueMask(tissue, frame), Lookup(frame, tissue.shape)
    regions = ShapePainter([(shape, 1) for shape in to_grid(truth.regions, frame)])
    blocks = list(_blocks(frame.box_gr, cell_px * max(1, _BLOCK_PX // cell_px)))
    outlined = truth.source.touching(blocks) | prediction.source.touching(blocks)
    progress.start(f"comparing {name}", len(blocks))
    for block, has_shapes in zip(blocks, outlined, strict=True):
        counted: NDArray[np.bool_] = mask.paint(block)
        if has_shapes or counted.any():
            true, predicted = truth.source.paint(block), prediction.source.paint(block)
            counted = counted | (true > 0) | (predicted > 0)
            if truth.regions:
                counted &= regions.paint(block) > 0
            true[~counted] = IGNORE_INDEX
            if probabilities is not None and counts.calibration is not None:
                counts.calibration.add(true, probabilities.read(block))
            _count_cells(counts, block, true, predicted)
            _count_errors(counts.errors, lookup.of(block), true, predicted)
        progress.advance()
    return counts


def _blocks(box_gr: Box, side: int) -> Iterator[Box]:
    for y in range(box_gr.y0, box_gr.y1, side):
        for x in range(box_gr.x0, box_gr.x1, side):
            yield Box.from_size(x, y, side, side).intersection(box_gr)


def _count_cells(
    counts: PixelCounts, block: Box, true: NDArray[np.uint8], predicted: NDArray[np.uint8]
) -> None:
    """Add a block, whose corner lies on the grid of cells, to the matrices of its cells."""
    for cell in _blocks(block, counts.cell_px):
        part = cell.slices((block.x0, block.y0))
        matrix = confusion(true[part], predicted[part], counts.classes)
        if matrix.any():
            counts.cells[cell.x0 // counts.cell_px, cell.y0 // counts.cell_px] = matrix


def _count_errors(
    errors: NDArray[np.float32],
    places: tuple[NDArray[np.int64], NDArray[np.int64]],
    true: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
) -> None:
    """Add a block to the coarse picture of errors."""
    known = (true != IGNORE_INDEX) & (predicted != IGNORE_INDEX)
    kinds = {
        RIGHT: (true == predicted) & (true > 0),
        MISSED: (true > 0) & (predicted == 0),
        INVENTED: (true == 0) & (predicted > 0),
        CONFUSED: (true > 0) & (predicted > 0) & (true != predicted),
    }
    rows, row_starts = np.unique(places[0], return_index=True)
    columns, column_starts = np.unique(places[1], return_index=True)
    for kind, mask in kinds.items():
        if mask.any():
            by_row = np.add.reduceat(mask & known, row_starts, axis=0, dtype=np.float32)
            errors[kind][np.ix_(rows, columns)] += np.add.reduceat(by_row, column_starts, axis=1)
