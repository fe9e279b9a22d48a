"""The command line as tests call it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from wsiseg.cli.main import main

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def wsiseg(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command line in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            main(["-q", *arguments])
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return run
