"""An engine without processes: the contract of `Engine` in ten lines, for tests of what is above it."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from andon.engines.engine import RETRIES, Result, UnfitWorkerError

T = TypeVar("T")
R = TypeVar("R")


class OneProcess:
    """Runs each item in this process, when its result is asked for."""

    workers = 1

    def map_unordered(
        self,
        fn: Callable[[T], R],
        items: Iterable[T],
        *,
        cpus: float = 1,
        gpus: float = 0,
        retries: int = RETRIES,
    ) -> Iterator[Result[T, R]]:
        for item in items:
            try:
                yield Result(item=item, value=fn(item))
            except UnfitWorkerError as error:
                yield Result(item=item, error=str(error), poisoned=True)
