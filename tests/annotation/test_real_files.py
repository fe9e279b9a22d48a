"""Every real annotation file behaves as docs/reference/formats.md says."""

import time

import pytest

from wsiseg.annotation import check_asap, check_qupath, read_annotations, write_asap, write_qupath
from wsiseg.classes import default_schema
from wsiseg.errors import AnnotationParseError

EXPECTED = {
    "asap/camelyon16_tumor_085.xml": ("asap", 50, 2, 0),
    "asap/pathml_008_059_HE_spline.xml": ("asap", 5, 0, 0),
    "asap/pathml_OC-ED-045_mixed_poly_spline.xml": ("asap", 10, 0, 0),
    "dsa/htk_annotation1.json": ("dsa", 0, 0, 2),
    "dsa/htk_simple.tiff.anot": ("dsa", 2, 0, 0),
    "imagescope/V10S14-085_XY01_20-0038.xml": ("imagescope", 7, 0, 0),
    "imagescope/V10S14-085_XY02_20-0040.xml": ("imagescope", 10, 1, 0),
    "qupath/qupath_core_polygon.geojson": ("qupath", 1, 0, 0),
    "qupath/test_geojson_files_2023_02_02__CD163_CD31_CDH1.geojson": ("qupath", 53, 0, 3),
    "qupath/test_geojson_files_objects.geojson": ("qupath", 2, 0, 0),
    "qupath/tests_data_test_missing_classification.geojson": ("qupath", 2, 0, 0),
    "qupath/tests_data_test_multipolygon.geojson": ("qupath", 2, 0, 0),
    "qupath/tests_data_test_point.geojson": ("qupath", 1, 0, 1),
}
"""File -> format, kept, repaired, dropped."""


@pytest.mark.parametrize("name", list(EXPECTED))
def test_each_file(shared_data, tmp_path, name):
    file = read_annotations(shared_data / "annotations" / name)
    report = file.report
    assert (file.format, report.kept, len(report.repaired), len(report.dropped)) == EXPECTED[name]
    write_qupath(tmp_path / "a.geojson", file.annotations, default_schema(), slide_id=name)
    write_asap(tmp_path / "a.xml", file.annotations, default_schema())
    assert check_qupath(tmp_path / "a.geojson") == []
    assert check_asap(tmp_path / "a.xml") == []


def test_the_bad_one_is_refused(shared_data):
    with pytest.raises(AnnotationParseError, match="JSON without any Feature"):
        read_annotations(shared_data / "annotations" / "dsa" / "htk_annotation_bad2.json")


def test_every_broken_slide_is_refused_as_annotations(shared_data):
    for path in sorted((shared_data / "broken").iterdir()):
        with pytest.raises(AnnotationParseError):
            read_annotations(path)


def test_classes_of_real_qupath_exports(shared_data):
    folder = shared_data / "annotations" / "qupath"
    names = [
        item.class_name
        for item in read_annotations(folder / "tests_data_test_missing_classification.geojson").annotations
    ]
    assert names == ["Tumor", None]


def test_nuclei_of_moNuSeg_read_well_and_fast(shared_data):
    path = shared_data / "nuclei-he" / "labelled" / "TCGA-B0-5711-01Z-00-DX1.xml"
    begun = time.process_time()
    file = read_annotations(path)
    assert time.process_time() - begun < 5
    assert (file.format, file.report.kept, file.mpp) == ("imagescope", 342, 0.252)
    assert {(item.class_name, item.layer) for item in file.annotations} == {(None, "1")}
    assert all(item.polygon.geom_type == "Polygon" for item in file.annotations[:20])
