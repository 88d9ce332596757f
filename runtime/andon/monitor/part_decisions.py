"""Decide about the parts of a running line, in time even if the judge hangs.

The state of `andon.monitor.parts` is behind a lock. The reader adds arrivals, the judge adds verdicts, and the thread of this
module waits for deadlines. All decisions are delivered by this thread, so they come in the order of the triggers.

A frame belongs to the part that it names (`Ref.part`). A frame without such a name belongs to the oldest part that was triggered
without a name, has too few frames, and is not older than `PartSettings.frame_within_s`. With that setting, there is at most one
such part. If there are more, triggers arrived late, for example after a hang of a broker. It is then not known which part a frame
shows: it belongs to none, and these parts become INVALID.
"""

import logging
import math
import threading
from collections.abc import Callable

from msgspec import Struct, structs

from andon.foundation.errors import ConfigError
from andon.monitor import parts
from andon.monitor.alarms import AlarmState
from andon.monitor.event import AlarmChanged, Body, LateScore
from andon.monitor.fault_alarm import FaultAlarm
from andon.monitor.judging import Outcome
from andon.monitor.line_events import Span, events_of
from andon.monitor.part_settings import PartSettings
from andon.monitor.parts import Decisions, PartDecision, PartsState
from andon.monitor.records import record
from andon.monitor.status import PartsStatus
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import Reason, Status
from andon.sources.clock import Clock

logger = logging.getLogger(__name__)

ROOM_S = 0.1
"""Longest wait of the reader until it looks again whether the line has ended."""
_BADNESS = {Status.OK: 0, Status.REVIEW: 1, Status.INVALID: 2, Status.REJECT: 3}
SOURCE_REPORTS = frozenset({Reason.STALE, Reason.WARMING, Reason.GAP})
"""Reasons of lost items that are messages about the source."""

Decide = Callable[[PartDecision, Outcome], None]
"""A function that acts on a decision: the outcome is that of the part's worst frame. It is fast and never raises."""


class _Notes(Struct, kw_only=True):
    """Facts about an open part that the rule does not need."""

    named: bool
    """True if the part has a name of its own. Frames must then have the same name."""
    ref: Ref | None = None
    """Reference of its first frame."""
    seq: int = 0
    worst: Outcome | None = None


class _Decided(Struct, frozen=True):
    decision: PartDecision
    notes: _Notes


class PartDecisions:
    """See the module.

    Args:
        settings: the settings.
        clock: for all times.
        name: name of the line, for the thread.
        can_wait: True if the source can wait. It then waits for room in place of an overrun.
        record: takes the events about parts.
        on_decision: acts on each decision, in the order of the triggers.
    """

    def __init__(
        self,
        settings: PartSettings,
        clock: Clock,
        *,
        name: str = "",
        can_wait: bool = False,
        record: Callable[[Body, Outcome | None], None] = lambda _body, _outcome: None,
        on_decision: Decide = lambda _decision, _outcome: None,
    ) -> None:
        self._settings = settings
        self._rule = settings.rule
        self._within_s = settings.frame_within_s or math.inf
        self._clock = clock
        self._can_wait = can_wait
        self._record = record
        self._on_decision = on_decision
        self._unjudged: Callable[[Lost, int], Outcome] | None = None
        self._changed = threading.Condition()  # guards the attributes below
        self._state = PartsState()
        self._notes: dict[str, _Notes] = {}
        self._ready: list[_Decided | LateScore] = []
        self._by_status: dict[str, int] = {}
        self._triggers = 0
        self._numbered = ""
        self._ended = False
        self._span = Span()
        self._alarm = FaultAlarm("parts", clock, self._note, in_a_row=self._rule.max_invalid)
        self._gap = FaultAlarm("triggers", clock, self._note, latch=True)
        self._thread = threading.Thread(target=self._run, name=f"andon parts {name}", daemon=True)

    @property
    def capacity(self) -> int:
        """Number of frames that may wait for the judge."""
        return self._rule.max_open * self._rule.frames

    def attach(self, unjudged: Callable[[Lost, int], Outcome]) -> None:
        """Set the function that returns the INVALID outcome of a part of which nothing was judged."""
        self._unjudged = unjudged

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Decide about all open parts, deliver these decisions, and end the thread. No trigger is accepted afterwards."""
        with self._changed:
            self._state, decisions = parts.end(self._state, self._clock.mono_s(), self._rule)
            self._take(decisions)
            self._ended = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        elif self._thread.ident is None:  # the line never ran
            self._ready.clear()

    # ------------------------------------------------------------------ for the reader and for triggers

    def trigger(self, *, part: str = "", number: int | None = None) -> bool:
        """Begin a part now. Return False if the line has ended; the part then gets no decision.

        Args:
            part: name of the part, if its frames have the same name (`Ref.part`).
            number: number of the trigger, if the controller counts them. The same number again is ignored and counted as
                repeated. Skipped numbers are counted and raise the alarm ``triggers``.

        Raises:
            ConfigError: the parts of this line begin with their first frame.
        """
        if self._settings.trigger != "external":
            raise ConfigError(
                'parts: expected no trigger, because a part begins with its first frame, got one. Set trigger = "external" in '
                "[line.parts]."
            )
        with self._changed:
            if self._ended:
                return False
            now_s, skipped = self._clock.mono_s(), self._state.skipped
            again = number is not None and number == self._state.number
            name = part or (self._numbered if again else self._own_name("" if number is None else str(number)))
            if number is not None:
                self._numbered = name
            self._begin(name, _Notes(named=bool(part)), now_s, number)
            skipped = self._state.skipped - skipped
        if number is not None:
            self._gap.step(
                bad=skipped > 0,
                text=f"{skipped} triggers before number {number} did not arrive. Those parts were not inspected. Check the "
                "connection to the controller.",
            )
        return True

    def wait(self, item: Item | Lost, over: Callable[[], bool]) -> None:
        """Wait until the part of an item can be opened. See `Arrivals`."""
        if self._settings.trigger == "external" or not _shows_a_part(item):
            return
        with self._changed:
            while not over() and not self._ended and len(self._state.open) >= self._rule.max_open:
                if self._place(item.ref, self._clock.mono_s()) is not None:
                    return
                self._changed.wait(ROOM_S)

    def arrived(self, seq: int, item: Item | Lost, arrived_s: float) -> tuple[Item | Lost, str | None]:
        """Assign an item to its part, and begin the part if the item is its trigger. See `Arrivals`."""
        if not _shows_a_part(item):
            return item, None
        ref = item.ref
        with self._changed:
            now_s = self._clock.mono_s() if self._can_wait else arrived_s
            self._state, decisions = parts.tick(self._state, now_s, self._rule)
            self._take(decisions)
            part = self._place(ref, now_s)
            if part is None and self._settings.trigger == "first_frame" and not self._ended:
                named = ref.part != ref.key
                part = ref.part if named else self._own_name(ref.part)
                if part not in {past.part for past in self._state.past}:
                    self._begin(part, _Notes(named=named, ref=ref, seq=seq), now_s, None)
            if part is None:
                return item, ""
            notes = self._notes.get(part)
            if notes is None:
                return Lost(ref, Reason.LOST, self._too_late_text(part)), part
            if notes.ref is None:
                notes.ref, notes.seq = ref, seq
            self._state = parts.arrival(self._state, part)
        if ref.part != part:
            item = structs.replace(item, ref=structs.replace(ref, part=part))
        return item, part

    # ------------------------------------------------------------------ for the judge

    def too_late(self, part: str, cost_s: float) -> str:
        """Return why a frame is not worth judging: its part is decided, or will be before a call ends. Else an empty text.

        Args:
            part: see `Taken.part`.
            cost_s: typical time of a call.
        """
        if not part:
            return ""
        with self._changed:
            for known in self._state.open:
                if known.part == part:
                    left_s = parts.due_s(known, self._rule) - self._clock.mono_s()
                    if left_s > cost_s:
                        return ""
                    return (
                        f"deadline: {max(0.0, left_s):.3f} s are left before the decision, and judging takes about "
                        f"{cost_s:.3f} s"
                    )
            return self._too_late_text(part)

    def judged(self, part: str, outcome: Outcome, *, left_out: bool = False) -> None:
        """Add the verdict of one frame.

        Args:
            part: see `Taken.part`.
            outcome: the outcome of the frame.
            left_out: True if the frame was not judged because of `too_late`.
        """
        with self._changed:
            now_s = self._clock.mono_s()
            self._state, decisions = parts.tick(self._state, now_s, self._rule)
            self._take(decisions)
            notes, late = self._notes.get(part), self._state.late
            if notes is not None:
                if left_out:  # the frame stays missing, so that the reason of the part is its deadline
                    return
                if notes.worst is None or _badness(outcome) > _badness(notes.worst):
                    notes.worst = outcome
            self._state, decisions = parts.frame(self._state, part, outcome.verdict, now_s, self._rule)
            self._take(decisions)
            if self._state.late > late and outcome.verdict.status is not Status.INVALID:
                self._ready.append(LateScore(verdict=record(outcome)))
                self._changed.notify_all()

    # ------------------------------------------------------------------ for status pages

    @property
    def alarms(self) -> dict[str, AlarmState]:
        """The states of the alarms ``parts`` and ``triggers``."""
        return {alarm.name: alarm.state for alarm in (self._alarm, self._gap)}

    def acknowledge(self, alarm: str, number: int, by: str) -> bool:
        """Acknowledge an alarm of `alarms`. Return True if it was acknowledged now."""
        return (self._alarm if alarm == self._alarm.name else self._gap).acknowledge(number, by)

    @property
    def waits_for_trigger(self) -> bool:
        """True if the next part begins with a trigger from outside and no part is open. No frame is then expected."""
        return self._settings.trigger == "external" and not self._state.open

    def status(self) -> PartsStatus:
        """Return the counters."""
        with self._changed:
            state = self._state
            return PartsStatus(
                open=len(state.open),
                decided=state.decided,
                by_status=dict(self._by_status),
                late=state.late,
                untriggered=state.untriggered,
                surplus=state.surplus,
                repeated=state.repeated,
                skipped=state.skipped,
            )

    # ------------------------------------------------------------------ with the lock

    def _place(self, ref: Ref, now_s: float) -> str | None:
        """Return the open part that a new frame belongs to."""
        if ref.part in self._notes:
            return ref.part
        if ref.part != ref.key and self._settings.trigger == "first_frame":
            return None
        waiting = [
            known.part
            for known in self._state.open
            if not self._notes[known.part].named
            and known.arrived < self._rule.frames
            and now_s <= known.triggered_s + self._within_s
        ]
        guess = len(waiting) > 1 and self._settings.trigger == "external" and math.isfinite(self._within_s)
        return waiting[0] if waiting and not guess else None

    def _own_name(self, name: str) -> str:
        """Return a name that no other part has: keys and numbers may come again."""
        name = name or f"part {self._triggers + 1}"
        known = self._notes.keys() | {past.part for past in self._state.past}
        return f"{name} ({self._triggers + 1})" if name in known else name

    def _begin(self, part: str, notes: _Notes, now_s: float, number: int | None) -> None:
        self._triggers += 1
        repeated = self._state.repeated
        new = part not in self._notes
        if new:
            self._notes[part] = notes
        self._state, decisions = parts.trigger(self._state, part, now_s, self._rule, number=number)
        self._take(decisions)
        if new and self._state.repeated > repeated:
            del self._notes[part]
        self._changed.notify_all()

    def _take(self, decisions: Decisions) -> None:
        """Queue decisions for the thread."""
        for decision in decisions:
            self._ready.append(_Decided(decision, self._notes.pop(decision.part)))
            status = decision.status.name
            self._by_status[status] = self._by_status.get(status, 0) + 1
        if decisions:
            self._changed.notify_all()

    def _too_late_text(self, part: str) -> str:
        return f"late: the decision about the part {part} was made before this frame could be judged"

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._ready:
                    if self._ended:
                        return
                    wait_s = self._tick()
                    if not self._ready:
                        self._changed.wait(wait_s)
                ready, self._ready = self._ready, []
            for one in ready:
                try:
                    self._deliver(one)
                except Exception:
                    logger.exception("a decision about a part was not delivered. Report this as a bug.")

    def _tick(self) -> float | None:
        """Make the decisions that are due. Return the time until the next one."""
        if not self._state.open:
            return None
        now_s = self._clock.mono_s()
        self._state, decisions = parts.tick(self._state, now_s, self._rule)
        self._take(decisions)
        return max(0.0, parts.due_s(self._state.open[0], self._rule) - now_s) if self._state.open else None

    def _deliver(self, one: "_Decided | LateScore") -> None:
        if isinstance(one, LateScore):
            self._record(one, None)
            return
        decision = one.decision
        outcome = self._outcome(decision, one.notes)
        self._on_decision(decision, outcome)  # first: a reject signal must not wait for events
        self._span, bodies = events_of(self._span, outcome, decision.at_s)
        for body in bodies:
            self._record(body, outcome)
        self._alarm.step(
            bad=decision.status is Status.INVALID,
            text=f"{self._rule.max_invalid} parts in a row were INVALID ({decision.problem or decision.reason.code}). Look at "
            "the camera, its trigger, and the load of this machine.",
        )

    def _outcome(self, decision: PartDecision, notes: _Notes) -> Outcome:
        """Return the outcome of the worst frame with the part's name, or one for missing frames."""
        worst = notes.worst
        if worst is not None and worst.verdict.status is decision.status:
            return structs.replace(worst, ref=structs.replace(worst.ref, part=decision.part))
        frames = self._rule.frames
        detail = (
            f"{decision.problem}: {decision.missing} of {frames} frames of the part were not judged before the decision"
        )
        assert self._unjudged is not None
        ref = notes.ref if notes.ref is not None else Ref(key=decision.part)
        return self._unjudged(Lost(structs.replace(ref, part=decision.part), decision.reason, detail), notes.seq)

    def _note(self, change: AlarmChanged) -> None:
        self._record(change, None)


def _shows_a_part(item: Item | Lost) -> bool:
    return isinstance(item, Item) or item.reason not in SOURCE_REPORTS


def _badness(outcome: Outcome) -> tuple[int, float]:
    score = outcome.verdict.score
    return _BADNESS[outcome.verdict.status], -math.inf if math.isnan(score) else score
