"""``wsiseg train``."""

import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import click
from click.core import ParameterSource

from wsiseg.cli.console import can_go_on, print_outcomes, progress_bars, stderr, stdout
from wsiseg.cli.options import PATH, device_option, workers_option
from wsiseg.errors import ConfigError
from wsiseg.wording import figure


@click.command()
@click.argument("config", required=False, type=PATH)
@click.option(
    "--tiles",
    type=PATH,
    default=Path("tiles"),
    show_default=True,
    help="Folder of tile stores.",
)
@click.option("--out", type=PATH, help="Run folder.  [default: runs/run-NNN]")
@click.option("--resume", is_flag=True, help="Continue the newest unfinished run, or the one of --out.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting.")
@click.option(
    "--baseline",
    is_flag=True,
    help="Train the supervised twin first, and say whether unlabelled tiles helped.",
)
@click.option("--patients", type=PATH, help="CSV with columns slide,patient.")
@device_option
@workers_option
def command(
    config: Path | None,
    tiles: Path,
    out: Path | None,
    resume: bool,
    overrides: tuple[str, ...],
    baseline: bool,
    patients: Path | None,
    device: Literal["auto", "cpu", "cuda"],
    workers: int,
) -> None:
    """Train on the tiles, labelled and unlabelled.

    CONFIG is a YAML file or the name of a recipe (recommended, paper, paper-patchgan, supervised). Without
    it, training follows the recommended recipe, with the classes and the resolution of the tiles.

    \b
    wsiseg train                              # on tiles/, into runs/run-001
    wsiseg train paper --out runs/paper
    wsiseg train --set train.steps=2000
    wsiseg train --baseline                   # takes twice as long, and answers: did it help?
    wsiseg train --resume                     # after an interruption
    """
    asked = click.get_current_context().get_parameter_source("tiles")
    other_tiles = asked is ParameterSource.COMMANDLINE
    if resume and (config is not None or overrides or baseline or patients is not None or other_tiles):
        raise ConfigError(
            "--resume continues a run with its own configuration and tiles",
            remedy="Leave out CONFIG, --set, --baseline, --patients and --tiles, "
            "or begin a new run without --resume",
        )
    if baseline:
        overrides = (*overrides, "train.baseline=true")
    from wsiseg.config import load_config

    resolved = None if resume else load_config(config, overrides)
    from wsiseg.report.run import write_run_report
    from wsiseg.train.run import begin_run, resume_run

    if not resume and out is None:
        _mention_unfinished()
    where = "" if out is None else f" --out {shlex.quote(str(out))}"
    can_go_on(f"to go on from its last checkpoint: wsiseg train --resume{where}")
    with progress_bars() as progress:
        if resolved is None:
            result = resume_run(out, device=device, workers=workers, progress=progress)
        else:
            result = begin_run(
                resolved,
                tiles=tiles,
                folder=out,
                device=device,
                workers=workers,
                patients=patients,
                all_classes=False,
                progress=progress,
            )
    if not result.leads:
        return
    page = write_run_report(result.folder)
    print_outcomes(result.outcomes, result.folder / "report.json")
    _print_figures(result.figures)
    for line in (
        f"did the unlabelled tiles help: {result.unlabelled_helped}",
        f"page: {page}",
        f"run: {result.folder}   next: wsiseg predict SLIDE --run {shlex.quote(str(result.folder))}",
    ):
        stdout.print(line, soft_wrap=True, markup=False)


def _mention_unfinished() -> None:
    from wsiseg.errors import CheckpointNotFoundError
    from wsiseg.train.runfolder import newest_unfinished

    with suppress(CheckpointNotFoundError):
        text = f"{newest_unfinished()} is unfinished; to go on with it: wsiseg train --resume"
        stderr.print(f"wsiseg: {text}", style="yellow", soft_wrap=True, markup=False)


def _print_figures(figures: Mapping[str, Any]) -> None:
    from rich.table import Table

    if not figures:
        stdout.print("validation: none, there was no slide left for it")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("validation")
    for heading in ("IoU", "precision", "recall", "F1"):
        table.add_column(heading, justify="right")
    for name, scores in figures["classes"].items():
        table.add_row(name, *(figure(scores[key]) for key in ("iou", "precision", "recall", "f1")))
    table.add_row("mean", figure(figures["mean_iou"]), "", "", figure(figures["mean_f1"]))
    stdout.print(table)
