"""Makes slides: one by its recipe, or a set for a whole experiment."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from wsiseg.files import atomic_path
from wsiseg.outcome import Outcome, recording, write_report
from wsiseg.progress import NullProgress, Progress
from wsiseg.synthetic.render import Scene
from wsiseg.synthetic.spec import SlideSpec
from wsiseg.synthetic.svs import STRIP_PX, write_svs
from wsiseg.synthetic.truth import SlideTruth, tissue_share, write_truth

TRUTH_FOLDER = "truth"
"""Subfolder for truth that must not be found beside its slide."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One slide to make.

    Attributes:
        name: Stem of its files.
        spec: Its recipe.
        hidden: Whether its truth goes to ``truth/``, where ``tile`` does not find it.
    """

    name: str
    spec: SlideSpec
    hidden: bool = False


Made = tuple[SlideTruth | None, Outcome]
"""A slide, or None where it failed, and its line in the report."""


@dataclass(frozen=True)
class Batch:
    """What became of a set of slides.

    Attributes:
        truths: The slides that were made, in the order of their plans.
        outcomes: One for each plan, failed ones included.
        report: The ``report.json`` that says so.
    """

    truths: list[SlideTruth]
    outcomes: list[Outcome]
    report: Path


def make_slide(
    path: Path,
    spec: SlideSpec,
    progress: Progress | None = None,
    *,
    truth: Path | None = None,
    workers: int = 1,
) -> SlideTruth:
    """Make one slide and its truth; neither is there before both are complete.

    Args:
        path: The .svs file to write.
        spec: The recipe; the same recipe gives the same bytes.
        progress: Told of each strip of 512 rows.
        truth: Where the truth goes; beside the slide (``<stem>.geojson``) if not given.
        workers: Threads.

    Raises:
        OutputError: The files cannot be written.
    """
    progress = progress or NullProgress()
    truth = truth or path.with_suffix(".geojson")
    scene = Scene(spec)
    progress.start(path.name, -(-spec.size_px[1] // STRIP_PX))
    with atomic_path(path) as slide_partial, atomic_path(truth) as truth_partial:
        write_svs(
            slide_partial,
            spec.size_px,
            scene.render,
            notes={"wsiseg preset": spec.knobs.label, "wsiseg seed": str(spec.seed)},
            mpp=spec.mpp,
            level_factor=spec.level_factor,
            quality=spec.quality,
            workers=workers,
            progress=progress,
        )
        counts = write_truth(truth_partial, scene, path.stem)
    return SlideTruth(path, truth, counts, round(tissue_share(scene), 3))


def plan_slides(
    spec: SlideSpec, *, annotated: int = 1, unannotated: int = 0, held_out: int = 0
) -> list[Plan]:
    """Recipes for a set: the seeds count up from that of ``spec``, in the order of the arguments.

    Annotated slides are ``slide-01`` ..., those without annotations ``unannotated-01`` ..., and those to
    be evaluated on ``held-out-01`` ...; a held-out slide is annotated everywhere.
    """
    plans = [(f"slide-{k:02d}", False) for k in range(1, annotated + 1)]
    plans += [(f"unannotated-{k:02d}", True) for k in range(1, unannotated + 1)]
    plans += [(f"held-out-{k:02d}", True) for k in range(1, held_out + 1)]
    recipes = []
    for number, (name, hidden) in enumerate(plans):
        share = 1.0 if hidden else spec.annotated_share
        recipes.append(Plan(name, replace(spec, seed=spec.seed + number, annotated_share=share), hidden))
    return recipes


def make_slides(
    folder: Path, plans: Sequence[Plan], progress: Progress, *, workers: int | None = None
) -> Batch:
    """Make a set of slides, several at a time, and write ``report.json`` beside them.

    Args:
        folder: Gets the slides, the truth of annotated ones beside them, that of the others in ``truth/``.
        plans: What to make, from ``plan_slides``.
        progress: Told of each slide.
        workers: Processors to use, all if not given: one for each slide, more than one for a large one.

    Returns:
        What became of each plan. A slide that cannot be written does not stop the others.

    Raises:
        OutputError: The report cannot be written.
    """
    done = dict(_each(folder, plans, workers or os.cpu_count() or 1, progress))
    truths = [truth for plan in plans if (truth := done[plan.name][0]) is not None]
    outcomes = [done[plan.name][1] for plan in plans]
    recipes = {plan.name: _recipe(plan) for plan in plans}
    return Batch(truths, outcomes, write_report(folder, "synth", outcomes, recipes=recipes))


def _each(
    folder: Path, plans: Sequence[Plan], workers: int, progress: Progress
) -> Iterator[tuple[str, Made]]:
    """The name of each plan with what became of it, in the order in which they are done."""
    processes = min(workers, len(plans))
    if processes <= 1:
        for plan in plans:
            yield plan.name, _make(folder, plan, workers, progress)
        return
    progress.start("slides", len(plans))
    # Spawned, not forked: a fork of a process that has started threads may hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(_make, folder, plan, workers // processes): plan.name for plan in plans}
        for job in as_completed(jobs):
            yield jobs[job], job.result()
            progress.advance(1, note=jobs[job])


def _make(folder: Path, plan: Plan, threads: int, progress: Progress | None = None) -> Made:
    path = folder / f"{plan.name}.svs"
    hidden = folder / TRUTH_FOLDER / f"{plan.name}.geojson" if plan.hidden else None
    outcomes: list[Outcome] = []
    truth = None
    with recording(path.name, outcomes) as outcome:
        truth = make_slide(path, plan.spec, progress, truth=hidden, workers=threads)
        outcome.counts = {**truth.counts, "tissue_share": truth.tissue_share}
    return truth, outcomes[0]


def _recipe(plan: Plan) -> dict[str, Any]:
    return {**asdict(plan.spec), "preset": plan.spec.knobs.label, "truth_hidden": plan.hidden}
