"""The networks of a run and how they are run without being changed."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn

from wsiseg.config.root import Config
from wsiseg.config.training import OptimiserConfig
from wsiseg.model.discriminator import Discriminator, build_discriminator
from wsiseg.model.grouped import SoundGradients
from wsiseg.model.segmentor import build_segmentor, split_parameters
from wsiseg.train.ema import Ema


@dataclass
class Networks:
    """Segmentor, its average, and discriminator.

    Attributes:
        fabric: Device, precision and processes.
        student: The segmentor itself.
        student_wrapped: The same for forwards that will be differentiated with respect to it (DDP).
        ema: Its average.
        discriminator: The discriminator itself, or None.
        discriminator_wrapped: The same for forwards that train it.
    """

    fabric: Fabric
    student: nn.Module
    student_wrapped: _FabricModule
    ema: Ema
    discriminator: Discriminator | None
    discriminator_wrapped: _FabricModule | None

    def segment(self, image_NCHW: Tensor, *, record: bool = True) -> Tensor:
        """The student's logits, to be differentiated.

        Args:
            image_NCHW: Standardised tiles.
            record: Whether BatchNorm's running statistics follow these tiles.
        """
        untouched = nullcontext() if record else statistics_untouched(self.student)
        with SoundGradients(), untouched:
            logits: Tensor = self.student_wrapped(image_NCHW)
        return logits.float()

    def predict(self, image_NCHW: Tensor) -> Tensor:
        """The student's logits without gradient, by batch statistics, leaving its statistics alone."""
        with torch.no_grad(), statistics_untouched(self.student), self.fabric.autocast():
            logits: Tensor = self.student(image_NCHW)
        return logits.float()

    def teach(self, image_NCHW: Tensor) -> Tensor:
        """The average's probabilities ``(N, K, H, W)``."""
        with torch.no_grad(), self.fabric.autocast():
            logits: Tensor = self.ema.teacher(image_NCHW)
        return logits.float().softmax(dim=1)

    def judge(self, image_NCHW: Tensor, segmentation_NKHW: Tensor) -> Tensor:
        """The discriminator's logits; a gradient reaches the segmentation but never the discriminator."""
        if self.discriminator is None:
            raise ValueError("this run has no discriminator")
        with frozen(self.discriminator), self.fabric.autocast():
            logits: Tensor = self.discriminator(image_NCHW, segmentation_NKHW)
        return logits.float()

    def ask(self, image_NCHW: Tensor, segmentation_NKHW: Tensor) -> Tensor:
        """The discriminator's scores, 0-1, ``(N, 1, h, w)``: no gradient, and it stays as it is."""
        if self.discriminator is None:
            raise ValueError("this run has no discriminator")
        # Spectral norm goes on iterating at each forward in training mode.
        self.discriminator.eval()
        try:
            with torch.no_grad():
                return self.judge(image_NCHW, segmentation_NKHW).sigmoid()
        finally:
            self.discriminator.train()


def build_networks(fabric: Fabric, config: Config, *, pretrained: bool = True) -> Networks:
    """Build the networks of a resolved configuration, seeded, on Fabric's device.

    Args:
        fabric: Device and processes.
        config: The configuration.
        pretrained: False where a checkpoint will overwrite all weights: the encoder's own are not looked for.

    Raises:
        ConfigError: The segmentor cannot be built, or its ImageNet weights cannot be fetched.
    """
    classes = len(config.schema_)
    torch.manual_seed(config.train.seed)
    student = build_segmentor(config.train.segmentor, classes, pretrained=pretrained)
    discriminator = None
    if config.train.is_adversarial:
        discriminator = build_discriminator(config.train.discriminator, classes)
    for network in (student, discriminator):
        if network is not None:
            network.to(fabric.device).to(memory_format=torch.channels_last)
    ema = Ema(student, config.train.ema_decay)
    wrapped = fabric.setup_module(_compiled(student) if config.train.compile else student)
    judge = None if discriminator is None else fabric.setup_module(discriminator)
    return Networks(fabric, student, wrapped, ema, discriminator, judge)


def segmentor_optimiser(student: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """An optimiser with one group for the encoder and one for decoder and head."""
    encoder, head = split_parameters(student)
    groups = [
        {"params": encoder, "lr": config.lr, "peak_lr": config.lr},
        {"params": head, "lr": config.lr, "peak_lr": config.lr * config.head_lr_factor},
    ]
    return _optimiser(groups, config)


def discriminator_optimiser(discriminator: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """An optimiser of the discriminator."""
    return _optimiser([{"params": list(discriminator.parameters()), "peak_lr": config.lr}], config)


def set_lr(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to its peak times ``factor``."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak_lr"] * factor


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Within the block no gradient reaches the network's parameters."""
    before = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in before:
            parameter.requires_grad_(flag)


@contextmanager
def statistics_untouched(network: nn.Module) -> Iterator[None]:
    """Within the block BatchNorm in training mode uses batch statistics but does not record them."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    before = [layer.track_running_stats for layer in layers]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer, flag in zip(layers, before, strict=True):
            layer.track_running_stats = flag


def _compiled(student: nn.Module) -> nn.Module:
    # torch.compile is typed as giving a callable; of a module it gives a module.
    return cast("nn.Module", torch.compile(student))


def _optimiser(groups: list[dict[str, object]], config: OptimiserConfig) -> torch.optim.Optimizer:
    decay, betas = config.weight_decay, (config.beta1, config.beta2)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.beta1, weight_decay=decay)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr, betas=betas, weight_decay=decay)
