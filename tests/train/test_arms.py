"""Every arm of the comparison of methods is a few settings over the defaults."""

from pathlib import Path
from typing import Any

import pytest
from lightning_fabric import Fabric
from trainstores import make_config

from wsiseg.errors import ConfigError
from wsiseg.progress import NullProgress
from wsiseg.train.data import Pools
from wsiseg.train.loop import Trainer
from wsiseg.train.watch import read_metrics

SUPERVISED = [{"name": "supervised", "share": 1.0}]
AMOUNTS = ("scale", "hed", "brightness", "contrast", "saturation", "hue_degrees", "blur_px", "noise")
PLAIN = dict.fromkeys(AMOUNTS, 0)
PAPER = {"fake_target": "zeros", "fake_input": "soft", "mismatched_pairs": False}


def two_phases(**second: Any) -> list[dict[str, Any]]:
    return [
        {"name": "supervised", "share": 0.5},
        {"name": "second", "share": 0.5, "unlabelled": True, "ramp_share": 0.0, **second},
    ]


def alone(lr: float) -> list[dict[str, Any]]:
    rate = {"name": "sgd", "lr": lr, "weight_decay": 0.0, "schedule": "constant"}
    return two_phases(labelled=False, discriminator="frozen", lambda_unlabelled=1.0, optimiser=rate)


LABELS = {"g_loss", "ce", "dice"}
JUDGED = {"adv", "d_loss", "d_real", "d_fake"}
PSEUDO = {"pseudo_ce", "pseudo_kept"}

ARMS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "A supervised": (
        {"discriminator": {"kind": "none"}, "phases": SUPERVISED, "augment": PLAIN, "ema_decay": 0.0},
        LABELS,
    ),
    "A+ fair baseline": ({"discriminator": {"kind": "none"}, "phases": SUPERVISED}, LABELS),
    "B labelled adversarial": ({"phases": SUPERVISED}, LABELS | JUDGED),
    "C two phases": (
        {"discriminator": {"width": 4, **PAPER}, "losses": {"dice": 0.0}, "phases": alone(1e-5)},
        {"g_loss", "adv_unlabelled"},
    ),
    "C0 learning rate 0": (
        {"discriminator": {"width": 4, **PAPER}, "losses": {"dice": 0.0}, "phases": alone(0.0)},
        {"g_loss", "adv_unlabelled"},
    ),
    "D mixed, frozen": (
        {"phases": two_phases(discriminator="frozen")},
        LABELS | {"adv", "adv_unlabelled"},
    ),
    "E mixed, refreshed": (
        {"phases": two_phases(discriminator="refresh")},
        LABELS | JUDGED | {"adv_unlabelled"},
    ),
    "F with the gate": (
        {
            "phases": two_phases(discriminator="refresh", pseudo_labels=True),
            "pseudo_labels": {"gate": "discriminator", "cutmix": False},
        },
        LABELS | JUDGED | PSEUDO | {"adv_unlabelled"},
    ),
    "G mean teacher with CutMix": (
        {
            "discriminator": {"kind": "none"},
            "phases": two_phases(pseudo_labels=True),
            "pseudo_labels": {"gate": "confidence", "weight": 1.0, "keep_share": 1.0, "min_score": 0.1},
        },
        LABELS | PSEUDO,
    ),
    "H = E + G": (
        {
            "phases": two_phases(discriminator="refresh", pseudo_labels=True),
            "pseudo_labels": {"gate": "confidence", "weight": 1.0},
        },
        LABELS | JUDGED | PSEUDO | {"adv_unlabelled"},
    ),
}


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_learns_from_what_it_says(pools: Pools, tmp_path: Path, arm: str) -> None:
    settings, expected = ARMS[arm]
    config = make_config(**{"steps": 2, "validations": 1, **settings})
    trainer = Trainer(
        config, pools, Fabric(accelerator="cpu", devices=1), folder=tmp_path, progress=NullProgress()
    )
    trainer.fit()
    last = [line for line in read_metrics(tmp_path) if line["kind"] == "train"][-1]
    assert set(last) - {"step", "kind", "lr", "lambda_scale", "g_norm"} == expected
    if arm.startswith("A supervised"):
        student, teacher = trainer.state.networks.student, trainer.state.networks.ema.teacher
        pairs = zip(student.state_dict().values(), teacher.state_dict().values(), strict=True)
        assert all((one == other).all() for one, other in pairs)


@pytest.mark.parametrize("record", [True, False])
def test_learning_rate_0_moves_statistics_alone(pools: Pools, tmp_path: Path, record: bool) -> None:
    """C0: what is left is the adaptation of BatchNorm to unlabelled slides, which can be turned off."""
    settings, _ = ARMS["C0 learning rate 0"]
    first, second = settings["phases"]
    phases = [first, {**second, "record_statistics": record}]
    config = make_config(
        **{**settings, "steps": 2, "validations": 1, "guards": {"enabled": False}, "phases": phases}
    )
    trainer = Trainer(
        config, pools, Fabric(accelerator="cpu", devices=1), folder=tmp_path, progress=NullProgress()
    )
    kept: dict[str, Any] = {}
    enter = trainer._enter_phase

    def remember(number: int) -> None:
        kept.update(
            {name: value.clone() for name, value in trainer.state.networks.student.state_dict().items()}
        )
        enter(number)

    trainer._enter_phase = remember  # type: ignore[method-assign]  # looks in between the phases
    trainer.fit()
    now = trainer.state.networks.student.state_dict()
    parameters = {name for name, _ in trainer.state.networks.student.named_parameters()}
    assert all(bool((now[name] == kept[name]).all()) for name in parameters)
    moved = any(bool((now[name] != kept[name]).any()) for name in now if "running_" in name)
    assert moved == record


def test_unlabelled_tiles_without_a_teacher_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"phase 'second' can learn nothing from unlabelled tiles"):
        make_config(discriminator={"kind": "none"}, phases=two_phases())
