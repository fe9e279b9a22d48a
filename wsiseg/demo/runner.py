"""Carrying the demonstration out: finished steps are passed over, an interrupted training goes on."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from wsiseg.demo.plan import DemoOptions, Step, plan_steps
from wsiseg.errors import OutputError, WsisegError
from wsiseg.files import write_json
from wsiseg.outcome import REPORT_FILE, Outcome, read_outcomes, write_report
from wsiseg.report import ReportInputs, StepLine, write_demo_report

STATE_FILE = "demo.json"
"""Marks a folder as a demonstration, and remembers which steps are done."""

Announce = Callable[[str], None]
"""Tells the user something, a line at a time."""

Execute = Callable[[Sequence[str]], int]
"""Runs ``wsiseg`` with these arguments, its output visible, and returns its exit code."""


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration came to.

    Attributes:
        report: The page to open.
        metrics: The figures as a file.
        figures: Its content.
        seconds: Time of this call.
    """

    report: Path
    metrics: Path
    figures: Mapping[str, Any]
    seconds: float


@dataclass
class _State:
    """Which steps are done, by key; kept in ``demo.json``."""

    path: Path
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    begun: str | None = None

    @classmethod
    def of(cls, folder: Path) -> "_State":
        """The state of a folder.

        Raises:
            OutputError: The folder holds something else.
        """
        path = folder / STATE_FILE
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, dict(data["done"]), data["begun"])
        except FileNotFoundError:
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise OutputError(
                    f"{folder} exists and is no demonstration",
                    remedy="Name another folder with --out",
                ) from None
            return cls(path)
        except (ValueError, KeyError, TypeError) as err:
            raise OutputError(
                f"{path} is damaged", remedy=f"Remove {folder}, or name another with --out"
            ) from err

    def save(self) -> None:
        write_json(self.path, {"wsiseg": "demo", "done": self.done, "begun": self.begun})

    def is_done(self, step: Step) -> bool:
        return self.done.get(step.name, {}).get("key") == step.key and all(p.exists() for p in step.makes)


def run_demo(
    options: DemoOptions, *, execute: Execute, announce: Announce, overwrite: bool = False
) -> DemoResult:
    """Do what is left to do, and write the report.

    Args:
        options: What the user chose.
        execute: Runs one command.
        announce: Told each command before it runs.
        overwrite: Do every step anew.

    Raises:
        OutputError: The folder holds something else.
        WsisegError: A command failed; it has said why itself.
    """
    clock = time.monotonic()
    state = _State.of(options.out)
    if overwrite:
        state.done, state.begun = {}, None
    steps = plan_steps(options)
    try:
        for number, step in enumerate(steps, 1):
            announce(f"[{number}/{len(steps)}] {step.purpose}")
            if state.is_done(step):
                announce(f"$ {step.command}\nfinished before, {state.done[step.name]['seconds']:.0f} s")
            else:
                _carry_out(step, state, execute, announce)
    finally:
        _account(options, steps, state)
    inputs = ReportInputs(
        slide=options.slide,
        truth=options.truth,
        prediction=options.prediction,
        run=options.run,
        figures=json.loads(options.metrics.read_text(encoding="utf-8")),
        error_map=options.out / "error-map.png",
        steps=[
            StepLine(step.purpose, step.command, float(state.done[step.name]["seconds"])) for step in steps
        ],
    )
    report = options.out / "report.html"
    write_demo_report(inputs, report)
    return DemoResult(report, options.metrics, inputs.figures, time.monotonic() - clock)


def _carry_out(step: Step, state: _State, execute: Execute, announce: Announce) -> None:
    arguments: Sequence[str] = step.arguments
    if state.begun == step.key and _can_resume(step):
        arguments = ("train", "--resume", "--out", str(step.makes[0]))
    else:
        _clear(step.makes)
    state.done.pop(step.name, None)
    state.begun = step.key
    state.save()
    announce(" ".join(("$ wsiseg", *arguments)))
    clock = time.monotonic()
    code = execute(arguments)
    missing = [path for path in step.makes if not path.exists()]
    if code or missing:
        found = f"exit code {code}" if code else f"no {missing[0]}"
        raise WsisegError(f"the demonstration stopped at `wsiseg {step.name}`", found=found)
    state.done[step.name] = {"key": step.key, "seconds": round(time.monotonic() - clock, 1)}
    state.begun = None
    state.save()


def _account(options: DemoOptions, steps: Sequence[Step], state: _State) -> None:
    """Write ``report.json``: each slide with what every command said of it, and how long commands took."""
    slides: dict[str, Outcome] = {}
    for step in steps:
        tried = state.is_done(step) or state.begun == step.key
        for part in read_outcomes(step.makes[0]) if tried and step.makes[0].is_dir() else ():
            whole = slides.setdefault(PurePath(part.slide).stem, Outcome(PurePath(part.slide).stem))
            whole.counts[step.name] = part.counts
            whole.seconds += part.seconds
            if part.status == "failed":
                whole.status, whole.reason = part.status, f"{step.name}: {part.reason}"
    commands = [
        {
            "command": step.command,
            "seconds": state.done[step.name]["seconds"] if state.is_done(step) else None,
        }
        for step in steps
    ]
    write_report(options.out, "demo", [slides[stem] for stem in sorted(slides)], commands=commands)


def _can_resume(step: Step) -> bool:
    """Whether a training was interrupted after its first checkpoint; other commands resume by themselves.

    A run is finished with its report, which comes after the last checkpoint.
    """
    if step.name != "train":
        return False
    found = {path.name.partition("-")[0] for path in step.makes[0].glob("checkpoints/*")}
    return "last" in found and not ("final" in found and (step.makes[0] / REPORT_FILE).is_file())


def _clear(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
