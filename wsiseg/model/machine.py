"""What a device can do."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from wsiseg.errors import TrainingError


def computes_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bf16 itself; emulated it is slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # Older releases of torch do not tell; fp32 is right everywhere.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def has_compiler() -> bool:
    """Whether there is the C++ compiler that ``torch.compile`` needs on a CPU."""
    return any(shutil.which(name) for name in ("c++", "g++", "clang++"))


@contextmanager
def memory_errors(doing: str, remedy: str) -> Iterator[None]:
    """Within the block a device that runs out of memory is an error of ours.

    Args:
        doing: What needs the memory, for the message.
        remedy: What to do about it.

    Raises:
        TrainingError: The device has too little memory.
    """
    try:
        yield
    except torch.OutOfMemoryError as err:
        raise TrainingError(f"the GPU has too little memory for {doing}", remedy=remedy) from err
