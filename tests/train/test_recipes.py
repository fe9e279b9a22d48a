"""The recipes that come with wsiseg say what the documentation says of them."""

from pathlib import Path

import pytest

from wsiseg.config import Config, load_config
from wsiseg.train.baseline import twin_config
from wsiseg.train.schedule import spans, validation_steps


def recipe(name: str) -> Config:
    return load_config(Path(name))


def test_recommended_is_the_default() -> None:
    assert recipe("recommended") == Config()


def test_supervised_is_the_twin_of_recommended() -> None:
    assert recipe("supervised").train == twin_config(recipe("recommended")).train


@pytest.mark.parametrize("name", ["paper", "paper-patchgan"])
def test_paper_has_the_exact_losses_in_two_phases(name: str) -> None:
    train = recipe(name).train
    first, second = train.phases
    assert (train.losses.cross_entropy, train.losses.dice, train.losses.class_balance) == (1, 0, 0)
    judge = train.discriminator
    assert (judge.fake_target, judge.fake_input, judge.mismatched_pairs) == ("zeros", "soft", False)
    assert (first.labelled, first.unlabelled, first.discriminator) == (True, False, "train")
    assert (second.labelled, second.unlabelled, second.discriminator) == (False, True, "frozen")
    assert not second.pseudo_labels
    assert second.share <= 0.05
    assert second.optimiser is not None
    assert second.optimiser.name == "sgd"
    assert second.optimiser.lr <= 0.02 * train.optimiser.lr
    assert train.guards.enabled


@pytest.mark.parametrize("name", ["paper", "paper-patchgan"])
def test_the_guards_look_often_while_paper_learns_without_labels(name: str) -> None:
    train = recipe(name).train
    plan = spans(train.phases, 20_000)
    inside = [step for step in validation_steps(plan, train.validations) if step > plan[1].start]
    gaps = {after - before for before, after in zip([plan[1].start, *inside], inside, strict=False)}
    assert max(gaps) <= 30


def test_the_patchgan_learns_faster_than_the_segmentor() -> None:
    train = recipe("paper-patchgan").train
    assert train.discriminator.kind == "patchgan"
    assert train.discriminator_optimiser.lr > train.optimiser.lr
