"""ImageScope XML and Halo's dialect: layers, negative regions, shapes, strokes."""

import math

import pytest
from hypothesis import given, settings
from outlines import RING, SQUARE, TWO, annotations, total_area, total_length

from wsiseg.annotation import Annotation, check_imagescope, read_annotations, write_imagescope
from wsiseg.classes import default_schema
from wsiseg.geometry import Resolution

SCHEMA = default_schema()
OUTER = [(0, 0), (30, 0), (30, 30), (0, 30)]
INNER = [(10, 10), (10, 20), (20, 20), (20, 10)]


def region(points=OUTER, kind=0, number=1, tag="Vertex", **attributes):
    more = "".join(f' {key}="{value}"' for key, value in attributes.items())
    vertices = "".join(f'<{tag} X="{x}" Y="{y}" Z="0"/>' for x, y in points)
    return f'<Region Id="{number}" Type="{kind}"{more}><Attributes/><Vertices>{vertices}</Vertices></Region>'


def layer(*regions, number=1, name="glomerulus", attribute="", color=255):
    return (
        f'<Annotation Id="{number}" Name="{name}" LineColor="{color}"><Attributes>{attribute}</Attributes>'
        f"<Regions>{''.join(regions)}</Regions></Annotation>"
    )


def document(*layers, mpp="0.25"):
    return f'<Annotations MicronsPerPixel="{mpp}">{"".join(layers)}</Annotations>'


@pytest.fixture
def read(tmp_path):
    def read_text(text, **options):
        (tmp_path / "a.xml").write_text(text, encoding="utf-8")
        return read_annotations(tmp_path / "a.xml", **options)

    return read_text


def test_layers_are_classes(read):
    file = read(document(layer(region()), layer(region(INNER), number=2, name="podocyte", color=16711680)))
    assert (file.format, file.mpp) == ("imagescope", 0.25)
    assert [(i.class_name, i.layer, i.color) for i in file.annotations] == [
        ("glomerulus", "1", (255, 0, 0)),
        ("podocyte", "2", (0, 0, 255)),
    ]


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("", None),
        ('<Attribute Name="Description" Id="0" Value=""/>', None),
        ('<Attribute Name="Description" Id="0" Value="nucleus"/>', "nucleus"),
        ('<Attribute Name="nucleus" Id="0" Value=""/>', "nucleus"),
    ],
)
def test_a_layer_without_a_name_is_named_by_its_attribute(read, attribute, name):
    assert read(document(layer(region(), name="", attribute=attribute))).annotations[0].class_name == name


@pytest.mark.parametrize(
    ("points", "kind", "area"),
    [
        (OUTER, 0, 900),
        ([*OUTER, OUTER[0]], 0, 900),
        (OUTER, 1, 900),
        ([(0, 0), (30, 30)], 1, 900),
        ([(0, 0), (30, 30)], 2, math.pi * 225),
        (OUTER, 2, math.pi * 225),
    ],
)
def test_shapes_are_read(read, points, kind, area):
    assert read(document(layer(region(points, kind)))).annotations[0].polygon.area == pytest.approx(
        area, rel=0.01
    )


@pytest.mark.parametrize("kind", [3, 4, 5, -1])
def test_lines_and_rulers_are_dropped(read, kind):
    file = read(document(layer(region(), region(kind=kind))))
    assert [(problem.index, problem.reason) for problem in file.report.dropped] == [
        (1, "a line, arrow, ruler or text has no area")
    ]


def test_regions_without_vertices_are_dropped(read):
    assert len(read(document(layer(region([]), region([(1, 1)])))).report.dropped) == 2


def test_negative_regions_are_subtracted_within_their_layer(read):
    negative = region(INNER, number=2, NegativeROA=1)
    file = read(document(layer(region(), negative), layer(region(), number=2)))
    assert [item.polygon.area for item in file.annotations] == [800, 900]


def test_halo_is_recognised_and_read(read):
    file = read(
        document(layer(region(kind="Polygon", tag="V"), region([(0, 0), (10, 10)], "Ellipse", tag="V")))
    )
    assert file.format == "halo"
    assert [item.polygon.area for item in file.annotations] == [900, pytest.approx(math.pi * 25, rel=0.02)]


def test_open_strokes_are_joined_on_request(read):
    strokes = region([(0, 0), (100, 0), (100, 100)]) + region([(0, 5), (0, 100), (95, 100)])
    assert len(read(document(layer(strokes))).annotations) == 2
    joined = read(document(layer(strokes)), close_gap_px=30)
    assert [item.polygon.area for item in joined.annotations] == [pytest.approx(10000, rel=0.02)]
    assert [problem.reason for problem in joined.report.repaired] == [
        "open stroke joined to the one before it"
    ]


@pytest.mark.parametrize(
    ("mpp", "found"), [("0", None), ("", None), ("x", None), ("0,5", 0.5), ("inf", None)]
)
def test_microns_per_pixel(read, mpp, found):
    assert read(document(layer(region()), mpp=mpp)).mpp == found


def test_another_resolution_is_warned_about(read):
    file = read(document(layer(region())))
    assert file.mpp_warning(0.2501) is None
    assert "claim 0.25 um/px, the slide 0.5" in file.mpp_warning(0.5)


@given(annotations())
@settings(max_examples=600, deadline=None)
def test_what_is_written_is_valid_and_comes_back(tmp_path_factory, objects):
    path = tmp_path_factory.mktemp("imagescope") / "a.xml"
    report = write_imagescope(path, iter(objects), SCHEMA, resolution=Resolution(0.25, 0.25))
    assert {problem.reason for problem in check_imagescope(path)} <= {"layer without a name"}
    file = read_annotations(path)
    assert not file.report.dropped
    assert len(file.annotations) >= report.total
    assert total_area(file.annotations) == pytest.approx(
        total_area(objects), abs=0.05 * (1 + len(objects)) + 0.003 * total_length(objects)
    )
    assert {item.class_name for item in file.annotations} <= {item.class_name for item in objects}


def test_holes_follow_their_parent(tmp_path):
    path = tmp_path / "a.xml"
    objects = [Annotation(TWO, "podocyte"), Annotation(RING, "glomerulus", name="G & 1")]
    report = write_imagescope(path, objects, SCHEMA, resolution=Resolution(0.5, 0.5), metadata={"run": "r"})
    text = path.read_text(encoding="utf-8")
    assert text.index('Name="glomerulus"') < text.index('Name="podocyte"')
    assert 'Length="120.0" Area="900.0" LengthMicrons="60.0" AreaMicrons="225.0" Text="G &amp; 1"' in text
    assert 'NegativeROA="1" InputRegionId="1"' in text
    assert f'LineColor="{46 + 256 * 134 + 65536 * 222}"' in text
    back = read_annotations(path, strict=True)
    assert back.annotations[0].polygon.equals(RING)
    assert back.annotations[0].name == "G & 1"
    assert report.losses == {"parts of one object (each becomes a region)": 1}


def test_without_a_resolution_nothing_is_claimed(tmp_path):
    write_imagescope(tmp_path / "a.xml", [Annotation(SQUARE, "a")], SCHEMA)
    assert "Microns" not in (tmp_path / "a.xml").read_text(encoding="utf-8")
    assert read_annotations(tmp_path / "a.xml").mpp is None


GOOD = document(layer(region(NegativeROA=0), region(INNER, number=2, NegativeROA=1, InputRegionId=1)))


@pytest.mark.parametrize(
    ("text", "severity", "reason"),
    [
        (GOOD.replace('LineColor="255"', 'LineColor="red"'), "error", "LineColor"),
        (GOOD.replace('LineColor="255"', 'LineColor="16777216"'), "error", "LineColor"),
        (GOOD.replace('Region Id="2"', 'Region Id="1"'), "error", "twice"),
        (GOOD.replace('Region Id="2"', 'Region Id=""'), "error", "missing"),
        (GOOD.replace('NegativeROA="0"', 'NegativeROA="no"'), "error", "neither 0 nor 1"),
        (GOOD.replace('X="30"', 'X="30,5"'), "error", "no plain number"),
        (GOOD.replace("0.25", "zero"), "error", "MicronsPerPixel"),
        (document(layer(region(OUTER[:2]))), "error", "too few"),
        (GOOD.replace("Annotations", "Notes"), "error", "root element"),
        ("<", "error", "not complete XML"),
        (GOOD.replace('InputRegionId="1"', 'InputRegionId="7"'), "warning", "does not follow"),
        (GOOD.replace("glomerulus", ""), "warning", "without a name"),
        (GOOD.replace('Annotation Id="1"', 'Annotation Id="3"'), "warning", "layer ids"),
        (document(layer(region([*OUTER, OUTER[0]]))), "warning", "repeated"),
        (document(layer(region(kind=4))), "warning", "no area"),
    ],
)
def test_each_fault_is_found(tmp_path, text, severity, reason):
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    problems = check_imagescope(tmp_path / "a.xml")
    assert [problem.severity for problem in problems] == [severity]
    assert reason in problems[0].reason


def test_a_good_file_passes(tmp_path):
    (tmp_path / "a.xml").write_text(GOOD, encoding="utf-8")
    assert check_imagescope(tmp_path / "a.xml") == []
    (tmp_path / "a.dat").write_text(GOOD, encoding="utf-8")
    assert "does not end in .xml" in check_imagescope(tmp_path / "a.dat")[0].reason
