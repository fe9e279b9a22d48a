"""``wsiseg``: the root command, which loads a subcommand only when it is asked for."""

import errno
import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from wsiseg import __version__
from wsiseg.cli.console import fail, leave_interrupted, setup_logging
from wsiseg.errors import WsisegError
from wsiseg.process import settle

COMMANDS = {
    "tile": "Cut slides into tiles, with labels where there are annotations.",
    "train": "Train on the tiles, labelled and unlabelled.",
    "predict": "Segment whole slides with a trained run.",
    "export": "Export a trained run as a folder with a model card.",
    "evaluate": "Compare a prediction with annotations.",
    "study": "Find out what one way of training gains over another.",
    "info": "Show what a slide file holds.",
    "convert": "Turn annotations into another viewer's format.",
    "check": "Say why a viewer would refuse an annotation file.",
    "synth": "Make synthetic kidney slides with their truth.",
    "demo": "Run the whole way on synthetic slides and show the result.",
}
"""Subcommand -> short help, so that ``wsiseg --help`` imports none of them."""


class LazyGroup(click.Group):
    """A group whose commands live in ``wsiseg.cli.<name>`` as ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"wsiseg.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; interrupted, it says how to go on, in place of click's "Aborted!"."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            leave_interrupted(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wsiseg")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("-v", "--verbose", is_flag=True, help="Log what is being done.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bars.")
@click.pass_context
def cli(ctx: click.Context, debug: bool, verbose: bool, quiet: bool) -> None:
    """Segment whole-slide images, learning from annotated and unannotated tiles.

    \b
    The usual way through:
      wsiseg tile slides/*.svs     # annotations beside a slide are found by themselves
      wsiseg train                 # on all of tiles/
      wsiseg predict slide.svs     # with the newest run

    See it work without any data: wsiseg demo
    """
    ctx.obj = {"debug": debug, "quiet": quiet}
    setup_logging(verbose=verbose, debug=debug)


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run the command line; our own errors become one line on stderr and an exit code."""
    settle()
    context: dict[str, Any] = {}
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return cli.main(args=arguments, prog_name="wsiseg", standalone_mode=True, obj=context)
    except WsisegError as err:
        if "--debug" in arguments:
            raise
        fail(str(err), err.exit_code)
    except OSError as err:
        # A full disk under a file is said by its writer; here it lies under standard output.
        if err.errno != errno.ENOSPC or "--debug" in arguments:
            raise
        fail(f"cannot write the output: {err.strerror}", 1)


if __name__ == "__main__":
    main()
