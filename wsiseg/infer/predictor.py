"""A trained network as a predictor of tiles.

Array names: N tiles, K classes, T side of a tile.
"""

import shutil
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsiseg.errors import ConfigError
from wsiseg.infer.turning import DIHEDRAL, FLIPS, Predictor, TurningPredictor
from wsiseg.model.checkpoint import TrainedModel


class TorchPredictor:
    """A trained segmentor as a predictor.

    Which tiles share a batch may change the last bits of a floating-point result, so batches are formed
    in one way only (see ``wsiseg.infer.tiles``); the same device then gives the same bytes.

    Args:
        model: On its device, in evaluation mode.
        device: Where it is.
        precision: ``auto`` is bf16 where the device computes in it, else fp32.
        compiled: Compile the network first.

    Raises:
        ConfigError: fp16 on a CPU, or no C++ compiler to compile with.
    """

    def __init__(
        self, model: TrainedModel, device: torch.device, *, precision: str = "auto", compiled: bool = False
    ) -> None:
        self._normalise = model.normalise
        self._device = device
        self._dtype = choose_dtype(precision, device)
        self._network: Callable[[Tensor], Tensor] = model.segmentor
        if compiled:
            self._network = _compiled(model.segmentor, device)

    @torch.inference_mode()
    def __call__(self, images_NTT3: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """See ``Predictor``."""
        image_N3TT = self._normalise(images_NTT3)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            logits_NKTT = self._network(image_N3TT)
        probabilities: NDArray[np.float32] = logits_NKTT.float().softmax(dim=1).cpu().numpy()
        return probabilities


def build_predictor(
    model: TrainedModel, device: torch.device, *, precision: str, compiled: bool, tta: str
) -> Predictor:
    """The predictor that a configuration asks for; see ``wsiseg.config.PredictConfig``.

    Raises:
        ConfigError: As ``TorchPredictor``.
    """
    predictor: Predictor = TorchPredictor(model, device, precision=precision, compiled=compiled)
    if tta == "none":
        return predictor
    return TurningPredictor(predictor, FLIPS if tta == "flips" else DIHEDRAL)


def choose_device(name: str = "auto") -> torch.device:
    """A device by name; ``auto`` takes a GPU where there is one.

    Raises:
        ConfigError: No such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as err:
        raise ConfigError(f"--device {name} cannot be used here: {str(err).splitlines()[0]}") from err
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type in which a network computes; see ``TorchPredictor``.

    Raises:
        ConfigError: fp16 on a CPU.
    """
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError(
            "predict.precision: fp16 on a CPU", remedy="Use bf16 or fp32, or a GPU with --device cuda"
        )
    if precision != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_has_bf16()
    return torch.bfloat16 if fast and device.type in ("cuda", "cpu") else torch.float32


def _cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 itself; emulated it is slower than fp32."""
    # Older releases of torch do not tell; fp32 is right everywhere.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _compiled(network: torch.nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    if device.type == "cpu" and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise ConfigError(
            "predict.compile: no C++ compiler is installed",
            remedy="Install one, or leave predict.compile at false",
        )
    compiled: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False)
    return compiled
