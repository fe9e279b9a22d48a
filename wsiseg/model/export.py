"""A trained model as one self-contained folder, with a card that says what it is."""

import shlex
import shutil
from pathlib import Path

from wsiseg.config.training import AugmentConfig
from wsiseg.errors import ConfigError
from wsiseg.files import atomic_folder
from wsiseg.model.checkpoint import INFO_FILE, CheckpointInfo, TrainedModel, load_trained
from wsiseg.outcome import Outcome, write_report
from wsiseg.wording import figure

_PARTS = (INFO_FILE, "segmentor.safetensors", "discriminator.safetensors")
CARD_FILE = "README.md"


def export_model(source: Path, target: Path) -> TrainedModel:
    """Copy what predicting needs out of a run, and write the model card.

    Args:
        source: A run, a checkpoint folder, or an exported model.
        target: The new folder; must not exist.

    Returns:
        The exported model, loaded back from ``target``.

    Raises:
        CheckpointNotFoundError: ``source`` holds no checkpoint.
        CheckpointFormatError: The checkpoint is damaged.
        ConfigError: ``target`` exists.
        OutputError: It cannot be written.
    """
    if target.exists():
        raise ConfigError(f"{target} exists already", remedy="Name a new folder, or remove it first")
    model = load_trained(source)
    with atomic_folder(target) as folder:
        for name in _PARTS:
            if (model.path / name).is_file():
                shutil.copyfile(model.path / name, folder / name)
        _account(folder, model)
        (folder / CARD_FILE).write_text(model_card(model.info, model.fingerprint, target), encoding="utf-8")
    return load_trained(target)


def _account(folder: Path, model: TrainedModel) -> None:
    """Write ``report.json``: the slides that the model has learned from, each with its part."""
    parts = [(name, part) for part, names in model.info.slides.items() for name in names]
    outcomes = [Outcome(name, counts={"part": part}) for name, part in sorted(parts)]
    write_report(folder, "export", outcomes, fingerprint=model.fingerprint, step=model.info.step)


def model_card(info: CheckpointInfo, fingerprint: str, target: Path) -> str:
    """The model card, as Markdown."""
    config = info.config
    segmentor, train = config.train.segmentor, config.train
    lines = [
        "# A wsiseg segmentation model",
        "",
        f"Takes tiles of {config.tiling.tile_px} px at {config.tiling.mpp:g} um/px and gives one of "
        f"{len(config.schema_)} classes for each pixel.",
        "",
        f"    wsiseg predict SLIDE --run {shlex.quote(target.name)}",
        "",
        "| class | inside | training label |",
        "|---|---|---|",
        *(f"| {c.name} | {c.inside or ''} | {index} |" for index, c in enumerate(config.schema_)),
        "",
        "## Made with",
        "",
        f"- {segmentor.architecture} on {segmentor.encoder}, encoder weights {segmentor.weights}",
        f"- {_adversary(info)}",
        f"- {info.step} steps, last phase {info.phase}, seed {train.seed}",
        f"- colours varied along the stains of {_stain(train.augment)}",
        f"- wsiseg {info.versions.get('wsiseg', '?')}, torch {info.versions.get('torch', '?')}",
        f"- fingerprint {fingerprint}",
        "",
        "## Learned from",
        "",
        *(f"- {part}: {', '.join(names) or 'none'}" for part, names in info.slides.items()),
        "",
        "## How good it is",
        "",
        *_figures(info),
        "",
        "These figures hold for slides like the validation slides: the same stain, scanner and tissue. "
        "Check a new source against some annotations of its own (`wsiseg evaluate`). Not a medical device.",
    ]
    return "\n".join(lines) + "\n"


def _stain(config: AugmentConfig) -> str:
    if isinstance(config.stain, str):
        return {"he": "H&E", "pas": "PAS"}[config.stain]
    rows = ("(" + ", ".join(f"{value:g}" for value in row) + ")" for row in config.stain)
    return f"optical densities {', '.join(rows)}"


def _adversary(info: CheckpointInfo) -> str:
    judge = info.config.train.discriminator
    if judge.kind == "none":
        return "no discriminator"
    kind = "FCN" if judge.kind == "fcn" else f"PatchGAN, {judge.receptive_field} px"
    return f"adversarial training against a discriminator ({kind}; fakes score {judge.fake_target})"


def _figures(info: CheckpointInfo) -> list[str]:
    if not info.figures:
        return ["Not known: there was no slide left to validate on."]
    rows = [
        f"| {name} | "
        + " | ".join(figure(scores[key]) for key in ("iou", "precision", "recall", "f1"))
        + " |"
        for name, scores in info.figures["classes"].items()
    ]
    mean = f"| mean | {figure(info.figures['mean_iou'])} | | | {figure(info.figures['mean_f1'])} |"
    return [
        "On validation tiles:",
        "",
        "| class | IoU | precision | recall | F1 |",
        "|---|---|---|---|---|",
        *rows,
        mean,
    ]
