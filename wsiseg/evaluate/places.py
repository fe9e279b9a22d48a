"""Where a prediction is wrong: places to jump to, and a picture of the whole slide."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from wsiseg.classes import ClassSchema
from wsiseg.evaluate.pixels import CONFUSED, INVENTED, MISSED, RIGHT, PixelCounts
from wsiseg.files import atomic_path
from wsiseg.geometry import Box, GridFrame

ERROR_COLORS = {
    RIGHT: ("right", (0, 158, 115)),
    MISSED: ("missed", (213, 94, 0)),
    INVENTED: ("invented", (0, 114, 178)),
    CONFUSED: ("wrong class", (204, 121, 167)),
}
"""Name and colour of each kind of pixel, told apart by colour-blind eyes too (Okabe and Ito, 2008)."""

_FADED = 0.45


@dataclass(frozen=True)
class WorstPlace:
    """A cell of the slide in which many pixels are wrong.

    Attributes:
        box_l0: The cell, in level-0 pixels.
        wrong_um2: Area that is wrong.
        share: The same as a share of the counted pixels of the cell.
        truth: The true class of most wrong pixels.
        prediction: What those were predicted as.
    """

    box_l0: Box
    wrong_um2: float
    share: float
    truth: str
    prediction: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "x": self.box_l0.x0,
            "y": self.box_l0.y0,
            "width": self.box_l0.width,
            "height": self.box_l0.height,
            "wrong_um2": round(self.wrong_um2, 1),
            "share": round(self.share, 4),
            "truth": self.truth,
            "prediction": self.prediction,
        }


def worst_places(
    counts: PixelCounts, frame: GridFrame, schema: ClassSchema, most: int = 10
) -> list[WorstPlace]:
    """The cells with the largest wrong area, worst first; cells without any error are left out."""
    wrong = {cell: int(matrix.sum() - np.trace(matrix)) for cell, matrix in counts.cells.items()}
    ranked = sorted((-pixels, cell) for cell, pixels in wrong.items() if pixels)
    return [_place(cell, counts, frame, schema) for _, cell in ranked[:most]]


def _place(cell: tuple[int, int], counts: PixelCounts, frame: GridFrame, schema: ClassSchema) -> WorstPlace:
    matrix, side = counts.cells[cell], counts.cell_px
    errors = matrix - np.diag(np.diagonal(matrix))
    truth, prediction = np.unravel_index(int(errors.argmax()), errors.shape)
    box_gr = Box.from_size(cell[0] * side, cell[1] * side, side, side).intersection(frame.box_gr)
    return WorstPlace(
        box_l0=frame.to_l0(box_gr),
        wrong_um2=float(errors.sum() * frame.pixel_area_um2),
        share=float(errors.sum() / matrix.sum()),
        truth=schema.names[truth],
        prediction=schema.names[prediction],
    )


def error_map(thumbnail: NDArray[np.uint8], errors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour a faded picture of the slide by what is right, missed, invented, or of the wrong class.

    Where a picture pixel covers several kinds it takes the colours in proportion; any error shows, however
    small a part of the pixel it is.

    Args:
        thumbnail: ``(h, w, 3)`` uint8.
        errors: ``(4, h, w)`` as in ``PixelCounts.errors``.

    Returns:
        ``(h, w, 3)`` uint8.
    """
    grey = thumbnail.mean(axis=2, keepdims=True)
    faded = 255 - (255 - np.repeat(grey, 3, axis=2)) * _FADED
    total = errors.sum(axis=0)
    colors = np.array([ERROR_COLORS[kind][1] for kind in range(len(errors))], dtype=np.float64)
    # Errors weigh more than what is right, so that thin wrong rims stay visible on the small picture.
    weights = errors * np.array([1, 4, 4, 4], dtype=np.float64)[:, None, None]
    share = weights / np.maximum(weights.sum(axis=0), 1e-9)
    mixed = np.tensordot(share, colors, axes=(0, 0))
    picture = np.where((total > 0)[:, :, None], 0.15 * faded + 0.85 * mixed, faded)
    return np.floor(picture + 0.5).astype(np.uint8)


def save_error_map(thumbnail: NDArray[np.uint8], errors: NDArray[np.float32], target: Path) -> None:
    """Write ``error_map`` as a PNG with a legend below it.

    Raises:
        OutputError: The file cannot be written.
    """
    picture = Image.fromarray(error_map(thumbnail, errors))
    strip = 28
    page = Image.new("RGB", (max(picture.width, 420), picture.height + strip), "white")
    page.paste(picture, (0, 0))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    for place, (name, color) in enumerate(ERROR_COLORS.values()):
        left, top = 8 + place * 104, picture.height + 7
        pen.rectangle((left, top, left + 14, top + 14), fill=color)
        pen.text((left + 20, top - 2), name, fill="black", font=font)
    with atomic_path(target) as partial:
        page.save(partial, format="PNG")
