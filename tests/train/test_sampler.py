"""Sampling: quotas kept, every tile visited, a pure function of the batch's number."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from trainstores import make_config

from wsiseg.train.data import Pool, Pools, make_stream
from wsiseg.train.feed import batch_maker
from wsiseg.train.sampler import QuotaSampler, generator


def sampler(
    shows: NDArray[np.bool_], *, quota: float = 0.5, batch_size: int = 4, seed: int = 0
) -> QuotaSampler:
    return QuotaSampler(shows, batch_size=batch_size, quota=quota, seed=seed, stream="labelled")


def test_rare_classes_come_up_in_turn() -> None:
    shows = np.zeros((100, 4), dtype=bool)
    shows[:, 0] = True
    shows[[7, 40], 2] = True  # podocytes on two tiles of a hundred
    shows[::3, 1] = True
    drawn = [sampler(shows).draw(batch) for batch in range(20)]
    # Half of each batch by class, two classes occur: one tile with each in every batch.
    for positions in drawn:
        assert shows[positions[0], 1]
        assert shows[positions[1], 2]


@given(st.integers(1, 30), st.integers(2, 6), st.floats(0, 0.9), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_every_tile_comes_up_once_a_round(tiles: int, size: int, quota: float, seed: int) -> None:
    by_class = round(size * quota)
    rest = size - by_class
    shows = np.ones((tiles, 2), dtype=bool)
    source = sampler(shows, quota=quota, batch_size=size, seed=seed)
    drawn = np.concatenate([source.draw(batch)[by_class:] for batch in range(tiles)])
    assert len(drawn) == tiles * rest
    for round_ in range(rest):
        assert sorted(drawn[round_ * tiles : (round_ + 1) * tiles]) == list(range(tiles))


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_batch_depends_on_its_number_alone(number: int) -> None:
    shows = np.random.default_rng(0).random((20, 3)) < 0.3
    source = sampler(shows)
    before = source.draw(number)
    source.draw(number + 1)
    assert np.array_equal(source.draw(number), before)


def test_seeds_and_streams_are_independent() -> None:
    shows = np.zeros((50, 0), dtype=bool)
    one = sampler(shows)
    other_seed = sampler(shows, seed=1)
    other_stream = QuotaSampler(shows, 4, 0.5, 0, "unlabelled")
    assert not np.array_equal(one.draw(0), other_seed.draw(0))
    assert not np.array_equal(one.draw(0), other_stream.draw(0))


def test_the_order_of_a_round_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def count(seed: int, stream: str, *position: int) -> np.random.Generator:
        drawn.append(position[0])
        return generator(seed, stream, *position)

    monkeypatch.setattr("wsiseg.train.sampler.generator", count)
    source = sampler(np.zeros((6, 0), dtype=bool), seed=1234)
    positions = np.concatenate([source.draw(batch) for batch in range(4)])
    rounds = [generator(1234, "labelled/round", n).permutation(6) for n in range(3)]
    assert positions.tolist() == np.concatenate(rounds)[:16].tolist()
    assert drawn == [0, 1, 2]


def test_nobody_asks_which_classes_unlabelled_tiles_show(
    pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Pool, "class_pixels")
    stream = make_stream(pools.unlabelled, "u", make_config().train, torch.device("cpu"), labelled=False)
    assert len(stream.sampler.draw(0)) == 2


def test_a_pool_without_foreground_falls_back_to_rounds() -> None:
    shows = np.array([[True, False]] * 3)
    assert sorted(sampler(shows, batch_size=3).draw(0)) == [0, 1, 2]


@pytest.mark.parametrize(("every", "accumulate"), [(3, 1), (1, 2), (2, 2)])
def test_a_discriminator_that_learns_seldom_draws_the_same_tiles(
    pools: Pools, every: int, accumulate: int
) -> None:
    """Else it would draw every third class turn alone, and of three classes see but one."""

    def judged(every: int, accumulate: int) -> list[torch.Tensor]:
        train = make_config(discriminator={"width": 4, "every": every}, accumulate=accumulate).train
        make = batch_maker(pools, train, train.phases[-1], torch.device("cpu"))
        batches = [make(number).d_labelled for number in range(3 * every * accumulate)]
        return [batch.image_NCHW for batch in batches if batch is not None]

    for seldom, each in zip(judged(every, accumulate), judged(1, 1), strict=True):
        assert torch.equal(seldom, each)
