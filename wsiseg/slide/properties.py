"""Metadata of a slide: resolution, objective, bounds, and what the content is known by."""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from wsiseg.errors import ResolutionError
from wsiseg.geometry import PLAUSIBLE_MPP, UM_PER_UNIT, Box, Resolution

_MPP_KEYS = (
    ("openslide.mpp-x", "openslide.mpp-y"),
    ("aperio.MPP", "aperio.MPP"),
    ("tiffslide.mpp-x", "tiffslide.mpp-y"),
)
_BOUNDS_KEYS = (
    "openslide.bounds-x",
    "openslide.bounds-y",
    "openslide.bounds-width",
    "openslide.bounds-height",
)
_ALIKE = 0.01
"""Two resolutions that differ by less are one, rounded."""
_REMEDY = "Give the true um/px of level 0 with --mpp-slide"


def resolution_of(name: str, properties: Mapping[str, str], mpp: float | None) -> Resolution:
    """The resolution of a slide: as given, else the first plausible one of its metadata; never a guess.

    Args:
        name: Of the slide, for the message.
        properties: Its metadata.
        mpp: What the user says, or None.

    Raises:
        ResolutionError: Nothing is there, or nothing plausible.
    """
    if mpp is not None:
        return _checked(name, (mpp, mpp))
    stated = _stated(properties)
    if not stated:
        raise ResolutionError(f"{name} does not say how many micrometres a pixel measures", remedy=_REMEDY)
    return _checked(name, next(filter(_is_plausible, stated), stated[0]))


def contradiction(properties: Mapping[str, str], mpp: float) -> tuple[float, float] | None:
    """The plausible resolution that a slide states where it is not the one that the user gives; else None."""
    stated = next(filter(_is_plausible, _stated(properties)), None)
    if stated is None or all(abs(value - mpp) <= _ALIKE * mpp for value in stated):
        return None
    return stated


def _stated(properties: Mapping[str, str]) -> list[tuple[float, float]]:
    """Every resolution in the metadata, the most trusted first."""
    found = [
        (x, y)
        for key_x, key_y in _MPP_KEYS
        if (x := _number(properties, key_x)) is not None and (y := _number(properties, key_y)) is not None
    ]
    return found + _ome_mpp(properties.get("tiff.ImageDescription", ""))


def _checked(name: str, mpp: tuple[float, float]) -> Resolution:
    try:
        return Resolution(*mpp)
    except ResolutionError as err:
        raise ResolutionError(
            f"{name}: implausible resolution", found=err.found, expected=err.expected, remedy=_REMEDY
        ) from None


def _ome_mpp(description: str) -> list[tuple[float, float]]:
    """PhysicalSizeX and -Y of the first Pixels element of an OME-XML, in micrometres; empty without them."""
    pixels = re.search(r"<(?:\w+:)?Pixels\s[^>]*>", description)
    if pixels is None:
        return []
    attributes = dict(re.findall(r"""(\w+)\s*=\s*["']([^"']*)["']""", pixels[0]))
    mpp = []
    for axis in "XY":
        size = _number(attributes, f"PhysicalSize{axis}")
        unit = UM_PER_UNIT.get(attributes.get(f"PhysicalSize{axis}Unit", "µm"))
        if size is None or unit is None:
            return []
        mpp.append(size * unit)
    return [(mpp[0], mpp[1])]


def _is_plausible(mpp: tuple[float, float]) -> bool:
    return all(PLAUSIBLE_MPP[0] <= value <= PLAUSIBLE_MPP[1] for value in mpp)


def objective_of(properties: Mapping[str, str]) -> float | None:
    """Power of the objective, or None."""
    for key in ("openslide.objective-power", "aperio.AppMag", "tiffslide.objective-power"):
        if (value := _number(properties, key)) is not None and value > 0:
            return value
    return None


def bounds_of(properties: Mapping[str, str], size_l0: tuple[int, int]) -> Box:
    """The part of the plane that was scanned; all of it where the file does not say."""
    plane = Box(0, 0, *size_l0)
    bounds = _bounds(properties)
    if bounds is None:
        return plane
    inside = Box.from_size(*bounds).intersection(plane)
    return plane if inside.is_empty else inside


def origin_qupath_of(properties: Mapping[str, str]) -> tuple[int, int]:
    """Where QuPath puts (0, 0): the corner of the bounds if all four of them are there and whole numbers."""
    bounds = _bounds(properties)
    return (0, 0) if bounds is None else bounds[:2]


def _bounds(properties: Mapping[str, str]) -> tuple[int, int, int, int] | None:
    try:
        x, y, width, height = (int(properties[key]) for key in _BOUNDS_KEYS)
    except (KeyError, ValueError):
        return None
    return x, y, width, height


def _number(properties: Mapping[str, str], key: str) -> float | None:
    try:
        value = float(str(properties[key]).strip().replace(",", "."))
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) else None


_SAMPLE_BYTES = 1 << 16
_SAMPLES = 16


def fingerprint_of(file: BinaryIO, size: int, companions: Path | None = None) -> str:
    """32 hex digits of a file's content: its size and 16 samples of 64 KiB, its head and tail among them.

    Quick on any size, and blind only to a change that keeps the size and falls between the samples.

    Args:
        file: Open for reading.
        size: Its length in bytes.
        companions: A folder that belongs to the file (MIRAX); its names and sizes count too.
    """
    digest = hashlib.sha256(str(size).encode())
    for offset in _sample_offsets(size):
        file.seek(offset)
        digest.update(file.read(_SAMPLE_BYTES))
    if companions is not None and companions.is_dir():
        for path in sorted(companions.iterdir()):
            digest.update(f"{path.name}:{path.stat().st_size}".encode())
    return digest.hexdigest()[:32]


def _sample_offsets(size: int) -> Iterator[int]:
    last = max(0, size - _SAMPLE_BYTES)
    yield from sorted({last * i // (_SAMPLES - 1) for i in range(_SAMPLES)})
