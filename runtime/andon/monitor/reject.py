"""The reject signal of a line as a rule without a clock: the moment at which it is due, and what to do at a moment.

A part passes the camera at its trigger and the ejector `travel_s` later. The ejector needs `actuator_s` from the signal to its
effect. A signal later than `tolerance_s` after its moment would hit the next part, so it is not given.
"""

import threading
from collections.abc import Callable
from typing import Annotated, Literal, Protocol

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError
from andon.monitor.event import Event, RejectSignal, new_key
from andon.sources.clock import Clock

INTENT_S = 0.02
"""Time that a durable intent needs between the decision and the signal. A commit took 3.3 ms, and 11 ms in the worst 1 %."""

Timing = Literal["early", "due", "missed"]


class RejectRule(Struct, frozen=True, kw_only=True):
    """Settings of every reject signal.

    Raises:
        ConfigError: two settings do not fit together.
    """

    travel_s: Annotated[
        float,
        Meta(
            ge=0, le=3600, description="time from the trigger of a part until it is at the ejector", extra={"unit": "s"}
        ),
    ]
    actuator_s: Annotated[
        float, Meta(ge=0, le=60, description="time from the signal until the ejector acts", extra={"unit": "s"})
    ] = 0.0
    tolerance_s: Annotated[
        float,
        Meta(gt=0, le=60, description="longest delay of a signal. A later one is not given", extra={"unit": "s"}),
    ] = 0.02
    pulse_s: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            description="time from the signal until it is switched off again; 0: the device ends its pulse itself",
            extra={"unit": "s"},
        ),
    ] = 0.0
    on_missed: Annotated[
        Literal["alarm", "stop"],
        Meta(description="action for a signal that was not given: only the alarm reject_signal, or also stop the line"),
    ] = "alarm"
    intent: Annotated[
        Literal["durable", "memory"],
        Meta(
            description="place of the intent to give a signal. Durable: in the event store before the signal, so that the next "
            "start reports a signal whose result is unknown"
        ),
    ] = "durable"

    def __post_init__(self) -> None:
        if self.actuator_s > self.travel_s:
            raise ConfigError(
                f"expected actuator_s of at most travel_s, got actuator_s = {self.actuator_s:g}, travel_s = {self.travel_s:g}. "
                "Correct them, or move the ejector away from the camera."
            )

    @property
    def budget_s(self) -> float:
        """Time from the trigger of a part to its signal."""
        return self.travel_s - self.actuator_s


def fire_at_s(triggered_s: float, rule: RejectRule) -> float:
    """Return the moment at which the signal of a part is due.

    >>> fire_at_s(10.0, RejectRule(travel_s=0.5, actuator_s=0.25))
    10.25
    """
    return triggered_s + rule.budget_s


def timing(now_s: float, due_s: float, rule: RejectRule) -> Timing:
    """Return what to do about a signal now.

    >>> [timing(now_s, 1.0, RejectRule(travel_s=1.0, tolerance_s=0.5)) for now_s in (0.9, 1.0, 1.5, 1.6)]
    ['early', 'due', 'due', 'missed']
    """
    if now_s < due_s:
        return "early"
    return "due" if now_s <= due_s + rule.tolerance_s else "missed"


class Intents(Protocol):
    """The place of intents and results. Its methods may be called from several threads."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """Parts of an earlier start whose signal has no result. They are never given again."""
        ...

    def event(self, body: RejectSignal, at_s: float) -> Event:
        """Return an event with a new key at a monotonic time. It stores nothing."""
        ...

    def intent(self, event: Event, timeout_s: float) -> bool:
        """Store an intent. Return False if it is not durable within the time limit. The signal is given in both cases."""
        ...

    def result(self, intent: Event, event: Event) -> None:
        """Store the result of an intent. Return at once, and never raise."""
        ...


class MemoryIntents:
    """Intents that do not survive the process. They need no disk, and so they delay nothing.

    Args:
        clock: for the wall time of events.
        record: takes the results, as other events.
        line: name of the line.
    """

    unknown: tuple[str, ...] = ()

    def __init__(self, clock: Clock, record: Callable[[RejectSignal], None], *, line: str = "") -> None:
        self._clock = clock
        self._record = record
        self._line = line
        self._lock = threading.Lock()
        self._open: dict[str, Event] = {}

    @property
    def open(self) -> tuple[Event, ...]:
        """The intents without a result, oldest first."""
        with self._lock:
            return tuple(self._open.values())

    def event(self, body: RejectSignal, at_s: float) -> Event:
        """Return an event without the names of the run and of the machine's start. Both are added when it is recorded."""
        return Event(
            key=new_key(),
            run="",
            boot="",
            line=self._line,
            mono_ns=int(at_s * 1e9),
            wall_us=int(self._clock.wall_s() * 1e6),
            body=body,
        )

    def intent(self, event: Event, timeout_s: float) -> bool:  # noqa: ARG002 - memory needs no time
        """Keep an intent until its result."""
        with self._lock:
            self._open[event.key] = event
        return True

    def result(self, intent: Event, event: Event) -> None:
        """Forget the intent and record the result."""
        with self._lock:
            self._open.pop(intent.key, None)
        assert isinstance(event.body, RejectSignal)
        self._record(event.body)
