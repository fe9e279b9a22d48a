"""Where an unfinished prediction lives, and how it goes on after an interruption.

A work folder holds ``key`` (what is being made), ``label.zarr`` and ``confidence.zarr``, and ``journal``:
one JSON line for every finished band, written after the band itself. Whatever moment the process is
killed at, the lines that are whole tell which bands are on disk; the band that was under way is made
again, and gives the same bytes.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from wsiseg.errors import StoreFormatError
from wsiseg.files import PARTIAL_SUFFIX, as_output_error
from wsiseg.infer.stitcher import Band
from wsiseg.tilestore import MaskStore


@dataclass
class WorkFolder:
    """An unfinished prediction.

    Attributes:
        path: The folder.
        label: Class of each grid pixel, uint8.
        confidence: Its probability in steps of 1 / 255, uint8.
        bands: Bands that are finished.
        unreadable: Tiles in them that could not be read.
    """

    path: Path
    label: MaskStore
    confidence: MaskStore
    bands: int = 0
    unreadable: int = 0

    @classmethod
    def open(cls, path: Path, key: str, size_gr: tuple[int, int]) -> Self:
        """Go on with a folder that holds the same work, or begin anew.

        Args:
            path: The folder; its name ends in ``PARTIAL_SUFFIX``.
            key: What is being made; a folder with another key is emptied first.
            size_gr: Size of the masks.

        Raises:
            OutputError: The folder cannot be written.
        """
        with as_output_error(path):
            return cls._resume(path, key, size_gr) or cls._begin(path, key, size_gr)

    @classmethod
    def _resume(cls, path: Path, key: str, size_gr: tuple[int, int]) -> Self | None:
        try:
            if (path / "key").read_text(encoding="ascii") != key:
                return None
            label = MaskStore.open(path / "label.zarr", writable=True)
            confidence = MaskStore.open(path / "confidence.zarr", writable=True)
        except (FileNotFoundError, NotADirectoryError, StoreFormatError):
            return None
        if label.size_gr != size_gr or confidence.size_gr != size_gr:
            return None
        work = cls(path, label, confidence)
        kept = []
        for line in _whole_lines(path / "journal"):
            entry = json.loads(line)
            if entry["band"] != work.bands:
                break
            kept.append(line)
            work.bands, work.unreadable = work.bands + 1, work.unreadable + entry["unreadable"]
        # Without the half of a line that the interruption may have left.
        (path / "journal").write_bytes(b"".join(kept))
        return work

    @classmethod
    def _begin(cls, path: Path, key: str, size_gr: tuple[int, int]) -> Self:
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True)
        work = cls(
            path,
            MaskStore.create(path / "label.zarr", size_gr),
            MaskStore.create(path / "confidence.zarr", size_gr),
        )
        # Last, since a folder with a key is taken to be whole.
        (path / "key").write_text(key, encoding="ascii")
        return work

    def add(self, band: Band, unreadable: int) -> None:
        """Store a finished band and note it in the journal.

        Raises:
            OutputError: The disk is full.
        """
        self.label.write(band.box_gr, band.label_HW)
        self.confidence.write(band.box_gr, band.confidence_HW)
        entry = json.dumps({"band": self.bands, "unreadable": unreadable}) + "\n"
        with as_output_error(self.path), (self.path / "journal").open("a", encoding="ascii") as journal:
            journal.write(entry)
        self.bands, self.unreadable = self.bands + 1, self.unreadable + unreadable

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)


def work_path(out: Path, stem: str) -> Path:
    """Where the work on a slide lies."""
    return out / f"{stem}.prediction{PARTIAL_SUFFIX}"


def _whole_lines(journal: Path) -> list[bytes]:
    try:
        lines = journal.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [line for line in lines if line.endswith(b"\n")]
