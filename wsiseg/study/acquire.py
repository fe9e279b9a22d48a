"""A round of active learning, simulated: which hidden tiles a model would have annotated next.

The pool, the budget and the training afterwards are the same for every criterion, so that what differs in
the end is the choice alone (Settles, Active Learning Literature Survey, 2009: pool-based sampling with
uncertainty; the discriminator in the place of the uncertainty).
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from wsiseg.config.study import Criterion
from wsiseg.config.training import TrainConfig
from wsiseg.model.checkpoint import TrainedModel
from wsiseg.model.losses import as_shown, entropy_map
from wsiseg.progress import Progress
from wsiseg.study.judge import learns_right, score_map
from wsiseg.tilestore import TileStore
from wsiseg.train.data import Pool, make_pools
from wsiseg.train.sampler import generator
from wsiseg.train.split import split_stores

Choice = dict[str, list[int]]
"""Name of a slide -> positions of tiles in its store."""

_BATCH = 4


def labelled_tiles(stores: Sequence[TileStore], train: TrainConfig) -> int:
    """Labelled tiles that a run could learn from if none were hidden."""
    return sum(int(stores[s].labelled.sum()) for s in split_stores(stores, train.split, train.seed).training)


def propose(
    model: TrainedModel, stores: Sequence[TileStore], counts: Sequence[int], *, progress: Progress
) -> dict[str, dict[Criterion, Choice]]:
    """Choose, by each criterion, among the tiles whose labels a run hid from its model; labels are not seen.

    Args:
        model: What the run ended with.
        stores: Those it learnt from.
        counts: How many tiles to choose; all that were hidden where there are fewer.
        progress: Told of every tile.

    Returns:
        Count, as text -> criterion -> the tiles. Without a discriminator that learnt where the segmentor is
        right there is no such criterion.

    Raises:
        StoreError: A tile cannot be read.
    """
    pool = _hidden(stores, model.config.train)
    ranks = {name: np.argsort(-score, kind="stable") for name, score in _score(model, pool, progress).items()}
    return {
        str(count): {name: _by_slide(pool, rank[:count]) for name, rank in ranks.items()} for count in counts
    }


def _hidden(stores: Sequence[TileStore], train: TrainConfig) -> Pool:
    """Tiles that have labels and were learnt from without them."""
    unlabelled = make_pools(stores, split_stores(stores, train.split, train.seed), train).unlabelled
    hidden = [bool(stores[s].labelled[t]) for s, t in unlabelled.places.tolist()]
    return Pool(unlabelled.stores, unlabelled.places[np.array(hidden, dtype=bool)])


def _score(model: TrainedModel, pool: Pool, progress: Progress) -> dict[Criterion, NDArray[np.float64]]:
    """What each criterion makes of each tile; the highest are annotated first."""
    asked = model.discriminator if learns_right(model.config.train) else None
    progress.start("ranking", len(pool))
    entropy, suspicion = [np.zeros(0)], [np.zeros(0)]
    for start in range(0, len(pool), _BATCH):
        positions = range(start, min(start + _BATCH, len(pool)))
        image_NCHW = model.normalise(pool.images(list(positions)))
        with torch.no_grad():
            soft_NKHW = model.segmentor(image_NCHW).float().softmax(dim=1)
        entropy.append(entropy_map(soft_NKHW).mean(dim=(1, 2)).double().cpu().numpy())
        if asked is not None:
            verdict_NHW = score_map(asked, image_NCHW, as_shown(soft_NKHW, asked.config))
            suspicion.append((1 - verdict_NHW).mean(dim=(1, 2)).double().cpu().numpy())
        progress.advance(len(positions))
    found: dict[Criterion, NDArray[np.float64]] = {
        "random": generator(model.config.train.seed, "acquire").random(len(pool)),
        "entropy": np.concatenate(entropy),
    }
    if asked is not None:
        found["discriminator"] = np.concatenate(suspicion)
    return found


def _by_slide(pool: Pool, chosen: NDArray[np.int64]) -> Choice:
    found: Choice = {}
    for s, tile in sorted(pool.places[chosen].tolist()):
        found.setdefault(pool.stores[s].name, []).append(tile)
    return found
