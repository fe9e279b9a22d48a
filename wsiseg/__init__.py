"""Whole-slide-image segmentation for renal pathology, learning from annotated and unannotated tiles.

The package is laid out by floors; a module imports only from lower floors or its own folder (each has its
place in ``tests/test_layering.py``):

====== ==================================================================================================
floor  modules
====== ==================================================================================================
0      ``errors``, ``geometry``, ``classes``, ``progress``, ...: standard library and numpy
1      ``raster``, ``trace``, ``tissue``, ``metrics``, ``objects``, ``blend``, ...: array algebra
2      ``files``, ``lock``, ``slide``, ``tilestore``, ``annotation``, ``config``, ...: the outside world
3      ``model``: networks, the first floor that imports torch
4      ``tiling``, ``train``, ``infer``, ``evaluate``, ``study``, ``report``, ...: use cases
5      ``cli``: the command line
====== ==================================================================================================
"""

__version__ = "0.1.0"
