"""``wsiseg check`` as its user meets it."""

import json

import pytest
import shapely
from click.testing import CliRunner
from outlines import SQUARE

from wsiseg.annotation import Annotation, check_asap, check_qupath, write_asap, write_qupath
from wsiseg.classes import default_schema
from wsiseg.cli.check import command

BOW_TIE = {"type": "Polygon", "coordinates": [[[0, 0], [90, 90], [90, 0], [0, 90], [0, 0]]]}

POINT = '{"type":"Point","coordinates":[1,2]}'


def run(*arguments, expect=0):
    result = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == expect, result.output
    return result.output


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.geojson"
    feature = {"type": "Feature", "id": None, "geometry": BOW_TIE, "properties": {"classification": "Tumor"}}
    path.write_text(json.dumps([feature]), encoding="utf-8")
    return path


def test_a_good_file_passes(tmp_path):
    write_qupath(tmp_path / "a.geojson", [Annotation(SQUARE)], default_schema(), slide_id="s")
    assert "QuPath opens it" in run(tmp_path / "a.geojson")


def test_a_bad_file_is_refused_with_every_reason(bad):
    output = run(bad, expect=1)
    assert "QuPath would refuse it" in output
    assert "error: 1 x id is null or no text (object 0)" in output
    assert "self-intersection" in output


def test_the_mended_copy_passes(bad, tmp_path):
    output = run(bad, "--fix", tmp_path / "good.geojson")
    assert "QuPath opens it" in output
    assert check_qupath(tmp_path / "good.geojson") == []


def test_mending_asap(tmp_path):
    path = tmp_path / "a.xml"
    write_asap(path, [Annotation(SQUARE, "Tumor")], default_schema())
    path.write_text(path.read_text(encoding="utf-8").replace('PartOfGroup="Tumor"', ""), encoding="utf-8")
    assert "ASAP discards the whole file" in run(path, expect=1)
    run(path, "--fix", tmp_path / "b.xml")
    assert check_asap(tmp_path / "b.xml") == []


def test_what_cannot_be_kept_is_said(tmp_path):
    square = json.dumps(shapely.geometry.mapping(SQUARE))
    (tmp_path / "a.json").write_text(f"[{POINT},{square}]", encoding="utf-8")
    assert "1 objects could not be kept" in run(tmp_path / "a.json", "--fix", tmp_path / "b.json")


def test_a_copy_for_which_nothing_is_left_is_a_failure(tmp_path):
    (tmp_path / "a.json").write_text(f"[{POINT}]", encoding="utf-8")
    output = run(tmp_path / "a.json", "--fix", tmp_path / "b.json", expect=1)
    assert "none of its objects can be written: found 0 kept, 0 repaired, 1 dropped" in output
    assert not (tmp_path / "b.json").exists()


def test_a_file_without_objects_is_copied_as_one(tmp_path):
    (tmp_path / "a.json").write_text("[]", encoding="utf-8")
    assert "0 objects" in run(tmp_path / "a.json", "--fix", tmp_path / "b.json")


def test_another_viewer_may_be_asked(tmp_path):
    write_qupath(tmp_path / "a.json", [Annotation(SQUARE)], default_schema(), slide_id="s")
    assert "the Digital Slide Archive would refuse it" in run(tmp_path / "a.json", "--as", "dsa", expect=1)


def test_what_is_no_annotation_file_is_one_line(tmp_path):
    (tmp_path / "a.geojson").write_text("hello", encoding="utf-8")
    output = run(tmp_path / "a.geojson", expect=1)
    assert "neither JSON nor XML" in output
    assert "Traceback" not in output


def test_a_bad_file_does_not_hide_the_others(bad, tmp_path):
    broken, good = tmp_path / "broken.geojson", tmp_path / "good.geojson"
    broken.write_text("hello", encoding="utf-8")
    write_qupath(good, [Annotation(SQUARE)], default_schema(), slide_id="s")
    output = run(broken, bad, good, expect=1)
    assert f"{bad}: QuPath would refuse it" in output
    assert f"{good}: QuPath opens it" in output
    assert "neither JSON nor XML" in output
    assert run(good, good).count("QuPath opens it") == 2


def test_several_files_are_not_mended_into_one(bad, tmp_path):
    output = run(bad, bad, "--fix", tmp_path / "c.geojson", expect=2)
    assert "--fix mends one file; found 2" in output
    assert not (tmp_path / "c.geojson").exists()


def test_the_file_itself_is_not_written_over(tmp_path):
    path = tmp_path / "a.json"
    write_qupath(path, [Annotation(SQUARE)], default_schema(), slide_id="s")
    before = path.read_bytes()
    assert "is the file that is read" in run(path, "--fix", tmp_path / "." / "a.json", expect=2)
    assert path.read_bytes() == before
