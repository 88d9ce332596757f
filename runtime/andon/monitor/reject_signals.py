"""Give the reject signals of a running line: each at its moment, at most once, and also if the disk is full or the device hangs.

One thread waits for the moment and calls the device. Another thread stores intents and results, so a slow disk delays no signal.
It also gives up signals that are overdue because the device has not returned from an earlier call.
"""

import heapq
import logging
import queue
import threading
from collections.abc import Callable
from typing import Literal

from msgspec import Struct, structs

from andon.monitor.alarms import AlarmState
from andon.monitor.event import AlarmChanged, Event, Fired, RejectSignal
from andon.monitor.fault_alarm import FaultAlarm
from andon.monitor.reject import Intents, RejectRule, fire_at_s, timing
from andon.monitor.reject_kind import RejectDevice, RejectFailed
from andon.monitor.status import RejectStatus
from andon.sources.clock import Clock

logger = logging.getLogger(__name__)

INTENT_WAIT_S = 1.0
"""Longest wait for a durable intent. The store keeps trying afterwards."""
SWEEP_S = 0.05
"""Time between two looks for overdue signals while the device is in a call."""
OFF_RETRY_S = 0.25
"""Pause before a device that was not switched off is switched off again."""
LEAVE_S = 1.2
"""Longest wait at the end for a thread. A wait for an intent may be running."""
HURRY_S = 1.0
"""Longest wait at the end for signals that are still due, after a stop."""
LOOK_S = 0.1
"""Time between two looks at the stop event while signals are due."""


class _Signal(Struct, kw_only=True):
    part: str
    due_s: float
    intent: Event
    durable: bool = False
    over: bool = False
    """True if the signal has its result, or is being given: it is never given again."""


class _Result(Struct, frozen=True):
    signal: _Signal
    event: Event


class RejectSignals:
    """See the module.

    Args:
        rule: the settings.
        device: gets the signals, in one thread.
        intents: stores intents and results.
        clock: for all times.
        name: name of the line, for the threads.
        record: takes the changes of the alarm ``reject_signal``.
        on_stop: called with a reason if a signal was not given, if the settings demand a stop.
    """

    def __init__(
        self,
        rule: RejectRule,
        device: RejectDevice,
        intents: Intents,
        clock: Clock,
        *,
        name: str = "",
        record: Callable[[AlarmChanged], None] = lambda _change: None,
        on_stop: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self._rule = rule
        self._device = device
        self._intents = intents
        self._clock = clock
        self._on_stop = on_stop
        self._alarm = FaultAlarm("reject_signal", clock, record, latch=True)
        self._changed = threading.Condition()  # guards the attributes below
        self._waiting: list[tuple[float, int, _Signal]] = []
        self._number = 0
        self._busy: _Signal | None = None
        self._off_at_s: float | None = None
        self._off_failing = False
        self._ended = False
        self._status = RejectStatus()
        self._tasks: queue.SimpleQueue[_Signal | _Result | Literal["look", "end"]] = queue.SimpleQueue()
        """Intents and results in their order."""
        self._firing = threading.Thread(target=self._fire, name=f"andon reject {name}", daemon=True)
        self._storing = threading.Thread(target=self._store, name=f"andon reject store {name}", daemon=True)

    def start(self) -> None:
        """Start the threads. Signals of an earlier start whose result is unknown raise the alarm, and are not given."""
        unknown = self._intents.unknown
        if unknown:
            self._status = structs.replace(self._status, unknown=len(unknown))
            self._alarm.step(
                bad=True,
                text=f"The monitor ended before the result of the reject signal of {len(unknown)} parts was known, for example "
                f"{unknown[-1]}. They are not given again. Look for these parts.",
            )
        self._storing.start()
        self._firing.start()

    def schedule(self, part: str, triggered_s: float) -> None:
        """Give the signal of a part at its moment. Call it once for each part that is to be rejected. It returns at once."""
        due_s = fire_at_s(triggered_s, self._rule)
        signal = _Signal(part=part, due_s=due_s, intent=self._event(part, "unknown", due_s))
        with self._changed:
            if self._ended:
                self._finish(signal, "missed", detail="the line had ended")
                return
            if timing(self._clock.mono_s(), due_s, self._rule) == "missed":
                self._finish(signal, "missed", detail="the decision came too late")
                return
            self._number += 1
            heapq.heappush(self._waiting, (due_s, self._number, signal))
            self._tasks.put(signal)
            self._changed.notify_all()

    def close(self, wait_s: float, *, stop: threading.Event | None = None) -> None:
        """Give the signals that are due within `wait_s`, report all others as missed, and end the threads.

        Args:
            wait_s: longest wait for signals.
            stop: when it is set, only signals that are due within the next `HURRY_S` are given.
        """
        until_s, hurry = self._clock.mono_s() + wait_s, False
        with self._changed:
            if self._ended:
                return
            while self._firing.is_alive() and (left_s := until_s - self._clock.mono_s()) > 0:
                if stop is not None and stop.is_set() and not hurry:
                    until_s, hurry = min(until_s, self._clock.mono_s() + HURRY_S), True
                soon = self._waiting[0][0] <= until_s if self._waiting else False
                ends = self._off_at_s is not None and self._off_at_s <= until_s  # a shorter pulse may not move the part
                if self._busy is None and not soon and not ends:
                    break
                self._changed.wait(min(left_s, LOOK_S))
            for _, _, signal in self._waiting:
                self._finish(signal, "missed", detail="the line ended before it was due")
            self._waiting.clear()
            if self._busy is not None:
                self._finish(self._busy, "unknown", detail="the device has not returned from the call")
            self._ended = True
            self._changed.notify_all()
        if self._firing.ident is None:
            self._device.close()
            return
        self._firing.join(LEAVE_S)
        self._tasks.put("end")
        self._storing.join(LEAVE_S)

    @property
    def hung(self) -> bool:
        """True if a thread still runs after `close`."""
        return self._firing.is_alive() or self._storing.is_alive()

    @property
    def alarms(self) -> dict[str, AlarmState]:
        """The state of the alarm ``reject_signal``."""
        return {self._alarm.name: self._alarm.state}

    def acknowledge(self, number: int, by: str) -> bool:
        """Acknowledge the alarm. Return True if it was acknowledged now."""
        return self._alarm.acknowledge(number, by)

    def status(self) -> RejectStatus:
        """Return the counters."""
        with self._changed:
            return structs.replace(self._status, waiting=len(self._waiting))

    # ------------------------------------------------------------------ the thread of the device

    def _fire(self) -> None:
        while True:
            with self._changed:
                due = self._next()
                if due is None:
                    break
                signal, off = due
            if off:
                self._switch_off()
                with self._changed:
                    self._changed.notify_all()  # `close` may wait for the end of the pulse
            elif signal is not None:
                self._give(signal)
        if self._off_at_s is not None:
            self._switch_off()
        try:
            self._device.close()
        except Exception:
            logger.exception("closing the reject device failed")

    def _next(self) -> tuple[_Signal | None, bool] | None:
        """Wait for the next moment. Return the signal to give, or that the device must be switched off. None at the end."""
        while True:
            now_s = self._clock.mono_s()
            wait_s = None
            if self._waiting:
                due_s, _, signal = self._waiting[0]
                match timing(now_s, due_s, self._rule):
                    case "missed":
                        heapq.heappop(self._waiting)
                        self._finish(signal, "missed", late_s=now_s - due_s, detail="the monitor was too slow")
                        continue
                    case "due":
                        heapq.heappop(self._waiting)
                        self._busy = signal
                        self._tasks.put("look")  # the other thread now looks for overdue signals
                        return signal, False
                    case "early":
                        wait_s = due_s - now_s
            if self._off_at_s is not None:
                if now_s >= self._off_at_s:
                    self._off_at_s = None
                    return None, True
                wait_s = min(wait_s, self._off_at_s - now_s) if wait_s is not None else self._off_at_s - now_s
            if self._ended:
                return None
            self._changed.wait(wait_s)

    def _give(self, signal: _Signal) -> None:
        began_s = self._clock.mono_s()
        result: Fired
        try:
            self._device.on()
        except RejectFailed as error:
            result, detail = "failed", str(error)
        except Exception as error:
            logger.exception("the reject device failed")
            result, detail = "failed", type(error).__name__
        else:
            result, detail = "fired", ""
        ended_s = self._clock.mono_s()
        if result == "fired" and ended_s > signal.due_s + self._rule.tolerance_s:
            detail = f"the device confirmed it {ended_s - signal.due_s:.3f} s after it was due. It may have hit the next part"
        with self._changed:
            self._busy = None
            if self._rule.pulse_s > 0:  # also after a failure: the device may have got the signal
                self._off_at_s = ended_s + self._rule.pulse_s
            if not signal.over:
                if not signal.durable:
                    self._status = structs.replace(self._status, not_durable=self._status.not_durable + 1)
                self._finish(signal, result, late_s=began_s - signal.due_s, detail=detail)
            self._changed.notify_all()

    def _switch_off(self) -> None:
        try:
            self._device.off()
        except Exception as error:
            if not isinstance(error, RejectFailed):
                logger.exception("the reject device failed")
            with self._changed:
                if not self._ended:
                    self._off_at_s = self._clock.mono_s() + OFF_RETRY_S
            if not self._off_failing:
                self._off_failing = True
                why = str(error) if isinstance(error, RejectFailed) else type(error).__name__
                self._alarm.step(
                    bad=True, text=f"The reject device was not switched off: {why}. Look at the ejector and its relay."
                )
        else:
            self._off_failing = False

    # ------------------------------------------------------------------ with the lock

    def _finish(self, signal: _Signal, result: Fired, *, late_s: float = 0.0, detail: str = "") -> None:
        signal.over = True
        now_s = self._clock.mono_s()
        status = self._status
        numbers = {result: getattr(status, result) + 1}
        if result == "fired":
            self._status = structs.replace(status, **numbers, latest_s=max(status.latest_s, late_s))
        else:
            self._status = structs.replace(status, **numbers)
            late_s = late_s or max(0.0, now_s - signal.due_s)
        event = self._event(signal.part, result, now_s, late_s=late_s, detail=detail)
        if self._ended or self._storing.ident is None:
            self._keep_result(_Result(signal, event))
        else:
            self._tasks.put(_Result(signal, event))
        text = f"The reject signal of the part {signal.part} is {result}: {detail}. Look for this part, and at the ejector."
        self._alarm.step(bad=result != "fired", text=text)
        if result != "fired" and self._rule.on_missed == "stop":
            self._on_stop(f"the reject signal of the part {signal.part} is {result}: {detail}")

    def _event(self, part: str, result: Fired, at_s: float, *, late_s: float = 0.0, detail: str = "") -> Event:
        return self._intents.event(RejectSignal(part=part, result=result, late_s=late_s, detail=detail), at_s)

    # ------------------------------------------------------------------ the thread of the store

    def _store(self) -> None:
        while True:
            try:
                task = self._tasks.get(timeout=SWEEP_S if self._busy is not None else None)
            except queue.Empty:
                self._sweep()
                continue
            if task == "end":
                return
            self._sweep()
            if isinstance(task, _Result):
                self._keep_result(task)
            elif isinstance(task, _Signal):
                self._keep_intent(task)

    def _keep_intent(self, signal: _Signal) -> None:
        left_s = signal.due_s - self._clock.mono_s()
        if signal.over or left_s <= 0:
            return  # a late intent must not delay the results
        try:
            signal.durable = self._intents.intent(signal.intent, min(left_s, INTENT_WAIT_S))
        except Exception:
            logger.exception("an intent could not be stored. Report this as a bug.")

    def _keep_result(self, result: _Result) -> None:
        try:
            self._intents.result(result.signal.intent, result.event)
        except Exception:
            logger.exception("the result of a reject signal could not be stored. Report this as a bug.")

    def _sweep(self) -> None:
        """Give up the signals that are overdue because the device is still in a call."""
        with self._changed:
            while self._busy is not None and self._waiting:
                now_s, (due_s, _, signal) = self._clock.mono_s(), self._waiting[0]
                if timing(now_s, due_s, self._rule) != "missed":
                    return
                heapq.heappop(self._waiting)
                detail = f"the device has not returned from the call for the part {self._busy.part}"
                self._finish(signal, "missed", late_s=now_s - due_s, detail=detail)
