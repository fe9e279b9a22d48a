"""Several slides with one model: what ``wsiseg predict`` does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from wsiseg.infer.pipeline import predict_slide
from wsiseg.infer.request import ModelCard, Settings, check_out, finished_before
from wsiseg.infer.storedtiles import open_stored
from wsiseg.infer.turning import Predictor
from wsiseg.outcome import Outcome, recording, write_report
from wsiseg.progress import Progress
from wsiseg.slide import Slide
from wsiseg.slide.opening import check_stems


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


def predict_batch(
    slides: Sequence[str],
    load: Callable[[], Sequence[Predictor]],
    model: ModelCard,
    *,
    out: Path,
    settings: Settings,
    progress: Progress,
    mpp_slide: float | None = None,
    tiles: Path | None = None,
) -> Batch:
    """Predict slide after slide; one that fails is recorded with its reason, and the next one is done.

    Args:
        slides: Paths.
        load: Gives what tells the classes of tiles; called once, when a slide is met that is not finished.
        model: About the model behind it.
        out: Folder of all files, and of ``report.json``.
        settings: How to predict.
        progress: Told of each phase of each slide.
        mpp_slide: Micrometres per pixel of level 0, in place of what the slides say.
        tiles: A store, or a folder of stores, to take tiles from: see ``wsiseg.infer.storedtiles``.

    Raises:
        ConfigError: Two slides of one stem, or an ``out`` that cannot be.
        OutputError: The report cannot be written.
    """
    check_stems(slides, ".geojson")
    for path in slides:
        check_out(path, out)
    predictors = cache(load)
    outcomes: list[Outcome] = []
    warnings: list[tuple[str, str]] = []

    def predict(path: str) -> None:
        with recording(path, outcomes) as outcome, Slide.open(path, mpp=mpp_slide) as slide:
            result = finished_before(slide, model, out, settings)
            if result is None:
                stored = None if tiles is None else open_stored(tiles, slide, slide.frame(model.mpp))
                result = predict_slide(
                    slide, predictors(), model, out=out, settings=settings, progress=progress, reader=stored
                )
                if stored is not None and stored.advice is not None:
                    warnings.append((path, stored.advice))
            if (magnified := slide.magnified(slide.frame(model.mpp))) is not None:
                warnings.append((path, magnified))
            outcome.counts = dict(result.counts)
            warnings.extend((path, text) for text in result.warnings)
            if result.skipped:
                outcome.status, outcome.reason = "skipped", "up to date"

    def report() -> Path:
        return write_report(out, "predict", outcomes, **_extra(model, settings, warnings))

    try:
        for path in slides:
            predict(path)
    except KeyboardInterrupt:
        report()
        raise
    return Batch(outcomes, report(), warnings)


def _extra(model: ModelCard, settings: Settings, warnings: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "model": {"run": model.name, "fingerprint": model.fingerprint},
        "predict": settings.predict.model_dump(mode="json"),
        "warnings": [{"slide": slide, "warning": text} for slide, text in warnings],
    }
