"""Whether a prediction survives being killed at any moment: the same bytes in the end, every time.

    python benchmarks/kills.py [--kills 20] [--side 6000] [--seed 0]

A painted slide is predicted once without interruption, by a predictor that only looks at colours, into every
kind of file and map. Then the same command is started again and again; each time it is killed with SIGKILL
after a random share of the time that the uninterrupted run took, until a run comes to its end. What is then
in the folder is compared, byte for byte. The line for each kill tells how far the journal had come.

Leaves with exit code 1 where a byte differs.
"""

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from predict import CARD, look_at_colors, write_slide

from wsiseg.config import PredictConfig
from wsiseg.infer.naming import work_path
from wsiseg.infer.pipeline import Settings, predict_slide
from wsiseg.slide import Slide


def look_and_judge(images_NTT3: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The classes by colour, and a confidence that changes from pixel to pixel."""
    confidence_NTT = images_NTT3[..., 0].astype(np.float32) / 255
    return np.concatenate([look_at_colors(images_NTT3), confidence_NTT[:, None]], axis=1)


def predict(slide_path: Path, out: Path) -> None:
    """The work that is killed."""
    settings = Settings(
        PredictConfig(overlap_share=0.25, confidence=True),
        formats=("qupath", "asap", "imagescope", "dsa", "ome-zarr"),
        keep=("probabilities", "confidence"),
    )
    with Slide.open(slide_path) as slide:
        predict_slide(slide, look_and_judge, CARD, out=out, settings=settings)


def start(slide: Path, out: Path) -> "subprocess.Popen[bytes]":
    """The same in a process of its own."""
    return subprocess.Popen([sys.executable, __file__, "--run", str(slide), str(out)])


def digests(out: Path) -> dict[str, str]:
    """Digest of every file below a folder."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def progress_of(out: Path, stem: str) -> str:
    """How far an interrupted prediction had come."""
    work = work_path(out, stem)
    if not work.exists():
        return "nothing on disk"
    journal = work / "journal"
    bands = journal.read_bytes().count(b"\n") if journal.exists() else 0
    made = sum(path.is_file() for path in (work / "files").glob("*")) if (work / "files").exists() else 0
    return f"{bands} bands, {made} files made"


def kill_and_resume(slide: Path, out: Path, seconds: float, share: float) -> str | None:
    """Start, and kill after a share of the time of a whole run; what was there then, or None if it ended."""
    process = start(slide, out)
    try:
        process.wait(timeout=seconds * share)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return progress_of(out, slide.stem)
    if process.returncode:
        raise RuntimeError(f"the prediction failed with exit code {process.returncode}")
    return None


def main() -> None:
    """Print a line for each kill and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--side", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        predict(*options.run)
        return
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slide = folder / "slides" / "painted.tiff"
        slide.parent.mkdir()
        write_slide(slide, options.side, options.side)
        begun = time.monotonic()
        if start(slide, folder / "whole").wait():
            sys.exit("the uninterrupted prediction failed")
        seconds = time.monotonic() - begun
        expected = digests(folder / "whole")
        print(f"{len(expected)} files in {seconds:.1f} s")
        wrong = kills = attempt = 0
        while kills < options.kills:
            out, attempt = folder / f"killed-{attempt}", attempt + 1
            while kills < options.kills and (
                found := kill_and_resume(slide, out, seconds, share := rng.uniform(0.05, 1.0))
            ):
                kills += 1
                print(f"killed after {share * seconds:5.1f} s: {found}", flush=True)
            if start(slide, out).wait():
                sys.exit("the resumed prediction failed")
            differ = {name for name, _ in expected.items() ^ digests(out).items()}
            wrong += len(differ)
            print(f"finished: {', '.join(sorted(differ)) or 'the same bytes'}", flush=True)
    print(f"{kills} kills, {attempt} predictions, {wrong} files that differ")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
