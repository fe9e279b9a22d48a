"""The documentation's own program: what it says of the configuration is complete."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
from pydantic import BaseModel

from wsiseg.config import Config
from wsiseg.config.study import StudyConfig

HOOKS = Path(__file__).parents[1] / "docs" / "hooks.py"


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", HOOKS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def leaves(model: type[BaseModel]) -> Iterator[str]:
    for key, field in model.model_fields.items():
        inner = [part for part in (field.annotation, *get_args(field.annotation)) if isinstance(part, type)]
        sections = [part for part in inner if issubclass(part, BaseModel)]
        for section in sections:
            yield from leaves(section)
        if not sections:
            yield key


@pytest.mark.parametrize(("mark", "model"), [("{{ config }}", Config), ("{{ study }}", StudyConfig)])
def test_every_key_of_a_configuration_is_described(
    hooks: ModuleType, mark: str, model: type[BaseModel]
) -> None:
    page = hooks.on_page_markdown(mark)
    described = dict(re.findall(r"^\| `(\w+)` \|.*\| (.+) \|$", page, flags=re.MULTILINE))
    assert set(leaves(model)) <= set(described)
    assert "None" not in described.values()


def test_a_key_stands_in_its_section_with_default_and_bounds(hooks: ModuleType) -> None:
    page = hooks.on_page_markdown("{{ config }}")
    section = page.split("## `train.guards`")[1].split("## ")[0]
    assert "| `d_loss_low` | `0.1` | number, ≥ 0 | Below this the discriminator has won |" in section
    # A section's own default counts before that of its class.
    assert "| `lr` | `0.0001` |" in page.split("## `train.discriminator_optimiser`")[1].split("## ")[0]


def test_every_command_has_its_help(hooks: ModuleType) -> None:
    assert "Usage: wsiseg predict" in hooks.on_page_markdown("{{ cli }}")
