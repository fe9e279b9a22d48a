"""What a synthetic slide is made from: a preset, a size, a resolution and a seed."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from wsiseg.errors import ConfigError

Shape = Literal["auto", "cores", "wedge"]
"""Form of the tissue: needle cores, one wedge, or by chance."""

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Preset:
    """How hard the slides are. A preset never changes once published: a change is a new version.

    Lengths are half axes in micrometres, densities are stain densities (0 clear, 1 strong).

    Attributes:
        name: As on the command line.
        version: Raised with every change of a pixel or of the truth.
        podocyte_um: Half length of podocyte nuclei.
        podocyte_stain: Mean haematoxylin of podocyte nuclei.
        other_um: Half length of the other nuclei in glomeruli.
        other_stain: Mean haematoxylin of the other nuclei.
        stain_spread: Deviation of haematoxylin from nucleus to nucleus.
        other_count: Other nuclei in a glomerulus of 90 um radius.
        parietal_count: Flat nuclei along Bowman's capsule, at most.
        lifted: Part of the podocytes that stand off the tuft.
        sclerosed: Part of the glomeruli that are scarred.
        inflamed: Part of the cortex with dense inflammation.
        focus_um: Blur, from the sharpest to the softest slide, as a deviation.
        stain_shift: How far the stains differ from slide to slide.
        faded: How much of its stain faded tissue loses.
        grain: Strength of texture in the tissue.
    """

    name: str
    version: int
    podocyte_um: Range
    podocyte_stain: float
    other_um: Range
    other_stain: float
    stain_spread: float
    other_count: int
    parietal_count: int
    lifted: float
    sclerosed: float
    inflamed: float
    focus_um: Range
    stain_shift: float
    faded: float
    grain: float

    @property
    def label(self) -> str:
        """Name and version, as recorded in every file: ``standard-1``."""
        return f"{self.name}-{self.version}"


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                name="easy",
                version=1,
                podocyte_um=(4.2, 5.0),
                podocyte_stain=0.66,
                other_um=(2.5, 2.9),
                other_stain=0.78,
                stain_spread=0.07,
                other_count=46,
                parietal_count=0,
                lifted=0.0,
                sclerosed=0.0,
                inflamed=0.0,
                focus_um=(0.25, 0.3),
                stain_shift=0.3,
                faded=0.1,
                grain=0.6,
            ),
            Preset(
                name="standard",
                version=1,
                podocyte_um=(3.7, 5.0),
                podocyte_stain=0.67,
                other_um=(2.4, 3.1),
                other_stain=0.75,
                stain_spread=0.10,
                other_count=52,
                parietal_count=4,
                lifted=0.08,
                sclerosed=0.0,
                inflamed=0.06,
                focus_um=(0.25, 0.5),
                stain_shift=0.7,
                faded=0.25,
                grain=0.9,
            ),
            Preset(
                name="hard",
                version=1,
                podocyte_um=(3.4, 4.6),
                podocyte_stain=0.70,
                other_um=(2.3, 3.4),
                other_stain=0.75,
                stain_spread=0.13,
                other_count=66,
                parietal_count=7,
                lifted=0.2,
                sclerosed=0.12,
                inflamed=0.15,
                focus_um=(0.3, 0.9),
                stain_shift=1.0,
                faded=0.45,
                grain=1.2,
            ),
        )
    }
)
"""The published presets by name."""

MIN_SIDE_PX = 256
MAX_SIDE_PX = 200_000
MPP_RANGE = (0.1, 2.0)


@dataclass(frozen=True, slots=True)
class SlideSpec:
    """The recipe of one slide: the same recipe gives the same bytes.

    Attributes:
        seed: Any whole number from 0 to 2^63 - 1.
        preset: Name in ``PRESETS``.
        size_px: Width and height of level 0.
        mpp: Micrometres per pixel of level 0, both ways.
        shape: Form of the tissue.
        annotated_share: Part of the tissue whose objects are in the truth, inside ``Region*``
            rectangles; 1.0 annotates everything and draws no rectangle.
        level_factor: From one pyramid level to the next, 2 or 4.
        quality: Of the JPEG tiles, 1-100.

    Raises:
        ConfigError: A value that cannot be used.
    """

    seed: int = 0
    preset: str = "standard"
    size_px: tuple[int, int] = (4096, 4096)
    mpp: float = 0.5
    shape: Shape = "auto"
    annotated_share: float = 1.0
    level_factor: Literal[2, 4] = 4
    quality: int = 85

    def __post_init__(self) -> None:
        _check(self.preset in PRESETS, "preset", self.preset, ", ".join(PRESETS))
        _check(0 <= self.seed < 2**63, "seed", self.seed, "0 to 2^63 - 1")
        for side in self.size_px:
            _check(MIN_SIDE_PX <= side <= MAX_SIDE_PX, "size", side, f"{MIN_SIDE_PX} to {MAX_SIDE_PX} px")
        low, high = MPP_RANGE
        _check(low <= self.mpp <= high, "mpp", self.mpp, f"{low:g} to {high:g} um/px")
        _check(self.shape in ("auto", "cores", "wedge"), "shape", self.shape, "auto, cores or wedge")
        _check(0.0 < self.annotated_share <= 1.0, "annotated share", self.annotated_share, "above 0, up to 1")
        _check(self.level_factor in (2, 4), "level factor", self.level_factor, "2 or 4")
        _check(1 <= self.quality <= 100, "quality", self.quality, "1 to 100")

    @property
    def knobs(self) -> Preset:
        """The preset itself."""
        return PRESETS[self.preset]

    @property
    def size_um(self) -> tuple[float, float]:
        """Width and height in micrometres."""
        return self.size_px[0] * self.mpp, self.size_px[1] * self.mpp


def _check(fine: bool, what: str, found: object, expected: str) -> None:
    if not fine:
        raise ConfigError(f"synthetic slide: {what}", found=str(found), expected=expected)
