"""The page that the demonstration ends with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from wsiseg import __version__
from wsiseg.classes import ClassSchema, default_schema
from wsiseg.files import atomic_path
from wsiseg.report import page as html
from wsiseg.report.pictures import Example, examples, file_uri, overview, read_shapes
from wsiseg.slide import Slide
from wsiseg.wording import figure, spoken

_NAMES = {"iou": "IoU", "precision": "precision", "recall": "recall", "f1": "F1"}


@dataclass(frozen=True)
class StepLine:
    """One command of the demonstration.

    Attributes:
        purpose: What it is for.
        command: As typed.
        seconds: How long it took.
    """

    purpose: str
    command: str
    seconds: float


@dataclass(frozen=True)
class ReportInputs:
    """What the page is made from.

    Attributes:
        slide: The held-out slide.
        truth: Its annotations.
        prediction: The GeoJSON that was predicted.
        run: The run folder, with ``curves.png``.
        figures: As ``wsiseg evaluate --json`` writes them.
        error_map: The PNG of ``wsiseg evaluate --error-map``.
        steps: The commands.
        schema: The classes.
    """

    slide: Path
    truth: Path
    prediction: Path
    run: Path
    figures: Mapping[str, Any]
    error_map: Path
    steps: list[StepLine]
    schema: ClassSchema = field(default_factory=default_schema)


def write_demo_report(inputs: ReportInputs, target: Path) -> None:
    """Write the page: one HTML file that needs no other.

    Raises:
        SlideError: The slide cannot be read.
        AnnotationError: Truth or prediction cannot be read.
        OutputError: The file cannot be written.
    """
    schema = inputs.schema
    with Slide.open(inputs.slide) as slide:
        truth = read_shapes(inputs.truth, slide, schema)
        prediction = read_shapes(inputs.prediction, slide, schema)
        whole = overview(slide, prediction, schema)
        shown = examples(slide, truth, prediction, schema)
    sections = [
        _head(inputs),
        _overview(inputs, whole),
        _tables(inputs.figures),
        _examples(shown, schema),
        _training(inputs.run),
        _files(inputs),
        _commands(inputs.steps),
    ]
    with atomic_path(target) as partial:
        partial.write_text(html.page("wsiseg: demonstration", sections), encoding="utf-8")


def _head(inputs: ReportInputs) -> str:
    mean, objects = inputs.figures["mean"], inputs.figures["objects"]
    cards = [(figure(mean["f1"]), "mean F1 over all classes, pixels"), (figure(mean["iou"]), "mean IoU")]
    cards += [(figure(found["f1"]), f"F1 of {spoken(name)} objects") for name, found in objects.items()]
    seconds = sum(step.seconds for step in inputs.steps)
    cards.append((f"{seconds / 60:.1f} min", "for everything"))
    return "\n".join(
        [
            "<h1>From a slide to outlines, and how right they are</h1>",
            html.paragraph(
                "A network was trained on a few annotated and unannotated slides and then outlined the "
                f"structures of {inputs.slide.name}, a slide that neither training nor the choice of a "
                "checkpoint has seen. All slides are synthetic, so the truth is known to the pixel; figures "
                "on real slides will be lower."
            ),
            html.headline(cards),
        ]
    )


def _overview(inputs: ReportInputs, whole: str) -> str:
    parts = [html.figure(whole, "What was predicted, drawn over the slide.", "slide with predicted outlines")]
    error_map = file_uri(inputs.error_map, shrink=True)
    if error_map is not None:
        parts.append(
            html.figure(error_map, "Where it is right and where not, pixel by pixel.", "map of errors")
        )
    return html.section("The slide", _legend(inputs.schema), html.grid(parts, "pair"))


def _tables(figures: Mapping[str, Any]) -> str:
    pixels = [
        (spoken(name), *(figure(scores[key]) for key in _NAMES))
        for name, scores in [*figures["classes"].items(), ("mean", figures["mean"])]
    ]
    objects = [
        (
            spoken(name),
            found["rule"],
            *(figure(found[key]) for key in ("precision", "recall", "f1")),
            *(str(found[key]) for key in ("truth", "predicted", "matched")),
        )
        for name, found in figures["objects"].items()
    ]
    headings = ["class", "matched by", "precision", "recall", "F1", "true", "predicted", "matched"]
    return html.section(
        "The figures",
        html.paragraph(
            f"Every pixel of tissue at {figures['mpp']:g} um/px, from one confusion matrix. Objects are "
            "matched one to one.",
            soft=True,
        ),
        html.table(["pixels", *_NAMES.values()], pixels, total=True),
        html.table(["objects", *headings[1:]], objects, left=2),
        *(html.paragraph(line, soft=True) for line in [*_podometrics(figures), *figures.get("notes", [])]),
    )


def _podometrics(figures: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, found in figures["objects"].items():
        count = found.get("count_per_container")
        if count is not None:
            lines.append(
                f"{spoken(name)}: {count['mean_true']:.1f} in a glomerulus on average, the predicted count "
                f"is off by {count['mean_absolute_error']:.1f}."
            )
        outline = found.get("boundary_um")
        if outline is not None:
            lines.append(
                f"{spoken(name)}: predicted outlines run {outline['mean']:.1f} um from the true ones on "
                f"average, 95 % of them within {outline['hausdorff_95']:.1f} um."
            )
    return lines


def _examples(shown: list[Example], schema: ClassSchema) -> str:
    parts = []
    for example in shown:
        pictures = [
            html.figure(example.image, "image", f"{example.title}, image"),
            html.figure(example.truth, "truth", f"{example.title}, truth"),
            html.figure(example.prediction, "prediction", f"{example.title}, prediction"),
        ]
        parts += [html.paragraph(example.title), html.grid(pictures, "row")]
    return html.section("A closer look", _legend(schema), *parts)


def _training(run: Path) -> str:
    curves = file_uri(run / "curves.png")
    if curves is None:
        return html.section("Training", html.paragraph("No curves were drawn.", soft=True))
    caption = "Losses, the discriminator, and IoU on the validation slide over the training steps."
    return html.section("Training", html.figure(curves, caption, "training curves"))


def _files(inputs: ReportInputs) -> str:
    folder, stem = inputs.prediction.parent, inputs.slide.stem
    rows = [
        (
            f"{folder / stem}.geojson",
            "outlines with measurements, for QuPath",
            "Open the slide in QuPath and drop the file on the viewer; 0.4 or later.",
        ),
        (
            f"{folder / stem}.xml",
            "the same outlines, for ASAP",
            "Put it beside the slide and open the slide in ASAP: it loads annotations of the same name.",
        ),
        (
            f"{folder / stem}.ome.tiff",
            "pyramidal label mask, one value a class",
            "Open it in QuPath, or read it with tifffile.",
        ),
        (
            f"{folder / stem}.objects.csv",
            "one row an object: area, place, podocyte count",
            "Open it in any spreadsheet, R or pandas.",
        ),
        (f"{folder / stem}.png", "overview with outlines", "Any picture viewer."),
        (str(inputs.error_map), "right, missed and invented pixels", "Any picture viewer."),
        (
            str(inputs.run),
            "the trained network, its configuration and metrics",
            "wsiseg predict --run, or TensorBoard.",
        ),
    ]
    shown = [row for row in rows if Path(row[0]).exists()]
    return html.section(
        "The files", html.table(["file", "what it is", "how to open it"], shown, left=3, code=True)
    )


def _commands(steps: list[StepLine]) -> str:
    text = "\n".join(f"# {step.purpose}: {step.seconds:.0f} s\n{step.command}" for step in steps)
    return html.section(
        "What was done",
        html.paragraph("The same commands work on your own slides."),
        f"<pre>{escape(text)}</pre>",
        html.paragraph(f"wsiseg {__version__}", soft=True),
    )


def _legend(schema: ClassSchema) -> str:
    return html.legend([(spoken(entry.name), entry.color) for entry in schema.foreground])
