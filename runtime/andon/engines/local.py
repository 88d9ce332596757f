"""Run items in processes of this machine.

``concurrent.futures.ProcessPoolExecutor`` is not used: one dead worker ends the whole pool and with it every item in flight, so
items that did nothing wrong would lose tries. Here each worker has its own pipe, and its death concerns its own item only.
"""

import math
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from andon.engines.engine import RETRIES, Result, UnfitWorkerError

T = TypeVar("T")
R = TypeVar("R")


class LocalEngine:
    """An `andon.engines.engine.Engine` of spawned processes. Make one with `opened`.

    A program that uses it needs ``if __name__ == "__main__":`` around its main part, because a spawned process imports the
    program's file. If the program is killed, its workers finish their items and end.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    @classmethod
    @contextmanager
    def opened(cls, *, workers: int | None = None, cpus: float = 1) -> Iterator["LocalEngine"]:
        """Yield the engine. Its processes start with the first items and end with the last ones."""
        yield cls(max(1, math.floor(usable_cpus() / cpus)) if workers is None else workers)

    def map_unordered(
        self,
        fn: Callable[[T], R],
        items: Iterable[T],
        *,
        cpus: float = 1,  # noqa: ARG002 - the number of workers has it already
        gpus: float = 0,  # noqa: ARG002 - the processes share all GPUs
        retries: int = RETRIES,
    ) -> Iterator[Result[T, R]]:
        """Yield one result for each item, see `andon.engines.engine.Engine`. `cpus` and `gpus` have no effect."""
        again: deque[tuple[T, int]] = deque()
        new = ((item, 1) for item in items)
        idle: list[_Worker] = []
        busy: dict[Any, tuple[_Worker, T, int]] = {}
        try:
            while True:
                while len(busy) < self.workers and (one := _next(new, again)) is not None:
                    worker = idle.pop() if idle else _Worker(fn)
                    worker.send(one[0])
                    busy[worker.pipe] = worker, *one
                if not busy:
                    return
                for ready in wait(list(busy)):
                    worker, item, tries = busy.pop(ready)
                    answer = worker.answer()
                    if answer is not None:
                        idle.append(worker)
                        value, reason, unfit = answer
                        if not unfit:
                            yield Result(item=item, value=value, error=reason)
                            continue
                    else:
                        reason = f"its worker died (exit code {worker.end()})"
                    if tries <= retries:
                        again.append((item, tries + 1))
                    else:
                        yield Result(item=item, error=f"given up after {tries} tries: {reason}", poisoned=True)
        finally:
            for worker in [*idle, *(worker for worker, _, _ in busy.values())]:
                worker.end()


def _next(new: Iterator[tuple[T, int]], again: deque[tuple[T, int]]) -> tuple[T, int] | None:
    """Return an item and the number of its try. New items are first: an item should not meet the same cause at once."""
    one = next(new, None)
    return one if one is not None else again.popleft() if again else None


class _Worker:
    """A process that calls the function for one item after the other."""

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy threads and sessions in an unknown state
        self.pipe, child = context.Pipe()
        # daemon: it ends with this program even if the iterator was never closed
        self._process = context.Process(target=_serve, args=(child, fn), daemon=True)
        self._process.start()
        child.close()  # only the child may hold it: its death must end the pipe

    def send(self, item: object) -> None:
        """Give the process its next item. If it is dead, the next read from the pipe reports that."""
        with suppress(BrokenPipeError):
            self.pipe.send(item)

    def answer(self) -> tuple[Any, str, bool] | None:
        """Return the answer to the last item, or None if the process died instead."""
        try:
            answer: tuple[Any, str, bool] = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return answer

    def end(self) -> int | None:
        """Kill the process and return its exit code."""
        self._process.kill()
        self._process.join()
        self.pipe.close()
        return self._process.exitcode


def _serve(pipe: Connection, fn: Callable[[Any], Any]) -> None:
    """Answer each item with ``(value, error, unfit)`` until the other end is closed, also by the death of its process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent decides
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        answer: tuple[Any, str, bool]
        try:
            answer = fn(item), "", False
        except UnfitWorkerError as error:
            answer = None, str(error), True
        except Exception as error:  # noqa: BLE001 - one item must not end the others
            answer = None, f"{type(error).__name__}: {error}", False
        try:
            pipe.send(answer)
        except (BrokenPipeError, ConnectionResetError):
            return


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
