"""Studies and results of cells that nobody trained, to test what is made of them."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trainstores import TINY

from wsiseg.config.study import StudyConfig, arm_config, cell_config
from wsiseg.config.yaml_io import parse_model
from wsiseg.study.cells import Cell, CellKey, write_cell
from wsiseg.study.tallies import Calibration

CLASSES = ("background", "disc")
SUPERVISED = {
    "train.discriminator.kind": "none",
    "train.phases": [{"name": "supervised", "share": 1.0}],
}


def make_study(**settings: Any) -> StudyConfig:
    """Two arms of one step each on discs of 32 px; ``settings`` take the place of any part."""
    data: dict[str, Any] = {
        "data": "painted discs",
        "overrides": {
            "train.steps": 2,
            "train.precision": "32-true",
            "train.segmentor.encoder": TINY["encoder"],
            "train.segmentor.weights": "none",
            "train.discriminator.width": 4,
            "train.sampler.batch_size": 2,
            "train.sampler.unlabelled_batch_size": 2,
            "train.split.validation_share": 0.0,
            "train.validations": 2,
        },
        "arms": {"A+": SUPERVISED, "H": {}},
        "baseline": "A+",
        "shares": ["1/2"],
        "seeds": [0],
        "test_slides": ["b"],
        "draws": 200,
        **settings,
    }
    return parse_model(StudyConfig, data, source="test")


def matrices(right: float, *, units: int = 6, seed: int = 0) -> NDArray[np.int64]:
    """Confusion matrices ``(units, 2, 2)`` of 1000 pixels, of which about this share is right."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(units):
        true = rng.integers(300, 700)
        hits = [rng.binomial(part, right) for part in (true, 1000 - true)]
        found.append([[hits[0], true - hits[0]], [1000 - true - hits[1], hits[1]]])
    return np.array(found, dtype=np.int64)


def calibration(right: float = 0.8) -> dict[str, Any]:
    """Of a hundred pixels that are sure by nine tenths."""
    tally = Calibration()
    tally.add(np.full(100, 0.9), np.arange(100) < round(100 * right))
    return tally.to_json()


def make_cell(
    study: StudyConfig,
    cell: Cell,
    counts: NDArray[np.int64],
    *,
    stores: Mapping[str, str] | None = None,
    judged: bool = False,
) -> dict[str, Any]:
    """A result; its counts are dealt out to the test slides in turn."""
    train = cell_config(arm_config(study, cell.arm), cell.share, cell.seed).train
    slides = study.all_folds[cell.fold]
    judge = {
        "gauges": {"d_real": 0.9, "d_soft": 0.7, "d_argmax": 0.8, "d_other": 0.2},
        "auc": {"discriminator": 0.9, "entropy": 0.8},
        "errors_in_first_fifth": {"discriminator": 0.5, "entropy": 0.4, "best_possible": 0.6},
        "calibration": calibration(),
    }
    key = CellKey(train, stores or {"a": "k", "b": "k"}, slides)
    return {
        "arm": cell.arm,
        "share": str(cell.share),
        "seed": cell.seed,
        "fold": cell.fold,
        "made": {"wsiseg": "0", "torch": "0", "device": "cpu", "seconds": 36.0},
        "training": {"labelled_tiles": 3, "notices": []},
        "classes": list(CLASSES),
        "slides": [
            {
                "slide": slide,
                "tiles_along_a_block": 1,
                "blocks": [[0, n] for n in range(len(counts[place :: len(slides)]))],
                "counts": counts[place :: len(slides)].reshape(-1, 4).tolist(),
            }
            for place, slide in enumerate(slides)
        ],
        "calibration": calibration(),
        "discriminator": judge if judged else None,
        "key": key.to_json(),
    }


def write_cells(
    out: Path,
    study: StudyConfig,
    quality: Mapping[str, float],
    objects: Mapping[str, list[int]] = MappingProxyType({}),
) -> None:
    """Every cell of a study, each arm right on this share of the pixels; ``objects`` of the discs, by arm."""
    for arm in study.arms:
        for share in study.shares:
            for seed in study.seeds:
                for fold in study.all_folds:
                    cell = Cell(arm, Fraction(share), seed, fold)
                    counts = matrices(quality[arm], seed=seed)
                    result = make_cell(study, cell, counts, judged=arm != study.baseline)
                    for slide in result["slides"] if arm in objects else ():
                        slide["objects"] = {"disc": objects[arm]}
                    write_cell(cell.file(out), result)
