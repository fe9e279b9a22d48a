"""Hypothesis strategies for outlines, and small outlines that many tests use."""

import numpy as np
import shapely
from hypothesis import assume
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon

from wsiseg.annotation import Annotation
from wsiseg.annotation.repair import polygonal

SQUARE = shapely.box(10, 10, 20, 20)
RING = Polygon([(0, 0), (30, 0), (30, 30), (0, 30)], [[(10, 10), (10, 20), (20, 20), (20, 10)]])
TWO = MultiPolygon([shapely.box(0, 0, 5, 5), shapely.box(10, 0, 15, 5)])
SLIVER = Polygon([(0, 0), (100, 0.004), (200, 0)])
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)


@st.composite
def stars(draw, largest=300.0):
    """A polygon with corners in every direction around a centre; from specks to large ones."""
    corners = draw(st.integers(3, 9))
    radius = draw(st.sampled_from([0.003, 0.05, 1.0, 40.0, largest]))
    radii = [radius * draw(st.floats(0.05, 1)) for _ in range(corners)]
    x, y = draw(st.floats(0, 2000)), draw(st.floats(0, 2000))
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return Polygon(np.column_stack([x + radii * np.cos(angles), y + radii * np.sin(angles)]))


@st.composite
def outlines(draw):
    """A valid polygon or multipolygon: stars united and cut out of each other, so with holes and slivers."""
    shape = draw(stars())
    for other in draw(st.lists(stars(), max_size=4)):
        near = shapely.affinity.translate(
            other, shape.centroid.x - other.centroid.x, shape.centroid.y - other.centroid.y
        )
        shape = draw(st.sampled_from([shape.union(other), shape.difference(near), shape.difference(other)]))
        assume(not shape.is_empty)
    outline = polygonal(shape)
    assume(outline is not None and outline.is_valid)
    return outline


def annotations(**fields):
    """Lists of annotations with outlines of every kind."""
    one = st.builds(
        Annotation,
        polygon=outlines(),
        class_name=st.sampled_from([None, "glomerulus", "podocyte", "Tumor: Positive", "Région & <co>"]),
        name=st.none() | WORDS,
        measurements=st.dictionaries(WORDS, st.floats(), max_size=3),
        metadata=st.dictionaries(WORDS, WORDS, max_size=2),
        **fields,
    )
    return st.lists(one, max_size=4)


def total_area(objects):
    return sum(item.polygon.area for item in objects)


def total_length(objects):
    return sum(item.polygon.length for item in objects)
