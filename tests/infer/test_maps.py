"""Maps, folders and zipped files of a prediction: kept, the same after a kill, moved into place."""

import csv
import gzip
import json
import shutil

import numpy as np
import pytest
from interruptions import Interrupt, interrupt_after
from painted import MODEL, SIZE, contents, read_colors

from wsiseg.annotation import check_qupath, find_beside, read_annotations
from wsiseg.config import PredictConfig
from wsiseg.errors import ConfigError
from wsiseg.geometry import Box
from wsiseg.infer import export, publish
from wsiseg.infer.naming import work_path
from wsiseg.infer.pipeline import Settings, predict_slide
from wsiseg.slide import Slide
from wsiseg.tilestore import MaskStore


def predict(
    path, out, *, predictor=read_colors, formats=("qupath", "asap"), keep=(), overwrite=False, **config
):
    settings = Settings(PredictConfig(**config), formats=formats, keep=keep, overwrite=overwrite)
    with Slide.open(path) as slide:
        return predict_slide(slide, predictor, MODEL, out=out, settings=settings)


def judged(images):
    """``read_colors`` and a confidence that is 0.6 on nuclei and 0.8 elsewhere."""
    probabilities = read_colors(images)
    confidence = np.where(probabilities[:, 2:].max(axis=1) > 0.5, 0.6, 0.8).astype(np.float32)
    return np.concatenate([probabilities, confidence[:, None]], axis=1)


@pytest.mark.parametrize("stitching", ["keep", "window"])
def test_confidence_is_a_measurement_and_a_map(done, slide_path, tmp_path, label, stitching):
    predict(
        slide_path,
        tmp_path,
        predictor=judged,
        stitching=stitching,
        confidence=True,
        keep=("confidence",),
    )
    with (tmp_path / "case 1.objects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        expected = pytest.approx(0.6, abs=1 / 255)
        if row["class"] == "glomerulus":
            expected = pytest.approx(0.8, abs=0.05)
        assert float(row["mean_confidence"]) == expected
    features = json.loads((tmp_path / "case 1.geojson").read_text())["features"]
    assert all("mean_confidence" in f["properties"]["measurements"] for f in features)
    kept = MaskStore.open(tmp_path / "case 1.confidence.zarr")
    whole = kept.read(Box(0, 0, *SIZE))
    assert (whole[label > 1] == round(0.6 * 255)).all()
    assert (whole[label == 1] == round(0.8 * 255)).all()
    assert kept.attributes["values"] == "confidence of the discriminator / 255"
    assert (
        read_annotations(tmp_path / "case 1.geojson")
        .annotations[0]
        .polygon.equals(read_annotations(done[0] / "case 1.geojson").annotations[0].polygon)
    )


def test_confidence_without_its_map(slide_path, tmp_path):
    result = predict(slide_path, tmp_path, predictor=judged, confidence=True)
    assert not list(tmp_path.glob("*.zarr"))
    assert "mean_confidence" in (tmp_path / "case 1.objects.csv").read_text().splitlines()[0]
    assert not result.skipped
    with pytest.raises(ConfigError, match="map of confidence"):
        predict(slide_path, tmp_path, keep=("confidence",))


def test_probabilities_can_be_kept(slide_path, tmp_path, label):
    result = predict(slide_path, tmp_path, keep=("probabilities",))
    path = tmp_path / "case 1.probabilities.zarr"
    assert path in result.files
    kept = MaskStore.open(path)
    whole = kept.read(Box(0, 0, *SIZE))
    assert whole.dtype == np.uint8
    assert whole.shape == (4, SIZE[1], SIZE[0])
    assert np.array_equal(whole.argmax(axis=0)[label > 0], label[label > 0])
    assert np.abs(whole.astype(int).sum(axis=0) - 255).max() <= 2
    about = kept.attributes
    assert [c["name"] for c in about["classes"]] == list(MODEL.schema.names)
    assert about["mpp"] == 0.5
    assert (about["origin_l0"], about["downsample"]) == ([0, 0], [1.0, 1.0])
    assert predict(slide_path, tmp_path, keep=("probabilities",)).skipped
    shutil.rmtree(path)
    before = contents(tmp_path)
    assert not predict(slide_path, tmp_path, keep=("probabilities",)).skipped
    assert contents(tmp_path) == before
    assert np.array_equal(MaskStore.open(path).read(Box(0, 0, *SIZE)), whole)


def tree(out):
    """All files of a folder with their bytes, those in folders as well."""
    return {
        str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()
    }


def test_maps_are_the_same_bytes_after_a_kill(slide_path, tmp_path):
    options = {"keep": ("probabilities", "confidence"), "confidence": True, "formats": ("ome-zarr", "qupath")}
    predict(slide_path, tmp_path / "whole", predictor=judged, **options)

    with pytest.raises(Interrupt):
        predict(slide_path, tmp_path / "cut", predictor=interrupt_after(12, judged), **options)
    assert (work_path(tmp_path / "cut", "case 1") / "journal").stat().st_size > 0
    predict(slide_path, tmp_path / "cut", predictor=judged, **options)
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")


def test_moving_into_place_goes_on_where_it_stopped(slide_path, tmp_path, monkeypatch):
    """Nothing is predicted again, and folders replace folders."""
    options = {"keep": ("probabilities",), "formats": ("ome-zarr", "qupath")}
    predict(slide_path, tmp_path / "whole", **options)
    predict(slide_path, tmp_path / "cut", overlap_share=0.0, **options)

    def refuse(images):
        raise AssertionError("nothing is left to predict")

    move = publish._replace
    for moves in (0, 1, 3):
        monkeypatch.setattr(publish, "_replace", interrupt_after(moves, move))
        with pytest.raises(Interrupt):
            predict(slide_path, tmp_path / "cut", predictor=read_colors if moves == 0 else refuse, **options)
    monkeypatch.setattr(publish, "_replace", move)
    result = predict(slide_path, tmp_path / "cut", predictor=refuse, **options)
    assert not result.skipped
    assert result.counts["glomerulus"] > 0
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")


def test_a_large_geojson_is_zipped_and_only_one_of_the_two_is_there(slide_path, tmp_path, monkeypatch):
    plain = predict(slide_path, tmp_path)
    text = (tmp_path / "case 1.geojson").read_bytes()
    monkeypatch.setattr(export, "ZIP_ABOVE", len(text) - 1)
    zipped = predict(slide_path, tmp_path, overwrite=True)
    assert not (tmp_path / "case 1.geojson").exists()
    packed = tmp_path / "case 1.geojson.gz"
    assert packed in zipped.files
    assert gzip.decompress(packed.read_bytes()) == text
    assert check_qupath(packed) == []
    assert len(read_annotations(packed).annotations) == sum(
        plain.counts[name] for name in MODEL.schema.names[1:]
    )
    assert find_beside(tmp_path / "case 1.svs") == packed
    assert predict(slide_path, tmp_path).skipped
    monkeypatch.undo()
    predict(slide_path, tmp_path, overwrite=True)
    assert not packed.exists()


def test_two_predictors_give_the_bytes_of_one(slide_path, tmp_path):
    with Slide.open(slide_path) as slide:
        for name, predictors in (("one", read_colors), ("two", [read_colors, read_colors])):
            predict_slide(slide, predictors, MODEL, out=tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_what_a_kill_left_of_a_chunk_is_not_published(slide_path, tmp_path):
    with pytest.raises(Interrupt):
        predict(slide_path, tmp_path, predictor=interrupt_after(10, read_colors), keep=("probabilities",))
    kept = work_path(tmp_path, "case 1") / "files" / "case 1.probabilities.zarr"
    # As zarr names a chunk that it has not renamed yet.
    torn = kept / "c" / "0" / "0" / "0.51e9b170b4534204b74e798b49bca59a.partial"
    torn.parent.mkdir(parents=True, exist_ok=True)
    torn.write_bytes(b"half a chunk")
    predict(slide_path, tmp_path, keep=("probabilities",))
    assert (tmp_path / kept.name / "zarr.json").is_file()
    assert not list(tmp_path.rglob("*.partial"))
