"""What one wants to know of a slide before working with it."""

from dataclasses import astuple, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsiseg.config import TissueConfig
from wsiseg.errors import ResolutionError
from wsiseg.slide import Slide
from wsiseg.tissue import is_fluorescence
from wsiseg.tissuemap import detect_tissue, look_at

StainGuess = Literal["H&E", "PAS", "fluorescence", "other", "none"]

_USUAL_MPP = 0.5
"""Taken for the limits of the tissue detector where a slide does not say; its share hardly depends on it."""


@dataclass(frozen=True)
class SlideSummary:
    """A slide in a few words.

    Attributes:
        path: As it was given.
        vendor: In OpenSlide's words.
        backend: What decodes it.
        size_l0: ``(width, height)`` of level 0.
        levels: ``(width, height, downsample)`` of each level.
        mpp: Micrometres per pixel (x, y), or None.
        mpp_problem: Why there is none.
        objective: Power, or None.
        bounds_l0: The part that was scanned, or None where that is all.
        stain_guess: By colour alone, and no more than a guess.
        tissue_share: Share of the plane that is tissue, or damaged and may be: what ``tile`` goes by.
        unreadable: Regions of level 0 that cannot be decoded.
        fingerprint: Of the content.
    """

    path: str
    vendor: str
    backend: str
    size_l0: tuple[int, int]
    levels: tuple[tuple[int, int, float], ...]
    mpp: tuple[float, float] | None
    mpp_problem: str | None
    objective: float | None
    bounds_l0: tuple[int, int, int, int] | None
    stain_guess: StainGuess
    tissue_share: float
    unreadable: int
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """Plain data, keys as the attributes are called; lengths in pixels of level 0."""
        return {
            "path": self.path,
            "vendor": self.vendor,
            "backend": self.backend,
            "size": list(self.size_l0),
            "levels": [{"size": [width, height], "downsample": by} for width, height, by in self.levels],
            "mpp": None if self.mpp is None else list(self.mpp),
            "mpp_problem": self.mpp_problem,
            "objective": self.objective,
            "bounds": None if self.bounds_l0 is None else list(self.bounds_l0),
            "stain_guess": self.stain_guess,
            "tissue_share": round(self.tissue_share, 4),
            "unreadable_regions": self.unreadable,
            "fingerprint": self.fingerprint,
        }


def summarise(slide: Slide) -> SlideSummary:
    """Look at a slide: its metadata, and an overview for tissue and stain.

    A missing resolution and unreadable regions are part of the summary and no error.
    """
    mpp, problem = _mpp(slide)
    overview = look_at(slide)
    tissue = detect_tissue(overview, mpp or (_USUAL_MPP, _USUAL_MPP), TissueConfig())
    return SlideSummary(
        path=slide.path,
        vendor=slide.vendor,
        backend=slide.backend,
        size_l0=slide.size_l0,
        levels=tuple((*level.size, level.downsample) for level in slide.levels),
        mpp=mpp,
        mpp_problem=problem,
        objective=slide.objective,
        bounds_l0=None if slide.bounds_l0 == slide.box_l0 else astuple(slide.bounds_l0),
        stain_guess=guess_stain(overview.rgb, tissue & ~overview.damaged),
        tissue_share=float(tissue.mean()),
        unreadable=len(overview.unreadable),
        fingerprint=slide.fingerprint,
    )


def _mpp(slide: Slide) -> tuple[tuple[float, float] | None, str | None]:
    try:
        resolution = slide.resolution
    except ResolutionError as err:
        return None, str(err)
    return (resolution.mpp_x, resolution.mpp_y), None


def guess_stain(rgb: NDArray[np.uint8], tissue: NDArray[np.bool_]) -> StainGuess:
    """Guess a stain from the colour of the tissue.

    Eosin and haematoxylin let more blue light through than green, PAS's magenta still more, DAB and silver
    less. The limits were set on 36 real slides of H&E and PAS, three of which they take for the other;
    hence a guess.

    Args:
        rgb: A thumbnail, uint8 ``(h, w, 3)``.
        tissue: bool ``(h, w)``.
    """
    if not tissue.any():
        return "none"
    if is_fluorescence(rgb):
        return "fluorescence"
    density = np.maximum(-np.log(np.maximum(rgb[tissue], 1) / 244.0), 0.0)
    stained = density[density.sum(axis=1) > 0.25]
    if len(stained) < 50:
        return "other"
    red, _, blue = (stained / np.maximum(stained[:, 1:2], 0.05)).T
    if (red > 1.15).mean() > 0.15 or np.median(blue) > 0.75 or np.median(red) > 0.85:
        return "other"
    return "PAS" if np.median(blue) < 0.515 else "H&E"
