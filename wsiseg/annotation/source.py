"""Bytes of an annotation file, unpacked within limits, and its content as JSON or as an XML tree."""

import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import orjson
from defusedxml.common import DefusedXmlException

from wsiseg.errors import AnnotationParseError
from wsiseg.process import without_collector

MAX_BYTES = 1 << 30
"""Largest content that is read, unpacked: HistomicsUI's own limit for an annotation file."""

MAX_RATIO = 250
"""Coordinates never shrink more than about fifty-fold; beyond this an archive is a bomb."""

MAX_ENTRIES = 1000
"""Most files in a zip archive."""

_RATIO_MATTERS_FROM = 16 << 20
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """One unpacked file: what to call it in messages, and its bytes."""

    name: str
    data: bytes


def load(path: Path) -> list[Source]:
    """The content of a file: itself, gunzipped, or every file of a zip archive.

    Raises:
        AnnotationParseError: Not there, unreadable, a damaged archive, or too large.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise AnnotationParseError(str(path), found=f"{size:,} bytes", expected=f"at most {MAX_BYTES:,}")
        data = path.read_bytes()
    except OSError as err:
        raise AnnotationParseError(f"cannot read {path}: {err.strerror or err}") from err
    if data.startswith(b"\x1f\x8b"):
        return [Source(str(path), _gunzip(data, str(path)))]
    if data.startswith(b"PK\x03\x04"):
        return list(_unzip(data, str(path)))
    return [Source(str(path), data)]


def _gunzip(data: bytes, name: str) -> bytes:
    """Every member of a gzip stream, one block at a time so that a bomb stops at the limit."""
    unpacked = bytearray()
    rest = data
    try:
        while rest.startswith(b"\x1f\x8b"):
            engine = zlib.decompressobj(wbits=31)
            while not engine.eof:
                block = engine.decompress(rest, _BLOCK)
                if not block and not engine.unconsumed_tail and not engine.eof:
                    raise AnnotationParseError(f"{name} is damaged: the gzip stream ends too early")
                unpacked += block
                _check_size(len(unpacked), len(data), name)
                rest = engine.unused_data if engine.eof else engine.unconsumed_tail
    except zlib.error as err:
        raise AnnotationParseError(f"{name} is damaged: {err}") from err
    return bytes(unpacked)


def _unzip(data: bytes, name: str) -> Iterator[Source]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [info for info in archive.infolist() if _is_content(info)]
            if len(entries) > MAX_ENTRIES:
                raise AnnotationParseError(
                    name, found=f"{len(entries)} files", expected=f"at most {MAX_ENTRIES}"
                )
            total = 0
            for info in entries:
                content = _read_entry(archive, info, total, len(data), name)
                total += len(content)
                yield Source(f"{name}:{info.filename}", content)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as err:
        # RuntimeError is what zipfile raises for a password, and a child of it for an unknown method.
        if isinstance(err, AnnotationParseError):
            raise
        raise AnnotationParseError(f"{name} is damaged or encrypted: {err}") from err


def _is_content(info: zipfile.ZipInfo) -> bool:
    parts = info.filename.split("/")
    return not info.is_dir() and "__MACOSX" not in parts and not parts[-1].startswith(".")


def _read_entry(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, before: int, packed: int, name: str
) -> bytes:
    content = bytearray()
    with archive.open(info) as stream:
        while block := stream.read(_BLOCK):
            content += block
            _check_size(before + len(content), packed, name)
    return bytes(content)


def _check_size(unpacked: int, packed: int, name: str) -> None:
    bomb = unpacked > _RATIO_MATTERS_FROM and unpacked > MAX_RATIO * packed
    if bomb or unpacked > MAX_BYTES:
        raise AnnotationParseError(
            f"{name} unpacks to more than {unpacked:,} bytes",
            expected=f"at most {MAX_BYTES:,}, and at most {MAX_RATIO} times its packed size",
        )


def parse_json(source: Source) -> Any:
    """The JSON value of a file; NaN and Infinity are let through, as QuPath does.

    Raises:
        AnnotationParseError: Not JSON, cut short, or nested beyond reason.
    """
    try:
        with without_collector():
            return orjson.loads(source.data)
    except orjson.JSONDecodeError as first:
        try:
            return json.loads(decode(source.data))
        except (ValueError, RecursionError):
            raise AnnotationParseError(f"{source.name} is not complete JSON: {first}") from first


def decode(data: bytes) -> str:
    """Text in UTF-8, in UTF-16 with its mark, or else in the code page of old QuPath on Windows."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def parse_xml(source: Source) -> Element:
    """The root element, its names without namespaces; a DTD or an entity is refused, nothing is fetched.

    Raises:
        AnnotationParseError: Not well-formed XML, or an unsafe one.
    """
    try:
        with without_collector():
            root: Element = defusedxml.ElementTree.fromstring(source.data, forbid_dtd=True)
    except DefusedXmlException as err:
        raise AnnotationParseError(
            f"{source.name} declares a DTD or an entity, which no annotation needs",
            remedy="Remove the <!DOCTYPE ...> line if you trust the file",
        ) from err
    except (ParseError, LookupError, ValueError) as err:
        raise AnnotationParseError(f"{source.name} is not complete XML: {err}") from err
    if "}" in root.tag:
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
    return root


def number(text: str | None) -> float:
    """A number as viewers write it, a decimal comma included; NaN where there is none.

    Real ASAP files from machines with a European locale hold ``12,5``.
    """
    try:
        return float(text or "nan")
    except ValueError:
        pass
    try:
        return float((text or "").strip().replace(",", "."))
    except ValueError:
        return math.nan
