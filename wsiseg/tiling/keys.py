"""Content keys: what a store was made from, in one short text."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.config import Config
from wsiseg.errors import AnnotationParseError, ConfigError
from wsiseg.geometry import GridFrame
from wsiseg.tilestore import FORMAT_VERSION

TILING_VERSION = 2
"""Raised when the same slide and settings would give other pixels, labels or tiles than before."""


def content_key(
    config: Config,
    frame: GridFrame,
    *,
    fingerprint: str,
    backend: str,
    annotations: str | None,
    mask: str | None,
    strict: bool,
) -> str:
    """Key of a whole store: 32 hex digits over everything that its content depends on.

    Args:
        config: Only the sections that tiling uses count.
        frame: The grid frame.
        fingerprint: The slide's.
        backend: What decodes the slide.
        annotations: Digest of the annotation file, None where there is none.
        mask: Digest of the user's tissue mask, None where there is none.
        strict: Whether annotations were read strictly.
    """
    return _digest(
        {
            "versions": [FORMAT_VERSION, TILING_VERSION],
            "slide": fingerprint,
            "backend": backend,
            "frame": _plain(frame),
            "config": used_config(config),
            "annotations": annotations,
            "mask": mask,
            "strict": strict,
        }
    )


def image_key(
    config: Config, frame: GridFrame, indices: NDArray[np.int64], *, fingerprint: str, backend: str
) -> str:
    """Key of the images alone: the slide, the frame, and which tiles of which grid were taken."""
    return _digest(
        {
            "versions": [FORMAT_VERSION, TILING_VERSION],
            "slide": fingerprint,
            "backend": backend,
            "frame": _plain(frame),
            "tiles": [config.tiling.tile_px, config.tiling.overlap_px, config.tiling.unreadable],
            "jpeg_quality": config.tiling.stored_jpeg_quality,
            "indices": hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest(),
        }
    )


def used_config(config: Config) -> dict[str, Any]:
    """The sections on which a tile store depends, as plain data."""
    return config.model_dump(mode="json", include={"classes", "annotations", "tissue", "tiling"})


def digest_annotations(path: Path) -> str:
    """SHA-256 of an annotation file.

    Raises:
        AnnotationParseError: The file cannot be read.
    """
    try:
        return _file_digest(path)
    except OSError as err:
        raise AnnotationParseError(f"cannot read {path}: {err.strerror}") from err


def digest_mask(path: Path) -> str:
    """SHA-256 of a tissue mask.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        return _file_digest(path)
    except OSError as err:
        raise ConfigError(f"--mask {path}: {err.strerror}") from err


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(frame: GridFrame) -> list[Any]:
    return [*frame.size_l0, *frame.downsample, frame.mpp]


def _digest(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]
