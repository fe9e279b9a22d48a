"""``wsiseg study``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import click

from wsiseg.cli.console import can_go_on, exit_for, progress_bars, stdout
from wsiseg.cli.options import PATH, device_option, workers_option
from wsiseg.errors import ConfigError


@click.command()
@click.argument("config", type=PATH)
@click.option("--tiles", type=PATH, default=Path("tiles"), show_default=True, help="Folder of tile stores.")
@click.option("--out", type=PATH, help="Folder of the study.  [default: studies/NAME]")
@device_option
@click.option(
    "--devices",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Cells side by side, each in a process, with a GPU of its own as far as there are any.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Run the cells on the workers of a dask scheduler.")
@workers_option
@click.option("--keep-runs", is_flag=True, help="Keep the run folders of finished cells.")
@click.option("--report-only", is_flag=True, help="Rebuild the tables from the finished cells.")
def command(
    config: Path,
    tiles: Path,
    out: Path | None,
    device: Literal["auto", "cpu", "cuda"],
    devices: int,
    scheduler: str | None,
    workers: int,
    keep_runs: bool,
    report_only: bool,
) -> None:
    """Find out what one way of training gains over another.

    CONFIG is a YAML file or the name of a study that comes with wsiseg (label-efficiency,
    label-efficiency-small, label-efficiency-long, label-efficiency-tested, annotate-next, four-tiles,
    kidney-pas, nuclei, paper-protocol, paper-protocol-cpu, paper-protocol-small): arms x shares of the
    labels x seeds. Every cell is trained with equal steps and examined on slides that no cell has learnt
    from.

    \b
    OUT/cells/*.json    one small result a cell
    OUT/samples/*.png   its best and its worst test tile
    OUT/table.md, OUT/table.json, OUT/study.html, OUT/report.json

    After an interruption the same command goes on; a changed CONFIG does again what it changes.
    """
    if devices > 1 and scheduler is not None:
        raise ConfigError("--devices and --scheduler exclude each other")
    from wsiseg.config.study import load_study

    study = load_study(config)
    from wsiseg.study.run import StudyOptions, report_study, run_study

    name = config.stem
    out = Path("studies") / name if out is None else out
    if report_only:
        result = report_study(name, study, out)
    else:
        options = StudyOptions(
            tiles,
            out,
            device=device,
            workers=workers,
            devices=devices,
            scheduler=scheduler,
            keep_runs=keep_runs,
        )
        can_go_on()
        with progress_bars() as progress:
            result = run_study(name, study, options, progress=progress)
    _print_table(result.table)
    stdout.print(f"look at: {out / 'study.html'}   tables: {out / 'table.md'}", soft_wrap=True, markup=False)
    exit_for(result.outcomes)


def _print_table(table: Mapping[str, Any]) -> None:
    from rich.table import Table

    from wsiseg.report.sheets import differences, scores, verdicts

    for sheet in (scores(table), differences(table)):
        if not sheet.rows:
            continue
        shown = Table(box=None, pad_edge=False, header_style="bold", title=sheet.title, title_justify="left")
        for place, heading in enumerate(sheet.headings):
            shown.add_column(heading, justify="left" if place < sheet.left else "right", overflow="fold")
        for row in sheet.rows:
            shown.add_row(*row)
        stdout.print(shown)
    for line in (*verdicts(table), *(f"note: {note}" for note in table["notes"])):
        stdout.print(line, soft_wrap=True, markup=False)
