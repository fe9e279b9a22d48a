"""The gradients of grouped convolutions in bfloat16, against float64."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wsiseg.config.training import SegmentorConfig
from wsiseg.model.grouped import SoundGradients
from wsiseg.model.segmentor import build_segmentor


def gradients(image: Tensor, weight: Tensor, seed: Tensor, **shape: object) -> tuple[Tensor, Tensor, Tensor]:
    """Output and gradients of one convolution, in float64."""
    image, weight = image.detach().requires_grad_(), weight.detach().requires_grad_()
    output = functional.conv2d(image, weight, **shape)
    output.backward(seed.to(output.dtype))
    return tuple(part.detach().double() for part in (output, image.grad, weight.grad))


@pytest.mark.parametrize(
    ("channels", "groups", "side", "kernel", "shape"),
    [
        (16, 16, 32, 3, {"padding": 2, "dilation": 2}),  # torch's own weight gradient is wrong: all of these
        (16, 16, 40, 3, {"padding": 12, "dilation": 12}),
        (16, 16, 32, 5, {"padding": 4, "dilation": 2}),
        (32, 8, 32, 3, {"padding": 2, "dilation": 2}),
        (16, 16, 33, 5, {"stride": 2}),  # and these it works out slowly
        (16, 16, 32, 3, {"stride": (2, 1), "padding": (1, 0)}),
        (16, 16, 20, 3, {"padding": 1}),
        (32, 8, 16, 3, {"padding": 1}),
    ],
)
def test_gradients_are_those_of_float64(channels, groups, side, kernel, shape) -> None:
    generator = torch.Generator().manual_seed(side)
    image = torch.randn(2, channels, side, side + 3, generator=generator).bfloat16()
    weight = torch.randn(channels, channels // groups, kernel, kernel, generator=generator).bfloat16()
    wide = functional.conv2d(image.double(), weight.double(), groups=groups, **shape)
    seed = torch.randn(wide.shape, generator=generator).bfloat16()
    expected = gradients(image.double(), weight.double(), seed, groups=groups, **shape)
    with SoundGradients():
        found = gradients(image.to(memory_format=torch.channels_last), weight, seed, groups=groups, **shape)
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).norm() / other.norm()) < 0.005


def test_a_bias_and_names_are_taken() -> None:
    image, weight, bias = torch.randn(1, 4, 8, 8), torch.randn(4, 1, 3, 3), torch.randn(4)
    expected = functional.conv2d(image, weight, bias, padding=1, groups=4)
    with SoundGradients(), torch.autocast("cpu", torch.bfloat16):
        found = functional.conv2d(input=image, weight=weight, bias=bias, padding=1, groups=4)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0.02)


@pytest.mark.parametrize("shape", [{}, {"padding": "same", "groups": 4}, {"padding": 1, "groups": 4}])
def test_all_else_is_left_to_torch(shape: dict[str, object]) -> None:
    image, weight = torch.randn(1, 4, 8, 8), torch.randn(4, 4 // int(shape.get("groups", 1)), 3, 3)
    with SoundGradients():
        assert torch.equal(functional.conv2d(image, weight, **shape), torch.conv2d(image, weight, **shape))


def test_a_segmentor_learns_from_large_tiles_as_in_float32() -> None:
    """Tiles of 512 px, of which 32 x 32 places are left at output stride 16: where torch fails."""
    torch.manual_seed(0)
    config = SegmentorConfig(encoder="tu-mobilenetv3_small_050", weights="none")
    network = build_segmentor(config, classes=3).to(memory_format=torch.channels_last)
    for part in network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    image = torch.rand(2, 3, 512, 512).to(memory_format=torch.channels_last)
    found = {}
    for half in (False, True):
        network.zero_grad()
        with SoundGradients(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(image)
        logits.float().square().mean().backward()
        found[half] = {
            name: weight.grad.flatten()
            for name, weight in network.named_parameters()
            if "aspp" in name and weight.ndim == 4 and weight.shape[1] == 1
        }
    assert len(found[True]) == 4  # three rates and the one behind them
    for name, gradient in found[True].items():
        assert functional.cosine_similarity(gradient, found[False][name], dim=0) > 0.9, name
