"""``wsiseg export``."""

from pathlib import Path

import click

from wsiseg.cli.console import stdout
from wsiseg.cli.options import PATH


@click.command()
@click.argument("run", type=PATH)
@click.argument("model", type=PATH)
def command(run: Path, model: Path) -> None:
    """Export a trained run as a self-contained folder with a model card.

    RUN is a run folder (its final checkpoint is taken) or one checkpoint of it; MODEL is the new folder.

    \b
    wsiseg export runs/run-001 kidney-model
    wsiseg predict slide.svs --run kidney-model
    """
    from wsiseg.model.export import export_model

    trained = export_model(run, model)
    size = sum(file.stat().st_size for file in model.iterdir()) / 1e6
    stdout.print(
        f"{model}: {', '.join(trained.schema.names)} at {trained.mpp:g} um/px, {size:.0f} MB, "
        f"fingerprint {trained.fingerprint}"
    )
