"""How well and how fast the tissue of a slide is found.

    python benchmarks/tissue.py [--side 6144] [--seeds 2] [--slide FILE ...] [--known FILE.svs SEED PRESET]

Synthetic slides of every preset and form of tissue are made, and the mask that ``wsiseg tile`` would use is
compared with the tissue that was drawn: intersection over union, missed and invented tissue as shares of the
true one. ``--known`` does the same for a slide that ``wsiseg synth`` made before. Real slides (``--slide``,
any number) have no known tissue: the share of the slide that was found, and the seconds. Seconds count
reading the overview and finding the tissue.
"""

import argparse
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsiseg.config import TissueConfig
from wsiseg.errors import ResolutionError
from wsiseg.slide import Slide
from wsiseg.synthetic import PRESETS, SlideSpec, make_slide
from wsiseg.synthetic.render import Scene
from wsiseg.tissuemap import TissueMap, look_at, map_tissue

ASSUMED_MPP = 0.5
"""For real slides that do not say."""


def find(path: Path) -> tuple[TissueMap, float, str]:
    """The tissue of a slide, the seconds that it took, and a note where its resolution had to be assumed."""
    note = ""
    with Slide.open(path) as slide:
        try:
            _ = slide.resolution
        except ResolutionError:
            note = f"{ASSUMED_MPP} um/px assumed"
    with Slide.open(path, mpp=ASSUMED_MPP if note else None) as slide:
        begun = time.perf_counter()
        tissue = map_tissue(slide, look_at(slide), TissueConfig(), None)
        return tissue, time.perf_counter() - begun, note


def drawn(spec: SlideSpec, tissue: TissueMap) -> NDArray[np.bool_]:
    """The tissue that the synthetic slide has, at the size of the mask."""
    height, width = tissue.mask.shape
    x_um = (np.arange(width, dtype=np.float64) + 0.5) * (tissue.downsample[0] * spec.mpp)
    y_um = (np.arange(height, dtype=np.float64) + 0.5) * (tissue.downsample[1] * spec.mpp)
    return Scene(spec).outline.block(x_um, y_um) > 0


def compare(path: Path, spec: SlideSpec) -> None:
    """One row of the table."""
    tissue, seconds, _ = find(path)
    truth = drawn(spec, tissue)
    both, either = (truth & tissue.mask).sum(), (truth | tissue.mask).sum()
    missed = (truth & ~tissue.mask).sum() / truth.sum()
    invented = (tissue.mask & ~truth).sum() / truth.sum()
    name = f"{spec.knobs.label}, {spec.shape}, seed {spec.seed}"
    size = f"{spec.size_px[0]} x {spec.size_px[1]}"
    print(
        f"| {name} | {size} | {both / either:.3f} | {missed:.1%} | {invented:.1%} | {seconds:.2f} |",
        flush=True,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--side", type=int, default=6144)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--slide", type=Path, nargs="*", default=[])
    parser.add_argument("--known", nargs=3, metavar=("FILE", "SEED", "PRESET"))
    options = parser.parse_args()
    print("| synthetic slide | px | IoU | missed | invented | s |\n|---|---|---|---|---|---|")
    presets = sorted(PRESETS)
    with tempfile.TemporaryDirectory() as folder:
        for preset, shape, seed in product(presets, ("cores", "wedge"), range(options.seeds)):
            spec = SlideSpec(seed=seed, preset=preset, size_px=(options.side,) * 2, shape=shape)  # type: ignore[arg-type]  # product loses the literals
            compare(make_slide(Path(folder) / "a.svs", spec, workers=2).slide, spec)
    if options.known:
        path, seed, preset = options.known
        with Slide.open(path) as slide:
            size = slide.size_l0
        compare(Path(path), SlideSpec(seed=int(seed), preset=preset, size_px=size))
    if options.slide:
        print("\n| slide | tissue | s | |\n|---|---|---|---|")
    for path in options.slide:
        tissue, seconds, note = find(path)
        print(f"| {path.name} | {tissue.share:.1%} | {seconds:.2f} | {note} |")


if __name__ == "__main__":
    main()
