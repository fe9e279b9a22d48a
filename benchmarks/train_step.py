"""Time a whole training step against the sum of its own forwards and backwards.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/train_step.py [--recipe demo] [--device cpu] [--tile-px 256]
                                                            [--steps 20] [--rounds 3] [--workers 1]

The limit is the step's networks alone, on tensors that lie ready: the discriminator's loss and the
segmentor's, forward and backward. The whole step adds reading from stores, augmentation, both optimisers,
the average, guards and logging. On a processor a third row of steps has its memory from the system anew
each time, as every process of wsiseg that does not train. All run in turn; medians over the rounds.
"Loading" is what one worker makes ready from the zarr stores (read, decode, stack, augment) with nothing
else running, against what the whole step needs. The policy is the one that ``wsiseg`` sets for itself.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from wsiseg.classes import default_schema
from wsiseg.config import load_config
from wsiseg.geometry import GridFrame
from wsiseg.lock import write_lock
from wsiseg.process import give_back, keep_memory, settle
from wsiseg.progress import NullProgress
from wsiseg.tilestore import StoreHeader, StorePlan, StoreWriter, TileStore, encode_tile
from wsiseg.train.data import make_pools
from wsiseg.train.feed import batch_maker
from wsiseg.train.loop import Trainer
from wsiseg.train.prefetch import Prefetcher
from wsiseg.train.prepare import resolve, start_fabric
from wsiseg.train.sampler import generator
from wsiseg.train.schedule import Span
from wsiseg.train.split import Split
from wsiseg.train.steps import Weights, discriminator_loss, segmentor_loss

SCHEMA = default_schema()


def write_noise(folder: Path, name: str, tile_px: int, count: int, *, labelled: bool) -> TileStore:
    """A store of noisy tiles with labels in blocks."""
    rng = np.random.default_rng(len(name))
    header = StoreHeader(
        name=name,
        schema=SCHEMA,
        frame=GridFrame((tile_px * count, tile_px), (1.0, 1.0), 0.5),
        tile_px=tile_px,
        overlap_px=0,
        key="k",
        image_key="i",
        provenance={"slide": {"path": name, "fingerprint": name}},
    )
    plan = StorePlan(header, np.arange(count), np.ones(count, dtype=np.float32))
    with write_lock(folder / f"{name}.zarr"):
        writer = StoreWriter.begin(folder / f"{name}.zarr", plan)
        for shard, positions in list(writer.pending()):
            tiles = []
            for _ in positions:
                image = rng.integers(120, 255, (tile_px, tile_px, 3), dtype=np.uint8)
                blocks = rng.integers(0, len(SCHEMA), (tile_px // 16, tile_px // 16), dtype=np.uint8)
                label = blocks.repeat(16, axis=0).repeat(16, axis=1) if labelled else None
                tiles.append(encode_tile(image, label, len(SCHEMA)))
            writer.write(shard, tiles)
        writer.publish()
    return TileStore.open(folder / f"{name}.zarr")


def timed(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def main() -> None:
    """Print one line a phase."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--tile-px", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(options, Path(folder))


def run(options: argparse.Namespace, folder: Path) -> None:
    """Time every phase of the recipe."""
    total = 10 * options.steps * (options.rounds + 1)
    settings = [f"train.steps={total}", f"tiling.tile_px={options.tile_px}", *options.set]
    stores = [
        write_noise(folder, "labelled", options.tile_px, 64, labelled=True),
        write_noise(folder, "unlabelled", options.tile_px, 64, labelled=False),
    ]
    on_gpu = options.device == "cuda"
    config = resolve(load_config(Path(options.recipe), settings), stores, on_gpu=on_gpu)
    fabric = start_fabric(config.train, on_gpu=on_gpu)
    pools = make_pools(stores, Split((0, 1), ()), config.train)
    trainer = Trainer(config, pools, fabric, folder=folder, progress=NullProgress())
    encoder, threads = config.train.segmentor.encoder, torch.get_num_threads()
    print(f"{encoder}, tiles of {options.tile_px} px, {fabric.device}, {threads} threads")
    for span in trainer.plan:
        limits, wholes, mapped = [], [], []
        for round_ in range(options.rounds + 1):
            first = span.start + round_ * options.steps
            if not on_gpu:
                settle()
                give_back()
                mapped.append(whole_steps(trainer, span, first, options) / options.steps)
                keep_memory()
            limits.append(networks_alone(trainer, span, options.steps) / options.steps)
            wholes.append(whole_steps(trainer, span, first, options) / options.steps)
        # The first round warms up.
        limit, whole = statistics.median(limits[1:]), statistics.median(wholes[1:])
        print(
            f"{span.phase.name:16} networks alone {1e3 * limit:7.1f} ms   whole step {1e3 * whole:7.1f} ms   "
            f"ratio {whole / limit:.2f}   {tiles_a_step(trainer, span) / whole:.1f} tiles/s"
        )
        if mapped:
            anew = statistics.median(mapped[1:])
            print(f"{'':16} whole step, memory anew {1e3 * anew:7.1f} ms   ratio to kept {anew / whole:.2f}")
        loaded = tiles_a_step(trainer, span) / loading(trainer, span, options.steps)
        needed = tiles_a_step(trainer, span) / whole
        print(f"{'':16} loading {loaded:.0f} tiles/s, {loaded / needed:.1f} times the need")


def networks_alone(trainer: Trainer, span: Span, steps: int) -> float:
    """Seconds of forwards and backwards on the same batches again and again; no optimiser moves."""
    config, networks = trainer.config.train, trainer.state.networks
    ready = batch_maker(trainer.pools, config, span.phase, trainer.fabric.device)(0)
    weights = Weights(0.01, 0.001, 0.1 if span.phase.pseudo_labels else None)

    def once(step: int) -> None:
        if ready.d_labelled is not None and step % config.discriminator.every == 0:
            judged = discriminator_loss(networks, ready.d_labelled, ready.d_unlabelled, config.discriminator)
            trainer.fabric.backward(judged[0])
        loss, _ = segmentor_loss(
            networks,
            ready.labelled,
            ready.unlabelled,
            objective=trainer.objective,
            weights=weights,
            generator=generator(0, "benchmark", step),
        )
        trainer.fabric.backward(loss)

    once(0)

    def all_steps() -> None:
        for step in range(steps):
            once(step)

    seconds = timed(all_steps, trainer.fabric.device)
    networks.student.zero_grad(set_to_none=True)
    if networks.discriminator is not None:
        networks.discriminator.zero_grad(set_to_none=True)
    return seconds


def loading(trainer: Trainer, span: Span, steps: int) -> float:
    """Seconds in which one worker makes the tiles of a step ready."""
    make = batch_maker(trainer.pools, trainer.config.train, span.phase, trainer.fabric.device)
    make(0)
    return timed(lambda: [make(step) for step in range(1, steps + 1)], trainer.fabric.device) / steps


def whole_steps(trainer: Trainer, span: Span, first: int, options: argparse.Namespace) -> float:
    """Seconds of the run's own steps; the first one waits for its tiles and is not counted."""
    make = batch_maker(trainer.pools, trainer.config.train, span.phase, trainer.fabric.device)
    trainer.state.step = first

    def steps(count: int) -> None:
        for _ in range(count):
            trainer.advance(span, feed)

    with Prefetcher(make, first, first + options.steps + 1, workers=options.workers) as feed:
        steps(1)
        return timed(lambda: steps(options.steps), trainer.fabric.device)


def tiles_a_step(trainer: Trainer, span: Span) -> int:
    """Tiles that the segmentor learns from in a step."""
    sampler = trainer.config.train.sampler
    labelled = sampler.batch_size if span.phase.labelled else 0
    return labelled + (sampler.unlabelled_batch_size if span.phase.unlabelled else 0)


if __name__ == "__main__":
    main()
