"""Grouped convolutions whose gradients are right, and quick, on a processor.

In bfloat16 and ``channels_last``, oneDNN as torch 2.11 and 2.15 bring it gets the weight gradient of a
dilated grouped convolution wrong where what comes out is 32 or more places wide: numbers that have nothing
to do with it, now and then of the order of 1e33. That is the ASPP, and every depth-wise encoder's last
stage, on tiles of 512 px. Where the gradient is right it is slow: up to four times what float32 takes.
Forward passes are right and quick, so only the backward pass is replaced: design note 006.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]


class SoundGradients(TorchFunctionMode):
    """Inside of it, bfloat16 convolutions in groups on a processor get the backward pass of this module.

    A mode catches them wherever they are called: encoders bring convolution classes of their own. It is
    the thread's own, and all else passes through.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Called by torch in place of ``func``."""
        kwargs = kwargs or {}
        instead = _convolve(_Call(*args, **kwargs)) if func is functional.conv2d else None
        return func(*args, **kwargs) if instead is None else instead


class _Call(NamedTuple):
    """What ``torch.conv2d`` is called with, by its names and in its order."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None = None
    stride: int | Sequence[int] = 1
    padding: int | Sequence[int] | str = 0
    dilation: int | Sequence[int] = 1
    groups: int = 1


class _Shape(NamedTuple):
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


def _convolve(call: _Call) -> Tensor | None:
    """The convolution by ``_Grouped``, or None where torch's own will do."""
    if call.groups == 1 or isinstance(call.padding, str) or not _is_half_on_processor(call.input):
        return None
    shape = _Shape(_pair(call.stride), _pair(call.padding), _pair(call.dilation), call.groups)
    output: Tensor = _Grouped.apply(call.input.bfloat16(), call.weight, shape)
    return output if call.bias is None else output + call.bias.to(output.dtype).view(-1, 1, 1)


class _Grouped(torch.autograd.Function):
    """Forward as torch does it."""

    @staticmethod
    def forward(ctx: Any, input_NCHW: Tensor, weight: Tensor, shape: _Shape) -> Tensor:
        ctx.save_for_backward(input_NCHW, weight)
        ctx.shape = shape
        return torch.conv2d(input_NCHW, weight.bfloat16(), None, *shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NKHW: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        input_NCHW, weight = ctx.saved_tensors
        wants_input, wants_weight, _ = ctx.needs_input_grad
        return (
            _input_gradient(grad_NKHW, input_NCHW, weight, ctx.shape) if wants_input else None,
            _weight_gradient(grad_NKHW, input_NCHW, weight, ctx.shape) if wants_weight else None,
            None,
        )


def _input_gradient(grad_NKHW: Tensor, input_NCHW: Tensor, weight: Tensor, shape: _Shape) -> Tensor:
    if shape.stride == (1, 1) and len(weight) == shape.groups == input_NCHW.shape[1]:
        # Depth-wise: the same convolution with every kernel turned by half a circle.
        sides = zip(shape.dilation, weight.shape[2:], shape.padding, strict=True)
        padding = [dilation * (kernel - 1) - before for dilation, kernel, before in sides]
        turned = weight.bfloat16().flip(2, 3)
        return torch.conv2d(grad_NKHW, turned, None, 1, padding, shape.dilation, shape.groups)
    gradient: Tensor = conv2d_input(input_NCHW.shape, weight.float(), grad_NKHW.float(), *shape)
    return gradient.bfloat16()


def _weight_gradient(grad_NKHW: Tensor, input_NCHW: Tensor, weight: Tensor, shape: _Shape) -> Tensor:
    # Of small undilated kernels alone it is right and quick in bfloat16.
    small = shape.dilation == (1, 1) and max(weight.shape[2:]) <= 3
    dtype = torch.bfloat16 if small else torch.float32
    gradient: Tensor = conv2d_weight(input_NCHW.to(dtype), weight.shape, grad_NKHW.to(dtype), *shape)
    return gradient.to(weight.dtype)


def _is_half_on_processor(input_NCHW: Tensor) -> bool:
    if input_NCHW.device.type != "cpu":
        return False
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return input_NCHW.dtype == torch.bfloat16


def _pair(value: int | Sequence[int]) -> Pair:
    if isinstance(value, int):
        return value, value
    both = tuple(value)
    return both[0], both[-1]
