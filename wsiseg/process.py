"""What a process of wsiseg asks of the system before it begins its work."""

import ctypes
import os
import sys

_M_ARENA_MAX = -8
"""``mallopt`` parameter of glibc, from its ``malloc.h``."""
_ARENAS = 2


def settle() -> None:
    """Keep memory flat and share processors; call it before threads start and before torch is imported.

    glibc gives each thread an arena of its own, and what one thread frees another cannot use: with a few
    workers a slide then costs a third more memory the longer it is. Two arenas are enough where every
    allocation that matters is a whole tile.

    OpenMP threads that wait by spinning keep a processor from the loaders of tiles, and on a shared machine
    from one another. Who sets ``OMP_WAIT_POLICY`` is obeyed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, _ARENAS)
