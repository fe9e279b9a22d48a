"""What a synthetic slide holds, as annotations: exactly what was drawn, from the same numbers."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shapely import Polygon, STRtree, box

from wsiseg.annotation import Annotation
from wsiseg.annotation.qupath_writer import write_qupath
from wsiseg.classes import ClassSchema, default_schema
from wsiseg.synthetic.dice import Dice
from wsiseg.synthetic.glomerulus import Glomerulus
from wsiseg.synthetic.render import Scene

_KIND = 7
_REGION_UM = 600.0
REGION_CLASS = "Region*"


@dataclass(frozen=True)
class SlideTruth:
    """A slide that was made, and what is on it.

    Attributes:
        slide: The .svs file.
        truth: The GeoJSON file with its truth.
        counts: Annotations in that file by class name; ``Region*`` counts the rectangles.
        tissue_share: Part of the slide that is tissue, to about a percent.
    """

    slide: Path
    truth: Path
    counts: dict[str, int]
    tissue_share: float


def write_truth(path: Path, scene: Scene, slide_id: str, schema: ClassSchema | None = None) -> dict[str, int]:
    """Write the truth of a scene as QuPath GeoJSON; objects are streamed, never held together.

    Args:
        path: The .geojson file.
        scene: The slide.
        slide_id: What object ids are made from, usually the stem of the slide.
        schema: For colours and kinds; the default four classes.

    Returns:
        How many annotations of each class were written.
    """
    counts: Counter[str] = Counter()

    def counted() -> Iterator[Annotation]:
        for annotation in annotations(scene):
            counts[str(annotation.class_name)] += 1
            yield annotation

    spec = scene.spec
    metadata = {
        "generator": "wsiseg synth",
        "preset": spec.knobs.label,
        "seed": str(spec.seed),
        "mpp": f"{spec.mpp:g}",
        "annotated_share": f"{spec.annotated_share:g}",
    }
    write_qupath(path, counted(), schema or default_schema(), slide_id=slide_id, metadata=metadata)
    return {name: counts[name] for name in sorted(counts)}


def annotations(scene: Scene) -> Iterator[Annotation]:
    """The truth in drawing order: regions first, then each glomerulus followed by its nuclei.

    Coordinates are level-0 pixels. Every glomerulus that touches an annotated region
    is there whole, with all its nuclei.
    """
    regions = annotated_regions(scene)
    tree = STRtree(regions)
    for number, region in enumerate(regions, 1):
        yield Annotation(region, REGION_CLASS, name=f"Region {number}")
    for number, glomerulus in enumerate(scene.glomeruli.every(), 1):
        outline = _polygon(glomerulus.outline(), scene.spec.mpp)
        if not regions or len(tree.query(outline, predicate="intersects")):
            yield Annotation(outline, "glomerulus", name=f"Glomerulus {number}")
            yield from _nuclei(glomerulus, scene.spec.mpp)


def _nuclei(glomerulus: Glomerulus, mpp: float) -> Iterator[Annotation]:
    for class_name, nuclei in (("podocyte", glomerulus.podocytes), ("non_podocyte", glomerulus.others)):
        for index in range(len(nuclei)):
            yield Annotation(_polygon(nuclei.outline(index), mpp), class_name)


def _polygon(points_um: NDArray[np.float64], mpp: float) -> Polygon:
    return Polygon(np.round(points_um / mpp, 2))


def annotated_regions(scene: Scene) -> list[Polygon]:
    """Rectangles that cover about ``annotated_share`` of the tissue; none where all is annotated.

    They come from a coarse lattice, in turn one that holds a glomerulus and one drawn from the rest, as
    somebody would choose fields who wants both.
    """
    share = scene.spec.annotated_share
    if share >= 1.0:
        return []
    cells = _tissue_cells(scene)
    wanted = share * sum(cells.values())
    chosen, covered = [], 0.0
    for cell in _ordered(cells, scene):
        if covered >= wanted:
            break
        chosen.append(cell)
        covered += cells[cell]
    width, height = scene.spec.size_px
    side = _side_um(scene) / scene.spec.mpp
    return [
        box(
            round(i * side),
            round(j * side),
            min(width, round((i + 1) * side)),
            min(height, round((j + 1) * side)),
        )
        for i, j in sorted(chosen)
    ]


def tissue_share(scene: Scene) -> float:
    """Part of the slide that is tissue."""
    width, height = scene.spec.size_um
    return sum(_tissue_cells(scene).values()) / (width * height)


def _side_um(scene: Scene) -> float:
    return min(_REGION_UM, min(scene.spec.size_um) / 3.0)


def _tissue_cells(scene: Scene) -> dict[tuple[int, int], float]:
    """Tissue area (um2) of each lattice cell that has any."""
    side = _side_um(scene)
    width, height = scene.spec.size_um
    probes = (np.arange(12) + 0.5) * side / 12
    cells = {}
    for row in range(int(np.ceil(height / side))):
        for column in range(int(np.ceil(width / side))):
            depth = scene.outline.block(column * side + probes, row * side + probes)
            if area := float((depth > 0).mean()) * side * side:
                cells[column, row] = area
    return cells


def _ordered(cells: dict[tuple[int, int], float], scene: Scene) -> list[tuple[int, int]]:
    side = _side_um(scene)
    holding = {(int(g.x // side), int(g.y // side)) for g in scene.glomeruli.every()}

    def drawn(cell: tuple[int, int]) -> float:
        return Dice(scene.spec.seed, _KIND, *cell).uniform()

    rich = sorted((cell for cell in cells if cell in holding), key=drawn)
    poor = sorted((cell for cell in cells if cell not in holding), key=drawn)
    mixed = [cell for pair in zip(rich, poor, strict=False) for cell in pair]
    return [*mixed, *rich[len(poor) :], *poor[len(rich) :]]
