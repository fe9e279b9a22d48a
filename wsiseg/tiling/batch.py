"""From the arguments of a command to one job a slide."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from wsiseg.annotation import find_beside
from wsiseg.errors import ConfigError
from wsiseg.slide.opening import check_stems, name_of
from wsiseg.tilestore import STORE_SUFFIX
from wsiseg.tiling.job import TileJob


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
        mpp_slide: Resolution of all slides.
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
    return [
        TileJob(
            slide=slide,
            annotations=_annotations_of(slide, annotations),
            mask=mask,
            mpp_slide=_mpp_of(slide, table) or mpp_slide,
        )
        for slide in slides
    ]


def read_mpp_table(path: Path) -> dict[str, float]:
    """Read a CSV with the columns ``slide`` (path, file name or stem) and ``mpp`` (um/px of level 0).

    Raises:
        ConfigError: No such file, a column missing, or something that is no positive number.
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
    return {
        str(row.get("slide") or ""): _positive(row.get("mpp"), path, line) for line, row in enumerate(rows, 2)
    }


def _positive(text: str | None, path: Path, line: int) -> float:
    try:
        mpp = float(text or "")
    except ValueError:
        mpp = math.nan
    if not (math.isfinite(mpp) and mpp > 0):
        raise ConfigError(
            f"--mpp-csv {path}, line {line}",
            found=repr(text),
            expected="columns slide,mpp with a positive number of um/px",
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
