"""Small slides, written when a test needs them; nothing here is random without a seed."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def coordinate_image(width: int, height: int) -> Image:
    """RGB ``(height, width, 3)`` whose colour says where a pixel is: red and green the low bytes of x and y,
    blue the high ones."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x % 256, y % 256, (x // 256) % 16 * 16 + y // 256 % 16], axis=2).astype(np.uint8)


def texture_image(width: int, height: int, seed: int = 0) -> Image:
    """RGB ``(height, width, 3)``: smooth patches with noise on top."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 240, (height // 16 + 2, width // 16 + 2, 3))
    smooth = coarse.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    return np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


def halve(image: Image) -> Image:
    """The next level as a scanner makes it: means of 2 x 2 pixels, an odd last row or column dropped."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    blocks = image[:height, :width].reshape(height // 2, 2, width // 2, 2, *image.shape[2:])
    return (blocks.mean(axis=(1, 3)) + 0.5).astype(np.uint8)


def pyramid(image: Image, levels: int) -> list[Image]:
    """The image and ``levels - 1`` smaller ones."""
    images = [image]
    while len(images) < levels:
        images.append(halve(images[-1]))
    return images


def write_slide(
    path: Path,
    image: Image,
    *,
    levels: int = 1,
    mpp: float | tuple[float, float] | None = 0.5,
    aperio: bool | None = None,
    tile: int | tuple[int, int] = 128,
    compression: str | int | None = "jpeg",
    quality: int = 85,
    missing: Iterable[tuple[int, int]] = (),
    **options: Any,
) -> Path:
    """Write a tiled pyramid that OpenSlide opens.

    Args:
        path: ``.svs`` makes an Aperio slide, anything else a generic tiled TIFF.
        image: Level 0, ``(h, w, 3)``, ``(h, w, 4)`` with alpha or ``(h, w)`` grey.
        levels: Levels of the pyramid.
        mpp: Micrometres per pixel, or (x, y), or None to leave it out.
        aperio: Overrules the suffix.
        tile: Side of a tile, or (width, height); multiples of 16.
        compression: As tifffile names it; ``"deflate"`` keeps every pixel.
        quality: Of JPEG.
        missing: (level, index) of tiles that are not stored.
        **options: For ``TiffWriter.write``.
    """
    aperio = path.suffix == ".svs" if aperio is None else aperio
    mpp_x, mpp_y = mpp if isinstance(mpp, tuple) else (mpp, mpp)
    tile_width, tile_height = tile if isinstance(tile, tuple) else (tile, tile)
    options = {"photometric": "minisblack" if image.ndim == 2 else "rgb", **options}
    if image.ndim == 3 and image.shape[2] == 4:
        options["extrasamples"] = ["unassalpha"]
    if compression == "jpeg":
        options["compressionargs"] = {"level": quality}
    if mpp_x is not None and mpp_y is not None and not aperio:
        options |= {"resolution": (1e4 / mpp_x, 1e4 / mpp_y), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as tiff:
        for number, picture in enumerate(pyramid(image, levels)):
            if aperio and number == 1:
                # Aperio's second directory is a thumbnail in strips, and its levels follow.
                tiff.write(picture[::2, ::2], metadata=None, software=False, **options)
            tiff.write(
                picture,
                tile=(tile_height, tile_width),
                compression=compression,
                metadata=None,
                software=False,
                subfiletype=1 if number and not aperio else 0,
                description=_aperio_description(image, mpp_x) if aperio else None,
                **options,
            )
    drop_tiles(path, missing)
    return path


def _aperio_description(image: Image, mpp: float | None) -> str:
    height, width = image.shape[:2]
    scale = "" if mpp is None else f"|MPP = {mpp:g}"
    return f"Aperio Image Library v11.2.1\r\n{width}x{height} JPEG/RGB Q=85|AppMag = 20{scale}"


def drop_tiles(path: Path, missing: Iterable[tuple[int, int]]) -> None:
    """Make tiles, given as (level, index), ones that are not stored: offset and length 0."""
    missing = list(missing)
    if not missing:
        return
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for number, page in enumerate(page for page in tiff.pages if page.is_tiled):
            gone = [index for level, index in missing if level == number]
            for tag in ("TileOffsets", "TileByteCounts"):
                values = list(_as_sequence(page.tags[tag].value))
                for index in gone:
                    values[index] = 0
                page.tags[tag].overwrite(values)


def damage_tile(path: Path, index: int, *, level: int = 0, keep: float = 0.5) -> None:
    """Overwrite what comes after the first ``keep`` of a stored tile with zeros."""
    with tifffile.TiffFile(path) as tiff:
        page = [page for page in tiff.pages if page.is_tiled][level]
        offset, count = page.dataoffsets[index], page.databytecounts[index]
    begin = int(count * keep)
    with path.open("r+b") as file:
        file.seek(offset + begin)
        file.write(bytes(count - begin))


def write_ome_tiff(
    path: Path, image: Image, *, levels: int = 2, mpp: float = 0.5, compression: str | None = "jpeg"
) -> Path:
    """Write a pyramidal OME-TIFF, its lower levels in SubIFDs."""
    metadata = {
        "axes": "YXS",
        "PhysicalSizeX": mpp,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": mpp,
        "PhysicalSizeYUnit": "µm",
    }
    options: dict[str, Any] = {"tile": (128, 128), "compression": compression, "photometric": "rgb"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        first, *rest = pyramid(image, levels)
        tiff.write(first, subifds=len(rest), metadata=metadata, **options)
        for picture in rest:
            tiff.write(picture, subfiletype=1, metadata=None, **options)
    return path


def _as_sequence(value: Any) -> Sequence[int]:
    return value if isinstance(value, Sequence) else (int(value),)


_SCN = """<?xml version="1.0" encoding="UTF-8"?>
<scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="urn:uuid:1">
 <collection name="c" uuid="urn:uuid:2" sizeX="{plane[0]}" sizeY="{plane[1]}">
  <barcode/>
  <image name="i" uuid="urn:uuid:3">
   <creationDate>2020-01-01T00:00:00.0Z</creationDate>
   <device model="Leica SCN400;Leica SCN" version="1.4"/>
   <pixels sizeX="{size[0]}" sizeY="{size[1]}">
    <dimension sizeX="{size[0]}" sizeY="{size[1]}" r="0" ifd="0"/>
   </pixels>
   <view sizeX="{view[0]}" sizeY="{view[1]}" offsetX="{offset[0]}" offsetY="{offset[1]}" spacingZ="0"/>
   <scanSettings>
    <objectiveSettings><objective>20</objective></objectiveSettings>
    <illuminationSettings><illuminationSource>brightfield</illuminationSource></illuminationSettings>
   </scanSettings>
  </image>
 </collection>
</scn>"""


def write_scn(
    path: Path, image: Image, *, origin: tuple[int, int], plane: tuple[int, int], mpp: float = 0.5
) -> Path:
    """Write a Leica SCN slide, on which only a part of the plane was scanned.

    Args:
        path: An ``.scn`` file.
        image: What was scanned, ``(h, w, 3)``; kept losslessly.
        origin: Its upper left corner on the plane (x, y).
        plane: Width and height of the plane.
        mpp: Micrometres per pixel.
    """
    size = (image.shape[1], image.shape[0])
    nanometres = {
        name: tuple(round(pixels * mpp * 1000) for pixels in pair)
        for name, pair in (("plane", plane), ("view", size), ("offset", origin))
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        tiff.write(
            image,
            tile=(64, 64),
            photometric="rgb",
            compression="deflate",
            description=_SCN.format(size=size, **nanometres),
            metadata=None,
            resolution=(1e4 / mpp, 1e4 / mpp),
            resolutionunit="CENTIMETER",
        )
    return path
