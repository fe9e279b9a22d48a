"""Stores without the classes that nobody has annotated, and runs on them."""

from pathlib import Path

import numpy as np
import pytest
from trainstores import TINY, FakeStore, make_tiles, write_tiles

from wsiseg.classes import IGNORE_INDEX, ClassSchema, TissueClass, default_schema
from wsiseg.config import Config, load_config, parse_config
from wsiseg.config.yaml_io import save_config
from wsiseg.errors import TrainingDataError
from wsiseg.train.prepare import prepare
from wsiseg.train.shown import NarrowStore, shown_schema

SCHEMA = ClassSchema(
    (
        TissueClass("background", (255, 255, 255)),
        TissueClass("outer", (1, 1, 1)),
        TissueClass("middle", (2, 2, 2), inside="outer"),
        TissueClass("inner", (3, 3, 3), inside="middle"),
    )
)


def store(name: str, *labels: int) -> FakeStore:
    """One tile a label, half of it background."""
    truth = np.zeros((len(labels), 16, 16), dtype=np.uint8)
    truth[:, 8:] = np.array(labels, dtype=np.uint8)[:, None, None]
    return FakeStore(name, make_tiles(len(labels), 16)[0], truth, schema=SCHEMA)


def test_what_no_tile_shows_is_left_out_and_content_keeps_its_container() -> None:
    found = shown_schema([store("a", 1, 0), store("b", 3)])
    assert [(one.name, one.inside) for one in found] == [
        ("background", None),
        ("outer", None),
        ("inner", "outer"),
    ]
    assert shown_schema([store("a", 3)])["inner"].inside is None
    assert shown_schema([store("a", 1, 2, 3)]) == SCHEMA


def test_where_nothing_is_shown_nothing_is_left_out() -> None:
    assert shown_schema([store("a", 0, 0)]) == SCHEMA
    unlabelled = store("a", IGNORE_INDEX)
    unlabelled.truth[:] = IGNORE_INDEX
    unlabelled.__post_init__()
    assert shown_schema([unlabelled]) == SCHEMA


def test_a_narrow_store_counts_and_labels_by_its_own_classes() -> None:
    whole = store("a", 3, 0, 1, IGNORE_INDEX)
    narrow = NarrowStore(whole, shown_schema([whole]))
    assert narrow.schema.names == ("background", "outer", "inner")
    assert (narrow.labels([0, 1, 2, 3])[:, 8, 0]).tolist() == [2, 0, 1, IGNORE_INDEX]
    assert (narrow.labels([3, 0])[:, 0, 0]).tolist() == [0, 0]
    assert narrow.class_pixels.tolist() == [[128, 0, 128], [256, 0, 0], [128, 128, 0], [128, 0, 0]]
    assert np.array_equal(narrow.images([1]), whole.images([1]))
    assert (narrow.name, narrow.key, len(narrow)) == (whole.name, whole.key, 4)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Two stores of the default classes whose discs are glomeruli; nobody outlined a nucleus."""
    folder = tmp_path / "tiles"
    for seed, name in enumerate(("a", "b")):
        write_tiles(folder, name, seed=seed, schema=default_schema())
    return folder


def asked(**more: object) -> Config:
    return parse_config({"train": {"segmentor": TINY}, **more}, source="test")


def test_a_configuration_without_classes_learns_those_that_are_shown(tiles: Path, tmp_path: Path) -> None:
    prepared = prepare(asked(), tiles, "cpu", None, all_classes=False)
    assert prepared.config.schema_.names == ("background", "glomerulus")
    assert prepared.notices[0] == (
        "no tile is annotated with podocyte or non_podocyte: background and glomerulus are learnt alone"
    )
    # A run that goes on knows its classes, and finds them again.
    save_config(prepared.config, tmp_path / "config.yaml")
    again = prepare(load_config(tmp_path / "config.yaml"), tiles, "cpu", None)
    assert again.config == prepared.config
    assert len(again.pools.labelled) == len(prepared.pools.labelled)


def test_asked_for_all_classes_a_missing_one_is_an_error(tiles: Path) -> None:
    with pytest.raises(TrainingDataError, match="no labelled training tile shows podocyte, non_podocyte"):
        prepare(asked(), tiles, "cpu", None)
    named = {"classes": default_schema().to_json()}
    with pytest.raises(TrainingDataError, match="no labelled training tile shows podocyte, non_podocyte"):
        prepare(asked(**named), tiles, "cpu", None, all_classes=False)
