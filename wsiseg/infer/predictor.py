"""A trained network as a predictor of tiles.

Array names: N tiles, K classes, C planes of the answer, T side of a tile.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsiseg.config import PredictConfig
from wsiseg.errors import ConfigError
from wsiseg.infer.turning import DIHEDRAL, FLIPS, Predictor, TurningPredictor
from wsiseg.model.checkpoint import TrainedModel, load_trained
from wsiseg.model.discriminator import score_pixels
from wsiseg.model.losses import as_shown
from wsiseg.model.machine import check_compiler, computes_bf16


class TorchPredictor:
    """A trained segmentor as a predictor.

    Which tiles share a batch may change the last bits of a floating-point result, so batches are formed
    in one way only (see ``wsiseg.infer.tiles``); the same device then gives the same bytes.

    Args:
        model: On its device, in evaluation mode.
        device: Where it is.
        precision: ``auto`` is bf16 where the device computes in it, else fp32.
        batch_size: Compile the network first, for so many tiles; fewer are filled up with black ones, since
            every other number would be compiled anew.
        confidence: Ask the discriminator as well; its answer is one more plane.

    Raises:
        ConfigError: fp16 on a CPU, no C++ compiler to compile with, or no discriminator to ask.
    """

    def __init__(
        self,
        model: TrainedModel,
        device: torch.device,
        *,
        precision: str = "auto",
        batch_size: int | None = None,
        confidence: bool = False,
    ) -> None:
        self._normalise = model.normalise
        self._device = device
        self._dtype = choose_dtype(precision, device)
        self._network: Callable[[Tensor], Tensor] = model.segmentor
        self._judge = _judge(model) if confidence else None
        self._filled_to = batch_size or 0
        if batch_size is not None:
            self._network = _compiled(model.segmentor, device)

    @torch.inference_mode()
    def __call__(self, images_NTT3: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """See ``Predictor``."""
        missing = max(0, self._filled_to - len(images_NTT3))
        if missing:
            black = np.zeros((missing, *images_NTT3.shape[1:]), dtype=np.uint8)
            images_NTT3 = np.concatenate([images_NTT3, black])
        image_N3TT = self._normalise(images_NTT3)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            planes_NCTT = self._network(image_N3TT).float().softmax(dim=1)
            if self._judge is not None:
                planes_NCTT = torch.cat([planes_NCTT, self._judge(image_N3TT, planes_NCTT)], dim=1)
        planes: NDArray[np.float32] = planes_NCTT[: len(planes_NCTT) - missing].cpu().numpy()
        return planes


def _judge(model: TrainedModel) -> Callable[[Tensor, Tensor], Tensor]:
    """The discriminator as it was trained: ``(image, probabilities_NKTT)`` to confidence ``(N, 1, T, T)``."""
    discriminator = model.discriminator
    if discriminator is None:
        raise ConfigError("predict.confidence: the model has no discriminator", remedy="Leave it out")

    def judge(image_N3TT: Tensor, probabilities_NKTT: Tensor) -> Tensor:
        shown_NKTT = as_shown(probabilities_NKTT, discriminator.config)
        verdict_N1hw = discriminator(image_N3TT, shown_NKTT)
        return score_pixels(verdict_N1hw, image_N3TT.shape[-2:])[:, None]

    return judge


def build_predictor(model: TrainedModel, device: torch.device, config: PredictConfig) -> Predictor:
    """The predictor that a configuration asks for.

    Raises:
        ConfigError: As ``TorchPredictor``.
    """
    predictor: Predictor = TorchPredictor(
        model,
        device,
        precision=config.precision,
        batch_size=config.batch_size if config.compile else None,
        confidence=config.confidence,
    )
    if config.tta == "none":
        return predictor
    return TurningPredictor(predictor, FLIPS if config.tta == "flips" else DIHEDRAL)


def load_predictors(run: Path, devices: Sequence[torch.device], config: PredictConfig) -> list[Predictor]:
    """One predictor a device, all of the same run.

    Raises:
        CheckpointNotFoundError: ``run`` holds no checkpoint.
        CheckpointFormatError: The checkpoint is damaged.
        ConfigError: As ``TorchPredictor``.
    """
    return [build_predictor(load_trained(run, device), device, config) for device in devices]


def choose_devices(names: str = "auto") -> list[torch.device]:
    """Devices by their names, joined by commas; the same one may be named twice.

    Raises:
        ConfigError: No such device here, or devices that do not compute alike.
    """
    devices = [choose_device(name.strip()) for name in names.split(",")]
    if len({device.type for device in devices}) > 1:
        raise ConfigError(
            f"--device {names}",
            expected="devices of one kind",
            remedy="Their figures differ in the last bits, so a result would depend on who did what",
        )
    return devices


def choose_device(name: str = "auto") -> torch.device:
    """A device by name; ``auto`` takes a GPU where there is one.

    Raises:
        ConfigError: No such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as err:
        raise ConfigError(
            f"--device {name} is no device", expected="auto, cpu, cuda, or one of several such as cuda:1"
        ) from err
    try:
        # There and back: torch also knows devices that only pretend to compute.
        torch.zeros(1, device=device).cpu()
    # RuntimeError: not in this machine, or without arithmetic, like "meta", or without a backend here.
    # AssertionError: a torch that was built without CUDA.
    except (RuntimeError, AssertionError) as err:
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
    return torch.bfloat16 if computes_bf16(device) else torch.float32


def _compiled(network: torch.nn.Module, device: torch.device) -> Callable[[Tensor], Tensor]:
    if device.type == "cpu":
        check_compiler("predict.compile")
    compiled: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False)
    return compiled
