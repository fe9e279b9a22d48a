"""Annotation documents of the Digital Slide Archive."""

import json
import math

import pytest
from hypothesis import given, settings
from outlines import RING, SLIVER, SQUARE, TWO, annotations, total_area, total_length

from wsiseg.annotation import Annotation, check_dsa, read_annotations, write_dsa
from wsiseg.classes import default_schema

SCHEMA = default_schema()
POINTS = [[10, 10, 0], [20, 10, 0], [20, 20, 0], [10, 20, 0]]
HOLE = [[12, 12, 0], [12, 14, 0], [14, 14, 0]]
LINE = {"type": "polyline", "closed": True, "points": POINTS}


def document(*elements, **members):
    return {"name": "nuclei", "elements": list(elements), **members}


@pytest.fixture
def read(tmp_path):
    def read_value(value, **options):
        (tmp_path / "a.json").write_text(json.dumps(value), encoding="utf-8")
        return read_annotations(tmp_path / "a.json", **options)

    return read_value


@pytest.mark.parametrize(
    "wrap", [lambda d: d, lambda d: [d], lambda d: {"annotation": d}, lambda d: [{"annotation": d}]]
)
def test_every_wrapping_is_read(read, wrap):
    file = read(wrap(document(LINE)))
    assert (file.format, file.annotations[0].polygon.area, file.annotations[0].class_name) == (
        "dsa",
        100,
        "nuclei",
    )


@pytest.mark.parametrize(
    ("more", "class_name", "name"),
    [
        ({}, "nuclei", None),
        ({"label": {"value": "podocyte"}}, "podocyte", None),
        ({"group": "podocyte", "label": {"value": "P 1"}}, "podocyte", "P 1"),
        ({"group": "podocyte", "label": {"value": "podocyte"}}, "podocyte", None),
    ],
)
def test_the_class_is_group_then_label_then_document(read, more, class_name, name):
    item = read(document({**LINE, **more})).annotations[0]
    assert (item.class_name, item.name) == (class_name, name)


@pytest.mark.parametrize(
    ("element", "area"),
    [
        ({**LINE, "holes": [HOLE]}, 98),
        ({"type": "rectangle", "center": [0, 0, 0], "width": 4, "height": 2, "rotation": 1}, 8),
        ({"type": "ellipse", "center": [0, 0, 0], "width": 400, "height": 200}, math.pi * 20000),
        ({"type": "circle", "center": [0, 0, 0], "radius": 100}, math.pi * 10000),
    ],
)
def test_shapes_are_read(read, element, area):
    assert read(document(element)).annotations[0].polygon.area == pytest.approx(area, rel=0.002)


def test_a_rectangle_turns_about_its_centre(read):
    element = {"type": "rectangle", "center": [10, 20, 0], "width": 4, "height": 2, "rotation": math.pi / 2}
    assert read(document(element)).annotations[0].polygon.bounds == pytest.approx((9, 18, 11, 22))


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        ({**LINE, "closed": False}, "an open line has no area"),
        ({"type": "point", "center": [0, 0, 0]}, "a point has no area"),
        ({"type": "heatmap", "points": []}, "a heat map has no outline"),
        ({"type": "blob"}, "unknown type of element"),
        ({"type": ["polyline"]}, "unknown type of element"),
        ({"type": "circle"}, "fewer than three different points"),
        ({"type": "circle", "center": ["x"], "radius": None}, "fewer than three different points"),
        (
            {"type": "ellipse", "center": [0, 0], "width": 1e300, "height": 1},
            "fewer than three different points",
        ),
        ("text", "not an element"),
    ],
)
def test_the_rest_is_dropped(read, element, reason):
    file = read([document(LINE, element), 7])
    assert file.report.kept == 1
    assert [problem.reason for problem in file.report.dropped] == [reason, "not an annotation document"]


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("rgb(1, 2,3)", (1, 2, 3)),
        ("rgba(1,2,3,0.5)", (1, 2, 3)),
        ("#fff", (255, 255, 255)),
        ("#01020304", (1, 2, 3)),
        ("#ggg", None),
        ("red", None),
        ("rgb(1)", None),
        (5, None),
    ],
)
def test_colors_are_read(read, text, color):
    assert read(document({**LINE, "lineColor": text})).annotations[0].color == color


def test_numbers_beyond_float64_are_no_measurements(read):
    item = read(document({**LINE, "user": {"a": 1, "b": 10**400, "c": True}})).annotations[0]
    assert item.measurements == {"a": 1.0}


def test_the_origin_is_added(read):
    assert read(document(LINE), origin_l0=(5, 7)).annotations[0].polygon.bounds == (15, 17, 25, 27)


@given(annotations())
@settings(max_examples=30, deadline=None)
def test_what_is_written_is_valid_and_comes_back(tmp_path_factory, objects):
    path = tmp_path_factory.mktemp("dsa") / "a.json"
    report = write_dsa(path, iter(objects), SCHEMA, slide_id="s", origin_l0=(3, 4), metadata={"run": "r"})
    assert check_dsa(path) == []
    if not report.total:
        return
    file = read_annotations(path, origin_l0=(3, 4), strict=True)
    assert not file.report.notes
    assert total_area(file.annotations) == pytest.approx(
        total_area(objects), abs=0.1 * len(objects) + 0.02 * total_length(objects)
    )


def test_one_document_a_class(tmp_path):
    path = tmp_path / "a.json"
    objects = [
        Annotation(SQUARE, "podocyte", name="P 1", measurements={"a": 1.0, "b": math.nan}),
        Annotation(RING, "glomerulus", id="x"),
        Annotation(TWO, "podocyte", metadata={"a": "b"}),
        Annotation(SQUARE),
        Annotation(SLIVER),
    ]
    report = write_dsa(path, objects, SCHEMA, slide_id="s", metadata={"run": "r"})
    documents = json.loads(path.read_text(encoding="utf-8"))
    assert [item["name"] for item in documents] == ["glomerulus", "podocyte", "unclassified"]
    assert documents[0]["attributes"] == {"wsiseg": {"run": "r"}}
    assert documents[0]["elements"][0]["fillColor"] == "rgba(46,134,222,0.3)"
    assert len(documents[0]["elements"][0]["holes"]) == 1
    assert documents[1]["elements"][0]["user"] == {"a": 1.0}
    assert len(documents[1]["elements"]) == 3
    assert set(report.losses) == {
        "object id",
        "metadata",
        "parts of one object (each becomes an element)",
        "having no class (written as unclassified)",
        "objects smaller than 0.01 px",
    }
    before = path.read_bytes()
    write_dsa(path, objects, SCHEMA, slide_id="s", metadata={"run": "r"})
    assert path.read_bytes() == before


def without(key):
    return {name: value for name, value in LINE.items() if name != key}


@pytest.mark.parametrize(
    ("element", "severity", "reason"),
    [
        ({**LINE, "strange": 1}, "error", "key that the schema does not know"),
        ({**LINE, "type": "blob"}, "error", "unknown type"),
        (without("points"), "error", "lacks"),
        ({**LINE, "points": [[1, 2], [3, 4], [5, 6]]}, "error", "three numbers"),
        ({**LINE, "points": POINTS[:1]}, "error", "too few"),
        ({**LINE, "closed": "yes"}, "error", "truth value"),
        ({**LINE, "holes": [HOLE[:2]]}, "error", "fewer than three"),
        ({**LINE, "closed": False, "holes": [HOLE]}, "error", "not closed"),
        ({**LINE, "holes": [[[0, 0, 0], [1, 0, 0], [1, 1, 0]]]}, "error", "hole outside"),
        ({**LINE, "id": "ABC"}, "error", "hex"),
        ({**LINE, "label": "text"}, "error", "label has no text"),
        ({**LINE, "label": {"value": "a", "size": 1}}, "error", "label with a key"),
        ({**LINE, "group": 5}, "error", "group"),
        ({**LINE, "user": 5}, "error", "user"),
        ({**LINE, "lineWidth": 10**400}, "error", "lineWidth"),
        ({**LINE, "lineWidth": -1}, "error", "lineWidth"),
        ({**LINE, "lineColor": "red"}, "error", "lineColor"),
        ({**LINE, "fillColor": "rgba(1,2,3)"}, "error", "fillColor"),
        ({"type": "circle", "center": [1, 2], "radius": 1}, "error", "center"),
        ({"type": "circle", "center": [1, 2, 0], "radius": -1}, "error", "radius"),
        (
            {"type": "rectangle", "center": [1, 2, 0], "width": 1, "height": 1, "rotation": "x"},
            "error",
            "rotation",
        ),
        (5, "error", "no object"),
        ({**LINE, "points": [*POINTS, POINTS[0]]}, "warning", "repeated"),
        ({**LINE, "points": [POINTS[0], POINTS[2], POINTS[1], POINTS[3]]}, "warning", "crosses"),
    ],
)
def test_each_fault_of_an_element_is_found(tmp_path, element, severity, reason):
    (tmp_path / "a.json").write_text(json.dumps(document(LINE, element)), encoding="utf-8")
    problems = check_dsa(tmp_path / "a.json")
    assert [(problem.index, problem.severity) for problem in problems] == [(1, severity)]
    assert reason in problems[0].reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (json.dumps(document(LINE, extra=1)), "key that the schema does not know"),
        (json.dumps({"elements": []}), "without a name"),
        (json.dumps(document(description=5)), "description"),
        (json.dumps(document(attributes=5)), "attributes"),
        (json.dumps({"name": "a", "elements": 5}), "elements is no array"),
        ('["text"]', "not an annotation document"),
        ("{", "not complete JSON"),
    ],
)
def test_each_fault_of_a_document_is_found(tmp_path, text, reason):
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    assert reason in check_dsa(tmp_path / "a.json")[0].reason


def test_a_doubled_id_is_found_and_private_keys_are_not(tmp_path):
    element = {**LINE, "id": "0" * 24, "_private": 1}
    (tmp_path / "a.json").write_text(json.dumps(document(element, element, _id="x")), encoding="utf-8")
    assert [problem.reason for problem in check_dsa(tmp_path / "a.json")] == ["id occurs twice in a document"]
    assert "cannot be read" in check_dsa(tmp_path / "b.json")[0].reason
