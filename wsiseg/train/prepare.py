"""Before a run: do tiles, configuration and machine go together, and what is left to them to say."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric

from wsiseg.config.classes import ClassConfig
from wsiseg.config.root import Config
from wsiseg.config.training import SegmentorConfig, TrainConfig
from wsiseg.errors import ConfigError, TrainingDataError
from wsiseg.model.discriminator import PATCH_LAYERS
from wsiseg.model.machine import check_compiler, computes_bf16
from wsiseg.model.segmentor import LARGE_ENCODER, TILE_MULTIPLE, resolve_segmentor
from wsiseg.process import keep_memory
from wsiseg.train.data import Pools, check_alike, make_pools, open_stores
from wsiseg.train.schedule import resolve_steps, without_unlabelled
from wsiseg.train.shown import NarrowStore, shown_schema
from wsiseg.train.split import Store, read_patients, split_stores

Device = Literal["auto", "cpu", "cuda"]

_FEW_SLIDES = 4
"""Of fewer, each that validates is missed: two and three to learn from were far apart on real glomeruli."""


@dataclass(frozen=True)
class Prepared:
    """All that a run needs before its first step.

    Attributes:
        config: Resolved: no ``auto``, classes and mpp of the stores.
        pools: The tiles.
        fabric: Device, precision and processes.
        notices: What the user should know, in words.
    """

    config: Config
    pools: Pools
    fabric: Fabric
    notices: list[str]


def prepare(
    config: Config, tiles: Path, device: Device, patients: Path | None, *, all_classes: bool = True
) -> Prepared:
    """Open the tiles, resolve the configuration, split the slides, start the machine.

    Args:
        config: What was asked for.
        tiles: Folder of tile stores.
        device: Where to train.
        patients: CSV of ``slide,patient``.
        all_classes: Whether a class that no tile shows is an error, not left out. A configuration that
            names the classes which tiles show may leave out the others either way.

    Raises:
        ConfigError: The networks do not fit the tiles, or the device is not there.
        TrainingDataError: The tiles cannot be trained on.
        StoreError: A tile store is broken or unfinished.
    """
    opened = open_stores(tiles)
    check_alike(opened)
    stores = _narrowed(opened, config, all_classes=all_classes)
    on_gpu = _on_gpu(device)
    if config.train.compile and not on_gpu:
        check_compiler("train.compile")
    asked = config.train.segmentor
    config = resolve(config, stores, on_gpu=on_gpu)
    train = config.train
    groups = None if patients is None else read_patients(patients)
    split = split_stores(stores, train.split, train.seed, groups)
    pools = make_pools(stores, split, train)
    notices = [*_class_notices(opened, stores), *_notices(pools, train)]
    notices += _network_notices(asked, train.segmentor, on_gpu=on_gpu)
    if any(phase.unlabelled for phase in train.phases) and not len(pools.unlabelled):
        phases = without_unlabelled(train.phases)
        if not phases:
            raise TrainingDataError(
                "no unlabelled tiles, and no phase learns from labelled ones",
                remedy="Tile some slides without annotations as well",
            )
        config = config.model_copy(update={"train": train.model_copy(update={"phases": phases})})
    if not on_gpu:
        keep_memory()
    fabric = start_fabric(config.train, on_gpu=on_gpu)
    _check_world(config.train, fabric.world_size)
    return Prepared(config, pools, fabric, notices)


def resolve(config: Config, stores: Sequence[Store], *, on_gpu: bool) -> Config:
    """Fill in what the configuration leaves to the stores and to the machine.

    Raises:
        TrainingDataError: The configuration names other classes or another mpp than the stores.
        ConfigError: The networks do not fit the tiles.
    """
    first = stores[0]
    if "classes" in config.model_fields_set and config.schema_.fingerprint != first.schema.fingerprint:
        raise TrainingDataError(
            "the configuration and the tiles have different classes",
            found=f"{', '.join(first.schema.names)} in the tiles",
            expected=", ".join(config.schema_.names),
            remedy="Tile again with this configuration, or leave classes out of it",
        )
    given = config.tiling.model_fields_set
    for key, own, found in (
        ("mpp", config.tiling.mpp, first.mpp),
        ("tile_px", config.tiling.tile_px, first.tile_px),
    ):
        if key in given and own != found:
            raise TrainingDataError(
                f"tiling.{key} is not that of the tiles",
                found=f"{found:g} in the tiles",
                expected=f"{own:g}",
                remedy="Tile again with this configuration, or leave the key out of it",
            )
    _check_sizes(config.train, first.tile_px)
    classes = tuple(ClassConfig.model_validate(entry) for entry in first.schema.to_json())
    resolved = {
        "segmentor": resolve_segmentor(config.train.segmentor, on_gpu=on_gpu),
        "steps": resolve_steps(config.train, on_gpu=on_gpu),
        "precision": resolve_precision(config.train, on_gpu=on_gpu),
    }
    return config.model_copy(
        update={
            "classes": config.classes if "classes" in config.model_fields_set else classes,
            "tiling": config.tiling.model_copy(update={"mpp": first.mpp, "tile_px": first.tile_px}),
            "train": config.train.model_copy(update=resolved),
        }
    )


def _narrowed(stores: Sequence[Store], config: Config, *, all_classes: bool) -> Sequence[Store]:
    """The stores by the classes that they show, where that is what the configuration means."""
    shown = shown_schema(stores)
    named = "classes" in config.model_fields_set
    fits = shown.fingerprint == config.schema_.fingerprint if named else not all_classes
    if not fits or shown == stores[0].schema:
        return stores
    return [NarrowStore(store, shown) for store in stores]


def _class_notices(opened: Sequence[Store], stores: Sequence[Store]) -> list[str]:
    kept = stores[0].schema.names
    left_out = [name for name in opened[0].schema.names if name not in kept]
    if not left_out:
        return []
    return [f"no tile is annotated with {' or '.join(left_out)}: {' and '.join(kept)} are learnt alone"]


def _notices(pools: Pools, config: TrainConfig) -> list[str]:
    notices = []
    if not len(pools.validation):
        notices.append(
            "no slide is kept to validate on (one labelled slide, one patient, or asked so): the guards are "
            "blind, the last averaged weights are kept, and no figure tells how good they are"
        )
    teaching, kept_back = (len(pools.slides[part]) for part in ("labelled", "validation"))
    if kept_back and teaching < _FEW_SLIDES:
        notices.append(
            f"labelled slides: {teaching} to learn from, {kept_back} kept back to validate on. So few teach "
            "little: --set train.split.validation_share=0 learns from all, and no figure tells how well"
        )
    if any(phase.unlabelled for phase in config.phases) and not len(pools.unlabelled):
        notices.append("there are no unlabelled tiles: training learns from labels alone")
    return notices


def _network_notices(asked: SegmentorConfig, taken: SegmentorConfig, *, on_gpu: bool) -> list[str]:
    """What was chosen in the user's place."""
    notices = []
    if asked.encoder == "auto" and taken.encoder != LARGE_ENCODER:
        reason, remedy = (
            (f"no ImageNet weights of {LARGE_ENCODER} on this machine", "weights=imagenet downloads them")
            if on_gpu
            else ("no GPU", "encoder=NAME takes another")
        )
        notices.append(
            f"{reason}: the small encoder {taken.encoder} is used (--set train.segmentor.{remedy})"
        )
    if asked.weights == "auto" and taken.weights == "none":
        notices.append(
            f"{taken.encoder} begins with random weights: ImageNet's are not on this machine "
            "(--set train.segmentor.weights=imagenet downloads them where they are published)"
        )
    return notices


def _check_sizes(config: TrainConfig, tile_px: int) -> None:
    if tile_px % TILE_MULTIPLE:
        raise TrainingDataError(
            "the tiles have an unsuitable side",
            found=f"{tile_px} px",
            expected=f"a multiple of {TILE_MULTIPLE}",
            remedy="Tile again with another tiling.tile_px",
        )
    judge = config.discriminator
    halvings = PATCH_LAYERS[judge.receptive_field]
    if judge.kind == "patchgan" and tile_px < 2**halvings * 3:
        raise ConfigError(
            f"a PatchGAN with a receptive field of {judge.receptive_field} px has no room",
            found=f"tiles of {tile_px} px",
            remedy="Take a smaller train.discriminator.receptive_field or larger tiles",
        )


def _check_world(config: TrainConfig, world: int) -> None:
    sampler = config.sampler
    for key in ("batch_size", "unlabelled_batch_size"):
        size = getattr(sampler, key)
        if size % world or size // world < 2:
            raise ConfigError(
                f"train.sampler.{key}",
                found=f"{size} over {world} processes",
                expected="two or more for each process, evenly shared (BatchNorm needs two)",
            )


def _on_gpu(device: Device) -> bool:
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: no CUDA device is available", remedy="Use --device cpu")
    return device != "cpu" and torch.cuda.is_available()


def process_counts(environment: Mapping[str, str]) -> tuple[int, int]:
    """How many processes torchrun or SLURM's srun has started: in all, and on each machine."""
    if "WORLD_SIZE" in environment:
        world = int(environment["WORLD_SIZE"])
        return world, int(environment.get("LOCAL_WORLD_SIZE", world))
    # Of the step, not of the job: inside a batch script without srun there is one process.
    world = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    return world, max(1, world // int(environment.get("SLURM_STEP_NUM_NODES", "1")))


def resolve_precision(config: TrainConfig, *, on_gpu: bool) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    """The precision, with ``auto`` replaced.

    Raises:
        ConfigError: 16-mixed without a GPU: its loss scaling is for GPUs.
    """
    if config.precision == "auto":
        return "bf16-mixed" if computes_bf16(torch.device("cuda" if on_gpu else "cpu")) else "32-true"
    if config.precision == "16-mixed" and not on_gpu:
        raise ConfigError(
            "train.precision", found="16-mixed on a CPU", expected="32-true, bf16-mixed or auto without a GPU"
        )
    return config.precision


def start_fabric(config: TrainConfig, *, on_gpu: bool) -> Fabric:
    """Fabric on this machine; under torchrun or SLURM, over all processes that were started."""
    world, local = process_counts(os.environ)
    # Fabric announces its choices; a run says them in its own words.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=local,
        num_nodes=max(1, world // local),
        strategy="ddp" if world > 1 else "auto",
        precision=resolve_precision(config, on_gpu=on_gpu),
    )
    fabric.launch()
    return fabric
