"""Which backend opens a file, and what is said when none does."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import fsspec

from wsiseg.errors import ConfigError, SlideOpenError
from wsiseg.files import ANNOTATION_SUFFIXES
from wsiseg.slide.direct import DirectBackend
from wsiseg.slide.layout import LayoutError, ome_levels
from wsiseg.slide.openslide_backend import OpenSlideBackend
from wsiseg.slide.properties import fingerprint_of
from wsiseg.slide.protocol import Backend
from wsiseg.slide.tifffile_backend import TiffFileBackend
from wsiseg.slide.tiffslide_backend import TiffSlideBackend, UnsupportedError

BackendName = Literal["auto", "openslide", "tiffslide", "direct"]

_READABLE = "a slide that OpenSlide reads, or an 8-bit grey or RGB TIFF"


def open_backend(path: str, choice: BackendName) -> Backend:
    """Open ``path`` with the backend asked for.

    ``auto`` takes the direct path where it is sure to be right, else OpenSlide, and tiffslide for what
    OpenSlide refuses and for addresses.

    Raises:
        SlideOpenError: No such file, empty, or nothing that the backend reads.
    """
    _check_file(path)
    if choice == "openslide":
        return _first_of(path, OpenSlideBackend)
    if choice == "tiffslide":
        return _first_of(path, TiffSlideBackend)
    if is_address(path):
        if choice == "direct":
            raise SlideOpenError(f"cannot read {path} directly: it is not a local file")
        return _first_of(path, TiffSlideBackend)
    general = _open_general(path)
    try:
        return DirectBackend(path, general)
    except LayoutError as err:
        if choice == "auto":
            return general
        general.close()
        raise SlideOpenError(
            f"cannot read {path} directly: it {err}",
            remedy="Use --backend auto, which finds another reader",
        ) from err


def _open_general(path: str) -> Backend:
    """The reader that knows all of a local file's levels."""
    general = _first_of(path, OpenSlideBackend, TiffSlideBackend, TiffFileBackend)
    # OpenSlide reads an OME-TIFF as any TIFF and does not see the levels, which are kept elsewhere in it.
    if general.vendor == "generic-tiff" and ome_levels(path) > len(general.levels):
        general.close()
        return _first_of(path, TiffSlideBackend, OpenSlideBackend)
    return general


def _first_of(path: str, *backends: Callable[[str], Backend]) -> Backend:
    """The first backend that opens the file; the error of all is the reason that the first one gave."""
    reasons: list[Exception] = []
    for backend in backends:
        try:
            return backend(path)
        except Exception as err:  # noqa: BLE001 - the libraries have no common base class
            reasons.append(err)
    said = next((str(err) for err in reasons if str(err)), type(reasons[0]).__name__)
    found = str(reasons[-1]) if len(reasons) > 1 and isinstance(reasons[-1], UnsupportedError) else said
    raise SlideOpenError(f"cannot open {path}", found=found, expected=_READABLE) from reasons[0]


def is_address(path: str) -> bool:
    """Whether a path is an fsspec address such as ``s3://bucket/slide.svs``."""
    return "://" in path


def name_of(path: str) -> tuple[str, str]:
    """File name and stem of a path or address."""
    pure = PurePosixPath(path.split("://", 1)[1]) if is_address(path) else Path(path)
    return pure.name, pure.stem


def check_stems(slides: Sequence[str], suffix: str) -> None:
    """Make sure that no two slides of a batch would write the same file.

    Args:
        slides: Paths or addresses.
        suffix: Of what is written for a slide, for the message.

    Raises:
        ConfigError: Two of them have one stem.
    """
    first: dict[str, str] = {}
    for slide in slides:
        stem = name_of(slide)[1]
        if stem in first:
            raise _clash(first[stem], slide, f"{stem}{suffix}")
        first[stem] = slide


def _clash(one: str, other: str, target: str) -> ConfigError:
    """Two slides that would write the same file, or what only looks like it."""
    for path in (one, other):
        if path.lower().endswith(ANNOTATION_SUFFIXES):
            return ConfigError(
                f"{path} is an annotation file, not a slide",
                remedy="Name slides alone; the annotations beside a slide are found by themselves",
            )
    if not is_address(one) and Path(one).resolve() == Path(other).resolve():
        return ConfigError(f"{other} is named twice", remedy="Name it once")
    return ConfigError(
        f"{one} and {other} would both become {target}",
        remedy="Write them into different folders with --out, or rename one",
    )


def fingerprint(path: str) -> str:
    """See ``Slide.fingerprint``."""
    if is_address(path):
        with fsspec.open(path, "rb") as file:
            return fingerprint_of(file, int(file.seek(0, 2)))
    local = Path(path)
    with local.open("rb") as file:
        companions = local.with_suffix("") if local.suffix.lower() == ".mrxs" else None
        return fingerprint_of(file, local.stat().st_size, companions)


def _check_file(path: str) -> None:
    """Say plainly what is wrong with a file before a library says it less plainly."""
    if is_address(path):
        return
    try:
        with Path(path).open("rb") as file:
            head = file.read(16)
            directory = _first_directory(head)
            size = file.seek(0, 2)
    except OSError as err:
        remedy = f"Name the slides in it, such as {path}/*.svs" if Path(path).is_dir() else None
        raise SlideOpenError(f"cannot open {path}: {err.strerror}", remedy=remedy) from err
    if not head:
        raise SlideOpenError(f"cannot open {path}: the file is empty")
    if directory is not None and directory >= size:
        raise SlideOpenError(
            f"cannot open {path}: the file is cut off",
            found=f"{size:,} bytes",
            expected=f"more than {directory:,}",
            remedy="Copy it again",
        )


def _first_directory(head: bytes) -> int | None:
    """Where a TIFF or BigTIFF says that its first directory is; None for other files and short ones."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return None
    (version,) = struct.unpack_from(f"{order}H", head, 2)
    if version == 42:
        return int(struct.unpack_from(f"{order}I", head, 4)[0])
    return int(struct.unpack_from(f"{order}Q", head, 8)[0]) if version == 43 else None
