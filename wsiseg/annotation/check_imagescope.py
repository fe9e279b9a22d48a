"""What would make ImageScope, or the readers around it, lose something of an XML file.

ImageScope is closed source: these rules rest on what independent readers and writers agree upon. Nothing
is shared with the writer.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from wsiseg.annotation.model import Problem, Severity
from wsiseg.annotation.source import Source, load, parse_xml
from wsiseg.errors import AnnotationParseError

_FEWEST = {"0": 3, "1": 4, "2": 2}
_LARGEST_COLOR = 0xFFFFFF

Found = Iterator[tuple[Severity, str]]


def check_imagescope(path: Path | str) -> list[Problem]:
    """Everything that a strict reader of the XML would stumble over; empty where there is nothing."""
    path = Path(path)
    try:
        sources = load(path)
        root = parse_xml(sources[0] if sources else Source(str(path), b""))
    except AnnotationParseError as err:
        return [Problem(None, str(err))]
    if root.tag != "Annotations":
        return [Problem(None, f"root element is <{root.tag}>, not <Annotations>")]
    problems = [Problem(None, reason, severity) for severity, reason in _file(path, root)]
    index = 0
    for layer in root.findall("Annotation"):
        regions = layer.findall("Regions/Region")
        problems.extend(Problem(index, reason, severity) for severity, reason in _layer(layer, regions))
        identities: set[str] = set()
        for region in regions:
            problems.extend(
                Problem(index, reason, severity) for severity, reason in _region(region, identities)
            )
            identities.add(region.get("Id", ""))
            index += 1
    return problems


def _file(path: Path, root: Element) -> Found:
    if path.suffix.lower() != ".xml":
        yield "error", "the name does not end in .xml"
    mpp = root.get("MicronsPerPixel")
    if mpp is not None and not (_is_number(mpp) and float(mpp) > 0):
        yield "error", "MicronsPerPixel is no positive number"
    identities = [layer.get("Id", "") for layer in root.findall("Annotation")]
    if identities != [str(number) for number in range(1, len(identities) + 1)]:
        yield "warning", "layer ids do not run from 1"


def _layer(layer: Element, regions: list[Element]) -> Found:
    color = layer.get("LineColor", "")
    if not (color.isascii() and color.isdigit() and int(color) <= _LARGEST_COLOR):
        yield "error", "LineColor is no number from 0 to 16777215"
    if not layer.get("Name"):
        yield "warning", "layer without a name"
    identities = [region.get("Id", "") for region in regions]
    if not all(identity.isascii() and identity.isdigit() for identity in identities):
        yield "error", "region id is missing or no whole number"
    elif len(set(identities)) < len(identities):
        yield "error", "region id occurs twice in a layer"


def _region(region: Element, before: set[str]) -> Found:
    kind = region.get("Type", "")
    if kind not in _FEWEST:
        yield "warning", "region that is no area"
        return
    negative = region.get("NegativeROA", "0")
    if negative not in {"0", "1"}:
        yield "error", "NegativeROA is neither 0 nor 1"
    elif negative == "1" and region.get("InputRegionId") not in before:
        yield "warning", "negative region does not follow the region that it belongs to"
    texts = [(v.get("X", ""), v.get("Y", "")) for v in region.findall("Vertices/Vertex")]
    if not all(_is_number(text) for pair in texts for text in pair):
        yield "error", "vertex is no plain number with a decimal point"
    elif len(texts) < _FEWEST[kind]:
        yield "error", "too few vertices"
    elif kind == "0" and texts[0] == texts[-1]:
        yield "warning", "first vertex repeated at the end"


def _is_number(text: str) -> bool:
    """Digits, sign and a point only: no comma, no exponent, no NaN."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.replace(".", "", 1).isdigit()
