"""What a study ends with: ``table.md`` and ``study.html``, both made from ``table.json``."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from types import MappingProxyType

from wsiseg.files import atomic_path
from wsiseg.report import curves
from wsiseg.report import page as html
from wsiseg.report.sheets import RULE, SCORES, Sheet, Table, sheets, summary, verdicts

_SAMPLES = (
    "Of the test tiles that show something, the one with the highest mean IoU and the one with the lowest: "
    "image, truth, prediction and, where there is a discriminator, what it makes of the prediction (bright: "
    "right). One seed; the extremes of another may be other tiles."
)


def write_study_report(
    table: Table, folder: Path, samples: Mapping[str, Path] = MappingProxyType({})
) -> None:
    """Write ``table.md`` and ``study.html``, which need no other file.

    Args:
        table: The content of ``table.json``.
        folder: Where to.
        samples: Pictures of the best and worst tiles, PNG, by what they are of.

    Raises:
        OutputError: The folder cannot be written.
    """
    for name, text in (("table.md", markdown(table)), ("study.html", page(table, samples))):
        with atomic_path(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")


def markdown(table: Table) -> str:
    """Everything in words and figures."""
    parts = [f"# {table['study']}", *summary(table), "## What holds"]
    parts += ["\n".join(f"- {sentence}" for sentence in verdicts(table)) or "Nothing was compared.", RULE]
    for sheet in sheets(table):
        parts += [f"## {sheet.title}", sheet.explanation, _markdown_table(sheet)]
    if table["notes"]:
        parts += ["## Notes", "\n".join(f"- {note}" for note in table["notes"])]
    return "\n\n".join(parts) + "\n"


def page(table: Table, samples: Mapping[str, Path] = MappingProxyType({})) -> str:
    """The same with curves and tiles."""
    sections = [_head(table)]
    if table["cells"]["finished"]:
        sections.append(_figures(table))
    if samples:
        pictures = [
            html.figure(html.data_uri(path.read_bytes()), name, f"best and worst tile, {name}")
            for name, path in samples.items()
        ]
        sections.append(html.section("Best and worst tiles", html.paragraph(_SAMPLES), *pictures))
    for sheet in sheets(table):
        shown = html.table(sheet.headings, sheet.rows, left=sheet.left)
        sections.append(html.section(sheet.title, html.paragraph(sheet.explanation), shown))
    if table["notes"]:
        sections.append(html.section("Notes", *(html.paragraph(note) for note in table["notes"])))
    return html.page(f"wsiseg study: {table['study']}", sections)


def _head(table: Table) -> str:
    found = list(table["verdicts"].items())
    cards = [(verdict["verdict"], f"{arm} against {table['baseline']}") for arm, verdict in found]
    return "\n".join(
        [
            f"<h1>{escape(table['study'])}</h1>",
            *(html.paragraph(text, soft=True) for text in summary(table)),
            html.headline(cards),
            *(html.paragraph(sentence) for sentence in verdicts(table)),
            html.paragraph(RULE, soft=True),
        ]
    )


def _figures(table: Table) -> str:
    shares = [share for share in table["shares"] if share in table["scores"][table["baseline"]]]
    score = SCORES[table["score"]]
    parts = [
        html.figure(
            curves.curves(table),
            f"{score} over the share of the labels. Dots: seeds. Bars: Student's 95 % interval of the mean.",
            "label-efficiency curves",
        )
    ]
    if any(table["differences"].values()):
        caption = (
            f"{score} minus that of {table['baseline']}, seed by seed. Thick bars: 95 % interval of "
            "the mean, for other slides and tiles; thin: for other seeds too. Green counts as a gain at that "
            "share, orange as a loss."
        )
        parts.append(html.figure(curves.differences(table), caption, "paired differences"))
    if shares:
        few = shares[0]
        caption = (
            f"At {few} of the labels: confidence against accuracy, expected calibration error in brackets."
        )
        parts.append(html.figure(curves.reliability(table, few), caption, "reliability"))
        caption = (
            f"At {few} of the labels: the share of each true class (row) predicted as each class (column)."
        )
        parts.append(html.figure(curves.confusions(table, few), caption, "confusion matrices"))
    return html.section("Curves", *parts)


def _markdown_table(sheet: Sheet) -> str:
    rules = ["---" if place < sheet.left else "---:" for place in range(len(sheet.headings))]
    rows = [sheet.headings, rules, *sheet.rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
