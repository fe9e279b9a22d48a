"""What whole-slide prediction costs over the network alone, against a peer, and in memory.

    python benchmarks/predict.py speed [--side 4096] [--repeat 3] [--device cpu] [--precision auto]
                                       [--model RUN --on SLIDE.svs] [--compile]
    python benchmarks/predict.py memory [--sizes 10000x10000 30000x30000]

``speed``: DeepLabV3+ (tu-mobilenetv3_small_100, 4 classes, random weights, tiles of 512 px that overlap by
a quarter) on one slide. "forward" is the network on as many batches as the tissue fills, already in
memory: the limit. "wsiseg" goes from the slide file to a stitched mask on disk; "wsiseg, all files" on to
outlines, measurements and every output. MONAI's ``sliding_window_inference`` gets the whole region as an
array in memory, glass and all; it is left out where it is not installed. Random weights outline noise; with
``--model`` and ``--on`` a trained run segments a slide of its own kind, which is what users wait for.
``--compile`` compiles the network for all, MONAI included. The table then begins with the forward as it is
without; what compiling takes stands below it, and in no other figure.

``memory``: peak resident memory of a whole prediction with a predictor that only looks at colours, for
slides of several sizes, each with one glomerulus and three nuclei every 512 px.

Each measurement runs in a process of its own; the tables show medians of seconds and the highest peaks. On a
shared machine look at the CPU seconds, with ``OMP_NUM_THREADS=1``: threads that wait for a core spin.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsiseg.classes import default_schema
from wsiseg.config import PredictConfig, TissueConfig
from wsiseg.geometry import Box, TileGrid
from wsiseg.infer.pipeline import ModelCard, Settings, predict_slide
from wsiseg.infer.stitcher import Planes, build_stitcher
from wsiseg.infer.tiles import TileSource, predict_tiles
from wsiseg.infer.workfolder import Work, WorkFolder
from wsiseg.process import settle
from wsiseg.slide import Slide
from wsiseg.tissuemap import boxes_to_l0, look_at, map_tissue

TILE_PX, OVERLAP, BATCH = 512, 0.25, 4
EAGER = "forward, not compiled"
CARD = ModelCard(default_schema(), mpp=0.5, tile_px=TILE_PX, fingerprint="0" * 32)


def write_slide(path: Path, width: int, height: int) -> None:
    """A JPEG pyramid of pink tissue without a gap, with a glomerulus and three nuclei every 512 px."""
    piece = _piece()
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for level in (1, 4, 16):
            shape = (-(-height // level), -(-width // level), 3)
            tiles = -(-shape[0] // 512) * -(-shape[1] // 512)
            small = piece.reshape(512 // level, level, 512 // level, level, 3).mean(axis=(1, 3))
            tile = np.tile(small.astype(np.uint8), (level, level, 1))
            tiff.write(
                (tile for _ in range(tiles)),
                shape=shape,
                dtype=np.uint8,
                tile=(512, 512),
                compression="jpeg",
                photometric="rgb",
                metadata=None,
                subfiletype=int(level > 1),
                resolution=(1e4 / 0.5 / level, 1e4 / 0.5 / level),
                resolutionunit="CENTIMETER",
            )


def _piece() -> NDArray[np.uint8]:
    y, x = np.mgrid[:512, :512]
    green = np.full((512, 512), 215.0)
    green[np.hypot(x - 250, y - 250) < 90] = 160
    for nucleus in ((230, 230), (280, 240), (250, 290)):
        green[np.hypot(x - nucleus[0], y - nucleus[1]) < 8] = 80
    texture = np.random.default_rng(0).normal(0, 6, (512, 512, 3))
    return np.clip(np.stack([green + 30, green, green + 20], axis=2) + texture, 0, 255).astype(np.uint8)


def look_at_colors(images_NTT3: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A predictor that costs next to nothing: the class is read off the green channel."""
    green = images_NTT3[..., 1]
    label = (green < 187).astype(np.uint8) + (green < 120)
    probabilities = np.empty((len(label), 4, *label.shape[1:]), dtype=np.float32)
    for index in range(4):
        np.equal(label, index, out=probabilities[:, index], casting="unsafe")
    return probabilities


def network(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """The predictor, the network itself, and the function that makes its input."""
    import torch

    from wsiseg.infer.predictor import TorchPredictor

    device = torch.device(options.device)
    model = untrained(options.device) if options.model is None else trained(options.model, device)
    compiled = options.compile and options.run != EAGER
    predictor = TorchPredictor(
        model, device, precision=options.precision, batch_size=BATCH if compiled else None
    )
    return predictor, predictor._network, model.normalise


def trained(run: Path, device: Any) -> Any:
    """The model of a run."""
    from wsiseg.model.checkpoint import load_trained

    return load_trained(run, device)


def untrained(device: str) -> Any:
    """A model with random weights."""
    import torch

    from wsiseg.config.training import SegmentorConfig
    from wsiseg.model.normalise import standardise, to_unit
    from wsiseg.model.segmentor import build_segmentor

    torch.manual_seed(0)
    config = SegmentorConfig(encoder="tu-mobilenetv3_small_100", weights="none")
    segmentor = build_segmentor(config, 4, pretrained=False).to(device)
    segmentor = segmentor.to(memory_format=torch.channels_last).eval()

    class Model:
        pass

    model: Any = Model()
    model.segmentor = segmentor
    model.normalise = lambda images: standardise(to_unit(images, device), *config.input_statistics)
    return model


def grid_of(slide: Slide) -> TileGrid:
    """The tiles that ``predict`` would take."""
    return TileGrid(slide.frame(CARD.mpp).size_gr, TILE_PX, round(OVERLAP * TILE_PX))


def tissue_of(slide: Slide) -> NDArray[np.bool_]:
    """Which of them hold tissue: the others cost the network nothing."""
    frame = slide.frame(CARD.mpp)
    tissue = map_tissue(slide, look_at(slide), TissueConfig(), None)
    return tissue.touching(boxes_to_l0([tile.read for tile in grid_of(slide)], frame))


def run_forward(slide: Slide, predictor: Any) -> Callable[[], object]:
    """The network alone: as many batches as the slide needs, all in memory."""
    tiles = int(tissue_of(slide).sum())
    images = np.stack(
        [slide.read(slide.frame(0.5).to_l0(grid_of(slide)[i].read), (512, 512)) for i in range(BATCH)]
    )

    def work() -> None:
        for at in range(0, tiles, BATCH):
            predictor(images[: min(BATCH, tiles - at)])

    return work


def run_stitch(slide: Slide, predictor: Any, folder: Path) -> Callable[[], object]:
    """From the slide file to masks on disk."""

    def work() -> None:
        grid = grid_of(slide)
        source = TileSource(slide, slide.frame(0.5), grid, tissue_of(slide))
        planes = Planes(4)
        made = WorkFolder.open(folder / "work.partial", Work("slide", "key", grid.size_gr, planes))
        with closing(build_stitcher("window", grid, planes, folder)) as stitcher:
            for predicted in predict_tiles(source, [predictor], batch_size=BATCH):
                for part in stitcher.add(predicted.tile, predicted.planes_CTT):
                    made.masks.write(part)
                if predicted.tile.column == grid.columns - 1:
                    made.finish_band(0)

    return work


def run_all(slide: Slide, predictor: Any, folder: Path) -> Callable[[], object]:
    """From the slide file to all outputs."""
    settings = Settings(PredictConfig(overlap_share=OVERLAP, batch_size=BATCH), overwrite=True)
    return lambda: predict_slide(slide, predictor, CARD, out=folder / "out", settings=settings)


def run_monai(
    slide: Slide, segmentor: Any, normalise: Any, dtype: Any, box: Box | None = None
) -> Callable[[], object]:
    """MONAI on a whole region in memory, its own default blending, then the class of each pixel."""
    import torch
    from monai.inferers import sliding_window_inference

    def work() -> None:
        area = box or slide.frame(0.5).box_gr
        region = normalise(slide.read(slide.frame(0.5).to_l0(area), area.size)[None])
        slide_over = partial(sliding_window_inference, roi_size=(512, 512), sw_batch_size=BATCH)
        logits = run_network(partial(slide_over, predictor=segmentor, overlap=OVERLAP), region, dtype)
        logits.argmax(dim=1).to(torch.uint8).cpu().numpy()

    return work


def run_network(network: Callable[[Any], Any], region: Any, dtype: Any) -> Any:
    """A network, or what calls it, as ``TorchPredictor`` calls its own."""
    import torch

    with torch.inference_mode(), torch.autocast(region.device.type, dtype, enabled=dtype != torch.float32):
        return network(region)


def peak_mb() -> float:
    """Highest resident memory of this process so far."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def measure_here(options: argparse.Namespace) -> dict[str, float]:
    """One measurement, in this process."""
    settle()
    with Slide.open(options.slide) as slide, tempfile.TemporaryDirectory() as name:
        folder, setting_up = Path(name), 0.0
        if options.run == "colors":
            work = run_all(slide, look_at_colors, folder)
        else:
            predictor, segmentor, normalise = network(options)
            setting_up = time.perf_counter()
            predictor(np.zeros((BATCH, TILE_PX, TILE_PX, 3), dtype=np.uint8))
            if options.run == "MONAI":
                # Its last batch, which wsiseg fills up, is another network to a compiler.
                windows = BATCH + len(grid_of(slide)) % BATCH
                strip = Box(0, 0, TILE_PX + (windows - 1) * grid_of(slide).x_axis.stride, TILE_PX)
                run_monai(slide, segmentor, normalise, predictor._dtype, strip)()
            setting_up = time.perf_counter() - setting_up
            work = {
                EAGER: lambda: run_forward(slide, predictor),
                "forward": lambda: run_forward(slide, predictor),
                "wsiseg": lambda: run_stitch(slide, predictor, folder),
                "wsiseg, all files": lambda: run_all(slide, predictor, folder),
                "MONAI": lambda: run_monai(slide, segmentor, normalise, predictor._dtype),
            }[options.run]()
        begun, cpu = time.perf_counter(), time.process_time()
        work()
        return {
            "seconds": time.perf_counter() - begun,
            "cpu": time.process_time() - cpu,
            "peak_mb": peak_mb(),
            "setting_up": setting_up,
        }


def measure(run: str, slide: Path, options: argparse.Namespace) -> dict[str, float]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--run", run, "--slide", str(slide)]
    command += ["--device", options.device, "--precision", options.precision, options.what]
    command += ["--compile"] if options.compile else []
    command += [] if options.model is None else ["--model", str(options.model)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def speed(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Lines of the table of speeds."""
    slide = options.on
    if slide is None:
        slide = folder / "slide.tiff"
        write_slide(slide, options.side, options.side)
    methods = [*([EAGER] if options.compile else []), "forward", "wsiseg", "wsiseg, all files"]
    try:
        import monai  # noqa: F401 - only whether it is there
    except ImportError:
        yield "MONAI is not installed"
    else:
        methods.append("MONAI")
    runs: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    for _ in range(options.repeat):
        for method, figures in runs.items():
            figures.append(measure(method, slide, options))
    yield f"{'':21} {'s':>7} {'over forward':>13} {'CPU s':>7} {'over forward':>13} {'peak MB':>8}"
    limit = {key: _median(runs["forward"], key) for key in ("seconds", "cpu")}
    for method, figures in runs.items():
        spent = {key: _median(figures, key) for key in limit}
        peak = max(run["peak_mb"] for run in figures)
        shares = "".join(f" {spent[key]:7.2f} {spent[key] / limit[key]:13.2f}" for key in limit)
        yield f"{method:21}{shares} {peak:8.0f}"
    if options.compile:
        yield f"compiling: {_median(runs['forward'], 'setting_up'):.1f} s"


def _median(figures: list[dict[str, float]], key: str) -> float:
    return statistics.median(run[key] for run in figures)


def memory(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """Lines of the table of memory."""
    yield f"{'slide':>14} {'s':>7} {'peak MB':>8}"
    for size in options.sizes:
        width, height = map(int, size.split("x"))
        slide = folder / f"{size}.tiff"
        write_slide(slide, width, height)
        figures = measure("colors", slide, options)
        slide.unlink()
        yield f"{size:>14} {figures['seconds']:7.1f} {figures['peak_mb']:8.0f}"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("speed", "memory"))
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--model", type=Path, metavar="RUN")
    parser.add_argument("--on", type=Path, metavar="SLIDE")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--sizes", nargs="+", default=["10000x10000", "30000x30000"])
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--slide", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(measure_here(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for line in (speed if options.what == "speed" else memory)(options, Path(folder)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
