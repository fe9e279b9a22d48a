"""Options and types that several commands share, so that they read and behave alike."""

from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from wsiseg.annotation import ImportReport


class NamedPath(click.Path[Path]):
    """A path that is not empty: an empty shell variable would stand for the current folder.

    Args:
        **checks: As ``click.Path`` takes them: ``exists``, ``dir_okay``, ``file_okay``.
    """

    def __init__(self, **checks: bool) -> None:
        super().__init__(path_type=Path, **checks)

    def convert(
        self, value: str | PathLike[str], param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """The path."""
        if not fspath(value):
            self.fail("the name is empty; write . for the current folder", param, ctx)
        return super().convert(value, param, ctx)


PATH = NamedPath()


class Size(click.ParamType[tuple[int, int]]):
    """Width and height as ``3072x3072``."""

    name = "WxH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Two whole numbers."""
        if isinstance(value, tuple):
            return value
        width, cross, height = str(value).lower().partition("x")
        if not (cross and width.isdecimal() and height.isdecimal()):
            self.fail(f"{value!r} is no size; write it as 3072x3072", param, ctx)
        return int(width), int(height)


def refuse_same_file(source: Path, target: Path) -> None:
    """Make sure that a command does not write over the file that it reads.

    Raises:
        click.UsageError: It would.
    """
    if target.exists() and target.samefile(source):
        raise click.UsageError(f"{target} is the file that is read; give another name")


def refuse_nothing_left(source: Path, report: "ImportReport", left: int) -> None:
    """Make sure that something comes of a file that holds objects.

    Raises:
        AnnotationError: No object is left.
    """
    from wsiseg.errors import AnnotationError

    if not left and (report.kept or report.dropped):
        raise AnnotationError(
            f"{source}: none of its objects can be written", found=report.summary(), expected="one at least"
        )


MPP = click.FloatRange(0.05, 5.0)
"""As ``geometry.PLAUSIBLE_MPP``; importing that would slow down every --help."""

mpp_slide_option = click.option(
    "--mpp-slide",
    type=MPP,
    help="Micrometres per pixel of level 0, in place of what the slide says.",
)

backend_option = click.option(
    "--backend",
    type=click.Choice(("auto", "openslide", "tiffslide", "direct")),
    default="auto",
    show_default=True,
    help="What decodes the slides.",
)

device_option = click.option(
    "--device",
    type=click.Choice(("auto", "cpu", "cuda")),
    default="auto",
    show_default=True,
    help="Where to train.",
)

workers_option = click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Threads that load tiles."
)
