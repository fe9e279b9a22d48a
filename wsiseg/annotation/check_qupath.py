"""Why QuPath would refuse a GeoJSON file, or take it with a loss: rules of 0.4 to 0.7, read strictly.

Independent of the writer on purpose: nothing here is shared with it.
"""

import gzip
import json
import math
import uuid
import zlib
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from wsiseg.annotation.model import Problem
from wsiseg.annotation.source import MAX_BYTES
from wsiseg.process import without_collector

_OBJECT_TYPES = frozenset({"annotation", "detection", "cell", "tile", "tmacore", "tma_core", "root"})
_LEGACY_TYPES = frozenset(
    f"Path{kind}Object" for kind in ("Annotation", "Detection", "Cell", "Tile", "Root")
) | {"TMACoreObject"}
_DEPTHS = {
    "Point": 0,
    "MultiPoint": 1,
    "LineString": 1,
    "MultiLineString": 2,
    "Polygon": 2,
    "MultiPolygon": 3,
}
_GRID = 0.01

Found = Iterator[tuple[str, str]]
"""(severity, reason) pairs of one object."""


def check_qupath(path: Path | str) -> list[Problem]:
    """Everything for which QuPath would refuse the file or lose something of it, in file order.

    An empty list means that QuPath 0.4 to 0.7 opens it whole. One bad feature makes QuPath abort the whole
    import, so every ``error`` is a refusal.
    """
    root, problem = _load(Path(path))
    if problem is not None:
        return [Problem(None, problem)]
    problems: list[Problem] = []
    seen: set[str] = set()
    for index, (feature, inside) in enumerate(_features(root)):
        problems.extend(
            Problem(index, reason, "warning" if severity == "warning" else "error")
            for severity, reason in _feature(feature, inside, seen)
        )
    if not problems and not _recognised(root):
        problems.append(Problem(None, "no Feature, FeatureCollection, geometry or array of them"))
    return problems


def _load(path: Path) -> tuple[Any, str | None]:
    """The parsed file, or what is wrong with it as a whole."""
    stem = path.name.removesuffix(".gz")
    if not stem.endswith((".json", ".geojson")):
        return None, "the name does not end in .geojson, .json or either with .gz"
    try:
        raw = _unpacked(path)
        with without_collector():
            return json.loads(raw.decode("utf-8")), None
    except (OSError, EOFError, zlib.error) as err:
        return None, f"cannot be read: {err}"
    except UnicodeDecodeError:
        return None, "not UTF-8"
    except (ValueError, RecursionError) as err:
        return None, f"not complete JSON: {err}"


def _unpacked(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    with gzip.open(path) as stream:
        raw = stream.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise OSError(f"more than {MAX_BYTES:,} bytes unpacked")
    return raw


def _recognised(root: Any) -> bool:
    if isinstance(root, list):
        return all(isinstance(item, dict | list) for item in root)
    known = {*_DEPTHS, "GeometryCollection", "Feature", "FeatureCollection"}
    return isinstance(root, dict) and _type(root) in known


def _features(root: Any) -> Iterator[tuple[Any, bool]]:
    """Every object with whether it stands inside ``features``, where QuPath does not look at its type."""
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        item, inside = stack.pop()
        if isinstance(item, list):
            stack.extend((inner, inside) for inner in reversed(item))
            continue
        if not inside and isinstance(item, dict) and item.get("type") == "FeatureCollection":
            members = item.get("features")
            if not isinstance(members, list):
                yield {"type": "FeatureCollection without a features array"}, False
                continue
            stack.extend((inner, True) for inner in reversed(members))
            continue
        yield item, inside
        properties = item.get("properties") if isinstance(item, dict) else None
        places = [properties, item] if isinstance(properties, dict) else []
        children = [place[key] for place in places for key in ("childObjects", "children") if key in place]
        stack.extend((child, True) for group in children if isinstance(group, list) for child in group)


def _feature(feature: Any, inside: bool, seen: set[str]) -> Found:
    if not isinstance(feature, dict):
        yield "error", "not a JSON object"
        return
    kind = _type(feature)
    if not inside and (kind in _DEPTHS or kind == "GeometryCollection"):
        yield from _geometry(feature)
        return
    if kind != "Feature":
        yield ("warning", "type is not Feature") if inside else ("error", "no Feature: skipped by QuPath")
        if not inside:
            return
    yield from _identity(feature, seen)
    yield from _geometry(feature.get("geometry"))
    if "nucleusGeometry" in feature:
        yield from _geometry(feature["nucleusGeometry"])
    if "properties" in feature:
        yield from _properties(feature["properties"])


def _type(item: Mapping[str, Any]) -> str:
    kind = item.get("type")
    return kind if isinstance(kind, str) else ""


def _identity(feature: Mapping[str, Any], seen: set[str]) -> Found:
    if "id" not in feature:
        return
    identity = feature["id"]
    if not isinstance(identity, str):
        yield "error", "id is null or no text"
    elif identity in _LEGACY_TYPES:
        return
    elif not _is_uuid(identity):
        yield "warning", "id is no UUID: QuPath gives a random one"
    elif identity.lower() in seen:
        yield "warning", "id occurs twice"
    else:
        seen.add(identity.lower())


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def _properties(properties: Any) -> Found:
    if not isinstance(properties, dict):
        yield "error", "properties is null or no object"
        return
    yield from _object_type(properties)
    if "name" in properties and not isinstance(properties["name"], str):
        yield "error", "name is null or no text"
    if "classification" in properties:
        yield from _classification(properties["classification"])
    if "isLocked" in properties and not isinstance(properties["isLocked"], bool):
        yield "error", "isLocked is no truth value"
    if "measurements" in properties:
        yield from _measurements(properties["measurements"])
    metadata = properties.get("metadata", {})
    if not isinstance(metadata, dict):
        yield "error", "metadata is no object"
    elif not all(isinstance(value, str | int | float) for value in metadata.values()):
        yield "warning", "metadata that is no text or number is lost"


def _object_type(properties: Mapping[str, Any]) -> Found:
    for key in ("objectType", "object_type", "type"):
        if key not in properties:
            continue
        value = properties[key]
        if not isinstance(value, str):
            yield "error", f"{key} is null or no text"
        elif value.lower() not in _OBJECT_TYPES and value not in _LEGACY_TYPES:
            yield "warning", "unknown objectType: becomes an annotation"
        elif value.lower() in {"tmacore", "tma_core"} or value == "TMACoreObject":
            yield "warning", "TMA cores are dropped on import"
        return


def _classification(value: Any) -> Found:
    if value is None:
        return
    if isinstance(value, str):
        yield from _class_name(value, derived=True)
        if value.lstrip().startswith("{"):
            yield "warning", "classification is an object written as text: becomes a strange class name"
        return
    if not isinstance(value, dict):
        yield "error", "classification is neither text nor object"
        return
    if not value or "colorRGB" in value or "parentClass" in value:
        return
    if "color" not in value or not ({"name", "names"} & set(value)):
        yield "error", "classification needs name (or names) and color"
        return
    yield from _color(value["color"])
    names = value["names"] if "names" in value else [value["name"]]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        yield "error", "class name is null or no text"
        return
    for name in names:
        yield from _class_name(name, derived="names" not in value)


def _class_name(name: str, *, derived: bool) -> Found:
    if "\n" in name or "\r" in name:
        yield "error", "line break in a class name"
    if ":" in name and not derived:
        yield "error", "colon in an element of names"
    if not all(part.strip() for part in name.split(":")):
        yield "error", "blank class name"


def _color(color: Any) -> Found:
    if color is None or color == []:
        return
    if not isinstance(color, list):
        yield "error", "class color is no array"
    elif not all(isinstance(part, int) and not isinstance(part, bool) for part in color):
        yield "error", "class color holds something else than whole numbers"
    elif len(color) not in {1, 3, 4}:
        yield "error", "class color has neither 1, 3 nor 4 numbers"
    elif len(color) > 1 and not all(0 <= part <= 255 for part in color):
        yield "error", "class color is outside 0 to 255"


def _measurements(value: Any) -> Found:
    if isinstance(value, list):
        if not all(isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in value):
            yield "error", "measurement without a name"
            return
        value = {entry["name"]: entry.get("value") for entry in value}
    if not isinstance(value, dict):
        yield "error", "measurements is no object"
        return
    for entry in value.values():
        if isinstance(entry, float) and not math.isfinite(entry):
            yield "warning", "measurement that is not finite"
        elif isinstance(entry, str) and not _is_number(entry):
            yield "error", "measurement is text that is no number"
        elif isinstance(entry, bool | list | dict):
            yield "warning", "measurement that is no number is skipped"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip().lower() in {"nan", "inf", "-inf", "infinity", "-infinity"}
    return True


def _geometry(geometry: Any) -> Found:
    if not isinstance(geometry, dict):
        yield "error", "geometry is missing or null"
        return
    if not geometry:
        yield "warning", "object without outline"
        return
    kind = _type(geometry)
    if kind == "GeometryCollection":
        yield "error", "GeometryCollection: QuPath 0.6 and later cannot read it"
        return
    if kind not in _DEPTHS:
        yield "error", "unknown type of geometry"
        return
    yield from _plane(geometry)
    coordinates = geometry.get("coordinates")
    if not isinstance(coordinates, list) or not _nested(coordinates, _DEPTHS[kind]):
        yield "error", "coordinates are no positions nested as the type demands"
    elif kind in {"Polygon", "MultiPolygon"}:
        yield from _polygons([coordinates] if kind == "Polygon" else coordinates)


def _plane(geometry: Mapping[str, Any]) -> Found:
    if "plane" not in geometry:
        return
    plane = geometry["plane"]
    if not isinstance(plane, dict) or not set(plane) <= {"c", "z", "t"}:
        yield "error", "plane has another key than c, z, t"
    elif not all(isinstance(value, int) and not isinstance(value, bool) for value in plane.values()):
        yield "error", "plane holds something else than whole numbers"


def _nested(value: Any, depth: int) -> bool:
    """Whether positions of two or three finite numbers stand ``depth`` arrays deep."""
    if not isinstance(value, list):
        return False
    if depth == 0:
        return _are_positions([value])
    return _are_positions(value) if depth == 1 else all(_nested(item, depth - 1) for item in value)


def _are_positions(values: list[Any]) -> bool:
    """Without a Python loop over positions, of which a file has millions."""
    if not (set(map(type, values)) <= {list} and set(map(len, values)) <= {2, 3}):
        return False
    numbers = list(chain.from_iterable(values))
    if not set(map(type, numbers)) <= {int, float}:
        return False
    try:
        return all(map(math.isfinite, numbers))
    except OverflowError:
        return False


def _polygons(parts: list[Any]) -> Found:
    """Rules for rings, then validity in float64, then what is left on QuPath's grid of 0.01 px."""
    rings = [ring for part in parts for ring in part]
    if not rings or not all(parts):
        yield "warning", "empty outline"
        return
    for ring in rings:
        if len(ring) < 4:
            yield "error", "ring of fewer than four positions"
            return
        if ring[0][:2] != ring[-1][:2]:
            yield "error", "ring is not closed"
            return
    points = np.array([position[:2] for ring in rings for position in ring], dtype=np.float64)
    if np.abs(points * 100 - np.round(points * 100)).max() > 1e-4:
        yield "warning", "more than two decimals: QuPath rounds them"
    geometry = shapely.MultiPolygon([_polygon(part) for part in parts])
    if not geometry.is_valid:
        yield "error", f"invalid outline, refused since 0.6: {_why(geometry)}"
        return
    if shapely.set_precision(geometry, _GRID).is_empty:
        yield "warning", "vanishes on QuPath's grid of 0.01 px"


def _polygon(rings: list[Any]) -> shapely.Polygon:
    shell, *holes = ([position[:2] for position in ring] for ring in rings)
    return shapely.Polygon(shell, holes)


def _why(geometry: Any) -> str:
    """The kind of fault, without the place, so that equal faults are counted together."""
    return str(shapely.is_valid_reason(geometry)).partition("[")[0].strip().lower()
