"""The labelled share: nested, deterministic, and no class forgotten."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from trainstores import FakeStore, fake_store, make_config, make_tiles

from wsiseg.classes import ClassSchema, TissueClass
from wsiseg.errors import ConfigError, TrainingDataError
from wsiseg.train.data import make_pools
from wsiseg.train.split import Split
from wsiseg.train.subset import first_in_turn, shows

MIN_PIXELS = 32


def kept_labels(pixels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    count = max(1, round(share * len(pixels)))
    return first_in_turn(pixels, count, seed=seed, min_pixels=MIN_PIXELS)


def rare_pixels(tiles: int = 200, *, rare: int = 3) -> NDArray[np.int64]:
    """Background everywhere, a common class on a third of the tiles, a rare one on a few."""
    pixels = np.zeros((tiles, 4), dtype=np.int64)
    pixels[:, 0] = 1000
    pixels[::3, 1] = 500
    pixels[np.random.default_rng(5).permutation(tiles)[:rare], 2] = 40
    pixels[tiles // 2 :, 3] = 60
    return pixels


@given(st.integers(1, 60), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_a_smaller_share_lies_in_a_larger_one(tiles: int, one: float, other: float, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 60, (tiles, 3))
    small, large = (kept_labels(pixels, share, seed=seed) for share in sorted((one, other)))
    assert set(small.tolist()) <= set(large.tolist())
    assert len(small) == max(1, round(min(one, other) * tiles))
    assert np.array_equal(small, np.unique(small))
    again = kept_labels(pixels, min(one, other), seed=seed)
    assert np.array_equal(small, again)


@pytest.mark.parametrize("seed", range(10))
def test_rare_classes_are_not_left_to_luck(seed: int) -> None:
    """Three tiles in two hundred show the rare class: ten kept tiles hold more than one of them."""
    pixels = rare_pixels()
    kept = kept_labels(pixels, 0.05, seed=seed)
    assert (pixels[kept] > 0).any(axis=0).all()
    assert (pixels[kept, 2] > 0).sum() == 3
    # And the common ones are not pushed out: half of the tiles come as they fall.
    assert (pixels[kept, 3] > 0).sum() >= 2


def test_one_tile_that_shows_everything_is_taken_first() -> None:
    pixels = rare_pixels()
    pixels[17] = 100
    for seed in range(10):
        assert kept_labels(pixels, 0.001, seed=seed).tolist() == [17]


def test_a_class_too_small_for_the_quota_still_counts() -> None:
    pixels = np.array([[900, 0]] * 20 + [[900, 5]])
    assert 20 in kept_labels(pixels, 0.1, seed=0)


def test_seeds_differ() -> None:
    pixels = rare_pixels()
    one, other = (kept_labels(pixels, 0.1, seed=seed) for seed in (0, 1))
    assert not np.array_equal(one, other)


def test_hidden_labels_join_the_unlabelled_pool_and_validation_stays() -> None:
    stores = [
        fake_store("a", 8),
        fake_store("b", 8, seed=1),
        fake_store("c", 3, seed=2, labelled=False),
    ]
    split = Split((0, 2), (1,))
    whole = make_pools(stores, split, make_config().train)
    part = make_pools(stores, split, make_config(split={"labelled_share": 0.25}).train)
    assert (len(whole.labelled), len(whole.unlabelled)) == (8, 3)
    assert (len(part.labelled), len(part.unlabelled)) == (2, 9)
    assert np.array_equal(part.validation.places, whole.validation.places)
    both = np.concatenate([part.labelled.places, part.unlabelled.places])
    before = np.concatenate([whole.labelled.places, whole.unlabelled.places])
    assert sorted(both.tolist()) == sorted(before.tolist())
    assert part.unlabelled.places.tolist() == sorted(part.unlabelled.places.tolist())
    assert part.slides == {"labelled": ["a"], "unlabelled": ["a", "c"], "validation": ["b"]}


def test_named_tiles_keep_their_labels_besides() -> None:
    stores = [fake_store("a", 8), fake_store("b", 8, seed=1), fake_store("c", 3, seed=2, labelled=False)]
    split = Split((0, 2), (1,))
    few = make_pools(stores, split, make_config(split={"labelled_share": 0.25}).train)
    kept = {tuple(place) for place in few.labelled.places.tolist()}
    for tiles in [(0, 3), (0, 1, 2, 3, 4, 5, 6, 7)]:
        config = make_config(split={"labelled_share": 0.25, "also_labelled": {"a": tiles}})
        more = make_pools(stores, split, config.train)
        places = {tuple(place) for place in more.labelled.places.tolist()}
        assert places == kept | {(0, tile) for tile in tiles}
        assert len(more.labelled) + len(more.unlabelled) == 11


@pytest.mark.parametrize("named", [{"a": (8,)}, {"b": (0,)}, {"c": (0,)}, {"d": (0,)}])
def test_a_named_tile_that_cannot_be_learnt_from_is_refused(named: dict[str, tuple[int, ...]]) -> None:
    stores = [fake_store("a", 8), fake_store("b", 8, seed=1), fake_store("c", 3, seed=2, labelled=False)]
    config = make_config(split={"labelled_share": 0.5, "also_labelled": named})
    with pytest.raises(ConfigError, match=r"train\.split\.also_labelled: found [abcd]: \d"):
        make_pools(stores, Split((0, 2), (1,)), config.train)


def test_a_share_that_cannot_show_every_class_is_refused() -> None:
    schema = ClassSchema(tuple(TissueClass(name, (n, 0, 0)) for n, name in enumerate(("bg", "one", "two"))))
    images, labels = make_tiles(4, 32)
    labels[2:] *= 2
    store = FakeStore("apart", images, labels, schema)
    make_pools([store], Split((0,), ()), make_config(split={"labelled_share": 0.5}).train)
    with pytest.raises(TrainingDataError, match=r"no labelled training tile shows (one|two)\. Raise train"):
        make_pools([store], Split((0,), ()), make_config(split={"labelled_share": 0.25}).train)


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_a_share_lies_between_nothing_and_all(share: float) -> None:
    with pytest.raises(ConfigError, match=r"train\.split\.labelled_share"):
        make_config(split={"labelled_share": share})


def test_a_class_that_is_small_everywhere_is_shown_where_it_is_largest() -> None:
    pixels = np.array([[900, 20, 0], [900, 20, 40], [900, 5, 31], [900, 0, 0]])
    assert shows(pixels, MIN_PIXELS).tolist() == [
        [True, True, False],
        [True, True, True],
        [True, False, False],
        [True, False, False],
    ]
