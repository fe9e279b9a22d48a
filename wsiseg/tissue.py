"""Where the tissue is, found on a thumbnail.

Stains differ, but three things hold for all of them. Against glass, tissue takes light away, and by
Beer and Lambert's law the optical density (OD, minus the logarithm of the share of light that is left)
adds up over what the light passes. It is coloured, or it is textured, usually both; smooth grey, be it a
shadow, uneven light or a greyish slide, is glass. And it comes in pieces, not in specks and not in
straight lines. Fluorescence turns the first around: tissue is what shines on black.

Steps: shrink to a working scale; estimate the glass; score each pixel by OD, colour and texture; keep
what passes a low threshold and hangs together with what passes a high one; take out ink, coverslip edges
and specks; close small holes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import regionprops

FloatImage = NDArray[np.float32]
Mask = NDArray[np.bool_]

_WORKING_MPP = 4.0
"""Finer thumbnails are averaged down to this: cells are texture here, not objects."""
_WORKING_SIDE = 1536
"""Larger thumbnails are averaged down to this, which keeps a slide under a second."""
_SMOOTH_UM = 8.0
_CLOSE_UM = 20.0

_LOW, _HIGH = 0.05, 0.10
"""Scores that belong to tissue if they touch it, and that are tissue by themselves; noise raises both."""
_DEFAULT_GLASS = 244.0
"""Grey level of glass where a slide shows none of it."""


def find_tissue(
    rgb: NDArray[np.uint8],
    mpp: tuple[float, float],
    *,
    min_area_um2: float = 5000.0,
    max_hole_um2: float = 5000.0,
) -> Mask:
    """Find the tissue on a thumbnail of a slide.

    Holds on any transmitted-light stain and on fluorescence on black; an empty slide has no tissue, and a
    slide that is covered has it everywhere.

    Args:
        rgb: The thumbnail, uint8 ``(h, w, 3)``.
        mpp: Micrometres that a pixel *of the thumbnail* measures, (x, y).
        min_area_um2: Smaller pieces are left out.
        max_hole_um2: Smaller holes are filled.

    Returns:
        bool ``(h, w)``, True on tissue.
    """
    small, shrink = _shrink(rgb, mpp)
    scale = _Scale(mpp[0] * shrink[0], mpp[1] * shrink[1])
    if _is_fluorescence(small):
        mask = _shining(small, scale)
    else:
        mask = _absorbing(small, scale)
    mask = _drop_small(mask, min_area_um2 / scale.pixel_um2)
    mask = _fill_small(mask, max_hole_um2 / scale.pixel_um2)
    return _enlarge(mask, shrink, rgb.shape[:2])


def is_fluorescence(rgb: NDArray[np.uint8]) -> bool:
    """Whether a thumbnail, uint8 ``(h, w, 3)``, shows light on black and not stain on glass."""
    return _is_fluorescence(rgb.astype(np.float32))


@dataclass(frozen=True)
class _Scale:
    """Micrometres per working pixel, along x and y."""

    x: float
    y: float

    @property
    def pixel_um2(self) -> float:
        return self.x * self.y

    def sigma(self, um: float) -> tuple[float, float, float]:
        """Standard deviations (row, column, channel) in pixels, at least half a pixel."""
        return max(0.5, um / self.y), max(0.5, um / self.x), 0.0

    def disk(self, um: float) -> Mask:
        """A filled ellipse of radius ``um``, at least one pixel each way."""
        radius_y, radius_x = max(1, round(um / self.y)), max(1, round(um / self.x))
        y, x = np.mgrid[-radius_y : radius_y + 1, -radius_x : radius_x + 1]
        inside: Mask = (y / radius_y) ** 2 + (x / radius_x) ** 2 <= 1
        return inside


def _shrink(rgb: NDArray[np.uint8], mpp: tuple[float, float]) -> tuple[FloatImage, tuple[int, int]]:
    """The thumbnail averaged to the working scale, float32, and the whole factors (x, y) taken."""
    height, width = rgb.shape[:2]
    crowd = -(-max(height, width) // _WORKING_SIDE)
    dx, dy = (max(1, crowd, int(_WORKING_MPP / size)) for size in mpp)
    dx, dy = min(dx, width), min(dy, height)
    rows, columns = np.arange(0, height, dy), np.arange(0, width, dx)
    total = np.add.reduceat(np.add.reduceat(rgb, rows, axis=0, dtype=np.float32), columns, axis=1)
    counts = np.diff(rows, append=height)[:, None] * np.diff(columns, append=width)
    return (total / counts[..., None]).astype(np.float32), (dx, dy)


def _enlarge(mask: Mask, shrink: tuple[int, int], shape: tuple[int, ...]) -> Mask:
    dx, dy = shrink
    return mask.repeat(dy, axis=0).repeat(dx, axis=1)[: shape[0], : shape[1]]


def _is_fluorescence(image: FloatImage) -> bool:
    """Mostly black, and nowhere the light grey of glass."""
    brightest, darkest = image.max(axis=2), image.min(axis=2)
    return bool((brightest < 70).mean() > 0.3 and (darkest > 150).mean() < 0.02)


def _shining(image: FloatImage, scale: _Scale) -> Mask:
    """Tissue in fluorescence: brighter than the black around it, beyond its noise."""
    light = ndimage.gaussian_filter(image, scale.sigma(_SMOOTH_UM)).max(axis=2)
    black = float(np.percentile(light, 5))
    noise = float(np.percentile(light, 25)) - black
    level = np.log1p(np.maximum(light - black, 0))
    limit = np.clip(float(np.expm1(_otsu(level))), 4.0 + 2 * noise, 16.0)
    return ndimage.binary_closing(_pad(light > black + limit), scale.disk(_CLOSE_UM))[_INNER]


def _absorbing(image: FloatImage, scale: _Scale) -> Mask:
    """Tissue in transmitted light."""
    density = _optical_density(image, _glass(image))
    score = _score(density, scale)
    low, high = _thresholds(score)
    ink = _ink(density, scale)
    score[ink] = 0
    mask = _connected_to(score > low, score > high)
    mask = ndimage.binary_closing(_pad(mask), scale.disk(_CLOSE_UM))[_INNER] & ~ink
    mask = ndimage.binary_opening(mask, scale.disk(_SMOOTH_UM))
    return _drop_lines(mask, density, scale)


def _glass(image: FloatImage) -> FloatImage:
    """Colour of the empty slide, float32 (3,): the commonest among bright, flat, greyish pixels.

    Pure white is set aside where there is other glass: it is what scanners write where they did not scan.
    """
    grey = image.mean(axis=2)
    flat = _local_std(grey) < 2.5
    chroma = image.max(axis=2) - image.min(axis=2)
    candidate = flat & (chroma < 24) & (grey > 130)
    scanned = candidate & (grey < 254.5)
    if scanned.mean() > 0.01:
        candidate = scanned
    if candidate.mean() < 0.005:
        return np.full(3, _DEFAULT_GLASS, dtype=np.float32)
    counts = np.bincount(grey[candidate].astype(np.int64), minlength=256)
    smooth = np.convolve(counts, np.ones(5), mode="same")
    # The brightest level that is common, not the commonest: pale smooth tissue may cover more than glass.
    level = int(np.flatnonzero(smooth > 0.2 * smooth.max()).max()) - 1
    at_level = candidate & (np.abs(grey - level) <= 4)
    if not at_level.any():
        at_level = candidate
    return np.median(image[at_level], axis=0).astype(np.float32)


def _optical_density(image: FloatImage, glass: FloatImage) -> FloatImage:
    """OD of each channel against the glass, float32 ``(h, w, 3)``; what is brighter than glass has 0."""
    share = np.maximum(image, 1.0) / glass
    density: FloatImage = np.maximum(-np.log(share), 0.0).astype(np.float32)
    return density


def _score(density: FloatImage, scale: _Scale) -> FloatImage:
    """How much like tissue: colour and texture count in full, plain grey only where it is dark."""
    smooth = ndimage.gaussian_filter(density, scale.sigma(_SMOOTH_UM))
    mean = smooth.mean(axis=2)
    colour = smooth.max(axis=2) - smooth.min(axis=2)
    texture = ndimage.gaussian_filter(_local_std(density.mean(axis=2)), scale.sigma(_SMOOTH_UM)[:2])
    score: FloatImage = colour + texture + np.maximum(mean - 0.12, 0)
    return score


def _thresholds(score: FloatImage) -> tuple[float, float]:
    """(low, high): the floors, raised by the noise of the glass, high no further than Otsu's."""
    quiet = score[score < _LOW]
    noise = float(quiet.mean() + 3 * quiet.std()) if quiet.size else 0.0
    low = float(np.clip(noise, 0.5 * _LOW, _LOW))
    high = float(np.clip(_otsu(score), 2 * low, _HIGH))
    return low, high


def _otsu(values: FloatImage) -> float:
    if float(values.max()) - float(values.min()) < 1e-6:
        return float(values.max())
    return float(threshold_otsu(values))


def _ink(density: FloatImage, scale: _Scale) -> Mask:
    """Strokes of a marker: dense, even, and of a colour that no stain has.

    In every usual stain (haematoxylin, eosin, PAS, DAB, silver) green light is absorbed most, or nearly.
    Blue, green and black ink, and the red of markers, break that or are even where tissue never is.
    """
    smooth = ndimage.gaussian_filter(density, scale.sigma(_SMOOTH_UM))
    red, green, blue = smooth[..., 0], smooth[..., 1], smooth[..., 2]
    darkest, mean = smooth.max(axis=2), smooth.mean(axis=2)
    even = _local_std(density.mean(axis=2)) < 0.08 + 0.06 * mean
    blue_or_green = (darkest > 0.45) & (green < 0.7 * darkest)
    reddish = (green > 0.8) & (blue > 0.72 * green) & (red < 0.3 * green)
    black = (smooth.min(axis=2) > 1.3) & (darkest < 1.35 * smooth.min(axis=2))
    stroke = ndimage.binary_opening(even & (blue_or_green | reddish | black), scale.disk(30.0))
    stroke = _drop_small(stroke, 40_000 / scale.pixel_um2)
    if not stroke.any():
        return stroke
    # The rim of a stroke is a blend of ink and glass; take it along.
    return ndimage.binary_dilation(stroke, scale.disk(40.0), iterations=1)


def _drop_lines(mask: Mask, density: FloatImage, scale: _Scale) -> Mask:
    """Without coverslip edges and fibres: grey pieces much longer than wide, and narrower than a biopsy."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    colour = density.max(axis=2) - density.min(axis=2)
    chroma = ndimage.mean(colour, labels, np.arange(count + 1))
    keep = np.ones(count + 1, dtype=bool)
    for region in regionprops(labels):
        length = region.axis_major_length * max(scale.x, scale.y)
        width = region.area * scale.pixel_um2 / max(length, 1e-6)
        if chroma[region.label] < 0.06 and width < 200 and length > 6 * width:
            keep[region.label] = False
    keep[0] = False
    kept: Mask = keep[labels]
    return kept


def _connected_to(low: Mask, high: Mask) -> Mask:
    """The pieces of ``low`` that hold a pixel of ``high``."""
    labels, count = ndimage.label(low, structure=np.ones((3, 3)))
    keep = np.zeros(count + 1, dtype=bool)
    keep[np.unique(labels[high & low])] = True
    keep[0] = False
    kept: Mask = keep[labels]
    return kept


def _drop_small(mask: Mask, pixels: float) -> Mask:
    labels, count = ndimage.label(mask)
    keep = np.bincount(labels.ravel(), minlength=count + 1) >= pixels
    keep[0] = False
    kept: Mask = keep[labels]
    return kept


def _fill_small(mask: Mask, pixels: float) -> Mask:
    """Fill holes of fewer pixels; what touches the border of the picture is no hole."""
    labels, count = ndimage.label(~mask)
    fill = np.bincount(labels.ravel(), minlength=count + 1) < pixels
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    fill[border] = False
    fill[0] = False
    return mask | fill[labels]


def _local_std(image: FloatImage) -> FloatImage:
    """Standard deviation over 3 x 3 pixels."""
    mean = ndimage.uniform_filter(image, 3)
    variance = ndimage.uniform_filter(image * image, 3) - mean * mean
    std: FloatImage = np.sqrt(np.maximum(variance, 0))
    return std


_PAD = 16
_INNER = (slice(_PAD, -_PAD), slice(_PAD, -_PAD))


def _pad(mask: Mask) -> Mask:
    """Repeat the border, so that closing does not eat into tissue that the picture cuts."""
    return np.pad(mask, _PAD, mode="edge")
