"""Why ASAP 2.2 would refuse an XML file, or misread it; independent of the writer on purpose.

ASAP discards a whole file when one annotation is not in ``None`` or in a group that is declared, and
stores each coordinate at the index that ``Order`` says, without looking whether there is room.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from wsiseg.annotation.model import Problem, Severity
from wsiseg.annotation.source import Source, load, parse_xml
from wsiseg.errors import AnnotationParseError

_TYPES = {"None": 0, "Dot": 1, "Polygon": 3, "Spline": 3, "PointSet": 1, "Measurement": 2, "Rectangle": 4}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")

Found = Iterator[tuple[Severity, str]]


def check_asap(path: Path | str) -> list[Problem]:
    """Everything for which ASAP would refuse the file or misread it; empty where it opens whole."""
    path = Path(path)
    try:
        sources = load(path)
        root = parse_xml(sources[0] if sources else Source(str(path), b""))
    except AnnotationParseError as err:
        return [Problem(None, str(err))]
    problems = [Problem(None, reason, severity) for severity, reason in _file(path, root)]
    groups = _group_names(root)
    names: set[str] = set()
    for index, element in enumerate(root.iterfind("Annotations/Annotation")):
        problems.extend(
            Problem(index, reason, severity) for severity, reason in _annotation(element, groups, names)
        )
    return problems


def _file(path: Path, root: Element) -> Found:
    if path.suffix.lower() != ".xml":
        yield "error", "the name does not end in .xml"
    if root.tag != "ASAP_Annotations":
        yield "error", f"root element is <{root.tag}>, not <ASAP_Annotations>"
        return
    if root.find("Annotations") is None:
        yield "error", "no <Annotations>"
    groups = root.findall("AnnotationGroups/Group")
    names = [group.get("Name") for group in groups]
    if len(set(names)) < len(names):
        yield "error", "two groups of one name"
    for group in groups:
        if not group.get("Name"):
            yield "error", "group without a name"
        if group.get("PartOfGroup", "") not in {"None", *names}:
            yield "error", "group is part of a group that is not declared"
        if not _COLOR.fullmatch(group.get("Color", "")):
            yield "warning", "group without a color #RRGGBB"
    if _cycle({group.get("Name"): group.get("PartOfGroup") for group in groups}):
        yield "error", "groups contain each other in a circle"


def _group_names(root: Element) -> set[str]:
    return {group.get("Name") or "" for group in root.iterfind("AnnotationGroups/Group")}


def _cycle(parents: dict[str | None, str | None]) -> bool:
    for start in parents:
        name, steps = parents.get(start), 0
        while name in parents and steps <= len(parents):
            if name == start:
                return True
            name, steps = parents[name], steps + 1
    return False


def _annotation(element: Element, groups: set[str], names: set[str]) -> Found:
    group = element.get("PartOfGroup")
    if group is None:
        yield "error", "no PartOfGroup: ASAP discards the whole file"
    elif group != "None" and group not in groups:
        yield "error", "PartOfGroup names a group that is not declared: ASAP discards the whole file"
    name = element.get("Name")
    if not name:
        yield "warning", "annotation without a name"
    elif name in names:
        yield "warning", "name occurs twice"
    names.add(name or "")
    if not _COLOR.fullmatch(element.get("Color", "")):
        yield "warning", "annotation without a color #RRGGBB"
    kind = element.get("Type", "")
    if kind not in _TYPES:
        yield "error", "unknown Type: becomes an annotation without outline"
        return
    yield from _coordinates(element.findall("Coordinates/Coordinate"), kind)


def _coordinates(coordinates: list[Element], kind: str) -> Found:
    orders = [coordinate.get("Order", "") for coordinate in coordinates]
    if not all(order.isascii() and order.isdigit() for order in orders):
        yield "error", "Order is missing or no whole number"
    elif sorted(map(int, orders)) != list(range(len(orders))):
        yield "error", "Order does not run from 0 to n - 1, each once"
    texts = [(coordinate.get("X", ""), coordinate.get("Y", "")) for coordinate in coordinates]
    if not all(_NUMBER.fullmatch(text) for pair in texts for text in pair):
        yield "error", "coordinate is no plain number with a decimal point"
        return
    if len(coordinates) < _TYPES[kind] or (kind == "Rectangle" and len(coordinates) != 4):
        yield "error", f"too few or too many coordinates for a {kind}"
    elif kind in {"Polygon", "Spline"} and texts[0] == texts[-1]:
        yield "warning", "first point repeated at the end"
