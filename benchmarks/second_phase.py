"""What the published second phase changes: its loss, or the statistics of BatchNorm.

    python benchmarks/second_phase.py [studies/paper-protocol-cpu/runs/fcn-dice_1-2_0/run] [--ways kept]

The last phase of a finished run is trained again from where labels ended, guards off: as it was; with
lambda_2 = 0, so that nothing is learnt and only BatchNorm's running statistics follow the unlabelled tiles;
and learning, with the statistics kept. Printed are validation IoU before and after, and by how much weights
and statistics moved, of their own size.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsiseg.config import Config, load_config
from wsiseg.model.checkpoint import checkpoints
from wsiseg.process import settle
from wsiseg.progress import NullProgress
from wsiseg.train.loop import Trainer
from wsiseg.train.prepare import prepare
from wsiseg.train.runfolder import CONFIG_FILE, INPUTS_FILE

RUN = Path("studies/paper-protocol-cpu/runs/fcn-dice_1-2_0/run")
WAYS: dict[str, dict[str, Any]] = {
    "as it was": {},
    "nothing learnt": {"lambda_unlabelled": 0.0},
    "kept": {"record_statistics": False},
}


def changed(config: Config, way: str) -> Config:
    """The configuration with another last phase and without guards."""
    train = config.train
    last = train.phases[-1].model_copy(update=WAYS[way])
    update = {
        "phases": (*train.phases[:-1], last),
        "guards": train.guards.model_copy(update={"enabled": False}),
    }
    return config.model_copy(update={"train": train.model_copy(update=update)})


def moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor], names: set[str]) -> float:
    """Norm of the change over the norm of what was there."""
    squares = [
        ((after[name] - before[name]).double().square().sum(), before[name].double().square().sum())
        for name in names
    ]
    change, size = (float(sum(column)) for column in zip(*squares, strict=True))
    return math.sqrt(change / size)


def main() -> None:
    """Print one line a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=RUN)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    options = parser.parse_args()
    if not options.run.is_dir():
        print(f"no run {options.run}: wsiseg study paper-protocol-cpu --keep-runs makes it")
        return
    settle()
    config = load_config(options.run / CONFIG_FILE)
    begun = checkpoints(options.run, "supervised")[-1]
    tiles = options.run.parent / "tiles"  # a study keeps a cell's tiles beside its run
    if not tiles.is_dir():
        tiles = Path(json.loads((options.run / INPUTS_FILE).read_text(encoding="utf-8"))["tiles"])
    for way in options.ways:
        prepared = prepare(changed(config, way), tiles, "auto", None)
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                prepared.config,
                prepared.pools,
                prepared.fabric,
                folder=Path(folder),
                progress=NullProgress(),
                pretrained=False,
            )
            trainer.resume(begun)
            student = trainer.state.networks.student
            before = {name: value.clone() for name, value in student.state_dict().items()}
            first = trainer._shared_look().mean_iou
            trainer.fit()
            after, weights = student.state_dict(), {name for name, _ in student.named_parameters()}
            statistics = {name for name in after if "running_" in name}
            last = math.nan if trainer.last_look is None else trainer.last_look.mean_iou
        by = f"weights moved {moved(before, after, weights):.1e}"
        by = f"{by}   statistics {moved(before, after, statistics):.1e}"
        print(f"{way:14} validation IoU {first:.4f} -> {last:.4f}   {by}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
