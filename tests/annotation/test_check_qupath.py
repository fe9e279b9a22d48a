"""The strict check refuses, one by one, everything that QuPath refuses."""

import copy
import gzip
import json

import pytest

from wsiseg.annotation import check_qupath

BOX = [[[10, 10], [20, 10], [20, 20], [10, 20], [10, 10]]]
GOOD = {
    "type": "Feature",
    "id": "6b592b42-d550-5ba7-b562-31cdc3fa8d52",
    "geometry": {"type": "Polygon", "coordinates": BOX},
    "properties": {
        "objectType": "annotation",
        "name": "a",
        "classification": {"name": "Tumor", "color": [1, 2, 3]},
        "measurements": {"a": 1.5, "b": "NaN"},
        "metadata": {"run": "x"},
    },
}


def check(tmp_path, root, name="a.geojson"):
    path = tmp_path / name
    path.write_text(root if isinstance(root, str) else json.dumps(root), encoding="utf-8")
    return check_qupath(path)


def changed(key, value):
    """The good feature with one member, named by its dotted path, replaced."""
    item = copy.deepcopy(GOOD)
    *parents, last = key.split(".")
    inner = item
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return item


@pytest.mark.parametrize(
    "root", [GOOD, [GOOD], {"type": "FeatureCollection", "features": [GOOD]}, GOOD["geometry"], []]
)
def test_good_files_pass(tmp_path, root):
    assert check(tmp_path, root) == []


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("id", None, "id is null"),
        ("id", 5, "id is null or no text"),
        ("geometry", None, "geometry is missing"),
        ("geometry", {"type": "GeometryCollection", "geometries": []}, "GeometryCollection"),
        ("geometry", {"type": "Circle", "coordinates": []}, "unknown type of geometry"),
        ("geometry.coordinates", [[[0, 0], [1, 0], [1, 1]]], "fewer than four"),
        ("geometry.coordinates", [[[0, 0], [9, 0], [9, 9], [0, 9]]], "not closed"),
        ("geometry.coordinates", [[[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]]], "self-intersection"),
        ("geometry.coordinates", [*BOX, [[0, 0], [1, 0], [1, 1], [0, 0]]], "hole lies outside"),
        ("geometry.coordinates", [[[0, 0], [1, None], [1, 1], [0, 0]]], "coordinates are no positions"),
        ("geometry.coordinates", [[0, 0], [1, 0]], "coordinates are no positions"),
        ("geometry.coordinates", [[[0, 0], [10**400, 0], [1, 1], [0, 0]]], "coordinates are no positions"),
        ("geometry.coordinates", [[[0, 0], [True, 0], [1, 1], [0, 0]]], "coordinates are no positions"),
        ("geometry.plane", {"c": -1, "z": 0, "t": 0, "x": 1}, "another key"),
        ("geometry.plane", {"z": 0.5}, "whole numbers"),
        ("properties", None, "properties is null"),
        ("properties.objectType", None, "objectType is null"),
        ("properties.name", None, "name is null"),
        ("properties.isLocked", "yes", "truth value"),
        ("properties.classification", 5, "neither text nor object"),
        ("properties.classification", {"name": "Tumor"}, "needs name"),
        ("properties.classification", {"color": [1, 2, 3]}, "needs name"),
        ("properties.classification", {"name": None, "color": [1, 2, 3]}, "class name is null"),
        ("properties.classification", {"names": ["a:b"], "color": [1, 2, 3]}, "colon"),
        ("properties.classification", {"name": "a\nb", "color": [1, 2, 3]}, "line break"),
        ("properties.classification", {"name": " ", "color": [1, 2, 3]}, "blank"),
        ("properties.classification", " ", "blank"),
        ("properties.classification.color", 255, "no array"),
        ("properties.classification.color", [1, 2], "1, 3 nor 4"),
        ("properties.classification.color", [1.5, 2, 3], "whole numbers"),
        ("properties.classification.color", [256, 2, 3], "outside 0 to 255"),
        ("properties.measurements", 5, "no object"),
        ("properties.measurements", {"a": "five"}, "text that is no number"),
        ("properties.measurements", [{"value": 1}], "without a name"),
        ("properties.metadata", 5, "metadata is no object"),
    ],
)
def test_each_fault_is_an_error(tmp_path, key, value, reason):
    problems = check(tmp_path, [GOOD["geometry"], changed(key, value)])
    assert [(problem.index, problem.severity) for problem in problems] == [(1, "error")]
    assert reason in problems[0].reason


def test_overlapping_parts_are_refused(tmp_path):
    overlapping = {"type": "MultiPolygon", "coordinates": [BOX, [[[15, 15], [25, 15], [25, 25], [15, 15]]]]}
    assert "invalid outline" in check(tmp_path, changed("geometry", overlapping))[0].reason


def test_an_outline_that_vanishes_is_a_warning(tmp_path):
    sliver = [[[0, 0], [0.01, 0], [0.01, 0.001], [0, 0]]]
    reasons = [problem.reason for problem in check(tmp_path, changed("geometry.coordinates", sliver))]
    assert reasons == ["more than two decimals: QuPath rounds them", "vanishes on QuPath's grid of 0.01 px"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", "5"),
        ("geometry.coordinates", [[[0.001, 0], [9, 0], [9, 9], [0.001, 0]]]),
        ("geometry.coordinates", []),
        ("geometry", {}),
        ("properties.objectType", "blob"),
        ("properties.objectType", "tmaCore"),
        ("properties.classification", "{'name': 'Tumor'}"),
        ("properties.measurements", {"a": True}),
        ("properties.metadata", {"a": []}),
    ],
)
def test_oddities_are_warnings(tmp_path, key, value):
    problems = check(tmp_path, changed(key, value))
    assert [problem.severity for problem in problems] == ["warning"]


def test_a_doubled_id_is_a_warning(tmp_path):
    assert [problem.reason for problem in check(tmp_path, [GOOD, GOOD])] == ["id occurs twice"]


def test_children_are_checked(tmp_path):
    problems = check(tmp_path, changed("properties.childObjects", [changed("properties", None)]))
    assert "properties is null or no object" in [problem.reason for problem in problems]


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("[", "a.geojson", "not complete JSON"),
        ("{}", "a.geojson", "no Feature"),
        ("5", "a.geojson", "not a JSON object"),
        ('{"type": "FeatureCollection"}', "a.geojson", "no Feature"),
        ('{"type": "Feature"}', "a.geojson", "geometry is missing"),
        ("[]", "a.txt", "name does not end"),
        ("[]", "a.geojson.gz", "cannot be read"),
    ],
)
def test_bad_files_are_refused(tmp_path, text, name, reason):
    problems = check(tmp_path, text, name)
    assert reason in problems[0].reason
    assert problems[0].severity == "error"


def test_encodings_and_missing_files_are_refused(tmp_path):
    (tmp_path / "a.json").write_bytes('"é"'.encode("cp1252"))
    assert check_qupath(tmp_path / "a.json")[0].reason == "not UTF-8"
    assert "cannot be read" in check_qupath(tmp_path / "b.json")[0].reason
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(b"[]")[:-3])
    assert "cannot be read" in check_qupath(tmp_path / "c.json.gz")[0].reason
