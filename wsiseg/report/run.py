"""The page of a training run: what it learned from, how it went, how good it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from wsiseg import __version__
from wsiseg.config import Config, load_config
from wsiseg.errors import CheckpointFormatError
from wsiseg.files import atomic_path
from wsiseg.report import page as html
from wsiseg.report.pictures import file_uri
from wsiseg.wording import figure, signed, spoken

PAGE_FILE = "report.html"

_SCORES = {"iou": "IoU", "precision": "precision", "recall": "recall", "f1": "F1"}

_GAUGES = {
    "d_real": "mean score of annotations",
    "d_soft": "of predictions, as probabilities",
    "d_argmax": "of predictions, as classes",
    "d_other": "of another tile's annotation",
    "entropy": "entropy of the probabilities: 0 sure, 1 clueless",
    "ece": "expected calibration error: how far confidence is from accuracy",
}


@dataclass(frozen=True)
class _Run:
    """What a run folder holds."""

    folder: Path
    config: Config
    report: Mapping[str, Any]
    metrics: list[Mapping[str, Any]]


def write_run_report(folder: Path) -> Path:
    """Write ``report.html`` of a finished run, from the files in its folder.

    Returns:
        The page: one HTML file that needs no other.

    Raises:
        CheckpointFormatError: A file of the run is missing or damaged.
        OutputError: The page cannot be written.
    """
    run = _read(folder)
    sections = [
        _head(run),
        _help(run),
        _validation(run),
        _training(run),
        _data(run),
        _notices(run),
        _configuration(run),
    ]
    target = folder / PAGE_FILE
    with atomic_path(target) as partial:
        text = html.page(f"Training run {folder.name}", [part for part in sections if part])
        partial.write_text(text, encoding="utf-8")
    return target


def _read(folder: Path) -> _Run:
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        metrics = [json.loads(line) for line in lines]
    except (OSError, ValueError) as err:
        raise CheckpointFormatError(f"{folder} is no finished run ({err})") from err
    return _Run(folder, load_config(folder / "config.yaml"), report, metrics)


def _head(run: _Run) -> str:
    figures, train = run.report["validation"], run.config.train
    cards = [
        (figure(figures.get("mean_iou")), "mean IoU on validation tiles"),
        (figure(figures.get("mean_f1")), "mean F1 on validation tiles"),
        (f"{_count(run, 'labelled')}", "labelled tiles"),
        (f"{_count(run, 'unlabelled')}", "unlabelled tiles"),
        (_duration(run.report["seconds"]), f"for {run.report['steps']} steps"),
    ]
    network = f"{train.segmentor.architecture} on {run.report['encoder']}"
    judge = f"against a discriminator ({train.discriminator.kind})" if train.is_adversarial else "alone"
    size = f"{run.config.tiling.tile_px} px at {run.config.tiling.mpp:g} um/px"
    worth = (
        "Validation slides took part in no training step, but the guards watched them: expect a little less "
        "on slides that nothing has seen."
        if figures
        else "No slide was left to validate on: no figure tells how good it is."
    )
    return "\n".join(
        [
            f"<h1>Training run {escape(run.folder.name)}</h1>",
            html.paragraph(f"{network}, trained {judge} on tiles of {size}. {worth}"),
            html.headline(cards),
        ]
    )


def _help(run: _Run) -> str:
    found = run.report.get("baseline")
    answer = run.report["unlabelled_helped"]
    parts = [html.paragraph(f"{answer[:1].upper()}{answer[1:]}.")]
    if found is not None:
        whole = found["mean_iou"]
        rows = [*found["classes"].items(), ("mean", whole)]
        parts += [
            html.table(
                ["IoU", "with unlabelled", "labels alone", "difference"],
                [(spoken(name), *_pair(row)) for name, row in rows],
                total=True,
            ),
            html.paragraph(
                "The supervised twin has the same seed, split, steps, augmentation and averaging. The "
                "interval comes from drawing slides, then tiles, anew. One run of each is one throw of the "
                "dice: repeat with other seeds before believing a difference of a point.",
                soft=True,
            ),
        ]
    return html.section("Did the unlabelled tiles help?", *parts)


def _validation(run: _Run) -> str:
    figures = run.report["validation"]
    if not figures:
        return ""
    rows = [
        (spoken(name), *(figure(scores[key]) for key in _SCORES))
        for name, scores in figures["classes"].items()
    ]
    parts = [
        html.table(["pixels", *_SCORES.values()], rows),
        html.grid(
            [
                _picture(run, "confusion.png", "Share of each true class that was predicted as each class."),
                _gauges(run),
            ],
            "pair",
        ),
        html.legend([(spoken(entry.name), entry.color) for entry in run.config.schema_.foreground]),
        _picture(
            run,
            "examples.png",
            "The same validation tiles at every look. The discriminator's map is bright where it believes "
            "the prediction.",
        ),
    ]
    return html.section("On validation tiles", *parts)


def _gauges(run: _Run) -> str:
    looks = [line for line in run.metrics if line["kind"] == "validation"]
    gauges = looks[-1].get("gauges", {}) if looks else {}
    rows = [(name, text, figure(gauges[name])) for name, text in _GAUGES.items() if name in gauges]
    rows += [
        (f"area {spoken(name.partition('/')[2])}", "predicted over true", figure(value))
        for name, value in gauges.items()
        if name.startswith("area_ratio/")
    ]
    return f"<div>{html.table(['gauge', 'what it is', 'last'], rows, left=2)}</div>"


def _training(run: _Run) -> str:
    return html.section(
        "How it went",
        _picture(run, "curves.png", "Losses, the discriminator, and IoU over the training steps."),
        _picture(
            run,
            "gauges.png",
            "Gauges at each look at validation tiles. A discriminator that scores predictions ever higher "
            "while IoU falls is being pleased, not convinced.",
        ),
    )


def _data(run: _Run) -> str:
    keys = ("labelled_tiles", "unlabelled_tiles", "validation_tiles")
    rows = [
        (slide["slide"], *(str(slide["counts"].get(key, 0)) for key in keys))
        for slide in run.report["slides"]
    ]
    totals = ("all", *(str(_count(run, key.removesuffix("_tiles"))) for key in keys))
    headings = ["slide", "labelled tiles", "unlabelled tiles", "validation tiles"]
    return html.section("Slides and tiles", html.table(headings, [*rows, totals], total=True))


def _notices(run: _Run) -> str:
    notices: Sequence[str] = run.report["notices"]
    if not notices:
        return ""
    items = "".join(f"<li>{escape(notice)}</li>" for notice in notices)
    return html.section("What the guards did, and what to know", f"<ul>{items}</ul>")


def _configuration(run: _Run) -> str:
    train = run.config.train
    phases = [
        (
            phase.name,
            f"{phase.share:.0%} of the steps",
            " and ".join(
                kind for kind, on in (("labelled", phase.labelled), ("unlabelled", phase.unlabelled)) if on
            ),
            phase.discriminator if train.is_adversarial else "none",
            "yes" if phase.pseudo_labels else "no",
        )
        for phase in train.phases
    ]
    whole = escape((run.folder / "config.yaml").read_text(encoding="utf-8"))
    return html.section(
        "Configuration",
        html.table(["phase", "length", "tiles", "discriminator", "pseudo-labels"], phases, left=5),
        html.table(["setting", "value"], _settings(run), left=2),
        f"<details><summary>config.yaml</summary><pre>{whole}</pre></details>",
        html.paragraph(f"wsiseg {__version__}", soft=True),
    )


def _settings(run: _Run) -> list[tuple[str, str]]:
    train = run.config.train
    return [
        ("encoder weights", str(run.report["encoder_weights"])),
        ("device, precision", f"{run.report['device']}, {run.report['precision']}"),
        (
            "batch",
            f"{train.sampler.batch_size} labelled, {train.sampler.unlabelled_batch_size} unlabelled tiles",
        ),
        ("optimiser", f"{train.optimiser.name}, learning rate {train.optimiser.lr:g}"),
        ("averaging", f"decay {train.ema_decay:g}"),
        ("labelled share", f"{train.split.labelled_share:g}"),
        ("seed", str(train.seed)),
    ]


def _picture(run: _Run, name: str, caption: str) -> str:
    uri = file_uri(run.folder / name)
    return "" if uri is None else html.figure(uri, caption, Path(name).stem)


def _count(run: _Run, part: str) -> int:
    return sum(int(slide["counts"].get(f"{part}_tiles", 0)) for slide in run.report["slides"])


def _pair(row: Mapping[str, float]) -> tuple[str, str, str]:
    return figure(row["run"]), figure(row["baseline"]), signed(row["run"] - row["baseline"])


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
