"""The whole-slide arrays of a prediction, filled a part at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wsiseg.errors import StoreFormatError
from wsiseg.geometry import Box
from wsiseg.infer.naming import Kept
from wsiseg.infer.stitcher import Part, Planes
from wsiseg.tilestore import MaskStore

CHUNK = (8192, 128)
"""Columns and rows of a chunk. Parts come, and masks are read, a band of few rows at a time; tiles of 512 px
with a quarter of overlap finish bands of three chunks."""

KEPT_CHUNK = (1024, 1024)
"""Of the maps that the user keeps, and reads anywhere."""


@dataclass
class Masks:
    """Where the parts of a prediction go; each array is uint8 and as large as the slide's grid frame.

    Parts of one band are gathered until they fill columns of chunks, so that no chunk is written twice for
    one band.

    Attributes:
        label: Class of each pixel.
        probability: Its probability in steps of 1 / 255.
        probabilities: Those of all classes, ``(K, H, W)``; None where they are not wanted.
        confidence: The discriminator's confidence in steps of 1 / 255; None where it was not asked.
    """

    label: MaskStore
    probability: MaskStore
    probabilities: MaskStore | None = None
    confidence: MaskStore | None = None
    _waiting: list[Part] = field(default_factory=list)

    @classmethod
    def create(
        cls,
        folder: Path,
        size_gr: tuple[int, int],
        planes: Planes,
        kept: Mapping[Kept, Path],
        attributes: Mapping[str, Any],
    ) -> Self:
        """New, empty masks.

        Args:
            folder: Of those that are only needed for the work.
            size_gr: Size of the grid frame.
            planes: Which arrays there are.
            kept: Where those lie that the user keeps.
            attributes: What these say about themselves.

        Raises:
            OutputError: The folder cannot be written.
        """
        label, probability = (
            MaskStore.create(folder / f"{name}.zarr", size_gr, chunk_px=CHUNK)
            for name in ("label", "probability")
        )
        masks = cls(label, probability)
        if planes.probabilities:
            masks.probabilities = MaskStore.create(
                kept["probabilities"],
                size_gr,
                channels=planes.classes,
                chunk_px=KEPT_CHUNK,
                attributes={"values": "probability of each class / 255", **attributes},
            )
        if planes.confidence:
            path = kept.get("confidence")
            masks.confidence = MaskStore.create(
                path or folder / "confidence.zarr",
                size_gr,
                chunk_px=KEPT_CHUNK if path else CHUNK,
                attributes={"values": "confidence of the discriminator / 255", **attributes} if path else {},
            )
        return masks

    @classmethod
    def open(
        cls, folder: Path, size_gr: tuple[int, int], planes: Planes, kept: Mapping[Kept, Path]
    ) -> Self | None:
        """Masks that ``create`` made with the same arguments; None where one of them is not there."""
        paths = [folder / "label.zarr", folder / "probability.zarr"]
        paths += [kept["probabilities"]] if planes.probabilities else []
        paths += [kept.get("confidence", folder / "confidence.zarr")] if planes.confidence else []
        try:
            stores = [MaskStore.open(path, writable=True) for path in paths]
        except StoreFormatError:
            return None
        if any(store.size_gr != size_gr for store in stores):
            return None
        label, probability, *rest = stores
        return cls(
            label,
            probability,
            rest.pop(0) if planes.probabilities else None,
            rest.pop(0) if planes.confidence else None,
        )

    def write(self, part: Part) -> None:
        """Take a part, to the right of the one before or the first of a band.

        Raises:
            OutputError: The disk is full.
        """
        self._waiting.append(part)
        left, right = self._waiting[0].box_gr.x0, part.box_gr.x1
        edge = right // CHUNK[0] * CHUNK[0]
        if edge > left:
            self._write(edge)

    def finish_band(self) -> None:
        """Write what is left of a band; the next part begins a new one.

        Raises:
            OutputError: The disk is full.
        """
        if self._waiting:
            self._write(self._waiting[-1].box_gr.x1)

    def _write(self, edge: int) -> None:
        """Write the columns up to ``edge``, and keep the rest of the last part waiting."""
        done = [_columns(part, part.box_gr.x0, min(edge, part.box_gr.x1)) for part in self._waiting]
        last = self._waiting[-1]
        self._waiting = [_columns(last, edge, last.box_gr.x1)] if last.box_gr.x1 > edge else []
        first, final = done[0].box_gr, done[-1].box_gr
        box = Box(first.x0, first.y0, final.x1, first.y1)
        self.label.write(box, _joined([part.label_HW for part in done]))
        self.probability.write(box, _joined([part.probability_HW for part in done]))
        if self.probabilities is not None:
            self.probabilities.write(box, _joined([part.probabilities_KHW for part in done]))
        if self.confidence is not None:
            self.confidence.write(box, _joined([part.confidence_HW for part in done]))


def _columns(part: Part, start: int, stop: int) -> Part:
    """The part of a part between two columns of the slide."""
    box = Box(start, part.box_gr.y0, stop, part.box_gr.y1)
    columns = slice(start - part.box_gr.x0, stop - part.box_gr.x0)
    return Part(
        box,
        part.label_HW[:, columns],
        part.probability_HW[:, columns],
        None if part.probabilities_KHW is None else part.probabilities_KHW[:, :, columns],
        None if part.confidence_HW is None else part.confidence_HW[:, columns],
    )


def _joined(arrays: "list[NDArray[np.uint8]] | list[NDArray[np.uint8] | None]") -> NDArray[np.uint8]:
    return np.concatenate([array for array in arrays if array is not None], axis=-1)
