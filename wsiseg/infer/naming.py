"""The names of the files of a prediction."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from wsiseg.files import PARTIAL_SUFFIX

Format = Literal["qupath", "asap", "imagescope", "dsa", "ome-zarr"]
"""What can be written on request."""

Kept = Literal["probabilities", "confidence"]
"""Maps that can be kept."""

SUFFIXES: dict[Format, str] = {
    "qupath": ".geojson",
    "asap": ".xml",
    "imagescope": ".imagescope.xml",
    "dsa": ".dsa.json",
    "ome-zarr": ".ome.zarr",
}
"""ASAP and ImageScope both say ``.xml``; ASAP has it, as the viewer that opens it by its name."""

ZIPPED_SUFFIX = ".gz"
"""Follows QuPath's suffix where the file is large."""

MASK_SUFFIX, TABLE_SUFFIX, PICTURE_SUFFIX = FIXED_SUFFIXES = (".ome.tiff", ".objects.csv", ".png")
"""Files of every prediction."""

RECORD_SUFFIX = ".prediction.json"
"""Moved into place last: where it is, the prediction that it describes is complete."""


def kept_suffix(name: Kept) -> str:
    """Suffix of a map that is kept."""
    return f".{name}.zarr"


def possible_suffixes(formats: Sequence[Format], keep: Sequence[Kept]) -> list[str]:
    """What may follow the slide's stem in the names of the files of a prediction."""
    zipped = [SUFFIXES["qupath"] + ZIPPED_SUFFIX] if "qupath" in formats else []
    return [
        *(SUFFIXES[name] for name in SUFFIXES if name in formats),
        *zipped,
        *map(kept_suffix, keep),
        *FIXED_SUFFIXES,
        RECORD_SUFFIX,
    ]


def work_path(out: Path, stem: str) -> Path:
    """Where the unfinished work on a slide lies."""
    return out / f"{stem}.prediction{PARTIAL_SUFFIX}"
