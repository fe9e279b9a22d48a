"""Objects of a test slide, put together from its tiles."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from studycells import make_study, write_cells
from studymodels import model_of_discs
from trainstores import make_config, write_tiles

from wsiseg.classes import IGNORE_INDEX, ClassSchema, TissueClass
from wsiseg.objects import ObjectCounts
from wsiseg.progress import NullProgress
from wsiseg.report.study import markdown
from wsiseg.study import slidemap
from wsiseg.study.examine import examine
from wsiseg.study.run import report_study
from wsiseg.study.slidemap import SlideMap
from wsiseg.tilestore import TileStore

SCHEMA = ClassSchema(
    (
        TissueClass("background", (255, 255, 255)),
        TissueClass("area", (200, 0, 0), min_area_um2=4.0),
        TissueClass("nucleus", (0, 0, 200), nucleus=True),
    )
)


@pytest.fixture
def store(tmp_path: Path) -> TileStore:
    """Four tiles of 32 px in a row, at 0.5 um/px."""
    return TileStore.open(write_tiles(tmp_path, "a", count=4, schema=SCHEMA))


def count(
    store: TileStore, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]
) -> dict[str, ObjectCounts]:
    """Counts of two maps ``(32, 128)``, cut into tiles and put together again."""
    whole = SlideMap(store)
    for tile in range(4):
        columns = slice(32 * tile, 32 * tile + 32)
        whole.put(tile, truth[:, columns], predicted[:, columns])
    return whole.count()


def empty() -> NDArray[np.uint8]:
    return np.zeros((32, 128), dtype=np.uint8)


def test_an_object_across_tiles_is_one(store: TileStore) -> None:
    truth = empty()
    truth[4:20, 20:70] = 1
    predicted = np.roll(truth, 3, axis=1)
    assert count(store, truth, predicted)["area"] == ObjectCounts(1, 1, 1)
    assert count(store, truth, np.roll(truth, 30, axis=1))["area"] == ObjectCounts(1, 1, 0)


def test_nuclei_match_by_their_centres_within_three_micrometres(store: TileStore) -> None:
    truth, predicted = empty(), empty()
    truth[10:14, 10:14] = truth[10:14, 50:54] = 2
    predicted[10:14, 15:19] = predicted[10:14, 57:61] = 2
    assert count(store, truth, predicted)["nucleus"] == ObjectCounts(2, 2, 1)


def test_what_lies_where_nothing_is_known_does_not_count(store: TileStore) -> None:
    truth, predicted = empty(), empty()
    truth[:, 64:] = IGNORE_INDEX
    predicted[4:14, 40:60] = predicted[4:14, 80:90] = 1
    assert count(store, truth, predicted)["area"] == ObjectCounts(0, 1, 0)


@pytest.mark.parametrize("class_index", [1, 2])
def test_what_is_right_is_right_at_the_border_of_what_is_known(store: TileStore, class_index: int) -> None:
    predicted = empty()
    predicted[4:14, 50:75] = class_index
    truth = predicted.copy()
    truth[:, 60:] = IGNORE_INDEX
    found = count(store, truth, predicted)["area" if class_index == 1 else "nucleus"]
    assert found == ObjectCounts(1, 1, 1)


def test_what_predict_would_leave_out_counts_on_neither_side(store: TileStore) -> None:
    truth, predicted = empty(), empty()
    predicted[0, 0:16] = predicted[10, 0:15] = 1
    assert count(store, truth, predicted)["area"] == ObjectCounts(0, 1, 0), "16 px are 4 um2"
    assert count(store, predicted, truth)["area"] == ObjectCounts(1, 0, 0)


def test_nuclei_outside_of_any_area_make_none(tmp_path: Path) -> None:
    classes = (*SCHEMA, TissueClass("inner", (0, 200, 0), inside="area", nucleus=True))
    schema = ClassSchema(classes)
    store = TileStore.open(write_tiles(tmp_path, "b", count=4, schema=schema))
    truth = empty()
    truth[4:24, 20:60] = 1
    truth[10:14, 30:34] = truth[10:14, 90:96] = 3
    found = count(store, truth, truth)
    assert found["area"] == ObjectCounts(1, 1, 1)
    assert found["inner"] == ObjectCounts(2, 2, 2)


def test_the_counts_reach_the_result(tmp_path: Path) -> None:
    store = TileStore.open(write_tiles(tmp_path, "a", count=5))
    (slide,) = examine(model_of_discs(make_config()), [store], progress=NullProgress())["slides"]
    truth = np.concatenate([*store.labels(range(5))], axis=1)
    discs = ndimage.label(truth)[1]
    assert slide["objects"] == {"disc": [discs, discs, discs]}
    assert discs > 1


def test_a_slide_that_is_too_large_is_not_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slidemap, "MOST_PIXELS", 100)
    store = TileStore.open(write_tiles(tmp_path, "a", count=5))
    (slide,) = examine(model_of_discs(make_config()), [store], progress=NullProgress())["slides"]
    assert slide["objects"] is None


def test_objects_stand_in_the_tables_where_every_result_has_them(tmp_path: Path) -> None:
    study = make_study()
    write_cells(tmp_path, study, {"A+": 0.9, "H": 0.9}, objects={"A+": [4, 6, 3]})
    table = report_study("s", study, tmp_path).table
    assert table["objects"] == {
        "A+": {"1/2": {"disc": {"precision": 0.5, "recall": 0.75, "f1": 0.6}}},
        "H": {},
    }
    assert "| A+ | 1/2 | 0.500 / 0.750 / 0.600 |" in markdown(table)
