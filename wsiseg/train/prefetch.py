"""Batches made ahead of time, so that loading and augmentation hide behind the networks."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """Calls ``make(index)`` for rising indices in threads and hands out the results in order.

    Threads suffice: decoding, array work and torch operations all release the interpreter lock. An
    exception in ``make`` comes out of the ``get`` of its own index.

    Args:
        make: What to call.
        start: First index.
        stop: One past the last index.
        workers: Threads.
    """

    def __init__(self, make: Callable[[int], T], start: int, stop: int, *, workers: int = 1) -> None:
        self._make = make
        self._next = start
        self._stop = stop
        self._pool = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="tiles")
        self._waiting: deque[Future[T]] = deque()
        for _ in range(max(1, workers) + 1):
            self._order_one()

    def _order_one(self) -> None:
        if self._next < self._stop:
            self._waiting.append(self._pool.submit(self._make, self._next))
            self._next += 1

    def get(self) -> T:
        """The result of the next index; ``IndexError`` past the last."""
        future = self._waiting.popleft()
        self._order_one()
        return future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
