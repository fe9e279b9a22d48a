"""ASAP XML: read with its dialects, written so that ASAP takes it, holes by three conventions."""

import pytest
import shapely
from hypothesis import given, settings
from outlines import RING, SQUARE, TWO, annotations, total_area, total_length

from wsiseg.annotation import Annotation, check_asap, read_annotations, write_asap
from wsiseg.classes import default_schema

SCHEMA = default_schema()
CORNERS = [(10, 10), (20, 10), (20, 20), (10, 20)]


def element(kind="Polygon", group="tumor", corners=CORNERS, name="a", orders=None):
    coordinates = "".join(
        f'<Coordinate Order="{order}" X="{x}" Y="{y}" />'
        for order, (x, y) in zip(orders or range(len(corners)), corners, strict=True)
    )
    part = "" if group is None else f'PartOfGroup="{group}"'
    return (
        f'<Annotation Name="{name}" Type="{kind}" {part} Color="#F4FA58">'
        f"<Coordinates>{coordinates}</Coordinates></Annotation>"
    )


def document(*elements, groups=(("tumor", "None"),)):
    listed = "".join(
        f'<Group Name="{name}" PartOfGroup="{parent}" Color="#00ff00"><Attributes /></Group>'
        for name, parent in groups
    )
    return (
        f'<?xml version="1.0"?><ASAP_Annotations><Annotations>{"".join(elements)}</Annotations>'
        f"<AnnotationGroups>{listed}</AnnotationGroups></ASAP_Annotations>"
    )


@pytest.fixture
def read(tmp_path):
    def read_text(text, **options):
        (tmp_path / "a.xml").write_text(text, encoding="utf-8")
        return read_annotations(tmp_path / "a.xml", **options)

    return read_text


@pytest.mark.parametrize("kind", ["Polygon", "Spline", "Rectangle"])
def test_areas_are_read(read, kind):
    file = read(document(element(kind)))
    assert file.format == "asap"
    item = file.annotations[0]
    assert (item.polygon.area, item.class_name, item.name, item.color) == (100, "tumor", "a", (0, 255, 0))


@pytest.mark.parametrize("kind", ["Dot", "PointSet", "Measurement", "None", "Blob", ""])
def test_the_rest_is_dropped(read, kind):
    file = read(document(element(), element(kind)))
    assert (file.report.kept, [problem.index for problem in file.report.dropped]) == (1, [1])


def test_coordinates_are_sorted_by_order(read):
    crossed = [CORNERS[0], CORNERS[2], CORNERS[1], CORNERS[3]]
    file = read(document(element(corners=crossed, orders=[0, 2, 1, 3])), strict=True)
    assert file.annotations[0].polygon.area == 100


def test_decimal_commas_are_read(read):
    file = read(document(element(corners=[("10,5", 10), (20, 10), (20, 20), ("10,5", 20)])))
    assert file.annotations[0].polygon.area == 95


def test_a_missing_number_drops_that_annotation_only(read):
    file = read(document(element(), element(corners=[("", 10), (20, 10), (20, 20)])))
    assert [problem.reason for problem in file.report.dropped] == ["coordinates are not plain finite numbers"]


@pytest.mark.parametrize("group", [None, "None", ""])
def test_without_a_group_the_name_is_the_class_on_request(read, group):
    text = document(element(group=group, name="tumor"))
    assert read(text).annotations[0].class_name is None
    assert read(text, ungrouped="name").annotations[0].class_name == "tumor"


def test_nested_groups_give_the_inner_or_the_outermost(read):
    groups = [("tumor", "None"), ("invasive", "tumor")]
    text = document(element(group="invasive"), groups=groups)
    assert read(text).annotations[0].class_name == "invasive"
    assert read(text, top_group=True).annotations[0].class_name == "tumor"
    circle = document(element(group="a"), groups=[("a", "b"), ("b", "a")])
    assert read(circle, top_group=True).annotations[0].class_name in {"a", "b"}


def test_a_bare_annotations_document_is_recognised(read):
    assert read(f"<Annotations>{element()}</Annotations>").format == "asap"


def test_the_origin_is_not_added(read):
    assert read(document(element()), origin_l0=(100, 100)).annotations[0].polygon.bounds[0] == 10


@given(annotations())
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("holes", ["split", "group"])
def test_what_is_written_is_valid_and_comes_back(tmp_path_factory, holes, objects):
    path = tmp_path_factory.mktemp("asap") / "a.xml"
    write_asap(path, iter(objects), SCHEMA, holes=holes)
    assert check_asap(path) == []
    file = read_annotations(path)
    assert not file.report.dropped
    named = [item for item in objects if item.class_name]
    back = [item for item in file.annotations if item.class_name]
    assert total_area(back) == pytest.approx(
        total_area(named), abs=0.05 * (1 + len(named)) + 0.003 * total_length(named)
    )
    assert {item.class_name for item in back} <= {item.class_name for item in objects}


def test_holes_are_split_grouped_or_dropped(tmp_path):
    path = tmp_path / "a.xml"
    results = {}
    for holes in ("split", "group", "drop"):
        report = write_asap(path, [Annotation(RING, "glomerulus")], SCHEMA, holes=holes)
        assert check_asap(path) == []
        results[holes] = read_annotations(path, strict=True).annotations
        assert len(report.losses) == 1
    assert shapely.union_all([item.polygon for item in results["split"]]).equals(RING)
    assert results["group"][0].polygon.equals(RING)
    assert [item.polygon.area for item in results["drop"]] == [900]


def test_grouped_holes_without_a_class_are_split(tmp_path):
    write_asap(tmp_path / "a.xml", [Annotation(RING)], SCHEMA, holes="group")
    assert total_area(read_annotations(tmp_path / "a.xml").annotations) == 800


def test_groups_come_in_paint_order_with_metadata(tmp_path):
    path = tmp_path / "a.xml"
    objects = [Annotation(SQUARE, name) for name in ("Extra", "podocyte", "glomerulus")]
    write_asap(path, objects, SCHEMA, metadata={"wsiseg run": "a&b"})
    text = path.read_text(encoding="utf-8")
    assert (
        text.index('Group Name="glomerulus"')
        < text.index('Group Name="podocyte"')
        < text.index('Name="Extra"')
    )
    assert '<Attribute wsiseg_run="a&amp;b" />' in text
    assert 'Color="#2E86DE"' in text


def test_names_are_unique(tmp_path):
    path = tmp_path / "a.xml"
    write_asap(path, [Annotation(TWO, "a", name="x"), Annotation(SQUARE, "None", name="x")], SCHEMA)
    assert check_asap(path) == []
    file = read_annotations(path)
    assert len({item.name for item in file.annotations}) == 3
    assert file.annotations[-1].class_name == "None_"


def test_losses_are_counted(tmp_path):
    item = Annotation(TWO, "a", id="1", measurements={"a": 1}, metadata={"b": "c"}, parent="2", locked=True)
    speck = Annotation(shapely.box(0, 0, 1e-4, 1e-4))
    report = write_asap(tmp_path / "a.xml", [item, speck], SCHEMA)
    assert report.total == 1
    assert set(report.losses) == {
        "measurements",
        "metadata",
        "parent object",
        "lock against editing",
        "object id",
        "parts of one object (each becomes an annotation)",
        "objects smaller than 0.001 px",
    }


def test_the_same_objects_give_the_same_bytes(tmp_path):
    for name in ("a.xml", "b.xml"):
        write_asap(tmp_path / name, [Annotation(RING, "a"), Annotation(TWO)], SCHEMA)
    assert (tmp_path / "a.xml").read_bytes() == (tmp_path / "b.xml").read_bytes()


GOOD = document(element())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD.replace('PartOfGroup="tumor"', ""), "no PartOfGroup"),
        (GOOD.replace('PartOfGroup="tumor"', 'PartOfGroup="other"'), "group that is not declared"),
        (GOOD.replace('Type="Polygon"', 'Type="polygon"'), "unknown Type"),
        (GOOD.replace('Order="1"', 'Order="0"'), "Order does not run"),
        (GOOD.replace('Order="3"', 'Order="4"'), "Order does not run"),
        (GOOD.replace('Order="3"', ""), "Order is missing"),
        (GOOD.replace('X="20"', 'X="20,5"'), "no plain number"),
        (GOOD.replace('X="20"', 'X="nan"'), "no plain number"),
        (document(element(corners=CORNERS[:2])), "too few"),
        (document(element("Rectangle", corners=CORNERS[:3])), "too few"),
        (document(element(), groups=[("tumor", "None")] * 2), "two groups of one name"),
        (document(element(), groups=[("tumor", "gone")]), "part of a group that is not declared"),
        (document(element(), groups=[("tumor", "b"), ("b", "tumor")]), "circle"),
        (document(element(), groups=[("tumor", "None"), ("", "None")]), "group without a name"),
        (GOOD.replace("ASAP_Annotations", "Annotation_s"), "root element"),
        ("<ASAP_Annotations />", "no <Annotations>"),
        (GOOD[:-5], "not complete XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + GOOD.partition("?>")[2], "DTD"),
    ],
)
def test_each_fault_is_an_error(tmp_path, text, reason):
    path = tmp_path / "a.xml"
    path.write_text(text, encoding="utf-8")
    problems = check_asap(path)
    assert reason in problems[0].reason
    assert problems[0].severity == "error"


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("#F4FA58", "yellow"),
        GOOD.replace("#00ff00", ""),
        document(element(), element()),
        document(element(name="")),
        document(element(corners=[*CORNERS, CORNERS[0]])),
    ],
)
def test_oddities_are_warnings(tmp_path, text):
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    assert {problem.severity for problem in check_asap(tmp_path / "a.xml")} == {"warning"}


def test_good_files_pass_and_wrong_names_do_not(tmp_path):
    (tmp_path / "a.xml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "a.txt").write_text(GOOD, encoding="utf-8")
    assert check_asap(tmp_path / "a.xml") == []
    assert "does not end in .xml" in check_asap(tmp_path / "a.txt")[0].reason
    assert "cannot read" in check_asap(tmp_path / "gone.xml")[0].reason
