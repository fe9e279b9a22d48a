"""``wsiseg train`` and ``wsiseg export`` as a user meets them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from trainstores import write_tiles

from wsiseg.classes import default_schema

TINY = [
    "--device=cpu",
    *(
        f"--set=train.{setting}"
        for setting in (
            "steps=2",
            "validations=1",
            "precision=32-true",
            "segmentor.encoder=tu-mobilenetv3_small_050",
            "segmentor.weights=none",
            "discriminator.width=4",
            "sampler.batch_size=2",
            "sampler.unlabelled_batch_size=2",
        )
    ),
]

Command = Callable[..., tuple[int, str, str]]


def test_train_then_export(wsiseg: Command, tmp_path: Path) -> None:
    write_tiles(tmp_path / "tiles", "a")
    write_tiles(tmp_path / "tiles", "b", seed=1)
    write_tiles(tmp_path / "tiles", "c", seed=2, labelled=False)
    code, out, err = wsiseg("train", *TINY)
    assert code == 0, err
    assert "disc" in out
    assert "did the unlabelled tiles help: not measured" in out
    assert (tmp_path / "runs" / "run-001" / "report.json").is_file()
    code, out, err = wsiseg("export", "runs/run-001", "model")
    assert code == 0, err
    assert "background, disc at 0.5 um/px" in out
    assert (tmp_path / "model" / "README.md").is_file()


def test_classes_that_nobody_annotated_are_left_out(wsiseg: Command, tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        write_tiles(tmp_path / "tiles", name, seed=seed, schema=default_schema())
    code, out, err = wsiseg("train", *TINY)
    assert code == 0, err
    assert "background and glomerulus are learnt alone" in " ".join(err.split())
    assert "podocyte" not in out


def test_train_beside_a_baseline(wsiseg: Command, tmp_path: Path) -> None:
    write_tiles(tmp_path / "tiles", "a")
    write_tiles(tmp_path / "tiles", "b", seed=1)
    write_tiles(tmp_path / "tiles", "c", seed=2, labelled=False)
    code, out, err = wsiseg("train", *TINY, "--baseline")
    assert code == 0, err
    said = " ".join(out.split())
    assert "did the unlabelled tiles help: no" in said or "did the unlabelled tiles help: yes" in said
    assert "1 validation slide only: nothing is known of other slides" in said
    assert "page: runs/run-001/report.html" in said
    page = (tmp_path / "runs" / "run-001" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    assert "labels alone" in page


def interrupted(wsiseg: Command, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """A training that Ctrl-C ends in its first step: exit code and standard error."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("wsiseg.train.loop.Trainer.advance", stop)
        code, _, err = wsiseg("train", *arguments)
    return code, err


def test_how_to_go_on_is_said(wsiseg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiles(tmp_path / "tiles", "a")
    write_tiles(tmp_path / "tiles", "b", seed=1)
    code, err = interrupted(wsiseg, monkeypatch, *TINY)
    assert code == 130
    assert "Aborted" not in err
    assert "to go on from its last checkpoint: wsiseg train --resume" in " ".join(err.split())
    code, _, err = wsiseg("train", *TINY)
    assert code == 0, err
    assert "runs/run-001 is unfinished; to go on with it: wsiseg train --resume" in " ".join(err.split())


def test_commands_that_are_printed_can_be_pasted(
    wsiseg: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiles(tmp_path / "tiles", "a")
    write_tiles(tmp_path / "tiles", "b", seed=1)
    _, err = interrupted(wsiseg, monkeypatch, *TINY, "--out", "my run")
    assert "wsiseg train --resume --out 'my run'" in " ".join(err.split())
    code, out, err = wsiseg("train", "--resume", "--out", "my run", "--device=cpu")
    assert code == 0, err
    assert "next: wsiseg predict SLIDE --run 'my run'" in " ".join(out.split())
    wsiseg("export", "my run", "my model")
    assert "--run 'my model'\n" in (tmp_path / "my model" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "tiles does not exist. Cut slides into tiles first"),
        (["nowhere.yaml"], "no such configuration file: nowhere.yaml"),
        (["--set", "train.stepz=3"], "unknown key 'train.stepz' (did you mean 'steps'?)"),
        (["--set", "train.sampler.batch_size=1"], "train.sampler.batch_size: Input should be greater than"),
        (["--resume"], "no unfinished run in runs"),
        (["--resume", "--baseline"], "Leave out CONFIG, --set, --baseline, --patients and --tiles"),
        (["--resume", "--tiles", "tiles"], "--resume continues a run with its own configuration and tiles"),
        (["--resume", "paper"], "--resume continues a run with its own configuration"),
        (["--device", "cuda"], "no CUDA device is available"),
    ],
)
def test_bad_input_is_one_clear_line(
    wsiseg: Command, tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "cuda" in arguments:
        write_tiles(tmp_path / "tiles", "a")
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, out, err = wsiseg("train", *arguments)
    assert code in (1, 2)
    assert message in " ".join(err.split())
    assert out == ""
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()
