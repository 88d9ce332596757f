"""Keep what a page shows about one line: the newest item, the scores of ten minutes, recent items, and counts of the shift.

The judging thread only stores references and numbers. Nothing is drawn or encoded here. A reader copies what it needs.
"""

import collections
import math
import threading
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from andon.foundation.redaction import redact
from andon.monitor.judging import Outcome
from andon.runtime.schema import Status
from andon.sources.clock import Clock

HISTORY_S = 600
"""Length of the history of scores, in seconds."""
RECENT = 200
"""Number of items that a person can still confirm without an event."""


class Second(Struct, array_like=True):
    """The items of one second. It is written as a JSON array, because a page gets hundreds of them."""

    at: int
    """Monotonic time, in whole seconds."""
    low: float | None = None
    """Lowest score. None if no item was judged."""
    high: float | None = None
    threshold: float | None = None
    worst: str = "OK"
    """Worst status: OK, REVIEW, INVALID or REJECT."""
    items: int = 0


class Seen(Struct, frozen=True, kw_only=True):
    """The newest item with a frame or window, and when it was judged."""

    at_s: float
    outcome: Outcome


class ShiftCounts(Struct, frozen=True, kw_only=True):
    """Items since the shift began, or since the monitor first ran in this shift."""

    since_wall_s: float
    """Start of the counts, in seconds since 1970."""
    whole: bool
    """True if the counts include the whole shift so far."""
    by_status: dict[str, int]
    """Items by status, with INVALID."""
    model: str = ""
    """Short digest of the model file that judged last."""
    by_status_of_model: dict[str, int] = {}
    """Those of `by_status` that this model file has judged. Only they can be compared with its promise."""


class ShiftState(Struct, frozen=True, kw_only=True):
    """The counts of a shift as the event store keeps them over a restart."""

    began_wall_s: float
    """Start of the shift by the calendar. Counts of another shift are not used again."""
    counts: ShiftCounts


class LineView:
    """A sink of a line for the page.

    Args:
        clock: for the times of items.
        shift_began: returns the start of the shift at a moment, both in seconds since 1970.
    """

    lost = 0
    summary = ""

    def __init__(self, clock: Clock, shift_began: Callable[[float], float]) -> None:
        self._clock = clock
        self._shift_began = shift_began
        self._lock = threading.Lock()
        self._seconds: collections.deque[Second] = collections.deque(maxlen=HISTORY_S)
        self._recent: collections.deque[Outcome] = collections.deque(maxlen=RECENT)
        self._last: Seen | None = None
        self._seen: Seen | None = None
        self._since_wall_s = clock.wall_s()
        self._whole = False
        self._checked_wall_s = 0
        self._counts: dict[str, int] = {}
        self._model = ""
        self._model_counts: dict[str, int] = {}
        self._began_wall_s = shift_began(self._since_wall_s)

    def put(self, outcome: Outcome) -> None:
        """Take one outcome."""
        now_s = self._clock.mono_s()
        status, score = outcome.verdict.status, outcome.verdict.score
        light = _light(outcome)
        with self._lock:
            self._last = Seen(at_s=now_s, outcome=light)
            if outcome.data is not None:
                self._seen = Seen(at_s=now_s, outcome=outcome)
                self._recent.append(light)
            self._count(status, outcome.verdict.model, outcome.wall_s)
            if not self._seconds or self._seconds[-1].at != int(now_s):
                self._seconds.append(Second(at=int(now_s)))
            second = self._seconds[-1]
            second.items += 1
            if status > Status[second.worst]:
                second.worst = status.name
            if math.isfinite(score):
                second.low = score if second.low is None else min(second.low, score)
                second.high = score if second.high is None else max(second.high, score)
            if math.isfinite(outcome.verdict.threshold):
                second.threshold = outcome.verdict.threshold

    def close(self) -> None:
        """Do nothing: what the page shows stays until the end of the process."""

    @property
    def last(self) -> Seen | None:
        """The newest outcome, without its data."""
        return self._last

    @property
    def seen(self) -> Seen | None:
        """The newest outcome with a frame or window. None before the first one."""
        return self._seen

    def shift(self, wall_s: float) -> ShiftCounts:
        """Return the counts of the shift at this moment."""
        with self._lock:
            self._turn(wall_s)
            return ShiftCounts(
                since_wall_s=self._since_wall_s,
                whole=self._whole,
                by_status=dict(self._counts),
                model=self._model,
                by_status_of_model=dict(self._model_counts),
            )

    def shift_state(self, wall_s: float) -> ShiftState:
        """Return the counts of the shift for the next start of the monitor."""
        counts = self.shift(wall_s)
        return ShiftState(began_wall_s=self._began_wall_s, counts=counts)

    def resume(self, state: ShiftState) -> None:
        """Go on with the counts of an earlier start of the monitor. Counts of another shift are ignored."""
        with self._lock:
            if state.began_wall_s != self._began_wall_s:
                return
            self._since_wall_s = min(self._since_wall_s, state.counts.since_wall_s)
            self._whole = state.counts.whole
            _add(self._counts, state.counts.by_status)
            if self._model in ("", state.counts.model):
                self._model = state.counts.model
                _add(self._model_counts, state.counts.by_status_of_model)

    def seconds(self, newest: int = HISTORY_S) -> list[Second]:
        """Return copies of the newest seconds with items, oldest first."""
        with self._lock:
            first = max(0, len(self._seconds) - newest)
            return [_copy(self._seconds[at]) for at in range(first, len(self._seconds))]

    def find(self, seq: int, item: str) -> Outcome | None:
        """Return a recent outcome by its number and the key of its item, as the page shows it: without secrets."""
        with self._lock:
            for outcome in reversed(self._recent):
                if outcome.seq == seq and redact(outcome.ref.key) == item:
                    return outcome
        return None

    def _count(self, status: Status, model: str, wall_s: float) -> None:
        if int(wall_s) != self._checked_wall_s:  # a look at the calendar takes 20 us
            self._checked_wall_s = int(wall_s)
            self._turn(wall_s)
        self._counts[status.name] = self._counts.get(status.name, 0) + 1
        if model != self._model:
            self._model, self._model_counts = model, {}
        self._model_counts[status.name] = self._model_counts.get(status.name, 0) + 1

    def _turn(self, wall_s: float) -> None:
        """Begin to count again if a new shift has begun. A clock that was set back does not begin an old shift again."""
        began = self._shift_began(wall_s)
        if began > self._began_wall_s:
            self._began_wall_s = self._since_wall_s = began
            self._whole = True
            self._counts = {}
            self._model_counts = {}


def _light(outcome: Outcome) -> Outcome:
    """Return the outcome without its frame or window and without its maps."""
    return replace(outcome, data=None, verdict=replace(outcome.verdict, evidence={}))


def _copy(second: Second) -> Second:
    return Second(second.at, second.low, second.high, second.threshold, second.worst, second.items)


def _add(counts: dict[str, int], more: dict[str, int]) -> None:
    for name, number in more.items():
        counts[name] = counts.get(name, 0) + number
