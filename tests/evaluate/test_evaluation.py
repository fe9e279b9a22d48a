"""Whole evaluations of small slides."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from judging import SIZE, TRUTH, shifted
from shapely import box
from slides import damage_tile, texture_image, write_slide

from wsiseg.annotation import Annotation, write_asap
from wsiseg.classes import ClassSchema, TissueClass, default_schema
from wsiseg.config import Config, parse_config
from wsiseg.errors import AnnotationParseError, ConfigError, SlideOpenError, UnknownClassError
from wsiseg.evaluate import Case, evaluate, to_json
from wsiseg.evaluate.inputs import PREDICTED_SUFFIXES, RECORD_SUFFIX, mask_side
from wsiseg.geometry import Box, GridFrame, Resolution
from wsiseg.infer.naming import MASK_SUFFIX, SUFFIXES, ZIPPED_SUFFIX
from wsiseg.infer.naming import RECORD_SUFFIX as WRITTEN_SUFFIX
from wsiseg.labelimage import CLASSES_NAMESPACE
from wsiseg.progress import NullProgress
from wsiseg.raster import ShapePainter
from wsiseg.slide import Slide


def judge(*cases: Case, config: Config | None = None, **options):
    return evaluate(cases, config or Config(), progress=NullProgress(), **options)


def write_mask(path: Path, label: np.ndarray, mpp: float | None = 0.5) -> Path:
    metadata = {"axes": "YX"}
    if mpp is not None:
        metadata |= {"PhysicalSizeX": mpp, "PhysicalSizeXUnit": "µm"}
    tifffile.imwrite(path, label, ome=True, tile=(256, 256), compression="zlib", metadata=metadata)
    return path


def painted(objects) -> np.ndarray:
    schema = default_schema()
    return ShapePainter([(shape, schema.index(name)) for shape, name in objects]).paint(Box(0, 0, *SIZE))


def record(prediction: Path, schema: ClassSchema, mpp: float, **more: object) -> None:
    stem = prediction.name.removesuffix(".geojson")
    text = json.dumps({"model": {"classes": schema.to_json(), "mpp": mpp}, **more})
    (prediction.parent / f"{stem}{RECORD_SUFFIX}").write_text(text, encoding="utf-8")


def test_the_record_is_looked_for_where_predict_writes_it() -> None:
    assert RECORD_SUFFIX == WRITTEN_SUFFIX
    outlines = {suffix for name, suffix in SUFFIXES.items() if name != "ome-zarr"}
    assert {*PREDICTED_SUFFIXES} == {*outlines, SUFFIXES["qupath"] + ZIPPED_SUFFIX, MASK_SUFFIX}


def test_a_file_against_itself_is_all_right(slide, write) -> None:
    truth = write(TRUTH)
    found = judge(Case(slide, truth, truth))
    assert all(value == 1.0 for value in found.scores.mean.values())
    assert found.slides[0].worst == []
    for name, count in {"glomerulus": 2, "podocyte": 2, "non_podocyte": 2}.items():
        assert found.objects[name].counts.matched == count
        assert found.objects[name].counts.f1 == 1.0
    assert found.objects["glomerulus"].boundaries[0].mean == pytest.approx(0, abs=1e-9)
    assert found.objects["podocyte"].count_errors == [0, 0]
    assert found.objects["podocyte"].true_counts == [2, 0]


def test_a_shift_costs_what_it_should(slide, write) -> None:
    prediction = write(shifted(TRUTH, 10, 0), "prediction.geojson")
    found = judge(Case(slide, write(TRUTH), prediction))
    glomerulus = found.schema.index("glomerulus")
    assert 0.9 < found.scores.iou[glomerulus] < 0.95
    assert found.objects["glomerulus"].counts.f1 == 1.0
    assert found.objects["glomerulus"].boundaries[0].hausdorff_95 == pytest.approx(5.0, abs=0.01)
    # 10 px are 5 um, more than the 3 um that two centres of one nucleus may lie apart.
    assert found.objects["podocyte"].counts.matched == 0
    assert found.objects["podocyte"].count_errors == [0, 0]
    near = judge(Case(slide, write(TRUTH), write(shifted(TRUTH, 4, 0), "near.geojson")))
    assert near.objects["podocyte"].counts.f1 == 1.0


def test_pixels_are_those_of_the_grid(slide, write) -> None:
    truth = write(TRUTH)
    fine, coarse = (judge(Case(slide, truth, truth), mpp=mpp) for mpp in (0.5, 1.0))
    index = fine.schema.index("glomerulus")
    label = painted(TRUTH)
    assert fine.scores.matrix[index, index] == (label == index).sum()
    assert coarse.scores.matrix[index, index] == (label == index).sum() / 4
    assert (fine.mpp, coarse.mpp) == (0.5, 1.0)


def test_a_mask_and_its_outlines_are_judged_alike(slide, write, tmp_path) -> None:
    moved = shifted(TRUTH, 3, 2)
    mask = write_mask(tmp_path / "prediction.ome.tiff", painted(moved))
    truth = write(TRUTH)
    by_mask = judge(Case(slide, truth, mask))
    by_outline = judge(Case(slide, truth, write(moved, "moved.geojson")))
    np.testing.assert_array_equal(by_mask.scores.matrix, by_outline.scores.matrix)
    assert by_mask.objects["podocyte"].counts == by_outline.objects["podocyte"].counts
    assert by_mask.objects["glomerulus"].counts == by_outline.objects["glomerulus"].counts


def test_other_formats_do_as_well(slide, write, tmp_path) -> None:
    annotations = [Annotation(polygon, name) for polygon, name in TRUTH]
    write_asap(tmp_path / "truth.xml", annotations, default_schema())
    found = judge(Case(slide, tmp_path / "truth.xml", write(TRUTH)))
    assert found.scores.mean["iou"] == 1.0


def test_only_regions_count_where_there_are_any(slide, write) -> None:
    truth = write([*TRUTH, (box(90, 90, 420, 420), "Region*")])
    prediction = write([TRUTH[0], *TRUTH[2:5], (box(600, 550, 800, 650), "glomerulus")], "p.geojson")
    found = judge(Case(slide, truth, prediction))
    assert found.scores.matrix.sum() == 330 * 330
    assert found.scores.mean["iou"] == 1.0
    assert found.objects["glomerulus"].counts.truth == 1
    assert found.objects["glomerulus"].counts.f1 == 1.0
    assert any("annotated regions" in note for note in found.notes)


def test_ignored_areas_count_nowhere(slide, write) -> None:
    truth = write([*TRUTH, (box(490, 190, 810, 510), "Ignore*")])
    found = judge(Case(slide, truth, write([TRUTH[0], *TRUTH[2:5]], "p.geojson")))
    assert found.scores.mean["iou"] == 1.0
    assert found.objects["glomerulus"].counts.truth == 1


def test_classes_that_are_nowhere_are_left_out_and_said(slide, write) -> None:
    truth = write([TRUTH[0]])
    found = judge(Case(slide, truth, truth))
    assert found.scores.absent == ("podocyte", "non_podocyte")
    assert found.scores.mean["f1"] == 1.0
    data = to_json(found)
    assert data["classes"]["podocyte"]["f1"] is None
    assert data["objects"]["podocyte"]["f1"] is None
    assert "podocyte, non_podocyte" in found.notes[-1]


def test_an_empty_prediction_scores_zero(slide, write) -> None:
    found = judge(Case(slide, write(TRUTH), write([], "p.geojson")))
    assert found.scores.f1[1] == 0.0
    assert found.objects["glomerulus"].counts.recall == 0.0
    assert found.objects["podocyte"].count_errors == [-2, 0]
    assert found.objects["podocyte"].counts.precision == 0.0


def test_one_class_works_as_well(slide, tmp_path, write) -> None:
    classes = [
        {"name": "background", "color": [0, 0, 0]},
        {"name": "glomerulus", "color": [1, 2, 3]},
    ]
    truth = write([(shape, None) for shape, name in TRUTH if name == "glomerulus"])
    config = parse_config({"classes": classes}, source="here")
    found = judge(Case(slide, truth, truth), config=config)
    assert found.schema.names == ("background", "glomerulus")
    assert found.objects["glomerulus"].counts.f1 == 1.0


def test_the_prediction_says_what_it_was_made_with(slide, write) -> None:
    schema = ClassSchema(
        (TissueClass("background", (0, 0, 0)), TissueClass("tuft", (1, 1, 1), aliases=("glomerulus",)))
    )
    only = [item for item in TRUTH if item[1] == "glomerulus"]
    prediction = write(only, "p.geojson")
    record(prediction, schema, mpp=2.0)
    found = judge(Case(slide, write(only), prediction))
    assert found.schema.names == ("background", "tuft")
    assert found.mpp == 2.0
    classes = [{"name": "background", "color": [0, 0, 0]}, {"name": "glomerulus", "color": [1, 2, 3]}]
    config = parse_config({"classes": classes}, source="here")
    assert judge(Case(slide, write(only), prediction), config=config).schema.names[1] == "glomerulus"


def test_several_slides_add_up_and_get_an_interval(slide, write, tmp_path) -> None:
    other = write_slide(tmp_path / "b.tiff", texture_image(*SIZE, seed=1), compression="deflate")
    truth, poor = write(TRUTH), write(shifted(TRUTH, 30, 0), "poor.geojson")
    cases = [Case(slide, truth, truth), Case(other, truth, poor)]
    both = judge(*cases)
    alone = [judge(case).scores.matrix for case in cases]
    np.testing.assert_array_equal(both.scores.matrix, alone[0] + alone[1])
    assert both.objects["glomerulus"].counts.truth == 4
    data = to_json(both)
    low, high = data["interval_95"]["mean"]["f1"]
    assert low < data["mean"]["f1"] < high
    assert [entry["slide"] for entry in data["slides"]] == ["a.tiff", "b.tiff"]


def test_json_holds_the_promised_keys_and_no_nan(slide, write) -> None:
    truth = write(TRUTH)
    data = to_json(judge(Case(slide, truth, truth)))
    assert set(data["mean"]) == {"iou", "precision", "recall", "f1"}
    assert list(data["classes"]) == ["background", "glomerulus", "podocyte", "non_podocyte"]
    assert all(set(scores) == set(data["mean"]) for scores in data["classes"].values())
    assert {"precision", "recall", "f1"} <= set(data["objects"]["podocyte"])
    assert data["objects"]["podocyte"]["by_iou"]["f1"] == 1.0
    json.dumps(data, allow_nan=False)


def test_missing_files_are_named_before_any_work(slide, write, tmp_path) -> None:
    truth, nowhere = write(TRUTH), tmp_path / "nowhere.geojson"
    with pytest.raises(AnnotationParseError, match=r"no such truth: .*nowhere\.geojson"):
        judge(Case(slide, nowhere, truth))
    with pytest.raises(AnnotationParseError, match=r"no such prediction: .*nowhere\.geojson"):
        judge(Case(slide, truth, nowhere))
    with pytest.raises(SlideOpenError, match="no such slide"):
        judge(Case(tmp_path / "nowhere.svs", truth, truth))
    with pytest.raises(ConfigError, match="nothing to evaluate"):
        judge()


@pytest.mark.parametrize(
    ("name", "said"),
    [("p.ome.zarr", r"OME-Zarr is not read here\. Name the \.ome\.tiff"), ("p", "it is a folder")],
)
def test_a_folder_is_no_prediction_and_said_to_be_one(slide, write, tmp_path, name, said) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(AnnotationParseError, match=said):
        judge(Case(slide, write(TRUTH), tmp_path / name))


def of_slide(path: Path) -> dict[str, object]:
    with Slide.open(path) as slide:
        return {"slide": {"name": slide.name, "fingerprint": slide.fingerprint}}


def test_the_prediction_of_another_slide_is_refused_before_any_work(slide, write, tmp_path) -> None:
    other = write_slide(tmp_path / "b.tiff", texture_image(*SIZE, seed=1), compression="deflate")
    truth, plain, prediction = write(TRUTH), write(TRUTH, "plain.geojson"), write(TRUTH, "p.geojson")
    record(prediction, default_schema(), 0.5, **of_slide(other))
    said = r"found b\.tiff, expected a\.tiff\. Give --slide, --truth and --prediction in the same order"
    with pytest.raises(ConfigError, match=said):
        judge(Case(slide, truth, prediction))
    with pytest.raises(ConfigError, match=said):
        judge(Case(slide, Path(__file__), plain), Case(slide, truth, prediction))
    assert judge(Case(other, truth, prediction)).scores.mean["iou"] == 1.0


def test_a_slide_that_was_moved_or_renamed_keeps_its_prediction(slide, write, tmp_path) -> None:
    prediction = write(TRUTH, "p.geojson")
    record(prediction, default_schema(), 0.5, **of_slide(slide))
    moved = slide.rename(tmp_path / "renamed.tif")
    assert judge(Case(moved, write(TRUTH), prediction)).scores.mean["iou"] == 1.0


def test_another_slide_of_the_same_name_is_told_apart(slide, write) -> None:
    prediction = write(TRUTH, "p.geojson")
    record(prediction, default_schema(), 0.5, **of_slide(slide))
    write_slide(slide, texture_image(*SIZE, seed=1), compression="deflate")
    with pytest.raises(ConfigError, match=r"found a\.tiff with other content, .* \.prediction\.json"):
        judge(Case(slide, write(TRUTH), prediction))


def test_a_record_speaks_only_of_files_that_predict_writes(slide, write, tmp_path) -> None:
    """``p.1.geojson`` of another program may lie beside the prediction of a slide ``p``."""
    other = write_slide(tmp_path / "b.tiff", texture_image(*SIZE, seed=1), compression="deflate")
    record(tmp_path / "p.geojson", default_schema(), 0.5, **of_slide(other))
    assert judge(Case(slide, write(TRUTH), write(TRUTH, "p.1.geojson"))).scores.mean["iou"] == 1.0


def test_an_unknown_class_is_named(slide, write) -> None:
    with pytest.raises(UnknownClassError, match="tubule"):
        judge(Case(slide, write([(box(0, 0, 9, 9), "tubule")]), write(TRUTH, "p.geojson")))


@pytest.mark.parametrize(
    ("label", "mpp", "message"),
    [
        (np.zeros((70, 90), np.uint8), 0.5, "found 90 x 70 px, expected 900 x 700 px"),
        (np.full((700, 900), 9, np.uint8), 0.5, "found label 9, expected labels of 4 classes"),
        (np.zeros((700, 900), np.uint8), None, "does not say its um/px. Give it with --mpp"),
        (np.zeros((700, 900), np.uint16), 0.5, "found uint16"),
    ],
)
def test_masks_that_do_not_fit_are_refused(label, mpp, message, slide, write) -> None:
    mask = write_mask(slide.with_name("p.ome.tiff"), label, mpp)
    with pytest.raises((AnnotationParseError, ConfigError), match=message):
        judge(Case(slide, write(TRUTH), mask))


def test_a_file_that_is_no_tiff_is_refused(slide, write, tmp_path) -> None:
    mask = tmp_path / "p.tiff"
    mask.write_text("not a tiff")
    with pytest.raises(AnnotationParseError, match="cannot be read as a label mask"):
        judge(Case(slide, write(TRUTH), mask))


def test_a_broken_record_is_named(slide, write, tmp_path) -> None:
    truth = write(TRUTH)
    (tmp_path / f"truth{RECORD_SUFFIX}").write_text("{}")
    with pytest.raises(AnnotationParseError, match="is not a record of a prediction"):
        judge(Case(slide, truth, truth))


def test_predictions_of_different_classes_are_not_mixed(slide, write) -> None:
    plain, other = write([], "plain.geojson"), write([], "other.geojson")
    record(other, ClassSchema((TissueClass("background", (0, 0, 0)), TissueClass("x", (1, 1, 1)))), 0.5)
    with pytest.raises(ConfigError, match="classes differ from those of the first prediction"):
        judge(Case(slide, plain, plain), Case(slide, plain, other))


def test_real_outlines_against_themselves(shared_data: Path) -> None:
    folder = shared_data / "kidney-pas"
    truth = folder / "aidpath-a.geojson"
    classes = [{"name": "background", "color": [0, 0, 0]}, {"name": "glomerulus", "color": [1, 2, 3]}]
    config = parse_config({"classes": classes, "tiling": {"mpp": 2.0}}, source="here")
    found = judge(Case(folder / "aidpath-a.svs", truth, truth), config=config)
    assert math.isclose(found.scores.mean["iou"], 1.0)
    assert found.objects["glomerulus"].counts.matched == 3


def test_a_zipped_prediction_is_read_with_its_record(slide, write) -> None:
    truth = write(TRUTH)
    prediction = write(TRUTH, "prediction.geojson.gz")
    assert prediction.read_bytes()[:2] == b"\x1f\x8b"
    record(prediction.with_name("prediction.geojson"), default_schema(), 1.0)
    found = judge(Case(slide, truth, prediction))
    assert found.mpp == 1.0
    assert found.objects["podocyte"].counts.f1 == 1.0


def test_the_record_counts_before_a_masks_own_resolution(slide, write, tmp_path) -> None:
    """A mask of 0.5 um/px on a scanner's 0.499 says 0.499, and would settle that for the next slide too."""
    mask = write_mask(tmp_path / "a.ome.tiff", painted(TRUTH), mpp=0.499)
    record(tmp_path / "a.geojson", default_schema(), 0.5)
    assert judge(Case(slide, write(TRUTH), mask)).mpp == 0.5


def test_small_holes_of_a_mask_are_filled_as_predict_fills_them(tmp_path) -> None:
    label = painted([(box(100, 100, 400, 400), "glomerulus")])
    label[200, 200] = label[240:340, 240:340] = 0
    frame = GridFrame.of(SIZE, Resolution(0.5, 0.5), 0.5)
    with mask_side(write_mask(tmp_path / "a.ome.tiff", label), default_schema(), frame) as side:
        (glomerulus,) = side.shapes["glomerulus"]
    assert glomerulus.area == 300 * 300 - 100 * 100


def test_nuclei_of_a_mask_make_no_glomerulus(tmp_path) -> None:
    label = painted([(box(100, 100, 400, 400), "glomerulus"), (box(600, 100, 680, 180), "podocyte")])
    frame = GridFrame.of(SIZE, Resolution(0.5, 0.5), 0.5)
    with mask_side(write_mask(tmp_path / "a.ome.tiff", label), default_schema(), frame) as side:
        assert [len(side.shapes[name]) for name in ("glomerulus", "podocyte")] == [1, 1]


def test_a_slide_with_a_damaged_corner_is_judged_all_the_same(write, tmp_path) -> None:
    slide = write_slide(tmp_path / "a.svs", texture_image(*SIZE), compression="jpeg")
    damage_tile(slide, 0)
    truth = write(TRUTH)
    assert judge(Case(slide, truth, truth)).scores.mean["iou"] == 1.0


def test_a_mask_of_other_classes_is_refused(slide, write, tmp_path) -> None:
    """By its labels alone a nucleus of one schema is a glomerulus of another."""
    nuclei = ClassSchema((TissueClass("background", (0, 0, 0)), TissueClass("nucleus", (9, 9, 9))))
    mask = write_mask(tmp_path / "a.ome.tiff", painted([(box(100, 100, 110, 110), "glomerulus")]))
    truth = write([(box(100, 100, 400, 400), "glomerulus")])
    assert judge(Case(slide, truth, mask)).mpp == 0.5
    names = "".join(f'<M K="{i}">{one.name} #000000</M>' for i, one in enumerate(nuclei))
    table = (
        f'<StructuredAnnotations><MapAnnotation ID="Annotation:0" Namespace="{CLASSES_NAMESPACE}">'
        f"<Value>{names}</Value></MapAnnotation></StructuredAnnotations></OME>"
    )
    tifffile.tiffcomment(mask, tifffile.tiffcomment(mask).replace("</OME>", table).encode())
    with pytest.raises(AnnotationParseError, match=r"other classes .* found background, nucleus, expected"):
        judge(Case(slide, truth, mask))


def test_masks_say_that_touching_nuclei_are_one_object(slide, write, tmp_path) -> None:
    mask = write_mask(tmp_path / "a.ome.tiff", painted(TRUTH))
    notes = judge(Case(slide, write(TRUTH), mask)).notes
    assert any("nuclei that touch are one object in a mask" in note for note in notes)
