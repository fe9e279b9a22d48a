"""The page of a training run, from what lies in its folder."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from trainstores import make_config

from wsiseg.config.yaml_io import save_config
from wsiseg.errors import CheckpointFormatError
from wsiseg.report.run import write_run_report

SCORES = {"iou": 0.5, "precision": 0.75, "recall": None, "f1": 0.6667}
COMPARISON = {
    "mean_iou": {"run": 0.512, "baseline": 0.498, "difference": 0.014, "interval_95": [-0.01, 0.03]},
    "classes": {"background": {"run": 0.9, "baseline": 0.95}, "disc": {"run": 0.124, "baseline": 0.046}},
    "tiles": 4,
    "slides": 2,
}


def write_run(folder: Path, **changes: Any) -> Path:
    """A finished run, without anybody having trained."""
    folder.mkdir()
    save_config(make_config(), folder / "config.yaml")
    report = {
        "slides": [
            {"slide": "a & b", "counts": {"labelled_tiles": 7, "unlabelled_tiles": 2}},
            {"slide": "c", "counts": {"validation_tiles": 4}},
        ],
        "steps": 8,
        "encoder": "tiny",
        "encoder_weights": "none",
        "device": "cpu",
        "precision": "32-true",
        "validation": {
            "mean_iou": 0.512,
            "mean_f1": 0.6,
            "classes": {"background": SCORES, "disc": SCORES},
        },
        "unlabelled_helped": "no measurable gain: mean IoU 0.512 with them",
        "baseline": COMPARISON,
        "notices": ["step 3: back to <step 2>"],
        "seconds": 61.0,
        **changes,
    }
    (folder / "report.json").write_text(json.dumps(report))
    gauges = {"d_real": 0.81, "d_other": 0.7, "ece": 0.031, "area_ratio/disc": 1.25}
    lines = [
        {"step": 4, "kind": "train", "ce": 1.0},
        {"step": 8, "kind": "validation", "mean_iou": 0.512, "gauges": gauges},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in ("curves", "gauges", "confusion", "examples"):
        Image.new("RGB", (40, 20)).save(folder / f"{name}.png")
    return folder


def rows(text: str) -> list[list[str]]:
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr.*?</tr>", text)]


def test_it_says_what_there_is_to_say(tmp_path: Path) -> None:
    page = write_run_report(write_run(tmp_path / "run-007"))
    assert page == tmp_path / "run-007" / "report.html"
    text = page.read_text(encoding="utf-8")
    assert "<title>Training run run-007</title>" in text
    found = rows(text)
    assert ["disc", "0.500", "0.750", "-", "0.667"] in found
    assert ["disc", "0.124", "0.046", "+0.078"] in found
    assert ["mean", "0.512", "0.498", "+0.014"] in found
    assert ["a &amp; b", "7", "2", "0"] in found
    assert ["all", "7", "2", "4"] in found
    assert ["ece", "expected calibration error: how far confidence is from accuracy", "0.031"] in found
    assert ["area disc", "predicted over true", "1.250"] in found
    assert ["semi-supervised", "70% of the steps", "labelled and unlabelled", "refresh", "yes"] in found
    assert "No measurable gain: mean IoU 0.512 with them." in text
    assert "<li>step 3: back to &lt;step 2&gt;</li>" in text
    assert "lambda_unlabelled: 0.001" in text


def test_it_needs_no_other_file(tmp_path: Path) -> None:
    text = write_run_report(write_run(tmp_path / "run")).read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href)="([^"]{0,40})', text)
    assert len(sources) == 4
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "<script" not in text


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    before = write_run_report(folder).read_bytes()
    assert write_run_report(folder).read_bytes() == before


def test_without_validation_and_baseline(tmp_path: Path) -> None:
    said = "not measured (no slide was left to validate on)"
    folder = write_run(tmp_path / "run", validation={}, baseline=None, unlabelled_helped=said, notices=[])
    for name in ("gauges", "confusion", "examples"):
        (folder / f"{name}.png").unlink()
    text = write_run_report(folder).read_text(encoding="utf-8")
    assert "No slide was left to validate on: no figure tells how good it is." in text
    assert "Not measured (no slide was left to validate on)." in text
    assert "On validation tiles" not in text
    assert "What the guards did" not in text


def test_an_unfinished_run_has_no_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "report.json").unlink()
    with pytest.raises(CheckpointFormatError, match="is no finished run"):
        write_run_report(folder)
    assert not (folder / "report.html").exists()
