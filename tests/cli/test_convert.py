"""``wsiseg convert`` as its user meets it."""

import json

import pytest
import shapely
from click.testing import CliRunner
from outlines import RING, SQUARE

from wsiseg.annotation import Annotation, check_asap, read_annotations, write_imagescope, write_qupath
from wsiseg.classes import default_schema
from wsiseg.cli.convert import command
from wsiseg.errors import AnnotationError, AnnotationParseError, ConfigError, SlideOpenError


@pytest.fixture
def geojson(tmp_path):
    path = tmp_path / "slide.geojson"
    objects = [Annotation(RING, "Tumor", measurements={"a": 1.0}), Annotation(SQUARE, "podocyte")]
    write_qupath(path, objects, default_schema(), slide_id="s")
    return path


def run(*arguments, expect=0):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == expect, result.output
    return result


def test_losses_are_listed(geojson, tmp_path):
    result = run(geojson, tmp_path / "a.xml", "--to", "asap")
    assert "2 kept, 0 repaired, 0 dropped" in result.output
    assert "lost in asap: measurements: 1 objects" in result.output
    assert "lost in asap: holes (cut open: several pieces, same area): 1 objects" in result.output
    assert check_asap(tmp_path / "a.xml") == []


def test_nothing_lost_is_said(geojson, tmp_path):
    assert "nothing is lost in qupath" in run(geojson, tmp_path / "b.geojson.gz", "--to", "qupath").output


def test_a_mapping_renames_and_its_typos_are_said(geojson, tmp_path):
    (tmp_path / "map.yaml").write_text("tumor: glomerulus\nstroma: x\n", encoding="utf-8")
    result = run(
        geojson, tmp_path / "a.xml", "--to", "asap", "--map", tmp_path / "map.yaml", "--asap-holes", "group"
    )
    assert "no annotation is called 'stroma'" in result.stderr
    assert [item.class_name for item in read_annotations(tmp_path / "a.xml").annotations] == [
        "glomerulus",
        "podocyte",
    ]


def test_layer_ids_may_be_numbers(tmp_path):
    write_imagescope(tmp_path / "a.xml", [Annotation(SQUARE)], default_schema())
    (tmp_path / "map.yaml").write_text("1: glomerulus\n", encoding="utf-8")
    run(tmp_path / "a.xml", tmp_path / "a.geojson", "--to", "qupath", "--map", tmp_path / "map.yaml")
    features = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))["features"]
    assert features[0]["properties"]["classification"]["name"] == "glomerulus"


@pytest.mark.parametrize(
    "geometry",
    [{"type": "Point", "coordinates": [1, 2]}, shapely.geometry.mapping(shapely.box(0, 0, 1e-4, 1e-4))],
    ids=["not read", "too small to write"],
)
def test_a_file_of_which_nothing_is_left_is_a_failure(tmp_path, geometry):
    (tmp_path / "a.geojson").write_text(json.dumps([geometry]), encoding="utf-8")
    with pytest.raises(AnnotationError, match="none of its objects can be written"):
        run(tmp_path / "a.geojson", tmp_path / "a.xml", "--to", "asap")


def test_a_file_without_objects_becomes_one(tmp_path):
    (tmp_path / "a.geojson").write_text("[]", encoding="utf-8")
    assert "0 objects" in run(tmp_path / "a.geojson", tmp_path / "a.xml", "--to", "asap").output


def test_a_resolution_reaches_imagescope(geojson, tmp_path):
    run(geojson, tmp_path / "a.xml", "--to", "imagescope", "--mpp-slide", "0.5")
    assert read_annotations(tmp_path / "a.xml").mpp == 0.5


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["a.txt", "--to", "asap"], ConfigError),
        (["a.xml", "--to", "asap", "--map", "gone.yaml"], ConfigError),
        (["a.xml", "--to", "asap", "--slide", "gone.svs"], SlideOpenError),
    ],
)
def test_faults_leave_nothing_behind(geojson, tmp_path, arguments, error):
    with pytest.raises(error):
        run(geojson, tmp_path / arguments[0], *arguments[1:])
    assert list(tmp_path.iterdir()) == [geojson]


def test_strict_refuses(tmp_path):
    (tmp_path / "a.json").write_text('[{"type":"Point","coordinates":[1,2]}]', encoding="utf-8")
    with pytest.raises(AnnotationParseError, match="strict"):
        run(tmp_path / "a.json", tmp_path / "a.xml", "--to", "asap", "--strict")


def test_a_real_slide_gives_identity_and_resolution(shared_data, tmp_path):
    slide = shared_data / "kidney-pas" / "aidpath-a.svs"
    source = slide.with_suffix(".geojson")
    run(source, tmp_path / "a.xml", "--to", "imagescope", "--slide", slide)
    file = read_annotations(tmp_path / "a.xml")
    assert (file.mpp, file.report.kept) == (0.5, 3)
    result = run(
        tmp_path / "a.xml", tmp_path / "b.json", "--to", "dsa", "--slide", slide, "--mpp-slide", "0.3"
    )
    assert "claim 0.5 um/px, the slide 0.3" in result.stderr


def test_the_file_itself_is_not_written_over(geojson):
    before = geojson.read_bytes()
    assert "is the file that is read" in run(geojson, geojson, "--to", "qupath", expect=2).output
    assert geojson.read_bytes() == before


def test_a_copy_keeps_the_colours_of_the_file_unless_a_configuration_is_named(tmp_path):
    path, config = tmp_path / "a.geojson", tmp_path / "c.yaml"
    write_qupath(path, [Annotation(SQUARE, "podocyte")], default_schema(), slide_id="s")
    value = json.loads(path.read_text())
    value["features"][0]["properties"]["classification"]["color"] = [1, 2, 3]
    path.write_text(json.dumps(value))
    run(path, tmp_path / "b.geojson", "--to", "qupath")
    assert read_annotations(tmp_path / "b.geojson").annotations[0].color == (1, 2, 3)
    config.write_text("{}")
    run(path, tmp_path / "c.geojson", "--to", "qupath", "--config", config)
    wanted = default_schema()["podocyte"].color
    assert read_annotations(tmp_path / "c.geojson").annotations[0].color == wanted
