"""The ``classes`` section."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from wsiseg.classes import ClassSchema, TissueClass, default_schema
from wsiseg.config.base import Section

_HEX = 7


def _rgb(value: Any) -> Any:
    """``#ff0000`` as red, green, blue; anything else as it is."""
    if isinstance(value, str) and len(value) == _HEX and value.startswith("#"):
        try:
            return tuple(bytes.fromhex(value[1:]))
        except ValueError:
            return value
    return value


_Channel = Annotated[int, Field(ge=0, le=255)]


class ClassConfig(Section):
    """One class; see ``wsiseg.classes.TissueClass``."""

    name: str = Field(min_length=1, description="Name in configs and outputs")
    color: Annotated[tuple[_Channel, _Channel, _Channel], BeforeValidator(_rgb)] = Field(
        description="Red, green, blue, 0-255, or as #rrggbb"
    )
    inside: str | None = Field(None, description="The class that contains this one")
    aliases: tuple[str, ...] = Field((), description="Other names under which annotations may carry it")
    nucleus: bool = Field(False, description="Small and numerous: matched by centre distance, may be split")
    min_area_um2: float = Field(0.0, ge=0, description="Smaller objects are not exported")

    def build(self) -> TissueClass:
        """The class itself."""
        return TissueClass(**self.model_dump())


def default_classes() -> tuple[ClassConfig, ...]:
    """The four classes of the paper, as configuration."""
    return tuple(ClassConfig.model_validate(entry) for entry in default_schema().to_json())


def build_schema(classes: tuple[ClassConfig, ...]) -> ClassSchema:
    """The schema of these classes."""
    return ClassSchema(tuple(entry.build() for entry in classes))
