"""Arrays that wait on disk until they are needed again."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsiseg.files import as_output_error, scratch_file


class Shelf:
    """Float32 arrays of one shape, by number, in a file without a name.

    The file goes when it is closed or the process dies. What was written lately is still in the system's
    cache, so neither putting down nor taking up waits for the disk, and the process itself holds nothing.

    Args:
        shape: Of every array.
        folder: On whose disk the file takes its room.
    """

    def __init__(self, shape: tuple[int, ...], folder: Path) -> None:
        self._shape = shape
        self._folder = folder
        self._bytes = 4 * int(np.prod(shape))
        self._held: set[int] = set()
        self._file = scratch_file(folder)

    def put(self, number: int, array: NDArray[np.float32]) -> None:
        """Put an array down.

        Raises:
            OutputError: The disk is full.
        """
        self._held.add(number)
        with as_output_error(self._folder):
            self._file.seek(number * self._bytes)
            self._file.write(np.ascontiguousarray(array).data)

    def take(self, number: int) -> NDArray[np.float32]:
        """Take an array up; zeros where none was put."""
        array = np.zeros(self._shape, dtype=np.float32)
        if self._bytes and number in self._held:
            self._file.seek(number * self._bytes)
            self._file.readinto(array.data)
        return array

    def close(self) -> None:
        """Drop everything."""
        self._file.close()
