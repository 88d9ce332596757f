"""State what an engine does, and open one by its name.

>>> with open_engine("local", workers=2) as engine:                                  # doctest: +SKIP
...     with closing(engine.map_unordered(score_block, blocks, retries=2)) as results:
...         for result in results:
...             print(result.item, result.value if result.done else result.error)
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Generic, Literal, Protocol, TypeVar, get_args

from msgspec import Struct

from andon.foundation.errors import AndonError, ConfigError

T = TypeVar("T")
R = TypeVar("R")

EngineName = Literal["local", "ray"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)

RETRIES = 2
"""Number of further tries of an item whose worker died. An item that ends three workers is poisoned."""


MOST_PER_CPU = 32
"""Processes of this machine for each CPU. Each has its own interpreter and session, so thousands would take all memory."""


class UnfitWorkerError(AndonError):
    """This worker must not do the work, although another one can, for example because its processor computes other scores.

    An engine tries the item again, as if the worker had died.
    """


class Result(Struct, Generic[T, R], frozen=True, kw_only=True):
    """Outcome of one item. Either the function returned, or the item is given up with an error."""

    item: T
    value: R | None = None
    error: str = ""
    """Reason why there is no value. Empty if the function returned."""
    poisoned: bool = False
    """True if the item ended each of its workers. False if the function raised an exception."""

    @property
    def done(self) -> bool:
        """True if the function returned."""
        return not self.error


class Engine(Protocol):
    """Runs a function over items, on as many workers as it has, and survives the death of workers."""

    workers: int
    """Number of items that run at the same time."""

    def map_unordered(
        self,
        fn: Callable[[T], R],
        items: Iterable[T],
        *,
        cpus: float = 1,
        gpus: float = 0,
        retries: int = RETRIES,
    ) -> Iterator[Result[T, R]]:
        """Yield one result for each item, in the order in which they finish.

        Items are taken from the iterable when a worker is free, so it may be long and lazy. Close the iterator to stop early
        (``contextlib.closing``): running items are then abandoned.

        Args:
            fn: a function that other processes can import by its name, or a `functools.partial` of one. Its arguments are small
                and can be pickled: paths and digests, never the bytes of a model or a session. It must be idempotent. An item
                runs again if its worker dies, even if the work was done and not yet reported. An exception is a result
                with an error. It is not tried again, except `UnfitWorkerError`. A session that each item needs belongs into
                a global of the function's module, because a worker keeps it.
            items: arguments of the function, small and picklable.
            cpus: CPUs that one item needs. Fractions only have a meaning for Ray.
            gpus: GPUs that one item needs. Ray only; it is bookkeeping and does not limit the memory of the GPU.
            retries: further tries of an item whose worker died.
        """
        ...


def open_engine(
    name: str, *, workers: int | None = None, cpus: float = 1, address: str | None = None
) -> AbstractContextManager[Engine]:
    """Open an engine. At its end it stops what it started.

    Args:
        name: ``local``: processes of this machine. ``ray``: a Ray cluster, or Ray on this machine without `address`.
        workers: number of items that run at the same time. None: as many as there are CPUs, divided by `cpus`.
        cpus: CPUs that one item needs, for the default of `workers`.
        address: address of a Ray cluster, for example ``auto`` or ``head:6379``.

    Raises:
        ConfigError: the engine does not exist, there are too many workers, an address is given to ``local``, or the cluster
            cannot be reached.
        MissingExtra: Ray is not installed.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers: expected an integer of at least 1, got {workers}. Example: --workers 2.")
    if name == "local":
        if address is not None:
            raise ConfigError(
                f"--address: expected it together with --engine ray, got {address!r} for the local engine. Add --engine ray, "
                "or leave --address out."
            )
        from andon.engines.local import LocalEngine, usable_cpus

        most = MOST_PER_CPU * usable_cpus()
        if workers is not None and workers > most:
            raise ConfigError(
                f"workers: expected at most {most} processes on this machine, {MOST_PER_CPU} for each CPU, got {workers}. Leave "
                "the number out, or use a cluster with --engine ray."
            )
        return LocalEngine.opened(workers=workers, cpus=cpus)
    if name == "ray":
        from andon.engines.ray import RayEngine

        return RayEngine.opened(workers=workers, cpus=cpus, address=address)
    raise ConfigError(f"engine: expected {' or '.join(ENGINES)}, got {name!r}.")
