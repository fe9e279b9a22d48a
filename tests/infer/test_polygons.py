"""Objects of a label mask: containers whole, small ones out, nothing hollow."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import shapely

from wsiseg.classes import ClassSchema, TissueClass
from wsiseg.containers import without_hollow
from wsiseg.geometry import Box
from wsiseg.infer import polygons as module
from wsiseg.infer.objects import drop_outside
from wsiseg.infer.outlines import simplify
from wsiseg.infer.polygons import bands, drop_hollow, parents, trace_objects
from wsiseg.infer.splitting import split, split_touching
from wsiseg.progress import NullProgress
from wsiseg.tilestore import MaskStore
from wsiseg.trace import trace_mask

SCHEMA = ClassSchema(
    (
        TissueClass("background", (0, 0, 0)),
        TissueClass("tuft", (9, 9, 9), min_area_um2=20),
        TissueClass("nucleus", (8, 8, 8), inside="tuft", nucleus=True, min_area_um2=4),
    )
)


@pytest.fixture
def traced(polygon_file):
    """Traces a label map as if it were the mask of a slide."""
    return partial(_traced, polygon_file)


def _traced(file, label, tmp_path):
    store = MaskStore.create(tmp_path / "label.zarr", label.shape[::-1])
    store.write(Box(0, 0, *label.shape[::-1]), label)
    return trace_objects(store, SCHEMA, 1.0, NullProgress(), file)


@pytest.fixture
def label():
    label = np.zeros((60, 80), np.uint8)
    label[10:40, 10:40] = 1
    label[20:25, 20:25] = 2
    label[12:14, 12:14] = 0
    label[30:36, 30:36] = 0
    label[50:56, 60:66] = 2
    label[2, 2] = 1
    label[5, 70] = 2
    return label


def test_containers_are_whole_and_small_things_left_out(traced, label, tmp_path):
    found = traced(label, tmp_path)
    assert list(found) == ["tuft", "nucleus"]
    # 36 pixels of a hole stay; 4 are filled; the nucleus is part of its tuft.
    assert found["tuft"].map(shapely.area).tolist() == [30 * 30 - 36, 36]
    assert found["nucleus"].map(shapely.area).tolist() == [25, 36]


def test_a_lone_nucleus_makes_no_container(traced, label, tmp_path):
    found = drop_hollow(traced(label, tmp_path), SCHEMA)
    assert found["tuft"].map(shapely.area).tolist() == [30 * 30 - 36]
    assert len(found["nucleus"]) == 2


def test_what_lies_outside_has_no_parent_and_can_be_dropped(traced, label, tmp_path):
    found = drop_hollow(traced(label, tmp_path), SCHEMA)
    assert parents(found, ["tuft", "nucleus"], SCHEMA).tolist() == [-1, 0, -1]
    assert len(drop_outside(found, SCHEMA)["nucleus"]) == 1


def test_bands_of_any_height_give_the_same(traced, label, tmp_path, monkeypatch):
    whole = traced(label, tmp_path / "a")
    monkeypatch.setattr(
        module, "bands", lambda size: [Box(0, y, 80, min(y + 7, 60)) for y in range(0, 60, 7)]
    )
    parts = traced(label, tmp_path / "b")
    assert {k: [p.wkb for p in v.read()] for k, v in whole.items()} == {
        k: [p.wkb for p in v.read()] for k, v in parts.items()
    }


@pytest.mark.parametrize("size", [(1, 1), (100, 5000), (60_000, 40_000), (500_000, 10)])
def test_bands_cover_and_are_bounded(size):
    boxes = bands(size)
    assert boxes[0].y0 == 0
    assert boxes[-1].y1 == size[1]
    assert all(a.y1 == b.y0 for a, b in pairwise(boxes))
    assert max(box.area for box in boxes) <= max(1 << 25, 128 * size[0])


def two_discs(distance):
    y, x = np.mgrid[:40, :60]
    return (np.hypot(x - 20, y - 20) < 10) | (np.hypot(x - 20 - distance, y - 20) < 9)


def test_touching_nuclei_are_cut_and_cover_the_same_pixels():
    (joined,) = trace_mask(two_discs(16))
    pieces = split(joined, min_area=10, neck=1.0)
    assert len(pieces) == 2
    assert shapely.area(pieces).sum() == joined.area
    assert shapely.union_all(pieces).equals(joined)


@pytest.mark.parametrize("distance", [0, 5])
def test_one_nucleus_stays_one(distance):
    (one,) = trace_mask(two_discs(distance))
    assert split(one, min_area=10, neck=1.0).tolist() == [one]


def test_no_piece_below_the_smallest_area():
    (joined,) = trace_mask(two_discs(16))
    assert len(split(joined, min_area=300, neck=1.0)) == 1


def test_a_bump_does_not_keep_two_nuclei_together():
    """A piece that is too small stays with its neighbour; the cut between the others is made."""
    y, x = np.mgrid[:60, :80] + 0.5
    discs = ((25, 11), (46, 11), (11.5, 2.9))
    mask = np.logical_or.reduce([np.hypot(x - centre, y - 30) <= radius for centre, radius in discs])
    (joined,) = trace_mask(mask)
    assert len(split(joined, min_area=1, neck=0.8)) == 3
    pieces = split(joined, min_area=32, neck=0.8)
    assert len(pieces) == 2
    assert shapely.union_all(pieces).equals(joined)
    assert shapely.area(pieces).min() > 300


def test_splitting_touches_nuclei_only_and_keeps_the_order(polygon_file):
    objects = {name: polygon_file.append(trace_mask(two_discs(18))) for name in ("tuft", "nucleus")}
    result = split_touching(objects, SCHEMA, 1.0, NullProgress())
    assert len(result["tuft"]) == 1
    assert len(result["nucleus"]) == 2
    tops = [tuple(reversed(polygon.bounds[:2])) for polygon in result["nucleus"].read()]
    assert tops == sorted(tops)


def test_simplified_neighbours_fit_together(polygon_file):
    rng = np.random.default_rng(0)
    label = np.zeros((120, 160), np.uint8)
    y, x = np.mgrid[:120, :160]
    label[np.hypot(x - 80, y - 60) < 50 + rng.random(label.shape)] = 1
    label[np.hypot(x - 75, y - 60) < 12] = 2
    label[np.hypot(x - 126, y - 60) < 12] = 2
    objects = {
        "tuft": polygon_file.append(trace_mask(label > 0)),
        "nucleus": polygon_file.append(trace_mask(label == 2)),
    }
    result = simplify(objects, SCHEMA, 2.0, NullProgress())
    (tuft,), nuclei = result["tuft"].read(), result["nucleus"].read()
    assert len(nuclei) == 2
    assert shapely.get_num_coordinates(tuft) < shapely.get_num_coordinates(objects["tuft"].read()[0]) / 3
    assert all(shapely.difference(nucleus, tuft).area < 1e-9 for nucleus in nuclei)
    assert abs(tuft.area / objects["tuft"].read()[0].area - 1) < 0.02


def test_in_memory_the_same_are_hollow(traced, label, tmp_path):
    label[45:58, 2:12] = 2  # half of what it makes is nuclei, a quarter would do
    label[45:58, 12:20] = 1
    outlines = traced(label, tmp_path)
    kept = without_hollow({name: found.read() for name, found in outlines.items()}, SCHEMA)
    for name, found in drop_hollow(outlines, SCHEMA).items():
        assert [each.wkt for each in kept[name]] == [each.wkt for each in found.read()]
    assert len(kept["tuft"]) == 2
