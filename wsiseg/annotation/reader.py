"""Read any annotation file: the format is recognised by its content, never by its name."""

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import orjson

from wsiseg.annotation.asap_reader import Ungrouped, read_asap
from wsiseg.annotation.dsa_reader import is_dsa, read_dsa
from wsiseg.annotation.feature_lines import NotByLineError, feature_lines
from wsiseg.annotation.imagescope_reader import is_halo, microns_per_pixel, read_imagescope
from wsiseg.annotation.intake import Intake
from wsiseg.annotation.model import AnnotationFile, FileFormat
from wsiseg.annotation.qupath_reader import ROOT_TYPES, read_geojson, read_geojson_lines
from wsiseg.annotation.source import Source, load, parse_json, parse_xml
from wsiseg.errors import AnnotationParseError
from wsiseg.files import ANNOTATION_SUFFIXES
from wsiseg.process import without_collector

_EXPECTED = "QuPath GeoJSON, ASAP XML, ImageScope or Halo XML, or DSA JSON"


def read_annotations(
    path: Path | str,
    *,
    origin_l0: tuple[float, float] = (0, 0),
    strict: bool = False,
    ungrouped: Ungrouped = "none",
    top_group: bool = False,
    close_gap_px: float = 0.0,
) -> AnnotationFile:
    """Read an annotation file of any known format.

    Args:
        path: The file; gzip and zip are unpacked, within limits.
        origin_l0: The viewer's origin on the full plane (``Slide.origin_qupath``), added to the coordinates
            of QuPath and DSA files; ASAP, ImageScope and Halo count from the full plane already.
        strict: Whether anything that had to be repaired or dropped is an error.
        ungrouped: ASAP: the class of an annotation without a group is none, or its own ``name``.
        top_group: ASAP: take the outermost of nested groups as the class.
        close_gap_px: ImageScope: join open strokes whose ends lie closer than this.

    Raises:
        AnnotationParseError: Not one of the formats, damaged, too large; with ``strict``, any problem.
    """
    path = Path(path)
    files: list[AnnotationFile] = []
    failures: list[AnnotationParseError] = []
    for source in load(path):
        reader = _Reader(origin_l0, ungrouped, top_group, close_gap_px)
        try:
            files.append(reader.read(source))
        except AnnotationParseError as err:
            failures.append(err)
    if not files:
        raise failures[0] if failures else AnnotationParseError(f"{path} is an archive without any file")
    merged = _merge(files, failures)
    if strict:
        merged.report.raise_if_any(str(path))
    return merged


def find_beside(slide_path: Path | str) -> Path | None:
    """The annotation file that lies beside a slide under the slide's own name, or None.

    ``slide.geojson`` goes before ``slide.svs.geojson``.
    """
    slide_path = Path(slide_path)
    for name in (slide_path.stem, slide_path.name):
        for suffix in ANNOTATION_SUFFIXES:
            candidate = slide_path.parent / f"{name}{suffix}"
            if candidate.is_file() and candidate != slide_path:
                return candidate
    return None


def sniff(source: Source) -> tuple[FileFormat, Any]:
    """Which format a file is, and its parsed content: a JSON value or an XML element.

    Raises:
        AnnotationParseError: None of them, or damaged.
    """
    head = source.data[:64].removeprefix(b"\xef\xbb\xbf").replace(b"\x00", b"").lstrip(b"\xff\xfe \t\r\n")
    if head.startswith(b"<"):
        root = parse_xml(source)
        return _xml_format(root, source.name), root
    if head.startswith((b"{", b"[")):
        value = parse_json(source)
        return _json_format(value, source.name), value
    found = "an empty file" if not source.data else "neither JSON nor XML"
    raise AnnotationParseError(source.name, found=found, expected=_EXPECTED)


def _xml_format(root: Element, name: str) -> FileFormat:
    if root.tag == "ASAP_Annotations":
        return "asap"
    if root.tag != "Annotations":
        raise AnnotationParseError(name, found=f"root element <{root.tag[:40]}>", expected=_EXPECTED)
    grouped = any("PartOfGroup" in element.attrib for element in root.iter("Annotation"))
    if grouped or next(root.iter("Coordinate"), None) is not None:
        return "asap"
    return "halo" if is_halo(root) else "imagescope"


def _json_format(value: Any, name: str) -> FileFormat:
    if is_dsa(value):
        return "dsa"
    if _is_geojson(value):
        return "qupath"
    raise AnnotationParseError(
        name, found="JSON without any Feature, geometry or elements", expected=_EXPECTED
    )


def _is_geojson(value: Any) -> bool:
    """Whether the value is, or a (nested) array holds, a GeoJSON object; an empty array is no objects."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict) and isinstance(item.get("type"), str) and item["type"] in ROOT_TYPES:
            return item["type"] != "FeatureCollection" or isinstance(item.get("features"), list)
        if isinstance(item, list):
            stack.extend(item)
    return isinstance(value, list) and not value


class _Reader:
    """The options of one call, applied to each file of an archive."""

    def __init__(
        self, origin_l0: tuple[float, float], ungrouped: Ungrouped, top_group: bool, close_gap_px: float
    ) -> None:
        self._origin_l0 = (float(origin_l0[0]), float(origin_l0[1]))
        self._ungrouped: Ungrouped = ungrouped
        self._top_group = top_group
        self._close_gap_px = close_gap_px

    def read(self, source: Source) -> AnnotationFile:
        """Recognise and read one file."""
        by_line = self._read_by_line(source)
        if by_line is not None:
            return by_line
        file_format, content = sniff(source)
        if file_format in {"qupath", "dsa"}:
            intake = Intake(self._origin_l0)
            read_dsa(content, intake) if file_format == "dsa" else read_geojson([content], intake)
            return AnnotationFile(intake.annotations, file_format, intake.report)
        intake = Intake()
        if file_format == "asap":
            read_asap(content, intake, ungrouped=self._ungrouped, top_group=self._top_group)
            return AnnotationFile(intake.annotations, file_format, intake.report)
        read_imagescope(content, intake, close_gap_px=self._close_gap_px)
        return AnnotationFile(intake.annotations, file_format, intake.report, microns_per_pixel(content))

    def _read_by_line(self, source: Source) -> AnnotationFile | None:
        """Read a collection that has one feature a line; None for any other file."""
        lines = feature_lines(source.data)
        if lines is None:
            return None
        intake = Intake(self._origin_l0)
        try:
            with without_collector():
                read_geojson_lines(lines, intake)
        except (NotByLineError, orjson.JSONDecodeError):
            return None
        return AnnotationFile(intake.annotations, "qupath", intake.report)


def _merge(files: list[AnnotationFile], failures: list[AnnotationParseError]) -> AnnotationFile:
    """The files of an archive as one; entries that could not be read are counted as dropped."""
    first, *rest = files
    for file in rest:
        first.annotations.extend(file.annotations)
        first.report.kept += file.report.kept
        first.report.repaired.extend(file.report.repaired)
        first.report.dropped.extend(file.report.dropped)
    for failure in failures:
        first.report.drop(None, f"archive entry left out: {failure}")
    return first
