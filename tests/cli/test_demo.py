"""``wsiseg demo``: its plan, its memory, and the whole way at a tiny size."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from judging import SIZE, TRUTH, write_objects
from PIL import Image
from slides import texture_image, write_slide

from wsiseg.annotation import check_asap, check_qupath
from wsiseg.cli.main import cli
from wsiseg.demo import DemoOptions, plan_steps, run_demo
from wsiseg.errors import OutputError, WsisegError
from wsiseg.outcome import Outcome, read_outcomes, write_report


class Commands:
    """Stands in for the real commands: writes what each would, and remembers what was asked."""

    def __init__(self, out: Path, *, fail_at: str | None = None) -> None:
        self.options = DemoOptions(out)
        self.asked: list[Sequence[str]] = []
        self.fail_at = fail_at

    @property
    def names(self) -> list[str]:
        return [arguments[0] for arguments in self.asked]

    def __call__(self, arguments: Sequence[str]) -> int:
        self.asked.append(arguments)
        if arguments[0] == self.fail_at:
            self.options.run.mkdir()
            write_report(self.options.run, "train", [Outcome("slide-01", "failed", "too small")])
            (self.options.run / "checkpoints" / "last-0000001").mkdir(parents=True)
            return 1
        getattr(self, arguments[0])()
        return 0

    def synth(self) -> None:
        self.options.truth.parent.mkdir(parents=True)
        write_slide(self.options.slide, texture_image(*SIZE), compression="jpeg")
        write_objects(self.options.truth, TRUTH)

    def tile(self) -> None:
        (self.options.out / "tiles").mkdir()
        write_report(self.options.out / "tiles", "tile", [Outcome("slides/slide-01.svs", seconds=2.0)])

    def train(self) -> None:
        self.options.run.mkdir(exist_ok=True)

    def predict(self) -> None:
        self.options.prediction.parent.mkdir()
        shutil.copy(self.options.truth, self.options.prediction)

    def evaluate(self) -> None:
        scores = dict.fromkeys(("iou", "precision", "recall", "f1"), 1.0)
        figures = {"mpp": 0.5, "classes": {"glomerulus": scores}, "mean": scores, "objects": {}}
        self.options.metrics.write_text(json.dumps(figures))
        Image.new("RGB", (8, 8)).save(self.options.out / "error-map.png")


def run(commands: Commands, *, overwrite: bool = False, **options: int):
    said: list[str] = []
    result = run_demo(
        DemoOptions(commands.options.out, **options),
        execute=commands,
        announce=said.append,
        overwrite=overwrite,
    )
    return result, "\n".join(said)


def test_the_held_out_slide_is_only_predicted_and_evaluated(tmp_path: Path) -> None:
    for step in plan_steps(DemoOptions(tmp_path)):
        names = " ".join(step.arguments)
        assert ("held-out-01" in names) == (step.name in {"predict", "evaluate"})
    tile = next(step for step in plan_steps(DemoOptions(tmp_path)) if step.name == "tile")
    assert not any(argument.endswith("slides") or "*" in argument for argument in tile.arguments)


def test_keys_follow_what_a_step_depends_on(tmp_path: Path) -> None:
    plain, longer, other = (
        [step.key for step in plan_steps(options)]
        for options in (
            DemoOptions(tmp_path),
            DemoOptions(tmp_path, steps=7),
            DemoOptions(tmp_path, seed=1),
        )
    )
    assert [a == b for a, b in zip(plain, longer, strict=True)] == [True, True, False, False, False]
    assert not set(plain) & set(other)


def test_it_shows_each_command_and_writes_the_report(tmp_path: Path) -> None:
    commands = Commands(tmp_path / "demo")
    result, said = run(commands, steps=5)
    assert commands.names == ["synth", "tile", "train", "predict", "evaluate"]
    assert f"$ wsiseg predict {commands.options.slide}" in said
    assert "train.steps=5" in said
    assert result.figures["mean"]["f1"] == 1.0
    assert "wsiseg: demonstration" in result.report.read_text(encoding="utf-8")
    assert [slide.to_json() for slide in read_outcomes(result.report.parent)] == [
        {"slide": "slide-01", "status": "ok", "reason": None, "counts": {"tile": {}}, "seconds": 2.0}
    ]


def test_finished_steps_are_passed_over(tmp_path: Path) -> None:
    run(Commands(tmp_path / "demo"))
    again = Commands(tmp_path / "demo")
    _, said = run(again)
    assert again.asked == []
    assert said.count("finished before") == 5
    longer = Commands(tmp_path / "demo")
    run(longer, steps=9)
    assert longer.names == ["train", "predict", "evaluate"]
    anew = Commands(tmp_path / "demo")
    run(anew, overwrite=True)
    assert len(anew.names) == 5


def test_what_is_lost_is_made_again(tmp_path: Path) -> None:
    run(Commands(tmp_path / "demo"))
    (tmp_path / "demo" / "metrics.json").unlink()
    again = Commands(tmp_path / "demo")
    run(again)
    assert again.names == ["evaluate"]


def test_an_interrupted_training_goes_on(tmp_path: Path) -> None:
    commands = Commands(tmp_path / "demo", fail_at="train")
    with pytest.raises(WsisegError, match="stopped at `wsiseg train`: found exit code 1"):
        run(commands)
    assert not (tmp_path / "demo" / "report.html").exists()
    (slide,) = read_outcomes(tmp_path / "demo")
    assert (slide.slide, slide.status, slide.reason) == ("slide-01", "failed", "train: too small")
    again = Commands(tmp_path / "demo")
    run(again)
    assert again.names == ["train", "predict", "evaluate"]
    assert again.asked[0] == ("train", "--resume", "--out", str(again.options.run))


def test_a_step_that_leaves_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WsisegError, match=r"stopped at `wsiseg synth`: found no .*slides"):
        run_demo(DemoOptions(tmp_path / "demo"), execute=lambda _: 0, announce=lambda _: None)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    commands = Commands(tmp_path)
    with pytest.raises(OutputError, match="exists and is no demonstration"):
        run(commands, overwrite=overwrite)
    assert commands.asked == []
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_damaged_memory_is_named(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text("[")
    with pytest.raises(OutputError, match=r"demo\.json is damaged"):
        run(Commands(tmp_path))


def test_a_size_is_checked() -> None:
    result = CliRunner().invoke(cli, ["demo", "--size", "big"])
    assert result.exit_code == 2
    assert "'big' is no size" in result.output


def test_the_whole_way(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    arguments = ["--quiet", "demo", "--out", str(out), "--steps", "12", "--size", "1536x1536"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert set(json.loads((out / "metrics.json").read_text(encoding="utf-8"))) >= {
        "classes",
        "mean",
        "objects",
    }
    assert (out / "report.html").stat().st_size > 100_000
    stem = out / "predictions" / "held-out-01"
    assert not check_qupath(stem.with_suffix(".geojson"))
    assert not check_asap(stem.with_suffix(".xml"))
    assert not list(out.glob("tiles/held-out*"))
    for folder in ("slides", "tiles", "run", "predictions"):
        report = json.loads((out / folder / "report.json").read_text(encoding="utf-8"))
        assert {slide["status"] for slide in report["slides"]} == {"ok"}
    slides = {slide.slide: slide for slide in read_outcomes(out)}
    assert len(slides) == 6
    assert set(slides["slide-01"].counts) == {"synth", "tile", "train"}
    assert set(slides["held-out-01"].counts) == {"synth", "predict"}
