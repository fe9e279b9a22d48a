"""Whole-slide label masks in TIFF files, such as ``predict`` writes as ``.ome.tiff``, read box by box."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.etree.ElementTree import Element, ParseError

import numpy as np
import tifffile
from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException
from numpy.typing import NDArray

from wsiseg.errors import AnnotationParseError
from wsiseg.geometry import UM_PER_UNIT, Box

SUFFIXES = (".tif", ".tiff")

CLASSES_NAMESPACE = "wsiseg/classes"
"""Of the OME annotation in which a mask names its classes: ``<M K="1">podocyte #e84118</M>``."""


class LabelImage:
    """The full-size level of a label mask; a context manager.

    Only the tiles or strips under a box are decoded, so that a mask of any size can be read in bounded
    memory.

    Attributes:
        path: The file.
        size_gr: ``(width, height)``; the mask's own frame is a grid frame of the slide.
        mpp: Micrometres a pixel by the file's OME metadata, or None.
        class_names: What its labels mean, by index, where it says so; None where not.

    Raises:
        AnnotationParseError: Not a TIFF, or not a single channel of 8-bit labels.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self._file = tifffile.TiffFile(self.path)
            self._page = self._first_page()
        except (OSError, ValueError, IndexError) as err:
            raise AnnotationParseError(f"{path} cannot be read as a label mask", found=str(err)) from err
        page: Any = self._page
        if page.dtype != np.uint8 or page.ndim != 2:
            self.close()
            raise AnnotationParseError(
                f"{path} is not a label mask",
                found=f"{page.dtype} of shape {page.shape}",
                expected="uint8 of shape (height, width)",
            )
        self.size_gr: tuple[int, int] = (int(page.shape[1]), int(page.shape[0]))
        root = _ome_root(self._file.ome_metadata)
        self.mpp = None if root is None else _ome_mpp(root)
        self.class_names = None if root is None else _ome_classes(root)

    def _first_page(self) -> Any:
        return self._file.series[0].pages[0]

    def read(self, box_gr: Box) -> NDArray[np.uint8]:
        """Labels of a box, uint8 ``(h, w)``; 0 where the file stores nothing and off the mask.

        Raises:
            AnnotationParseError: A part cannot be decoded.
        """
        label = np.zeros((box_gr.height, box_gr.width), dtype=np.uint8)
        inside = box_gr.intersection(Box(0, 0, *self.size_gr))
        for index in self._segments(inside):
            offset, count = self._page.dataoffsets[index], self._page.databytecounts[index]
            if count:
                self._copy(label, box_gr, index, offset, count)
        return label

    def _segments(self, box: Box) -> list[int]:
        """Indices of the tiles, or strips, under a box."""
        if box.is_empty:
            return []
        width, height = self._segment_size
        columns = -(-self.size_gr[0] // width)
        return [
            row * columns + column
            for row in range(box.y0 // height, (box.y1 - 1) // height + 1)
            for column in range(box.x0 // width, (box.x1 - 1) // width + 1)
        ]

    @property
    def _segment_size(self) -> tuple[int, int]:
        if self._page.is_tiled:
            return int(self._page.tilewidth), int(self._page.tilelength)
        return self.size_gr[0], int(self._page.rowsperstrip)

    def _copy(self, label: NDArray[np.uint8], box: Box, index: int, offset: int, count: int) -> None:
        self._file.filehandle.seek(offset)
        data = self._file.filehandle.read(count)
        try:
            segment, place, _ = self._page.decode(data, index)
        except Exception as err:  # each codec fails in its own way
            raise AnnotationParseError(f"{self.path}: tile {index} cannot be decoded: {err}") from err
        pixels = np.asarray(segment).reshape(segment.shape[-3:-1])
        y, x = int(place[-3]), int(place[-2])
        part = Box.from_size(x, y, pixels.shape[1], pixels.shape[0]).intersection(box)
        label[part.slices((box.x0, box.y0))] = pixels[part.slices((x, y))]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _ome_root(xml: str | None) -> Element | None:
    try:
        root: Element = ElementTree.fromstring(xml or "")
    except (ParseError, DefusedXmlException):
        return None
    return root


def _ome_mpp(root: Element) -> float | None:
    """``PhysicalSizeX`` of the first image, in micrometres; None where there is none that can be read."""
    for element in root.iter():
        if element.tag.endswith("}Pixels") and "PhysicalSizeX" in element.attrib:
            unit = UM_PER_UNIT.get(element.attrib.get("PhysicalSizeXUnit", "µm"))
            try:
                return None if unit is None else float(element.attrib["PhysicalSizeX"]) * unit
            except ValueError:
                return None
    return None


def _ome_classes(root: Element) -> tuple[str, ...] | None:
    for element in root.iter():
        if element.attrib.get("Namespace") == CLASSES_NAMESPACE:
            entries = [entry for entry in element.iter() if entry.tag.endswith("}M")]
            return tuple((entry.text or "").rpartition(" #")[0] for entry in entries)
    return None
