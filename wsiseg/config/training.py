"""The ``train`` section."""

from pydantic import Field

from wsiseg.config.base import Section


class TrainConfig(Section):
    """The method: networks, losses, schedule."""

    seed: int = Field(0, ge=0, description="Seed of everything random")
