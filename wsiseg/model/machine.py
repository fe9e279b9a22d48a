"""What a device can do."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from wsiseg.errors import ConfigError, TrainingError


def computes_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bf16 itself; emulated it is slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # Older releases of torch do not tell; fp32 is right everywhere.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def check_compiler(key: str) -> None:
    """Make sure that there is the C++ compiler which ``torch.compile`` needs on a CPU.

    Args:
        key: The setting that asks for it, for the message.

    Raises:
        ConfigError: There is none.
    """
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise ConfigError(
            f"{key}: no C++ compiler is installed", remedy=f"Install one, or leave {key} at false"
        )


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
