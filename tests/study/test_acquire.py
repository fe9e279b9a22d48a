"""Which hidden tiles a model would have annotated next, and training with them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from studycells import SUPERVISED, make_study, write_cells
from studymodels import Darkness, model_of_discs
from torch import Tensor, nn
from trainstores import make_config, write_tiles

from wsiseg.config import Config
from wsiseg.config.study import StudyConfig
from wsiseg.config.training import DiscriminatorConfig
from wsiseg.errors import ConfigError, TrainingDivergedError
from wsiseg.lock import write_lock
from wsiseg.model.losses import entropy_map
from wsiseg.model.normalise import to_unit
from wsiseg.progress import NullProgress
from wsiseg.study import work
from wsiseg.study.acquire import labelled_tiles, propose
from wsiseg.study.cells import read_cell
from wsiseg.study.plan import plan_tasks
from wsiseg.study.run import StudyOptions, StudyResult, report_study, run_study
from wsiseg.study.work import Place
from wsiseg.tilestore import TileStore
from wsiseg.train.run import begin_run

CRITERIA = ("random", "entropy", "discriminator")
ROUND: dict[str, Any] = {
    "A+": SUPERVISED,
    "H": {},
    **{by: {"acquire": {"after": "H", "by": by, "add": "1/3"}} for by in CRITERIA},
}


class Distrust(nn.Module):
    """Finds a segmentation the more wrong, the darker the tile."""

    config = DiscriminatorConfig()

    def forward(self, image_NCHW: Tensor, planes_NKHW: Tensor) -> Tensor:
        light = image_NCHW.mean(dim=(1, 2, 3)).view(-1, 1, 1, 1)
        return (light * 4).expand(-1, 1, *planes_NKHW.shape[-2:])


def half_labelled(**split: Any) -> Config:
    return make_config(split={"labelled_share": 0.5, "validation_share": 0.0, **split})


@pytest.fixture
def stores(tmp_path: Path) -> list[TileStore]:
    paths = [write_tiles(tmp_path, "a", count=8), write_tiles(tmp_path, "b", count=6, seed=1)]
    return [TileStore.open(path) for path in [*paths, write_tiles(tmp_path, "c", seed=2, labelled=False)]]


def test_the_highest_of_the_hidden_tiles_are_chosen(stores: list[TileStore]) -> None:
    found = propose(model_of_discs(half_labelled(), Distrust()), stores, (3,), progress=NullProgress())["3"]
    assert tuple(found) == CRITERIA
    scores = {}
    for store in stores[:2]:
        image = to_unit(store.images(range(len(store))))
        scores["entropy", store.name] = entropy_map(Darkness()(image).softmax(dim=1)).mean(dim=(1, 2))
        scores["discriminator", store.name] = -image.mean(dim=(1, 2, 3))
    everything = propose(model_of_discs(half_labelled(), Distrust()), stores, (99,), progress=NullProgress())
    hidden = {(name, tile) for name, tiles in everything["99"]["random"].items() for tile in tiles}
    assert len(hidden) == 7
    assert {name for name, _ in hidden} <= {"a", "b"}
    for by in ("entropy", "discriminator"):
        best = sorted(hidden, key=lambda place: float(scores[by, place[0]][place[1]]), reverse=True)[:3]
        assert {(name, tile) for name, tiles in found[by].items() for tile in tiles} == set(best)


def test_labels_do_not_matter(stores: list[TileStore], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("a label was looked at")

    monkeypatch.setattr(TileStore, "labels", refuse)
    propose(model_of_discs(half_labelled(), Distrust()), stores, (3,), progress=NullProgress())


def test_chance_follows_the_seed_and_a_smaller_choice_lies_in_a_larger_one(stores: list[TileStore]) -> None:
    def chosen(seed: int, count: int) -> set[tuple[str, int]]:
        config = half_labelled()
        train = config.train.model_copy(update={"seed": seed})
        model = model_of_discs(config.model_copy(update={"train": train}))
        found = propose(model, stores, (2, 4), progress=NullProgress())[str(count)]["random"]
        return {(name, tile) for name, tiles in found.items() for tile in tiles}

    assert chosen(0, 4) == chosen(0, 4)
    assert len({frozenset(chosen(seed, 4)) for seed in range(5)}) > 1
    assert chosen(0, 2) < chosen(0, 4)


@pytest.mark.parametrize(
    "discriminator", [{"kind": "none"}, {"fake_target": "zeros"}], ids=["none", "another"]
)
def test_without_a_discriminator_that_knows_there_is_no_such_criterion(
    stores: list[TileStore], discriminator: dict[str, str]
) -> None:
    phases = [{"name": "supervised", "share": 1.0}]
    config = make_config(
        split={"labelled_share": 0.5, "validation_share": 0.0}, discriminator=discriminator, phases=phases
    )
    judge = None if discriminator.get("kind") else Distrust()
    found = propose(model_of_discs(config, judge), stores, (2,), progress=NullProgress())
    assert tuple(found["2"]) == ("random", "entropy")
    split = config.train.split.model_copy(update={"labelled_share": 1.0})
    train = config.train.model_copy(update={"split": split})
    model = model_of_discs(config.model_copy(update={"train": train}), judge)
    nothing = propose(model, stores, (2,), progress=NullProgress())
    assert nothing == {"2": {"random": {}, "entropy": {}}}


def test_the_budget_is_a_share_of_what_could_be_learnt_from(stores: list[TileStore]) -> None:
    assert labelled_tiles(stores, half_labelled().train) == 14
    assert labelled_tiles(stores, half_labelled(validation_slides=["b"]).train) == 8


def run(study: StudyConfig, tiles: Path, **options: Any) -> StudyResult:
    places = StudyOptions(tiles, tiles.parent / "out", device="cpu", **options)
    return run_study("discs", study, places, progress=NullProgress())


def test_a_round_is_trained_on_what_the_other_arm_chose(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def begin(*arguments: Any, folder: Path, **options: Any) -> Any:
        names.append(folder.parent.name)
        return begin_run(*arguments, folder=folder, **options)

    monkeypatch.setattr(work, "begin_run", begin)
    # An arm may stand before the one whose model it needs.
    study = make_study(arms=dict(reversed(ROUND.items())), baseline="random")
    result = run(study, tiles)
    assert sorted(names[:2]) == ["A+_1-2_0", "H_1-2_0"]
    assert sorted(names[2:]) == sorted(f"{by}_1-2_0" for by in CRITERIA)
    first = read_cell(result.out / "cells" / "H_1-2_0.json")
    assert first is not None
    assert (first["training"]["labelled_tiles"], first["training"]["also_labelled"]) == (3, {})
    for by in CRITERIA:
        cell = read_cell(result.out / "cells" / f"{by}_1-2_0.json")
        assert cell is not None
        assert cell["training"]["labelled_tiles"] == 5
        assert cell["training"]["also_labelled"] == first["proposals"]["2"][by]
        assert cell["key"]["acquired"]["by"] == by
    assert set(result.table["differences"]) == {"A+", "H", "entropy", "discriminator"}
    assert run(study, tiles).outcomes == []
    assert report_study("discs", study, result.out).table == result.table
    assert len(names) == 5


def test_what_ranks_the_tiles_decides_what_is_trained_again(tiles: Path) -> None:
    arms = {"H": {}, "entropy": ROUND["entropy"]}
    run(make_study(arms=arms, baseline="H"), tiles)
    other = {**arms, "H": {"train.augment.hed": 0.0}}
    assert [cell.slide for cell in run(make_study(arms=other, baseline="H"), tiles).outcomes] == [
        "H_1-2_0",
        "entropy_1-2_0",
    ]
    # A result that proposes nothing of that size yet is made again too.
    larger = {**other, "entropy": {"acquire": {"after": "H", "by": "entropy", "add": "1/2"}}}
    assert len(run(make_study(arms=larger, baseline="H"), tiles).outcomes) == 2


def test_a_round_whose_first_model_failed_says_so(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise TrainingDivergedError("a loss is not finite at step 1")

    monkeypatch.setattr(work, "begin_run", fail)
    arms = {"H": {}, "entropy": ROUND["entropy"]}
    first, second = run(make_study(arms=arms, baseline="H"), tiles).outcomes
    assert (first.status, second.status) == ("failed", "failed")
    assert "entropy_1-2_0 waits for H_1-2_0, whose model chooses tiles for it" in second.reason


def test_an_older_result_of_the_first_model_is_not_used(tiles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = {"H": {}, "entropy": ROUND["entropy"]}
    run(make_study(arms=arms, baseline="H"), tiles)

    def fail(config: Config, **_: Any) -> Any:
        raise TrainingDivergedError("a loss is not finite at step 1")

    monkeypatch.setattr(work, "begin_run", fail)
    other = {**arms, "H": {"train.augment.hed": 0.0}}
    outcomes = run(make_study(arms=other, baseline="H"), tiles).outcomes
    assert [outcome.status for outcome in outcomes] == ["failed", "failed"]
    assert "waits for H_1-2_0" in str(outcomes[1].reason)


def test_a_round_whose_first_model_another_process_trains_is_left_alone(tiles: Path) -> None:
    arms = {"H": {}, "entropy": ROUND["entropy"]}
    with write_lock(tiles.parent / "out" / "cells" / "H_1-2_0.json"):
        outcomes = run(make_study(arms=arms, baseline="H"), tiles).outcomes
    assert [outcome.status for outcome in outcomes] == ["skipped", "skipped"]


def test_a_round_is_not_continued_with_other_tiles(tiles: Path) -> None:
    arms = {"H": {}, "entropy": ROUND["entropy"]}
    _, task = plan_tasks(make_study(arms=arms, baseline="H"), tiles, Place(tiles.parent / "out", "cpu"))
    described = []
    for tile in (0, 1):
        split = task.config.train.split.model_copy(update={"also_labelled": {"a": (tile,)}})
        train = task.config.train.model_copy(update={"split": split})
        chosen = replace(task, config=task.config.model_copy(update={"train": train}))
        described.append(work._described(chosen))
    assert described[0] != described[1]


@pytest.mark.parametrize(
    "setting", [{"train.split.validation_share": 0.5}, {"train.sampler.min_class_pixels": 5}]
)
def test_both_arms_have_to_keep_the_same_labels(tiles: Path, setting: dict[str, Any]) -> None:
    arms = {"H": {}, "entropy": {**ROUND["entropy"], **setting}}
    with pytest.raises(ConfigError, match=r"arm entropy: acquire\.after: H: found another train\.split"):
        run(make_study(arms=arms, baseline="H"), tiles)


def test_labels_are_not_weighed_where_a_share_is_not_all(tmp_path: Path) -> None:
    arms = {"A+": {}, "random": {"acquire": {"after": "A+", "by": "random", "add": "1/4"}}}
    study = make_study(arms=arms)
    write_cells(tmp_path, study, {"A+": 0.8, "random": 0.9})
    for odd in (3, None):
        path = tmp_path / "cells" / "random_1-2_0.json"
        data = json.loads(path.read_text())
        path.write_text(json.dumps({**data, "key": {**data["key"], "acquired": odd}}))
        assert report_study("discs", study, tmp_path).table["missing"] == ["random_1-2_0"]
    table = report_study("discs", study, tmp_path).table
    assert table["labels"] == {"random": {}}
    assert (
        "random: 1/4 of the labels beside its share, chosen by random with the model of A+" in table["notes"]
    )


def test_the_discriminator_has_to_know_something(tiles: Path) -> None:
    arms = {"A+": SUPERVISED, "judge": {"acquire": {"after": "A+", "by": "discriminator", "add": "1/3"}}}
    with pytest.raises(ConfigError, match=r"arm judge: acquire\.by: discriminator: found A\+ without"):
        run(make_study(arms=arms), tiles)


def test_a_choice_takes_one_line_for_each_slide(tiles: Path) -> None:
    result = run(make_study(arms={"H": {}, "random": ROUND["random"]}, baseline="H"), tiles)
    text = (result.out / "cells" / "H_1-2_0.json").read_text()
    proposed = json.loads(text)["proposals"]["2"]["random"]
    for slide, chosen in proposed.items():
        assert f'"{slide}": [{",".join(map(str, chosen))}]' in text
