"""What the demonstration does: five commands, each with what it writes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsiseg import __version__
from wsiseg.config import find_recipe

HELD_OUT = "held-out-01"
"""Stem of the slide that is predicted; it lies apart from the slides that are tiled."""

RECIPE = "demo"


@dataclass(frozen=True)
class DemoOptions:
    """What the user may choose.

    Attributes:
        out: The demonstration's folder.
        seed: Of the slides and of the training.
        steps: Training steps; None for those of the recipe.
        size_px: ``(width, height)`` of a slide.
        annotated: Slides with annotations, for training and model selection.
        unannotated: Slides without.
    """

    out: Path
    seed: int = 0
    steps: int | None = None
    size_px: tuple[int, int] = (3072, 3072)
    annotated: int = 3
    unannotated: int = 2

    @property
    def slide(self) -> Path:
        """The held-out slide."""
        return self.out / "slides" / f"{HELD_OUT}.svs"

    @property
    def truth(self) -> Path:
        """Its truth."""
        return self.out / "slides" / "truth" / f"{HELD_OUT}.geojson"

    @property
    def prediction(self) -> Path:
        """Its prediction."""
        return self.out / "predictions" / f"{HELD_OUT}.geojson"

    @property
    def run(self) -> Path:
        """The training run."""
        return self.out / "run"

    @property
    def metrics(self) -> Path:
        """The figures, as ``wsiseg evaluate --json`` writes them."""
        return self.out / "metrics.json"


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: The subcommand.
        arguments: What follows ``wsiseg`` on the command line.
        makes: Files or folders that exist when it is done; removed before it is done anew.
        key: Hash of the command and of everything before it: the same key, the same outputs.
        purpose: What it is for, in a few words.
    """

    name: str
    arguments: tuple[str, ...]
    makes: tuple[Path, ...]
    key: str
    purpose: str

    @property
    def command(self) -> str:
        """As a user would type it."""
        return " ".join(("wsiseg", *self.arguments))


def plan_steps(options: DemoOptions) -> list[Step]:
    """The commands of the demonstration, in their order.

    The held-out slide appears in ``predict`` and ``evaluate`` only: it is in no tile store, so neither
    training nor the choice of a checkpoint can see it.
    """
    out = options.out
    training = [f"slide-{number:02d}" for number in range(1, options.annotated + 1)]
    training += [f"unannotated-{number:02d}" for number in range(1, options.unannotated + 1)]
    slides = [str(out / "slides" / f"{stem}.svs") for stem in training]
    settings = ["--set", f"train.seed={options.seed}"]
    if options.steps is not None:
        settings += ["--set", f"train.steps={options.steps}"]
    prediction = options.prediction
    commands = [
        (
            "make slides with known truth",
            ["synth", "--out", str(out / "slides"), *_synth(options)],
            [out / "slides"],
        ),
        (
            "cut them into tiles, all but the held-out one",
            ["tile", *slides, "--out", str(out / "tiles"), "--config", RECIPE],
            [out / "tiles"],
        ),
        (
            "train on annotated and unannotated tiles",
            ["train", RECIPE, "--tiles", str(out / "tiles"), "--out", str(options.run), *settings],
            [options.run],
        ),
        (
            "segment the held-out slide",
            ["predict", str(options.slide), "--run", str(options.run), "--out", str(prediction.parent)],
            [prediction.parent],
        ),
        (
            "compare it with its truth",
            [
                "evaluate",
                *("--slide", str(options.slide), "--truth", str(options.truth)),
                *("--prediction", str(prediction), "--json", str(options.metrics)),
                *("--error-map", str(out / "error-map.png")),
            ],
            [options.metrics, out / "error-map.png"],
        ),
    ]
    return _keyed(commands)


def _synth(options: DemoOptions) -> list[str]:
    width, height = options.size_px
    return [
        *("--slides", str(options.annotated), "--unannotated", str(options.unannotated)),
        *("--held-out", "1", "--size", f"{width}x{height}", "--seed", str(options.seed)),
    ]


def _keyed(commands: Sequence[tuple[str, list[str], list[Path]]]) -> list[Step]:
    recipe = find_recipe(Path(RECIPE))
    before = hashlib.sha256(__version__.encode())
    before.update(recipe.read_bytes() if recipe else b"")
    key = before.hexdigest()
    steps = []
    for purpose, arguments, makes in commands:
        key = hashlib.sha256(json.dumps([key, arguments]).encode()).hexdigest()[:32]
        steps.append(Step(arguments[0], tuple(arguments), tuple(makes), key, purpose))
    return steps
