"""The ``tiling``, ``tissue`` and ``annotations`` sections."""

from typing import Literal, Self

from pydantic import Field, model_validator

from wsiseg.config.base import Section


class TilingConfig(Section):
    """How a slide is cut into tiles."""

    mpp: float = Field(0.5, ge=0.05, le=5.0, description="Micrometres per pixel of a tile")
    tile_px: int = Field(512, ge=32, le=8192, multiple_of=16, description="Side of a tile, in grid pixels")
    overlap_px: int = Field(0, ge=0, description="Overlap of neighbouring tiles, in grid pixels")
    min_tissue_share: float = Field(
        0.1, ge=0, le=1, description="Tiles with less tissue and without annotations are left out"
    )
    unreadable: Literal["skip", "fail"] = Field(
        "skip", description="A tile that cannot be read is left out and reported, or fails the slide"
    )
    codec: Literal["lossless", "jpeg"] = Field(
        "lossless", description="How images are kept; jpeg takes a quarter of the room and changes pixels"
    )
    jpeg_quality: int = Field(90, ge=1, le=100, description="With codec: jpeg")

    @property
    def stored_jpeg_quality(self) -> int | None:
        """Of the images in the store; None where they are kept losslessly."""
        return self.jpeg_quality if self.codec == "jpeg" else None

    @model_validator(mode="after")
    def _tiles_advance(self) -> Self:
        if self.overlap_px >= self.tile_px:
            raise ValueError(f"overlap_px {self.overlap_px} must be less than tile_px {self.tile_px}")
        return self


class TissueConfig(Section):
    """How tissue is told from glass."""

    min_area_um2: float = Field(5000.0, ge=0, description="Smaller islands of tissue are dust")
    max_hole_um2: float = Field(5000.0, ge=0, description="Smaller holes in tissue are filled")


class AnnotationConfig(Section):
    """How annotations become labels."""

    labelled: Literal["auto", "regions", "slide", "tiles"] = Field(
        "auto", description="What counts as annotated: auto is regions where there are any, else slide"
    )
    region_prefix: str = Field(
        "Region", description="Classes that begin so mark exhaustively annotated areas"
    )
    ignore_class: str = Field("Ignore", description="Annotations of this class are left out of every loss")
    mapping: dict[str, str] = Field(default_factory=dict, description="Viewer name or layer id -> class")
