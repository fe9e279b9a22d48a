"""The tables of a study as text: headings and rows that Markdown and HTML share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsiseg.objects import IOU_THRESHOLD, NUCLEUS_DISTANCE_UM
from wsiseg.wording import figure, signed

Table = Mapping[str, Any]
"""The content of ``table.json``."""

SCORES = {"iou": "mean IoU", "f1": "mean F1"}
_SIGNS = {"=": "", "<": "under ", ">": "over "}


@dataclass(frozen=True)
class Sheet:
    """One table.

    Attributes:
        title: Its heading.
        explanation: How to read it.
        headings: Of the columns.
        rows: As many cells as there are headings.
        left: The first so many columns hold words.
    """

    title: str
    explanation: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


def sheets(table: Table) -> list[Sheet]:
    """All tables that have something to show."""
    found = [
        scores(table),
        differences(table),
        with_seeds(table),
        labels(table),
        classes(table),
        objects(table),
        calibration(table),
        gauges(table),
        knowledge(table),
    ]
    return [sheet for sheet in found if sheet.rows]


def scores(table: Table) -> Sheet:
    """Mean score of each arm at each share."""

    def cell(row: Mapping[str, Any]) -> str:
        return f"{figure(row['mean'])} {interval(row['interval'])} ({len(row['seeds'])})".replace("  ", " ")

    return Sheet(
        f"{SCORES[table['score']]} by share of the labels",
        "Mean over the seeds, Student's 95 % interval of that mean, number of seeds. The interval tells how "
        "far seeds scatter; arms are compared in the next table.",
        ["arm", *table["shares"]],
        [[arm, *_cells(table, found, cell)] for arm, found in table["scores"].items() if found],
    )


def differences(table: Table) -> Sheet:
    """Each arm minus the baseline."""

    def cell(row: Mapping[str, Any]) -> str:
        mark = {"gain": " gain", "loss": " loss"}.get(row["counts_as"], "")
        agreeing = f"{row['agreeing']}/{len(row['seeds'])}"
        return f"{signed(row['mean'])} {interval(row['interval'], signs=True)} {agreeing}{mark}"

    return Sheet(
        f"Paired difference to {table['baseline']}",
        "Same seed, same share of the labels, same test tiles. In brackets Student's 95 % interval with the "
        "standard error of a bootstrap that draws slides, then tiles, so that few slides make it wide; "
        "behind it, how many seeds have the sign of the mean.",
        ["arm", *table["shares"]],
        [[arm, *_cells(table, found, cell)] for arm, found in table["differences"].items() if found],
    )


def with_seeds(table: Table) -> Sheet:
    """The wider interval of each difference."""

    def cell(row: Mapping[str, Any]) -> str:
        return interval(row["interval_with_seeds"], signs=True) or "-"

    return Sheet(
        f"Paired difference to {table['baseline']}, seeds drawn too",
        "The 95 % interval of the same differences when the scatter of the seeds counts beside that of "
        "slides and tiles. The rule does not ask for it; where it contains 0 and the interval above does "
        "not, other seeds may say otherwise.",
        ["arm", *table["shares"]],
        [[arm, *_cells(table, found, cell)] for arm, found in table["differences"].items() if found],
    )


def labels(table: Table) -> Sheet:
    """What labels are worth."""

    def cell(row: Mapping[str, Any]) -> str:
        return f"{_SIGNS[row['bound']]}{row['factor']:.2f} x"

    rows = []
    for arm, found in table["labels"].items():
        if found:
            full = found.get("for_all_labels")
            last = "-" if full is None else f"{_SIGNS[full['bound']]}{full['share']:.3f}"
            rows.append([arm, *_cells(table, found["worth"], cell), last])
    return Sheet(
        "Labels saved at equal quality",
        f"2 x: {table['baseline']} needs twice as many labels for the same score; under 1 x: it needs fewer. "
        "Read from its curve of means, straight between the shares. Last column: the share of the labels "
        f"with which the arm reaches {table['baseline']} with all of them.",
        ["arm", *table["shares"], "share for full quality"],
        rows,
    )


def classes(table: Table) -> Sheet:
    """IoU and F1 of each class."""
    rows = []
    for arm, found in table["scores"].items():
        for share, row in found.items():
            cells = [f"{figure(one['iou'])} / {figure(one['f1'])}" for one in row["classes"].values()]
            rows.append([arm, share, *cells, f"{figure(row['mean_iou'])} / {figure(row['mean_f1'])}"])
    return Sheet(
        "By class, IoU / F1",
        "Mean over the seeds, each from one confusion matrix over all test tiles.",
        ["arm", "share", *table["classes"], "mean"],
        rows,
        left=2,
    )


def objects(table: Table) -> Sheet:
    """Precision, recall and F1 of the objects of each class."""
    rows = []
    for arm, found in table.get("objects", {}).items():
        for share, row in found.items():
            cells = [
                " / ".join(figure(one[part]) for part in ("precision", "recall", "f1"))
                for one in row.values()
            ]
            rows.append([arm, share, *cells])
    return Sheet(
        "Objects, precision / recall / F1",
        "Connected areas of the label maps, so neighbours that touch are one on both sides; counts of all "
        "test slides and seeds together. Nuclei match where their centres lie within "
        f"{NUCLEUS_DISTANCE_UM:g} um, others at an IoU of {IOU_THRESHOLD:g}.",
        ["arm", "share", *table["classes"][1:]],
        rows,
        left=2,
    )


def calibration(table: Table) -> Sheet:
    """Expected calibration error of the segmentor."""
    return Sheet(
        "Calibration of the segmentor",
        "Expected calibration error on test pixels: how far confidence is from accuracy; mean over seeds.",
        ["arm", *table["shares"]],
        [
            [arm, *_cells(table, found, lambda row: figure(row["ece"]))]
            for arm, found in table["calibration"].items()
            if found
        ],
    )


def gauges(table: Table) -> Sheet:
    """What the discriminator scores."""
    names = ("d_real", "d_soft", "d_argmax", "d_other")
    return Sheet(
        "Gauges of the discriminator",
        "Its mean score on test tiles of annotations, of predictions as probabilities and as classes, and of "
        "another tile's annotation. One that compares with the image scores the last far below the first.",
        ["arm", "share", "annotation", "probabilities", "classes", "other tile's"],
        [
            [arm, share, *(figure(row["gauges"].get(name)) for name in names)]
            for arm, found in table["discriminator"].items()
            for share, row in found.items()
        ],
        left=2,
    )


def knowledge(table: Table) -> Sheet:
    """Whether the discriminator finds wrong pixels."""
    rows = []
    for arm, found in table["discriminator"].items():
        for share, row in found.items():
            if "auc" in row:
                first = row["errors_in_first_fifth"]
                order = ("discriminator", "entropy", "best_possible")
                rows.append(
                    [
                        arm,
                        share,
                        *(figure(row["auc"][name]) for name in order[:2]),
                        figure(row["calibration"]["ece"]),
                        *(figure(first[name]) for name in order),
                    ]
                )
    return Sheet(
        "What the discriminator knows",
        "Area under the ROC curve of finding wrong pixels, by its map and by softmax entropy (0.5: nothing), "
        "the calibration error of its map; and the share of all wrong pixels on the fifth of the test tiles "
        "that each ranks first (0.2: nothing).",
        [
            "arm",
            "share",
            "AUC of D",
            "AUC of entropy",
            "ECE of D",
            "fifth by D",
            "by entropy",
            "best possible",
        ],
        rows,
        left=2,
    )


def summary(table: Table) -> list[str]:
    """What was done, in sentences."""
    cells, made = table["cells"], table["made"]
    folds = "; ".join(f"{name}: {', '.join(slides)}" for name, slides in table["test_slides"].items())
    return [
        f"Data: {table['data']}.",
        f"{cells['finished']} of {cells['wanted']} cells: {_count(table['arms'], 'arm')}, "
        f"{_count(table['shares'], 'share')} of the labels, {_count(table['seeds'], 'seed')}; "
        f"{made['hours']:g} hours on "
        f"{', '.join(made['devices']) or '-'}, wsiseg {', '.join(made['wsiseg']) or '-'}, "
        f"torch {', '.join(made['torch']) or '-'}.",
        f"Test slides ({folds}) were in neither the labelled nor the unlabelled part. All seeds are shown; "
        "the averaged weights of the last step are examined.",
    ]


def verdicts(table: Table) -> list[str]:
    """One sentence an arm, by the decision rule."""
    return [found["sentence"] for found in table["verdicts"].values()]


RULE = (
    "The rule: a gain (or a loss) is claimed only if at two shares or more the interval of the paired "
    "difference excludes 0 and four of five seeds agree; five seeds at least."
)


def interval(bounds: Sequence[float | None] | None, *, signs: bool = False) -> str:
    """``[0.700, 0.750]``; empty where there is none or it is not known."""
    show = signed if signs else figure
    return "" if bounds is None or None in bounds else f"[{', '.join(map(show, bounds))}]"


def _count(things: Sequence[Any], word: str) -> str:
    """``1 share``, ``5 seeds``."""
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def _cells(table: Table, found: Mapping[str, Any], show: Any) -> list[str]:
    return [show(found[share]) if share in found else "-" for share in table["shares"]]
