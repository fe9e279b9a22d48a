"""Counting by blocks gives what counting all at once gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import box

from wsiseg.classes import default_schema
from wsiseg.evaluate import pixels
from wsiseg.evaluate.inputs import Side
from wsiseg.evaluate.pixels import CONFUSED, INVENTED, MISSED, RIGHT, TissueMask, count_pixels
from wsiseg.evaluate.places import ERROR_COLORS, error_map, worst_places
from wsiseg.geometry import Box, GridFrame
from wsiseg.metrics import confusion
from wsiseg.progress import NullProgress

CLASSES = 4
FRAME = GridFrame(size_l0=(90, 60), downsample=(1.5, 1.5), mpp=16.0)  # cells of 16 grid pixels


class ArraySource:
    """Labels from an array, background off it."""

    def __init__(self, label: np.ndarray) -> None:
        self._label = label

    def paint(self, box_gr: Box) -> np.ndarray:
        return self._label[box_gr.slices()].copy()

    def touching(self, boxes_gr) -> np.ndarray:
        return np.array([self.paint(box_gr).any() for box_gr in boxes_gr])


def side(label: np.ndarray, regions=()) -> Side:
    return Side(ArraySource(label), {}, list(regions), [])


def count(truth: np.ndarray, prediction: np.ndarray, tissue: np.ndarray, regions=()):
    return count_pixels(
        side(truth, regions),
        side(prediction),
        tissue,
        FRAME,
        CLASSES,
        progress=NullProgress(),
        name="a",
    )


@st.composite
def labels(draw: st.DrawFn, values=(0, 0, 1, 2, 3)) -> np.ndarray:
    """A few rectangles on the grid of FRAME."""
    width, height = FRAME.size_gr
    label = np.zeros((height, width), dtype=np.uint8)
    for _ in range(draw(st.integers(0, 4))):
        x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        label[y : y + draw(st.integers(1, 30)), x : x + draw(st.integers(1, 30))] = draw(
            st.sampled_from(values)
        )
    return label


@settings(deadline=None, max_examples=40)
@given(labels(values=(0, 1, 2, 3, 255)), labels(), st.booleans(), st.booleans())
def test_blocks_add_up_to_the_whole(truth, prediction, with_tissue, with_region) -> None:
    tissue = np.zeros((12, 18), dtype=bool)
    tissue[3:9, 2:14] = with_tissue
    region = box(15, 15, 60, 45)
    counts = count(truth, prediction, tissue, [region] if with_region else [])
    counted = TissueMask(tissue, FRAME).paint(FRAME.box_gr) | (truth > 0) | (prediction > 0)
    if with_region:
        inside = np.zeros_like(counted)
        inside[10:30, 10:40] = True
        counted &= inside
    expected = confusion(np.where(counted, truth, 255).astype(np.uint8), prediction, CLASSES)
    np.testing.assert_array_equal(counts.matrix, expected)
    foreground = expected.sum() - expected[0, 0]
    assert counts.errors.sum() == foreground
    assert counts.errors[RIGHT].sum() == np.trace(expected) - expected[0, 0]
    assert counts.errors[MISSED].sum() == expected[1:, 0].sum()
    assert counts.errors[INVENTED].sum() == expected[0, 1:].sum()


@settings(deadline=None, max_examples=15)
@given(labels(), labels(), st.sampled_from([16, 32, 48]))
def test_the_size_of_a_block_does_not_matter(truth, prediction, block) -> None:
    tissue = np.ones((5, 7), dtype=bool)
    whole = count(truth, prediction, tissue)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, "_BLOCK_PX", block)
        parts = count(truth, prediction, tissue)
    assert whole.cells.keys() == parts.cells.keys()
    np.testing.assert_array_equal(whole.matrix, parts.matrix)
    np.testing.assert_array_equal(whole.errors, parts.errors)


def test_tissue_is_looked_up_at_pixel_centres() -> None:
    mask = np.zeros((2, 3), dtype=bool)
    mask[1, 2] = True
    frame = GridFrame(size_l0=(30, 20), downsample=(1.0, 1.0), mpp=1.0)
    tissue = TissueMask(mask, frame).paint(frame.box_gr)
    expected = np.zeros((20, 30), dtype=bool)
    expected[10:, 20:] = True
    np.testing.assert_array_equal(tissue, expected)


def test_the_worst_cell_comes_first_and_is_named() -> None:
    truth = np.zeros(FRAME.size_gr[::-1], dtype=np.uint8)
    prediction = truth.copy()
    truth[0:4, 0:4] = 2
    prediction[20:30, 20:30] = 1
    counts = count(truth, prediction, np.ones((5, 7), dtype=bool))
    worst = worst_places(counts, FRAME, default_schema())
    assert [(place.truth, place.prediction) for place in worst] == [
        ("background", "glomerulus"),
        ("podocyte", "background"),
    ]
    assert worst[0].box_l0 == Box(24, 24, 48, 48)
    assert worst[0].wrong_um2 == 100 * 16.0**2
    assert worst[1].share == pytest.approx(16 / 256)


def test_the_error_map_shows_each_kind_in_its_colour() -> None:
    thumbnail = np.full((1, 5, 3), 200, dtype=np.uint8)
    errors = np.zeros((4, 1, 5), dtype=np.float32)
    for column, kind in enumerate((RIGHT, MISSED, INVENTED, CONFUSED)):
        errors[kind, 0, column] = 9
    picture = error_map(thumbnail, errors)
    for column, kind in enumerate((RIGHT, MISSED, INVENTED, CONFUSED)):
        assert np.abs(picture[0, column].astype(int) - ERROR_COLORS[kind][1]).max() < 40
    assert picture[0, 4, 0] == picture[0, 4, 1] == picture[0, 4, 2] > 200
