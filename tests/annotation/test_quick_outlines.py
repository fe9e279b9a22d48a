"""Outlines built many at a time are those of the careful path, and everything else is left to it."""

import json
import math
from typing import Any

import orjson
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.annotation import qupath_reader
from wsiseg.annotation.intake import Intake
from wsiseg.annotation.quick_outlines import quick_outlines
from wsiseg.annotation.qupath_reader import read_geojson, read_geojson_lines

SQUARE = [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]
HOLE = [[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]

NUMBERS = st.one_of(
    st.integers(-3, 6),
    st.floats(-3, 6, width=16),
    st.sampled_from([math.nan, math.inf, 1e9, "2", "x", None, True, [1]]),
)
POSITIONS: st.SearchStrategy[list[Any]] = st.lists(NUMBERS, min_size=0, max_size=3)
PLAIN_POSITIONS: st.SearchStrategy[list[Any]] = st.lists(st.integers(0, 5), min_size=2, max_size=2)


@st.composite
def rings(draw: st.DrawFn) -> list[Any]:
    positions = PLAIN_POSITIONS if draw(st.integers(0, 4)) else POSITIONS
    ring = draw(st.lists(positions, max_size=7))
    return [*ring, ring[0]] if ring and draw(st.integers(0, 4)) else ring


GEOMETRIES = st.one_of(
    st.builds(
        lambda coordinates: {"type": "Polygon", "coordinates": coordinates}, st.lists(rings(), max_size=3)
    ),
    st.builds(lambda ring: {"type": "Polygon", "coordinates": [ring], "plane": {"z": 1}}, rings()),
    st.sampled_from(
        [None, {}, {"type": "Point", "coordinates": [1, 1]}, {"type": "Polygon", "coordinates": SQUARE}]
    ),
)
FEATURES = st.lists(
    st.one_of(
        st.builds(lambda geometry: {"type": "Feature", "geometry": geometry, "properties": {}}, GEOMETRIES),
        st.sampled_from([None, 3, "x", [], {}]),
    ),
    max_size=6,
)


def feature(*coordinates: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": list(coordinates)}}


@settings(deadline=None, max_examples=300)
@given(features=FEATURES, origin=st.sampled_from([(0, 0), (7.5, -2)]))
def test_a_file_reads_the_same_either_way(features: list[Any], origin: tuple[float, float]) -> None:
    quick, careful = Intake(origin), Intake(origin)
    read_geojson(features, quick)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qupath_reader, "quick_outlines", lambda values, _: [None] * len(values))
        read_geojson(features, careful)
    assert quick.report == careful.report
    assert len(quick.annotations) == len(careful.annotations)
    for ours, theirs in zip(quick.annotations, careful.annotations, strict=True):
        assert ours.polygon.wkb == theirs.polygon.wkb


PROPERTIES = st.sampled_from(
    [
        {},
        {"classification": {"name": "podocyte"}, "measurements": {"Area": 3.5}},
        {"classification": 7},
        {"objectType": "tmaCore"},
        {"name": '],[ "coordinates":[[[', "metadata": {"parent": "p", "wsiseg_origin": "1,2"}},
        {"childObjects": [{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 1]}}]},
        {"nucleus": {"coordinates": [SQUARE]}},
        {"objectType": "cell"},
    ]
)
KEY_ORDERS = [
    ("type", "id", "geometry", "properties"),
    ("type", "properties", "id", "geometry"),
    ("properties", "geometry", "type", "id"),
    ("type", "id", "geometry", "nucleusGeometry", "properties"),
    ("nucleusGeometry", "type", "geometry", "id", "properties"),
]
LINES = st.lists(
    st.one_of(
        st.builds(
            lambda geometry, nucleus, properties, key, order: {
                name: {
                    "type": "Feature",
                    "id": key,
                    "geometry": geometry,
                    "nucleusGeometry": nucleus,
                    "properties": properties,
                }[name]
                for name in order
            },
            GEOMETRIES,
            GEOMETRIES,
            PROPERTIES,
            st.sampled_from(["a", "b", 3, None]),
            st.sampled_from(KEY_ORDERS),
        ),
        st.builds(lambda geometry: {"geometry": geometry, "id": "first"}, GEOMETRIES),
        st.builds(lambda geometry: {"type": "Point", "id": "x", "geometry": geometry}, GEOMETRIES),
        st.sampled_from([None, 3, "x", [], {}, [feature(SQUARE)]]),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=400)
@given(values=LINES, origin=st.sampled_from([(0, 0), (7.5, -2)]), compact=st.booleans())
def test_lines_read_the_same_as_the_whole(
    values: list[Any], origin: tuple[float, float], *, compact: bool
) -> None:
    separators = (",", ":") if compact else None
    lines = [json.dumps(value, separators=separators).encode() for value in values]
    by_line, whole = Intake(origin), Intake(origin)
    try:
        read_geojson_lines(lines, by_line)
    except orjson.JSONDecodeError:
        assert any(word in line for line in lines for word in (b"NaN", b"Infinity"))
        return
    read_geojson(values, whole)
    assert by_line.report == whole.report
    assert by_line.annotations == whole.annotations


@pytest.mark.parametrize(
    "coordinates",
    [
        "[[[0,0],[4,0],[4,4],[0,4],[0,0]]]",
        "[[[0,0],[4,0],[4,4],[0,4],[0,0]],[[1,1],[2,1],[2,2],[1,2],[1,1]]]",
        "[[[0,0,0],[4,4,0],[4],[0,4],[0,0]]]",
        "[[[0],[0,4,0],[4,4],[0,4],[0,0]]]",
        "[[[0,0],[4,0],[4,4],[0,4],[0,0]],[1,1]]",
        "[[[[0,0],[4,0],[4,4],[0,4],[0,0]]]]",
        "[[[0,0],[4,0] ,[4,4],[0,4],[0,0]]]",
        "[[[1e0,0],[4.5,-1],[4,4E0],[1e0,0]]]",
    ],
)
def test_only_pairs_of_numbers_are_taken_from_the_text(coordinates: str) -> None:
    line = b'{"type":"Feature","id":"a","geometry":{"type":"Polygon","coordinates":%b},"properties":{}}'
    text = line % coordinates.encode()
    by_line, whole = Intake(), Intake()
    read_geojson_lines([text, text], by_line)
    read_geojson([json.loads(text)] * 2, whole)
    assert by_line.report == whole.report
    assert by_line.annotations == whole.annotations


def test_numbers_that_are_none_are_no_json() -> None:
    line = b'{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[0,0],[4-,0],[4,4],[0,0]]]}}'
    with pytest.raises(orjson.JSONDecodeError):
        read_geojson_lines([line], Intake())


def test_well_formed_outlines_are_built() -> None:
    (plain, holed) = quick_outlines([feature(SQUARE), feature(SQUARE, HOLE)], (10, 0))
    assert plain is not None
    assert plain.equals(shapely.box(10, 0, 14, 4))
    assert holed is not None
    assert holed.area == 15


@pytest.mark.parametrize(
    "bad",
    [
        feature(SQUARE[:-1]),
        feature(SQUARE, HOLE[:-1]),
        feature([*SQUARE[:2], *SQUARE[1:]]),
        feature([[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]),
        feature([[0, 0], [math.nan, 0], [4, 4], [0, 0]]),
        feature([[0, 0], [4, 0], [0, 0]]),
        feature(),
        "no feature",
    ],
)
def test_anything_else_is_left_to_the_careful_path(bad: Any) -> None:
    good = feature(SQUARE)
    first, middle, last = quick_outlines([good, bad, good], (0, 0))
    assert first is not None
    assert middle is None
    assert last is not None


def test_texts_of_two_digits_are_no_positions() -> None:
    assert quick_outlines([feature(["00", "90", "99", "00"])], (0, 0)) == [None]


def test_properties_before_the_geometry_are_those_of_their_own_feature() -> None:
    names = ["glomerulus", "podocyte", "glomerulus"]
    values = [
        {"properties": {"classification": {"name": name}}, "id": "x", **feature(SQUARE)} for name in names
    ]
    intake = Intake((0, 0))
    read_geojson_lines([json.dumps(value, separators=(",", ":")).encode() for value in values], intake)
    assert [annotation.class_name for annotation in intake.annotations] == names
