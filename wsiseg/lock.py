"""One writer an output: a lock that the operating system lets go of when its holder dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsiseg.errors import LockedError
from wsiseg.files import as_output_error


@contextmanager
def write_lock(target: Path) -> Iterator[None]:
    """Hold the lock of what will be written, which lies beside it as ``.<name>.lock`` while it is held.

    Raises:
        LockedError: Another process, or another thread, holds it.
        OutputError: The folder cannot be written.
    """
    path = _lock_file(target)
    with as_output_error(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle = _acquire(path)
    if handle is None:
        raise LockedError(
            f"{target} is being written by another process",
            remedy="Wait for it, or give another folder with --out",
        )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def is_locked(target: Path) -> bool:
    """Whether a process holds the ``write_lock`` of a target right now.

    Asked with a shared lock, so that several who ask together do not see each other.
    """
    try:
        with _lock_file(target).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _lock_file(target: Path) -> Path:
    return target.parent / f".{target.name}.lock"


def _acquire(path: Path) -> int | None:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        # The holder before may have removed the file between our open and our lock: then what we hold
        # is nobody's lock, and the next process would make a new file.
        if _is_file(handle, path):
            return handle
        os.close(handle)


def _is_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
