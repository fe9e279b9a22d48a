"""QuPath's GeoJSON: every shape that is met is read, and what is written is read back."""

import gzip
import itertools
import json
import math
import uuid

import orjson
import pytest
import shapely
from hypothesis import given, settings
from outlines import RING, SLIVER, SQUARE, TWO, annotations, total_area, total_length

from wsiseg.annotation import Annotation, check_qupath, read_annotations, write_qupath
from wsiseg.classes import ClassSchema, TissueClass, default_schema

SCHEMA = default_schema()
BOX = [[[10, 10], [20, 10], [20, 20], [10, 20], [10, 10]]]
POLYGON = {"type": "Polygon", "coordinates": BOX}


def feature(geometry=POLYGON, **properties):
    return {"type": "Feature", "geometry": geometry, "properties": properties}


@pytest.fixture
def read(tmp_path):
    def read_value(value, **options):
        path = tmp_path / "a.geojson"
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        return read_annotations(path, **options)

    return read_value


@pytest.fixture
def write(tmp_path):
    def write_objects(objects, name="a.geojson", **options):
        path = tmp_path / name
        report = write_qupath(path, objects, SCHEMA, slide_id="slide", **options)
        assert check_qupath(path) == []
        raw = path.read_bytes()
        return json.loads(gzip.decompress(raw) if name.endswith(".gz") else raw)["features"], report

    return write_objects


@pytest.mark.parametrize(
    "root",
    [
        {"type": "FeatureCollection", "features": [feature()]},
        [feature()],
        feature(),
        POLYGON,
        [{"type": "FeatureCollection", "features": [feature()]}],
        {"type": "FeatureCollection", "features": [{"geometry": POLYGON}]},
        {"type": "GeometryCollection", "geometries": [POLYGON]},
    ],
)
def test_every_root_is_read(read, root):
    file = read(root)
    assert file.format == "qupath"
    assert [item.polygon.area for item in file.annotations] == [100]
    assert not file.report.repaired
    assert not file.report.dropped


@pytest.mark.parametrize(
    ("classification", "name", "color"),
    [
        (None, None, None),
        ("Tumor", "Tumor", None),
        ({"name": "Tumor", "color": [1, 2, 3]}, "Tumor", (1, 2, 3)),
        ({"name": "Tumor", "color": [1, 2, 3, 255]}, "Tumor", (1, 2, 3)),
        ({"names": ["Tumor", "Positive"], "color": [-65536]}, "Tumor: Positive", (255, 0, 0)),
        ({"name": "Tumor", "colorRGB": -16711936}, "Tumor", (0, 255, 0)),
        ({"name": "Positive", "parentClass": {"name": "Tumor"}}, "Tumor: Positive", None),
        ('{"name": "Tumor", "color": [1, 2, 3]}', "Tumor", (1, 2, 3)),
        ("{'name': 'Tumor'}", "Tumor", None),
        ("{'name': \"Bowman's\"}", "Bowman's", None),
        ("{broken", "{broken", None),
        ({}, None, None),
        (" ", None, None),
        ({"name": None}, None, None),
        ({"name": "a", "color": "red"}, "a", None),
        (math.nan, None, None),
    ],
)
def test_every_classification_is_read(read, classification, name, color):
    item = read(feature(classification=classification)).annotations[0]
    assert (item.class_name, item.color) == (name, color)


def test_a_classification_of_another_kind_is_counted(read):
    report = read(feature(classification=7)).report
    assert [problem.reason for problem in report.repaired] == [
        "classification is neither a name nor an object"
    ]


def test_the_class_may_stand_where_dsa_puts_it(read):
    assert read(feature(group="glom", label={"value": "x"})).annotations[0].class_name == "glom"
    assert read(feature(label={"value": "x"})).annotations[0].class_name == "x"


def test_members_are_read(read):
    identity = str(uuid.uuid4())
    value = feature(
        objectType="detection",
        name=" Glomerulus 12 ",
        measurements={"a": 1, "b": "2.5", "c": "NaN", "d": None, "e": [], "f": True},
        metadata={"run": "r", "n": 3, "x": {}},
    )
    item = read({**value, "id": identity}).annotations[0]
    assert (item.id, item.name, item.kind) == (identity, "Glomerulus 12", "detection")
    assert item.measurements == {"a": 1.0, "b": 2.5}
    assert item.metadata == {"run": "r", "n": "3"}


def test_old_measurements_are_read(read):
    value = feature(measurements=[{"name": "a", "value": 1}, {"value": 2}, 5])
    assert read(value).annotations[0].measurements == {"a": 1.0}


def test_null_members_are_let_through(read):
    file = read({"type": "Feature", "id": None, "geometry": POLYGON, "properties": None})
    assert file.report.kept == 1


def test_children_are_flattened_and_know_their_parent(read):
    grandchild = {**feature(), "id": "c"}
    child = {**feature(childObjects=[grandchild]), "id": "b"}
    file = read({**feature(childObjects=[child]), "id": "a"})
    assert [(item.id, item.parent) for item in file.annotations] == [("a", None), ("b", "a"), ("c", "b")]


@pytest.mark.parametrize(
    ("geometry", "reason"),
    [
        ({"type": "Point", "coordinates": [1, 2]}, "a point has no area"),
        ({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, "a line has no area"),
        ({"type": "MultiPoint", "coordinates": [[1, 2]]}, "points have no area"),
        ({**POLYGON, "plane": {"c": -1, "z": 3, "t": 0}}, "lies in another z or time plane than the first"),
        ({"type": "Polygon", "coordinates": []}, "empty geometry"),
        ({"type": "Polygon", "coordinates": [[]]}, "fewer than three different points"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}, "fewer than three different points"),
        (
            {"type": "Polygon", "coordinates": [[["a", 0], [1, 1]]]},
            "coordinates are not plain finite numbers",
        ),
        ({"type": "Polygon", "coordinates": 5}, "empty geometry"),
        ({"type": "MultiPolygon", "coordinates": [5]}, "outline without coordinates"),
        ({"type": "Circle"}, "unknown kind of geometry"),
        ({}, "no geometry"),
        (None, "no geometry"),
    ],
)
def test_what_has_no_outline_is_dropped_with_its_index(read, geometry, reason):
    file = read([feature(), feature(geometry)])
    assert file.report.kept == 1
    assert [(problem.index, problem.reason) for problem in file.report.dropped] == [(1, reason)]


def test_other_objects_are_dropped(read):
    file = read(
        [feature(), 5, {"type": "Topology"}, feature(objectType="tmaCore"), feature(objectType="root")]
    )
    assert len(file.report.dropped) == 4


def test_a_collection_keeps_its_polygons(read):
    collection = {
        "type": "GeometryCollection",
        "geometries": [POLYGON, {"type": "Point", "coordinates": [1, 1]}],
    }
    file = read(feature(collection))
    assert file.annotations[0].polygon.area == 100
    assert [problem.reason for problem in file.report.repaired] == [
        "left out of a collection: a point has no area"
    ]


def test_faults_of_rings_are_repaired_and_counted(read):
    unclosed = feature({"type": "Polygon", "coordinates": [BOX[0][:-1]]})
    crossing = feature({"type": "Polygon", "coordinates": [[[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]]]})
    hole = feature({"type": "Polygon", "coordinates": [*BOX, [[12, 12], [12, 12]]]})
    twice = feature({"type": "MultiPolygon", "coordinates": [BOX, BOX]})
    file = read([unclosed, crossing, hole, twice])
    assert file.report.kept == 4
    assert [problem.index for problem in file.report.repaired] == [0, 1, 2, 3]
    assert all(item.polygon.is_valid for item in file.annotations)
    assert file.annotations[3].polygon.area == 100


def test_an_ellipse_comes_from_its_envelope(read):
    geometry = {**POLYGON, "isEllipse": True}
    assert read(feature(geometry)).annotations[0].polygon.area == pytest.approx(math.pi * 25, rel=0.02)


def test_nan_literals_a_byte_mark_and_old_encodings_are_read(read):
    text = json.dumps(feature(classification="Région", measurements={"a": math.nan}), ensure_ascii=False)
    for raw in (b"\xef\xbb\xbf" + text.encode(), text.encode("cp1252"), text.encode("utf-16")):
        assert read(raw).annotations[0].class_name == "Région"


def test_the_origin_is_added(read):
    assert read(feature(), origin_l0=(100, 5)).annotations[0].polygon.bounds == (110, 15, 120, 25)


@given(annotations())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_valid_and_comes_back(tmp_path_factory, objects):
    path = tmp_path_factory.mktemp("qupath") / "a.geojson"
    report = write_qupath(path, iter(objects), SCHEMA, slide_id="s", origin_l0=(7, -3))
    assert check_qupath(path) == []
    file = read_annotations(path, origin_l0=(7, -3), strict=True)
    assert (
        file.report.kept
        == report.total
        == len(objects) - report.losses.get("objects smaller than 0.01 px", 0)
    )
    assert total_area(file.annotations) == pytest.approx(
        total_area(objects), abs=0.1 * len(objects) + 0.02 * total_length(objects)
    )
    assert {item.class_name for item in file.annotations} <= {item.class_name for item in objects}
    assert all("wsiseg_origin" not in item.metadata for item in file.annotations)


def test_pixel_outlines_come_back_exactly(write, tmp_path):
    objects = [Annotation(shape, "glomerulus") for shape in (SQUARE, RING, TWO)]
    write(objects)
    back = read_annotations(tmp_path / "a.geojson").annotations
    assert all(a.polygon.equals(b.polygon) for a, b in zip(objects, back, strict=True))


def test_features_say_what_they_are(write):
    item = Annotation(
        TWO,
        "glomerulus",
        name="Glomerulus 1",
        measurements={"Area um2": 5.0, "bad": math.inf},
        metadata={"own": "x"},
    )
    written = write([item], metadata={"run": "r1"}, origin_l0=(5, 0), locked=True)[0][0]
    assert written["geometry"]["type"] == "MultiPolygon"
    assert written["properties"] == {
        "objectType": "annotation",
        "name": "Glomerulus 1",
        "classification": {"name": "glomerulus", "color": [46, 134, 222]},
        "isLocked": True,
        "measurements": {"Area um2": 5.0},
        "metadata": {"own": "x", "run": "r1", "wsiseg_origin": "5,0"},
    }


def test_shells_run_one_way_and_holes_the_other(write):
    shell, hole = write([Annotation(shapely.reverse(RING))])[0][0]["geometry"]["coordinates"]
    assert shapely.LinearRing(shell).is_ccw
    assert not shapely.LinearRing(hole).is_ccw


def test_ids_are_the_same_every_time_and_never_twice(write):
    objects = [
        Annotation(SQUARE, "podocyte"),
        Annotation(SQUARE, "podocyte"),
        Annotation(SQUARE, id="x"),
        Annotation(SQUARE, id="x"),
    ]
    first, again = write(objects)[0], write(objects)[0]
    assert first == again
    assert len({item["id"] for item in first}) == 4
    assert all(uuid.UUID(item["id"]).version == 5 for item in first)
    assert {i["id"] for i in first}.isdisjoint(i["id"] for i in write(objects[:2], run="other")[0])


def test_a_uuid_is_kept_and_names_the_parent(write):
    parent = str(uuid.uuid4())
    objects = [
        Annotation(SQUARE, id=parent),
        Annotation(SQUARE, parent=parent),
        Annotation(SQUARE, parent="g1"),
        Annotation(SQUARE, id="g1"),
    ]
    whole, child, other, owner = write(objects)[0]
    assert whole["id"] == parent == child["properties"]["metadata"]["parent"]
    assert other["properties"]["metadata"]["parent"] == owner["id"]


def test_gzip_has_no_time_stamp(write, tmp_path):
    objects = [Annotation(SQUARE)]
    write(objects, "a.geojson.gz")
    before = (tmp_path / "a.geojson.gz").read_bytes()
    write(objects, "a.geojson.gz")
    assert (tmp_path / "a.geojson.gz").read_bytes() == before
    assert read_annotations(tmp_path / "a.geojson.gz").report.kept == 1


def test_many_objects_become_detections_but_containers_stay(write):
    objects = [Annotation(SQUARE, "glomerulus"), *itertools.repeat(Annotation(SQUARE, "podocyte"), 4)]
    few, _ = write(objects, most_annotations=5)
    many, _ = write(objects, most_annotations=4)
    told, _ = write(iter(objects), most_annotations=4, count=5)
    assert told == many
    forced, _ = write(objects, kind="detection")
    kinds = [[item["properties"]["objectType"] for item in features] for features in (few, many, forced)]
    assert kinds == [["annotation"] * 5, ["annotation", *["detection"] * 4], ["detection"] * 5]


def test_without_nucleus_classes_all_become_detections(tmp_path):
    schema = ClassSchema((TissueClass("background", (0, 0, 0)), TissueClass("tubule", (1, 2, 3))))
    objects = [Annotation(SQUARE, "tubule"), Annotation(SQUARE, "other"), Annotation(SQUARE)]
    write_qupath(tmp_path / "a.json", objects, schema, slide_id="s", most_annotations=2)
    features = orjson.loads((tmp_path / "a.json").read_bytes())["features"]
    assert {item["properties"]["objectType"] for item in features} == {"detection"}


def test_a_detection_stays_one(write):
    assert write([Annotation(SQUARE, kind="detection")])[0][0]["properties"]["objectType"] == "detection"


@pytest.mark.parametrize(
    ("properties", "area"),
    [
        ({"objectType": "cell"}, 16),
        ({"object_type": "PathCellObject"}, 16),
        ({}, 16),
        ({"objectType": "detection"}, None),
        ({"objectType": "annotation"}, None),
    ],
)
def test_the_nucleus_of_a_cell_is_kept(read, properties, area):
    nucleus = {"type": "Polygon", "coordinates": [[[12, 12], [16, 12], [16, 16], [12, 16], [12, 12]]]}
    cell = {"type": "Feature", "geometry": POLYGON, "nucleusGeometry": nucleus, "properties": properties}
    [found] = read([cell], origin_l0=(5, 0), strict=True).annotations
    assert found.polygon.bounds == (15, 10, 25, 20)
    assert (found.nucleus and found.nucleus.area) == area
    assert found.nucleus is None or found.nucleus.bounds == (17, 12, 21, 16)


@pytest.mark.parametrize(
    ("nucleus", "reason"),
    [
        (None, None),
        ({}, None),
        ({"type": "Point", "coordinates": [1, 1]}, "nucleus of a cell left out: a point has no area"),
        ({"type": "Polygon", "coordinates": [BOX[0][:-1]]}, "nucleus: ring is not closed"),
        ("x", "nucleus of a cell left out: no geometry"),
    ],
)
def test_a_nucleus_with_a_fault_does_not_cost_the_cell(read, nucleus, reason):
    cell = feature(objectType="cell") | {"nucleusGeometry": nucleus}
    report = read([cell]).report
    assert (report.kept, report.dropped) == (1, [])
    assert [problem.reason for problem in report.repaired] == ([] if reason is None else [reason])


def test_a_nucleus_that_vanishes_on_the_grid_is_counted(write):
    features, report = write([Annotation(SQUARE, nucleus=SLIVER), Annotation(SQUARE, nucleus=SQUARE)])
    assert ["nucleusGeometry" in item for item in features] == [False, True]
    assert {item["properties"]["objectType"] for item in features} == {"cell"}
    assert report.losses == {"nuclei of cells smaller than 0.01 px": 1}


def test_a_sliver_is_left_out_and_counted(write):
    features, report = write([Annotation(SLIVER), Annotation(SQUARE)])
    assert len(features) == report.total == 1
    assert report.losses == {"objects smaller than 0.01 px": 1}


@pytest.mark.parametrize(
    ("name", "written"),
    [("a\nb", "a b"), ("a:", "a"), (":", None), ("A: B", "A: B"), ("Ignore*", "Ignore*"), ("\x00", None)],
)
def test_class_names_are_made_legal(write, name, written):
    classification = write([Annotation(SQUARE, name)])[0][0]["properties"].get("classification")
    assert (classification or {}).get("name") == written


def test_a_failing_source_leaves_no_file(tmp_path):
    def objects():
        yield Annotation(SQUARE)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write_qupath(tmp_path / "a.geojson", objects(), SCHEMA, slide_id="s")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_origin_is_said(write, tmp_path):
    write([Annotation(SQUARE)], origin_l0=(100, 200))
    file = read_annotations(tmp_path / "a.geojson")
    assert "counts from 100,200" in file.report.summary()
    assert file.annotations[0].metadata == {"wsiseg_origin": "100,200"}
    assert not read_annotations(tmp_path / "a.geojson", origin_l0=(100, 200)).report.notes
