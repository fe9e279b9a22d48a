"""Work in a child process that has everything imported already."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.context import ForkProcess

import pytest
import torch

FORKING = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def fork(target: Callable[[], object]) -> ForkProcess:
    """Start ``target`` in a child process, on one thread."""

    def run() -> None:
        torch.set_num_threads(1)
        target()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process
