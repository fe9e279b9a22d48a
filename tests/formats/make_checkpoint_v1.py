"""Makes ``v1/checkpoint.zip``: run once, when format version 1 was settled. What it made is never changed.

The weights are a short pattern over and over, so that a whole DeepLabV3+ packs into a few kilobytes; a new
format version gets a folder of its own, and this one must be opened for ever.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from trainstores import fake_store, make_config

from wsiseg.model.checkpoint import load_trained
from wsiseg.progress import NullProgress
from wsiseg.train.data import make_pools
from wsiseg.train.loop import Trainer
from wsiseg.train.split import Split

FOLDER = Path(__file__).parent / "v1"
STEP = 3


def expected_tiles() -> np.ndarray:
    """Tiles ``(2, 32, 32, 3)``, uint8."""
    n, y, x = np.mgrid[:2, :32, :32]
    return np.stack([8 * x, 8 * y, 100 + 100 * n], axis=-1).astype(np.uint8)


def fill(network: nn.Module, shift: int) -> None:
    """A pattern of 61 values in every tensor, of a size that keeps activations alive."""
    pattern = torch.randn(61, generator=torch.Generator().manual_seed(shift))
    floats = {name: t for name, t in network.state_dict().items() if t.is_floating_point()}
    for name, tensor in floats.items():
        values = pattern.repeat(tensor.numel() // 61 + 1)[: tensor.numel()].view(tensor.shape)
        if name.endswith("running_var"):
            values = 1 + values.abs()
        elif tensor.dim() == 1:
            values = 1 + 0.1 * values if name.endswith("weight") else 0.1 * values
        else:
            values = values * (2 / max(1, tensor[0].numel())) ** 0.5
        tensor.copy_(values)


def write(run: Path) -> Path:
    """A checkpoint that predicts and that can be resumed from."""
    stores = [fake_store("a"), fake_store("b", seed=1), fake_store("c", seed=2, labelled=False)]
    config = make_config(steps=4, sampler={"batch_size": 2, "unlabelled_batch_size": 2})
    pools = make_pools(stores, Split((0, 2), (1,)), config.train)
    fabric = Fabric(accelerator="cpu", devices=1)
    state = Trainer(config, pools, fabric, folder=run, progress=NullProgress()).state
    assert state.networks.discriminator is not None
    fill(state.networks.ema.teacher, 1)
    fill(state.networks.student, 2)
    fill(state.networks.discriminator, 3)
    state.step, state.phase, state.networks.ema.updates = STEP, 1, STEP
    state.guards.see_validation(STEP, 0.5, 0.25, unlabelled=False)
    scores = {"iou": 0.5, "precision": 0.75, "recall": 0.6, "f1": 0.666667}
    state.figures = {
        "mean_iou": 0.5,
        "mean_f1": 0.666667,
        "classes": {"background": scores, "disc": scores},
    }
    return state.save(run, "last", config, pools.slides)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, torch.no_grad():
        written = write(Path(scratch))
        with zipfile.ZipFile(
            FOLDER / "checkpoint.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9
        ) as archive:
            for file in sorted(written.iterdir()):
                archive.writestr(zipfile.ZipInfo(file.name), file.read_bytes(), zipfile.ZIP_DEFLATED)
        model = load_trained(written)
        logits = model.segmentor(model.normalise(expected_tiles()))
        np.save(FOLDER / "checkpoint-probabilities.npy", logits.softmax(dim=1)[..., ::4, ::4].numpy())
