import json

import openslide
import pytest

from wsiseg.errors import OutputError
from wsiseg.progress import NullProgress
from wsiseg.synthetic import SlideSpec, make_slide, make_slides, plan_slides

SMALL = SlideSpec(seed=3, preset="easy", size_px=(1400, 1200), shape="wedge")


def test_same_recipe_same_bytes(tmp_path):
    first = make_slide(tmp_path / "a" / "slide.svs", SMALL)
    second = make_slide(tmp_path / "b" / "slide.svs", SMALL, workers=2)
    assert first.slide.read_bytes() == second.slide.read_bytes()
    assert first.truth.read_bytes() == second.truth.read_bytes()
    assert first.counts == second.counts
    assert first.counts["glomerulus"] >= 1
    with openslide.OpenSlide(first.slide) as slide:
        assert slide.properties["aperio.wsiseg preset"] == "easy-1"
        assert slide.properties["aperio.wsiseg seed"] == "3"


def test_a_set_hides_the_truth_of_what_is_not_annotated(tmp_path):
    plans = plan_slides(SMALL, annotated=1, unannotated=1, held_out=1)
    batch = make_slides(tmp_path, plans, NullProgress(), workers=2)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        "held-out-01.svs",
        "report.json",
        "slide-01.geojson",
        "slide-01.svs",
        "truth/held-out-01.geojson",
        "truth/unannotated-01.geojson",
        "unannotated-01.svs",
    ]
    assert [outcome.status for outcome in batch.outcomes] == ["ok", "ok", "ok"]
    assert [truth.slide.stem for truth in batch.truths] == [plan.name for plan in plans]
    report = json.loads(batch.report.read_text(encoding="utf-8"))
    assert [entry["slide"] for entry in report["slides"]] == [f"{plan.name}.svs" for plan in plans]
    assert report["recipes"]["held-out-01"]["preset"] == "easy-1"
    assert report["recipes"]["held-out-01"]["seed"] == 5


def test_held_out_slides_are_annotated_everywhere():
    sparse = SlideSpec(seed=1, annotated_share=0.2)
    plans = plan_slides(sparse, annotated=2, unannotated=1, held_out=1)
    assert [plan.spec.annotated_share for plan in plans] == [0.2, 0.2, 1.0, 1.0]
    assert [plan.spec.seed for plan in plans] == [1, 2, 3, 4]
    assert [plan.hidden for plan in plans] == [False, False, True, True]


def test_nothing_is_left_where_writing_fails(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot write"):
        make_slide(blocked / "slide.svs", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_one_bad_slide_does_not_stop_the_others(tmp_path):
    plans = plan_slides(SMALL, annotated=2)
    (tmp_path / "slide-01.svs").mkdir()
    (tmp_path / "slide-01.svs" / "kept.txt").write_text("", encoding="utf-8")
    batch = make_slides(tmp_path, plans, NullProgress(), workers=1)
    assert [outcome.status for outcome in batch.outcomes] == ["failed", "ok"]
    assert "slide-01.svs" in str(batch.outcomes[0].reason)
    assert not list(tmp_path.glob(".*"))
