import subprocess
import sys

import pytest

from wsiseg.errors import LockedError
from wsiseg.lock import write_lock

HOLD = """
import sys, pathlib
from wsiseg.lock import write_lock
with write_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_writer_at_a_time(tmp_path):
    target = tmp_path / "out" / "a.zarr"
    with write_lock(target):
        with pytest.raises(LockedError, match=r"a\.zarr is being written by another process\. Wait"):
            write_lock(target).__enter__()
        with write_lock(tmp_path / "out" / "b.zarr"):
            pass
    with write_lock(target):
        pass
    assert list((tmp_path / "out").iterdir()) == []


def test_a_killed_process_leaves_no_lock(tmp_path):
    target = tmp_path / "a.zarr"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError):
            write_lock(target).__enter__()
        holder.kill()
        holder.wait()
    with write_lock(target):
        pass
