"""The steps: each touches its own network only, and asks for what the equations ask for."""

import math

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn
from trainstores import make_config

from wsiseg.classes import IGNORE_INDEX
from wsiseg.config import Config
from wsiseg.train.data import Batch, Pools, make_stream
from wsiseg.train.networks import Networks, build_networks
from wsiseg.train.pseudo import PseudoLabels, cutmix, gate
from wsiseg.train.steps import Objective, Weights, discriminator_loss, mean_metrics, segmentor_loss

WEIGHTS = Weights(labelled=0.5, unlabelled=0.5, pseudo=0.5)


def snapshot(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def unchanged(network: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def gradients(network: nn.Module) -> list[torch.Tensor]:
    return [p.grad for p in network.parameters() if p.grad is not None and p.grad.any()]


def build(**train: object) -> tuple[Config, Networks]:
    config = make_config(**train)
    return config, build_networks(Fabric(accelerator="cpu", devices=1), config)


def batches(pools: Pools, config: Config) -> tuple[Batch, Batch]:
    cpu = torch.device("cpu")
    labelled = make_stream(pools.labelled, "labelled", config.train, cpu, labelled=True).batch(0)
    return labelled, make_stream(pools.unlabelled, "unlabelled", config.train, cpu, labelled=False).batch(0)


def objective(config: Config) -> Objective:
    train = config.train
    return Objective(torch.ones(2), train.losses, train.discriminator, train.pseudo_labels)


@pytest.mark.parametrize("kind", ["fcn", "patchgan"])
@pytest.mark.parametrize("target", ["zeros", "correctness"])
@pytest.mark.parametrize("shown", ["soft", "argmax"])
def test_each_step_touches_its_own_network(pools: Pools, kind: str, target: str, shown: str) -> None:
    judge = {"kind": kind, "receptive_field": 16, "fake_target": target, "fake_input": shown, "width": 4}
    config, networks = build(discriminator=judge)
    assert networks.discriminator is not None
    labelled, unlabelled = batches(pools, config)
    before = [snapshot(n) for n in (networks.student, networks.ema.teacher, networks.discriminator)]

    loss, _ = discriminator_loss(networks, labelled, unlabelled, config.train.discriminator)
    loss.backward()
    assert gradients(networks.discriminator)
    assert not gradients(networks.student)
    # Not even the statistics of BatchNorm moved.
    assert unchanged(networks.student, before[0])

    networks.discriminator.zero_grad()
    loss, _ = segmentor_loss(
        networks,
        labelled,
        unlabelled,
        objective=objective(config),
        weights=WEIGHTS,
        generator=np.random.default_rng(0),
    )
    loss.backward()
    assert gradients(networks.student)
    assert not gradients(networks.discriminator)
    assert all(parameter.requires_grad for parameter in networks.discriminator.parameters())
    assert unchanged(networks.ema.teacher, before[1])
    assert unchanged(networks.discriminator, before[2])


def test_the_unsupervised_objective_is_the_adversarial_term_alone(pools: Pools) -> None:
    """Equation (3): ``lambda_2 BCE(D(x, S(x)), 1)``."""
    config, networks = build(discriminator={"width": 4, "fake_input": "soft"})
    _, unlabelled = batches(pools, config)
    networks.student.eval()
    loss, metrics = segmentor_loss(
        networks,
        None,
        unlabelled,
        objective=objective(config),
        weights=Weights(0.0, 0.25, None),
        generator=np.random.default_rng(0),
    )
    assert networks.discriminator is not None
    with torch.no_grad():
        probabilities = networks.student(unlabelled.image_NCHW).softmax(dim=1)
        scores = networks.discriminator(unlabelled.image_NCHW, probabilities).sigmoid()
    torch.testing.assert_close(loss.detach(), 0.25 * -scores.log().mean())
    assert set(metrics) == {"g_loss", "adv_unlabelled"}


class Constant(nn.Module):
    """A discriminator that gives every pixel the same probability, and remembers what it saw."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.tensor(probability).logit())
        self.seen: list[torch.Tensor] = []

    def forward(self, image_NCHW: torch.Tensor, segmentation_NKHW: torch.Tensor) -> torch.Tensor:
        self.seen.append(segmentation_NKHW.detach())
        return self.logit.expand(len(image_NCHW), 1, *image_NCHW.shape[-2:])


def with_constant(networks: Networks, probability: float) -> Constant:
    judge = Constant(probability)
    networks.discriminator = networks.discriminator_wrapped = judge  # type: ignore[assignment]  # a stand-in for both
    return judge


def test_the_discriminator_objective_by_hand(pools: Pools) -> None:
    """Equation (1) with D = 0.8 everywhere and zeros for fakes: (-ln 0.8 - ln 0.2) / 2."""
    judge = {"width": 4, "fake_target": "zeros", "mismatched_pairs": False}
    config, networks = build(discriminator=judge)
    labelled, _ = batches(pools, config)
    with_constant(networks, 0.8)
    loss, metrics = discriminator_loss(networks, labelled, None, config.train.discriminator)
    assert loss.item() == pytest.approx(-(math.log(0.8) + math.log(0.2)) / 2, rel=1e-5)
    assert metrics["d_real"].item() == pytest.approx(0.8)


def test_unknown_pixels_give_nothing_away_and_count_nowhere(pools: Pools) -> None:
    config, networks = build(discriminator={"width": 4, "fake_target": "correctness"})
    labelled, _ = batches(pools, config)
    label = labelled.labels().clone()
    label[:, :16] = IGNORE_INDEX
    half = Batch(labelled.image_NCHW, labelled.weak_NCHW, label)
    judge = with_constant(networks, 0.8)
    discriminator_loss(networks, half, None, config.train.discriminator)
    real, fake, other = judge.seen[0].chunk(3)
    for shown in (real, fake, other):
        assert not shown[:, :, :16].any()
        assert shown[:, :, 16:].any()

    # A discriminator that is wrong on unknown pixels alone has no loss to speak of.
    class Oracle(Constant):
        def forward(self, image_NCHW: torch.Tensor, segmentation_NKHW: torch.Tensor) -> torch.Tensor:
            logits = torch.full((len(image_NCHW), 1, 32, 32), -20.0)
            logits[: len(image_NCHW) // 2, :, 16:] = 20.0
            return logits * self.logit.sign()

    judge = {"width": 4, "fake_target": "zeros", "mismatched_pairs": False}
    config, _ = build(discriminator=judge)
    oracle = Oracle(0.8)
    networks.discriminator = networks.discriminator_wrapped = oracle  # type: ignore[assignment]  # a stand-in for both
    loss, _ = discriminator_loss(networks, half, None, config.train.discriminator)
    assert loss.item() < 1e-6


def test_unlabelled_correctness_is_what_the_average_believes(pools: Pools) -> None:
    config, networks = build()
    _, unlabelled = batches(pools, config)
    labelled, _ = batches(pools, config)
    with_constant(networks, 0.5)
    loss, _ = discriminator_loss(networks, labelled, unlabelled, config.train.discriminator)
    # At D = 0.5 the cross-entropy is ln 2 whatever the target.
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)


def test_the_gate_keeps_the_best_share_of_each_class() -> None:
    label = torch.tensor([[[0] * 10 + [1] * 10]])
    trust = torch.cat([torch.linspace(0.5, 0.95, 10), torch.linspace(0.21, 0.3, 10)]).view(1, 1, 20)
    kept = gate(label, trust, keep_share=0.7, min_score=0.2)
    assert kept[0, 0, :10].sum() == 7
    assert kept[0, 0, 10:].sum() == 7
    assert kept[0, 0, [9, 19]].all()
    assert gate(label, trust, keep_share=0.7, min_score=0.4)[0, 0, 10:].sum() == 0


def test_cutmix_takes_image_and_label_from_the_same_tile() -> None:
    image = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 3, 20, 30).contiguous()
    pseudo = PseudoLabels(image[:, 0].to(torch.uint8), torch.tensor(1.0))
    mixed, labels = cutmix(image, pseudo, np.random.default_rng(2))
    assert torch.equal(mixed[:, 0].to(torch.uint8), labels.label_NHW)
    for n in range(3):
        pasted = (labels.label_NHW[n] == (n - 1) % 3).float().mean().item()
        assert 0.15 < pasted < 0.55
        assert set(labels.label_NHW[n].unique().tolist()) == {n, (n - 1) % 3}


def test_metrics_average_where_they_occur() -> None:
    history = [{"a": torch.tensor(1.0)}, {"a": torch.tensor(3.0), "b": torch.tensor(5.0)}]
    assert mean_metrics(history) == {"a": 2.0, "b": 5.0}
