"""What a process asks of the system is tried in processes of its own."""

import os
import subprocess
import sys

import pytest

COUNT_ARENAS = """
import ctypes, re, tempfile, threading
import wsiseg.process
if {settled}:
    wsiseg.process.settle()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(8)

def allocate():
    together.wait()
    for _ in range(100):
        libc.malloc(1000)
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
with tempfile.NamedTemporaryFile() as file:
    libc.fopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    assert libc.malloc_info(0, stream) == 0
    libc.fclose(stream)
    print(len(re.findall("<heap nr", file.read().decode())))
"""


def _run(program: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MALLOC_"))}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="arenas are glibc's")
def test_eight_threads_share_two_arenas() -> None:
    assert int(_run(COUNT_ARENAS.format(settled=False))) > 2
    assert int(_run(COUNT_ARENAS.format(settled=True))) <= 2


GIVE_BACK = """
import resource
from wsiseg.process import settle, give_back

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

settle()
kept = [b"x" * (100_000 + i) for i in range(400)]
last = b"x" * 100_000
full = resident()
del kept
give_back()
print(full - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the heap is glibc's")
def test_free_memory_goes_back_to_the_system() -> None:
    assert int(_run(GIVE_BACK)) > 30_000_000
    # Without it the same memory stays, or the test shows nothing.
    assert int(_run(GIVE_BACK.replace("give_back()\n", "\n"))) < 20_000_000


MAP_AGAIN = """
import resource
from wsiseg.process import settle, keep_memory

settle()
keep_memory()
size = 64 << 20
bytes(bytearray(size))  # the heap grows once
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    bytearray(size).replace(b"1", b"2")
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the heap is glibc's")
def test_memory_that_is_kept_is_not_mapped_again() -> None:
    assert float(_run(MAP_AGAIN)) < 1
    assert float(_run(MAP_AGAIN.replace("keep_memory()\n", "\n"))) > 5


@pytest.mark.parametrize(("given", "found"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_waiting_threads_sleep_unless_told_otherwise(given: dict[str, str], found: str) -> None:
    program = "import os, wsiseg.process as p; p.settle(); print(os.environ['OMP_WAIT_POLICY'])"
    assert _run(program, **given) == found


def test_threads_hand_on_the_lock_of_python_sooner() -> None:
    program = "import sys, wsiseg.process as p; p.settle(); print(sys.getswitchinterval())"
    assert float(_run(program)) == pytest.approx(0.001)


@pytest.mark.parametrize("before", [True, False])
def test_the_garbage_collector_is_as_before_after_doing_without(before: bool) -> None:
    program = f"""
import gc, wsiseg.process as p
gc.enable() if {before} else gc.disable()
try:
    with p.without_collector():
        print(gc.isenabled())
        raise ValueError
except ValueError:
    print(gc.isenabled())
"""
    assert _run(program).split() == ["False", str(before)]
