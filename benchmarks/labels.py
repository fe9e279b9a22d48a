"""What a share of the labels holds, and what training draws from it.

    python benchmarks/labels.py [STUDY] [--tiles TILES] [--steps 400]

For each share of a study, over its seeds: labelled tiles, the share of them that shows each class, and the
share of the pixels that each class has, among all labelled tiles and among those that the steps draw. Without
``--tiles`` the slides of ``label-efficiency-small`` are made and tiled first.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from wsiseg.config.study import arm_config, cell_config, load_study
from wsiseg.study.slides import take_sides
from wsiseg.train.data import make_pools, make_stream, open_stores
from wsiseg.train.split import split_stores

SYNTH = "synth --slides 12 --unannotated 4 --size 2048x2048 --seed 1000 --out slides"
TILE = "tile --config demo --set tiling.mpp=1 --set tiling.tile_px=128 --out tiles"
"""The commands at the head of the study, all slides named."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?", default=Path("label-efficiency-small"))
    parser.add_argument("--tiles", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args()
    if options.tiles is not None:
        describe(options.study, options.tiles, options.steps)
        return
    with tempfile.TemporaryDirectory() as folder:
        run(SYNTH.split(), folder)
        run([*TILE.split(), *map(str, sorted(Path(folder).glob("slides/*.svs")))], folder)
        describe(options.study, Path(folder) / "tiles", options.steps)


def run(command: Sequence[str], folder: str) -> None:
    """One command of wsiseg, quietly."""
    subprocess.run(
        [sys.executable, "-m", "wsiseg.cli.main", "-q", *command],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def describe(name: Path, tiles: Path, steps: int) -> None:
    """The table of one study."""
    study = load_study(name)
    config, stores = arm_config(study, study.baseline), open_stores(tiles)
    test_slides = next(iter(study.all_folds.values()))
    print(f"{'share':>8} {'tiles':>6}  show / of the pixels / of those drawn, per cent")
    print(f"{'':>8} {'':>6}  {', '.join(stores[0].schema.names)}")
    for share in study.shares:
        rows = []
        for seed in study.seeds:
            train = cell_config(config, share, seed).train
            teaching = take_sides(stores, test_slides, train).teaching
            pool = make_pools(teaching, split_stores(teaching, train.split, seed), train).labelled
            sampler = make_stream(pool, "labelled", train, torch.device("cpu"), labelled=True).sampler
            pixels = pool.class_pixels()
            drawn = pixels[np.concatenate([sampler.draw(step) for step in range(steps)])]
            show = (pixels >= train.sampler.min_class_pixels).mean(axis=0)
            rows.append([show, *(part.sum(axis=0) / part.sum() for part in (pixels, drawn))])
        mean = np.mean(rows, axis=0)
        print(f"{share!s:>8} {len(pool):6}  {' / '.join(in_words(part) for part in mean)}")


def in_words(shares: Sequence[float]) -> str:
    """Shares in per cent."""
    return " ".join(f"{100 * value:.1f}" for value in shares)


if __name__ == "__main__":
    main()
