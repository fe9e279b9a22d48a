"""Synthetic kidney slides with their truth."""

from wsiseg.synthetic.slides import Batch, Plan, make_slide, make_slides, plan_slides
from wsiseg.synthetic.spec import PRESETS, Preset, SlideSpec
from wsiseg.synthetic.truth import SlideTruth

__all__ = [
    "PRESETS",
    "Batch",
    "Plan",
    "Preset",
    "SlideSpec",
    "SlideTruth",
    "make_slide",
    "make_slides",
    "plan_slides",
]
