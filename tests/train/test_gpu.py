"""The whole trainer on a GPU, in each precision; skipped without one."""

from pathlib import Path

import pytest
import torch
from trainstores import make_config

from wsiseg.model.checkpoint import checkpoints, load_trained
from wsiseg.progress import NullProgress
from wsiseg.train.run import begin_run, resume_run
from wsiseg.train.watch import read_metrics

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_both_phases_run_and_the_model_predicts(tiles: Path, tmp_path: Path, precision: str) -> None:
    config = make_config(steps=40, validations=4, precision=precision, baseline=True)
    result = begin_run(config, tiles=tiles, folder=tmp_path / "run", device="cuda", progress=NullProgress())
    assert result.comparison is not None
    train = [line for line in read_metrics(tmp_path / "run") if line["kind"] == "train"]
    # Learning, and with finite numbers.
    assert train[-1]["ce"] < train[0]["ce"]
    assert {"adv", "adv_unlabelled", "pseudo_ce", "d_loss"} <= set(train[-1])
    model = load_trained(tmp_path / "run", "cuda")
    with torch.no_grad():
        logits = model.segmentor(torch.zeros(2, 3, 32, 32, device="cuda"))
    assert torch.isfinite(logits).all()


def test_a_run_goes_on_after_an_interruption(tiles: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    class StopAt(NullProgress):
        left = 7

        def advance(self, units: int = 1, note: str | None = None) -> None:
            self.left -= units
            if self.left < 0:
                raise Stop

    folder = tmp_path / "run"
    config = make_config(steps=10, validations=5)
    with pytest.raises(Stop):
        begin_run(config, tiles=tiles, folder=folder, device="cuda", progress=StopAt())
    assert not checkpoints(folder, "final")
    resume_run(folder, device="cuda", progress=NullProgress())
    assert load_trained(folder).info.step == 10


def test_a_compiled_segmentor_trains(tiles: Path, tmp_path: Path) -> None:
    config = make_config(steps=4, validations=1, compile=True, precision="bf16-mixed")
    begin_run(config, tiles=tiles, folder=tmp_path / "run", device="cuda", progress=NullProgress())
    assert load_trained(tmp_path / "run").info.step == 4
