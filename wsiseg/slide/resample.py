"""Area averaging: the mean of what each output pixel covers, for any real factor."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

_PIXELS_AT_ONCE = 1 << 19


def area_average(
    image: NDArray[np.uint8],
    size: tuple[int, int],
    start: tuple[float, float] = (0.0, 0.0),
    step: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """Resample by averaging over the area under each output pixel.

    Output pixel i covers ``[start + i * step, start + (i + 1) * step)`` of the input along each axis. A step
    below 1 (magnification) averages over one whole input pixel around the same centre, which is linear
    interpolation. Input outside the array counts as its nearest pixel.

    Args:
        image: uint8 ``(h, w, 3)``.
        size: ``(width, height)`` of the result.
        start: Where output pixel 0 begins, (x, y) in input pixels.
        step: Input pixels an output pixel measures, (x, y); by default the input is divided evenly.

    Returns:
        uint8 ``(height, width, 3)``, rounded to the nearest value.
    """
    height, width = image.shape[:2]
    step_x, step_y = step or (width / size[0], height / size[1])
    if (start, step_x, step_y) == ((0.0, 0.0), 1.0, 1.0) and size == (width, height):
        return image
    if _is_whole(image, size, start, (step_x, step_y)):
        top, left, dx, dy = int(start[1]), int(start[0]), int(step_x), int(step_y)
        return _average_blocks(image[top : top + size[1] * dy, left : left + size[0] * dx], dx, dy)
    rows = _weights(height, size[1], start[1], step_y)
    columns = _weights(width, size[0], start[0], step_x)
    result = np.empty((size[1], size[0], 3), dtype=np.uint8)
    # Floating-point copies take four times the room of the image, so a few rows are made at a time.
    some = max(1, int(_PIXELS_AT_ONCE / (step_y * width)))
    for top in range(0, size[1], some):
        part = rows[top : top + some]
        first, last = int(part.indices.min()), int(part.indices.max()) + 1
        tall = part[:, first:last] @ image[first:last].reshape(last - first, -1).astype(np.float32)
        count = tall.shape[0]
        sideways = np.ascontiguousarray(tall.reshape(count, width, 3).transpose(1, 0, 2)).reshape(width, -1)
        averaged = (columns @ sideways).reshape(size[0], count, 3).transpose(1, 0, 2)
        result[top : top + count] = averaged + np.float32(0.5)
    return result


def over_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Composite ``(h, w, 4)`` with straight alpha over white: uint8 ``(h, w, 3)``."""
    alpha = rgba[..., 3]
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(rgba[..., :3])
    weight = alpha[..., None].astype(np.uint16)
    mixed = (rgba[..., :3] * weight + 255 * (255 - weight) + 127) // 255
    return mixed.astype(np.uint8)


def _is_whole(
    image: NDArray[np.uint8], size: tuple[int, int], start: tuple[float, float], step: tuple[float, float]
) -> bool:
    """Whether each output pixel covers whole input pixels, all inside the image, and few enough to add up."""
    if not all(value == int(value) for value in (*start, *step)) or min(step) < 1 or step[0] * step[1] > 256:
        return False
    ends = (start[axis] + size[axis] * step[axis] for axis in (0, 1))
    limits = (image.shape[1], image.shape[0])
    return min(start) >= 0 and all(end <= limit for end, limit in zip(ends, limits, strict=True))


def _average_blocks(block: NDArray[np.uint8], dx: int, dy: int) -> NDArray[np.uint8]:
    """Mean of each ``dx`` x ``dy`` pixels; at most 256 of them, so that the sum fits 16 bits.

    Sums run along whole rows, at every offset and not only where a block begins: long plain loops, of
    which a processor does many steps at a time, cost less than short strided ones.
    """
    height, width = block.shape[:2]
    samples = block.reshape(height, width * 3)
    tall = samples[0::dy].astype(np.uint16)
    for offset in range(1, dy):
        tall += samples[offset::dy]
    reach = 3 * (width - dx + 1)
    total = tall[:, :reach].copy()
    for offset in range(1, dx):
        total += tall[:, 3 * offset : 3 * offset + reach]
    # At most 256 * 255 + 128 = 65408: still 16 bits.
    total += np.uint16(dx * dy // 2)
    total //= np.uint16(dx * dy)
    pixels = total.astype(np.uint8).reshape(height // dy, -1, 3).view("V3")[:, ::dx, 0]
    return np.ascontiguousarray(pixels).view(np.uint8).reshape(height // dy, width // dx, 3)


@lru_cache(maxsize=64)
def _weights(length: int, count: int, start: float, step: float) -> sparse.csr_array:
    """Sparse float32 ``(count, length)``: row i holds the share of each input pixel in output pixel i."""
    span = max(step, 1.0)
    left = start + (np.arange(count) + 0.5) * step - span / 2
    taps = math.ceil(span) + 1
    source = np.floor(left).astype(np.int64)[:, None] + np.arange(taps)
    overlap = np.minimum(source + 1, left[:, None] + span) - np.maximum(source, left[:, None])
    share = np.clip(overlap, 0, None)
    share /= share.sum(axis=1, keepdims=True)
    column = np.clip(source, 0, length - 1)
    row = np.repeat(np.arange(count), taps)
    weights = sparse.csr_array(
        (share.ravel().astype(np.float32), (row, column.ravel())), shape=(count, length)
    )
    weights.sum_duplicates()
    weights.eliminate_zeros()
    return weights
