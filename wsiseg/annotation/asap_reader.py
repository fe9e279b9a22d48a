"""ASAP's XML: one outline an annotation, the class in ``PartOfGroup``, holes by our ``__hole`` groups.

Coordinates are level-0 pixels of the full plane. ASAP itself discards a whole file for one missing
``PartOfGroup``; here each annotation is judged by itself.
"""

import re
from collections.abc import Mapping
from typing import Literal
from xml.etree.ElementTree import Element

import numpy as np

from wsiseg.annotation.holes import Hole, subtract_holes
from wsiseg.annotation.intake import Intake
from wsiseg.annotation.model import Annotation
from wsiseg.annotation.repair import Ring
from wsiseg.annotation.source import number

HOLE_SUFFIX = "__hole"
"""A group ``<class>__hole`` holds the holes of ``<class>``; written and read back by wsiseg."""

Ungrouped = Literal["none", "name"]
"""What an annotation of no group is: without a class, or of the class that its own name says."""

_AREA_TYPES = frozenset({"Polygon", "Spline", "Rectangle"})
_NO_AREA = {
    "Dot": "a point has no area",
    "PointSet": "points have no area",
    "Measurement": "a measurement has no area",
    "None": "an annotation of type None has no outline",
}


def read_asap(
    root: Element, intake: Intake, *, ungrouped: Ungrouped = "none", top_group: bool = False
) -> None:
    """Put every annotation into the intake.

    Args:
        root: ``ASAP_Annotations``, or a bare ``Annotations`` in ASAP's manner.
        intake: Where to.
        ungrouped: The class of an annotation whose ``PartOfGroup`` is ``None``.
        top_group: Whether the outermost of nested groups is the class, not the innermost.
    """
    groups = {group.get("Name") or "": group for group in root.iter("Group")}
    kept: list[Annotation] = []
    holes: list[Hole] = []
    for element in root.iter("Annotation"):
        index = intake.next_index()
        annotation = _annotation(element, index, intake, groups, ungrouped=ungrouped, top_group=top_group)
        if annotation is None:
            continue
        owner = hole_of(annotation.class_name)
        if owner is None:
            kept.append(annotation)
        else:
            holes.append(Hole(index, annotation.polygon, owner, hole_parent(annotation.name)))
    for annotation in subtract_holes(kept, holes, intake):
        intake.keep(annotation)


def _annotation(
    element: Element,
    index: int,
    intake: Intake,
    groups: Mapping[str, Element],
    *,
    ungrouped: Ungrouped,
    top_group: bool,
) -> Annotation | None:
    kind = (element.get("Type") or "").strip()
    if kind not in _AREA_TYPES:
        intake.drop(index, _NO_AREA.get(kind, "unknown type of annotation"))
        return None
    polygon = intake.outline(index, [[_positions(element)]], closed=False)
    if polygon is None:
        return None
    name = (element.get("Name") or "").strip() or None
    group = _group(element, groups, top_group=top_group)
    like = element if group is None else groups.get(group, element)
    return Annotation(
        polygon=polygon,
        class_name=name if group is None and ungrouped == "name" else group,
        name=name,
        id=name,
        metadata=dict(
            item for entry in like.iterfind("Attributes/Attribute") for item in entry.attrib.items()
        ),
        color=hex_color(like.get("Color")),
    )


def _attributes(element: Element) -> dict[str, str]:
    return {key: value for entry in element.iterfind("Attributes/Attribute") for key, value in entry.items()}


def _group(element: Element, groups: Mapping[str, Element], *, top_group: bool) -> str | None:
    """The group's name, or that of its outermost parent; a group that is not declared still names a class."""
    name = _named_group(element)
    visited: set[str] = set()
    while top_group and name is not None and name in groups and name not in visited:
        visited.add(name)
        name = _named_group(groups[name]) or name
    return name


def _named_group(element: Element) -> str | None:
    name = (element.get("PartOfGroup") or "").strip()
    return None if name in {"", "None"} else name


def _positions(element: Element) -> Ring:
    """Coordinates sorted by ``Order``, where every one of them has one; else in file order."""
    rows = [
        (number(coordinate.get("Order")), number(coordinate.get("X")), number(coordinate.get("Y")))
        for coordinate in element.iter("Coordinate")
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    if np.isfinite(table[:, 0]).all():
        table = table[np.argsort(table[:, 0], kind="stable")]
    return table[:, 1:]


def hex_color(text: str | None) -> tuple[int, int, int] | None:
    """``#RRGGBB`` as numbers, or None."""
    match = re.fullmatch(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", (text or "").strip())
    if match is None:
        return None
    red, green, blue = (int(part, 16) for part in match.groups())
    return red, green, blue


def hole_of(class_name: str | None) -> str | None:
    """The class whose holes a group holds, or None for an ordinary group."""
    if class_name is None or not class_name.endswith(HOLE_SUFFIX):
        return None
    return class_name.removesuffix(HOLE_SUFFIX)


def hole_parent(name: str | None) -> str | None:
    """``Annotation 3`` for a hole named ``Annotation 3 hole 1``."""
    head, hole, _ = (name or "").rpartition(" hole ")
    return head if hole else None
