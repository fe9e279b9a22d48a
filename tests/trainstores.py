"""Small things to train on and with: discs on a pale ground, in memory or on disk; tiny networks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsiseg.classes import IGNORE_INDEX, ClassSchema, TissueClass
from wsiseg.config import Config, parse_config
from wsiseg.config.classes import ClassConfig
from wsiseg.geometry import GridFrame
from wsiseg.lock import write_lock
from wsiseg.tilestore import StoreHeader, StorePlan, StoreWriter, encode_tile

SCHEMA = ClassSchema((TissueClass("background", (255, 255, 255)), TissueClass("disc", (200, 0, 0))))
COLORS = np.array([(230, 220, 225), (120, 40, 110), (60, 60, 150)], dtype=np.float64)


def make_tiles(
    count: int, side: int, *, seed: int = 0, classes: int = 2
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Tiles with a disc of each foreground class, and their labels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    labels = np.zeros((count, side, side), dtype=np.uint8)
    for label in labels:
        for k in range(1, classes):
            y, x = rng.integers(side // 4, 3 * side // 4, size=2)
            label[(rows - y) ** 2 + (columns - x) ** 2 < (side // (4 + k)) ** 2] = k
    images = COLORS[labels] + rng.normal(0, 6, (*labels.shape, 3))
    return images.clip(0, 255).astype(np.uint8), labels


@dataclass
class FakeStore:
    """What training needs of a ``TileStore``, in memory."""

    name: str
    pixels: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    schema: ClassSchema = SCHEMA
    mpp: float = 0.5
    labelled: NDArray[np.bool_] = field(init=False)
    class_pixels: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.labelled = (self.truth != IGNORE_INDEX).any(axis=(1, 2))
        self.class_pixels = np.stack(
            [(self.truth == k).sum(axis=(1, 2)) for k in range(len(self.schema))], axis=1
        )

    @property
    def tile_px(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def key(self) -> str:
        return f"{self.slide_fingerprint} {self.class_pixels.tolist()}"

    @property
    def slide_fingerprint(self) -> str:
        return f"fingerprint of {self.name}"

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, ids: Sequence[int]) -> NDArray[np.uint8]:
        return self.pixels[list(ids)]

    def labels(self, ids: Sequence[int]) -> NDArray[np.uint8]:
        return self.truth[list(ids)]


def fake_store(
    name: str, count: int = 4, *, side: int = 32, seed: int = 0, labelled: bool = True
) -> FakeStore:
    """A store of discs."""
    images, labels = make_tiles(count, side, seed=seed)
    return FakeStore(name, images, labels if labelled else np.full_like(labels, IGNORE_INDEX))


def write_tiles(
    folder: Path,
    name: str,
    count: int = 4,
    *,
    side: int = 32,
    seed: int = 0,
    labelled: bool = True,
    mpp: float = 0.5,
    schema: ClassSchema = SCHEMA,
) -> Path:
    """A store of discs on disk."""
    images, labels = make_tiles(count, side, seed=seed)
    header = StoreHeader(
        name=name,
        schema=schema,
        frame=GridFrame((side * count, side), (1.0, 1.0), mpp),
        tile_px=side,
        overlap_px=0,
        key="k",
        image_key="i",
        provenance={"slide": {"path": f"{name}.svs", "fingerprint": f"fingerprint of {name}"}},
    )
    plan = StorePlan(header, np.arange(count, dtype=np.int64), np.ones(count, dtype=np.float32))
    target = folder / f"{name}.zarr"
    with write_lock(target):
        writer = StoreWriter.begin(target, plan)
        for shard, positions in list(writer.pending()):
            truth = labels if labelled else [None] * count
            writer.write(shard, [encode_tile(images[i], truth[i], len(schema)) for i in positions])
        writer.publish()
    return target


TINY = {"encoder": "tu-mobilenetv3_small_050", "weights": "none"}


def make_config(**train: Any) -> Config:
    """A resolved configuration for discs of 32 px."""
    settings: dict[str, Any] = {
        "steps": 8,
        "precision": "32-true",
        "segmentor": TINY,
        "discriminator": {"width": 4},
        "sampler": {"batch_size": 2, "unlabelled_batch_size": 2},
        "validations": 2,
        **train,
    }
    classes = [ClassConfig.model_validate(entry).model_dump() for entry in SCHEMA.to_json()]
    data = {"classes": classes, "tiling": {"mpp": 0.5, "tile_px": 32}, "train": settings}
    return parse_config(data, source="test")
