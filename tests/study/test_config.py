"""A study's YAML: what it means, and what is refused with which words."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from studycells import make_study

from wsiseg.config import Config
from wsiseg.config.study import arm_config, cell_config, load_study
from wsiseg.errors import ConfigError

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "studies").glob("*.yaml"))


def acquire(**changes: Any) -> dict[str, Any]:
    """Two arms, the second with more labels."""
    return {"arms": {"A+": {}, "B": {"acquire": {"after": "A+", "by": "random", "add": "1/4", **changes}}}}


def test_there_are_studies() -> None:
    assert {path.stem for path in SHIPPED} >= {"label-efficiency", "label-efficiency-small"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_study_is_found_by_its_name_and_configures_all_arms(path: Path) -> None:
    study = load_study(Path(path.stem))
    assert study == load_study(path)
    for arm in study.arms:
        assert isinstance(arm_config(study, arm), Config)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_no_shipped_study_lets_an_arm_take_other_steps_or_batches(path: Path) -> None:
    study = load_study(path)
    found = [arm_config(study, arm).train for arm in study.arms]
    assert len({(train.steps, train.sampler, train.accumulate) for train in found}) == 1


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_only_arms_about_the_network_take_another_one(path: Path) -> None:
    study = load_study(path)
    encoders = {arm: arm_config(study, arm).train.segmentor.encoder for arm in study.arms}
    usual = encoders[study.baseline]
    others = {arm: encoder for arm, encoder in encoders.items() if encoder != usual}
    assert others.keys() <= {"L+", "I+", "W+", "WH"}
    assert set(others.values()) <= {"tu-tf_efficientnet_lite0"}


def test_overrides_lie_over_the_base_and_arms_over_the_overrides() -> None:
    study = make_study(
        overrides={
            "train.steps": 7,
            "train.precision": "32-true",
            "train.segmentor.encoder": "resnet18",
            "train.segmentor.weights": "none",
        },
        arms={"A+": {"base": "supervised"}, "H": {"train.steps": 9}},
    )
    baseline, other = (arm_config(study, arm).train for arm in ("A+", "H"))
    assert (baseline.steps, other.steps) == (7, 9)
    assert (baseline.is_adversarial, other.is_adversarial) == (False, True)


def test_share_and_seed_reach_the_training() -> None:
    config = cell_config(arm_config(make_study(), "H"), Fraction(1, 32), 3)
    assert config.train.seed == config.train.split.labelled_seed == 3
    assert config.train.split.labelled_share == 1 / 32


def test_a_study_trains_no_twin_beside_its_cells() -> None:
    assert arm_config(make_study(), "H").train.baseline is False


def test_shares_are_sorted_and_exact() -> None:
    assert make_study(shares=[1, "1 / 32", 0.1]).shares == (Fraction(1, 32), Fraction(1, 10), Fraction(1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"baseline": "Z"}, "baseline: 'Z' is not one of the arms A+, H"),
        ({"shares": ["1/0"]}, "'1/0' is no share"),
        ({"shares": [2]}, "2 is not above 0 and at most 1"),
        ({"shares": [0]}, "0 is not above 0"),
        ({"shares": [0.5, "1/2"]}, "an entry occurs twice"),
        ({"shares": [True]}, "a share is written as"),
        ({"shares": []}, "shares"),
        ({"seeds": [-1]}, "greater than or equal to 0"),
        ({"seeds": [2**32]}, "less than or equal to 4294967295"),
        ({"arms": {"A/B": {}}, "baseline": "A/B"}, "letters, digits"),
        ({"arms": {"A+": {"train.seed": 3}}}, "train.seed follows from shares and seeds"),
        ({"arms": {"A+": {"train": {"steps": 3}}}}, "write settings as section.key: value"),
        (
            {"arms": {"A+": {"train.discriminator": {"kind": "none"}}}},
            "'train.discriminator': write settings as",
        ),
        (
            {"overrides": {"train.discriminator": {"kind": "none"}}},
            "'train.discriminator': write settings as",
        ),
        ({"overrides": {"train.split.labelled_seed": 3}}, "train.split.labelled_seed follows from"),
        ({"overrides": {"base": "paper"}}, "'base': write settings as section.key: value"),
        ({"overrides": {"steps": 3}}, "write settings as section.key: value"),
        ({"arms": {"A+": {"base": 5}}}, "A+.base: name a recipe or a YAML file"),
        ({"arms": {"A+": None}}, "arms.A+: Input should be a mapping"),
        ({"test_slides": "b"}, "test_slides: Input should be a list"),
        ({"test_slides": []}, "name the test slides"),
        ({"folds": {"one": ["b"]}}, "either as test_slides or as folds"),
        ({"test_slides": [], "folds": {"one": ["b"], "two": ["b"]}}, "in one fold, once"),
        ({"test_slides": [], "folds": {"one": ["b"], "two": []}}, "folds.two names no slide"),
        ({"arm": {}}, "unknown key 'arm' (did you mean 'arms'"),
        (acquire(after="Z"), "B.acquire.after: 'Z' is none of the arms A+"),
        (acquire(after="B"), "B.acquire.after: 'B' is none of the arms A+"),
        (acquire(by="luck"), "B.acquire.by: Input should be 'random', 'entropy' or 'discriminator'"),
        (acquire(add=2), "2 is not above 0 and at most 1"),
        ({**acquire(), "shares": [0.5, 1]}, "B.acquire: at share 1 no label is hidden"),
        (acquire(seed=2), "B.acquire.seed: Extra inputs are not permitted"),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_study(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arms": {"A+": {"train.stepz": 3}}}, "arm A+: unknown key 'train.stepz'"),
        ({"arms": {"A+": {"train.steps.a": 3}}}, "arm A+: train.steps.a: steps is not a section"),
        ({"arms": {"A+": {"base": "nowhere"}}}, "no such configuration file: nowhere"),
        ({"arms": {"A+": {"train.steps": "auto"}}}, "arm A+: train.steps: found auto"),
    ],
)
def test_arms_that_cannot_be_configured_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        arm_config(make_study(**settings), "A+")


def test_what_is_left_to_the_machine_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"train\.precision, train\.segmentor\.encoder.*weights: found auto"
    ):
        arm_config(make_study(overrides={"train.steps": 3}), "A+")
