"""Several slides with one model: what ``wsiseg predict`` does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wsiseg.config import override_config
from wsiseg.errors import ConfigError
from wsiseg.infer.pipeline import ModelCard, Settings, predict_slide
from wsiseg.infer.predictor import build_predictor
from wsiseg.infer.turning import Predictor
from wsiseg.model.checkpoint import TrainedModel
from wsiseg.outcome import Outcome, recording, write_report
from wsiseg.progress import Progress
from wsiseg.slide import Slide


@dataclass(frozen=True)
class Batch:
    """What became of a batch of slides.

    Attributes:
        outcomes: One a slide, in order.
        report: Path of ``report.json``.
        warnings: (slide, sentence) for the user.
    """

    outcomes: list[Outcome]
    report: Path
    warnings: list[tuple[str, str]]


def prepare(
    model: TrainedModel,
    device: torch.device,
    settings: Settings,
    *,
    overrides: Sequence[str] = (),
    name: str = "",
) -> tuple[Predictor, ModelCard, Settings]:
    """The predictor of a run, with the run's own settings for predicting.

    Args:
        model: The trained model, on its device.
        device: That device.
        settings: Formats, workers and so on; its sections are replaced by the run's.
        overrides: ``predict.key=value`` and ``tissue.key=value``, laid over the run's configuration.
        name: Of the run, for the report.

    Raises:
        ConfigError: An override of what a trained model fixes, or one that cannot be used here.
    """
    for override in overrides:
        if override.partition(".")[0] not in ("predict", "tissue"):
            raise ConfigError(
                f"--set {override}",
                expected="predict.<key>=<value> or tissue.<key>=<value>",
                remedy="Everything else comes from the run",
            )
    config = override_config(model.config, overrides)
    predictor = build_predictor(
        model,
        device,
        precision=config.predict.precision,
        compiled=config.predict.compile,
        tta=config.predict.tta,
    )
    card = ModelCard(model.schema, model.mpp, model.tile_px, model.fingerprint, name)
    resolved = Settings(config.predict, config.tissue, settings.formats, settings.workers, settings.overwrite)
    return predictor, card, resolved


def predict_batch(
    slides: Sequence[str],
    predictor: Predictor,
    model: ModelCard,
    *,
    out: Path,
    settings: Settings,
    progress: Progress,
    mpp_slide: float | None = None,
) -> Batch:
    """Predict slide after slide; one that fails is recorded with its reason, and the next one is done.

    Args:
        slides: Paths.
        predictor: What tells the classes of tiles.
        model: About the model behind it.
        out: Folder of all files, and of ``report.json``.
        settings: How to predict.
        progress: Told of each phase of each slide.
        mpp_slide: Micrometres per pixel of level 0, for slides that do not say.

    Raises:
        ConfigError: Two slides of one stem, or an ``out`` that cannot be.
        OutputError: The report cannot be written.
    """
    _check_stems(slides)
    outcomes: list[Outcome] = []
    warnings: list[tuple[str, str]] = []
    for path in slides:
        with recording(path, outcomes) as outcome, Slide.open(path, mpp=mpp_slide) as slide:
            result = predict_slide(slide, predictor, model, out=out, settings=settings, progress=progress)
            outcome.counts = dict(result.counts)
            warnings += [(path, text) for text in result.warnings]
            if result.skipped:
                outcome.status, outcome.reason = "skipped", "up to date"
    return Batch(
        outcomes, write_report(out, "predict", outcomes, **_extra(model, settings, warnings)), warnings
    )


def _extra(model: ModelCard, settings: Settings, warnings: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "model": {"run": model.name, "fingerprint": model.fingerprint},
        "predict": settings.predict.model_dump(mode="json"),
        "warnings": [{"slide": slide, "warning": text} for slide, text in warnings],
    }


def _check_stems(slides: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for path in slides:
        stem = Path(path).stem
        if stem in seen:
            raise ConfigError(
                f"{seen[stem]} and {path} would both become {stem}.geojson",
                remedy="Predict them into different folders with --out",
            )
        seen[stem] = path
