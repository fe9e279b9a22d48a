"""Examining a network on test tiles."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from studymodels import Darkness, model_of_discs
from torch import Tensor, nn
from trainstores import make_config, write_tiles

from wsiseg.config.training import DiscriminatorConfig
from wsiseg.metrics import confusion
from wsiseg.model.discriminator import build_discriminator
from wsiseg.model.normalise import to_unit
from wsiseg.progress import NullProgress
from wsiseg.study.examine import examine
from wsiseg.study.judge import Judge, Seen
from wsiseg.tilestore import TileStore


class Oracle(nn.Module):
    """A discriminator that scores by a rule."""

    def __init__(self, rule: Callable[[Tensor, Tensor], Tensor], fake_input: str = "argmax") -> None:
        super().__init__()
        self.rule = rule
        self.config = DiscriminatorConfig.model_validate({"fake_input": fake_input})

    def forward(self, image_NCHW: Tensor, planes_NKHW: Tensor) -> Tensor:
        return self.rule(image_NCHW, planes_NKHW)


@pytest.fixture
def store(tmp_path: Path) -> TileStore:
    return TileStore.open(write_tiles(tmp_path, "a", count=5))


def test_counts_are_those_of_the_whole_slide(store: TileStore) -> None:
    found = examine(model_of_discs(make_config()), [store], progress=NullProgress(), batch_size=2)
    images, labels = store.images(range(5)), store.labels(range(5))
    predicted = Darkness()(to_unit(images)).argmax(dim=1).numpy().astype(np.uint8)
    (slide,) = found["slides"]
    total = np.array(slide["counts"]).sum(axis=0).reshape(2, 2)
    assert (total == confusion(labels, predicted, 2)).all()
    assert len(slide["counts"]) == len(slide["blocks"]) == 5
    assert found["classes"] == ["background", "disc"]
    assert found["discriminator"] is None
    right = int(np.trace(total))
    assert sum(found["calibration"]["right"]) == right
    assert sum(found["calibration"]["count"]) == total.sum()


def test_the_batch_changes_nothing(store: TileStore) -> None:
    one, other = (
        examine(model_of_discs(make_config()), [store], progress=NullProgress(), batch_size=size)
        for size in (1, 4)
    )
    assert one == other


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("correctness", {"gauges", "auc", "errors_in_first_fifth", "calibration"}),
        ("zeros", {"gauges"}),
    ],
)
@pytest.mark.parametrize("kind", ["fcn", "patchgan"])
def test_what_a_discriminator_is_asked(store: TileStore, target: str, parts: set[str], kind: str) -> None:
    settings = {"kind": kind, "receptive_field": 16, "width": 4, "fake_target": target}
    config = make_config(discriminator=settings)
    judge = build_discriminator(config.train.discriminator, 2).eval()
    found = examine(model_of_discs(config, judge), [store], progress=NullProgress())["discriminator"]
    assert set(found) == parts
    assert set(found["gauges"]) == {"d_real", "d_soft", "d_argmax", "d_other"}
    assert all(0 <= value <= 1 for value in found["gauges"].values())


def seen() -> Seen:
    """Two tiles of 4 x 4 px, predicted wrongly in the first row of the first, and equally sure everywhere."""
    label_NHW = torch.zeros(2, 4, 4, dtype=torch.uint8)
    label_NHW[:, :, 2:] = 1
    label_NHW[1, 3] = 255
    predicted = label_NHW.long().clamp_max(1)
    predicted[0, 0] = 1 - predicted[0, 0]
    probabilities = nn.functional.one_hot(predicted, 2).permute(0, 3, 1, 2).float() * 0.98 + 0.01
    return Seen(torch.zeros(2, 3, 4, 4), label_NHW, label_NHW != 255, probabilities)


def judged(rule: Callable[[Tensor, Tensor], Tensor], fake_input: str = "argmax") -> dict[str, Any]:
    judge = Judge(cast("Any", Oracle(rule, fake_input)), knows_right=True)
    judge.see(seen())
    return judge.to_json()


def test_a_discriminator_that_knows_finds_every_wrong_pixel() -> None:
    def knows(_: Tensor, planes_NKHW: Tensor) -> Tensor:
        wrong = torch.zeros_like(planes_NKHW[:, :1])
        wrong[0, :, 0] = 1
        return 8.0 - 16.0 * wrong

    found = judged(knows)
    assert found["auc"] == {"discriminator": 1.0, "entropy": 0.5}
    assert found["errors_in_first_fifth"]["discriminator"] == 1.0
    assert found["calibration"]["ece"] < 0.001
    assert found["calibration"]["count"][0] == 4


@pytest.mark.parametrize(("fake_input", "shown"), [("argmax", 1.0), ("soft", 0.99)])
def test_it_is_asked_about_what_it_was_shown_in_training(fake_input: str, shown: float) -> None:
    def echo(_: Tensor, planes_NKHW: Tensor) -> Tensor:
        return planes_NKHW.amax(dim=1, keepdim=True).clamp(1e-6, 1 - 1e-6).logit()

    calibration = judged(echo, fake_input)["calibration"]
    assert sum(calibration["confidence"]) / sum(calibration["count"]) == pytest.approx(shown, abs=1e-4)


def test_one_that_knows_nothing_says_so() -> None:
    found = judged(lambda _, planes: torch.zeros_like(planes[:, :1]))
    assert found["auc"]["discriminator"] == 0.5
    assert found["gauges"] == dict.fromkeys(("d_real", "d_soft", "d_argmax", "d_other"), 0.5)
    # 24 of 28 known pixels are right, and it says one half everywhere.
    assert found["calibration"]["ece"] == pytest.approx(24 / 28 - 0.5, abs=1e-6)


def test_unknown_pixels_are_blank_in_all_that_is_shown() -> None:
    shown: list[Tensor] = []

    def look(_: Tensor, planes_NKHW: Tensor) -> Tensor:
        shown.append(planes_NKHW)
        return torch.zeros_like(planes_NKHW[:, :1])

    judged(look)
    own, others = shown[:3], shown[3:]
    assert all((planes[1, :, 3] == 0).all() for planes in own)
    assert len(others) == 1
    assert (others[0][0, :, 3] == 0).all()
