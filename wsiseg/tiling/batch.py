"""From the arguments of a command to one job a slide."""

import csv
import logging
import math
from collections.abc import Sequence
from pathlib import Path

from wsiseg.annotation import find_beside
from wsiseg.errors import ConfigError
from wsiseg.geometry import PLAUSIBLE_MPP
from wsiseg.slide.opening import check_stems, name_of
from wsiseg.tilestore import STORE_SUFFIX
from wsiseg.tiling.job import TileJob

_log = logging.getLogger(__name__)

_NAMED = 3
"""Slides that a warning names."""


def make_jobs(
    slides: Sequence[str],
    *,
    annotations: Path | None = None,
    mask: Path | None = None,
    mpp_slide: float | None = None,
    mpp_csv: Path | None = None,
) -> list[TileJob]:
    """One job for each slide, in the order given.

    Args:
        slides: Paths or addresses.
        annotations: An annotation file for one slide, or a folder with files named after the slides.
        mask: A tissue mask for one slide.
        mpp_slide: Resolution of all slides, in place of what they say.
        mpp_csv: Resolutions by slide; it goes before ``mpp_slide``.

    Raises:
        ConfigError: Two slides of one stem, one file for several slides, no such file, a bad table.
    """
    check_stems(slides, STORE_SUFFIX)
    for option, path in (("--annotations", annotations), ("--mask", mask)):
        if path is not None and not path.exists():
            raise ConfigError(f"{option}: no such file: {path}")
        if path is not None and path.is_file() and len(slides) > 1:
            raise ConfigError(f"{option} {path} is one file for {len(slides)} slides")
    if mask is not None and mask.is_dir():
        raise ConfigError(f"--mask: {mask} is a folder", expected="a PNG or an annotation file")
    table = {} if mpp_csv is None else read_mpp_table(mpp_csv)
    jobs = [
        TileJob(
            slide=slide,
            annotations=_annotations_of(slide, annotations),
            mask=mask,
            mpp_slide=_mpp_of(slide, table) or mpp_slide,
        )
        for slide in slides
    ]
    if mpp_csv is not None:
        _warn_of_missing(f"--mpp-csv {mpp_csv} has no row for", [s for s in slides if not _mpp_of(s, table)])
    if annotations is not None:
        bare = [job.slide for job in jobs if job.annotations is None]
        _warn_of_missing(f"--annotations {annotations} has no file for", bare)
    return jobs


def _warn_of_missing(what: str, slides: Sequence[str]) -> None:
    if slides:
        names = [name_of(slide)[0] for slide in slides[:_NAMED]]
        more = f" and {len(slides) - _NAMED} more" if len(slides) > _NAMED else ""
        _log.warning("%s %s%s", what, ", ".join(names), more)


def read_mpp_table(path: Path) -> dict[str, float]:
    """Read a CSV with the columns ``slide`` (path, file name or stem) and ``mpp`` (um/px of level 0).

    Raises:
        ConfigError: No such file, a column missing, an implausible value, or two values for one slide.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns = list(table.fieldnames or [])
            rows = list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise ConfigError(f"--mpp-csv {path} cannot be read: {err}") from err
    if not {"slide", "mpp"} <= {*columns}:
        raise ConfigError(
            f"--mpp-csv {path}",
            found=f"columns {','.join(columns) or 'none'}",
            expected="columns slide,mpp",
        )
    found: dict[str, float] = {}
    for line, row in enumerate(rows, 2):
        slide, mpp = str(row.get("slide") or ""), _plausible(row.get("mpp"), path, line)
        if found.setdefault(slide, mpp) != mpp:
            raise ConfigError(
                f"--mpp-csv {path}, line {line}: {slide} stands twice",
                found=f"{found[slide]:g} and {mpp:g} um/px",
            )
    return found


def _plausible(text: str | None, path: Path, line: int) -> float:
    try:
        mpp = float(text or "")
    except ValueError:
        mpp = math.nan
    low, high = PLAUSIBLE_MPP
    if not low <= mpp <= high:
        raise ConfigError(
            f"--mpp-csv {path}, line {line}",
            found=repr(text),
            expected=f"columns slide,mpp with {low:g} to {high:g} um/px",
        )
    return mpp


def _mpp_of(slide: str, table: dict[str, float]) -> float | None:
    name, stem = name_of(slide)
    return next((table[key] for key in (slide, name, stem) if key in table), None)


def _annotations_of(slide: str, annotations: Path | None) -> Path | None:
    """The file named, the one in the folder named, or the one beside the slide."""
    if annotations is not None and not annotations.is_dir():
        return annotations
    if annotations is not None:
        return find_beside(annotations / name_of(slide)[0])
    return None if "://" in slide else find_beside(slide)
