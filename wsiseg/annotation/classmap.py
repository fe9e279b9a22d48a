"""From what viewers call things to the classes of the schema."""

import difflib
import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from wsiseg.annotation.model import Annotation
from wsiseg.classes import ClassSchema, TissueClass, normalise
from wsiseg.errors import UnknownClassError

NO_CLASS = "(no class)"
"""What messages call annotations without a class, and what a mapping calls them."""

_MAPPED_REGION = "region"
_MAPPED_IGNORE = "ignore"
_CLASS = "class:"
_SHOWN = 5


@dataclass
class Classified:
    """Annotations sorted by what they mean.

    Attributes:
        objects: Each with its schema class, in file order; the background may be among them.
        regions: Outlines of exhaustively annotated areas.
        ignored: Outlines about which nothing is known.
    """

    objects: list[tuple[Annotation, str]] = field(default_factory=list)
    regions: list[Annotation] = field(default_factory=list)
    ignored: list[Annotation] = field(default_factory=list)


def classify(
    annotations: Iterable[Annotation],
    schema: ClassSchema,
    *,
    mapping: Mapping[str, str] | None = None,
    region_prefix: str = "Region",
    ignore_class: str = "Ignore",
) -> Classified:
    """Give every annotation its class.

    A name is looked up in ``mapping`` first, then in the schema (names and aliases), then as region or
    ignore. Case, spaces, ``-`` and ``_`` do not matter, nor the ``*`` at the end of QuPath's ``Region*``
    and ``Ignore*``. Where there is no name, or an unknown one, the ImageScope layer id is looked up in
    ``mapping``. An annotation without any of these is ``mapping["(no class)"]``, or else of the only
    foreground class where there is one.

    A QuPath cell of a nucleus class becomes its nucleus; of any other class, it stays the whole cell.

    Raises:
        UnknownClassError: A class that is neither mapped nor in the schema; near matches are named. Also a
            mapping to a class that the schema does not have.
    """
    lookup = _Lookup(schema, dict(mapping or {}), region_prefix, ignore_class)
    result = Classified()
    unknown: dict[str, int] = {}
    for annotation in annotations:
        meaning = lookup.meaning(annotation)
        if meaning is None:
            key = annotation.class_name or annotation.layer or NO_CLASS
            unknown[key] = unknown.get(key, 0) + 1
        elif meaning == _MAPPED_REGION:
            result.regions.append(annotation)
        elif meaning == _MAPPED_IGNORE:
            result.ignored.append(annotation)
        else:
            name = meaning.removeprefix(_CLASS)
            result.objects.append((_with_one_outline(annotation, schema[name]), name))
    if unknown:
        raise _unknown_error(unknown, schema, mapping or {})
    return result


def rename(
    annotations: Iterable[Annotation], mapping: Mapping[str, str]
) -> tuple[list[Annotation], list[str]]:
    """Give annotations the class names of a mapping; what it does not name keeps its own.

    Returns:
        The annotations, and the keys of the mapping that none of them carries.
    """
    wanted = {plain(name): target for name, target in mapping.items()}
    used: set[str] = set()
    renamed: list[Annotation] = []
    for annotation in annotations:
        names = (plain(name) for name in (annotation.class_name, annotation.layer) if name is not None)
        key = next((name for name in names if name in wanted), None)
        if key is None:
            renamed.append(annotation)
        else:
            used.add(key)
            renamed.append(replace(annotation, class_name=wanted[key]))
    return renamed, [name for name in mapping if plain(name) not in used]


def _with_one_outline(annotation: Annotation, tissue_class: TissueClass) -> Annotation:
    if annotation.nucleus is None:
        return annotation
    outline = annotation.outline(nucleus=tissue_class.nucleus)
    return replace(annotation, polygon=outline, nucleus=None)


class _Lookup:
    """Viewer name -> ``region``, ``ignore``, ``class:<schema name>`` or None; remembers what it found."""

    def __init__(
        self, schema: ClassSchema, mapping: dict[str, str], region_prefix: str, ignore_class: str
    ) -> None:
        self._schema = schema
        self._region = plain(region_prefix)
        self._ignore = plain(ignore_class)
        self._mapped = {plain(name): self._target(name, target) for name, target in mapping.items()}
        only = schema.foreground[0].name if len(schema.foreground) == 1 else None
        self._unnamed = None if only is None else _CLASS + only
        self._known: dict[tuple[str | None, str | None], str | None] = {}

    def meaning(self, annotation: Annotation) -> str | None:
        key = (annotation.class_name, annotation.layer)
        if key not in self._known:
            self._known[key] = self._find(*key)
        return self._known[key]

    def _find(self, name: str | None, layer: str | None) -> str | None:
        found = None if name is None else self._mapped.get(plain(name)) or self._by_name(name)
        # Layers are numbered as they come: a number that is right for one file is wrong for the next.
        if found is None and layer is not None:
            found = self._mapped.get(plain(layer))
        if found is None and name is None:
            found = self._mapped.get(plain(NO_CLASS), self._unnamed)
        return found

    def _by_name(self, name: str) -> str | None:
        found = self._schema.find(name) or self._schema.find(plain(name))
        if found is not None:
            return _CLASS + found.name
        if self._ignore and plain(name) == self._ignore:
            return _MAPPED_IGNORE
        rest = plain(name).removeprefix(self._region)
        # "Region 3" and "region_of_interest" are regions, "regional sclerosis" is a lesion.
        named = self._region and rest != plain(name) and not rest[:1].isalpha()
        return _MAPPED_REGION if named else None

    def _target(self, name: str, target: str) -> str:
        found = self._by_name(target)
        if found is not None:
            return found
        raise UnknownClassError(
            f"class mapping: {name!r} is mapped to {target!r}",
            expected=f"one of {', '.join(self._schema.names)}",
            remedy=_hint(target, self._schema.names) or None,
        )


def plain(name: str) -> str:
    """A viewer's name without case, spacing and the ``*`` of QuPath's ignored classes."""
    return normalise(name.rstrip("* "))


def _unknown_error(
    unknown: Mapping[str, int], schema: ClassSchema, mapping: Mapping[str, str]
) -> UnknownClassError:
    listed = [f"{name!r} ({count} objects)" for name, count in sorted(unknown.items())]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    candidates = [
        *schema.names,
        *(alias for tissue_class in schema for alias in tissue_class.aliases),
        *mapping,
    ]
    first = min(unknown)
    return UnknownClassError(
        "annotations of unknown class",
        found=", ".join(listed[:_SHOWN]) + more,
        expected=f"one of {', '.join(schema.names)}, Region*, Ignore*",
        remedy=_near(first, candidates),
    )


def _near(name: str, candidates: Iterable[str]) -> str:
    listed = list(candidates)
    hint = _hint(name, listed)
    example = _example({plain(each): each for each in listed})
    # A text of JSON is one of YAML, whatever colons and commas a name holds.
    setting = f"annotations.mapping={{{json.dumps(name, ensure_ascii=False)}: {example}}}"
    advice = f"Give it a class with --set {shlex.quote(setting)}, or in the configuration"
    return f"{hint} {advice}" if hint else advice


def _hint(name: str, candidates: Iterable[str]) -> str:
    """A question that names what a name resembles; empty where it resembles nothing."""
    by_plain = {plain(candidate): candidate for candidate in candidates}
    near = difflib.get_close_matches(plain(name), by_plain, n=2, cutoff=0.5)
    return f"Did you mean {' or '.join(repr(by_plain[match]) for match in near)}?" if near else ""


def _example(by_plain: Mapping[str, str]) -> str:
    """A class to show in an example: the first that is not the background."""
    names = list(by_plain.values())
    return names[1] if len(names) > 1 else names[0]
