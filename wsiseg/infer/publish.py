"""Finished files, moved from the work folder into place."""

import json
import shutil
from pathlib import Path

from wsiseg.files import as_output_error, write_json
from wsiseg.infer.naming import RECORD_SUFFIX, SUFFIXES, ZIPPED_SUFFIX
from wsiseg.infer.request import SlidePrediction, own_files, read_record


def publish(files: Path, out: Path, stem: str) -> SlidePrediction:
    """Move the files that the record in ``files`` names over older ones in ``out``.

    The older record goes first and the new one comes last, so at no moment does a record stand beside
    files that it does not describe. Interrupted at any moment, the same call goes on.

    Raises:
        OutputError: The folder cannot be written.
    """
    record = files / f"{stem}{RECORD_SUFFIX}"
    content = json.loads(record.read_text(encoding="utf-8"))
    twins = _twins(stem, content["files"])
    older = read_record(out / record.name)
    if older is not None:
        left = own_files(older) - {*content["files"], *twins}
        if others := sorted(name for name in left if (out / name).exists()):
            # Files of other formats stay, and stay known as ours.
            content["others"] = others
            write_json(record, content)
    with as_output_error(out):
        (out / record.name).unlink(missing_ok=True)
        for name in content["files"]:
            if (files / name).exists():
                _replace(files / name, out / name)
        for name in twins:
            _discard(out / name)
        record.replace(out / record.name)
    paths = tuple(out / name for name in [*content["files"], record.name])
    return SlidePrediction(paths, content["counts"], warnings=tuple(content["warnings"]))


def _twins(stem: str, names: list[str]) -> set[str]:
    """The zipped file where the plain one was written, and the other way round: never are both there."""
    either = {f"{stem}{SUFFIXES['qupath']}", f"{stem}{SUFFIXES['qupath']}{ZIPPED_SUFFIX}"}
    return either - set(names) if either & set(names) else set()


def _replace(source: Path, target: Path) -> None:
    if source.is_dir() or target.is_dir():
        _discard(target)
    source.replace(target)


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
