"""Viewer names become classes of the schema, or a clear error before any slide is read."""

import shlex

import pytest
from outlines import RING, SQUARE

from wsiseg.annotation import Annotation, classify
from wsiseg.annotation.classmap import rename
from wsiseg.classes import ClassSchema, TissueClass, default_schema
from wsiseg.config import Config, override_config
from wsiseg.errors import UnknownClassError

SCHEMA = default_schema()
ONE = ClassSchema((TissueClass("background", (0, 0, 0)), TissueClass("nucleus", (1, 2, 3))))


def named(*names, layer=None):
    return [Annotation(SQUARE, name, layer=layer) for name in names]


def classes(annotations, schema=SCHEMA, **options):
    return [name for _, name in classify(annotations, schema, **options).objects]


def test_names_and_aliases_in_any_writing():
    assert classes(
        named("Glomerulus", "GLOM", "non-podocyte", "Other nucleus", "background", "podocytes*")
    ) == [
        "glomerulus",
        "glomerulus",
        "non_podocyte",
        "non_podocyte",
        "background",
        "podocyte",
    ]


def test_regions_and_ignored_areas_stand_apart():
    result = classify(named("Region*", "region 2", "Ignore*", "ignore", "glom"), SCHEMA)
    assert (len(result.regions), len(result.ignored), len(result.objects)) == (2, 2, 1)


def test_the_region_prefix_and_the_ignore_class_are_options():
    result = classify(named("ROI 1", "unsure"), SCHEMA, region_prefix="ROI", ignore_class="Unsure")
    assert (len(result.regions), len(result.ignored)) == (1, 1)
    with pytest.raises(UnknownClassError):
        classify(named("Region"), SCHEMA, region_prefix="", ignore_class="")


def test_a_mapping_names_classes_layers_regions_and_ignored():
    mapping = {"Tumor": "podocyte", "1": "glomerulus", "Box": "Region", "?": "Ignore*"}
    result = classify([*named("tumor"), *named(None, layer="1"), *named("box", "?")], SCHEMA, mapping=mapping)
    assert [name for _, name in result.objects] == ["podocyte", "glomerulus"]
    assert (len(result.regions), len(result.ignored)) == (1, 1)


def test_the_class_name_goes_before_the_layer():
    mapping = {"1": "glomerulus", "a": "podocyte"}
    assert classes(named("a", layer="1"), mapping=mapping) == ["podocyte"]


def test_a_layers_number_is_for_layers_without_a_known_name():
    """A mapping for a truth without layer names must not swap the classes of a prediction with names."""
    mapping = {"1": "podocyte", "2": "glomerulus", "3": "Ignore"}
    named_layers = [*named("glomerulus", layer="1"), *named("podocyte", layer="2")]
    assert classes(named_layers, mapping=mapping) == ["glomerulus", "podocyte"]
    others = [*named(None, "Layer", layer="1"), *named("Region 1", layer="2"), *named(None, layer="3")]
    result = classify(others, SCHEMA, mapping=mapping)
    assert [name for _, name in result.objects] == ["podocyte", "podocyte"]
    assert (len(result.regions), len(result.ignored)) == (1, 1)
    assert classes(named(None, layer="1"), ONE, mapping={"1": "background"}) == ["background"]


def test_a_cell_is_its_nucleus_where_the_class_is_one():
    cells = [Annotation(RING, name, nucleus=SQUARE) for name in ("podocyte", "glomerulus", "background")]
    objects = classify(cells, SCHEMA).objects
    assert [item.polygon for item, _ in objects] == [SQUARE, RING, RING]
    assert all(item.nucleus is None for item, _ in objects)


def test_the_mapping_goes_before_the_schema():
    assert classes(named("podocyte"), mapping={"podocyte": "glomerulus"}) == ["glomerulus"]


def test_with_one_foreground_class_no_name_is_needed():
    assert classes(named(None), ONE) == ["nucleus"]
    with pytest.raises(UnknownClassError, match=r"'\(no class\)' \(1 objects\)"):
        classify(named(None), SCHEMA)


def advised(annotations):
    """The mapping that the message offers, as a shell and the YAML reader understand it."""
    with pytest.raises(UnknownClassError) as caught:
        classify(annotations, SCHEMA)
    typed = str(caught.value).partition("--set ")[2].rpartition(", or in the configuration")[0]
    return override_config(Config(), shlex.split(typed)).annotations.mapping


@pytest.mark.parametrize("name", ["Tumor: Positive", "Glom: sclerosed, global", "it's", 'a "b"', None])
def test_what_the_message_offers_works_as_it_stands(name):
    assert classes(named(name), mapping=advised(named(name))) == ["glomerulus"]
    assert classes(named(None, layer="3"), mapping=advised(named(None, layer="3"))) == ["glomerulus"]


@pytest.mark.parametrize(
    "name", ["Region", "region*", "Region 3", "Region2", "region_of_interest", "Region: a"]
)
def test_regions_by_their_names(name):
    assert len(classify(named(name), SCHEMA).regions) == 1


def test_what_only_begins_like_a_region_is_none():
    with pytest.raises(UnknownClassError, match="regional sclerosis"):
        classify(named("regional sclerosis"), SCHEMA)


def test_an_unknown_class_is_named_with_near_matches():
    with pytest.raises(
        UnknownClassError, match=r"'glomerolus' \(2 objects\).*Did you mean 'glomerulus'"
    ) as caught:
        classify(named("glomerolus", "glomerolus", "podocyte"), SCHEMA)
    assert caught.value.exit_code == 2


def test_many_unknown_classes_are_shortened():
    with pytest.raises(UnknownClassError, match="and 3 more"):
        classify(named(*(f"class {number}" for number in range(8))), SCHEMA)


def test_a_mapping_to_nowhere_is_an_error_even_unused():
    with pytest.raises(UnknownClassError, match=r"'a' is mapped to 'podocite'.*'podocyte'"):
        classify([], SCHEMA, mapping={"a": "podocite"})


def test_rename_keeps_the_rest_and_names_what_is_unused():
    renamed, unused = rename([*named("a", "b"), *named(None, layer="7")], {"A": "x", "7": "y", "zzz": "w"})
    assert [item.class_name for item in renamed] == ["x", "b", "y"]
    assert unused == ["zzz"]
