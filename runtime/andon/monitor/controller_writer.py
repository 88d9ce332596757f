"""Write the images of some lines to one controller, in a thread of its own.

A controller that is away, slow or hung delays no judge and no other controller. Results are written in order. A result that is
too old is dropped: a controller must never take an old result for that of the next part. The state of the lines and the heartbeat
are written at least every `ControllerTiming.every_s`. When they stop, the controller treats the lines as not ready.
"""

import logging
import math
import random
import threading
import traceback
from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

from msgspec import structs

from andon.foundation.printable import printable
from andon.monitor.alarms import AlarmState
from andon.monitor.controller_kind import Controller, ControllerFailed, ControllerTiming
from andon.monitor.event import AlarmChanged, Body
from andon.monitor.fault_alarm import FaultAlarm
from andon.monitor.process_image import LineResult, with_state
from andon.monitor.result_queue import ResultQueue
from andon.monitor.retry import Backoff, Breaker
from andon.monitor.status import ControllerStatus, ProcessStatus
from andon.sources.clock import Clock

logger = logging.getLogger(__name__)

T = TypeVar("T")

BACKOFF = Backoff(first_s=0.25, cap_s=2.0)
"""Limits of the pauses between two connections."""
SHORTEST_PAUSE_S = 0.1
"""Shortest pause between two connections."""
ACKNOWLEDGE_LOOK_S = 0.05
"""Time between two looks whether the controller has acknowledged a result, while the next one waits."""
CLOSING_S = 0.5
"""Part of the time at the end that is kept for a call that runs and for closing the connection."""
LONGEST_CALL_S = 10.0
"""A call of a controller that runs longer is reported as hung. Controllers have time-outs of their own."""


class ControllerWriter:
    """See the module.

    Args:
        name: name of the controller in the configuration.
        kind: its kind, for the status.
        controller: the opened controller.
        lines: names of the lines that it shows.
        timing: settings of all controllers.
        clock: for all times.
        status: returns the present state of all lines.
        record: takes the changes of the alarm for each line. It is fast and never raises.
        rng: source of the jitter.
        longest_call_s: see `LONGEST_CALL_S`.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        controller: Controller,
        *,
        lines: Collection[str],
        timing: ControllerTiming,
        clock: Clock,
        status: Callable[[], ProcessStatus],
        record: Callable[[str, Body], None] = lambda _line, _body: None,
        rng: random.Random | None = None,
        longest_call_s: float = LONGEST_CALL_S,
    ) -> None:
        self.name = name
        self.lines = tuple(lines)
        self._kind = kind
        self._controller = controller
        self._timing = timing
        self._clock = clock
        self._process = status
        self._record = record
        self._longest_call_s = longest_call_s
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._alarm = FaultAlarm(f"controller {name}", clock, self._note)
        # a latch: the parts of these results were not sorted, and a person must look for them
        self._lost_results = FaultAlarm(f"results {name}", clock, self._note, latch=True)
        self._late = 0
        """Number of late results of which `_lost_results` knows."""
        self._changed = threading.Condition()  # guards the queues and the stop
        self._queues = {line: ResultQueue(line, timing.max_age_s) for line in self.lines}
        self._stop_by_s: float | None = None
        self._heartbeats = dict.fromkeys(self.lines, 0)
        self._next_s = dict.fromkeys(self.lines, -math.inf)
        """Times at which the states of the lines are due."""
        self._looked_s = -math.inf
        self._connected = False
        self._breaker = Breaker()
        self._confirmed_s: float | None = None
        self._failing = ""
        self._busy_since_s: float | None = None
        self._overdue = False
        self._thread = threading.Thread(target=self._run, name=f"andon controller {name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, line: str, result: LineResult) -> None:
        """Add a result of a line. It returns at once, and may be called from any thread."""
        queue = self._queues.get(line)
        if queue is None:
            return
        with self._changed:
            queue.add(result)
            self._changed.notify_all()

    def look(self) -> None:
        """Report a call of the controller that does not return. Call it regularly from another thread."""
        since_s = self._busy_since_s
        busy_s = 0.0 if since_s is None else self._clock.mono_s() - since_s
        if busy_s > self._longest_call_s and not self._overdue:
            self._overdue = True
            self._failed(f"a call has not returned within {self._longest_call_s:g} s")

    def stop(self, timeout_s: float = 2.0) -> None:
        """Begin to end within `timeout_s`, and return at once. See `close`."""
        with self._changed:
            if self._stop_by_s is None:
                self._stop_by_s = self._clock.mono_s() + timeout_s
            self._changed.notify_all()

    def close(self, timeout_s: float = 2.0) -> bool:
        """Write that no line is ready and the last results, if the controller answers, and end within `timeout_s`.

        Returns:
            False if the thread still runs, because a call of the controller has not returned.
        """
        self.stop(timeout_s)
        if self._thread.ident is None:
            self._close_controller()
            return True
        if self._stop_by_s is not None:  # an earlier `stop` counts
            timeout_s = self._stop_by_s - self._clock.mono_s()
        self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    @property
    def hung(self) -> bool:
        """True if the thread still runs. After `close`, a call of the controller has then not returned."""
        return self._thread.is_alive()

    @property
    def alarms(self) -> dict[str, AlarmState]:
        """The states of the alarms about the controller, and about results that it did not get although it is there."""
        return {alarm.name: alarm.state for alarm in (self._alarm, self._lost_results)}

    def acknowledge(self, alarm: str, number: int, by: str) -> bool:
        """Acknowledge an alarm of `alarms` on all lines. Return True if it was acknowledged now."""
        return any(one.acknowledge(number, by) for one in (self._alarm, self._lost_results) if one.name == alarm)

    def status(self) -> ControllerStatus:
        """Return the state. It may be called from any thread."""
        with self._changed:
            queues = self._queues.values()
            return ControllerStatus(
                name=self.name,
                kind=self._kind,
                lines=self.lines,
                connected=self._connected and not self._overdue,
                written=sum(queue.written for queue in queues),
                late=sum(queue.late for queue in queues),
                longest_s=max((queue.longest_s for queue in queues), default=0.0),
                confirmed_s=self._confirmed_s,
                failing=self._failing,
            )

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while self._pause():
            try:
                if not self._connected:
                    self._call(self._controller.connect)
                    self._connected = True
                    self._next_s = dict.fromkeys(self.lines, -math.inf)  # the new connection knows nothing
                    self._late = self._counted_late()  # reported by the other alarm
                self._turn()
            except Exception as error:  # noqa: BLE001 - no error of a controller ends its thread
                self._lost(error)
        self._end()

    def _pause(self) -> bool:
        """Wait until there is something to do. Return False after a stop."""
        with self._changed:
            while self._stop_by_s is None:
                now_s = self._clock.mono_s()
                if not self._connected:
                    wait_s = self._breaker.until_s - now_s
                    self._drop_late(now_s)
                else:
                    wait_s = self._work_s(now_s) - now_s
                if wait_s <= 0:
                    return True
                self._changed.wait(wait_s if self._connected else min(wait_s, self._timing.every_s))
        return False

    def _work_s(self, now_s: float) -> float:
        """Return the time of the next work on a connection. It may have passed."""
        times_s = list(self._next_s.values())
        for queue in self._queues.values():
            queue.drop_late(now_s)
            due_s = queue.due_s(now_s)
            if due_s is not None:
                times_s.append(now_s)
            elif queue.asks:
                times_s.append(self._looked_s + ACKNOWLEDGE_LOOK_S)
        return min(times_s)

    def _drop_late(self, now_s: float) -> None:
        for queue in self._queues.values():
            queue.drop_late(now_s)

    def _turn(self) -> None:
        """Ask for acknowledgements, then write the image of one line, if one is due."""
        now_s = self._clock.mono_s()
        self._ask(now_s)
        line = self._chosen(now_s)
        if line is not None:
            self._write(line)

    def _ask(self, now_s: float) -> None:
        """Ask whether the controller has acknowledged the last results of the lines on which another result waits."""
        if now_s - self._looked_s < ACKNOWLEDGE_LOOK_S:
            return
        with self._changed:
            asking = [line for line, queue in self._queues.items() if queue.asks]
        if asking:
            self._looked_s = now_s
        for line in asking:
            number = self._call(partial(self._controller.acknowledged, line))
            with self._changed:
                self._queues[line].hear(number)

    def _chosen(self, now_s: float) -> str | None:
        """Return the line to write now: that of the oldest result, unless the state of a line is overdue. None if none is due."""
        with self._changed:
            # a state may wait for results, but only for a second period: the controller would take the line as dead
            due = [(at_s + self._timing.every_s, line) for line, at_s in self._next_s.items() if at_s <= now_s]
            due += [(at_s, line) for line, queue in self._queues.items() if (at_s := queue.due_s(now_s)) is not None]
        return min(due)[1] if due else None

    def _write(self, line: str, *, ending: bool = False) -> None:
        queue = self._queues[line]
        with self._changed:
            shown = queue.next_image(self._clock.mono_s())
        self._heartbeats[line] += 1
        image = with_state(shown, self._process(), heartbeat=self._heartbeats[line])
        if ending:
            image = structs.replace(image, ready=False)
        self._call(partial(self._controller.write, image))
        now_s = self._clock.mono_s()
        with self._changed:
            written = queue.written
            queue.confirmed(shown, now_s)
            taken = queue.written > written and queue.taken
        self._next_s[line] = now_s + self._timing.every_s
        self._confirmed_s, self._looked_s = now_s, -math.inf
        self._worked()
        self._look_for_lost(taken=taken)

    def _look_for_lost(self, *, taken: bool) -> None:
        """Report results that became too old while the controller was connected. `taken`: it has just got one normally."""
        late = self._counted_late()
        lost, self._late = late - self._late, late
        if lost:
            self._lost_results.step(
                bad=True,
                text=f"{lost} results were too old before the controller {self.name} had taken those before them, and it did not "
                "get them. Inspect these parts by hand. Look whether the controller acknowledges results, and at its network.",
            )
        elif taken:
            self._lost_results.step(bad=False, text="")

    def _counted_late(self) -> int:
        with self._changed:
            return sum(queue.late for queue in self._queues.values())

    def _call(self, function: Callable[[], T]) -> T:
        self._busy_since_s = self._clock.mono_s()
        try:
            return function()
        finally:
            self._busy_since_s = None
            self._overdue = False

    def _worked(self) -> None:
        self._breaker = self._breaker.succeeded()
        if self._failing:
            logger.warning("the controller %s: works again", self.name)
        self._failing = ""
        self._alarm.step(bad=False, text="")

    def _lost(self, error: Exception) -> None:
        """Close the connection after a failure. The next one is opened after a pause."""
        if isinstance(error, ControllerFailed):
            reason = printable(str(error), limit=500)
        else:  # its text may contain a secret
            reason = f"unexpected {type(error).__name__}"
            if self._failing != reason:
                place = "".join(traceback.format_tb(error.__traceback__))
                logger.error("the controller %s: %s, tried again. Place:\n%s", self.name, reason, place)
        self._connected = False
        self._close_controller()
        self._breaker = self._breaker.failed(self._clock.mono_s(), BACKOFF, self._rng, at_least_s=SHORTEST_PAUSE_S)
        self._failed(reason)

    def _failed(self, reason: str) -> None:
        # one warning for each new state, not for each try
        if not self._failing:
            logger.warning("the controller %s: %s. It is tried again", self.name, reason)
        self._failing = reason
        self._alarm.step(
            bad=True,
            text=f"The controller {self.name} gets no results: {reason}. It must treat the line as not ready. Look at the "
            "controller and its network.",
        )

    def _end(self) -> None:
        """Write that no line is ready, then the results that wait. Every failure ends this, and so does the end of the time."""
        assert self._stop_by_s is not None
        until_s = self._stop_by_s - CLOSING_S
        try:
            for line in self.lines:
                if self._connected and self._clock.mono_s() < until_s:
                    self._write(line, ending=True)
            while self._connected and (now_s := self._clock.mono_s()) < until_s:
                self._ask(now_s)
                with self._changed:
                    self._drop_late(now_s)
                    if not any(queue.waiting for queue in self._queues.values()):
                        break
                    due = next((name for name, queue in self._queues.items() if queue.due_s(now_s) is not None), None)
                    if due is None:  # the controller has not acknowledged the last result yet
                        self._changed.wait(ACKNOWLEDGE_LOOK_S)
                        continue
                self._write(due, ending=True)
        except Exception as error:  # noqa: BLE001 - as in `_run`
            reason = str(error) if isinstance(error, ControllerFailed) else f"unexpected {type(error).__name__}"
            logger.warning("the controller %s: the end was not written: %s", self.name, printable(reason, limit=500))
        self._connected = False
        self._close_controller()

    def _close_controller(self) -> None:
        try:
            self._call(self._controller.close)
        except Exception as error:  # noqa: BLE001 - its text may contain a secret
            logger.error("the controller %s: closing failed with %s", self.name, type(error).__name__)  # noqa: TRY400

    def _note(self, change: AlarmChanged) -> None:
        for line in self.lines:
            self._record(line, change)


def close_all(writers: Collection[ControllerWriter], *, clock: Clock, timeout_s: float = 2.0) -> bool:
    """Close all writers at the same time, within `timeout_s` together. Return False if one still runs."""
    until_s = clock.mono_s() + timeout_s
    for writer in writers:
        writer.stop(timeout_s)
    ended = [writer.close(max(0.0, until_s - clock.mono_s())) for writer in writers]
    return all(ended)
