"""Configuration in and out of YAML: the only import of yaml."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from wsiseg.config.root import Config
from wsiseg.errors import ConfigError
from wsiseg.files import atomic_path

Model = TypeVar("Model", bound=BaseModel)

_IN_YAML = {"tuple_type": "Input should be a list", "dict_type": "Input should be a mapping"}
"""Kinds of mistakes whose usual words are Python's."""


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration; what the file leaves out keeps its default.

    Args:
        path: A YAML file, the name of a recipe that comes with wsiseg such as ``paper``, or None for the
            defaults.
        overrides: ``section.key=value`` settings laid on top; the value is read as YAML.

    Raises:
        ConfigError: No such file, not YAML, an unknown key, a wrong value.
    """
    data = {} if path is None else read_mapping(find_recipe(path) or path, shelf="")
    for override in overrides:
        _apply(data, override)
    return parse_config(data, source="the configuration" if path is None else str(path))


def override_config(config: Config, overrides: Sequence[str]) -> Config:
    """A configuration with ``section.key=value`` settings laid on top.

    Raises:
        ConfigError: An unknown key or a wrong value.
    """
    data = dump_config(config)
    for override in overrides:
        _apply(data, override)
    return parse_config(data, source="--set")


def find_recipe(name: Path, folder: str = "") -> Path | None:
    """The YAML of a recipe that comes with wsiseg, such as ``paper``; None where ``name`` is not one.

    Recipes lie in the package once it is installed, and in ``configs/`` of a checkout; other shipped files
    lie in a ``folder`` there.
    """
    if name.is_file() or name.suffix or name.name != str(name):
        return None
    for shelf in _shelves():
        recipe = shelf / folder / f"{name}.yaml"
        if recipe.is_file():
            return recipe
    return None


def _shelves() -> tuple[Path, Path]:
    package = Path(__file__).parents[1]
    return package / "recipes", package.parent / "configs"


def parse_config(data: dict[str, Any], *, source: str) -> Config:
    """Check plain data; every problem is named by its key in one message.

    Raises:
        ConfigError: An unknown key or a wrong value.
    """
    return parse_model(Config, data, source=source)


def parse_model(model: type[Model], data: dict[str, Any], *, source: str) -> Model:
    """Check plain data against any model; every problem is named by its key in one message.

    Raises:
        ConfigError: An unknown key or a wrong value.
    """
    try:
        return model.model_validate(data)
    except ValidationError as err:
        problems = "; ".join(_explain(model, dict(problem)) for problem in err.errors())
        raise ConfigError(f"{source}: {problems}") from None


def dump_config(config: Config) -> dict[str, Any]:
    """Plain data, every default written out."""
    return config.model_dump(mode="json")


def save_config(config: Config, target: Path) -> None:
    """Write the resolved configuration as YAML."""
    with atomic_path(target) as partial:
        partial.write_text(yaml.safe_dump(dump_config(config), sort_keys=False), encoding="utf-8")


def load_mapping(path: Path) -> dict[str, str]:
    """Read a class mapping: one ``viewer name: class`` a line; layer ids may be written as numbers.

    Raises:
        ConfigError: No such file, not YAML, or an entry that is not one name to one class.
    """
    mapping = {str(name): target for name, target in read_mapping(path).items()}
    for name, target in mapping.items():
        if not isinstance(target, str) or not target.strip():
            raise ConfigError(f"{path}: {name}", found=repr(target), expected="the name of a class")
    return mapping


def read_mapping(path: Path, *, shelf: str | None = None) -> dict[str, Any]:
    """Read a YAML file that holds a mapping; an empty file is an empty one.

    Args:
        path: The file.
        shelf: Folder of the shipped files among which its name may have been meant, as in ``find_recipe``.

    Raises:
        ConfigError: No such file, not YAML, or not a mapping.
    """
    try:
        data = _StrictLoader(path.read_text(encoding="utf-8")).get_single_data()
    except FileNotFoundError:
        raise ConfigError(f"no such configuration file: {path}", remedy=_recipe_hint(path, shelf)) from None
    except OSError as err:
        raise ConfigError(f"{path} cannot be read: {err.strerror}") from err
    except (UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError) as err:
        raise ConfigError(f"{path} cannot be read as YAML: {_yaml_problem(err)}") from err
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(
            str(path), found=type(data).__name__, expected="a mapping, `name: value` on each line"
        )
    return data


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice; YAML would silently take the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """As ``SafeLoader``'s; here no merged keys have joined those that were written yet."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    problem = f"the key {key.value!r} stands twice"
                    raise yaml.composer.ComposerError(problem=problem, problem_mark=key.start_mark)
                seen.add((key.tag, key.value))
        return node


def _yaml_problem(err: Exception) -> str:
    """One line, with the place."""
    if not isinstance(err, yaml.MarkedYAMLError) or err.problem_mark is None:
        return " ".join(str(err).split())
    tab = "'\\t'" in str(err.problem)
    problem = "a tab, where YAML wants spaces" if tab else err.problem
    return f"line {err.problem_mark.line + 1}: {problem}"


def _recipe_hint(path: Path, folder: str | None) -> str | None:
    """The shipped files whose names resemble a path that is no file, or else all of them."""
    if folder is None or path.suffix or path.name != str(path):
        return None
    known = sorted({recipe.stem for shelf in _shelves() for recipe in (shelf / folder).glob("*.yaml")})
    near = difflib.get_close_matches(path.name, known)
    return f"wsiseg has {', '.join(near or known)}" if known else None


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}", expected="section.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise ConfigError(f"--set {key}: {text!r} is not a YAML value") from err
    set_key(data, key, value, source=f"--set {key}")


def set_key(data: dict[str, Any], key: str, value: Any, *, source: str) -> None:
    """Put a value under ``section.key`` of plain data, making sections that are not there.

    Raises:
        ConfigError: A part of the key is no section.
    """
    *sections, last = key.split(".")
    for section in sections:
        inner = data.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{source}: {section} is not a section")
        data = inner
    data[last] = value


def _explain(root: type[BaseModel], problem: dict[str, Any]) -> str:
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] != "extra_forbidden":
        message = _IN_YAML.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        return f"{where}: {message}" if where else message
    known = _known_keys(root, problem["loc"][:-1])
    near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    return f"unknown key {where!r} ({hint})"


def _known_keys(root: type[BaseModel], section: tuple[int | str, ...]) -> list[str]:
    model: Any = root
    for part in section:
        if isinstance(part, int):
            continue
        model = model.model_fields[part].annotation
        while not (isinstance(model, type) and issubclass(model, BaseModel)):
            model = model.__args__[0]
    return list(model.model_fields)
