"""mkdocs hooks: what the program says of itself stands where a page asks for it, so it is never stale.

``{{ cli }}``: the help of every command. ``{{ config }}`` and ``{{ study }}``: every key of a configuration.
"""

import inspect
import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from annotated_types import Ge, Gt, Le, Lt, MinLen, MultipleOf
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from wsiseg.cli.main import COMMANDS, cli
from wsiseg.config import Config
from wsiseg.config.study import StudyConfig

BOUNDS = {
    Ge: lambda one: f"≥ {one.ge:g}",
    Gt: lambda one: f"> {one.gt:g}",
    Le: lambda one: f"≤ {one.le:g}",
    Lt: lambda one: f"< {one.lt:g}",
    MinLen: lambda _: "not empty",
    MultipleOf: lambda one: f"multiple of {one.multiple_of:g}",
}
KINDS = {str: "text", int: "whole number", float: "number", bool: "true, false", type(None): "null"}
KINDS |= {Fraction: "fraction", Any: "anything"}


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs for each page."""
    for mark, write in WRITERS.items():
        if mark in markdown:
            markdown = markdown.replace(mark, write())
    return markdown


def command_line() -> str:
    """The help of every command."""
    root = click.Context(cli, info_name="wsiseg")
    sections = []
    for name in COMMANDS:
        command = cli.get_command(root, name)
        if command is None:
            raise LookupError(f"no command {name}")
        context = click.Context(command, parent=root, info_name=name, max_content_width=100)
        sections.append(f"## wsiseg {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(sections)


def keys_of(model: type[BaseModel], name: str = "", defaults: BaseModel | None = None) -> str:
    """A table of a section's keys, then one of each section in it, under its name.

    Args:
        model: The section.
        name: Its key; empty for the whole.
        defaults: What its keys are unless given, where that is not what the class says.
    """
    rows, inner = [], []
    for key, field in model.model_fields.items():
        default = _default(field) if defaults is None else getattr(defaults, key)
        sections = [kind for kind in _parts(field.annotation) if _is_section(kind)]
        if field.annotation not in sections:
            shown = "see the recipes" if sections and default else _shown(default)
            rows.append(f"| `{key}` | {shown} | {_accepts(field)} | {field.description} |")
        several = "[]" if get_origin(field.annotation) is tuple else ""
        whole = default if isinstance(default, BaseModel) else None
        inner += [keys_of(section, f"{name}.{key}{several}".lstrip("."), whole) for section in sections]
    parts = [f"## `{name}`\n\n{inspect.cleandoc(model.__doc__ or '').splitlines()[0]}\n"] if name else []
    if rows:
        parts.append("\n".join(["| key | default | accepts | what |", "|---|---|---|---|", *rows, ""]))
    return "\n".join([*parts, *inner])


def _parts(annotation: Any) -> Iterator[Any]:
    """A type and all types in it."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _is_section(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, BaseModel)


def _default(field: FieldInfo) -> Any:
    return ... if field.is_required() else field.get_default(call_default_factory=True)


def _shown(default: Any) -> str:
    return "must be given" if default is ... else f"`{json.dumps(default)}`".replace('"', "")


def _accepts(field: FieldInfo) -> str:
    bounds = [BOUNDS[type(one)](one) for one in field.metadata if type(one) in BOUNDS]
    return ", ".join([_kind(field.annotation), *bounds])


def _kind(annotation: Any) -> str:
    """A type in words."""
    inner = get_args(annotation)
    origin = Union if isinstance(annotation, UnionType) else get_origin(annotation)
    several = "list of" if inner[-1:] == (...,) else f"{len(inner)} of"
    written = {
        Literal: lambda: ", ".join(f"`{value}`" for value in inner),
        Union: lambda: " or ".join(map(_kind, inner)),
        tuple: lambda: f"{several} {_kind(inner[0])}",
        dict: lambda: f"{_kind(inner[0])}: {_kind(inner[1])}",
        Annotated: lambda: _kind(inner[0]),
    }
    if origin in written:
        return written[origin]()
    return "section" if _is_section(annotation) else KINDS[annotation]


WRITERS: dict[str, Callable[[], str]] = {
    "{{ cli }}": command_line,
    "{{ config }}": lambda: keys_of(Config),
    "{{ study }}": lambda: keys_of(StudyConfig),
}
