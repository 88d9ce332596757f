"""Share one loaded model file between the threads of many cameras, so that the device judges their frames in batches.

`micro_batching` decides, and this module has the thread, the lock and the clock.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from andon.foundation.errors import ConfigError, JudgeError
from andon.runtime.detector import Detector
from andon.runtime.micro_batching import Batch, BatchRule, MicroBatcher
from andon.runtime.schema import Reason
from andon.runtime.verdict import Verdict, invalid

LONGEST_WAIT_S = 1.0
"""The worker looks at the clock at least this often. A condition cannot wait for an unlimited time on every platform."""


class _Request(NamedTuple):
    item: NDArray[Any]
    future: "Future[Verdict]"
    due_s: float


class SharedDetector:
    """Judge the frames of many threads with one detector, in batches with a deadline.

    One thread of its own calls the detector. Any number of threads submit frames. Each submitted frame gets exactly one answer:
    a verdict, an INVALID verdict with the reason ``late``, or an error.

    Example:
        >>> with SharedDetector(Detector.load("caps.onnx", device="cuda")) as shared:     # doctest: +SKIP
        ...     verdict = shared.submit(frame, deadline_s=0.04).result()
    """

    def __init__(
        self,
        detector: Detector,
        *,
        rule: BatchRule | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread.

        Args:
            detector: a loaded model file. Other threads may still call it directly.
            rule: limits of the batches. By default up to 32 frames, which wait at most 2 ms for each other. Batches are
                padded on a GPU, and not on the CPU, where each frame of the padding costs as much as any other.
            clock: monotonic seconds.
        """
        self.detector = detector
        self._clock = clock
        self._batcher: MicroBatcher[_Request] = MicroBatcher(rule or BatchRule(pad=detector.device != "cpu"))
        self._changed = threading.Condition()
        self._closed = False
        self._failure: BaseException | None = None
        self._taken: tuple[_Request, ...] = ()
        """The frames of this turn."""
        self._thread = threading.Thread(target=self._run, name="andon-shared-detector", daemon=True)
        self._thread.start()

    def submit(self, item: NDArray[Any], *, deadline_s: float | None = None) -> "Future[Verdict]":
        """Queue a frame or window, and return the future of its verdict.

        Do not change the array before the verdict is there. It is not copied.

        Args:
            item: as for `Detector`. Items of the same shape share batches.
            deadline_s: longest time until the verdict, in seconds from now. A frame without a verdict until then is INVALID with
                the reason ``late``. None means no limit.

        Returns:
            A future. It raises `JudgeError` or `DeviceError` if the device failed, as `Detector` does.

        Raises:
            InputError: the detector cannot judge this item.
            JudgeError: the shared detector is closed.
            ConfigError: `deadline_s` is not above 0.
        """
        if deadline_s is not None and not deadline_s > 0:
            raise ConfigError(f"deadline_s: expected seconds > 0 or None, got {deadline_s!r}. Example: 0.04.")
        checked = self.detector.check(item)
        future: Future[Verdict] = Future()
        with self._changed:
            if self._closed:
                raise JudgeError(
                    "the shared detector is closed: expected no further frames. Stop the threads of the cameras first."
                ) from self._failure
            now_s = self._clock()
            due_s = float("inf") if deadline_s is None else now_s + deadline_s
            self._batcher.offer(_Request(checked, future, due_s), now_s, group=checked.shape, due_s=due_s)
            self._changed.notify()
        return future

    def __call__(self, item: NDArray[Any], *, deadline_s: float | None = None) -> Verdict:
        """Submit a frame or window, wait, and return its verdict. Arguments and errors are those of `submit`."""
        return self.submit(item, deadline_s=deadline_s).result()

    def warm_up(self, item: NDArray[Any]) -> dict[int, float]:
        """Judge an item in batches of 1, 2, 4, 8 ... items, so that a GPU has prepared them before the first real frame.

        Call it before the cameras start, once for each shape. The measured times are the first estimate of the policy.

        Returns:
            Seconds by size of the batch, of the second call of each.
        """
        taken: dict[int, float] = {}
        rule = self._batcher.rule
        for size in sorted({1 << power for power in range(rule.max_batch.bit_length())} | {rule.max_batch}):
            for _ in range(2):
                began_s = self._clock()
                self.detector.batch([item] * size)
                taken[size] = self._clock() - began_s
            with self._changed:
                self._batcher.cost.add(size, taken[size])
        return taken

    def close(self) -> None:
        """Judge the frames that wait, and end the thread. Later frames are refused. A second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> "SharedDetector":
        """Return the object itself."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        """Call `close`."""
        self.close()

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # noqa: BLE001 - a caller must never wait for a thread that has ended
            self._failure = error
        with self._changed:
            self._closed = True
            waiting = self._batcher.take_all()
        for request in (*self._taken, *waiting):
            _fail(request, JudgeError(f"the thread of the shared detector has ended: {self._failure!r}"))

    def _turn(self) -> bool:
        """Judge one batch, or wait for one. Return False after the last one of a closed detector."""
        with self._changed:
            now_s = self._clock()
            step = self._batcher.next_batch(now_s, flush=self._closed)
            if step.batch is None and not step.late:
                if self._closed:
                    return False
                wait_s = LONGEST_WAIT_S if step.wake_at_s is None else step.wake_at_s - now_s
                self._changed.wait(min(max(wait_s, 0.0), LONGEST_WAIT_S))
                return True
        self._taken = (*step.late, *(step.batch.items if step.batch is not None else ()))
        for request in step.late:
            self._answer(request, self._late())
        if step.batch is not None:
            self._judge(step.batch)
        return True

    def _judge(self, batch: Batch[_Request]) -> None:
        # a caller may have given up
        requests = [one for one in batch.items if one.future.set_running_or_notify_cancel()]
        if not requests:
            return
        items = [one.item for one in requests]
        items += [items[-1]] * (self._batcher.rule.bucket(len(items)) - len(items))
        began_s = self._clock()
        try:
            verdicts = self.detector.batch(items)[: len(requests)]
        except BaseException as error:
            for request in requests:
                request.future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        ended_s = self._clock()
        with self._changed:
            self._batcher.cost.add(len(items), ended_s - began_s)
        for request, verdict in zip(requests, verdicts, strict=True):
            request.future.set_result(verdict if ended_s <= request.due_s else self._late())

    def _late(self) -> Verdict:
        return invalid(Reason.LATE, threshold=self.detector.threshold, model=self.detector.model.short_digest)

    def _answer(self, request: _Request, verdict: Verdict) -> None:
        if request.future.set_running_or_notify_cancel():
            request.future.set_result(verdict)


def _fail(request: _Request, error: Exception) -> None:
    # a callback of a future may end the thread, for example with `sys.exit`. The other futures must have an answer all the same
    with contextlib.suppress(BaseException):
        if not request.future.done() and (request.future.running() or request.future.set_running_or_notify_cancel()):
            request.future.set_exception(error)
