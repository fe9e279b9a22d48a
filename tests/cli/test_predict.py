"""``wsiseg predict`` as its user runs it, with a tiny network of random weights."""

import json
import subprocess
import sys

import pytest
import torch
from interruptions import until_interrupted
from painted import make_label, paint_slide

from wsiseg.annotation import check_asap, check_dsa, check_imagescope, check_qupath
from wsiseg.cli.main import main
from wsiseg.config import parse_config
from wsiseg.geometry import Box
from wsiseg.model.checkpoint import CheckpointInfo, checkpoint_path, write_checkpoint
from wsiseg.model.discriminator import build_discriminator
from wsiseg.model.segmentor import build_segmentor
from wsiseg.tilestore import MaskStore

pytestmark = pytest.mark.usefixtures("one_thread")


def write_run(folder, **discriminator):
    """A run with random weights; with a discriminator where its settings are given."""
    judge = {"kind": "none"} | discriminator
    config = parse_config(
        {
            "tiling": {"tile_px": 64, "mpp": 0.5},
            "train": {
                "segmentor": {"encoder": "tu-mobilenetv3_small_100", "weights": "none"},
                "discriminator": judge,
            },
            "predict": {"batch_size": 8},
        },
        source="test",
    )
    torch.manual_seed(1)
    networks = {"segmentor": build_segmentor(config.train.segmentor, 4, pretrained=False).state_dict()}
    if discriminator:
        networks["discriminator"] = build_discriminator(config.train.discriminator, 4).state_dict()
    info = CheckpointInfo(config, 1, "supervised")
    write_checkpoint(checkpoint_path(folder, "final", 1), info, networks)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("work") / "runs" / "first")


@pytest.fixture(scope="module")
def judged_run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("judged") / "run", kind="fcn", width=4)


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    return [
        paint_slide(folder / f"{name}.tiff", make_label(230, 190, seed)) for seed, name in enumerate("ab")
    ]


def wsiseg(*arguments):
    """The exit code of the command line."""
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, arguments)])
    return stopped.value.code or 0


def report_of(out):
    return json.loads((out / "report.json").read_text())


def test_all_formats_of_two_slides(run, slides, tmp_path, capsys):
    out = tmp_path / "out"
    formats = [part for name in ("qupath", "asap", "imagescope", "dsa") for part in ("--format", name)]
    assert wsiseg("predict", *slides, "--run", run, "--out", out, *formats) == 0
    for stem in "ab":
        assert check_qupath(out / f"{stem}.geojson") == []
        assert check_asap(out / f"{stem}.xml") == []
        assert check_imagescope(out / f"{stem}.imagescope.xml") == []
        assert check_dsa(out / f"{stem}.dsa.json") == []
    report = report_of(out)
    assert [slide["status"] for slide in report["slides"]] == ["ok", "ok"]
    assert report["command"] == "predict"
    assert report["slides"][0]["counts"]["tiles"] > 0
    assert not [path for path in out.iterdir() if "partial" in path.name or path.name.endswith(".lock")]
    assert "glomerulus" in capsys.readouterr().out


def test_two_runs_and_any_number_of_workers_give_the_same_bytes(run, slides, tmp_path):
    for name, workers in (("one", 1), ("two", 4)):
        assert wsiseg("predict", slides[0], "--run", run, "--out", tmp_path / name, "--workers", workers) == 0
    for path in (tmp_path / "one").glob("a.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_the_newest_run_is_taken_and_a_finished_slide_is_skipped(run, slides, tmp_path, monkeypatch):
    monkeypatch.chdir(run.parents[1])
    assert wsiseg("predict", slides[0], "--out", tmp_path) == 0
    assert wsiseg("predict", slides[0], "--out", tmp_path) == 0
    assert report_of(tmp_path)["slides"][0]["status"] == "skipped"
    assert wsiseg("predict", slides[0], "--out", tmp_path, "--overwrite") == 0
    assert report_of(tmp_path)["slides"][0]["status"] == "ok"


def test_one_bad_slide_of_three(run, slides, tmp_path, capsys):
    bad = tmp_path / "bad.svs"
    bad.write_text("this is no slide")
    assert wsiseg("predict", slides[0], bad, slides[1], "--run", run, "--out", tmp_path / "out") == 1
    statuses = {s["slide"]: s["status"] for s in report_of(tmp_path / "out")["slides"]}
    assert statuses == {str(slides[0]): "ok", str(bad): "failed", str(slides[1]): "ok"}
    assert (tmp_path / "out" / "b.geojson").exists()
    assert not list((tmp_path / "out").glob("*bad*"))
    assert "bad.svs" in capsys.readouterr().err


def test_an_interrupted_batch_keeps_what_is_done_and_says_how_to_go_on(
    run, slides, tmp_path, capsys, monkeypatch
):
    from wsiseg.infer import batch

    arguments = ["-q", "predict", *slides, "--run", run, "--out", tmp_path]
    with monkeypatch.context() as patch:
        patch.setattr(batch, "predict_slide", until_interrupted(batch.predict_slide))
        assert wsiseg(*arguments) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "wsiseg: stopped; the same command goes on where it stopped"
    assert [slide["status"] for slide in report_of(tmp_path)["slides"]] == ["ok", "failed"]
    assert wsiseg(*arguments) == 0
    assert [slide["status"] for slide in report_of(tmp_path)["slides"]] == ["skipped", "ok"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--run", "nowhere"], 2, "nowhere is no run"),
        (["--set", "predict.overlap=1"], 2, "did you mean 'overlap_share'"),
        (["--set", "predict.overlap_share=0.99"], 2, "Input should be less than or equal to 0.75"),
        (["--set", "train.steps=1"], 2, "comes from the run"),
        (["--set", "predict.precision=fp16", "--device", "cpu"], 2, "fp16 on a CPU"),
        (["--device", "cuda:99"], 2, "cannot be used here"),
        (["--device", "cpu,meta"], 2, "--device meta cannot be used here"),
        (["--confidence"], 2, "has no discriminator"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_clear_line(run, slides, tmp_path, capsys, *, arguments, code, message):
    arguments = arguments if "--run" in arguments else ["--run", run, *arguments]
    assert wsiseg("predict", slides[0], "--out", tmp_path / "out", *arguments) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("wsiseg:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert not list((tmp_path / "out").glob("a*"))


def test_a_slide_coarser_than_the_model_is_said_to_be(run, slides, tmp_path, capsys):
    arguments = ["predict", slides[0], "--run", run, "--out", tmp_path, "--mpp-slide", "1.0"]
    for _ in ("predicted", "skipped"):
        assert wsiseg(*arguments) == 0
        assert "its 1 um/px are magnified 2 times, to 0.5" in " ".join(capsys.readouterr().err.split())
    assert "magnified" in report_of(tmp_path)["warnings"][0]["warning"]


def test_two_slides_of_one_stem_are_refused(run, slides, tmp_path, capsys):
    twin = tmp_path / "a.tiff"
    twin.write_bytes(slides[0].read_bytes())
    assert wsiseg("predict", slides[0], twin, "--run", run, "--out", tmp_path / "out") == 2
    assert "both become a.geojson" in capsys.readouterr().err


def test_no_run_at_all(slides, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert wsiseg("predict", slides[0]) == 2
    assert "wsiseg train" in capsys.readouterr().err


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # an import of it would raise
from wsiseg.cli.main import main
main(sys.argv[1:])
"""


def test_a_finished_slide_is_skipped_without_loading_torch(run, slides, tmp_path):
    arguments = ["predict", slides[0], "--run", run, "--out", tmp_path]
    assert wsiseg(*arguments) == 0
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert report_of(tmp_path)["slides"][0]["status"] == "skipped"
    changed = [*command, "--set", "predict.overlap_share=0.5"]
    assert subprocess.run(changed, capture_output=True, check=False).returncode != 0


def test_another_run_with_other_weights_is_noticed(run, slides, tmp_path):
    other = write_run(tmp_path / "other")
    weights = next(other.rglob("segmentor.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert wsiseg("predict", slides[0], "--run", run, "--out", tmp_path / "out") == 0
    assert wsiseg("predict", slides[0], "--run", other, "--out", tmp_path / "out") == 0
    assert report_of(tmp_path / "out")["slides"][0]["status"] == "ok"


def test_confidence_and_probabilities(judged_run, slides, tmp_path):
    options = ["--run", judged_run, "--confidence", "--keep-probabilities", "--format", "ome-zarr"]
    assert wsiseg("predict", slides[0], "--out", tmp_path, *options) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {"a.ome.zarr", "a.probabilities.zarr", "a.confidence.zarr"} < names
    assert not {"a.geojson", "a.xml"} & names
    confidence = MaskStore.open(tmp_path / "a.confidence.zarr")
    seen = confidence.read(Box(0, 0, *confidence.size_gr))
    assert 0 < seen.std() < 100
    assert "mean_confidence" in (tmp_path / "a.objects.csv").read_text().splitlines()[0]
    assert wsiseg("predict", slides[0], "--out", tmp_path, *options) == 0
    assert report_of(tmp_path)["slides"][0]["status"] == "skipped"


def test_confidence_of_a_discriminator_that_only_tells_fakes_is_refused(slides, tmp_path, capsys):
    run = write_run(tmp_path / "run", kind="fcn", width=4, fake_target="zeros")
    assert wsiseg("predict", slides[0], "--run", run, "--out", tmp_path / "out", "--confidence") == 2
    assert "not right from wrong" in " ".join(capsys.readouterr().err.split())


def test_two_devices_give_the_bytes_of_one(judged_run, slides, tmp_path):
    for name, devices in (("one", "cpu"), ("two", "cpu,cpu")):
        options = ["--run", judged_run, "--device", devices, "--set", "predict.confidence=true"]
        assert wsiseg("predict", slides[0], "--out", tmp_path / name, *options) == 0
    for path in (tmp_path / "one").glob("a.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_a_damaged_model_is_one_clear_line_whatever_the_number_of_slides(slides, tmp_path, capsys):
    run = write_run(tmp_path / "run")
    weights = next(run.rglob("segmentor.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    assert wsiseg("predict", *slides, "--run", run, "--out", tmp_path / "out") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("wsiseg:")]
    assert len(lines) == 1
    assert "does not hold the weights" in lines[0]
    assert not (tmp_path / "out").exists()
