"""Files are recognised by content, unpacked within limits, and broken ones give one clear error."""

import gzip
import json
import random
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outlines import RING, SQUARE, TWO

from wsiseg.annotation import (
    Annotation,
    check_asap,
    check_dsa,
    check_imagescope,
    check_qupath,
    find_beside,
    read_annotations,
    source,
    write_asap,
    write_dsa,
    write_imagescope,
    write_qupath,
)
from wsiseg.annotation.feature_lines import feature_lines
from wsiseg.classes import default_schema
from wsiseg.errors import AnnotationParseError

SCHEMA = default_schema()
OBJECTS = [
    Annotation(RING, "glomerulus", name="G", measurements={"a": 1.0}, metadata={"run": "r"}),
    Annotation(TWO, "podocyte"),
    Annotation(SQUARE),
]
CHECKS = {"qupath": check_qupath, "asap": check_asap, "imagescope": check_imagescope, "dsa": check_dsa}


def write(folder, file_format):
    path = folder / f"{file_format}.dat"
    if file_format == "qupath":
        write_qupath(path, OBJECTS, SCHEMA, slide_id="s")
    elif file_format == "asap":
        write_asap(path, OBJECTS, SCHEMA, holes="group")
    elif file_format == "imagescope":
        write_imagescope(path, OBJECTS, SCHEMA)
    else:
        write_dsa(path, OBJECTS, SCHEMA, slide_id="s")
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    return {name: write(folder, name).read_bytes() for name in CHECKS}


@pytest.mark.parametrize("file_format", list(CHECKS))
@pytest.mark.parametrize("name", ["a.geojson", "a.xml", "a.txt", "a"])
def test_the_name_does_not_matter(tmp_path, written, file_format, name):
    (tmp_path / name).write_bytes(written[file_format])
    file = read_annotations(tmp_path / name, strict=True)
    assert file.format == file_format
    assert sum(item.polygon.area for item in file.annotations) == pytest.approx(800 + 50 + 100)


@pytest.mark.parametrize("file_format", list(CHECKS))
def test_gzip_and_zip_are_unpacked(tmp_path, written, file_format):
    (tmp_path / "a").write_bytes(gzip.compress(written[file_format], mtime=0))
    with zipfile.ZipFile(tmp_path / "b", "w") as archive:
        archive.writestr("inner/a.dat", written[file_format])
        archive.writestr("__MACOSX/._a.dat", b"\x00")
    one, two = read_annotations(tmp_path / "a"), read_annotations(tmp_path / "b")
    assert one.format == two.format == file_format
    assert one.report.kept == two.report.kept > 0


def test_entries_that_cannot_be_read_are_counted(tmp_path, written):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.geojson", written["qupath"])
        archive.writestr("b.geojson", written["qupath"])
        archive.writestr("readme.txt", "hello")
    file = read_annotations(tmp_path / "a.zip")
    assert (file.report.kept, len(file.report.dropped)) == (6, 1)
    with pytest.raises(AnnotationParseError, match="archive entry left out"):
        read_annotations(tmp_path / "a.zip", strict=True)


def test_an_empty_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/", "")
    with pytest.raises(AnnotationParseError, match="without any file"):
        read_annotations(tmp_path / "a.zip")


def test_bombs_stop_at_the_limit(tmp_path):
    zeros = b"[" + b" " * (40 << 20) + b"]"
    (tmp_path / "a.gz").write_bytes(gzip.compress(zeros, mtime=0))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", zeros)
    for name in ("a.gz", "a.zip"):
        with pytest.raises(AnnotationParseError, match="unpacks to more than"):
            read_annotations(tmp_path / name)


def test_large_files_and_crowded_archives_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_bytes(b"[" + b" " * 100 + b"]")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(4):
            archive.writestr(f"{number}.json", "[]")
    monkeypatch.setattr(source, "MAX_BYTES", 50)
    monkeypatch.setattr(source, "MAX_ENTRIES", 3)
    with pytest.raises(AnnotationParseError, match="at most 50"):
        read_annotations(tmp_path / "a.json")
    monkeypatch.setattr(source, "MAX_BYTES", 5000)
    with pytest.raises(AnnotationParseError, match="at most 3"):
        read_annotations(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"hello", "neither JSON nor XML"),
        (b"\x89PNG\r\n", "neither JSON nor XML"),
        (b"{", "not complete JSON"),
        (b'{"a": 1}', "JSON without any Feature"),
        (b'["This is not an annotation"]', "JSON without any Feature"),
        (b'{"type": "FeatureCollection"}', "JSON without any Feature"),
        (b"[" * 100_000, "not complete JSON"),
        (b"<a>", "not complete XML"),
        (b"<html></html>", "root element <html>"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><Annotations>&b;</Annotations>', "declares a DTD"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><Annotations/>', "declares a DTD"),
        (b'<?xml version="1.0" encoding="x-none"?><Annotations/>', "not complete XML"),
        (b"\x1f\x8b\x08\x00", "damaged"),
        (gzip.compress(b"[]" * 500, mtime=0)[:-9], "damaged"),
        (b"PK\x03\x04rest", "damaged"),
    ],
)
def test_broken_files_give_one_clear_line(tmp_path, content, message):
    path = tmp_path / "a.geojson"
    path.write_bytes(content)
    with pytest.raises(AnnotationParseError, match=message) as caught:
        read_annotations(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders_give_one_clear_line(tmp_path):
    for path in (tmp_path / "gone.xml", tmp_path):
        with pytest.raises(AnnotationParseError, match="cannot read"):
            read_annotations(path)


def test_a_namespace_does_not_matter(tmp_path, written):
    text = written["asap"].replace(b"<ASAP_Annotations>", b'<ASAP_Annotations xmlns="urn:x">')
    (tmp_path / "a.xml").write_bytes(text)
    assert read_annotations(tmp_path / "a.xml", strict=True).report.kept > 0


def test_an_empty_collection_is_no_fault(tmp_path):
    for text in (
        "[]",
        '{"type":"FeatureCollection","features":[]}',
        '{"type":"FeatureCollection","features":[\n]}',
    ):
        (tmp_path / "a.json").write_text(text, encoding="utf-8")
        assert read_annotations(tmp_path / "a.json", strict=True).annotations == []


def test_strict_names_the_problem(tmp_path):
    (tmp_path / "a.json").write_text('[{"type":"Point","coordinates":[1,2]}]', encoding="utf-8")
    with pytest.raises(
        AnnotationParseError, match=r"1 problems in strict reading: 1 x a point has no area \(object 0\)"
    ):
        read_annotations(tmp_path / "a.json", strict=True)


def test_beside_a_slide(tmp_path):
    slide = tmp_path / "a.b.svs"
    assert find_beside(slide) is None
    for name in (
        "a.b.svs.geojson",
        "a.b.annotations",
        "a.b.xml",
        "a.b.geojson.gz",
        "a.b.json",
        "a.b.geojson",
    ):
        (tmp_path / name).touch()
        assert find_beside(slide).name == name


def test_a_collection_read_by_line_equals_one_read_whole(tmp_path, written):
    text = written["qupath"]
    assert feature_lines(text) is not None
    (tmp_path / "lines").write_bytes(text)
    (tmp_path / "whole").write_bytes(json.dumps(json.loads(text)).encode())
    assert feature_lines((tmp_path / "whole").read_bytes()) is None
    assert read_annotations(tmp_path / "lines") == read_annotations(tmp_path / "whole")


@pytest.mark.parametrize("change", [(b",\n", b",\n\n"), (b"[[", b"[\n["), (b"\n]}", b"\n]}\n]}")])
def test_other_layouts_fall_back_to_the_whole(tmp_path, written, change):
    text = written["qupath"].replace(*change)
    (tmp_path / "a").write_bytes(text)
    try:
        json.loads(text)
    except ValueError:
        with pytest.raises(AnnotationParseError):
            read_annotations(tmp_path / "a")
    else:
        assert read_annotations(tmp_path / "a").report.kept == 3


def read_or_refuse(path):
    """Anything but ``AnnotationParseError`` fails the test; the checks never raise at all."""
    try:
        file = read_annotations(path)
    except AnnotationParseError:
        file = None
    if file is not None:
        assert all(item.polygon.is_valid and not item.polygon.is_empty for item in file.annotations)
        assert len(file.annotations) == file.report.kept
    for check in CHECKS.values():
        check(path)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"{", b"[", b"<", b"<Annotations>", b"\x1f\x8b\x08", b"PK\x03\x04"]),
)
@settings(max_examples=80, deadline=None)
def test_random_bytes(tmp_path_factory, content, head):
    path = tmp_path_factory.getbasetemp() / "random.geojson"
    path.write_bytes(head + content)
    read_or_refuse(path)


@pytest.mark.parametrize("file_format", list(CHECKS))
@pytest.mark.parametrize("suffix", [".geojson", ".xml", ".json.gz"])
def test_truncated_and_damaged_files(tmp_path, written, file_format, suffix):
    content = written[file_format]
    chance = random.Random(0)
    path = tmp_path / f"a{suffix}"
    for number in range(25):
        damaged = bytearray(content)
        if number % 2:
            del damaged[chance.randrange(len(damaged)) :]
        else:
            for _ in range(4):
                damaged[chance.randrange(len(damaged))] = chance.randrange(32, 127)
        path.write_bytes(gzip.compress(bytes(damaged)) if suffix.endswith("gz") else bytes(damaged))
        read_or_refuse(path)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=5), v, max_size=3),
    max_leaves=8,
)


@given(st.data())
@settings(max_examples=150, deadline=None)
@pytest.mark.parametrize("file_format", ["qupath", "dsa"])
def test_any_value_in_any_place(tmp_path_factory, written, file_format, data):
    root = json.loads(written[file_format])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(places(root))))
        container, key = place
        container[key] = data.draw(VALUES)
    path = tmp_path_factory.getbasetemp() / "mutated.json"
    path.write_text(json.dumps(root), encoding="utf-8")
    read_or_refuse(path)


def places(value):
    """Every (container, key) in a JSON value, the outer ones first and coordinates thinned out."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for number, (key, inner) in enumerate(list(items)):
        if isinstance(value, list) and number > 2:
            return
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)
