"""The demonstration's page, made from a small slide."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from judging import SIZE, TRUTH, shifted, write_objects
from PIL import Image
from slides import texture_image, write_slide

from wsiseg.classes import default_schema
from wsiseg.config import Config
from wsiseg.evaluate import Case, error_map, evaluate, to_json
from wsiseg.progress import NullProgress
from wsiseg.report import ReportInputs, StepLine, write_demo_report
from wsiseg.report.pictures import examples, read_shapes
from wsiseg.slide import Slide


@pytest.fixture
def inputs(tmp_path: Path) -> ReportInputs:
    slide = write_slide(tmp_path / "held-out.tiff", texture_image(*SIZE), compression="deflate")
    truth = write_objects(tmp_path / "truth.geojson", TRUTH)
    prediction = write_objects(tmp_path / "held-out.geojson", [*shifted(TRUTH[:1], 9, 0), *TRUTH[2:]])
    found = evaluate([Case(slide, truth, prediction)], Config(), progress=NullProgress())
    picture = error_map(found.slides[0].thumbnail, found.slides[0].pixels.errors)
    Image.fromarray(picture).save(tmp_path / "map.png")
    (tmp_path / "run").mkdir()
    Image.new("RGB", (40, 20)).save(tmp_path / "run" / "curves.png")
    return ReportInputs(
        slide=slide,
        truth=truth,
        prediction=prediction,
        run=tmp_path / "run",
        figures=to_json(found),
        error_map=tmp_path / "map.png",
        steps=[StepLine("do <this>", "wsiseg synth --out a&b", 61.0)],
    )


def pictures(text: str) -> dict[str, Image.Image]:
    found = re.findall(r'src="data:image/\w+;base64,([^"]+)" alt="([^"]*)"', text)
    return {name: Image.open(io.BytesIO(base64.b64decode(data))) for data, name in found}


def test_it_holds_everything_in_one_file(inputs: ReportInputs, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    write_demo_report(inputs, target)
    text = target.read_text(encoding="utf-8")
    shown = pictures(text)
    assert {"slide with predicted outlines", "map of errors", "training curves"} <= set(shown)
    assert sum("glomerulus (IoU" in name for name in shown) == 6
    assert f"{inputs.figures['mean']['f1']:.3f}" in text
    assert "wsiseg synth --out a&amp;b" in text
    assert "do &lt;this&gt;" in text
    for word in ("QuPath", "held-out.geojson", "non-podocyte", "prefers-color-scheme"):
        assert word in text
    assert not re.search(r'(?:src|href)="(?!data:)', text)


def test_the_same_input_gives_the_same_page(inputs: ReportInputs, tmp_path: Path) -> None:
    for name in ("1.html", "2.html"):
        write_demo_report(inputs, tmp_path / name)
    assert (tmp_path / "1.html").read_bytes() == (tmp_path / "2.html").read_bytes()


def test_missing_curves_are_said(inputs: ReportInputs, tmp_path: Path) -> None:
    (inputs.run / "curves.png").unlink()
    write_demo_report(inputs, tmp_path / "report.html")
    assert "No curves were drawn." in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_examples_go_from_best_to_worst_and_show_outlines(inputs: ReportInputs) -> None:
    schema = default_schema()
    with Slide.open(inputs.slide) as slide:
        truth, prediction = (read_shapes(path, slide, schema) for path in (inputs.truth, inputs.prediction))
        shown = examples(slide, truth, prediction, schema)
    assert [example.title.split()[0] for example in shown] == ["best", "worst"]
    assert "IoU 0.00" in shown[-1].title
    image, with_truth, with_prediction = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))), dtype=int)
        for uri in (shown[-1].image, shown[-1].truth, shown[-1].prediction)
    )
    assert np.abs(image - with_truth).max() > 60
    # The outline was missed, but not the nucleus in it.
    assert 0 < (np.abs(image - with_prediction) > 60).sum() < (np.abs(image - with_truth) > 60).sum()


def test_a_slide_without_objects_has_no_examples(inputs: ReportInputs) -> None:
    with Slide.open(inputs.slide) as slide:
        assert examples(slide, [], [], default_schema()) == []
