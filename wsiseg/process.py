"""What a process of wsiseg asks of the system before it begins its work."""

import ctypes
import gc
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_FLAT = {
    -8: 2,  # M_ARENA_MAX
    -3: 16 << 20,  # M_MMAP_THRESHOLD
    -4: 1 << 16,  # M_MMAP_MAX, glibc's own
    -1: 32 << 20,  # M_TRIM_THRESHOLD
}
"""Parameters of glibc's ``mallopt``, by their numbers in its ``malloc.h``, and what we want of them."""

_KEPT = {
    -4: 0,  # M_MMAP_MAX
    -1: (1 << 31) - 1,  # M_TRIM_THRESHOLD
}
"""The same where memory is to be fast, not flat."""

_SWITCH_S = 0.001
"""How long a thread keeps the interpreter's lock while another wants it; Python's own is five times that."""


@contextmanager
def without_collector() -> Iterator[None]:
    """Do without the garbage collector while something large is built that will stay.

    It would walk the millions of objects that are there already again and again (parsing: five times slower).
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def give_back() -> None:
    """Hand memory that is free back to the system, where glibc would keep it for later.

    Between a part of the work that needed much and one that threads do, which would take more beside it.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def settle() -> None:
    """Keep memory flat and share processors; call it before threads start and before torch is imported.

    glibc gives each thread an arena of its own, and what one thread frees another cannot use: with a few
    workers a slide then costs a third more memory the longer it is. Two arenas are enough where every
    allocation that matters is a whole tile. What is larger than a threshold goes back to the system once it
    is free; left alone, glibc raises that threshold as it goes, and how much memory a slide takes depends on
    chance.

    OpenMP threads that wait by spinning keep a processor from the loaders of tiles, and on a shared machine
    from one another. Who sets ``OMP_WAIT_POLICY`` is obeyed.

    A thread that comes back from a decoder, which needs no lock, waits for the interpreter's until the thread
    that has it does something slow or its time is up; with tiles of a few milliseconds that time is long.
    """
    sys.setswitchinterval(_SWITCH_S)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _mallopt(_FLAT)


def keep_memory() -> None:
    """Let glibc keep what is freed, however large, for what is asked for next: a processor trains faster.

    Every step asks for the same tensors of many megabytes. Mapped anew each time they would be filled with
    zeros first, a tenth of a step on tiles of 512 px. ``give_back`` still empties the end of the heap.
    """
    _mallopt(_KEPT)


def _mallopt(parameters: Mapping[int, int]) -> None:
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            for parameter, value in parameters.items():
                mallopt(parameter, value)
