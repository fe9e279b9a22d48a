import pytest

from wsiseg.errors import ConfigError
from wsiseg.synthetic import PRESETS, SlideSpec


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"preset": "medium"}, "preset: found medium, expected easy, standard, hard"),
        ({"size_px": (4096, 100)}, "size: found 100, expected 256 to 200000 px"),
        ({"mpp": 3.0}, "mpp: found 3.0"),
        ({"mpp": float("nan")}, "mpp: found nan"),
        ({"seed": -1}, "seed: found -1"),
        ({"annotated_share": 0.0}, "annotated share: found 0.0, expected above 0, up to 1"),
        ({"level_factor": 3}, "level factor: found 3, expected 2 or 4"),
        ({"quality": 0}, "quality: found 0"),
        ({"shape": "round"}, "shape: found round"),
    ],
)
def test_what_cannot_be_made_is_refused(change, said):
    with pytest.raises(ConfigError) as caught:
        SlideSpec(**change)
    assert said in str(caught.value)


def test_presets_carry_their_version():
    assert [preset.label for preset in PRESETS.values()] == ["easy-1", "standard-1", "hard-1"]


def test_size_in_micrometres():
    assert SlideSpec(size_px=(4000, 2000), mpp=0.25).size_um == (1000.0, 500.0)
