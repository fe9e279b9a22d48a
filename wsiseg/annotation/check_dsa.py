"""Why the Digital Slide Archive would refuse an annotation file: large_image's schema, every element.

large_image itself looks closely at the first elements of a kind only; a bad one further back is stored
and breaks the display later. Nothing here is shared with the writer.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import shapely

from wsiseg.annotation.model import Problem
from wsiseg.annotation.source import MAX_BYTES

_DOCUMENT_KEYS = frozenset({"name", "description", "display", "attributes", "elements"})
_COMMON = frozenset({"type", "id", "label", "group", "user", "lineColor", "lineWidth"})
_AREA = frozenset({"center", "width", "height", "rotation", "normal", "fillColor"})
_KEYS = {
    "polyline": _COMMON | {"points", "closed", "holes", "fillColor", "pattern"},
    "rectangle": _COMMON | _AREA,
    "ellipse": _COMMON | _AREA,
    "circle": _COMMON | {"center", "radius", "fillColor"},
    "point": _COMMON | {"center", "fillColor"},
    "arrow": _COMMON | {"points", "fillColor"},
}
_NOT_CHECKED = frozenset({"rectanglegrid", "heatmap", "griddata", "image", "pixelmap"})
_REQUIRED = {
    "polyline": {"points"},
    "rectangle": {"center", "width", "height"},
    "ellipse": {"center", "width", "height"},
    "circle": {"center", "radius"},
    "point": {"center"},
    "arrow": {"points"},
}
_LABEL_KEYS = frozenset({"value", "visibility", "fontSize", "color"})
_COLOR = re.compile(
    r"#([0-9a-fA-F]{3,4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})"
    r"|rgb\(\d+,\s*\d+,\s*\d+\)|rgba\(\d+,\s*\d+,\s*\d+,\s*(\d?\.|)\d+\)"
)
_ID = re.compile(r"[0-9a-f]{24}")
_MANY = 20_000

Found = Iterator[tuple[str, str]]
_SIZES = frozenset({"width", "height", "radius"})


def check_dsa(path: Path | str) -> list[Problem]:
    """Everything for which DSA would refuse the file, or show it badly; empty where there is nothing."""
    try:
        raw = Path(path).read_bytes()
        value = json.loads(raw.decode("utf-8"))
    except OSError as err:
        return [Problem(None, f"cannot be read: {err}")]
    except (ValueError, RecursionError) as err:
        return [Problem(None, f"not complete JSON in UTF-8: {err}")]
    problems: list[Problem] = []
    if len(raw) > MAX_BYTES:
        problems.append(Problem(None, "more than 1 GiB: larger than the server takes by default"))
    index = 0
    for item in value if isinstance(value, list) else [value]:
        found = list(_document(item))
        problems.extend(_problem(None, severity, reason) for severity, reason in found)
        elements = _elements(item)
        seen: set[str] = set()
        for element in elements:
            problems.extend(_problem(index, severity, reason) for severity, reason in _element(element, seen))
            index += 1
    return problems


def _problem(index: int | None, severity: str, reason: str) -> Problem:
    return Problem(index, reason, "warning" if severity == "warning" else "error")


def _unwrapped(item: Any) -> Any:
    return item["annotation"] if isinstance(item, dict) and "annotation" in item else item


def _elements(item: Any) -> list[Any]:
    document = _unwrapped(item)
    elements = document.get("elements") if isinstance(document, dict) else None
    return elements if isinstance(elements, list) else []


def _document(item: Any) -> Found:
    document = _unwrapped(item)
    if not isinstance(document, dict):
        yield "error", "not an annotation document"
        return
    if not {key for key in document if not key.startswith("_")} <= _DOCUMENT_KEYS:
        yield "error", "document with a key that the schema does not know"
    name = document.get("name")
    if not isinstance(name, str) or not name:
        yield "error", "document without a name"
    if not isinstance(document.get("description", ""), str):
        yield "error", "description is no text"
    if not isinstance(document.get("attributes", {}), dict):
        yield "error", "attributes is no object"
    elements = document.get("elements", [])
    if not isinstance(elements, list):
        yield "error", "elements is no array"
    elif len(elements) > _MANY:
        yield "warning", "more elements in a document than HistomicsUI shows smoothly"


def _element(element: Any, seen: set[str]) -> Found:
    if not isinstance(element, dict):
        yield "error", "element is no object"
        return
    kind = element.get("type")
    if not isinstance(kind, str):
        yield "error", "element without a type"
        return
    if kind in _NOT_CHECKED:
        return
    if kind not in _KEYS:
        yield "error", "element of unknown type"
        return
    keys = {key for key in element if not key.startswith("_")}
    if not keys <= _KEYS[kind]:
        yield "error", "element with a key that the schema does not know"
    if not _REQUIRED[kind] <= keys:
        yield "error", "element lacks what its type needs"
        return
    yield from _common(element, seen)
    if kind in {"polyline", "arrow"}:
        yield from _polyline(element)
    elif not _is_position(element["center"]):
        yield "error", "center is no position of three numbers"
    if not all(_is_number(element[key]) and element[key] >= 0 for key in _SIZES & keys):
        yield "error", "width, height or radius is no number from 0"
    if "rotation" in element and not _is_number(element["rotation"]):
        yield "error", "rotation is no number"


def _common(element: Mapping[str, Any], seen: set[str]) -> Found:
    identity = element.get("id")
    if identity is not None:
        if not isinstance(identity, str) or not _ID.fullmatch(identity):
            yield "error", "id is not 24 lower-case hex digits"
        elif identity in seen:
            yield "error", "id occurs twice in a document"
        else:
            seen.add(identity)
    if "label" in element:
        yield from _label(element["label"])
    if not isinstance(element.get("group", ""), str):
        yield "error", "group is no text"
    if not isinstance(element.get("user", {}), dict):
        yield "error", "user is no object"
    width = element.get("lineWidth", 0)
    if not (_is_number(width) and width >= 0):
        yield "error", "lineWidth is no number from 0"
    for key in ("lineColor", "fillColor"):
        if key in element and not (isinstance(element[key], str) and _COLOR.fullmatch(element[key])):
            yield "error", f"{key} is no color"


def _label(label: Any) -> Found:
    if not isinstance(label, dict) or not isinstance(label.get("value"), str):
        yield "error", "label has no text value"
    elif not set(label) <= _LABEL_KEYS:
        yield "error", "label with a key that the schema does not know"


def _polyline(element: Mapping[str, Any]) -> Found:
    points = element["points"]
    if not isinstance(points, list) or not all(map(_is_position, points)):
        yield "error", "points are no positions of three numbers"
        return
    if len(points) < 2 or (element.get("type") == "arrow" and len(points) != 2):
        yield "error", "too few or too many points"
        return
    if not isinstance(element.get("closed", False), bool):
        yield "error", "closed is no truth value"
    holes = element.get("holes", [])
    if not isinstance(holes, list) or not all(_is_ring(hole) for hole in holes):
        yield "error", "hole of fewer than three positions"
    elif holes and element.get("closed") is not True:
        yield "error", "holes in a line that is not closed"
    elif element.get("closed") is True and len(points) >= 3:
        yield from _outline(points, holes)


def _outline(points: list[Any], holes: list[Any]) -> Found:
    if points[0] == points[-1]:
        yield "warning", "first point repeated at the end"
    rings = [[(x, y) for x, y, _ in ring] for ring in (points, *holes)]
    if not shapely.Polygon(rings[0]).is_valid:
        yield "warning", "outline crosses itself"
    elif holes and not shapely.Polygon(rings[0], rings[1:]).is_valid:
        yield "error", "hole outside the outline, or crossing it"


def _is_ring(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= 3 and all(map(_is_position, value))


def _is_position(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    # Compared, not asked with isfinite: that raises on whole numbers beyond float64.
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and abs(value) <= sys.float_info.max
