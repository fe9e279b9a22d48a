"""The ``predict`` section."""

from typing import Literal

from pydantic import Field

from wsiseg.config.base import Section


class PredictConfig(Section):
    """How a slide is predicted; tile size, mpp and classes come from the checkpoint."""

    overlap_share: float = Field(
        0.25, ge=0, lt=1, description="Overlap of neighbouring tiles, share of a side"
    )
    stitching: Literal["keep", "window"] = Field(
        "keep", description="One owner a pixel, or weighted blending"
    )
    batch_size: int = Field(4, ge=1, description="Tiles a forward pass")
