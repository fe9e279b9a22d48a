"""Discriminators: shapes, receptive fields, no BatchNorm."""

import pytest
import torch
from torch import nn

from wsiseg.config.training import DiscriminatorConfig
from wsiseg.model.discriminator import PatchGAN, build_discriminator, receptive_field

FIELDS = [(16, 16), (70, 70), (256, 286), (286, 286)]


def patchgan(asked: int, **options: bool) -> PatchGAN:
    config = DiscriminatorConfig(kind="patchgan", receptive_field=asked, width=4, **options)
    network = build_discriminator(config, classes=2)
    assert isinstance(network, PatchGAN)
    return network


@pytest.mark.parametrize(("asked", "field"), FIELDS)
def test_receptive_field_by_recursion(asked: int, field: int) -> None:
    assert receptive_field(patchgan(asked).layers) == field


@pytest.mark.parametrize(("asked", "field"), FIELDS)
def test_receptive_field_by_gradient(asked: int, field: int) -> None:
    torch.manual_seed(0)
    # Group normalisation looks at the whole map, so it is left out here.
    network = patchgan(asked, group_norm=False, see_image=False).double()
    segmentation = torch.rand(1, 2, 640, 640, dtype=torch.float64, requires_grad=True)
    scores = network(torch.zeros(1, 3, 640, 640, dtype=torch.float64), segmentation)
    middle = scores.shape[-1] // 2
    scores[0, 0, middle, middle].backward()
    assert segmentation.grad is not None
    touched = segmentation.grad.abs().sum(dim=(0, 1)) > 0
    for axis in (0, 1):
        where = touched.any(dim=axis).nonzero()
        first, last = int(where.min()), int(where.max())
        assert last - first + 1 == field
        # The grid of places lies over the tile as it is: each looks at what surrounds its own square.
        assert (first + last + 1) / 2 == (middle + 0.5) * 640 / scores.shape[-1]


def test_the_layers_are_those_that_the_recursion_counts() -> None:
    network = patchgan(70)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [(c.kernel_size[0], c.stride[0]) for c in convolutions] == network.layers


@pytest.mark.parametrize("kind", ["fcn", "patchgan"])
@pytest.mark.parametrize("spectral", [False, True])
def test_no_batch_normalisation(kind: str, spectral: bool) -> None:
    config = DiscriminatorConfig(kind=kind, width=4, spectral_norm=spectral)
    network = build_discriminator(config, classes=3)
    assert not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in network.modules())
    slopes = {layer.negative_slope for layer in network.modules() if isinstance(layer, nn.LeakyReLU)}
    assert slopes == {0.2}


def test_fcn_answers_on_the_pixels_of_the_tile() -> None:
    network = build_discriminator(DiscriminatorConfig(width=4), classes=3)
    assert network(torch.rand(2, 3, 48, 64), torch.rand(2, 3, 48, 64)).shape == (2, 1, 48, 64)


def test_image_conditioning_can_be_switched() -> None:
    torch.manual_seed(0)
    one, other, planes = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32), torch.rand(1, 2, 32, 32)
    seeing = build_discriminator(DiscriminatorConfig(width=4), classes=2)
    blind = build_discriminator(DiscriminatorConfig(width=4, see_image=False), classes=2)
    assert not torch.equal(seeing(one, planes), seeing(other, planes))
    assert torch.equal(blind(one, planes), blind(other, planes))


def test_each_tile_is_judged_by_itself() -> None:
    torch.manual_seed(0)
    network = build_discriminator(DiscriminatorConfig(width=4), classes=2)
    images, planes = torch.rand(3, 3, 32, 32), torch.rand(3, 2, 32, 32)
    together = network(images, planes)
    alone = torch.cat([network(images[n : n + 1], planes[n : n + 1]) for n in range(3)])
    torch.testing.assert_close(together, alone)


def test_none_builds_nothing() -> None:
    with pytest.raises(ValueError, match="no discriminator"):
        build_discriminator(DiscriminatorConfig(kind="none"), classes=2)
