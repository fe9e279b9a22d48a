"""What wsiseg does with each of a collection of slides and annotation files, as tables for the docs.

    python benchmarks/what_happens.py [--data FOLDER]

The folder (default: ``WSISEG_DATA``, or ``../shared/data``) holds ``slides/``, ``broken/``, ``kidney-pas/``
and ``annotations/``. Slides go through ``wsiseg info`` and ``wsiseg tile`` with default options, each in a
process of its own, annotation files through ``wsiseg check``; nothing is written beside the files. The last
column is what a user reads: the result, or the whole error.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SLIDES = {".svs", ".tif", ".tiff", ".ndpi"}


def wsiseg(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    command = [sys.executable, "-m", "wsiseg.cli.main", "--quiet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def about(path: Path) -> str:
    """How a slide is opened."""
    done = wsiseg("info", "--json", str(path))
    if done.returncode:
        return "refused"
    slide: dict[str, Any] = json.loads(done.stdout)[0]
    width, height = slide["size"]
    mpp = slide["mpp"]
    shown = "no usable mpp" if mpp is None else f"{mpp[0]:g} um/px"
    return f"{slide['vendor']}, {width} x {height}, {shown}, read by {slide['backend']}"


def tiled(path: Path) -> str:
    """What ``wsiseg tile`` says of a slide."""
    with tempfile.TemporaryDirectory() as folder:
        done = wsiseg("tile", str(path), "--out", folder)
        report = Path(folder) / "report.json"
        (slide,) = json.loads(report.read_text(encoding="utf-8"))["slides"]
    counts = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in slide["counts"].items())
    reason = (slide["reason"] or counts).replace(f"{path.parent}/", "")
    return f"**{slide['status']}**: {reason} (exit {done.returncode})"


def checked(path: Path) -> str:
    """What ``wsiseg check`` says of an annotation file."""
    done = wsiseg("check", str(path))
    lines = (done.stdout + done.stderr).replace(f"{path}: ", "").strip().splitlines()
    return f"{'; '.join(map(str.strip, lines))} (exit {done.returncode})"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    data = Path(os.environ.get("WSISEG_DATA", "../shared/data"))
    parser.add_argument("--data", type=Path, default=data)
    data = parser.parse_args().data
    print("| slide | opened as | `wsiseg tile` |\n|---|---|---|")
    for folder in ("slides", "kidney-pas", "broken"):
        for path in sorted(path for path in (data / folder).iterdir() if path.suffix in SLIDES):
            print(f"| `{path.name}` | {about(path)} | {tiled(path)} |", flush=True)
    print("\n| annotation file | `wsiseg check` |\n|---|---|")
    for path in sorted(path for path in (data / "annotations").rglob("*") if path.is_file()):
        print(f"| `{path.parent.name}/{path.name}` | {checked(path)} |", flush=True)


if __name__ == "__main__":
    main()
