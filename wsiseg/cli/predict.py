"""``wsiseg predict``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsiseg.cli.console import can_go_on, exit_for, print_outcomes, progress_bars, stderr, stdout
from wsiseg.cli.options import PATH, mpp_slide_option

if TYPE_CHECKING:
    from wsiseg.config import PredictConfig
    from wsiseg.infer.naming import Format, Kept
    from wsiseg.infer.turning import Predictor

FORMATS = ("qupath", "asap", "imagescope", "dsa", "ome-zarr")


@click.command()
@click.argument("slides", metavar="SLIDE...", nargs=-1, required=True)
@click.option(
    "--run",
    type=PATH,
    help="A run, a checkpoint or an exported model.  [default: the newest run in runs/]",
)
@click.option(
    "--out",
    type=PATH,
    default=Path("predictions"),
    show_default=True,
    help="Folder of the files.",
)
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    default=("qupath", "asap"),
    show_default=True,
    help="Files to write; may be given several times.",
)
@click.option(
    "--tiles",
    type=PATH,
    help="Folder of stores that `tile` made: take pixels from there, as far as they have them.",
)
@click.option("--confidence", is_flag=True, help="Ask the discriminator where it is right; keep its map.")
@click.option("--keep-probabilities", is_flag=True, help="Keep the probabilities of all classes, as zarr.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda, cuda:1 ...; several that share the work, joined by commas.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Threads that read tiles ahead.",
)
@mpp_slide_option
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting of the run: predict.* or tissue.*",
)
@click.option("--overwrite", is_flag=True, help="Make everything anew, whatever is there.")
def command(
    slides: tuple[str, ...],
    run: Path | None,
    out: Path,
    formats: "tuple[Format, ...]",
    tiles: Path | None,
    confidence: bool,
    keep_probabilities: bool,
    device: str,
    workers: int,
    mpp_slide: float | None,
    overrides: tuple[str, ...],
    overwrite: bool,
) -> None:
    """Segment whole slides with a trained run.

    Writes for each slide into OUT: <stem>.geojson (QuPath), <stem>.xml (ASAP), <stem>.ome.tiff (label mask),
    <stem>.objects.csv (measurements), <stem>.png (picture with outlines), and OUT/report.json. Tile size,
    resolution and classes come from the run. A finished slide is skipped; interrupted, the same command
    goes on where it stopped.

    \b
    Examples:
      wsiseg predict slide.svs
      wsiseg predict slides/*.svs --run runs/run-001 --format imagescope
      wsiseg predict slide.svs --set predict.overlap_share=0.5
      wsiseg predict slide.svs --confidence --device cuda:0,cuda:1
      wsiseg predict /mnt/archive/slide.svs --tiles tiles
    """
    from wsiseg.infer.batch import predict_batch
    from wsiseg.infer.request import Settings, read_run
    from wsiseg.model.info import find_checkpoint, is_final, latest_run

    run = latest_run() if run is None else run
    checkpoint = find_checkpoint(run)
    if checkpoint != run and not is_final(checkpoint):
        text = f"{run} is unfinished: {checkpoint.name} is used; wsiseg train --resume goes on with the run"
        stderr.print(f"wsiseg: {text}", style="yellow", soft_wrap=True, markup=False)
    if confidence:
        overrides = (*overrides, "predict.confidence=true")
    card, config = read_run(run, overrides)
    keep: list[Kept] = ["probabilities"] if keep_probabilities else []
    keep += ["confidence"] if confidence else []
    can_go_on()
    with progress_bars() as progress:
        batch = predict_batch(
            slides,
            lambda: _load(run, device, config.predict),
            card,
            out=out,
            settings=Settings(
                config.predict,
                config.tissue,
                formats=tuple(dict.fromkeys(formats)),
                keep=tuple(keep),
                workers=workers,
                overwrite=overwrite,
            ),
            progress=progress,
            mpp_slide=mpp_slide,
            tiles=tiles,
        )
    stdout.print(f"run: {run}", soft_wrap=True, markup=False)
    print_outcomes(batch.outcomes, batch.report)
    for slide, text in batch.warnings:
        stderr.print(f"wsiseg: {slide}: {text}", style="yellow", soft_wrap=True, markup=False)
    exit_for(batch.outcomes)


def _load(run: Path, device: str, config: "PredictConfig") -> "list[Predictor]":
    """The predictors; torch, which takes seconds to load, is only loaded for slides that are not finished."""
    from wsiseg.infer.predictor import choose_devices, load_predictors

    devices = choose_devices(device)
    stderr.print(f"device: {', '.join(map(str, devices))}")
    return load_predictors(run, devices, config)
