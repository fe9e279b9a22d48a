"""``wsiseg evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from wsiseg.cli.console import progress_bars, stdout
from wsiseg.cli.options import MPP, PATH, mpp_slide_option
from wsiseg.errors import ConfigError
from wsiseg.wording import figure

if TYPE_CHECKING:
    from wsiseg.evaluate import Evaluation


@click.command("evaluate")
@click.option("--slide", "slides", multiple=True, required=True, help="The slide.")
@click.option("--truth", "truths", type=PATH, multiple=True, required=True, help="What is right.")
@click.option("--prediction", "predictions", type=PATH, multiple=True, required=True, help="What is judged.")
@click.option("--json", "json_path", type=PATH, help="Write every figure to this file.")
@click.option("--error-map", "map_path", type=PATH, help="Write a PNG that shows where it goes wrong.")
@click.option("--config", "config_path", type=PATH, help="Classes and class mapping, as for tile.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A setting on top of --config.")
@click.option("--mpp", type=MPP, help="Compare at this um/px  [default: that of the prediction].")
@mpp_slide_option
def command(
    slides: tuple[str, ...],
    truths: tuple[Path, ...],
    predictions: tuple[Path, ...],
    json_path: Path | None,
    map_path: Path | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
    mpp: float | None,
    mpp_slide: float | None,
) -> None:
    """Compare a prediction with annotations.

    Truth and prediction may be QuPath GeoJSON, ASAP or ImageScope XML, or DSA JSON; a prediction may also
    be a label mask (.ome.tiff). Counted is the tissue; inside the truth's Region areas only, where it has
    any. For several slides together, repeat --slide, --truth and --prediction in the same order.
    Where predict has kept its probabilities beside the prediction, their calibration is given as well.
    """
    if not len(slides) == len(truths) == len(predictions):
        raise ConfigError(
            "--slide, --truth and --prediction",
            found=f"{len(slides)}, {len(truths)} and {len(predictions)} of them",
            expected="as many of each",
        )
    from wsiseg.config import load_config
    from wsiseg.evaluate import Case, evaluate, to_json
    from wsiseg.files import write_json
    from wsiseg.slide.opening import check_stems

    if map_path is not None and len(slides) > 1:
        check_stems(slides, map_path.suffix)
    config = load_config(config_path, overrides)
    cases = [Case(*paths) for paths in zip(slides, truths, predictions, strict=True)]
    with progress_bars() as progress:
        evaluation = evaluate(cases, config, progress=progress, mpp=mpp, mpp_slide=mpp_slide)
    if json_path is not None:
        write_json(json_path, to_json(evaluation))
    maps = [] if map_path is None else _write_maps(evaluation, map_path)
    _print_evaluation(evaluation, to_json(evaluation))
    for path in [*maps, *([json_path] if json_path else [])]:
        stdout.print(f"written: {path}", soft_wrap=True, markup=False)


def _write_maps(evaluation: "Evaluation", target: Path) -> list[Path]:
    """One error map a slide; with several slides each gets the slide's name added."""
    from wsiseg.evaluate import save_error_map

    several = len(evaluation.slides) > 1
    written = []
    for slide in evaluation.slides:
        path = target.with_stem(f"{target.stem}-{Path(slide.name).stem}") if several else target
        save_error_map(slide.thumbnail, slide.pixels.errors, path)
        written.append(path)
    return written


def _print_evaluation(evaluation: "Evaluation", data: dict[str, Any]) -> None:
    stdout.print(_pixel_table(data))
    if len(data["slides"]) > 1:
        stdout.print(_slide_table(data))
    stdout.print(_object_table(data))
    for line in _details(data):
        stdout.print(line, soft_wrap=True)
    if "calibration" in data:
        _print_calibration(data["calibration"])
    if any(slide.worst for slide in evaluation.slides):
        stdout.print(_worst_table(data))
    for note in evaluation.notes:
        stdout.print(f"note: {note}", style="yellow", soft_wrap=True, markup=False)


def _print_calibration(data: dict[str, Any]) -> None:
    if data["ece"] is None:
        stdout.print("\nno calibration: no pixel counts", soft_wrap=True)
        return
    stdout.print(_calibration_table(data))
    stdout.print(f"probabilities are off by {data['ece']:.3f} on average (ECE)", soft_wrap=True)


def _table(title: str, *headings: str, left: int = 1) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place < left else "right", overflow="fold")
    return table


def _pixel_table(data: dict[str, Any]) -> Table:
    intervals = data.get("interval_95", {})
    extra = ("IoU 95 %", "F1 95 %") if intervals else ()
    table = _table(f"pixels at {data['mpp']:g} um/px", "class", "IoU", "precision", "recall", "F1", *extra)
    for name, row in [*data["classes"].items(), ("mean", data["mean"])]:
        spread = [_interval(intervals[name][score]) for score in ("iou", "f1")] if intervals else []
        style = "bold" if name == "mean" else None
        table.add_row(name, *map(figure, row.values()), *spread, style=style)
    return table


def _interval(bounds: list[float | None]) -> str:
    return "-".join(map(figure, bounds)) if None not in bounds else "-"


def _slide_table(data: dict[str, Any]) -> Table:
    table = _table("\nby slide", "slide", "mean IoU", "precision", "recall", "F1")
    for slide in data["slides"]:
        table.add_row(slide["slide"], *map(figure, slide["mean"].values()))
    return table


def _object_table(data: dict[str, Any]) -> Table:
    headings = ("class", "matched by", "precision", "recall", "F1", "true", "predicted", "matched")
    table = _table("\nobjects", *headings, left=2)
    for name, row in data["objects"].items():
        short = row["rule"].replace("centre distance", "centres").replace(" <= ", " ").replace(" >= ", " ")
        _add_objects(table, name, short, row)
        if "by_iou" in row:
            _add_objects(table, "", "IoU 0.5", row["by_iou"])
    return table


def _add_objects(table: Table, name: str, rule: str, row: dict[str, Any]) -> None:
    figures = [figure(row[score]) for score in ("precision", "recall", "f1")]
    table.add_row(name, rule, *figures, *(str(row[count]) for count in ("truth", "predicted", "matched")))


def _calibration_table(data: dict[str, Any]) -> Table:
    table = _table("\ncalibration", "probability", "mean", "right", "pixels")
    for row in data["bins"]:
        limits = f"{row['from']:.2f}-{row['to']:.2f}"
        table.add_row(limits, *map(figure, (row["mean_probability"], row["accuracy"])), str(row["pixels"]))
    return table


def _details(data: dict[str, Any]) -> list[str]:
    lines = []
    for name, row in data["objects"].items():
        if "boundary_um" in row:
            outline = row["boundary_um"]
            lines.append(
                f"{name}: outlines of {outline['pairs']} matched pairs are {outline['mean']:.2f} um apart "
                f"on average, 95 % within {outline['hausdorff_95']:.2f} um"
            )
        if "count_per_container" in row:
            count = row["count_per_container"]
            predicted = count["mean_true"] + count["mean_error"]
            lines.append(
                f"{name}: {count['mean_true']:.1f} in each of {count['containers']} containers, "
                f"predicted {predicted:.1f}, off by {count['mean_absolute_error']:.1f} on average"
            )
    return lines


def _worst_table(data: dict[str, Any]) -> Table:
    table = _table("\nworst places", "slide", "x, y of level 0", "wrong um2", "mostly", left=2)
    for slide in data["slides"]:
        for place in slide["worst"][: max(2, 5 // len(data["slides"]))]:
            table.add_row(
                slide["slide"],
                f"{place['x']}, {place['y']}",
                f"{place['wrong_um2']:.0f}",
                f"{place['truth']} as {place['prediction']}",
            )
    return table
