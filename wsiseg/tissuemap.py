"""Where the tissue of a slide is, from the slide itself or from the user, and how much of a box it fills."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsiseg.annotation import read_annotations
from wsiseg.config import TissueConfig
from wsiseg.errors import ConfigError
from wsiseg.geometry import Box, GridFrame
from wsiseg.process import give_back
from wsiseg.raster import ShapePainter
from wsiseg.slide import Slide
from wsiseg.tissue import find_tissue

_OVERVIEW_PX = 2048

_ANY_TISSUE = 1e-6
"""Share of a box from which it holds tissue: any at all, but for rounding."""


@dataclass(frozen=True)
class Overview:
    """A slide at a glance.

    Attributes:
        rgb: uint8 ``(h, w, 3)``.
        downsample: Level-0 pixels that one of its pixels measures, (x, y).
        unreadable: What could not be read and is shown white, in its pixels.
    """

    rgb: NDArray[np.uint8]
    downsample: tuple[float, float]
    unreadable: tuple[Box, ...]

    @property
    def box(self) -> Box:
        """The whole picture, in its own pixels."""
        return Box(0, 0, self.rgb.shape[1], self.rgb.shape[0])

    @property
    def damaged(self) -> NDArray[np.bool_]:
        """What could not be read, bool ``(h, w)``."""
        mask = np.zeros(self.rgb.shape[:2], dtype=bool)
        for box in self.unreadable:
            mask[box.slices()] = True
        return mask


@dataclass(frozen=True)
class TissueMap:
    """A mask over the whole plane of a slide.

    Attributes:
        mask: bool ``(h, w)``.
        downsample: Level-0 pixels that one of its pixels measures, (x, y).
    """

    mask: NDArray[np.bool_]
    downsample: tuple[float, float]

    @property
    def share(self) -> float:
        """Share of the plane that is tissue."""
        return float(self.mask.mean())

    def shares(self, boxes_l0: NDArray[np.float64]) -> NDArray[np.float32]:
        """Share of each box ``(n, 4)``, x0, y0, x1, y1, that is tissue, counting only what is on the plane.

        Exact for a mask of square pixels: read off a summed-area table between whose entries the sum
        grows linearly. An empty box has none.
        """
        height, width = self.mask.shape
        table = np.zeros((height + 1, width + 1), dtype=np.int32)
        table[1:, 1:] = self.mask
        for axis in (0, 1):
            np.cumsum(table, axis=axis, out=table)
        corners = boxes_l0 / np.tile(self.downsample, 2)
        x0, y0, x1, y1 = np.clip(corners, 0, np.tile((width, height), 2)).T
        tissue = _at(table, x1, y1) - _at(table, x0, y1) - _at(table, x1, y0) + _at(table, x0, y0)
        area = (x1 - x0) * (y1 - y0)
        share = np.divide(tissue, area, out=np.zeros_like(area), where=area > 0)
        clipped: NDArray[np.float32] = np.clip(share, 0, 1).astype(np.float32)
        return clipped

    def touching(self, boxes_l0: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which boxes ``(n, 4)`` hold any tissue, bool ``(n,)``."""
        return self.shares(boxes_l0) > _ANY_TISSUE


def boxes_to_l0(boxes_gr: Sequence[Box], frame: GridFrame) -> NDArray[np.float64]:
    """Boxes of a grid at level 0, not rounded: float64 ``(n, 4)``, x0, y0, x1, y1."""
    corners = np.array([(b.x0, b.y0, b.x1, b.y1) for b in boxes_gr], dtype=np.float64)
    scaled: NDArray[np.float64] = corners * np.tile(frame.downsample, 2)
    return scaled


def look_at(slide: Slide, max_side: int = _OVERVIEW_PX) -> Overview:
    """The overview of a slide, no side above ``max_side`` pixels; what cannot be read is white, and noted.

    A stored level of at least half that size is taken as it is: shrinking the level above would decode
    16 times as much. Where there is none, the next one is shrunk by the least whole number that fits, give or
    take what its sides leave over, so the picture may be down to half the size too.
    """
    sides = [max(level.size) for level in slide.levels]
    fitting = [side for side in sides if max_side <= 2 * side <= 2 * max_side]
    side = max(fitting) if fitting else min((side for side in sides if side > max_side), default=max(sides))
    max_side = -(-side // -(-side // max_side))
    boxes_l0: list[Box] = []
    rgb, downsample = slide.thumbnail(max_side, unreadable=boxes_l0)
    # What a pixel measures does not matter here, and a slide need not say it.
    frame = GridFrame(slide.size_l0, downsample, 1.0)
    return Overview(rgb, downsample, tuple(frame.cover_l0(box) for box in boxes_l0))


def map_tissue(slide: Slide, overview: Overview, config: TissueConfig, mask: Path | None) -> TissueMap:
    """The tissue of a slide: detected on the overview, or the user's own.

    Args:
        slide: The slide.
        overview: Its overview.
        config: Limits of the detector.
        mask: A PNG over the whole plane, tissue where it is not black, or an annotation file.

    Raises:
        ConfigError: The mask has another shape than the slide, or cannot be read.
        AnnotationParseError: The mask is no annotation file that we know.
    """
    if mask is not None:
        return read_mask(mask, slide, overview)
    resolution = slide.resolution
    found = detect_tissue(overview, (resolution.mpp_x, resolution.mpp_y), config)
    give_back()
    return TissueMap(found, overview.downsample)


def detect_tissue(overview: Overview, mpp_l0: tuple[float, float], config: TissueConfig) -> NDArray[np.bool_]:
    """The tissue on an overview, bool ``(h, w)``.

    What the overview could not show counts as tissue: its tiles are tried, and reported one by one.

    Args:
        overview: Of a slide.
        mpp_l0: Micrometres per pixel of level 0, ``(x, y)``.
        config: Limits of the detector.
    """
    mpp = (mpp_l0[0] * overview.downsample[0], mpp_l0[1] * overview.downsample[1])
    found = find_tissue(overview.rgb, mpp, min_area_um2=config.min_area_um2, max_hole_um2=config.max_hole_um2)
    return found | overview.damaged


def read_mask(path: Path, slide: Slide, overview: Overview) -> TissueMap:
    """The user's own tissue: see ``map_tissue``."""
    if path.suffix.lower() == ".png":
        return _read_png(path, slide.size_l0)
    annotations = read_annotations(path, origin_l0=slide.origin_qupath).annotations
    polygons = shapely.transform(
        np.array([a.polygon for a in annotations], dtype=object),
        lambda points: np.divide(points, overview.downsample),
    )
    painter = ShapePainter([(polygon, 1) for polygon in polygons])
    return TissueMap(painter.paint(overview.box) > 0, overview.downsample)


def _read_png(path: Path, size_l0: tuple[int, int]) -> TissueMap:
    try:
        with Image.open(path) as image:
            mask = np.asarray(image.convert("L")) > 0
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as err:
        raise ConfigError(f"--mask {path} cannot be read as a picture: {err}") from err
    (width, height), (mask_height, mask_width) = size_l0, mask.shape
    downsample = (width / mask_width, height / mask_height)
    # A mask scaled down from the plane is off by less than one of its own pixels.
    if abs(height / downsample[0] - mask_height) > 1 and abs(width / downsample[1] - mask_width) > 1:
        raise ConfigError(
            f"--mask {path}",
            found=f"{mask_width} x {mask_height} px",
            expected=f"the proportions of the slide, {width} x {height} px",
        )
    return TissueMap(mask, downsample)


def _at(table: NDArray[np.int32], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear values of a table at points inside it."""
    column = np.minimum(x.astype(np.int64), table.shape[1] - 2)
    row = np.minimum(y.astype(np.int64), table.shape[0] - 2)
    right, down = x - column, y - row
    above = table[row, column] * (1 - right) + table[row, column + 1] * right
    below = table[row + 1, column] * (1 - right) + table[row + 1, column + 1] * right
    value: NDArray[np.float64] = above * (1 - down) + below * down
    return value
