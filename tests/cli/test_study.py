"""``wsiseg study`` as a user meets it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from studycells import make_study
from trainstores import write_tiles

Command = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_help_names_every_study_that_comes_with_wsiseg(wsiseg: Command) -> None:
    code, out, _ = wsiseg("study", "--help")
    shipped = (Path(__file__).parents[2] / "configs" / "studies").glob("*.yaml")
    # The help may break a line after a hyphen.
    said = "".join(out.split())
    named = said.partition("(")[2].partition(")")[0].split(",")
    assert (code, set(named)) == (0, {path.stem for path in shipped})


def write_study(folder: Path, **settings: object) -> None:
    """JSON is YAML."""
    (folder / "discs.yaml").write_text(json.dumps(make_study(**settings).model_dump(mode="json")))


def test_a_study_and_its_tables_again(wsiseg: Command, tmp_path: Path) -> None:
    write_study(tmp_path)
    write_tiles(tmp_path / "tiles", "a")
    write_tiles(tmp_path / "tiles", "b", seed=1)
    code, out, err = wsiseg("study", "discs.yaml", "--device", "cpu")
    assert code == 0, err
    assert "Paired difference to A+" in out
    assert "this grid cannot meet the rule" in out
    assert "look at: studies/discs/study.html" in out
    folder = tmp_path / "studies" / "discs"
    before = (folder / "table.md").read_bytes()
    (folder / "table.md").unlink()
    code, out, err = wsiseg("study", "discs.yaml", "--report-only", "--tiles", "nowhere")
    assert code == 0, err
    assert (folder / "table.md").read_bytes() == before


def test_how_to_go_on_is_said(wsiseg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(tmp_path)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wsiseg.study.run.run_study", stop)
    code, _, err = wsiseg("study", "discs.yaml")
    assert (code, err) == (130, "wsiseg: stopped; the same command goes on where it stopped\n")


def test_a_command_that_begins_anew_promises_nothing(
    wsiseg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wsiseg.slide.Slide.open", stop)
    assert wsiseg("info", "a.svs") == (130, "", "wsiseg: stopped\n")


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (["nowhere.yaml"], {}, "no such configuration file: nowhere.yaml"),
        (["discs.yaml"], {}, "tiles does not exist. Cut slides into tiles first"),
        (["discs.yaml", "--report-only"], {}, "studies/discs holds no result of this study"),
        (
            ["discs.yaml", "--devices", "2", "--scheduler", "x"],
            {},
            "--devices and --scheduler exclude each other",
        ),
        (["label-efficiency"], {}, "tiles does not exist"),
    ],
)
def test_bad_input_is_one_clear_line(
    wsiseg: Command, tmp_path: Path, arguments: list[str], settings: dict[str, object], message: str
) -> None:
    write_study(tmp_path, **settings)
    code, out, err = wsiseg("study", *arguments)
    assert code in (1, 2)
    assert message in " ".join(err.split())
    assert out == ""
    assert "Traceback" not in err
    assert not (tmp_path / "studies").exists()
