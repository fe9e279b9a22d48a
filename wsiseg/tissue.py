"""Where the tissue is, found on a thumbnail.

Stains differ, but three things hold for all of them. Against glass, tissue takes light away, and by
Beer and Lambert's law the optical density (OD, minus the logarithm of the share of light that is left)
adds up over what the light passes. It is coloured, or it is textured, usually both; smooth grey, be it a
shadow, uneven light or a greyish slide, is glass. And it comes in pieces, not in specks and not in
straight lines. Fluorescence turns the first around: tissue is what shines on black.

Steps: shrink to a working scale; estimate the glass; score each pixel by OD, colour and texture; keep
what passes a low threshold and hangs together with what passes a high one; take out ink, coverslip edges
and specks; close small holes. Pictures are ``(3, h, w)`` in here, since most work goes channel by channel.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

FloatImage = NDArray[np.float32]
Mask = NDArray[np.bool_]

_WORKING_MPP = 4.0
"""Finer thumbnails are averaged down to this: cells are texture here, not objects."""
_WORKING_SIDE = 1024
"""Larger thumbnails are averaged down to this, which keeps a slide under a second."""
_SMOOTH_UM = 8.0
_CLOSE_UM = 20.0

_LOW, _HIGH = (0.016, 0.05), (0.026, 0.10)
"""Ranges of the scores that are tissue if they touch it, and that are tissue by themselves."""
_HALO = 0.12
"""What scores less than this share of its surroundings' best is the blur around them."""
_ROWS_AT_ONCE = 64
_LINE_UM = 200.0
"""Edges and fibres are narrower, biopsies wider."""
_CLEAR = 0.03
"""Optical density up to which a pixel may be glass."""
_PLAIN_GREY = 0.2
"""Optical density up to which grey without colour or texture is taken for shadow."""
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
    image, shrink = _shrink(rgb, mpp)
    scale = _Scale(mpp[0] * shrink[0], mpp[1] * shrink[1])
    if _is_dark(image):
        mask = _shining(image, scale)
    else:
        evidence = _weigh(image, scale)
        # The picture is the largest thing in memory, and nobody needs it any more.
        del image
        mask = _absorbing(evidence, scale)
    mask = _drop_small(mask, min_area_um2 / scale.pixel_um2)
    mask = ~_drop_small(~mask, max_hole_um2 / scale.pixel_um2, keep_cut=True)
    dx, dy = shrink
    return mask.repeat(dy, axis=0).repeat(dx, axis=1)[: rgb.shape[0], : rgb.shape[1]]


def is_fluorescence(rgb: NDArray[np.uint8]) -> bool:
    """Whether a thumbnail, uint8 ``(h, w, 3)``, shows light on black and not stain on glass."""
    return _is_dark(rgb.transpose(2, 0, 1))


@dataclass(frozen=True)
class _Scale:
    """Micrometres per working pixel, along x and y."""

    x: float
    y: float

    @property
    def pixel_um2(self) -> float:
        return self.x * self.y

    def smooth(self, picture: FloatImage, output: FloatImage | None = None) -> FloatImage:
        """Gaussian blur of the last two axes, by ``_SMOOTH_UM`` and at least half a pixel.

        Args:
            picture: ``(..., h, w)``.
            output: Where to write it; may be the picture, as it goes line by line.
        """
        sigma = (max(0.5, _SMOOTH_UM / self.y), max(0.5, _SMOOTH_UM / self.x))
        blurred: FloatImage = ndimage.gaussian_filter(picture, sigma, output=output, axes=(-2, -1))
        return blurred

    def dilate(self, mask: Mask, um: float) -> Mask:
        """The mask grown by ``um``, at least one pixel, to all sides."""
        size = (2 * max(1, round(um / self.y)) + 1, 2 * max(1, round(um / self.x)) + 1)
        grown: Mask = ndimage.maximum_filter(mask.view(np.uint8), size).view(np.bool_)
        return grown

    def close(self, mask: Mask, um: float) -> Mask:
        """Bridge gaps of twice ``um``. What lies beyond the picture counts as its border."""
        return ~self.dilate(~self.dilate(mask, um), um)

    def open(self, mask: Mask, um: float) -> Mask:
        """Drop what is narrower than twice ``um``."""
        return ~self.close(~mask, um)


def _shrink(rgb: NDArray[np.uint8], mpp: tuple[float, float]) -> tuple[FloatImage, tuple[int, int]]:
    """The thumbnail averaged to the working scale, float32 ``(3, h, w)``, and the factors (x, y) taken."""
    height, width = rgb.shape[:2]
    crowd = -(-max(height, width) // _WORKING_SIDE)
    dx, dy = (max(1, crowd, int(_WORKING_MPP / size)) for size in mpp)
    dx, dy = min(dx, width), min(dy, height)
    rows, columns = np.arange(0, height, dy), np.arange(0, width, dx)
    # Whole numbers as small as hold the sums: the picture is the largest thing in memory at this time.
    tall = _sum_groups(np.moveaxis(rgb, 2, 0), dy, 1, np.uint16 if dy <= 256 else np.uint32)
    total = _sum_groups(tall, dx, 2, np.float32)
    del tall
    counts = np.diff(rows, append=height)[:, None] * np.diff(columns, append=width)
    total /= counts.astype(np.float32)
    return np.ascontiguousarray(total), (dx, dy)


def _sum_groups(planes: NDArray[Any], size: int, axis: int, dtype: Any) -> NDArray[Any]:
    """Sums of ``size`` neighbours along an axis of ``(3, h, w)``, the last group perhaps of fewer."""
    lines = np.moveaxis(planes, axis, 0)
    total = lines[::size].astype(dtype, order="C")
    for offset in range(1, size):
        some = lines[offset::size]
        total[: len(some)] += some
    return np.moveaxis(total, 0, axis)


def _is_dark(image: NDArray[np.generic]) -> bool:
    """Mostly black, and nowhere the light grey of glass."""
    return bool((image.max(axis=0) < 70).mean() > 0.3 and (image.min(axis=0) > 150).mean() < 0.02)


def _shining(image: FloatImage, scale: _Scale) -> Mask:
    """Tissue in fluorescence: brighter than the black around it, beyond its noise."""
    light = scale.smooth(image).max(axis=0)
    black = float(np.percentile(light, 5))
    noise = float(np.percentile(light, 25)) - black
    level = np.log1p(np.maximum(light - black, 0))
    limit = np.clip(float(np.expm1(threshold_otsu(level))), 4.0 + 2 * noise, 16.0)
    return scale.close(light > black + limit, _CLOSE_UM)


@dataclass(frozen=True)
class _Evidence:
    """What speaks for tissue in transmitted light; pictures are ``(h, w)``.

    Attributes:
        score: How much like tissue each pixel is; 0 on ink.
        low: Score from which a pixel is tissue if it touches tissue.
        high: Score from which it is tissue by itself.
        colour: Range of the optical densities of the three channels.
        ink: Strokes of a marker.
    """

    score: FloatImage
    low: float
    high: float
    colour: FloatImage
    ink: Mask


def _weigh(image: FloatImage, scale: _Scale) -> _Evidence:
    """The evidence of an image, which is written over."""
    density = _optical_density(image, _glass(image))
    roughness = _local_std(density.mean(axis=0))
    colour = density.max(axis=0) - density.min(axis=0)
    clear = density.max(axis=0) < _CLEAR
    # In place, as the density of the image before: pictures of three channels are what the memory goes into.
    smooth = scale.smooth(density, output=density)
    score = _score(smooth, roughness, scale)
    low, high = _thresholds(score, clear)
    ink = _ink(smooth, roughness, scale)
    score[ink] = 0
    return _Evidence(score, low, high, colour, ink)


def _absorbing(found: _Evidence, scale: _Scale) -> Mask:
    """Tissue in transmitted light."""
    limit = np.maximum(found.low, _HALO * ndimage.maximum_filter(found.score, 7))
    mask = _connected_to(found.score > limit, found.score > found.high)
    mask = scale.close(mask, _CLOSE_UM) & ~found.ink
    return _drop_lines(scale.open(mask, _SMOOTH_UM), found.colour, scale)


def _glass(image: FloatImage) -> FloatImage:
    """Colour of the empty slide, float32 (3,): the brightest common one among flat, greyish areas.

    Pure white is set aside where there is other glass: it is what scanners write where they did not scan.
    """
    default = np.full(3, _DEFAULT_GLASS, dtype=np.float32)
    grey = image.mean(axis=0)
    candidate = (_local_std(grey, 7) < 1.5) & (grey > 130)
    candidate &= image.max(axis=0) - image.min(axis=0) < 24
    scanned = candidate & (grey < 254.5)
    if scanned.mean() > 0.01:
        candidate = scanned
    if candidate.mean() < 0.01:
        return default
    counts = np.bincount(grey[candidate].astype(np.uint8), minlength=256)
    smooth = np.convolve(counts, np.ones(5), mode="same")
    # The brightest level that is common, not the commonest: pale smooth tissue may cover more than glass.
    level = int(np.flatnonzero(smooth > 0.2 * smooth.max()).max()) - 1
    if ((grey > level + 6) & (grey < 254.5)).mean() > 0.02:
        # Glass lets through the most light; so this is pale tissue, and nothing of the glass shows.
        return default
    at_level = candidate & (np.abs(grey - level) <= 4)
    if not at_level.any():
        return default
    return np.array([np.median(channel[at_level]) for channel in image], dtype=np.float32)


def _optical_density(image: FloatImage, glass: FloatImage) -> FloatImage:
    """OD of each channel against the glass, float32 ``(3, h, w)``; what is brighter than glass has 0.

    Written over the image, which with its copies would be the largest thing that tiling holds.
    """
    np.maximum(image, 1.0, out=image)
    image /= glass[:, None, None]
    np.negative(np.log(image, out=image), out=image)
    return np.maximum(image, np.float32(0), out=image)


def _score(smooth: FloatImage, roughness: FloatImage, scale: _Scale) -> FloatImage:
    """How much like tissue: colour and texture count in full, plain grey only where it is dark."""
    score: FloatImage = smooth.max(axis=0) - smooth.min(axis=0)
    score += scale.smooth(roughness)
    score += np.maximum(smooth.mean(axis=0) - _PLAIN_GREY, 0)
    return score


def _thresholds(score: FloatImage, clear: Mask) -> tuple[float, float]:
    """(low, high), by the noise of what looks like glass and by Otsu's method, within their ranges."""
    glass = score[clear & (score < _LOW[1])]
    noise = float(glass.mean() + 4 * glass.std()) if glass.size > 100 else 0.0
    low = float(np.clip(noise, *_LOW))
    high = float(np.clip(threshold_otsu(score), max(_HIGH[0], 1.6 * low), _HIGH[1]))
    return low, high


def _ink(smooth: FloatImage, roughness: FloatImage, scale: _Scale) -> Mask:
    """Strokes of a marker: dense, even, and of a colour that no stain has.

    In every usual stain (haematoxylin, eosin, PAS, DAB, silver) green light is absorbed most, or nearly.
    Blue, green and black ink, and the red of markers, break that or are even where tissue never is.
    """
    inky = np.empty(roughness.shape, dtype=bool)
    # Some rows at a time, as this takes a dozen pictures for a moment.
    for top in range(0, len(inky), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        inky[rows] = _is_inky(smooth[:, rows], roughness[rows])
    stroke = _drop_small(scale.open(inky, 30.0), 40_000 / scale.pixel_um2)
    # The rim of a stroke is a blend of ink and glass; take it along.
    return scale.dilate(stroke, 40.0) if stroke.any() else stroke


def _is_inky(smooth: FloatImage, roughness: FloatImage) -> Mask:
    """Pixels that may be a marker's: see ``_ink``."""
    red, green, blue = smooth
    darkest, lightest = smooth.max(axis=0), smooth.min(axis=0)
    even = roughness < 0.08 + 0.06 * smooth.mean(axis=0)
    blue_or_green = (darkest > 0.45) & (green < 0.7 * darkest)
    reddish = (green > 0.8) & (blue > 0.62 * green) & (red < 0.3 * green)
    black = (lightest > 1.3) & (darkest < 1.35 * lightest)
    inky: Mask = even & (blue_or_green | reddish | black)
    return inky


def _drop_lines(mask: Mask, colour: FloatImage, scale: _Scale) -> Mask:
    """Without coverslip edges and fibres: grey pieces much longer than wide, and narrower than a biopsy."""
    labels, count = ndimage.label(mask)
    area = np.bincount(labels.ravel(), minlength=count + 1)
    # No line across the picture, twice over, has more than this: most of the tissue is left alone here.
    longest = 2 * np.hypot(*mask.shape) * max(scale.x, scale.y)
    small = area * scale.pixel_um2 < _LINE_UM * longest
    small[0] = False
    number = np.cumsum(small)
    place = np.flatnonzero(small[labels])
    if not place.size:
        return mask
    piece, area = number[labels.ravel()[place]] - 1, area[small]
    row, column = np.divmod(place, mask.shape[1])

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.bincount(piece, values, len(area)) / area
        return found

    colourful = mean(colour.ravel()[place])
    x, y = mean(column), mean(row)
    xx, yy, xy = mean(column * column) - x * x, mean(row * row) - y * y, mean(column * row) - x * y
    # The longer axis of the ellipse that has the same moments.
    length = 4 * np.sqrt((xx + yy) / 2 + np.hypot((xx - yy) / 2, xy)) * max(scale.x, scale.y)
    width = area * scale.pixel_um2 / np.maximum(length, 1e-6)
    line = (width < _LINE_UM) & (length > 6 * width) & (colourful < 0.06)
    kept = mask.copy()
    kept.flat[place[line[piece]]] = False
    return kept


def _connected_to(low: Mask, high: Mask) -> Mask:
    """The pieces of ``low`` that hold a pixel of ``high``."""
    labels, count = ndimage.label(low, structure=np.ones((3, 3)))
    keep = np.zeros(count + 1, dtype=bool)
    keep[labels[high & low]] = True
    kept: Mask = keep[labels]
    return kept


def _drop_small(mask: Mask, pixels: float, *, keep_cut: bool = False) -> Mask:
    """Without pieces of fewer pixels; those that the picture's border cuts stay with ``keep_cut``."""
    if not mask.any():
        return mask
    labels, count = ndimage.label(mask)
    keep = np.bincount(labels.ravel(), minlength=count + 1) >= pixels
    if keep_cut:
        keep[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = True
    keep[0] = False
    kept: Mask = keep[labels]
    return kept


def _local_std(image: FloatImage, side: int = 3) -> FloatImage:
    """Standard deviation over squares of ``side`` pixels, ``(h, w)``."""
    mean = ndimage.uniform_filter(image, side)
    variance: FloatImage = ndimage.uniform_filter(image * image, side)
    variance -= np.multiply(mean, mean, out=mean)
    return np.sqrt(np.maximum(variance, 0, out=variance), out=variance)
