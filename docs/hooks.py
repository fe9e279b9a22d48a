"""mkdocs hook: the help of every command stands where a page says ``{{ cli }}``, so it is never stale."""

import click

from wsiseg.cli.main import COMMANDS, cli


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs for each page."""
    return markdown.replace("{{ cli }}", _command_line()) if "{{ cli }}" in markdown else markdown


def _command_line() -> str:
    root = click.Context(cli, info_name="wsiseg")
    sections = []
    for name in COMMANDS:
        command = cli.get_command(root, name)
        if command is None:
            raise LookupError(f"no command {name}")
        context = click.Context(command, parent=root, info_name=name, max_content_width=100)
        sections.append(f"## wsiseg {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(sections)
