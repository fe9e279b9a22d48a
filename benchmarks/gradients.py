"""Gradients of grouped convolutions in bfloat16 on a processor: torch's own against wsiseg's.

    python benchmarks/gradients.py [--repeat 5] [--threads 2]

First the layers that DeepLabV3+ is made of on tiles of 512 px, batches of four: the error of the weight
gradient against float64, and the milliseconds of the backward pass. Then a whole segmentor, forward and
backward. Both ways run in turn; medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from wsiseg.config.training import SegmentorConfig
from wsiseg.model.grouped import SoundGradients
from wsiseg.model.segmentor import build_segmentor


class Layer(NamedTuple):
    """A depth-wise convolution, padded so that stride 1 keeps the size."""

    channels: int
    side: int
    kernel: int
    stride: int
    dilation: int


LAYERS = {
    "ASPP, rate 6": Layer(320, 32, 3, 1, 6),
    "ASPP, rate 12": Layer(320, 32, 3, 1, 12),
    "encoder, last stage (dilated)": Layer(1152, 32, 5, 1, 2),
    "encoder, fourth stage": Layer(672, 32, 5, 1, 1),
    "encoder, third stage": Layer(240, 64, 5, 1, 1),
    "encoder, strided": Layer(144, 128, 5, 2, 1),
    "decoder": Layer(304, 128, 3, 1, 1),
}
WAYS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "torch": nullcontext,
    "wsiseg": SoundGradients,
}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {options.threads} threads, medians of {options.repeat}")
    print(f"{'layer':32} {'torch: error':>14} {'ms':>6} {'wsiseg: error':>14} {'ms':>6}")
    for name, layer in LAYERS.items():
        print(f"{name:32} " + " ".join(one_layer(layer, options.repeat)))
    print(f"\n{'segmentor, forward and backward':40} {'torch s':>8} {'wsiseg s':>9} {'ratio':>6}")
    for encoder in ("tu-tf_efficientnet_lite0", "tu-mobilenetv3_small_100"):
        for side in (512, 256):
            seconds = whole_segmentor(encoder, side, options.repeat)
            title, ratio = f"{encoder}, 4 tiles of {side} px", seconds["torch"] / seconds["wsiseg"]
            print(f"{title:40} {seconds['torch']:8.2f} {seconds['wsiseg']:9.2f} {ratio:6.2f}")


def one_layer(layer: Layer, repeat: int) -> list[str]:
    """Error and milliseconds of each way."""
    channels, side, kernel, stride, dilation = layer
    padding = dilation * (kernel // 2)
    image = torch.randn(4, channels, side, side).bfloat16().to(memory_format=torch.channels_last)
    weight = torch.randn(channels, 1, kernel, kernel).bfloat16()

    def forward(image: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image, weight = image.detach().requires_grad_(), weight.detach().requires_grad_()
        return image, weight, functional.conv2d(image, weight, None, stride, padding, dilation, channels)

    _, wide_weight, wide = forward(image.double(), weight.double())
    seed = torch.randn(wide.shape).bfloat16().to(memory_format=torch.channels_last)
    (expected,) = torch.autograd.grad(wide, [wide_weight], seed.double())
    errors: dict[str, float] = {}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repeat):
        for way, enter in WAYS.items():
            with enter():
                seen, learnt, output = forward(image, weight)
            begun = time.perf_counter()
            (_, gradient) = torch.autograd.grad(output, [seen, learnt], seed)
            times[way].append(time.perf_counter() - begun)
            errors[way] = float((gradient.double() - expected).norm() / expected.norm())
    return [f"{errors[way]:14.1e} {1e3 * statistics.median(times[way]):6.0f}" for way in WAYS]


def whole_segmentor(encoder: str, side: int, repeat: int) -> dict[str, float]:
    """Seconds of each way."""
    network = build_segmentor(SegmentorConfig(encoder=encoder, weights="none"), classes=4)
    network.to(memory_format=torch.channels_last)
    image = torch.rand(4, 3, side, side).to(memory_format=torch.channels_last)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(repeat + 1):
        for way, enter in WAYS.items():
            begun = time.perf_counter()
            with enter(), torch.autocast("cpu", torch.bfloat16):
                logits = network(image)
            torch.autograd.backward(logits.float().square().mean())
            network.zero_grad()
            if turn:  # the first warms up
                times[way].append(time.perf_counter() - begun)
    return {way: statistics.median(seconds) for way, seconds in times.items()}


if __name__ == "__main__":
    main()
