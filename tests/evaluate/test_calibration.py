"""Calibration: the figures of known counts, and of probabilities that lie beside a prediction."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import SIZE, TRUTH

from wsiseg.calibration import BINS
from wsiseg.classes import IGNORE_INDEX, default_schema
from wsiseg.config import Config
from wsiseg.errors import AnnotationParseError
from wsiseg.evaluate import Case, evaluate, to_json
from wsiseg.evaluate.calibration import SUFFIX, CalibrationCounts, expected_error
from wsiseg.geometry import Box
from wsiseg.infer.naming import kept_suffix
from wsiseg.progress import NullProgress
from wsiseg.tilestore import MaskStore

NAMES = ("background", "glomerulus")


def test_probabilities_are_looked_for_where_predict_keeps_them():
    assert kept_suffix("probabilities") == SUFFIX


def test_probabilities_that_keep_their_word_have_no_error():
    pixels, right = np.zeros(256, np.int64), np.zeros(256, np.int64)
    pixels[[51, 204]] = 1000
    right[[51, 204]] = 200, 800
    assert expected_error(pixels, right) == pytest.approx(0)
    right[204] = 500
    assert expected_error(pixels, right) == pytest.approx(0.3 / 2)
    assert np.isnan(expected_error(np.zeros(256, np.int64), np.zeros(256, np.int64)))


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_error_is_that_of_the_definition(seed, classes):
    rng = np.random.default_rng(seed)
    probabilities = rng.integers(0, 256, (classes, 9, 13), dtype=np.uint8)
    truth = rng.choice([*range(classes), IGNORE_INDEX], (9, 13)).astype(np.uint8)
    counts = CalibrationCounts.empty(classes)
    counts.add(truth, probabilities)
    known = truth != IGNORE_INDEX
    confidence = probabilities.max(axis=0)[known] / 255
    right = (probabilities.argmax(axis=0) == truth)[known]
    bins = np.clip(np.floor(confidence * BINS + 1e-9), 0, BINS - 1)
    expected = sum(
        (bins == b).mean() * abs(right[bins == b].mean() - confidence[bins == b].mean())
        for b in np.unique(bins)
    )
    data = counts.to_json([str(index) for index in range(classes)])
    assert data["ece"] == pytest.approx(expected, abs=1e-9)
    assert data["pixels"] == known.sum() == sum(row["pixels"] for row in data["bins"])
    assert data["pixels"] == sum(row["pixels"] for row in data["classes"].values())
    assert data["accuracy"] == pytest.approx(right.mean())


def test_blocks_and_slides_add_up():
    rng = np.random.default_rng(0)
    probabilities = rng.integers(0, 256, (2, 20, 30), dtype=np.uint8)
    truth = rng.integers(0, 2, (20, 30), dtype=np.uint8)
    whole, left, right = (CalibrationCounts.empty(2) for _ in range(3))
    whole.add(truth, probabilities)
    left.add(truth[:, :11], probabilities[:, :, :11])
    right.add(truth[:, 11:], probabilities[:, :, 11:])
    assert (left + right).to_json(NAMES) == whole.to_json(NAMES)


def keep_probabilities(path, *, mpp=0.5, names=None, model="m", channels=4, size=SIZE, **attributes):
    """Kept probabilities: 0.8 for glomerulus in the left half, background in the right half, for sure."""
    schema = default_schema()
    classes = schema.to_json() if names is None else [{"name": name} for name in names]
    store = MaskStore.create(
        path,
        size,
        channels=channels,
        attributes={"classes": classes, "mpp": mpp, "model": model, **attributes},
    )
    half = np.zeros((channels, size[1], size[0]), np.uint8)
    half[:2, :, : size[0] // 2] = np.array([51, 204])[:, None, None]
    half[0, :, size[0] // 2 :] = 255
    store.write(Box(0, 0, *size), half)


def judge(slide, truth, prediction):
    return evaluate([Case(slide, truth, prediction)], Config(), progress=NullProgress())


def test_probabilities_beside_the_prediction_are_judged(slide, write, tmp_path):
    truth = write(TRUTH)
    prediction = write(TRUTH, "prediction.geojson")
    assert "calibration" not in to_json(judge(slide, truth, prediction))
    keep_probabilities(tmp_path / "prediction.probabilities.zarr")
    data = to_json(judge(slide, truth, prediction))["calibration"]
    counted = judge(slide, truth, prediction).scores.matrix.sum()
    assert data["pixels"] == counted
    assert set(data["classes"]) == {"background", "glomerulus"}
    assert data["classes"]["glomerulus"]["mean_probability"] == pytest.approx(0.8)
    assert data["classes"]["background"]["mean_probability"] == pytest.approx(1.0)
    assert [row["to"] for row in data["bins"]] == [pytest.approx(13 / 15, abs=1e-4), 1.0]
    assert json.dumps(data)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"mpp": 0.25}, "they are at 0.25 um/px, and compared is at 0.5"),
        ({"size": (90, 70)}, "they are of another grid: 90 x 70 px where the slide has 900 x 700"),
        ({"slide": {"name": "b.svs", "fingerprint": "other"}}, "they are of another slide, b.svs"),
        ({"names": ["background", "a", "b", "c"]}, "other classes"),
    ],
)
def test_probabilities_that_do_not_fit_are_left_out_and_named(slide, write, tmp_path, options, reason):
    keep_probabilities(tmp_path / "truth.probabilities.zarr", **options)
    truth = write(TRUTH)
    found = judge(slide, truth, truth)
    assert found.calibration is None
    assert any(reason in note for note in found.notes)


def test_probabilities_of_another_model_are_left_out(slide, write, tmp_path):
    keep_probabilities(tmp_path / "truth.probabilities.zarr", model="another")
    truth = write(TRUTH)
    model = {"classes": default_schema().to_json(), "mpp": 0.5, "fingerprint": "this one"}
    (tmp_path / "truth.prediction.json").write_text(json.dumps({"model": model}))
    found = judge(slide, truth, truth)
    assert found.calibration is None
    assert any("another model" in note for note in found.notes)


def test_probabilities_of_an_earlier_prediction_are_left_out(slide, write, tmp_path):
    """Predicted again with other settings and without them, the old ones still lie there."""
    keep_probabilities(tmp_path / "truth.probabilities.zarr")
    truth = write(TRUTH)
    model = {"classes": default_schema().to_json(), "mpp": 0.5, "fingerprint": "m"}
    files = ["truth.geojson", "truth.probabilities.zarr"]
    for named, calibrated in ((files, True), (files[:1], False)):
        (tmp_path / "truth.prediction.json").write_text(json.dumps({"model": model, "files": named}))
        found = judge(slide, truth, truth)
        assert (found.calibration is not None) is calibrated
        assert any("an earlier prediction" in note for note in found.notes) is not calibrated


def test_a_damaged_store_is_one_clear_error(slide, write, tmp_path):
    (tmp_path / "truth.probabilities.zarr").mkdir()
    truth = write(TRUTH)
    with pytest.raises(AnnotationParseError, match=r"truth\.probabilities\.zarr are no probabilities"):
        judge(slide, truth, truth)
