"""Who runs the cells: this process, several processes side by side, or a dask cluster.

Each way yields every task as it ends, with the error that ended it or None. Errors that would end every
cell alike (``ConfigError``) are raised instead.
"""

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import Queue
from typing import Any

import torch

from wsiseg.errors import ConfigError, TrainingError, WsisegError
from wsiseg.progress import NullProgress, Progress
from wsiseg.study.work import CellTask, run_cell
from wsiseg.train.prepare import Device

Ended = tuple[CellTask, WsisegError | None]


class CellProgress:
    """Shows what a cell is at as the note of another bar: sixty cells would make two hundred bars.

    Args:
        progress: The bar over all cells.
        name: Of the cell.
    """

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._name = progress, name
        self._phase, self._done, self._total = "", 0, 0

    def start(self, description: str, total: int | None) -> None:
        """Begin a phase of the cell."""
        self._phase, self._done, self._total = description, 0, total or 0
        self.advance(0)

    def advance(self, units: int = 1, note: str | None = None) -> None:
        """Report finished units of the phase."""
        self._done += units
        text = f"{self._name}: {self._phase} {self._done}/{self._total}"
        self._progress.advance(0, text if note is None else f"{text} {note}")


def attempt(task: CellTask, progress: Progress | None = None) -> WsisegError | None:
    """Run a cell; an error of ours is returned, so that the other cells go on."""
    try:
        run_cell(task, progress or NullProgress())
    except WsisegError as err:
        # Their frames hold the networks, whose memory the next cell needs.
        err.__traceback__ = err.__cause__ = err.__context__ = None
        return err
    return None


def run_here(tasks: Sequence[CellTask], progress: Progress) -> Iterator[Ended]:
    """One after the other in this process, with what each is at as a note of the bar.

    Raises:
        ConfigError: The method cannot be configured so.
    """
    for task in tasks:
        yield task, _unless_fatal(attempt(task, CellProgress(progress, task.cell.name)))


def run_in_processes(tasks: Sequence[CellTask], count: int) -> Iterator[Ended]:
    """Side by side in ``count`` processes, each with a GPU of its own as far as there are any.

    Raises:
        ConfigError: The method cannot be configured so.
        TrainingError: A process was killed.
    """
    context = multiprocessing.get_context("spawn")
    numbers: Queue[int] = context.Queue()
    for number in range(count):
        numbers.put(number)
    device = tasks[0].place.device
    pool = ProcessPoolExecutor(count, context, initializer=enter_process, initargs=(numbers, count, device))
    try:
        waiting = {pool.submit(attempt, task): task for task in tasks}
        for future in as_completed(waiting):
            yield waiting[future], _unless_fatal(future.result())
    except BrokenProcessPool as err:
        raise TrainingError(
            "a process of the study was killed, perhaps for want of memory",
            remedy="Finished cells are kept; go on with fewer --devices",
        ) from err
    finally:
        pool.shutdown(cancel_futures=True)


def run_on_cluster(tasks: Sequence[CellTask], address: str) -> Iterator[Ended]:
    """On the workers of a dask scheduler, which must see the same files under the same paths.

    Raises:
        ConfigError: dask.distributed is not installed, there is no scheduler, or the method cannot be
            configured so.
        TrainingError: A worker was lost.
    """
    distributed = _distributed()
    try:
        client = distributed.Client(address, timeout=10)
    except (OSError, ValueError) as err:
        raise ConfigError(f"--scheduler {address}: no dask scheduler answers there") from err
    with client:
        waiting = {client.submit(attempt, task, pure=False): task for task in tasks}
        for future in distributed.as_completed(waiting):
            if future.status == "error":
                raise TrainingError(f"a worker of {address} failed: {future.exception()}")
            yield waiting[future], _unless_fatal(future.result())


def _distributed() -> Any:
    try:
        import distributed  # noqa: PLC0415 - an optional extra: most studies run on one machine
    except ImportError as err:
        raise ConfigError(
            "--scheduler needs dask.distributed", remedy="Install it: pip install 'wsiseg[cluster]'"
        ) from err
    return distributed


def _unless_fatal(error: WsisegError | None) -> WsisegError | None:
    if isinstance(error, ConfigError):
        raise error
    return error


def enter_process(numbers: "Queue[int]", count: int, device: Device = "auto") -> None:
    """Take a GPU, or a share of the cores; end when the parent is gone, even if it was killed."""
    number = numbers.get()
    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    if gpus:
        # Read before the first use of CUDA, which comes with the first cell. Of the GPUs that this machine's
        # scheduler has allotted, not of all.
        allotted = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = allotted[number % gpus]
    else:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), _cores() // count)))
    threading.Thread(target=_follow_parent, daemon=True).start()


def _cores() -> int:
    """Cores that this process may use: a scheduler, or a container, may have set fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # A killed parent leaves workers waiting for ever on a queue that nobody fills.
        os._exit(1)
