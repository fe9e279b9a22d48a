"""Aperio ImageScope XML, and Halo's dialect of it (``<V>`` vertices, region types as words).

``Annotation`` is a layer and stands for a class; ``Region`` is an outline in level-0 pixels of the full
plane; a region with ``NegativeROA="1"`` is taken out of the regions of its layer that it lies in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from wsiseg.annotation.holes import Hole, subtract_holes
from wsiseg.annotation.intake import Intake
from wsiseg.annotation.model import Annotation, Polygonal
from wsiseg.annotation.repair import ellipse_ring
from wsiseg.annotation.source import number

_AREA_TYPES = {
    **dict.fromkeys(("", "0", "polygon", "freehand", "closedfreehand"), "polygon"),
    **dict.fromkeys(("1", "rectangle"), "rectangle"),
    **dict.fromkeys(("2", "ellipse", "circle"), "ellipse"),
}
_VERTEX_TAGS = ("Vertex", "V")
_TRUE = frozenset({"1", "true"})


@dataclass(frozen=True, slots=True)
class _Region:
    index: int
    element: Element
    shape: str
    points: NDArray[np.float64]
    negative: bool


def is_halo(root: Element) -> bool:
    """Whether vertices are ``<V>`` or a region's type is a word."""
    region = next(root.iter("Region"), None)
    words = region is not None and not (region.get("Type") or "0").strip().lstrip("-").isdigit()
    return words or next(root.iter("V"), None) is not None


def microns_per_pixel(root: Element) -> float | None:
    """What the file claims, or None."""
    mpp = number(root.get("MicronsPerPixel"))
    return mpp if mpp > 0 and np.isfinite(mpp) else None


def read_imagescope(root: Element, intake: Intake, *, close_gap_px: float = 0.0) -> None:
    """Put every region into the intake.

    Args:
        root: The ``Annotations`` element.
        intake: Where to.
        close_gap_px: Join open strokes of a layer whose ends lie closer than this; 0 joins none.
    """
    for layer in root.iter("Annotation"):
        _read_layer(layer, intake, close_gap_px)


def _read_layer(layer: Element, intake: Intake, close_gap_px: float) -> None:
    regions = [region for element in layer.iter("Region") for region in _region(element, intake)]
    if close_gap_px > 0:
        regions = _join_strokes(regions, close_gap_px, intake)
    kept: list[Annotation] = []
    holes: list[Hole] = []
    class_name, color = layer_name(layer), _layer_color(layer)
    for region in regions:
        polygon = _outline(region, intake)
        if polygon is None:
            continue
        if region.negative:
            parent = region.element.get("InputRegionId")
            holes.append(Hole(region.index, polygon, class_name, parent))
            continue
        kept.append(
            Annotation(
                polygon=polygon,
                class_name=class_name,
                name=(region.element.get("Text") or "").strip() or None,
                id=region.element.get("Id") or None,
                color=color,
                layer=layer.get("Id") or None,
            )
        )
    for annotation in subtract_holes(kept, holes, intake):
        intake.keep(annotation)


def layer_name(layer: Element) -> str | None:
    """The class of a layer: its name, or else the first attribute of the layer that says something.

    ImageScope leaves ``Name`` empty until somebody types one, and writes what is typed into the layer's
    description as ``Attributes/Attribute``.
    """
    name = (layer.get("Name") or "").strip()
    if name:
        return name
    for attribute in layer.iterfind("Attributes/*"):
        value = (attribute.get("Value") or "").strip()
        label = (attribute.get("Name") or "").strip()
        if value or (label and label.lower() != "description"):
            return value or label
    return None


def _layer_color(layer: Element) -> tuple[int, int, int] | None:
    """``LineColor`` is a Windows COLORREF: red + 256 green + 65536 blue."""
    value = number(layer.get("LineColor"))
    if not 0 <= value < 1 << 32:
        return None
    packed = int(value)
    return packed & 255, (packed >> 8) & 255, (packed >> 16) & 255


def _region(element: Element, intake: Intake) -> Iterator[_Region]:
    index = intake.next_index()
    shape = _AREA_TYPES.get((element.get("Type") or "").strip().lower())
    if shape is None:
        intake.drop(index, "a line, arrow, ruler or text has no area")
        return
    vertices = [
        (number(vertex.get("X")), number(vertex.get("Y")))
        for name in _VERTEX_TAGS
        for vertex in element.iter(name)
    ]
    if not vertices:
        intake.drop(index, "region without vertices")
        return
    negative = (element.get("NegativeROA") or "").strip().lower() in _TRUE
    yield _Region(index, element, shape, np.array(vertices), negative)


def _outline(region: _Region, intake: Intake) -> Polygonal | None:
    ring: Any = region.points
    corners = len(region.points) == 2
    if corners and region.shape != "polygon" and np.isfinite(region.points).all():
        (x0, y0), (x1, y1) = region.points.tolist()
        if region.shape == "ellipse":
            ring = ellipse_ring((x0, y0, x1, y1))
        else:
            ring = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    elif region.shape == "ellipse" and len(region.points) == 4 and np.isfinite(region.points).all():
        # Some tools give the four corners of the envelope instead of two.
        (x0, y0), (x1, y1) = region.points.min(axis=0).tolist(), region.points.max(axis=0).tolist()
        ring = ellipse_ring((x0, y0, x1, y1))
    return intake.outline(region.index, [[ring]], closed=False)


def _join_strokes(regions: list[_Region], gap_px: float, intake: Intake) -> list[_Region]:
    """Join open strokes end to end: ASAP does so for ends closer than 30 px.

    A region is a stroke when its own ends lie further apart than ``gap_px``; chains are grown from the
    first stroke on, each time by the nearest free end.
    """
    strokes = [region for region in regions if _is_open(region, gap_px)]
    others = [region for region in regions if not _is_open(region, gap_px)]
    joined: list[_Region] = []
    while strokes:
        chain, strokes = _grow(strokes[0], strokes[1:], gap_px, intake)
        joined.append(chain)
    return sorted([*others, *joined], key=lambda region: region.index)


def _is_open(region: _Region, gap_px: float) -> bool:
    ends = region.points[0] - region.points[-1]
    return region.shape == "polygon" and not region.negative and bool(np.hypot(*ends) > gap_px)


def _grow(
    first: _Region, rest: list[_Region], gap_px: float, intake: Intake
) -> tuple[_Region, list[_Region]]:
    points, rest = first.points, list(rest)
    while rest and np.hypot(*(points[0] - points[-1])) > gap_px:
        reach = [
            (float(np.hypot(*(points[-1] - end))), position, turned)
            for position, stroke in enumerate(rest)
            for turned, end in ((False, stroke.points[0]), (True, stroke.points[-1]))
        ]
        distance, position, turned = min(reach)
        if not distance <= gap_px:
            break
        stroke = rest.pop(position)
        points = np.concatenate([points, stroke.points[::-1] if turned else stroke.points])
        intake.report.repair(stroke.index, "open stroke joined to the one before it")
    return _Region(first.index, first.element, first.shape, points, negative=False), rest
