"""An alarm about the monitor's own work on a line, for example about parts without a decision. It may be used by any thread."""

import threading
from collections.abc import Callable

from andon.monitor import alarms
from andon.monitor.alarms import AlarmEvent, AlarmRule, AlarmState
from andon.monitor.event import AlarmChanged
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import Verdict, invalid
from andon.sources.clock import Clock

_GOOD = Verdict(status=Status.OK)
_BAD = invalid(Reason.FAILED)


class FaultAlarm:
    """Counts good and bad steps by the rule of an alarm, and records its changes.

    Args:
        name: name of the alarm.
        clock: for the times of changes.
        record: takes the changes. It is fast and never raises.
        in_a_row: number of bad steps in a row that raise the alarm. One good step clears it.
        latch: see `AlarmRule`.
    """

    def __init__(
        self, name: str, clock: Clock, record: Callable[[AlarmChanged], None], *, in_a_row: int = 1, latch: bool = False
    ) -> None:
        self.name = name
        self._clock = clock
        self._record = record
        self._rule = AlarmRule(k=in_a_row, n=in_a_row, signal="invalid", latch=latch)
        self._lock = threading.Lock()
        self._state = AlarmState()

    @property
    def state(self) -> AlarmState:
        """The state of the alarm."""
        return self._state

    def step(self, *, bad: bool, text: str) -> None:
        """Count one step. `text` is for a person, if the step raises the alarm."""
        with self._lock:
            self._state, changes = alarms.step(self._state, _BAD if bad else _GOOD, self._clock.mono_s(), self._rule)
            self._note(changes, text if bad else "", "")

    def acknowledge(self, number: int, by: str) -> bool:
        """Acknowledge the alarm. Return True if it was acknowledged now."""
        with self._lock:
            self._state, changes = alarms.acknowledge(self._state, number, self._clock.mono_s())
            self._note(changes, "", by)
        return any(change.kind == "acked" for change in changes)

    def _note(self, changes: tuple[AlarmEvent, ...], text: str, by: str) -> None:
        for change in changes:
            self._record(
                AlarmChanged(
                    alarm=self.name,
                    change=change.kind,
                    number=change.alarm,
                    occurrence=change.occurrence,
                    text=text,
                    by=by,
                )
            )
