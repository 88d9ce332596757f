"""Run items as tasks of Ray, on this machine or on a cluster.

Items are descriptions of work and results are short, so no data travel through Ray. A task keeps the process of the task before
it, with the session that is open there. Tasks instead of actors: an actor has its own limit of restarts, and all of its waiting
calls lose a try when it dies. Ray Data is not used, because it costs 84 ms a block instead of 24 ms (measured).
"""

import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from andon.engines.engine import RETRIES, Result, UnfitWorkerError
from andon.engines.scratch_folder import scratch_folder
from andon.foundation.errors import ConfigError
from andon.foundation.extras import needs

T = TypeVar("T")
R = TypeVar("R")

_STORE_BYTES = 100 << 20
"""Size of Ray's object store if this process starts Ray. Ray's default is 30 % of the memory."""
_PREFIX = "andon-ray-"
_PARENT = Path("/tmp") if os.name == "posix" else None  # noqa: S108 - only this user may enter the folder
"""Place for the folder with the sockets and log files of Ray.

Paths of sockets have at most 107 bytes, so the folder is not in a long ``TMPDIR``. Ray's own default is ``/tmp``, too.
"""
_CONNECT_S = 10.0
"""Time to wait for the head of a cluster."""


class RayEngine:
    """An `andon.engines.engine.Engine` on Ray. Make one with `opened`."""

    def __init__(self, ray: Any, workers: int) -> None:
        self._ray = ray
        self.workers = workers

    @classmethod
    @contextmanager
    def opened(
        cls, *, workers: int | None = None, cpus: float = 1, address: str | None = None
    ) -> Iterator["RayEngine"]:
        """Connect to a cluster, or start Ray on this machine if there is no address, and yield the engine.

        Ray that is started here has no dashboard, sends no usage reports, and ends with this process. On a cluster, nothing is
        changed. A connection that the program already has is used and kept.

        Raises:
            ConfigError: the cluster cannot be reached.
            MissingExtra: Ray is not installed.
        """
        # both are read at the import of Ray
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # otherwise Ray warns about a change to come
        with needs("cluster", "--engine ray"):
            import ray
        if address is not None:
            _require_server(address)
        if ray.is_initialized():
            yield cls(ray, workers or cls._fitting(ray, cpus))
            return
        with ExitStack() as stack:
            start: dict[str, Any] = {"address": address}
            if address is None:
                start = {
                    "address": "local",  # without it, Ray would follow the variable RAY_ADDRESS
                    "include_dashboard": False,
                    "object_store_memory": _STORE_BYTES,
                    "num_cpus": None if workers is None else max(1, round(workers * cpus)),
                    # Ray opens its folder to all users. Only this user may enter the one around it
                    "_temp_dir": str(stack.enter_context(scratch_folder(_PREFIX, _PARENT)) / "r"),
                }
            stack.callback(ray.shutdown)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about changes in future versions, which the extra excludes
                try:
                    ray.init(**start, log_to_driver=False, logging_level=logging.ERROR)
                except (ConnectionError, OSError, RuntimeError, ValueError, ImportError) as error:
                    if address is None:
                        raise
                    raise _no_cluster(address, error) from error
            yield cls(ray, workers or cls._fitting(ray, cpus))

    @staticmethod
    def _fitting(ray: Any, cpus: float) -> int:
        return max(1, int(ray.cluster_resources().get("CPU", 1) / cpus))

    def map_unordered(
        self,
        fn: Callable[[T], R],
        items: Iterable[T],
        *,
        cpus: float = 1,
        gpus: float = 0,
        retries: int = RETRIES,
    ) -> Iterator[Result[T, R]]:
        """Yield one result for each item, see `andon.engines.engine.Engine`."""
        ray = self._ray

        def task(item: T) -> R:
            return fn(item)

        call = ray.remote(
            num_cpus=cpus,
            num_gpus=gpus,
            max_retries=retries,
            retry_exceptions=[UnfitWorkerError],
            max_calls=0,  # the default for tasks with a GPU is 1: each would open its session again
        )(task)
        waiting = iter(items)
        running: dict[Any, T] = {}
        try:
            while True:
                # no more than can run: a task that waits would not be taken by a faster node
                while len(running) < self.workers:
                    try:
                        item = next(waiting)
                    except StopIteration:
                        break
                    running[call.remote(item)] = item
                if not running:
                    return
                ready, _ = ray.wait(list(running), num_returns=1)
                for ref in ready:
                    yield _result(ray, running.pop(ref), ref, retries)
        finally:
            for ref in running:
                ray.cancel(ref, force=True)


def _require_server(address: str) -> None:
    """Refuse ``host:port`` if nothing listens there. Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "://" not in address:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split()).rstrip(".")[:300]
    return ConfigError(
        f"--address: expected the address of a Ray cluster that runs, got {address!r}: {reason}. Example: --address auto on a "
        "node of the cluster, or --address head:6379."
    )


def _result(ray: Any, item: T, ref: Any, retries: int) -> Result[T, Any]:
    try:
        return Result(item=item, value=ray.get(ref))
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, UnfitWorkerError):
            return Result(item=item, error=f"given up after {retries + 1} tries: {cause}", poisoned=True)
        return Result(item=item, error=f"{type(cause).__name__}: {cause}")
    except ray.exceptions.RayError as error:  # its worker or its node died
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        return Result(item=item, error=f"given up after {retries + 1} tries: {reason}", poisoned=True)
