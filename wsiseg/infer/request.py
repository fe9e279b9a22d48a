"""What is asked of a prediction, and whether it was answered before; no network is loaded to find out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsiseg import __version__
from wsiseg.classes import ClassSchema
from wsiseg.config import Config, PredictConfig, TissueConfig, override_config
from wsiseg.errors import ConfigError, OutputError
from wsiseg.geometry import GridFrame
from wsiseg.infer.naming import RECORD_SUFFIX, Format, Kept, possible_suffixes, work_path
from wsiseg.model.info import find_checkpoint, read_info, weights_fingerprint
from wsiseg.slide import Slide
from wsiseg.slide.opening import name_of

PREDICTING_VERSION = 4
"""Raised when the same slide, model and settings would give other files than before."""


@dataclass(frozen=True)
class ModelCard:
    """What a prediction has to know about the model behind a predictor.

    Attributes:
        schema: Classes, by index.
        mpp: Micrometres per pixel of its tiles.
        tile_px: Side of a tile.
        fingerprint: Digest of its weights and classes.
        name: For people, such as the path of the run.
        judge: Digest of the discriminator's weights; empty where it is not asked.
    """

    schema: ClassSchema
    mpp: float
    tile_px: int
    fingerprint: str
    name: str = ""
    judge: str = ""


@dataclass(frozen=True)
class Settings:
    """How to predict.

    Attributes:
        predict: The ``predict`` section.
        tissue: The ``tissue`` section.
        formats: Files to write on request.
        keep: Maps to keep; ``confidence`` needs ``predict.confidence``.
        workers: Threads that read tiles ahead; they change no byte of the result.
        overwrite: Predict anew what is finished, and write over files that are not ours.
    """

    predict: PredictConfig = field(default_factory=PredictConfig)
    tissue: TissueConfig = field(default_factory=TissueConfig)
    formats: tuple[Format, ...] = ("qupath", "asap")
    keep: tuple[Kept, ...] = ()
    workers: int = 2
    overwrite: bool = False

    def __post_init__(self) -> None:
        if "confidence" in self.keep and not self.predict.confidence:
            raise ConfigError("the map of confidence is to be kept", remedy="Set predict.confidence as well")


@dataclass(frozen=True)
class SlidePrediction:
    """What became of a slide.

    Attributes:
        files: The finished files.
        counts: Objects by class, tiles, and what went wrong; for reports.
        skipped: Whether it was finished before, and nothing was done.
        warnings: Sentences for the user.
    """

    files: tuple[Path, ...]
    counts: dict[str, Any]
    skipped: bool = False
    warnings: tuple[str, ...] = ()


def read_run(run: Path, overrides: Sequence[str] = ()) -> tuple[ModelCard, Config]:
    """What a run, a checkpoint or an exported model predicts with, without loading its networks.

    Args:
        run: Its folder.
        overrides: ``predict.key=value`` and ``tissue.key=value``, laid over the run's configuration.

    Raises:
        CheckpointNotFoundError: ``run`` holds no checkpoint.
        CheckpointFormatError: The checkpoint is damaged.
        ConfigError: An override of what a trained model fixes, a wrong value, or ``predict.confidence``
            for a model whose discriminator does not tell it.
    """
    for override in overrides:
        if override.partition(".")[0] not in ("predict", "tissue"):
            raise ConfigError(
                f"--set {override}",
                expected="predict.<key>=<value> or tissue.<key>=<value>",
                remedy="Everything else comes from the run",
            )
    folder = find_checkpoint(run)
    config = override_config(read_info(folder).config, overrides)
    card = ModelCard(
        config.schema_,
        config.tiling.mpp,
        config.tiling.tile_px,
        weights_fingerprint(folder, config.schema_),
        str(run),
        _judge(folder, config) if config.predict.confidence else "",
    )
    return card, config


def _judge(folder: Path, config: Config) -> str:
    """Digest of the discriminator, which must have learned where a prediction is right."""
    judge = config.train.discriminator
    if judge.kind == "none" or not (folder / "discriminator.safetensors").is_file():
        raise ConfigError(f"predict.confidence: {folder} has no discriminator", remedy="Leave it out")
    if judge.fake_target != "correctness":
        raise ConfigError(
            f"predict.confidence: the discriminator of {folder} tells annotations from predictions, not "
            "right from wrong",
            found=f"train.discriminator.fake_target: {judge.fake_target}",
            expected="correctness",
            remedy="Leave it out, or train with the recommended recipe",
        )
    return weights_fingerprint(folder, config.schema_, "discriminator")


def content_key(slide: Slide, frame: GridFrame, model: ModelCard, settings: Settings) -> str:
    """32 hex digits over everything that the files of a prediction depend on."""
    parts = {
        "version": [PREDICTING_VERSION, __version__],
        "slide": [slide.fingerprint, slide.name, slide.backend],
        "frame": [*frame.size_l0, *frame.downsample, frame.mpp, *slide.pixel_um(frame)],
        "model": [model.fingerprint, model.judge, model.tile_px, model.schema.to_json()],
        "predict": settings.predict.model_dump(mode="json"),
        "tissue": settings.tissue.model_dump(mode="json"),
        "formats": sorted(settings.formats),
        "keep": sorted(settings.keep),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def finished_before(slide: Slide, model: ModelCard, out: Path, settings: Settings) -> SlidePrediction | None:
    """The earlier prediction of the same slide, by the same model, with the same settings; or None.

    Raises:
        ConfigError: ``out`` is the slide's own folder.
        ResolutionError: The slide's resolution is unknown.
        OutputError: A file is in the way that no prediction has written, or that of another slide.
    """
    check_out(slide.path, out)
    frame = slide.frame(model.mpp)
    if settings.overwrite:
        return None
    record = read_record(out / f"{slide.stem}{RECORD_SUFFIX}")
    if record is None:
        _refuse_strangers(slide, out, settings, set())
        return None
    if record["slide"]["fingerprint"] != slide.fingerprint:
        raise OutputError(
            f"{out} holds the prediction of another slide named {record['slide']['name']}",
            remedy="Give another folder with --out, or --overwrite",
        )
    if record["key"] != content_key(slide, frame, model, settings):
        _refuse_strangers(slide, out, settings, {*own_files(record), f"{slide.stem}{RECORD_SUFFIX}"})
        return None
    files = tuple(out / name for name in record["files"])
    if not all(path.exists() for path in files):
        return None
    return SlidePrediction(files, dict(record["counts"]), warnings=tuple(record["warnings"]), skipped=True)


def read_record(path: Path) -> dict[str, Any] | None:
    """The record of an earlier prediction; None where there is none, or something else has its name."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return record if isinstance(record, dict) and "key" in record else None


def own_files(record: Mapping[str, Any]) -> set[str]:
    """Names of all files that predictions of a slide have left: the last one, and others before it."""
    return {*record.get("files", ()), *record.get("others", ())}


def check_out(slide: str, out: Path) -> None:
    """Make sure that predictions of a slide, a path or address, would not lie beside it.

    Raises:
        ConfigError: They would.
    """
    if out.resolve() == Path(slide).resolve().parent:
        raise ConfigError(
            f"--out {out} is the folder of {name_of(slide)[0]}",
            remedy="Give another folder: beside the slide, predictions would be taken for its annotations",
        )


def _refuse_strangers(slide: Slide, out: Path, settings: Settings, ours: set[str]) -> None:
    """Files that are not ours are never lost unasked; where our work lies, they are ours."""
    names = [f"{slide.stem}{suffix}" for suffix in possible_suffixes(settings.formats, settings.keep)]
    in_the_way = [out / name for name in names if name not in ours and (out / name).exists()]
    if in_the_way and not work_path(out, slide.stem).exists():
        raise OutputError(
            f"{in_the_way[0]} exists and is no prediction of wsiseg",
            remedy="Give another folder with --out, or --overwrite",
        )
