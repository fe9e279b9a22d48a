"""What a place of the decoder and a pixel of the outline cost in IoU, whatever the network.

    wsiseg tile slides/*.svs --out tiles
    python benchmarks/ceiling.py --tiles tiles

The truth itself is taken for a prediction, after two changes: shown through probabilities at a quarter of
the resolution, as DeepLabV3+ gives them (and at an eighth); and moved by one pixel to the right.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wsiseg.metrics import Scores, confusion
from wsiseg.train.data import open_stores


def through(stride: int) -> Callable[[Tensor], Tensor]:
    """Labels ``(1, K, H, W)`` as one-hot planes, averaged by places and drawn large again."""

    def blurred(planes_NKHW: Tensor) -> Tensor:
        small = functional.avg_pool2d(planes_NKHW, stride)
        return functional.interpolate(small, scale_factor=stride, mode="bilinear", align_corners=False)

    return blurred


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "a quarter of the resolution": through(4),
    "an eighth": through(8),
    "moved by one pixel": lambda planes: planes.roll(1, dims=3),
}


def main() -> None:
    """Print one line a change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tiles", type=Path, required=True)
    stores = open_stores(parser.parse_args().tiles)
    schema = stores[0].schema
    print(f"{len(stores)} slides, {stores[0].mpp:g} um/px, tiles of {stores[0].tile_px} px")
    print(
        f"{'IoU of the truth':30} " + " ".join(f"{name:>13}" for name in (*schema.names, "mean", "mean F1"))
    )
    for name, change in CHANGES.items():
        matrix = np.zeros((len(schema), len(schema)), dtype=np.int64)
        for store in stores:
            for position in np.flatnonzero(store.labelled).tolist():
                label = store.labels([position])[0]
                known = torch.from_numpy(label.astype(np.int64)).clamp(max=len(schema) - 1)
                planes = functional.one_hot(known, len(schema)).permute(2, 0, 1).unsqueeze(0).float()
                shown = change(planes).argmax(dim=1)[0].numpy().astype(np.uint8)
                matrix += confusion(label, shown, len(schema))
        scores = Scores.from_confusion(matrix, schema.names)
        figures = [*scores.iou, scores.mean["iou"], scores.mean["f1"]]
        print(f"{name:30} " + " ".join(f"{value:13.3f}" for value in figures))


if __name__ == "__main__":
    main()
