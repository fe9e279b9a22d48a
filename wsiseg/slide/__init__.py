"""Whole-slide images: the only package that imports OpenSlide and tiffslide."""

from wsiseg.slide.opening import BackendName
from wsiseg.slide.protocol import Level, RegionReader
from wsiseg.slide.slide import Slide

__all__ = ["BackendName", "Level", "RegionReader", "Slide"]
