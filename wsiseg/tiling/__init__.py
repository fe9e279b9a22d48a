"""From a slide, and annotations where there are any, to its tile store."""

from wsiseg.tiling.batch import make_jobs
from wsiseg.tiling.job import TileJob, TileOptions, TilingSummary
from wsiseg.tiling.labelling import Labeller
from wsiseg.tiling.tiler import tile_slide

__all__ = ["Labeller", "TileJob", "TileOptions", "TilingSummary", "make_jobs", "tile_slide"]
