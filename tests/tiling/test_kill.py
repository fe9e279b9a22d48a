"""``kill -9`` at any moment, then the same command: the same bytes, and nothing finished done twice."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest
from slides import texture_image, write_slide
from tilestores import tree

from wsiseg.lock import write_lock
from wsiseg.tilestore import TileStore, partial_path

# Reading is slowed down, so that a kill can come at any moment of a run.
SLOW = """
import sys, time
from wsiseg.slide import Slide
read = Slide.read
def slow(self, box, size, **options):
    time.sleep(float(sys.argv[1]))
    return read(self, box, size, **options)
Slide.read = slow
from wsiseg.cli.main import main
main(["--quiet", "tile", *sys.argv[2:]])
"""
SETTINGS = ("--set", "tiling.tile_px=32", "--set", "tiling.min_tissue_share=0", "--workers", "2")


def start(slide, out, delay):
    command = [sys.executable, "-c", SLOW, str(delay), str(slide), "--out", str(out), *SETTINGS]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(slide, out):
    process = start(slide, out, 0)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def finished_shards(target):
    journal = partial_path(target) / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    shards = [json.loads(line)[0] for line in lines if line.endswith("\n")]
    files = [partial_path(target) / f"store/images/c/{shard}/0/0/0" for shard in shards]
    return {file.relative_to(partial_path(target) / "store"): file.stat().st_mtime_ns for file in files}


@pytest.fixture
def slide(tmp_path):
    return write_slide(tmp_path / "s.tiff", texture_image(640, 640))


def wait_for(condition, process):
    deadline = time.monotonic() + 300
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path, slide):
    finish(slide, tmp_path / "whole")
    rng = random.Random(4)
    out = tmp_path / "killed"
    target = out / "s.zarr"
    done = {}
    for _ in range(2):
        process = start(slide, out, 0.004)
        wait_for(partial_path(target).exists, process)
        before = len(done)
        wait_for(lambda before=before: len(finished_shards(target)) > before, process)
        time.sleep(rng.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not target.exists()
        now = finished_shards(target)
        assert len(now) > len(done)
        assert now.items() >= done.items(), "a finished shard was written again"
        done = now
    finish(slide, out)
    assert {target / name: stamp for name, stamp in done.items()}.items() <= {
        path: path.stat().st_mtime_ns for path in (target / "images").rglob("*")
    }.items()
    ours, theirs = tree(out), tree(tmp_path / "whole")
    ours.pop("report.json"), theirs.pop("report.json")
    assert ours == theirs
    assert len(TileStore.open(target)) == 400


def test_two_at_once_one_works_and_the_other_says_so(tmp_path, slide):
    with write_lock(tmp_path / "t/s.zarr"):
        process = start(slide, tmp_path / "t", 0)
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "s.zarr is being written by another process" in errors
    assert [path.name for path in (tmp_path / "t").iterdir()] == ["report.json"]
