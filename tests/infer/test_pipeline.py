"""A slide from file to files: to the pixel, to the byte, and after being killed."""

import csv
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
from interruptions import Interrupt, interrupt_after
from painted import COLORS, MODEL, SIZE, contents, paint_slide, read_colors
from slides import damage_tile, write_slide

from wsiseg.annotation import check_asap, check_qupath, read_annotations
from wsiseg.classes import ClassSchema, TissueClass
from wsiseg.config import PredictConfig
from wsiseg.errors import ConfigError, OutputError, ResolutionError, SlideReadError
from wsiseg.geometry import Box
from wsiseg.infer import pipeline
from wsiseg.infer.export import write_mask
from wsiseg.infer.naming import work_path
from wsiseg.infer.pipeline import ModelCard, Settings, predict_slide
from wsiseg.infer.request import content_key
from wsiseg.progress import NullProgress
from wsiseg.raster import ShapePainter
from wsiseg.slide import Slide


def settings(*, workers=2, overwrite=False, formats=("qupath", "asap"), **predict):
    return Settings(PredictConfig(**predict), formats=formats, workers=workers, overwrite=overwrite)


def predict(path, out, *, predictor=read_colors, **options):
    with Slide.open(path) as slide:
        return predict_slide(slide, predictor, MODEL, out=out, settings=settings(**options))


def test_writes_the_files_and_nothing_else(done):
    out, result = done
    names = ["geojson", "xml", "ome.tiff", "objects.csv", "png", "prediction.json"]
    assert sorted(path.name for path in out.iterdir()) == sorted(f"case 1.{name}" for name in names)
    assert [path.name for path in result.files] == [f"case 1.{name}" for name in names]
    assert not result.skipped
    assert result.warnings == ()


def test_mask_is_the_truth(done, label):
    out, _ = done
    assert np.array_equal(tifffile.imread(out / "case 1.ome.tiff"), label)


def test_outlines_sit_to_the_pixel(done, label):
    out, _ = done
    objects = read_annotations(out / "case 1.geojson").annotations
    schema = MODEL.schema
    order = {name: position for position, name in enumerate(schema.paint_order())}
    shapes = [
        (a.polygon, schema.index(a.class_name)) for a in sorted(objects, key=lambda a: order[a.class_name])
    ]
    assert np.array_equal(ShapePainter(shapes).paint(Box(0, 0, *SIZE)), label)


def test_glomeruli_come_out_whole(done, label):
    out, _ = done
    objects = read_annotations(out / "case 1.geojson").annotations
    glomeruli = [a.polygon for a in objects if a.class_name == "glomerulus"]
    assert glomeruli
    assert all(not polygon.interiors for polygon in glomeruli)
    # The nucleus in the corner lies outside, and is no part of any glomerulus.
    assert shapely.area(glomeruli).sum() == (label > 0).sum() - 49


def test_files_keep_the_rules_of_the_viewers(done):
    out, _ = done
    assert check_qupath(out / "case 1.geojson") == []
    assert check_asap(out / "case 1.xml") == []


def test_both_annotation_files_hold_the_same_area(done):
    out, _ = done
    areas = [
        sum(a.polygon.area for a in read_annotations(out / f"case 1.{suffix}").annotations)
        for suffix in ("geojson", "xml")
    ]
    assert areas[0] == pytest.approx(areas[1])


def test_csv_has_measurements_and_counts(done):
    out, result = done
    with (out / "case 1.objects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    first = rows[0]
    assert list(first)[:6] == ["id", "name", "class", "parent", "centroid_x_px", "centroid_y_px"]
    assert first["name"] == "Glomerulus 1"
    assert first["podocyte_count"] == "3"
    assert first["non_podocyte_count"] == "2"
    assert float(first["mean_probability"]) == pytest.approx(0.75, abs=1 / 255)
    inside = [row for row in rows if row["parent"] == "Glomerulus 1"]
    assert len(inside) == 5
    assert all(row["podocyte_count"] == "" for row in inside)
    share = sum(float(row["area_um2"]) for row in inside if row["class"] == "podocyte")
    assert float(first["podocyte_area_share"]) == pytest.approx(share / float(first["area_um2"]), abs=1e-4)
    density = 3 / float(first["area_um2"]) * 1e6
    assert float(first["podocyte_density_per_mm2"]) == pytest.approx(density, abs=1e-3)
    assert [row["name"] for row in rows if not row["parent"] and row["class"] == "non_podocyte"]
    assert result.counts["outside_their_container"] == 1


class Phases(NullProgress):
    """Remembers what was begun, of how many units, and how many were done."""

    def __init__(self) -> None:
        self.found: list[list[object]] = []
        self.begun = threading.Event()

    def start(self, description, total):
        self.found.append([description, total, 0])
        if description == "writing the mask":
            self.begun.set()

    def advance(self, units=1, note=None):
        self.found[-1][2] += units


def test_every_bar_is_finished(slide_path, tmp_path, monkeypatch):
    phases = Phases()

    def slow(*arguments):
        assert phases.begun.wait(60)
        write_mask(*arguments)

    monkeypatch.setattr(pipeline, "write_mask", slow)
    with Slide.open(slide_path) as slide:
        predict_slide(slide, read_colors, MODEL, out=tmp_path, progress=phases)
    assert "writing the mask" in [phase[0] for phase in phases.found]
    assert all(done == total for _, total, done in phases.found), phases.found


def test_counts_are_those_of_the_files(done):
    out, result = done
    objects = json.loads((out / "case 1.geojson").read_text())["features"]
    for name in ("glomerulus", "podocyte", "non_podocyte"):
        mine = [o for o in objects if o["properties"]["classification"]["name"] == name]
        assert len(mine) == result.counts[name] > 0


def test_measurements_are_in_the_geojson(done):
    out, _ = done
    features = json.loads((out / "case 1.geojson").read_text())["features"]
    glomerulus = next(f for f in features if f["properties"]["name"] == "Glomerulus 1")
    assert glomerulus["properties"]["measurements"]["podocyte_count"] == 3
    children = [f for f in features if f["properties"]["metadata"].get("parent") == glomerulus["id"]]
    assert len(children) == 5
    assert not any("podocyte_count" in child["properties"]["measurements"] for child in children)


@pytest.mark.parametrize(
    "change",
    [
        {"workers": 1},
        {"workers": 5},
        {"batch_size": 3},
        {"overlap_share": 0.0},
        {"overlap_share": 0.6},
        {"stitching": "keep"},
        {"tta": "flips"},
    ],
    ids=str,
)
def test_how_it_is_cut_changes_no_outline(done, slide_path, tmp_path, change):
    """The record tells the settings, and the ids tell the model: outlines are the same to the byte."""
    predict(slide_path, tmp_path, **change)
    mine, theirs = contents(tmp_path), contents(done[0])
    same = ("case 1.geojson", "case 1.xml", "case 1.objects.csv", "case 1.png", "case 1.ome.tiff")
    assert {name: mine[name] for name in same} == {name: theirs[name] for name in same}
    if set(change) == {"workers"}:
        assert mine == theirs


def test_a_slide_at_another_resolution(tmp_path, label):
    """Level 0 at half the size of a pixel: outlines come back in level-0 pixels, exactly doubled."""
    big = label.repeat(2, axis=0).repeat(2, axis=1)
    predict(paint_slide(tmp_path / "big.tiff", big, mpp=0.25), tmp_path / "out")
    objects = read_annotations(tmp_path / "out" / "big.geojson").annotations
    glomeruli = shapely.union_all([a.polygon for a in objects if a.class_name == "glomerulus"])
    painted = ShapePainter([(glomeruli, 1)]).paint(Box(0, 0, big.shape[1], big.shape[0]))
    big[-24:, :24] = 0
    assert np.array_equal(painted > 0, big > 0)
    with tifffile.TiffFile(tmp_path / "out" / "big.ome.tiff") as tiff:
        assert 'PhysicalSizeX="0.5"' in tiff.ome_metadata


def test_finished_is_skipped_until_something_changes(slide_path, tmp_path):
    first = predict(slide_path, tmp_path)
    before = contents(tmp_path)

    def refuse(images):
        raise AssertionError("nothing is left to predict")

    again = predict(slide_path, tmp_path, predictor=refuse, workers=1)
    assert again.skipped
    assert (again.counts, again.warnings) == (first.counts, first.warnings)
    assert not predict(slide_path, tmp_path, overlap_share=0.5).skipped
    assert predict(slide_path, tmp_path, overwrite=True).skipped is False
    assert contents(tmp_path) == before
    (tmp_path / "case 1.xml").unlink()
    assert not predict(slide_path, tmp_path).skipped
    assert contents(tmp_path) == before


def test_a_corrected_resolution_is_another_prediction(slide_path):
    """All three count as the model's 0.5 um/px, but areas are those of the slide's own pixels."""
    keys = set()
    for mpp in (0.4986, 0.5, 0.5014):
        with Slide.open(slide_path, mpp=mpp) as slide:
            keys.add(content_key(slide, slide.frame(MODEL.mpp), MODEL, Settings()))
    assert len(keys) == 3


def test_overwrite_takes_nothing_over_from_a_run_that_was_broken_off(slide_path, tmp_path):
    with pytest.raises(Interrupt):
        predict(slide_path, tmp_path, predictor=interrupt_after(6, read_colors), workers=1)
    assert work_path(tmp_path, "case 1").exists()

    def see_nothing(images):
        return np.eye(4, dtype=np.float32)[np.zeros(images.shape[:3], int)].transpose(0, 3, 1, 2)

    found = predict(slide_path, tmp_path, predictor=see_nothing, overwrite=True)
    assert not any(found.counts[name] for name in MODEL.schema.names[1:])


def test_areas_are_those_of_the_slides_own_pixels(tmp_path, label):
    """0.499 um/px counts as the model's 0.5, but an area is what the slide says."""
    path = paint_slide(tmp_path / "s.tiff", label, mpp=0.499)
    predict(path, tmp_path / "out", formats=("imagescope",))
    with (tmp_path / "out/s.objects.csv").open(encoding="utf-8") as file:
        largest = max(float(row["area_um2"]) for row in csv.DictReader(file))
    text = (tmp_path / "out/s.imagescope.xml").read_text(encoding="utf-8")
    assert f'AreaMicrons="{largest:.1f}"' in text
    assert largest == pytest.approx(round(largest / 0.499**2) * 0.499**2)


def test_the_prediction_of_another_slide_of_that_name_stays(slide_path, tmp_path, label):
    (tmp_path / "other").mkdir()
    other = paint_slide(tmp_path / "other" / slide_path.name, label[:, ::-1])
    predict(slide_path, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(OutputError, match=r"another slide named case 1.tiff.*--overwrite"):
        predict(other, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    assert not predict(other, tmp_path / "out", overwrite=True).skipped


def test_a_skipped_slide_keeps_its_warnings(tmp_path):
    path = paint_slide(tmp_path / "white.tiff", np.zeros((90, 80), np.uint8))
    first = predict(path, tmp_path / "out", predictor=lambda images: read_colors(np.full_like(images, 255)))
    again = predict(path, tmp_path / "out")
    assert again.skipped
    assert again.warnings == first.warnings


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from painted import MODEL, read_colors
from wsiseg.classes import ClassSchema, TissueClass
from wsiseg.config import PredictConfig
from wsiseg.infer.pipeline import Settings, predict_slide
from wsiseg.slide import Slide
import wsiseg.infer.publish as publishing

moment, method = sys.argv[4], sys.argv[5]
calls = 0

def predictor(images):
    global calls
    calls += 1
    if moment.isdigit() and calls > int(moment):
        os.kill(os.getpid(), signal.SIGKILL)
    return read_colors(images)

if moment == "moving":
    moves, move = [], publishing._replace
    def kill(source, target):
        if len(moves) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        moves.append(move(source, target))
    publishing._replace = kill

with Slide.open(sys.argv[2]) as slide:
    predict_slide(slide, predictor, MODEL, out=Path(sys.argv[3]),
                  settings=Settings(PredictConfig(stitching=method, overlap_share=0.5)))
"""


@pytest.mark.parametrize(
    ("moments", "method"), [(("9",), "keep"), (("17", "moving"), "window")], ids=["keep", "window"]
)
def test_killed_and_started_again_gives_the_same_bytes(slide_path, tmp_path, moments, method):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    predict(slide_path, whole, stitching=method, overlap_share=0.5)
    tests = str(Path(__file__).parents[1])
    for moment in moments:
        command = [sys.executable, "-c", KILLED, tests, str(slide_path), str(broken), moment, method]
        assert subprocess.run(command, check=False, capture_output=True).returncode == -9
        assert not (broken / "case 1.prediction.json").exists()
        assert (work_path(broken, "case 1") / "journal").stat().st_size > 0
    asked = []

    def counting(images):
        asked.append(len(images))
        return read_colors(images)

    predict(slide_path, broken, predictor=counting, stitching=method, overlap_share=0.5)
    assert contents(broken) == contents(whole)
    assert not work_path(broken, "case 1").exists()
    assert sum(asked) < 11 * 15 - 20, "finished bands are not predicted again"


def test_a_journal_cut_short_is_read_up_to_there(slide_path, tmp_path):
    predict(slide_path, tmp_path / "whole")

    with pytest.raises(Interrupt):
        predict(slide_path, tmp_path / "cut", predictor=interrupt_after(10, read_colors))
    journal = work_path(tmp_path / "cut", "case 1") / "journal"
    journal.write_bytes(journal.read_bytes()[:-3])
    predict(slide_path, tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_unreadable_regions_are_background_and_said(tmp_path, label):
    path = paint_slide(tmp_path / "bad.tiff", label)
    damage_tile(path, 0, keep=0.0)
    result = predict(path, tmp_path / "out")
    assert result.counts["unreadable_tiles"] > 0
    assert "cannot be read and count as background" in result.warnings[0]
    mask = tifffile.imread(tmp_path / "out" / "bad.ome.tiff")
    assert not mask[:90, :90].any()
    assert np.array_equal(mask[200:, 200:], label[200:, 200:])
    with pytest.raises(SlideReadError, match=r"bad\.tiff"):
        predict(path, tmp_path / "strict", unreadable="fail")
    assert not contents(tmp_path / "strict")


def test_a_slide_without_a_readable_tile_fails(tmp_path, label):
    path = paint_slide(tmp_path / "bad.tiff", label[:100, :100])
    damage_tile(path, 0, keep=0.0)
    with pytest.raises(SlideReadError, match="none of"):
        predict(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_empty_glass_gives_empty_files_and_says_so(tmp_path):
    path = write_slide(tmp_path / "glass.tiff", np.full((200, 300, 3), 245, np.uint8), compression="deflate")
    result = predict(path, tmp_path / "out")
    assert "no tissue was found" in result.warnings[0]
    assert result.counts == {"glomerulus": 0, "podocyte": 0, "non_podocyte": 0, "tiles": 0}
    assert check_qupath(tmp_path / "out" / "glass.geojson") == []
    assert not tifffile.imread(tmp_path / "out" / "glass.ome.tiff").any()


def find_nothing(images):
    probabilities = np.zeros_like(read_colors(images))
    probabilities[:, 0] = 1
    return probabilities


def test_tissue_without_any_object_is_said(tmp_path):
    path = write_slide(tmp_path / "pink.tiff", np.full((200, 300, 3), (225, 150, 190), np.uint8))
    result = predict(path, tmp_path / "out", predictor=find_nothing)
    assert result.counts["tiles"] > 0
    assert "no object was found" in result.warnings[0]


def test_annotations_of_the_user_are_never_lost(slide_path, tmp_path):
    with pytest.raises(ConfigError, match=r"folder of case 1\.tiff"):
        predict(slide_path, slide_path.parent, overwrite=True)
    mine = tmp_path / "case 1.xml"
    mine.write_text("drawn by hand")
    with pytest.raises(OutputError, match="no prediction of wsiseg"):
        predict(slide_path, tmp_path)
    assert mine.read_text() == "drawn by hand"


def test_a_file_of_the_user_is_told_from_one_of_an_earlier_prediction(slide_path, tmp_path):
    """ASAP saves what is drawn under the very name that predict would take."""
    predict(slide_path, tmp_path, formats=("imagescope",))
    predict(slide_path, tmp_path, formats=("qupath",))
    mine = tmp_path / "case 1.xml"
    mine.write_text("drawn by hand")
    with pytest.raises(OutputError, match=r"case 1\.xml exists and is no prediction of wsiseg"):
        predict(slide_path, tmp_path)
    assert mine.read_text() == "drawn by hand"
    assert not predict(slide_path, tmp_path, formats=("imagescope", "qupath")).skipped
    assert mine.read_text() == "drawn by hand"


@pytest.mark.parametrize("text", ["", "[]", "3", '{"not": "ours"}'])
def test_what_only_has_the_name_of_a_record_is_none(slide_path, tmp_path, text):
    (tmp_path / "case 1.prediction.json").write_text(text)
    with pytest.raises(OutputError, match="no prediction of wsiseg"):
        predict(slide_path, tmp_path)
    assert not predict(slide_path, tmp_path, overwrite=True).skipped


def test_no_resolution_is_an_error_that_names_the_option(tmp_path, label):
    path = write_slide(tmp_path / "plain.tiff", COLORS[label], mpp=None, compression="deflate")
    with pytest.raises(ResolutionError, match="--mpp-slide"):
        predict(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_foreground_class_works_as_well(tmp_path, slide_path):
    schema = ClassSchema((TissueClass("background", (0, 0, 0)), TissueClass("tuft", (255, 0, 0))))
    card = ModelCard(schema, 0.5, 64, "1" * 32)

    def foreground(images):
        inside = read_colors(images)[:, 1:].sum(axis=1)
        return np.stack([1 - inside, inside], axis=1)

    with Slide.open(slide_path) as slide:
        result = predict_slide(slide, foreground, card, out=tmp_path)
    assert result.counts["tuft"] > 1
    header = (tmp_path / "case 1.objects.csv").read_text().splitlines()[0]
    assert header.endswith("area_um2,perimeter_um,mean_probability")


def test_objects_outside_can_be_dropped(slide_path, tmp_path):
    result = predict(slide_path, tmp_path, outside="drop")
    assert "outside_their_container" not in result.counts


def test_simplified_outlines_neither_cross_nor_gap(done, slide_path, tmp_path):
    predict(slide_path, tmp_path, simplify_um=1.0)
    exact = read_annotations(done[0] / "case 1.geojson").annotations
    simple = read_annotations(tmp_path / "case 1.geojson").annotations
    assert [a.name for a in simple] == [a.name for a in exact]
    assert check_qupath(tmp_path / "case 1.geojson") == []
    vertices = [sum(shapely.get_num_coordinates([a.polygon for a in each])) for each in (exact, simple)]
    assert vertices[1] < vertices[0] / 2
    for one, other in zip(exact, simple, strict=True):
        assert one.polygon.hausdorff_distance(other.polygon) < 6
        assert one.measurements == other.measurements
    nuclei = [a.polygon for a in simple if a.class_name != "glomerulus"]
    pairs = shapely.STRtree(nuclei).query(nuclei, predicate="overlaps")
    assert pairs.size == 0


def test_all_four_formats(slide_path, tmp_path):
    result = predict(slide_path, tmp_path, formats=("qupath", "asap", "imagescope", "dsa"))
    areas = {}
    for path in result.files:
        if path.name.endswith((".geojson", ".xml", ".dsa.json")):
            areas[path.name] = sum(a.polygon.area for a in read_annotations(path).annotations)
    assert len(areas) == 4
    assert np.ptp(list(areas.values())) < 1
