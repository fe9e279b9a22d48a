"""Annotation documents of the Digital Slide Archive (HistomicsUI, girder's large_image).

A file holds one document, a list of them, each bare or wrapped as ``{"annotation": {...}}``. An element
has an area when it is a closed polyline, a rectangle, an ellipse or a circle.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from wsiseg.annotation.intake import Intake
from wsiseg.annotation.model import Annotation
from wsiseg.annotation.repair import Ring, ellipse_ring

_NO_AREA = {
    "point": "a point has no area",
    "arrow": "an arrow has no area",
    "heatmap": "a heat map has no outline",
    "griddata": "grid data have no outline",
    "rectanglegrid": "a grid has no outline",
    "image": "an image overlay has no outline",
    "pixelmap": "a pixel map has no outline",
}


def is_dsa(value: Any) -> bool:
    """Whether a JSON value is a document, or a list that holds one."""
    if isinstance(value, list):
        return any(_document(item) is not None for item in value)
    return _document(value) is not None


def _document(value: Any) -> Mapping[str, Any] | None:
    if not isinstance(value, dict):
        return None
    inner = value.get("annotation")
    document = inner if isinstance(inner, dict) else value
    return document if isinstance(document.get("elements"), list) else None


def read_dsa(value: Any, intake: Intake) -> None:
    """Put every element of every document into the intake."""
    for item in value if isinstance(value, list) else [value]:
        document = _document(item)
        if document is None:
            intake.drop(intake.next_index(), "not an annotation document")
            continue
        intake.check_origin(_recorded_origin(document))
        for element in document["elements"]:
            _take(element, _text(document.get("name")), intake)


def _recorded_origin(document: Mapping[str, Any]) -> str | None:
    attributes = document.get("attributes")
    ours = attributes.get("wsiseg") if isinstance(attributes, dict) else None
    return _text(ours.get("origin")) if isinstance(ours, dict) else None


def _take(element: Any, document_name: str | None, intake: Intake) -> None:
    index = intake.next_index()
    if not isinstance(element, dict):
        intake.drop(index, "not an element")
        return
    kind = _text(element.get("type")) or ""
    rings = _rings(element, kind)
    if rings is None:
        reason = _NO_AREA.get(kind, "unknown type of element")
        intake.drop(index, "an open line has no area" if kind == "polyline" else reason)
        return
    polygon = intake.outline(index, [rings], closed=False)
    if polygon is None:
        return
    label = element.get("label")
    label = _text(label.get("value")) if isinstance(label, dict) else _text(label)
    user = element.get("user")
    intake.keep(
        Annotation(
            polygon=polygon,
            class_name=_text(element.get("group")) or label or document_name,
            name=label if _text(element.get("group")) not in {None, label} else None,
            id=_text(element.get("id")),
            measurements=_numbers(user) if isinstance(user, dict) else {},
            color=_color(element.get("lineColor")),
        )
    )


def _rings(element: Mapping[str, Any], kind: str) -> list[Any] | None:
    """Shell and holes of an element with an area; None for any other."""
    if kind == "polyline":
        if element.get("closed") is not True:
            return None
        holes = element.get("holes")
        return [element.get("points") or [], *(holes if isinstance(holes, list) else [])]
    if kind in {"rectangle", "ellipse", "circle"}:
        return [_shape(element, kind)]
    return None


def _shape(element: Mapping[str, Any], kind: str) -> Ring | list[Any]:
    """A rectangle, ellipse or circle as a ring, turned by its rotation; empty where numbers are missing."""
    try:
        x, y = (float(part) for part in element["center"][:2])
        if kind == "circle":
            width = height = 2 * float(element["radius"])
        else:
            width, height = float(element["width"]), float(element["height"])
        angle = float(element.get("rotation") or 0.0)
    except (KeyError, TypeError, ValueError, OverflowError):
        return []
    if not all(map(math.isfinite, (x, y, width, height, angle))) or max(abs(width), abs(height)) > 1e8:
        return []
    box = (-width / 2, -height / 2, width / 2, height / 2)
    if kind == "rectangle":
        ring = np.array([(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])])
    else:
        ring = ellipse_ring(box)
    cosine, sine = math.cos(angle), math.sin(angle)
    turned: Ring = ring @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y)
    return turned


def _numbers(user: Mapping[str, Any]) -> dict[str, float]:
    return dict(_finite(user))


def _finite(user: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in user.items():
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        if plain and abs(value) <= sys.float_info.max:
            yield name, float(value)


def _color(text: Any) -> tuple[int, int, int] | None:
    """``#rgb``, ``#rrggbb`` (alpha allowed) or ``rgb(r,g,b)`` / ``rgba(r,g,b,a)``."""
    if not isinstance(text, str):
        return None
    text = text.strip().lower()
    if text.startswith("#") and len(text) in {4, 5, 7, 9}:
        digits = text[1:] if len(text) >= 7 else "".join(2 * digit for digit in text[1:])
        try:
            red, green, blue = (int(digits[start : start + 2], 16) for start in (0, 2, 4))
        except ValueError:
            return None
        return red, green, blue
    head, opening, rest = text.partition("(")
    parts = rest.rstrip(")").split(",")[:3]
    if not opening or head not in {"rgb", "rgba"} or not all(part.strip().isdigit() for part in parts):
        return None
    values = [min(255, int(part)) for part in parts]
    return (values[0], values[1], values[2]) if len(values) == 3 else None


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
