"""The ``predict`` section."""

from typing import Literal

from pydantic import Field

from wsiseg.config.base import Section

MOST_OVERLAP_SHARE = 0.75
"""Here 16 tiles look at every pixel; each further step costs many times more and shows nothing new."""


class PredictConfig(Section):
    """How a slide is predicted; tile size, mpp and classes come from the checkpoint."""

    overlap_share: float = Field(
        0.25, ge=0, le=MOST_OVERLAP_SHARE, description="Overlap of neighbouring tiles, share of a side"
    )
    stitching: Literal["window", "keep"] = Field(
        "window", description="Weighted blending of overlapping tiles, or one owner a pixel"
    )
    batch_size: int = Field(4, ge=1, description="Tiles a forward pass")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Arithmetic of the network: auto is bf16 where the device has it, else fp32"
    )
    compile: bool = Field(
        False, description="Compile the network first: pays on large slides, needs a C++ compiler on a CPU"
    )
    tta: Literal["none", "flips", "dihedral"] = Field(
        "none", description="Average over 4 flips or all 8 turns and flips of each tile"
    )
    confidence: bool = Field(
        False, description="Ask the discriminator how likely each object is right; needs correctness targets"
    )
    unreadable: Literal["skip", "fail"] = Field(
        "skip", description="What an unreadable region does: background there, counted, or the slide fails"
    )
    simplify_um: float = Field(
        0.0, ge=0, description="Tolerance of simplified outlines; 0 keeps them exactly on the pixel edges"
    )
    split_nuclei: bool = Field(True, description="Cut apart nuclei that touch")
    outside: Literal["keep", "drop"] = Field(
        "keep", description="Objects outside the class that should contain them"
    )
    overview_px: int = Field(
        2048,
        ge=256,
        le=16384,
        description="Longest side of the overview; less, but at least half, where stored levels suit",
    )
