"""Files that are either complete or not there: written beside their place, then moved into it."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path
from typing import Any

from wsiseg.errors import OutputError

PARTIAL_SUFFIX = ".partial"
"""Names that end so are unfinished; no command reads them."""

ANNOTATION_SUFFIXES = (".geojson", ".json", ".geojson.gz", ".xml", ".annotations")
"""What may lie beside a slide, in the order in which it is looked for."""

_NO_SPACE = {28, 122, 30}  # ENOSPC, EDQUOT, EROFS

# It can only be read by setting it, for the whole process: once, before there are threads.
_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A path to write to, moved over ``target`` when the block ends well and removed when it does not.

    The path lies in the same folder and keeps the suffix of ``target``, since many writers look at it.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    with as_output_error(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name}{PARTIAL_SUFFIX}-", suffix=_full_suffix(target)
        )
        os.close(handle)
        partial = Path(name)
        partial.chmod(0o666 & ~_UMASK)
        try:
            yield partial
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Like ``atomic_path`` for a whole folder; an older ``target`` is replaced."""
    with as_output_error(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}{PARTIAL_SUFFIX}-"))
        partial.chmod(0o777 & ~_UMASK)
        try:
            yield partial
            _move_over(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _move_over(partial: Path, target: Path) -> None:
    """Put a folder in the place of an older one, which goes once the new one stands."""
    if not target.is_dir():
        partial.replace(target)
        return
    aside = partial.with_name(f"{partial.name}-old")
    target.replace(aside)
    try:
        partial.replace(target)
    except OSError:
        aside.replace(target)
        raise
    if aside.is_symlink():
        aside.unlink()
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def as_output_error(target: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into one ``OutputError`` that names the target."""
    try:
        yield
    except OutputError:
        raise
    except (NotADirectoryError, FileExistsError) as err:
        above = next((folder for folder in target.parents if folder.is_file()), None)
        reason = err.strerror if above is None else f"{above} is a file"
        raise OutputError(f"cannot write {target}: {reason}") from err
    except (PermissionError, IsADirectoryError) as err:
        raise OutputError(f"cannot write {target}: {err.strerror}") from err
    except OSError as err:
        # /proc and its like refuse a new folder in these words; any other file is missing for its own reason.
        if isinstance(err, FileNotFoundError) and str(err.filename) in map(str, (target, *target.parents)):
            raise OutputError(f"cannot write {target}: {err.filename} cannot be made") from err
        if err.errno not in _NO_SPACE:
            raise
        raise OutputError(
            f"cannot write {target}: {err.strerror}", remedy="Free some space; finished outputs are kept"
        ) from err


def scratch_file(folder: Path) -> BufferedRandom:
    """An open file without a name, on the disk of ``folder``; it goes when it is closed or the process dies.

    Raises:
        OutputError: The folder cannot be written, or the disk is full.
    """
    with as_output_error(folder):
        return tempfile.TemporaryFile(dir=folder)


def discard_torn(folder: Path) -> None:
    """Remove what a kill left of writing zarr chunks: zarr gives them another name until they are whole."""
    for torn in folder.rglob(f"*{PARTIAL_SUFFIX}"):
        torn.unlink()


def write_json(target: Path, data: Any) -> None:
    """Write JSON for people: indented, UTF-8, keys in the order given."""
    with atomic_path(target) as partial:
        partial.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _full_suffix(path: Path) -> str:
    return "".join(path.suffixes[-2:])
