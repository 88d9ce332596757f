"""Follow the triggers of a line in a thread: count them, begin the parts, and report while none can arrive."""

import logging
import threading
from collections.abc import Callable

from andon.foundation.errors import AndonError
from andon.foundation.printable import printable
from andon.monitor.alarms import AlarmState
from andon.monitor.event import AlarmChanged
from andon.monitor.fault_alarm import FaultAlarm
from andon.monitor.retry import Backoff
from andon.monitor.status import TriggerStatus
from andon.monitor.trigger_kind import ChosenTrigger, Trigger, TriggerContext
from andon.sources.clock import Clock

logger = logging.getLogger(__name__)

END_S = 2.0
"""Longest wait at the end for the thread."""
_NOT_YET = "there is no connection yet"
_PAUSES = Backoff(first_s=1.0, cap_s=10.0)
"""Pauses before triggers that ended with an error are opened again."""


class TriggerFollower:
    """See the module.

    Args:
        chosen: the triggers. They are opened now.
        give: begins a part. It never raises.
        clock: for the times of the alarm.
        line: name of the line.
        record: takes the changes of the alarm ``trigger_source``. It is fast and never raises.
        pauses: see `_PAUSES`.

    Raises:
        AndonError: the triggers cannot be opened.
    """

    def __init__(
        self,
        chosen: ChosenTrigger,
        give: Callable[[Trigger], None],
        clock: Clock,
        *,
        line: str,
        record: Callable[[AlarmChanged], None],
        pauses: Backoff = _PAUSES,
    ) -> None:
        self._chosen = chosen
        self._take = give
        self._line = line
        self._pauses = pauses
        self._stop = threading.Event()
        self._context = TriggerContext(line=line, clock=clock, stop=self._stop, refuse=self._refuse)
        self._opened = chosen.open(self._context)
        self._alarm = FaultAlarm("trigger_source", clock, record, latch=True)
        self._failing = _NOT_YET
        self._given = 0
        self._refused = 0
        self._thread = threading.Thread(target=self._run, name=f"andon trigger {line}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def end(self) -> None:
        """Begin to end, and return at once."""
        self._stop.set()

    def close(self) -> None:
        """End the thread within `END_S`. No trigger is given afterwards."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(END_S)

    @property
    def hung(self) -> bool:
        """True if the thread still runs."""
        return self._thread.is_alive()

    @property
    def alarms(self) -> dict[str, AlarmState]:
        """The state of the alarm ``trigger_source``."""
        return {self._alarm.name: self._alarm.state}

    def acknowledge(self, number: int, by: str) -> bool:
        """Acknowledge the alarm. Return True if it was acknowledged now."""
        return self._alarm.acknowledge(number, by)

    def status(self) -> TriggerStatus:
        """Return the counters and the state."""
        return TriggerStatus(given=self._given, refused=self._refused, failing=self._failing)

    # ------------------------------------------------------------------ in the thread of the triggers

    def _give(self, trigger: Trigger) -> None:
        if self._stop.is_set():
            return
        self._take(trigger)
        self._given += 1
        if not self._failing:
            self._alarm.step(bad=False, text="")

    def _hear(self, failing: str) -> None:
        failing = printable(failing, limit=500)
        if failing == self._failing or self._stop.is_set():
            return
        before, self._failing = self._failing, failing
        if failing:
            logger.warning("%s: triggers cannot arrive: %s", self._line or "the line", failing)
        else:  # the end of a fault is as important as its begin
            level = logging.INFO if before == _NOT_YET else logging.WARNING
            logger.log(level, "%s: triggers can arrive", self._line or "the line")
        self._alarm.step(
            bad=bool(failing),
            text=f"Triggers cannot arrive: {failing}. The parts of this time are not inspected. Look at the controller and the "
            "network.",
        )

    def _refuse(self, reason: str) -> None:
        reason = printable(reason, limit=500)
        self._refused += 1
        if self._refused == 1:  # further ones are counted: a wrong sender would fill the log
            logger.warning("%s: not a trigger: %s", self._line or "the line", reason)
        self._alarm.step(
            bad=True,
            text=f"A message is not a trigger: {reason}. A part may have passed without inspection. Look at the sender of the "
            "triggers.",
        )

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            given = self._given
            try:
                self._opened.follow(self._give, self._hear)
                reason = "the trigger ended without a reason"
            except AndonError as error:
                reason = str(error)
            except Exception as error:
                logger.exception("%s: the trigger %s failed. It is opened again.", self._line, self._chosen.kind.name)
                reason = type(error).__name__  # the text of a foreign error may contain a secret
            if self._given > given:
                failures = 0
            self._hear(reason)
            failures = self._reopen(failures)

    def _reopen(self, failures: int) -> int:
        """Open the triggers again after a pause, until it succeeds. Return the number of failures."""
        while not self._stop.wait(self._pauses.limit_s(failures)):
            failures += 1
            try:
                self._opened = self._chosen.open(self._context)
            except AndonError as error:
                self._hear(str(error))
            except Exception as error:
                logger.exception("%s: the trigger %s cannot be opened.", self._line, self._chosen.kind.name)
                self._hear(type(error).__name__)
            else:
                break
        return failures
