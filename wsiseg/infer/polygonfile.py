"""Polygons that wait on disk until they are needed again: a slide has a hundred thousand of them."""

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from wsiseg.files import as_output_error, scratch_file
from wsiseg.trace import Polygons

_BATCH_BYTES = 2 << 20
"""Of polygons that are held at once, 16 for each vertex; as shapely objects they take about twice as much."""

_WRITTEN_AT_ONCE = 4096


class PolygonFile:
    """Polygons by row, in a file without a name.

    The file goes when it is closed or the process dies. Each polygon comes back as it was put down, ring by
    ring and vertex by vertex; the process itself holds eight bytes for each.

    Args:
        folder: On whose disk the file takes its room.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ends = array("q", [0])
        self._file = scratch_file(folder)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, polygons: Polygons) -> "Outlines":
        """Put polygons down; gives them back as what now waits on disk.

        Raises:
            OutputError: The disk is full.
        """
        first = len(self)
        for start in range(0, len(polygons), _WRITTEN_AT_ONCE):
            pieces = shapely.to_wkb(polygons[start : start + _WRITTEN_AT_ONCE]).tolist()
            with as_output_error(self._folder):
                self._file.write(b"".join(pieces))
                self._file.flush()
            ends = self._ends[-1] + np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
            self._ends.extend(ends.tolist())
        return Outlines(self, np.arange(first, len(self), dtype=np.int64))

    def take(self, rows: NDArray[np.int64]) -> Polygons:
        """The polygons of some rows, in the order asked for."""
        ends = self._ends
        handle = self._file.fileno()
        pieces = [os.pread(handle, ends[row + 1] - ends[row], ends[row]) for row in rows.tolist()]
        return np.asarray(shapely.from_wkb(np.array(pieces, dtype=object)), dtype=object)

    def sizes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Bytes of some rows."""
        ends = np.array(self._ends, dtype=np.int64)
        return ends[rows + 1] - ends[rows]

    def close(self) -> None:
        """Drop everything."""
        self._file.close()


@dataclass(frozen=True, eq=False)
class Outlines:
    """Some polygons of a file, in an order of their own.

    Attributes:
        file: Where they wait.
        rows: Which ones, int64 ``(n,)``.
    """

    file: PolygonFile
    rows: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: "Sequence[Outlines]", file: PolygonFile) -> Self:
        """Several one after another, all of one file."""
        return cls(file, np.concatenate([np.zeros(0, dtype=np.int64), *(part.rows for part in parts)]))

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, index: "NDArray[np.int64] | NDArray[np.bool_]") -> Self:
        """Some of them, by position or by a mask."""
        return type(self)(self.file, self.rows[index])

    def read(self) -> Polygons:
        """All of them, in memory."""
        return self.file.take(self.rows)

    def batches(self) -> "Iterator[Outlines]":
        """All of them in order, some megabytes at a time."""
        before = np.cumsum(self.file.sizes(self.rows)) // _BATCH_BYTES
        cuts = np.flatnonzero(np.diff(before)) + 1
        for rows in np.split(self.rows, cuts) if len(self) else ():
            yield Outlines(self.file, rows)

    def map(self, function: Callable[[Polygons], NDArray[Any]], columns: int | None = None) -> NDArray[Any]:
        """What a function of polygons gives for each: ``(n,)``, or ``(n, columns)``, float64.

        Args:
            function: Called with some of them at a time; one row for each.
            columns: Numbers a row, where they are not single.
        """
        empty = np.zeros((0,) if columns is None else (0, columns))
        return np.concatenate([empty, *(function(batch.read()) for batch in self.batches())])

    def by_corner(self) -> Self:
        """In order of their topmost, then leftmost, corner, as a whole mask is traced."""
        corner = self.map(_first_corner, columns=2)
        return self.at(np.lexsort((corner[:, 0], corner[:, 1])))


def _first_corner(polygons: Polygons) -> NDArray[np.float64]:
    """Topmost, then leftmost, vertex of each: ``(n, 2)`` as (x, y)."""
    points, owner = shapely.get_coordinates(polygons, return_index=True)
    starts = np.searchsorted(owner, np.arange(len(polygons)))
    top = np.minimum.reduceat(points[:, 1], starts)
    x = np.where(points[:, 1] == top[owner], points[:, 0], np.inf)
    return np.stack([np.minimum.reduceat(x, starts), top], axis=1)
