"""What a pixel can mean."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.classes import ClassSchema, TissueClass, default_schema, normalise
from wsiseg.errors import ConfigError

BACKGROUND = TissueClass("background", (0, 0, 0))


def schema(*classes: TissueClass) -> ClassSchema:
    return ClassSchema((BACKGROUND, *classes))


@st.composite
def schemas(draw: st.DrawFn) -> ClassSchema:
    """Schemas of 2 to 7 classes in any order, each inside an earlier-made one or in none."""
    count = draw(st.integers(1, 6))
    parents = [
        draw(st.one_of(st.none(), st.integers(0, index - 1))) if index else None for index in range(count)
    ]
    made = [
        TissueClass(
            f"class {index}",
            draw(st.tuples(*[st.integers(0, 255)] * 3)),
            inside=None if parent is None else f"class {parent}",
            aliases=(f"alias-{index}",) if draw(st.booleans()) else (),
            nucleus=draw(st.booleans()),
            min_area_um2=draw(st.floats(0, 1e6)),
        )
        for index, parent in enumerate(parents)
    ]
    return schema(*draw(st.permutations(made)))


@settings(deadline=None, max_examples=60)
@given(schemas())
def test_json_round_trip(made: ClassSchema) -> None:
    again = ClassSchema.from_json(made.to_json())
    assert again == made
    assert again.fingerprint == made.fingerprint


@settings(deadline=None, max_examples=60)
@given(schemas())
def test_containers_are_painted_before_what_they_contain(made: ClassSchema) -> None:
    order = made.paint_order()
    assert sorted(order) == sorted(c.name for c in made.foreground)
    for tissue_class in made.foreground:
        if tissue_class.inside is not None:
            assert order.index(tissue_class.inside) < order.index(tissue_class.name)


@settings(deadline=None, max_examples=60)
@given(schemas())
def test_the_whole_of_a_class_holds_the_whole_of_what_it_contains(made: ClassSchema) -> None:
    for tissue_class in made.foreground:
        assert made.index(tissue_class.name) in made.whole(tissue_class.name)
        if tissue_class.inside is not None:
            assert set(made.whole(tissue_class.name)) < set(made.whole(tissue_class.inside))


@given(st.sampled_from(["podocyte", "Podocyte", " PODOCYTES ", "non-podocyte", "Non Podocyte", "glom"]))
def test_viewer_names_are_found_however_they_are_spelt(name: str) -> None:
    found = default_schema().find(name)
    assert found is not None
    assert normalise(name).rstrip("s") in {normalise(found.name), "glom"}


def test_unknown_names_are_not_found() -> None:
    assert default_schema().find("tubule") is None
    with pytest.raises(KeyError, match="tubule"):
        default_schema().index("tubule")


def test_whole_mask_of_a_glomerulus_has_no_holes_for_its_nuclei() -> None:
    label = np.array([[0, 1, 2, 3, 255]], dtype=np.uint8)
    assert default_schema().whole_mask(label, "glomerulus").tolist() == [[False, True, True, True, False]]
    assert default_schema().whole_mask(label, "podocyte").tolist() == [[False, False, True, False, False]]


def test_palette_shows_each_label_in_its_colour() -> None:
    made = default_schema()
    assert made.palette.shape == (256, 3)
    assert tuple(made.palette[2]) == made["podocyte"].color
    assert not made.palette[200].any()


def test_fingerprint_is_about_meaning_not_colour() -> None:
    one = schema(TissueClass("a", (1, 2, 3)))
    assert one.fingerprint == schema(TissueClass("a", (9, 9, 9), nucleus=True)).fingerprint
    assert one.fingerprint != schema(TissueClass("b", (1, 2, 3))).fingerprint


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((), "1 classes, expected 2 to 255"),
        ((TissueClass("a", (0, 0, 0)), TissueClass("A", (0, 0, 0))), "'a' names both 'a' and 'A'"),
        ((TissueClass("a", (0, 0, 0), aliases=("Background",)),), "'background' names both"),
        ((TissueClass("a", (0, 0, 0), inside="b"),), "classes.a.inside: found 'b', expected one of"),
        ((TissueClass("a", (0, 0, 0), inside="background"),), "'background' cannot contain it"),
        ((TissueClass("a", (0, 0, 0), inside="a"),), "'a' cannot contain it"),
        (
            (TissueClass("a", (0, 0, 0), inside="b"), TissueClass("b", (0, 0, 0), inside="a")),
            "cannot contain it",
        ),
    ],
)
def test_impossible_schemas_are_refused(classes: tuple[TissueClass, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        schema(*classes)
