"""The split: by slide or patient, never by tile."""

from pathlib import Path

import numpy as np
import pytest
from trainstores import FakeStore, fake_store, make_config

from wsiseg.config.training import SplitConfig
from wsiseg.errors import ConfigError, TrainingDataError
from wsiseg.train.data import check_alike, make_pools
from wsiseg.train.split import Split, read_patients, split_stores

NAMES = ("p1-a", "p1-b", "p2-a", "p3-a", "p4-a")


def stores(labelled: str = "11111") -> list[FakeStore]:
    return [
        fake_store(name, seed=n, labelled=flag == "1")
        for n, (name, flag) in enumerate(zip(NAMES, labelled, strict=True))
    ]


@pytest.mark.parametrize("seed", range(8))
def test_slides_are_on_one_side_only(seed: int) -> None:
    split = split_stores(stores(), SplitConfig(), seed)
    assert len(split.validation) == 1
    assert sorted(split.training + split.validation) == list(range(5))
    assert split == split_stores(stores(), SplitConfig(), seed)


@pytest.mark.parametrize("seed", range(8))
def test_patients_stay_together_and_their_unlabelled_slides_stay_out(seed: int) -> None:
    config = SplitConfig(patient_pattern=r"^(p\d)", validation_share=0.4)
    split = split_stores(stores("10111"), config, seed)
    patients = {part: {NAMES[p][:2] for p in getattr(split, part)} for part in ("training", "validation")}
    assert not patients["training"] & patients["validation"]
    if 0 in split.validation:
        assert 1 not in split.training


def test_one_labelled_slide_leaves_nothing_to_validate_on() -> None:
    assert split_stores(stores("10000"), SplitConfig(), 0).validation == ()


def test_validation_slides_by_name() -> None:
    split = split_stores(stores(), SplitConfig(validation_slides=("p2-a.svs", "p3-a")), 0)
    assert split.validation == (2, 3)
    with pytest.raises(ConfigError, match="found nobody, expected some of p1-a"):
        split_stores(stores(), SplitConfig(validation_slides=("nobody",)), 0)


def test_a_patient_on_both_sides_is_refused() -> None:
    config = SplitConfig(patient_pattern=r"^(p\d)", validation_slides=("p1-a",))
    with pytest.raises(TrainingDataError, match="patient p1 is on both sides of the split: found p1-b"):
        split_stores(stores(), config, 0)


def test_the_same_slide_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeStore, "slide_fingerprint", property(lambda self: "same"))
    with pytest.raises(TrainingDataError, match="p1-a and p1-b are the same slide"):
        split_stores(stores(), SplitConfig(), 0)


def test_training_keeps_every_class() -> None:
    """Of two slides only one shows discs: it has to teach."""
    blank = fake_store("blank")
    blank = FakeStore("blank", blank.pixels, np.zeros_like(blank.truth))
    for seed in range(6):
        assert split_stores([blank, fake_store("discs")], SplitConfig(), seed).validation == (0,)


def test_patients_csv(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("slide,patient\n" + "".join(f"{name}.svs,{name[:2]}\n" for name in NAMES))
    split = split_stores(stores(), SplitConfig(validation_share=0.3), 1, read_patients(path))
    assert {0, 1} <= set(split.training) or {0, 1} <= set(split.validation)
    with pytest.raises(ConfigError, match="names no patient for slide other"):
        split_stores([fake_store("other")], SplitConfig(), 0, read_patients(path))
    path.write_text("slide,patient\na,1\na,2\n")
    with pytest.raises(ConfigError, match="a belongs to two patients"):
        read_patients(path)
    path.write_text("slide,patient\na,1\na.svs,2\n")
    with pytest.raises(ConfigError, match="a belongs to two patients"):
        read_patients(path)
    path.write_text("slide,patient\ncase.1,A\ncase.2,B\ncase.3.svs,B\n")
    assert read_patients(path) == {
        "case.1": "A",
        "case.2": "B",
        "case.3": "B",
        "case.3.svs": "B",
    }
    path.write_text("file,patient\na,1\n")
    with pytest.raises(ConfigError, match="two columns named slide and patient"):
        read_patients(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_patients(tmp_path / "absent.csv")


def test_bad_pattern() -> None:
    with pytest.raises(ConfigError, match="patient_pattern"):
        split_stores(stores(), SplitConfig(patient_pattern="("), 0)
    with pytest.raises(ConfigError, match="finds no patient in p1-a"):
        split_stores(stores(), SplitConfig(patient_pattern="^x(.)"), 0)


def test_pools_hold_what_their_slides_allow() -> None:
    all_stores = stores("11001")
    all_stores[0].labelled[:2] = False  # a slide annotated in regions
    pools = make_pools(all_stores, Split((0, 2, 3), (1,)), make_config().train)
    assert {int(s) for s in pools.labelled.places[:, 0]} == {0}
    assert len(pools.labelled) == 2
    assert {int(s) for s in pools.unlabelled.places[:, 0]} == {0, 2, 3}
    assert pools.slides == {
        "labelled": ["p1-a"],
        "unlabelled": ["p1-a", "p2-a", "p3-a"],
        "validation": ["p1-b"],
    }


def test_too_few_labels_and_unseen_classes_are_refused() -> None:
    config = make_config().train
    with pytest.raises(TrainingDataError, match="too few labelled tiles: found 0 on 5 training slides"):
        make_pools(stores("00000"), Split((0, 1, 2, 3, 4), ()), config)
    blank = fake_store("blank")
    blank = FakeStore("blank", blank.pixels, np.zeros_like(blank.truth))
    with pytest.raises(TrainingDataError, match="no labelled training tile shows disc"):
        make_pools([blank], Split((0,), ()), config)


def test_unlike_stores_are_refused() -> None:
    one, other = fake_store("one"), fake_store("other")
    other.mpp = 0.25
    with pytest.raises(TrainingDataError, match=r"other and one cannot be .*: found um/px 0.25 against 0.5"):
        check_alike([one, other])
    with pytest.raises(TrainingDataError, match="found tile side 48 against 32"):
        check_alike([one, fake_store("large", side=48)])


def test_validation_looks_at_tiles_of_every_class() -> None:
    pixels = np.zeros((400, 32, 32, 3), dtype=np.uint8)
    truth = np.zeros((400, 32, 32), dtype=np.uint8)
    truth[[13, 14, 201, 377]] = 1  # an even choice of sixteen tiles would show none of them
    all_stores = [fake_store("a"), FakeStore("b", pixels, truth)]
    config = make_config(split={"max_validation_tiles": 16}).train
    validation = make_pools(all_stores, Split((0,), (1,)), config).validation
    places = validation.places[:, 1]
    assert {13, 14, 201, 377} <= set(places.tolist())
    assert len(set(places.tolist())) == 16
    assert np.diff(places).max() < 60
