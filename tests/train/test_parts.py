"""The small parts: average, schedule, guards, prefetching, gauges, curves."""

import io
import itertools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from trainstores import SCHEMA, make_config

from wsiseg.config.training import GuardConfig, OptimiserConfig, PhaseConfig
from wsiseg.metrics import Scores
from wsiseg.model.losses import mean_over
from wsiseg.progress import NullProgress
from wsiseg.train.data import Pools
from wsiseg.train.ema import Ema
from wsiseg.train.gauges import Look, look, shown_gauge
from wsiseg.train.guards import Guards
from wsiseg.train.loop import Trainer
from wsiseg.train.networks import build_networks
from wsiseg.train.plots import plot_confusion, plot_curves, plot_examples, plot_gauges
from wsiseg.train.prefetch import Prefetcher
from wsiseg.train.schedule import lr_factor, spans, validation_steps, without_unlabelled
from wsiseg.train.watch import Watch, read_metrics

TWO = (PhaseConfig(name="one", share=0.7), PhaseConfig(name="two", share=0.3, unlabelled=True))


def test_the_average_takes_batch_norm_along() -> None:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    ema = Ema(student, decay=0.5)
    values = []
    for _ in range(40):
        with torch.no_grad():
            student[0].weight.add_(0.1)  # type: ignore[operator]  # the weight is a tensor
        student(torch.randn(8, 1, 4, 4) + 3)
        ema.update(student)
        values.append(snapshot(student))
    expected = {name: torch.zeros_like(tensor) for name, tensor in values[0].items()}
    # 0.5 + 0.25 + ... of the last states, once the early, lower decay is far behind.
    for age, state in enumerate(reversed(values[8:])):
        for name, tensor in state.items():
            expected[name] = expected[name] + tensor * 0.5 ** (age + 1)
    for name, tensor in ema.teacher.state_dict().items():
        if name == "1.num_batches_tracked":
            assert tensor == 40
        else:
            torch.testing.assert_close(tensor, expected[name], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(ema.teacher.state_dict()["1.running_mean"], torch.zeros(2), atol=0.1)
    assert not ema.teacher.training


def snapshot(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=5), st.integers(5, 500))
@settings(max_examples=50, deadline=None)
def test_phases_partition_the_steps(shares: list[float], steps: int) -> None:
    plan = spans([PhaseConfig.model_construct(share=share, optimiser=None) for share in shares], steps)
    assert plan[0].start == 0
    assert plan[-1].stop == steps
    assert all(before.stop == after.start for before, after in itertools.pairwise(plan))
    assert all(span.stop > span.start for span in plan)


def test_poly_schedule_by_hand() -> None:
    config = OptimiserConfig(power=0.9, warmup_share=0.1)
    # Warm-up over 10 of 100 steps: 1/11 at the first.
    assert lr_factor(config, 0, 0, 100) == pytest.approx(1 / 11)
    assert lr_factor(config, 50, 0, 100) == pytest.approx(0.5**0.9)
    assert lr_factor(config, 99, 0, 100) == pytest.approx(0.01**0.9)
    assert lr_factor(config, 150, 100, 200) == pytest.approx(0.5**0.9)
    constant = OptimiserConfig(schedule="constant", warmup_share=0)
    assert lr_factor(constant, 99, 0, 100) == 1


def test_a_phase_with_its_own_optimiser_has_its_own_schedule() -> None:
    own = PhaseConfig(name="own", share=0.3, unlabelled=True, optimiser=OptimiserConfig(name="sgd", lr=0.1))
    plan = spans((TWO[0], own), 100)
    assert [(s.lr_start, s.lr_stop) for s in plan] == [(0, 70), (70, 100)]
    assert [(s.lr_start, s.lr_stop) for s in spans(TWO, 100)] == [(0, 100), (0, 100)]


def test_validation_comes_at_the_end_of_every_phase() -> None:
    assert validation_steps(spans(TWO, 100), 4) == [25, 50, 70, 75, 100]


def test_a_phase_may_be_watched_more_closely() -> None:
    """A long run has few validations; a phase that can do harm in 30 steps wants its own."""
    watched = PhaseConfig(name="two", share=0.3, unlabelled=True, validate_every=8)
    assert validation_steps(spans((TWO[0], watched), 100), 4) == [25, 50, 70, 78, 86, 94, 100]


def test_weights_ramp_up() -> None:
    span = spans(TWO, 100)[1]
    assert [span.ramp(step) for step in (70, 73, 77, 99)] == pytest.approx([1 / 7.5, 4 / 7.5, 1, 1])


def test_without_unlabelled_tiles_labels_remain() -> None:
    phases = without_unlabelled((*TWO, PhaseConfig(name="three", share=0.5, labelled=False, unlabelled=True)))
    assert [phase.name for phase in phases] == ["one", "two"]
    assert not any(phase.unlabelled for phase in phases)
    assert sum(phase.share for phase in phases) == pytest.approx(1)


def test_guards_back_off_and_recover() -> None:
    guards = Guards(GuardConfig())
    guards.see_discriminator(25, 0.05)
    assert guards.weight == 0.5
    guards.see_discriminator(50, 0.05)
    assert guards.weight == 0.25
    for step in (75, 100, 125):
        guards.see_discriminator(step, 0.4)
    assert guards.weight == 1.0
    assert [event.partition(" (")[0] for event in guards.events] == [
        "step 25: the discriminator has won",
        "step 100: the discriminator is well",
    ]
    blind = Guards(GuardConfig())
    blind.see_discriminator(25, 0.69)
    assert "cannot tell anything" in blind.events[0]


@pytest.mark.parametrize("first", [0.75, 1.4])
def test_an_untrained_discriminator_is_soon_forgiven(first: float) -> None:
    guards = Guards(GuardConfig())
    for step in range(25, 225, 25):
        guards.see_discriminator(step, first if step == 25 else 0.5)
    assert guards.weight == 1.0


def test_a_discriminator_that_was_long_unwell_comes_back() -> None:
    guards = Guards(GuardConfig())
    for step in range(25, 5000, 25):
        guards.see_discriminator(step, 0.69)
    assert 0 < guards.weight < 0.01
    for step in range(5000, 5250, 25):
        guards.see_discriminator(step, 0.4)
    assert guards.weight == 1.0


def test_a_healthy_discriminator_does_not_undo_a_rollback_at_once() -> None:
    guards = Guards(GuardConfig())
    guards.see_validation(10, 0.6, 0.5, unlabelled=True)
    assert guards.see_validation(20, 0.3, 0.5, unlabelled=True) == "roll back"
    guards.see_discriminator(25, 0.4)
    assert guards.weight == pytest.approx(0.55)


def test_guards_roll_back_and_end_the_phase() -> None:
    guards = Guards(GuardConfig(max_rollbacks=2))
    assert guards.see_validation(10, 0.6, 0.5, unlabelled=False) == "continue"
    assert guards.see_validation(20, 0.3, 0.5, unlabelled=False) == "continue"
    assert guards.supervised_iou == 0.3
    assert guards.see_validation(30, 0.7, 0.5, unlabelled=True) == "continue"
    assert guards.see_validation(40, 0.69, 0.5, unlabelled=True) == "continue"
    verdicts = [guards.see_validation(step, 0.5, 0.5, unlabelled=True) for step in (50, 60, 70)]
    assert verdicts == ["roll back", "roll back", "end phase"]
    assert (guards.best_iou, guards.best_step, guards.scale) == (0.7, 30, 0.125)


def test_unlabelled_tiles_do_not_answer_for_a_fall_before_them() -> None:
    """One small validation slide can look best after a few steps; labels alone then lost that again."""
    guards = Guards(GuardConfig())
    assert guards.see_validation(30, 0.76, None, unlabelled=False) == "continue"
    assert guards.see_validation(90, 0.72, None, unlabelled=False) == "continue"
    assert guards.see_validation(120, 0.71, None, unlabelled=True) == "continue"
    assert (guards.best_iou, guards.best_step) == (0.72, 90)
    assert guards.see_validation(150, 0.65, None, unlabelled=True) == "roll back"
    assert "back to step 90 (0.720)" in guards.events[-1]


def test_guards_warn_of_flattery() -> None:
    guards = Guards(GuardConfig(enabled=False))
    guards.see_validation(10, 0.6, 0.5, unlabelled=True)
    assert guards.see_validation(20, 0.4, 0.8, unlabelled=True) == "continue"
    assert "they please it, they are not right" in guards.events[0]


def test_guards_look_at_every_loss_since_they_last_did(
    pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at those that were logged already: a discriminator that seldom moves must not go unseen."""
    seen: list[int] = []
    monkeypatch.setattr(Guards, "see_discriminator", lambda self, step, loss: seen.append(step))
    config = make_config(steps=30, guards={"check_every": 15}, discriminator={"width": 4, "every": 15})
    Trainer(
        config, pools, Fabric(accelerator="cpu", devices=1), folder=tmp_path, progress=NullProgress()
    ).fit()
    assert seen == [15, 30]


def test_guards_survive_a_checkpoint() -> None:
    guards = Guards(GuardConfig(), d_losses=[torch.tensor(0.25), 0.5])
    guards.see_discriminator(25, 0.05)
    guards.see_validation(30, 0.7, 0.5, unlabelled=True)
    assert Guards.from_json(guards.config, guards.to_json()) == guards


@pytest.mark.parametrize("places", [(8, 8), (4, 4)])
def test_scores_are_averaged_over_what_is_known(places: tuple[int, int]) -> None:
    known = torch.zeros(1, 1, 8, 8)
    known[:, :, :2] = 1
    scores = torch.full((1, 1, *places), 0.75)
    scores[:, :, : places[0] // 4] = 0.25
    assert mean_over(scores, known) == pytest.approx(0.25)


def test_looking_leaves_the_discriminator_as_it_is(pools: Pools) -> None:
    config = make_config(discriminator={"width": 4, "spectral_norm": True})
    networks = build_networks(Fabric(accelerator="cpu", devices=1), config)
    assert networks.discriminator is not None
    before = snapshot(networks.discriminator)
    look(networks, pools.validation, SCHEMA, config.train)
    after = networks.discriminator.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert networks.discriminator.training


def test_prefetching_keeps_the_order_and_runs_ahead() -> None:
    first_done = threading.Event()

    def make(index: int) -> int:
        if index == 0:
            first_done.wait(5)
        else:
            first_done.set()
        return index

    with Prefetcher(make, 0, 20, workers=2) as feed:
        assert [feed.get() for _ in range(20)] == list(range(20))


def test_prefetching_passes_errors_on() -> None:
    def make(index: int) -> int:
        if index == 2:
            raise OSError("tile 2")
        return index

    with Prefetcher(make, 0, 5) as feed:
        assert [feed.get(), feed.get()] == [0, 1]
        with pytest.raises(OSError, match="tile 2"):
            feed.get()


def test_a_look_reports_scores_gauges_and_examples(pools: Pools) -> None:
    config = make_config()
    networks = build_networks(Fabric(accelerator="cpu", devices=1), config)
    before = snapshot(networks.ema.teacher)
    seen = look(networks, pools.validation, SCHEMA, config.train)
    assert seen.scores.matrix.sum() == 4 * 32 * 32
    assert {"d_real", "d_soft", "d_argmax", "d_other", "entropy", "ece"} <= set(seen.gauges)
    assert 0 <= seen.gauges["ece"] <= 1
    assert 0 <= seen.gauges["entropy"] <= 1
    again = look(networks, pools.validation, SCHEMA, config.train, examples=2)
    assert all((part == seen.examples[name]).all() for name, part in again.examples.items() if len(part) == 4)
    assert len(again.examples["image"]) == 2
    assert {name: part.shape for name, part in seen.examples.items()} == {
        "image": (4, 32, 32, 3),
        "truth": (4, 32, 32),
        "prediction": (4, 32, 32),
        "d_map": (4, 32, 32),
    }
    assert all(torch.equal(value, before[name]) for name, value in networks.ema.teacher.state_dict().items())


def test_ece_of_a_sure_network_is_its_error(pools: Pools) -> None:
    config = make_config(discriminator={"kind": "none"})
    networks = build_networks(Fabric(accelerator="cpu", devices=1), config)

    class Sure(nn.Module):
        def forward(self, image_NCHW: torch.Tensor) -> torch.Tensor:
            sure = torch.tensor([50.0, -50.0]).view(1, 2, 1, 1)
            return sure.expand(len(image_NCHW), 2, *image_NCHW.shape[-2:])

    networks.ema.teacher = Sure()
    seen = look(networks, pools.validation, SCHEMA, config.train)
    share = float((pools.validation.labels(range(4)) == 1).mean())
    assert seen.gauges["ece"] == pytest.approx(share, abs=1e-6)
    assert seen.gauges["entropy"] == pytest.approx(0, abs=1e-6)
    assert seen.gauges["area_ratio/disc"] == 0


def test_a_stray_pixel_of_a_class_that_the_truth_lacks_is_no_class_of_its_own() -> None:
    matrix = [[90, 5, 1], [4, 100, 0], [0, 0, 0]]
    seen = Look(Scores.from_confusion(matrix, ("background", "disc", "other")), gauges={})
    assert seen.mean_iou == pytest.approx((90 / 100 + 100 / 109) / 2)
    figures = seen.figures()
    assert figures["mean_iou"] == pytest.approx(seen.mean_iou, abs=1e-6)
    assert figures["mean_f1"] == pytest.approx((180 / 190 + 200 / 209) / 2, abs=1e-6)
    assert set(figures["classes"]["other"].values()) == {None}


@pytest.mark.parametrize(("fake_input", "score"), [("argmax", 0.9), ("soft", 0.1)])
def test_guards_ask_for_the_score_of_what_the_discriminator_is_shown(
    pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_input: str, score: float
) -> None:
    config = make_config(discriminator={"width": 4, "fake_input": fake_input})
    run = Trainer(
        config, pools, Fabric(accelerator="cpu", devices=1), folder=tmp_path, progress=NullProgress()
    )
    seen = Look(Scores.from_confusion([[1, 0], [0, 1]], SCHEMA.names), {"d_soft": 0.1, "d_argmax": 0.9})
    monkeypatch.setattr(run, "_shared_look", lambda: seen)
    monkeypatch.setattr(run, "_save", lambda _: None)
    run._look(run.plan[0])
    assert run.state.guards.last_score == score
    assert {"d_argmax": 0.9, "d_soft": 0.1}[shown_gauge(config.train.discriminator)] == score


def test_curves_show_the_score_of_what_the_discriminator_is_shown(tmp_path: Path) -> None:
    gauges = {"d_real": 0.7, "d_soft": 0.1, "d_argmax": 0.5}
    lines = [{"step": step, "kind": "validation", "gauges": gauges} for step in (1, 2)]
    for shown in ("d_soft", "d_argmax"):
        plot_curves(lines, tmp_path / f"{shown}.png", shown=shown)
    assert (tmp_path / "d_soft.png").read_bytes() != (tmp_path / "d_argmax.png").read_bytes()


def test_a_resumed_watch_forgets_what_lies_ahead(tmp_path: Path) -> None:
    watch = Watch(tmp_path, 0)
    for step in (1, 2, 3):
        watch.metrics(step, "train", {"ce": step / 2})
    watch.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "ki')
    watch = Watch(tmp_path, 2)
    watch.close()
    assert read_metrics(tmp_path) == [{"step": step, "kind": "train", "ce": step / 2} for step in (1, 2)]


def test_tensorboard_shows_curves_and_validation_tiles(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    labels = np.zeros((3, 16, 16), dtype=np.uint8)
    labels[:, 4:8] = 1
    examples = {
        "image": np.full((3, 16, 16, 3), 200, dtype=np.uint8),
        "truth": labels,
        "prediction": labels.swapaxes(1, 2),
        "d_map": np.full((3, 16, 16), 0.5, dtype=np.float32),
    }
    watch = Watch(tmp_path, 0)
    watch.metrics(5, "validation", {"mean_iou": 0.5, "gauges": {"d_real": 0.75}})
    watch.pictures(5, SCHEMA, examples)
    watch.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.value for event in events.Scalars("validation/gauges/d_real")] == [0.75]
    (image,) = events.Images("validation")
    # Three rows of image, truth, prediction and map.
    assert (image.step, image.width, image.height) == (5, 4 * 16, 3 * 16)
    with Image.open(io.BytesIO(image.encoded_image_string)) as picture:
        pixels = np.asarray(picture)
    assert tuple(pixels[0, 0]) == (200, 200, 200)
    assert tuple(pixels[5, 16]) == tuple(pixels[0, 32 + 5]) == SCHEMA["disc"].color
    assert tuple(pixels[0, 48]) == (127, 127, 127)


def test_plots_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    classes = {"background": {"iou": 0.9}, "disc": {"iou": None}}
    lines = [
        {"step": 1, "kind": "train", "ce": 1.0, "d_loss": 0.5},
        {"step": 2, "kind": "validation", "mean_iou": 0.5, "classes": classes, "gauges": {"d_real": 0.7}},
    ]
    blank = np.zeros((1, 16, 16), dtype=np.uint8)
    # The map of a PatchGAN is coarser than the tile.
    coarse = np.zeros((1, 2, 2), dtype=np.float32)
    image = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    examples: dict[str, NDArray[Any]] = {
        "image": image,
        "truth": blank,
        "prediction": blank,
        "d_map": coarse,
    }
    for name in ("one.png", "two.png"):
        plot_curves(lines, tmp_path / name)
        plot_confusion(np.eye(2), ("background", "disc"), tmp_path / f"c-{name}")
        plot_gauges(lines, tmp_path / f"g-{name}")
        plot_examples(SCHEMA, examples, tmp_path / f"e-{name}")
    for kind in ("", "c-", "g-", "e-"):
        one, two = (tmp_path / f"{kind}{name}" for name in ("one.png", "two.png"))
        assert one.read_bytes() == two.read_bytes()
