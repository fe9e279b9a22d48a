"""Any format to any other."""

import pytest
from outlines import RING, SQUARE

from wsiseg.annotation import Annotation, read_annotations
from wsiseg.annotation.convert import CHECKS, SUFFIXES, Target, write_annotations
from wsiseg.classes import default_schema
from wsiseg.errors import ConfigError
from wsiseg.geometry import Resolution


@pytest.mark.parametrize("first", list(SUFFIXES))
@pytest.mark.parametrize("second", list(SUFFIXES))
def test_there_and_on(tmp_path, first, second):
    objects = [Annotation(RING, "glomerulus"), Annotation(SQUARE, "podocyte")]
    target = Target("slide", origin_l0=(3, 4), resolution=Resolution(0.25, 0.25), holes="group")
    for number, file_format in enumerate((first, second)):
        path = tmp_path / f"{number}{SUFFIXES[file_format][0]}"
        write_annotations(path, objects, default_schema(), file_format, target)
        assert CHECKS[file_format](path) == []
        file = read_annotations(path, origin_l0=(3, 4), strict=True)
        assert file.format == file_format
        objects = file.annotations
    assert [item.polygon.equals(shape) for item, shape in zip(objects, (RING, SQUARE), strict=True)] == [
        True,
        True,
    ]
    assert [item.class_name for item in objects] == ["glomerulus", "podocyte"]


@pytest.mark.parametrize(
    ("file_format", "name"), [("qupath", "a.xml"), ("asap", "a.json"), ("dsa", "a.geojson")]
)
def test_a_name_that_the_viewer_would_not_know_is_refused(tmp_path, file_format, name):
    with pytest.raises(ConfigError, match="a name that ends in"):
        write_annotations(tmp_path / name, [], default_schema(), file_format, Target("s"))
    assert not (tmp_path / name).exists()


def test_qupath_keeps_its_locks(tmp_path):
    """Of plain features, which are read by line, and of others."""
    many = [Annotation(SQUARE, "glomerulus", locked=locked) for locked in (True, True, False)]
    objects = [*many, Annotation(RING, "glomerulus", locked=True, parent="1")]
    for name in ("a.geojson", "b.geojson"):
        write_annotations(tmp_path / name, objects, default_schema(), "qupath", Target("slide"))
        objects = read_annotations(tmp_path / name, strict=True).annotations
    assert [item.locked for item in objects] == [True, True, False, True]


def test_cells_stay_cells_in_qupath_and_are_nuclei_elsewhere(tmp_path):
    cells = [Annotation(RING, name, nucleus=SQUARE) for name in ("podocyte", "glomerulus")]
    for file_format, suffixes in SUFFIXES.items():
        path = tmp_path / f"a{suffixes[0]}"
        target = Target("slide", origin_l0=(3, 4))
        report = write_annotations(path, cells, default_schema(), file_format, target)
        assert CHECKS[file_format](path) == []
        found = read_annotations(path, origin_l0=(3, 4), strict=True).annotations
        by_class = {item.class_name: item for item in found}
        lost = [what for what in report.losses if "cell" in what]
        if file_format == "qupath":
            assert all(item.polygon.equals(RING) and item.nucleus.equals(SQUARE) for item in found)
            assert not lost
        else:
            assert by_class["podocyte"].polygon.equals(SQUARE)
            assert sum(item.polygon.area for item in found) == SQUARE.area + RING.area
            assert [report.losses[what] for what in lost] == [2]
