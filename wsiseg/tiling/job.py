"""What is asked of ``tile_slide`` and what it answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsiseg.slide import BackendName
from wsiseg.tiling.labelling import LabelledBy


@dataclass(frozen=True)
class TileJob:
    """One slide and what belongs to it.

    Attributes:
        slide: Path or address.
        annotations: Its annotation file; None: the one beside the slide, if there is any.
        mask: The user's own tissue, a PNG over the whole plane or an annotation file.
        mpp_slide: Micrometres per pixel of level 0, where the slide does not say or is wrong.
    """

    slide: str
    annotations: Path | None = None
    mask: Path | None = None
    mpp_slide: float | None = None


@dataclass(frozen=True)
class TileOptions:
    """How the work is done; none of it but ``backend`` and ``strict`` changes what comes out.

    Attributes:
        workers: Threads that read and compress.
        backend: What decodes the slide.
        strict: Whether anything to repair or drop in the annotations is an error.
        overwrite: Make everything anew, whatever is there.
    """

    workers: int = 1
    backend: BackendName = "auto"
    strict: bool = False
    overwrite: bool = False


@dataclass(frozen=True)
class TilingSummary:
    """What became of a slide.

    Attributes:
        store: The ``.zarr`` folder.
        tiles: Tiles in the store.
        labelled: Those with any labelled pixel.
        labelled_by: What makes a pixel labelled.
        objects: Annotations by class, then regions and ignored areas.
        annotations: Name of the annotation file and what its import said, or None.
        unreadable_l0: Level-0 boxes (x0, y0, x1, y1) of tiles left out because they cannot be read.
        tissue_share: Share of the plane that is tissue.
        up_to_date: Nothing had to be done.
        labels_only: The images of an older store were used again.
    """

    store: Path
    tiles: int
    labelled: int
    labelled_by: LabelledBy
    objects: dict[str, int]
    annotations: str | None
    unreadable_l0: list[tuple[int, int, int, int]]
    tissue_share: float
    up_to_date: bool = False
    labels_only: bool = False

    def counts(self) -> dict[str, Any]:
        """What a report and the table on the screen say."""
        counts: dict[str, Any] = {
            "tiles": self.tiles,
            "labelled": self.labelled,
            "tissue": f"{self.tissue_share:.1%}",
        }
        if self.annotations is not None:
            counts["labelled_by"] = self.labelled_by
            named = [f"{count} {name}" for name, count in self.objects.items()]
            counts["annotations"] = f"{' + '.join(named) or 'none'} ({self.annotations})"
        if self.unreadable_l0:
            counts["unreadable"] = len(self.unreadable_l0)
        if self.labels_only:
            counts["images"] = "kept"
        return counts
