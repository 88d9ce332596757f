"""Let people act: acknowledge and shelve alarms, and state whether a part was good or defective.

Each action becomes an event. No action here changes the configuration or runs a program.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from andon.foundation.errors import ConfigError
from andon.foundation.printable import printable
from andon.monitor.event import (
    AlarmShelved,
    Answer,
    Body,
    Confirmed,
    InvalidBegan,
    LateScore,
    Rejected,
    Sampled,
    ToReview,
)
from andon.monitor.line_view import LineView
from andon.monitor.records import record as record_of
from andon.monitor.shelving import Shelf, Shelves, ended, person, shelved, unshelved
from andon.monitor.status import LineStatus, ProcessStatus
from andon.monitor.store import StoreReader
from andon.sources.clock import Clock

Truth = Literal["good", "defective"]
"""The statement of a person about a part that the person has chosen."""
Record = Callable[[str, Body], None]
"""A function that takes an event of a line, given by its name."""


class OperatorActions:
    """See the module. All methods may be called from any thread.

    Args:
        clock: for the end of shelves.
        record: takes the events.
        status: returns the present status.
        acknowledge: acknowledges an alarm: line, alarm, number, person. See `Supervisor.acknowledge`.
        views: what the page shows, by line.
        reader: returns the event store. None if events are not kept.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        record: Record,
        status: Callable[[], ProcessStatus],
        acknowledge: Callable[[str, str, int, str], bool],
        views: Mapping[str, LineView],
        reader: Callable[[], StoreReader | None],
    ) -> None:
        self._clock = clock
        self._record = record
        self._status = status
        self._acknowledge = acknowledge
        self._views = views
        self._reader = reader
        self._lock = threading.Lock()
        self._shelves: Shelves = {}

    @property
    def shelves(self) -> Shelves:
        """The shelved alarms."""
        return self._shelves

    def resume_shelves(self, shelves: Shelves) -> None:
        """Take over the shelves of an earlier start of the monitor. Those of lines that do not exist are left out."""
        with self._lock:
            self._shelves = {key: shelf for key, shelf in shelves.items() if key[0] in self._views} | dict(
                self._shelves
            )

    def acknowledge(self, line: str, alarm: str, number: int, *, by: str) -> None:
        """Acknowledge an alarm before the next item of its line.

        Args:
            line: name of the line.
            alarm: name of the alarm. ``drift`` starts the drift charts with an alarm again.
            number: number of the alarm that the person saw. It has no meaning for ``drift``.
            by: name of the person.

        Raises:
            ConfigError: the line or alarm is unknown, or the name is empty or too long.
        """
        self._require(line, alarm)
        self._acknowledge(line, alarm, number, person(by))

    def shelve(self, line: str, alarm: str, seconds: float, *, reason: str, by: str) -> None:
        """Shelve an alarm.

        Raises:
            ConfigError: see `shelved`, or the line or alarm is unknown.
        """
        self._require(line, alarm)
        with self._lock:
            self._shelves = shelved(self._shelves, line, alarm, self._clock.mono_s(), seconds, reason=reason, by=by)
            shelf = self._shelves[line, alarm]
        self._record(
            line, AlarmShelved(alarm=alarm, change="shelved", seconds=seconds, reason=shelf.reason, by=shelf.by)
        )

    def unshelve(self, line: str, alarm: str, *, by: str) -> None:
        """End a shelf before its time. Nothing happens if the alarm is not shelved.

        Raises:
            ConfigError: the line or alarm is unknown, or the name is empty or too long.
        """
        self._require(line, alarm)
        by = person(by)
        with self._lock:
            known = (line, alarm) in self._shelves
            self._shelves = unshelved(self._shelves, line, alarm)
        if known:
            self._record(line, AlarmShelved(alarm=alarm, change="unshelved", by=by))

    def end_shelves(self) -> None:
        """End the shelves whose time has ended. Call it regularly."""
        if not self._shelves:
            return
        with self._lock:
            over = ended(self._shelves, self._clock.mono_s())
            for line, alarm in over:
                self._shelves = unshelved(self._shelves, line, alarm)
        for line, alarm in over:
            self._record(line, AlarmShelved(alarm=alarm, change="expired"))

    def confirm_item(self, line: str, seq: int, item: str, truth: Truth, *, by: str) -> None:
        """State the truth about one of the newest items of a line.

        Raises:
            ConfigError: the line is unknown, the item is not among the newest ones, or the name is empty or too long.
        """
        by = person(by)
        outcome = self._view(line).find(seq, item)
        if outcome is None:
            raise ConfigError(
                f"item: expected one of the newest items of {line}, got {printable(item)} (number {seq}). Choose it from the "
                "list of events."
            )
        self._record(line, Confirmed(item=printable(item), truth=truth, by=by, verdict=record_of(outcome)))

    def confirm_event(self, line: str, number: int, truth: Answer, *, by: str) -> None:
        """State the truth about the item of an event. Only the question about a part chosen at random can be ``unclear``.

        Raises:
            ConfigError: events are not kept, the line has no such event with a verdict, the answer does not fit, or the name is
                empty or too long.
        """
        by = person(by)
        self._view(line)
        reader = self._reader()
        event = reader.event(number) if reader is not None else None
        if event is None or event.line != line or not isinstance(event.body, _WITH_VERDICT):
            raise ConfigError(
                f"event: expected the number of an event of {line} with a verdict, got {number}. Choose it from the list of "
                "events."
            )
        if truth == "unclear" and not isinstance(event.body, Sampled):
            raise ConfigError("truth: expected good or defective for this event, got unclear.")
        verdict = event.body.verdict
        self._record(line, Confirmed(item=verdict.item, truth=truth, by=by, verdict=verdict, event=number))

    def _view(self, line: str) -> LineView:
        if line not in self._views:
            raise ConfigError(f"line: expected one of {', '.join(self._views)}, got {printable(line)}.")
        return self._views[line]

    def _require(self, line: str, alarm: str) -> None:
        self._view(line)
        found = next(one for one in self._status().lines if one.name == line)
        known = [*found.alarms, *(["drift"] if found.charts else [])]
        if alarm not in known:
            raise ConfigError(f"alarm: expected one of {', '.join(known) or 'none'}, got {printable(alarm)}.")


_WITH_VERDICT = Rejected | ToReview | InvalidBegan | LateScore | Sampled


def with_shelves(status: ProcessStatus, shelves: Shelves) -> ProcessStatus:
    """Return the status with the shelved alarms of each line."""
    if not shelves:
        return status

    def of(line: LineStatus) -> dict[str, Shelf]:
        return {alarm: shelf for (name, alarm), shelf in shelves.items() if name == line.name}

    lines = tuple(msgspec.structs.replace(line, shelved=of(line)) for line in status.lines)
    return msgspec.structs.replace(status, lines=lines)
