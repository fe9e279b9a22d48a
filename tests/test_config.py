"""Configuration: what is refused, with which words, and what the overrides do."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsiseg.config import Config, dump_config, load_config, parse_config, save_config
from wsiseg.config.yaml_io import read_mapping
from wsiseg.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_there_are_configs() -> None:
    assert CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_survives_saving(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == config


def test_defaults_survive_saving(tmp_path: Path) -> None:
    save_config(Config(), tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == Config() == load_config()
    assert parse_config(dump_config(Config()), source="again") == Config()


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "# nothing\n")) == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tilling: {}", "unknown key 'tilling' .did you mean 'tiling'"),
        ("tiling: {tile_pix: 512}", "unknown key 'tiling.tile_pix' .did you mean 'tile_px'"),
        ("tiling: {zzz: 512}", "unknown key 'tiling.zzz' .known here: mpp, tile_px"),
        ("classes: [{name: a, colour: [1, 2, 3]}]", "'classes.0.colour' .did you mean 'color'"),
        ("tiling: {tile_px: 100}", "tiling.tile_px: .*multiple of 16"),
        ("tiling: {tile_px: big}", "tiling.tile_px: .*integer"),
        ("tiling: {mpp: .nan}", "tiling.mpp"),
        ("classes: [{name: a, color: [0, 0, 0]}]", "1 classes, expected 2 to 255"),
        ("classes: [{name: a, color: [1, 2, 300]}]", r"classes\.0\.color\.2: .*less than or equal to 255"),
        ("classes: [{name: a, color: '#12345g'}]", r"classes\.0\.color: Input should be a list"),
        ("tiling: {tile_px: 100000}", "tiling.tile_px: .*less than or equal to 8192"),
        ("train: {segmentor: {std: [0, 1, 1]}}", r"train\.segmentor\.std.*greater than 0"),
        ("train: {seed: 4294967296}", r"train\.seed: .*less than or equal to 4294967295"),
        ("train: {steps: 20, steps: 30}", "line 1: the key 'steps' stands twice"),
        ("tiling:\n\tmpp: 1", "line 2: a tab, where YAML wants spaces"),
        ("- a\n- b", "found list, expected a mapping, `name: value` on each line"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_mistakes_are_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(write(tmp_path, text))
    assert "config.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tile_px.*; .*overlap_px"):
        load_config(write(tmp_path, "tiling: {tile_px: 100, overlap_px: -1}"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such configuration file: .*nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        load_config(path)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 64), st.floats(0.05, 5), st.sampled_from(["auto", "regions", "slide", "tiles"]))
def test_overrides_are_laid_on_top(sixteenths: int, mpp: float, labelled: str) -> None:
    config = load_config(
        None,
        [f"tiling.tile_px={16 * sixteenths}", f"tiling.mpp={mpp!r}", f"annotations.labelled={labelled}"],
    )
    assert (config.tiling.tile_px, config.tiling.mpp) == (16 * sixteenths, mpp)
    assert config.annotations.labelled == labelled


def test_overrides_win_over_the_file_and_later_over_earlier(tmp_path: Path) -> None:
    path = write(tmp_path, "tiling: {tile_px: 64, mpp: 1.0}")
    config = load_config(path, ["tiling.tile_px=128", "tiling.tile_px=256"])
    assert (config.tiling.tile_px, config.tiling.mpp) == (256, 1.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tiling.tile_px", "--set tiling.tile_px: expected section.key=value"),
        ("=5", "expected section.key=value"),
        ("tiling.tile_px=[", "is not a YAML value"),
        ("tiling.mpp.x=1", r"tiling\.mpp"),
        ("tiling.size=1", "unknown key 'tiling.size'"),
        ("train.discriminator_optimiser.head_lr_factor=2", "a discriminator has one learning rate"),
    ],
)
def test_bad_overrides_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


def test_an_override_cannot_go_through_a_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tiling is not a section"):
        load_config(write(tmp_path, "tiling: 5"), ["tiling.mpp=1"])


def test_schema_follows_the_classes() -> None:
    classes = [{"name": "background", "color": [0, 0, 0]}, {"name": "glom", "color": [1, 2, 3]}]
    config = parse_config({"classes": classes}, source="here")
    assert config.schema_.names == ("background", "glom")
    copied = config.model_copy(update={"classes": Config().classes})
    assert copied.schema_.names == Config().schema_.names


def test_every_setting_has_a_description() -> None:
    def check(section: type) -> None:
        for key, field in section.model_fields.items():
            inner = field.annotation
            if hasattr(inner, "model_fields"):
                check(inner)
            else:
                assert field.description, f"{section.__name__}.{key}"

    check(Config)


def test_a_folder_does_not_hide_a_recipe_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("demo")).tiling.tile_px == 256


def test_a_colour_may_be_written_in_hex(tmp_path: Path) -> None:
    text = "classes: [{name: a, color: '#ff8000'}, {name: b, color: [1, 2, 3]}]"
    assert load_config(write(tmp_path, text)).schema_["a"].color == (255, 128, 0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x: &x {a: 1}\ny: {<<: *x, a: 2}", {"x": {"a": 1}, "y": {"a": 2}}),
        (
            "b: &b {a: 1}\nw: {i: &m {<<: *b, a: 2}}\nt: {<<: *m}",
            {"b": {"a": 1}, "w": {"i": {"a": 2}}, "t": {"a": 2}},
        ),
        ("{1: a, '1': b}", {1: "a", "1": "b"}),
    ],
)
def test_keys_that_are_merged_or_of_another_kind_do_not_stand_twice(
    text: str, value: dict[str, Any], tmp_path: Path
) -> None:
    assert read_mapping(write(tmp_path, text)) == value


@pytest.mark.parametrize("text", ["x: !!map [a, b]", "x: !!map foo"])
def test_yaml_that_contradicts_itself_is_one_clear_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        read_mapping(write(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "hint"),
    [("recomended", "wsiseg has recommended"), ("xyz", "wsiseg has .*paper, .*supervised")],
)
def test_a_recipe_that_is_not_there_is_answered_with_those_that_are(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        load_config(Path(name))
