"""What the training tests share: tiny networks, one thread, no output of Fabric."""

from pathlib import Path

import pytest
from trainstores import fake_store, make_config, write_tiles

from wsiseg.train.data import Pools, make_pools
from wsiseg.train.split import Split


@pytest.fixture(scope="module", autouse=True)
def _calm(one_thread: None) -> None:
    """Every test here runs on one thread."""


@pytest.fixture
def pools() -> Pools:
    """Two slides with labels, one of them for validation, and one without."""
    stores = [fake_store("a"), fake_store("b", seed=1), fake_store("c", seed=2, labelled=False)]
    return make_pools(stores, Split((0, 2), (1,)), make_config().train)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """The same as stores on disk."""
    folder = tmp_path / "tiles"
    write_tiles(folder, "a")
    write_tiles(folder, "b", seed=1)
    write_tiles(folder, "c", seed=2, labelled=False)
    return folder
