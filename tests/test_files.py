"""A file that exists is complete."""

import json
import os
from pathlib import Path

import pytest

from wsiseg.errors import OutputError
from wsiseg.files import atomic_folder, atomic_path, write_json


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_appears_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.geojson.gz"
    with atomic_path(target) as partial:
        partial.write_text("done")
        assert not target.exists()
        assert partial.name.endswith(".geojson.gz")
        assert partial.parent == target.parent
    assert target.read_text() == "done"
    assert names(target.parent) == ["out.geojson.gz"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["out.txt"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "store"
    target.mkdir()
    (target / "stale").touch()
    with atomic_folder(target) as partial:
        (partial / "fresh").touch()
    assert names(target) == ["fresh"]
    with pytest.raises(ZeroDivisionError), atomic_folder(target):
        raise ZeroDivisionError
    assert names(target) == ["fresh"]
    assert names(tmp_path) == ["store"]


def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a") as partial:
        partial.touch()
    plain = tmp_path / "b"
    plain.touch()
    assert (tmp_path / "a").stat().st_mode == plain.stat().st_mode


def test_a_target_under_a_file_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "out.json"
    with pytest.raises(OutputError, match=r"cannot write .*out\.json: .*file is a file"):
        write_json(target, {})


def test_a_folder_that_cannot_be_made_is_our_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise FileNotFoundError(2, os.strerror(2), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*a\.json: .* cannot be made"):
        write_json(tmp_path / "new" / "a.json", {})


def test_another_missing_file_passes_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        (tmp_path / "elsewhere").read_text()


def test_a_full_disk_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Free some space"), atomic_path(tmp_path / "a"):
        raise OSError(28, os.strerror(28))


def test_other_trouble_passes_unchanged(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="broken pipe"), atomic_path(tmp_path / "a"):
        raise OSError(32, "broken pipe")


def test_json_is_for_people(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "µm"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{\n  "b": 1,\n  "a": "µm"\n}\n'
    assert json.loads(text) == {"b": 1, "a": "µm"}


def test_a_folder_behind_a_link_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_folder(tmp_path / "link") as partial:
        (partial / "fresh").touch()
    assert names(tmp_path) == ["link", "real"]
    assert names(tmp_path / "link") == ["fresh"]


def test_an_older_folder_stays_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "store"
    target.mkdir()
    (target / "old").touch()
    original = Path.replace

    def refuse(path: Path, to: Path) -> Path:
        if to == target and not path.name.endswith("-old"):
            raise PermissionError(13, "refused")
        return original(path, to)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match="cannot write"), atomic_folder(target) as partial:
        (partial / "fresh").touch()
    assert names(target) == ["old"]
    assert names(tmp_path) == ["store"]
