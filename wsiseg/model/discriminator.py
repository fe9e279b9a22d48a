"""The discriminators: is this segmentation of this image an annotation or a prediction?

Neither holds BatchNorm: an all-real batch could be told from an all-fake one by its statistics alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from wsiseg.config.training import DiscriminatorConfig

PATCH_LAYERS = {16: 1, 70: 3, 256: 5, 286: 5}
"""Receptive field of a PatchGAN score -> stride-2 layers. 256 px cannot be reached; it is an alias of 286."""


def build_discriminator(config: DiscriminatorConfig, classes: int) -> "Discriminator":
    """Build the configured discriminator for K classes.

    Raises:
        ValueError: ``kind`` is ``none``.
    """
    if config.kind == "fcn":
        return FullyConvolutional(config, classes)
    if config.kind == "patchgan":
        return PatchGAN(config, classes)
    raise ValueError("there is no discriminator of kind 'none'")


class Discriminator(nn.Module, ABC):
    """Scores a segmentation: ``(image_NCHW, segmentation_NKHW)`` to logits ``(N, 1, h, w)``.

    The FCN answers on the tile's own pixels, a PatchGAN on a coarser grid. A logit above 0 means real.
    """

    def __init__(self, config: DiscriminatorConfig, classes: int) -> None:
        super().__init__()
        self.config = config
        self.in_channels = classes + (3 if config.see_image else 0)

    def forward(self, image_NCHW: Tensor, segmentation_NKHW: Tensor) -> Tensor:
        """Score every pixel or patch."""
        seen = (image_NCHW, segmentation_NKHW) if self.config.see_image else (segmentation_NKHW,)
        return self.score(torch.cat([part.to(segmentation_NKHW.dtype) for part in seen], dim=1))

    @abstractmethod
    def score(self, stacked_NCHW: Tensor) -> Tensor:
        """Score image and segmentation, stacked along the channels."""


class FullyConvolutional(Discriminator):
    """An encoder-decoder with one logit a pixel.

    Four halvings see about 100 px of context; the decoder goes back to half resolution with skips from the
    encoder, and the last step is bilinear, so that no checkerboard enters the gradient.
    """

    def __init__(self, config: DiscriminatorConfig, classes: int) -> None:
        super().__init__(config, classes)
        widths = [config.width * factor for factor in (1, 2, 4, 4)]
        inputs = [self.in_channels, *widths[:-1]]
        self.down = nn.ModuleList(
            _block(config, i, o, stride=2, normalise=n > 0)
            for n, (i, o) in enumerate(zip(inputs, widths, strict=True))
        )
        skips = widths[-2::-1]
        self.up = nn.ModuleList(
            _block(config, above + skip, skip, kernel=3)
            for above, skip in zip([widths[-1], *skips[:-1]], skips, strict=True)
        )
        self.head = nn.Conv2d(widths[0], 1, kernel_size=1)

    def score(self, stacked_NCHW: Tensor) -> Tensor:
        """Logits ``(N, 1, H, W)``."""
        levels = [stacked_NCHW]
        for block in self.down:
            levels.append(block(levels[-1]))
        x = levels.pop()
        for block, skip in zip(self.up, levels[:0:-1], strict=True):
            x = block(torch.cat([_resize(x, skip), skip], dim=1))
        return _resize(self.head(x), stacked_NCHW)


class PatchGAN(Discriminator):
    """A stack of 4x4 convolutions whose every logit sees a square of ``receptive_field`` pixels."""

    def __init__(self, config: DiscriminatorConfig, classes: int) -> None:
        super().__init__(config, classes)
        halvings = PATCH_LAYERS[config.receptive_field]
        widths = [config.width * min(2**n, 8) for n in range(halvings + 1)]
        inputs = [self.in_channels, *widths[:-1]]
        strides = [2] * halvings + [1]
        self.body = nn.Sequential(
            *(
                _block(config, i, o, stride=stride, normalise=n > 0)
                for n, (i, o, stride) in enumerate(zip(inputs, widths, strides, strict=True))
            )
        )
        self.head = nn.Conv2d(widths[-1], 1, kernel_size=4, padding=1)
        self.layers = [(4, stride) for stride in strides] + [(4, 1)]

    def score(self, stacked_NCHW: Tensor) -> Tensor:
        """Logits ``(N, 1, h, w)``, one for each square of the last stride; h is H over it.

        The two convolutions of stride 1 leave one place less on each side. The outermost answers for that one
        too: stretched over the tile instead, places would be trained on, and shown, away from what they see.
        """
        logits: Tensor = self.head(self.body(stacked_NCHW))
        return functional.pad(logits, (1, 1, 1, 1), mode="replicate")


def receptive_field(layers: Sequence[tuple[int, int]]) -> int:
    """Pixels that one output sees: ``rf = (rf_out - 1) * stride + kernel``, from the last layer to the first.

    Args:
        layers: ``(kernel, stride)`` from input to output.

    >>> receptive_field([(4, 2), (4, 2), (4, 2), (4, 1), (4, 1)])
    70
    """
    field = 1
    for kernel, stride in reversed(layers):
        field = (field - 1) * stride + kernel
    return field


def _block(
    config: DiscriminatorConfig,
    inputs: int,
    outputs: int,
    *,
    kernel: int = 4,
    stride: int = 1,
    normalise: bool = True,
) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=1)
    parts: list[nn.Module] = [spectral_norm(convolution) if config.spectral_norm else convolution]
    if normalise and config.group_norm:
        parts.append(nn.GroupNorm(num_groups=4, num_channels=outputs))
    return nn.Sequential(*parts, nn.LeakyReLU(0.2))


def score_pixels(verdict_N1hw: Tensor, size: Sequence[int]) -> Tensor:
    """What logits of a discriminator say of each pixel: 0-1, ``(N, *size)``, bilinear between patches."""
    scores_N1hw = verdict_N1hw.float().sigmoid()
    return functional.interpolate(scores_N1hw, size=list(size), mode="bilinear", align_corners=False)[:, 0]


def _resize(x_NCHW: Tensor, like_NCHW: Tensor) -> Tensor:
    return functional.interpolate(x_NCHW, size=like_NCHW.shape[-2:], mode="bilinear", align_corners=False)
