"""Three steps of both networks, over as many processes as were started; run by ``test_run.py``.

Group normalisation stands in for BatchNorm, whose statistics are those of each process by design.
"""

import sys
from pathlib import Path

import torch
from torch import nn

from trainstores import fake_store, make_config
from wsiseg.progress import NullProgress
from wsiseg.train import networks as networks_module
from wsiseg.train.data import make_pools
from wsiseg.train.loop import Trainer
from wsiseg.train.prepare import start_fabric
from wsiseg.train.split import Split


class Small(nn.Module):
    """An encoder and a head without BatchNorm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU())
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, image_NCHW: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.head(self.encoder(image_NCHW))
        return logits


def main(out: Path) -> None:
    """Train and write the weights of the first process."""
    networks_module.build_segmentor = lambda *_: Small()
    config = make_config(
        steps=3,
        optimiser={"name": "sgd", "lr": 0.05},
        discriminator={"width": 4, "mismatched_pairs": False, "fake_input": "soft"},
        discriminator_optimiser={"name": "sgd", "lr": 0.05},
        losses={"dice": 0.0, "class_balance": 0.0},
        sampler={"batch_size": 4, "unlabelled_batch_size": 4},
        phases=[{"name": "both", "share": 1.0, "unlabelled": True, "discriminator": "refresh"}],
    )
    stores = [fake_store("a"), fake_store("c", seed=2, labelled=False)]
    pools = make_pools(stores, Split((0, 1), ()), config.train)
    fabric = start_fabric(config.train, on_gpu=False)
    run = Trainer(config, pools, fabric, folder=out, progress=NullProgress())
    out.mkdir(parents=True, exist_ok=True)
    run.fit()
    if fabric.is_global_zero:
        torch.save(run.state.networks.student.state_dict(), out / "student.pt")
        assert run.state.networks.discriminator is not None
        torch.save(run.state.networks.discriminator.state_dict(), out / "discriminator.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
