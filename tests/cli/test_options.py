"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    "arguments",
    [
        ["tile", "a.svs", "--out", ""],
        ["train", "--out", ""],
        ["predict", "a.svs", "--out", ""],
        ["study", "a.yaml", "--out", ""],
        ["synth", "--out", ""],
        ["demo", "--out", ""],
        ["export", "a", ""],
        ["convert", __file__, "", "--to", "asap"],
        ["check", __file__, "--fix", ""],
        ["evaluate", "--slide", "a", "--truth", "b", "--prediction", "c", "--json", ""],
    ],
    ids=" ".join,
)
def test_an_empty_name_is_not_the_current_folder(
    wsiseg: Command, tmp_path: Path, arguments: list[str]
) -> None:
    code, _, err = wsiseg(*arguments)
    assert code == 2
    assert "the name is empty; write . for the current folder" in " ".join(err.split())
    assert not any(tmp_path.iterdir())
