"""``wsiseg synth``: synthetic kidney slides with their truth."""

from pathlib import Path
from typing import Any

import click

from wsiseg.cli.options import NamedPath, Size


@click.command()
@click.option("--out", type=NamedPath(file_okay=False), required=True, help="Folder for the slides.")
@click.option("--slides", type=click.IntRange(0), default=1, show_default=True, help="Annotated slides.")
@click.option(
    "--unannotated",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="More slides without annotations; their truth goes to truth/.",
)
@click.option(
    "--held-out",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="More slides to evaluate on; their truth goes to truth/.",
)
@click.option(
    "--preset",
    type=click.Choice(["easy", "standard", "hard"]),
    default="standard",
    show_default=True,
    help="How hard they are.",
)
@click.option("--size", type=Size(), default="4096x4096", show_default=True, help="Pixels of level 0.")
@click.option("--mpp", type=float, default=0.5, show_default=True, help="Micrometres per pixel.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the first slide; the others count up."
)
@click.option(
    "--shape",
    type=click.Choice(["auto", "cores", "wedge"]),
    default="auto",
    show_default=True,
    help="Needle cores, a wedge, or by chance.",
)
@click.option(
    "--annotate-regions",
    "share",
    type=float,
    default=1.0,
    show_default="everything",
    help="Annotate only this share of the tissue (0-1), inside Region* rectangles.",
)
@click.option(
    "--levels-by",
    type=click.Choice(["2", "4"]),
    default="4",
    show_default=True,
    help="Factor between pyramid levels.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="Processors to use.  [default: all]",
)
def command(
    out: Path,
    slides: int,
    unannotated: int,
    held_out: int,
    preset: str,
    size: tuple[int, int],
    mpp: float,
    seed: int,
    shape: Any,
    share: float,
    levels_by: str,
    workers: int | None,
) -> None:
    """Make synthetic PAS kidney slides (.svs) with their truth (.geojson).

    \b
    slide-01.svs, slide-01.geojson ...          annotated, ready for wsiseg tile
    unannotated-01.svs, held-out-01.svs ...     their truth lies in truth/

    The same options give the same files, byte for byte.
    """
    from wsiseg.cli.console import exit_for, print_outcomes, progress_bars
    from wsiseg.errors import ConfigError
    from wsiseg.synthetic import SlideSpec, make_slides, plan_slides

    spec = SlideSpec(
        seed=seed,
        preset=preset,
        size_px=size,
        mpp=mpp,
        shape=shape,
        annotated_share=share,
        level_factor=2 if levels_by == "2" else 4,
    )
    plans = plan_slides(spec, annotated=slides, unannotated=unannotated, held_out=held_out)
    if not plans:
        raise ConfigError(
            "nothing to make", remedy="Ask for slides with --slides, --unannotated or --held-out"
        )
    with progress_bars() as progress:
        batch = make_slides(out, plans, progress, workers=workers)
    print_outcomes(batch.outcomes, batch.report)
    exit_for(batch.outcomes)
