"""The ``train`` section: networks, losses, schedule.

The defaults are the ``recommended`` recipe: labelled cross-entropy in every step, so that the adversarial
part can never run away with the segmentor. ``configs/paper.yaml`` holds the published two-phase schedule.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from wsiseg.config.base import Section

_FLAT = 1e-3
"""Volume between three stains from which on they are three: amounts are told by inverting their matrix."""


def _volume(rows: Sequence[Sequence[float]]) -> float:
    """Volume that three vectors span, each made a unit long first; 0 where one of them is 0."""
    (a, b, c), (d, e, f), (g, h, i) = rows
    lengths = math.prod(math.hypot(*row) for row in rows)
    return abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)) / lengths if lengths else 0.0


RGB = tuple[float, float, float]

Positive = Annotated[float, Field(gt=0)]

MAX_SEED = 2**32 - 1
"""Torch takes 64 bits, of which a step's own seed needs some."""

IMAGENET_MEAN: RGB = (0.485, 0.456, 0.406)
IMAGENET_STD: RGB = (0.229, 0.224, 0.225)


class SegmentorConfig(Section):
    """The network that segments."""

    architecture: str = Field("deeplabv3plus", description="Any segmentation-models-pytorch architecture")
    encoder: str = Field(
        "auto",
        description="auto: tu-xception65 on a GPU if its weights need no download, "
        "else tu-tf_efficientnet_lite0",
    )
    weights: str = Field(
        "auto",
        description="none, imagenet, a safetensors or pth file; "
        "auto: imagenet if that needs no download, else none",
    )
    atrous_rates: tuple[int, int, int] = Field((6, 12, 18), description="ASPP; the 1x1 branch is built in")
    output_stride: Literal[8, 16] = Field(16, description="Stride of the encoder's last stage")
    mean: RGB | Literal["auto"] = Field(
        "auto",
        description="Of an input in 0-1; auto: what timm's weights of the encoder expect, or ImageNet's",
    )
    std: tuple[Positive, Positive, Positive] | Literal["auto"] = Field(
        "auto", description="Of an input in 0-1; auto: as mean"
    )

    @property
    def input_statistics(self) -> tuple[RGB, RGB]:
        """Mean and standard deviation; an ``auto`` that nobody has resolved counts as ImageNet's."""
        mean = IMAGENET_MEAN if self.mean == "auto" else self.mean
        return mean, IMAGENET_STD if self.std == "auto" else self.std


class DiscriminatorConfig(Section):
    """The network that tells annotations from predictions."""

    kind: Literal["fcn", "patchgan", "none"] = Field("fcn", description="One score a pixel, or a patch")
    receptive_field: Literal[16, 70, 256, 286] = Field(
        70, description="Of a PatchGAN score, in pixels; 256 is not reachable and means 286"
    )
    see_image: bool = Field(True, description="Judge the segmentation with the image beside it")
    width: int = Field(32, ge=4, multiple_of=4, description="Channels of the first stage")
    spectral_norm: bool = Field(False, description="Bound the Lipschitz constant of each convolution")
    group_norm: bool = Field(True, description="Group normalisation; never BatchNorm")
    fake_target: Literal["zeros", "correctness"] = Field(
        "correctness", description="What a fake pixel should score: 0, or 1 where its class is right"
    )
    fake_input: Literal["soft", "argmax"] = Field(
        "argmax", description="Show probabilities, or the hard classes with a straight-through gradient"
    )
    mismatched_pairs: bool = Field(True, description="Show another tile's ground truth as a fake as well")
    every: int = Field(1, ge=1, description="One discriminator step every so many segmentor steps")


class OptimiserConfig(Section):
    """One optimiser and its learning rate."""

    name: Literal["adamw", "adam", "sgd"] = Field("adamw", description="Update rule")
    lr: float = Field(1e-3, ge=0, description="Learning rate at its peak")
    head_lr_factor: float = Field(1.0, gt=0, description="Learning rate of decoder and head over encoder")
    weight_decay: float = Field(1e-4, ge=0, description="Decoupled for adamw")
    beta1: float = Field(0.9, ge=0, lt=1, description="Momentum of adam and sgd")
    beta2: float = Field(0.99, ge=0, lt=1, description="Second moment of adam")
    schedule: Literal["poly", "constant"] = Field("poly", description="(1 - step / steps) ** power")
    power: float = Field(0.9, gt=0, description="Of the poly schedule")
    warmup_share: float = Field(0.05, ge=0, lt=1, description="Share of the steps with a rising rate")
    clip_norm: float = Field(5.0, gt=0, description="Largest gradient norm")


class LossConfig(Section):
    """The losses on labelled tiles."""

    cross_entropy: float = Field(1.0, ge=0, description="Weight of the cross-entropy")
    dice: float = Field(1.0, ge=0, description="Weight of the soft Dice loss")
    class_balance: float = Field(
        0.5, ge=0, le=1, description="Class weights (1 / frequency) ** this; 0: all alike"
    )


class PseudoLabelConfig(Section):
    """Learning from the teacher's predictions on unlabelled tiles."""

    weight: float = Field(1.0, ge=0, description="Weight of the loss on pseudo-labels")
    gate: Literal["discriminator", "confidence", "both"] = Field(
        "both", description="Whose word a pseudo-label needs"
    )
    keep_share: float = Field(
        0.7, gt=0, le=1, description="Of each predicted class, the best-judged pixels that are kept"
    )
    min_score: float = Field(0.2, ge=0, le=1, description="Worse-judged pixels are never kept")
    cutmix: bool = Field(True, description="Paste a box of one unlabelled tile into another")


class PhaseConfig(Section):
    """A stretch of training with one objective."""

    name: str = Field(min_length=1, description="Shown in the logs")
    share: float = Field(gt=0, le=1, description="Share of all steps")
    labelled: bool = Field(True, description="Losses on labelled tiles")
    unlabelled: bool = Field(False, description="Losses on unlabelled tiles")
    lambda_labelled: float = Field(0.001, ge=0, description="lambda_1, adversarial weight on labelled tiles")
    lambda_unlabelled: float = Field(0.001, ge=0, description="lambda_2, the same on unlabelled tiles")
    ramp_share: float = Field(0.25, ge=0, le=1, description="Share of the phase in which the weights rise")
    discriminator: Literal["train", "refresh", "frozen"] = Field(
        "train", description="Trained on labelled tiles; on unlabelled predictions too; not at all"
    )
    validate_every: int | None = Field(
        None, ge=1, description="Steps between validations in this phase, instead of train.validations"
    )
    pseudo_labels: bool = Field(False, description="Also learn from gated pseudo-labels")
    record_statistics: bool = Field(
        True, description="BatchNorm's running statistics follow the tiles of this phase"
    )
    optimiser: OptimiserConfig | None = Field(None, description="A fresh optimiser for this phase alone")


class SamplerConfig(Section):
    """Which tiles a batch holds."""

    batch_size: int = Field(4, ge=2, description="Tiles a step, over all devices together")
    unlabelled_batch_size: int = Field(4, ge=2, description="Unlabelled tiles a step")
    class_quota: float = Field(
        0.5, ge=0, le=1, description="Share of labelled tiles drawn so that each class comes up in turn"
    )
    min_class_pixels: int = Field(32, ge=1, description="A tile shows a class from so many pixels on")


class SplitConfig(Section):
    """Which slides are kept for validation: always whole slides, or whole patients."""

    validation_share: float = Field(0.2, ge=0, lt=1, description="Share of the labelled slides")
    validation_slides: tuple[str, ...] = Field((), description="Names of the slides, instead of a share")
    patient_pattern: str | None = Field(
        None, description="Regular expression whose first group in a slide's name is the patient"
    )
    max_validation_tiles: int = Field(64, ge=1, description="Tiles looked at in each validation")
    labelled_share: float = Field(
        1.0, gt=0, le=1, description="Share of the labelled training tiles that keep their labels"
    )
    labelled_seed: int = Field(
        0, ge=0, description="Which tiles those are; a smaller share lies in a larger one"
    )
    also_labelled: dict[str, tuple[int, ...]] = Field(
        default_factory=dict,
        description="Tiles that keep their labels besides: name of a slide -> positions in its store",
    )


class AugmentConfig(Section):
    """Random changes of a training tile; amounts are half-widths around no change.

    As wide as laboratories and scanners differ: with a handful of slides to learn from, that is what they
    do not show. How much wide changes of colour are worth: Tellez et al., Medical Image Analysis 58 (2019).
    """

    dihedral: bool = Field(True, description="Flips and quarter turns")
    scale: float = Field(0.3, ge=0, lt=1, description="Zoom in or out by up to this share")
    stain: Literal["he", "pas"] | tuple[tuple[float, float, float], ...] = Field(
        "pas", description="Stain matrix of the HED jitter: he, pas or three rows of optical densities"
    )
    hed: float = Field(0.2, ge=0, description="Jitter of each stain's amount")
    brightness: float = Field(0.2, ge=0, lt=1, description="Jitter of brightness")
    contrast: float = Field(0.3, ge=0, lt=1, description="Jitter of contrast")
    hue_degrees: float = Field(15.0, ge=0, le=180, description="Turn of the colour circle")
    saturation: float = Field(0.3, ge=0, lt=1, description="Jitter of saturation")
    blur_px: float = Field(1.0, ge=0, description="Largest standard deviation of a Gaussian blur")
    blur_share: float = Field(0.2, ge=0, le=1, description="Share of tiles that are blurred")
    noise: float = Field(0.02, ge=0, description="Largest standard deviation of noise, of 0-1")

    @model_validator(mode="after")
    def _three_stains(self) -> Self:
        if not isinstance(self.stain, str) and len(self.stain) != 3:
            raise ValueError("stain must be he, pas or three rows of three numbers")
        if not isinstance(self.stain, str) and _volume(self.stain) < _FLAT:
            raise ValueError("stain must have three rows of which none is made of the others")
        return self


class GuardConfig(Section):
    """When to step in."""

    enabled: bool = Field(True, description="Back off, roll back and fall back")
    d_loss_low: float = Field(0.1, ge=0, description="Below this the discriminator has won")
    d_loss_high: float = Field(0.67, gt=0, description="Above this it cannot tell anything (ln 2 = 0.69)")
    back_off: float = Field(0.5, gt=0, lt=1, description="Factor on the adversarial weights")
    check_every: int = Field(25, ge=1, description="Steps between two looks at the discriminator's loss")
    max_drop: float = Field(0.02, gt=0, description="Fall of validation IoU that calls for a rollback")
    max_rollbacks: int = Field(3, ge=0, description="After so many the phase ends")


class TrainConfig(Section):
    """The method: networks, losses, schedule."""

    seed: int = Field(0, ge=0, le=MAX_SEED, description="Seed of everything random")
    steps: int | Literal["auto"] = Field(
        "auto", description="Segmentor steps of all phases; auto: 600 on a CPU, 20000 on a GPU"
    )
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        "auto", description="auto: bf16-mixed where the processor has it"
    )
    baseline: bool = Field(
        False, description="Train the supervised twin first, and say whether unlabelled tiles helped"
    )
    accumulate: int = Field(1, ge=1, description="Batches added up before the segmentor moves")
    compile: bool = Field(False, description="torch.compile the segmentor")
    segmentor: SegmentorConfig = Field(default_factory=SegmentorConfig)
    discriminator: DiscriminatorConfig = Field(default_factory=DiscriminatorConfig)
    optimiser: OptimiserConfig = Field(default_factory=OptimiserConfig, description="Of the segmentor")
    discriminator_optimiser: OptimiserConfig = Field(
        default_factory=lambda: OptimiserConfig(name="adam", lr=1e-4, weight_decay=0.0)
    )
    losses: LossConfig = Field(default_factory=LossConfig)
    pseudo_labels: PseudoLabelConfig = Field(default_factory=PseudoLabelConfig)
    phases: tuple[PhaseConfig, ...] = Field(
        default_factory=lambda: (
            PhaseConfig(name="supervised", share=0.3),
            PhaseConfig(
                name="semi-supervised",
                share=0.7,
                unlabelled=True,
                discriminator="refresh",
                pseudo_labels=True,
            ),
        ),
        min_length=1,
        description="One after the other; their shares add up to 1",
    )
    ema_decay: float = Field(0.99, ge=0, lt=1, description="Of the averaged weights that are used in the end")
    sampler: SamplerConfig = Field(default_factory=SamplerConfig)
    split: SplitConfig = Field(default_factory=SplitConfig)
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    guards: GuardConfig = Field(default_factory=GuardConfig)
    validations: int = Field(10, ge=1, description="Validations over the whole run")

    @model_validator(mode="after")
    def _phases_fit(self) -> Self:
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of the phases add up to {total:g}, not to 1")
        if isinstance(self.steps, int) and self.steps < len(self.phases):
            raise ValueError(f"steps: {self.steps} steps for {len(self.phases)} phases")
        if self.discriminator_optimiser.head_lr_factor != 1:
            raise ValueError("discriminator_optimiser.head_lr_factor: a discriminator has one learning rate")
        for phase in self.phases:
            if not phase.labelled and not phase.unlabelled:
                raise ValueError(f"phase {phase.name!r} learns from neither labelled nor unlabelled tiles")
            if phase.pseudo_labels and not phase.unlabelled:
                raise ValueError(f"phase {phase.name!r}: pseudo_labels need unlabelled: true")
            if phase.unlabelled and not (phase.pseudo_labels or self.is_adversarial):
                raise ValueError(
                    f"phase {phase.name!r} can learn nothing from unlabelled tiles: there is neither a "
                    "discriminator (discriminator.kind) nor pseudo_labels"
                )
        return self

    @property
    def is_adversarial(self) -> bool:
        """Whether there is a discriminator at all."""
        return self.discriminator.kind != "none"
