"""QuPath's GeoJSON, in every shape in which QuPath and the tools around it write it.

The rules are those of qupath-core's ``GsonTools``, ``QuPathTypeAdapters`` and ``ROITypeAdapters``, read
tolerantly: what QuPath would throw at is mended or dropped object by object, and counted.
"""

import ast
import json
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from shapely import Polygon

from wsiseg.annotation.intake import Intake
from wsiseg.annotation.line_outlines import LineFeature, parse_lines
from wsiseg.annotation.model import ORIGIN_KEY, Annotation, ObjectKind, Polygonal
from wsiseg.annotation.quick_outlines import quick_outlines
from wsiseg.annotation.repair import ellipse_ring

GEOMETRY_TYPES = frozenset(
    {
        "Point",
        "MultiPoint",
        "LineString",
        "MultiLineString",
        "Polygon",
        "MultiPolygon",
        "GeometryCollection",
    }
)
ROOT_TYPES = GEOMETRY_TYPES | {"Feature", "FeatureCollection"}

_NO_AREA = {
    "Point": "a point has no area",
    "MultiPoint": "points have no area",
    "LineString": "a line has no area",
    "MultiLineString": "lines have no area",
}
_NOT_OBJECTS = {"tmacore": "a TMA core is no annotation", "root": "the root object is no annotation"}
_KINDS: dict[str, ObjectKind] = {"detection": "detection", "cell": "detection", "tile": "detection"}
_WITH_NUCLEUS = ("cell", "")
"""Objects whose ``nucleusGeometry`` counts; QuPath 0.2 kept the kind in ``id``."""
_NAME_KEYS = ("group", "label", "class")
_LONGEST_CLASS = 10_000
_PLAIN_KEYS = {"type", "id", "properties"}
_MOST_ALIKE = 256
_BLOCK = 2048
"""Features looked at together."""
_DEEPEST_CLASS = 16


def read_geojson(roots: Iterable[Any], intake: Intake) -> None:
    """Put every object of parsed GeoJSON values into the intake; children follow their parent."""
    features = (pair for root in roots for pair in _features(root, None))
    while block := list(islice(features, _BLOCK)):
        outlines = quick_outlines([feature for feature, _ in block], intake.origin_l0)
        for (feature, parent), outline in zip(block, outlines, strict=True):
            _take(feature, parent, outline, intake)


def read_geojson_lines(lines: Iterable[bytes], intake: Intake) -> None:
    """The same for features of which each is one line.

    Raises:
        orjson.JSONDecodeError: A line is no JSON value.
    """
    rest = iter(lines)
    while block := list(islice(rest, _BLOCK)):
        for line in parse_lines(block, intake.origin_l0):
            _take_line(line, intake)


def _take_line(line: LineFeature, intake: Intake) -> None:
    """Take a feature that was one line; most are like one before them but for outline and id."""
    known = line.outline is not None and bool(line.tail)
    plain = known and line.value.keys() == _PLAIN_KEYS and line.value["type"] == "Feature"
    like = intake.alike.get(line.tail) if plain else None
    if like is None or line.outline is None:
        faultless = _take_all(line, intake)
        if plain and faultless and len(intake.alike) < _MOST_ALIKE:
            intake.alike[line.tail] = intake.annotations[-1]
        return
    intake.next_index()
    intake.keep(
        Annotation(
            polygon=line.outline,
            class_name=like.class_name,
            name=like.name,
            id=_text(line.value["id"]),
            measurements=like.measurements,
            metadata=like.metadata,
            color=like.color,
            parent=like.parent,
            kind=like.kind,
            locked=like.locked,
        )
    )


def _take_all(line: LineFeature, intake: Intake) -> bool:
    """Take a feature with its children, the careful way; whether it was one alone and without any problem."""
    seen, problems = intake.seen, intake.report.problems
    for feature, parent in _features(line.value, None):
        _take(feature, parent, line.outline if feature is line.value else None, intake)
    return intake.seen == seen + 1 and intake.report.problems == problems


def _features(value: Any, parent: str | None) -> Iterator[tuple[Any, str | None]]:
    """Features of an array, a collection, a Feature or a bare geometry, children flattened.

    A stack instead of recursion: a hostile file may nest deeper than Python's stack.
    """
    stack: list[tuple[Any, str | None]] = [(value, parent)]
    while stack:
        item, owner = stack.pop()
        if isinstance(item, list):
            stack.extend((inner, owner) for inner in reversed(item))
            continue
        if isinstance(item, dict) and item.get("type") == "FeatureCollection":
            members = item.get("features")
            stack.extend((inner, owner) for inner in reversed(members if isinstance(members, list) else []))
            continue
        yield item, owner
        if isinstance(item, dict):
            identity = _text(item.get("id")) or owner
            stack.extend((child, identity) for child in reversed(_children(item)))


def _type(item: Mapping[str, Any]) -> str:
    """The ``type`` of a GeoJSON object; empty where it is missing or no text."""
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""


def _children(feature: Mapping[str, Any]) -> list[Any]:
    properties = feature.get("properties")
    places = [properties, feature] if isinstance(properties, dict) else [feature]
    for place in places:
        for key in ("childObjects", "children"):
            if isinstance(place.get(key), list):
                return list(place[key])
    return []


def _take(feature: Any, parent: str | None, outline: Polygon | None, intake: Intake) -> None:
    """Take one feature; ``outline`` is its valid polygon where that is known already."""
    index = intake.next_index()
    if not isinstance(feature, dict):
        intake.drop(index, "not a GeoJSON object")
        return
    if _type(feature) in GEOMETRY_TYPES:
        feature = {"type": "Feature", "geometry": feature}
    if _type(feature) not in {"Feature", ""} and "geometry" not in feature:
        intake.drop(index, "not a GeoJSON Feature")
        return
    properties = feature.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    kind = _object_type(properties)
    if kind in _NOT_OBJECTS:
        intake.drop(index, _NOT_OBJECTS[kind])
        return
    polygon = _polygon(feature.get("geometry"), index, intake) if outline is None else outline
    if polygon is None:
        return
    class_name, color = _class_of(properties, index, intake)
    metadata = _metadata(properties.get("metadata"))
    intake.check_origin(metadata.get(ORIGIN_KEY))
    if intake.origin_l0 != (0, 0):
        metadata.pop(ORIGIN_KEY, None)
    intake.keep(
        Annotation(
            polygon=polygon,
            class_name=class_name,
            name=_text(properties.get("name")),
            id=_text(feature.get("id")),
            measurements=_measurements(properties.get("measurements")),
            metadata=metadata,
            color=color,
            parent=parent or metadata.get("parent"),
            kind=_KINDS.get(kind, "annotation") if kind else None,
            locked=properties.get("isLocked") is True,
            nucleus=_nucleus(feature, kind, index, intake),
        )
    )


def _object_type(properties: Mapping[str, Any]) -> str:
    """``annotation``, ``detection``, ..., also from the names of QuPath 0.2; empty where there is none."""
    for key in ("objectType", "object_type", "type"):
        value = properties.get(key)
        if isinstance(value, str):
            name = value.replace("_", "").lower()
            return name.removeprefix("path").removesuffix("object")
    return ""


def _polygon(geometry: Any, index: int, intake: Intake) -> Polygonal | None:
    if not isinstance(geometry, dict) or not geometry:
        intake.drop(index, "no geometry")
        return None
    if _other_plane(geometry):
        intake.drop(index, "lies in another z or time plane than the first")
        return None
    parts, losses = _parts(geometry)
    if not parts:
        intake.drop(index, losses[0] if losses else "empty geometry")
        return None
    for loss in losses:
        intake.report.repair(index, f"left out of a collection: {loss}")
    return intake.outline(index, parts, closed=True)


def _nucleus(feature: Mapping[str, Any], kind: str, index: int, intake: Intake) -> Polygonal | None:
    """The nucleus that QuPath's cell detection keeps beside the outline of the cell, or None.

    A nucleus that cannot be read is counted as a repair: the cell is kept.
    """
    geometry = feature.get("nucleusGeometry")
    if not geometry or kind not in _WITH_NUCLEUS:
        return None
    aside = Intake(intake.origin_l0)
    nucleus = _polygon(geometry, index, aside)
    for problem in aside.report.repaired:
        intake.report.repair(index, f"nucleus: {problem.reason}")
    for problem in aside.report.dropped:
        intake.report.repair(index, f"nucleus of a cell left out: {problem.reason}")
    return nucleus


def _other_plane(geometry: Mapping[str, Any]) -> bool:
    plane = geometry.get("plane")
    return isinstance(plane, dict) and any(plane.get(axis) not in (None, 0) for axis in ("z", "t"))


def _parts(geometry: Any) -> tuple[list[Any], list[str]]:
    """Rings of every polygon in a geometry, collections flattened, and what had to be left out."""
    parts: list[Any] = []
    losses: list[str] = []
    stack = [geometry]
    while stack:
        item = stack.pop()
        item = item if isinstance(item, dict) else {}
        kind, coordinates, inner = _type(item), item.get("coordinates"), item.get("geometries")
        if kind == "GeometryCollection" and isinstance(inner, list):
            stack.extend(reversed(inner))
        elif kind == "Polygon" and isinstance(coordinates, list) and coordinates:
            parts.append(_as_ellipse(coordinates) if item.get("isEllipse") is True else coordinates)
        elif kind == "MultiPolygon" and isinstance(coordinates, list):
            parts.extend(coordinates)
        elif kind in _NO_AREA:
            losses.append(_NO_AREA[kind])
        else:
            losses.append("empty geometry" if kind in GEOMETRY_TYPES else "unknown kind of geometry")
    return parts, losses


def _as_ellipse(rings: list[Any]) -> list[Any]:
    """QuPath marks an ellipse by ``isEllipse`` and keeps a polygon of it; only the envelope counts."""
    try:
        points = np.asarray(rings[0], dtype=np.float64)[:, :2]
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    except (TypeError, ValueError, IndexError):
        return rings
    if not np.isfinite([x0, y0, x1, y1]).all():
        return rings
    ring = ellipse_ring((float(x0), float(y0), float(x1), float(y1))).tolist()
    return [[*ring, ring[0]]]


def _class_of(
    properties: Mapping[str, Any], index: int, intake: Intake
) -> tuple[str | None, tuple[int, int, int] | None]:
    """Name and colour of the class; DSA keeps it in ``group`` or ``label``, pandas writes NaN for none."""
    value = properties.get("classification")
    if isinstance(value, str):
        value = _unquoted(value)
    if isinstance(value, dict):
        return _known_class(value, intake)
    if isinstance(value, str):
        return _text(value), None
    if value is not None and not (isinstance(value, float) and math.isnan(value)):
        intake.report.repair(index, "classification is neither a name nor an object")
    for key in _NAME_KEYS:
        other = properties.get(key)
        name = _text(other.get("value") if isinstance(other, dict) else other)
        if name:
            return name, None
    return None, None


def _known_class(
    classification: Mapping[str, Any], intake: Intake
) -> tuple[str | None, tuple[int, int, int] | None]:
    """Name and colour of a class object; a file repeats a handful of them a hundred thousand times."""
    key = repr(classification)
    if key not in intake.classes:
        intake.classes[key] = _class_name(classification), _color(classification)
    return intake.classes[key]


def _unquoted(text: str) -> Any:
    """GeoPandas writes the class object as text, of JSON or of a Python dict."""
    if not text.lstrip().startswith("{") or len(text) > _LONGEST_CLASS:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text
    return value if isinstance(value, dict) else text


def _class_name(classification: Mapping[str, Any]) -> str | None:
    """``name``, or ``names`` joined, with the parents that QuPath 0.3 and older nested."""
    names: list[str] = []
    item: Any = classification
    for _ in range(_DEEPEST_CLASS):
        if not isinstance(item, dict):
            break
        own = item.get("names")
        parts = own if isinstance(own, list) else [item.get("name")]
        names = [name for part in parts if (name := _text(part))] + names
        item = item.get("parentClass")
    return ": ".join(names) or None


def _color(classification: Mapping[str, Any]) -> tuple[int, int, int] | None:
    value = classification.get("color", classification.get("colorRGB"))
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, int) and not isinstance(value, bool):
        return (value >> 16) & 255, (value >> 8) & 255, value & 255
    if isinstance(value, list) and len(value) in {3, 4} and all(isinstance(part, int) for part in value):
        red, green, blue = (min(255, max(0, int(part))) for part in value[:3])
        return red, green, blue
    return None


def _measurements(value: Any) -> dict[str, float]:
    """Finite numbers by name, from an object or from the old array of name and value."""
    if isinstance(value, list):
        value = {
            entry["name"]: entry.get("value")
            for entry in value
            if isinstance(entry, dict) and isinstance(entry.get("name"), str)
        }
    if not isinstance(value, dict):
        return {}
    numbers = {name: _number(entry) for name, entry in value.items()}
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: str(entry) for key, entry in value.items() if isinstance(entry, str | int | float | bool)}


def _text(value: Any) -> str | None:
    """A text that says something, without surrounding space; numbers count as text (GeoPandas ids)."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None
