"""Where an unfinished prediction lives, and how it goes on after an interruption.

A work folder holds ``key`` (what is being made), the masks, ``journal``: one JSON line for every finished
band, written after the band itself; and ``files``, where everything that the user gets is made. Whatever
moment the process is killed at, the lines that are whole tell which bands are on disk; the band that was
under way is made again, and gives the same bytes. The record is the last of the files to be made: where it
stands, only moving them into place is left.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from wsiseg.files import as_output_error, discard_torn
from wsiseg.infer.masks import Masks
from wsiseg.infer.naming import RECORD_SUFFIX, Kept, kept_suffix
from wsiseg.infer.stitcher import Planes


@dataclass(frozen=True)
class Work:
    """What is being made.

    Attributes:
        stem: Of the slide.
        key: Digest of everything that the files depend on.
        size_gr: Size of the masks.
        planes: Which masks there are.
        keep: Which of them the user keeps.
        attributes: What these say about themselves.
    """

    stem: str
    key: str
    size_gr: tuple[int, int]
    planes: Planes
    keep: Sequence[Kept] = ()
    attributes: Mapping[str, Any] | None = None

    def kept(self, folder: Path) -> dict[Kept, Path]:
        """Where the maps lie that the user keeps: among the files, under their own names."""
        return {name: folder / "files" / f"{self.stem}{kept_suffix(name)}" for name in self.keep}


@dataclass
class WorkFolder:
    """An unfinished prediction.

    Attributes:
        path: The folder.
        masks: Its masks.
        bands: Bands that are finished.
        unreadable: Tiles in them that could not be read.
    """

    path: Path
    masks: Masks
    bands: int = 0
    unreadable: int = 0

    @classmethod
    def open(cls, path: Path, work: Work) -> Self:
        """Go on with a folder that holds the same work, or begin anew.

        Args:
            path: The folder; its name ends in ``PARTIAL_SUFFIX``.
            work: What is being made; a folder with another key is emptied first.

        Raises:
            OutputError: The folder cannot be written.
        """
        with as_output_error(path):
            return cls._resume(path, work) or cls._begin(path, work)

    @classmethod
    def _resume(cls, path: Path, work: Work) -> Self | None:
        if not _has_key(path, work.key):
            return None
        discard_torn(path)
        masks = Masks.open(path, work.size_gr, work.planes, work.kept(path))
        if masks is None:
            return None
        folder = cls(path, masks)
        kept = []
        for line in _whole_lines(path / "journal"):
            entry = json.loads(line)
            if entry["band"] != folder.bands:
                break
            kept.append(line)
            folder.bands, folder.unreadable = folder.bands + 1, folder.unreadable + entry["unreadable"]
        # Without the half of a line that the interruption may have left.
        (path / "journal").write_bytes(b"".join(kept))
        return folder

    @classmethod
    def _begin(cls, path: Path, work: Work) -> Self:
        if path.exists():
            shutil.rmtree(path)
        (path / "files").mkdir(parents=True)
        masks = Masks.create(path, work.size_gr, work.planes, work.kept(path), work.attributes or {})
        # Last, since a folder with a key is taken to be whole.
        (path / "key").write_text(work.key, encoding="ascii")
        return cls(path, masks)

    @property
    def files(self) -> Path:
        """Where the files are made that the user gets."""
        return self.path / "files"

    def finish_band(self, unreadable: int) -> None:
        """Store the rest of a band and note it in the journal.

        Raises:
            OutputError: The disk is full.
        """
        self.masks.finish_band()
        entry = json.dumps({"band": self.bands, "unreadable": unreadable}) + "\n"
        with as_output_error(self.path), (self.path / "journal").open("a", encoding="ascii") as journal:
            journal.write(entry)
        self.bands, self.unreadable = self.bands + 1, self.unreadable + unreadable

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)


def finished_files(path: Path, stem: str, key: str) -> Path | None:
    """The folder of files that only have to be moved into place; None where work is left to be done."""
    files = path / "files"
    return files if _has_key(path, key) and (files / f"{stem}{RECORD_SUFFIX}").is_file() else None


def _has_key(path: Path, key: str) -> bool:
    try:
        return (path / "key").read_text(encoding="ascii") == key
    except (FileNotFoundError, NotADirectoryError):
        return False


def _whole_lines(journal: Path) -> list[bytes]:
    try:
        lines = journal.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [line for line in lines if line.endswith(b"\n")]
