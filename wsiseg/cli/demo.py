"""``wsiseg demo``."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from wsiseg.cli.console import can_go_on, stdout
from wsiseg.cli.options import PATH, Size


@click.command("demo")
@click.option("--out", type=PATH, default=Path("demo"), show_default=True, help="Folder.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of slides and training."
)
@click.option("--steps", type=click.IntRange(min=1), help="Training steps.  [default: those of the recipe]")
@click.option("--size", type=Size(), default="3072x3072", show_default=True, help="Pixels of a slide.")
@click.option("--overwrite", is_flag=True, help="Do every step anew.")
@click.pass_context
def command(
    context: click.Context, out: Path, seed: int, steps: int | None, size: tuple[int, int], overwrite: bool
) -> None:
    """Run the whole way on synthetic slides and show the result.

    Makes six slides, then tiles, trains, predicts and evaluates with the commands that you would type
    yourself, each shown before it runs. Ends with OUT/report.html and OUT/metrics.json. Run it again after
    an interruption: finished steps are passed over.
    """
    from wsiseg.demo import DemoOptions, run_demo

    flags = ["--quiet"] if (context.find_root().obj or {}).get("quiet") else []

    def execute(arguments: Sequence[str]) -> int:
        line = [sys.executable, "-m", "wsiseg.cli.main", *flags, *arguments]
        return subprocess.run(line, check=False).returncode  # noqa: S603 - our own program

    def announce(text: str) -> None:
        title, *rest = text.splitlines()
        stdout.print(title, style="bold", soft_wrap=True, markup=False)
        for line in rest:
            stdout.print(line, soft_wrap=True, markup=False)

    can_go_on("the same command goes on after its last finished step")
    options = DemoOptions(out=out, seed=seed, steps=steps, size_px=size)
    result = run_demo(options, execute=execute, announce=announce, overwrite=overwrite)
    mean = result.figures["mean"]
    stdout.print(
        f"\nheld-out slide: mean F1 {mean['f1']:.3f}, mean IoU {mean['iou']:.3f}, in {result.seconds:.0f} s",
        style="bold",
    )
    stdout.print(f"figures: {result.metrics}\nlook at: {result.report}", soft_wrap=True, markup=False)
