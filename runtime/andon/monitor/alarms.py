"""Raise and clear an alarm from the verdicts of a line: k of n, levels with hysteresis, least duration, latch, pause.

A rule is a function from state and input to new state and events. It has no clock and no timers: the state changes only with an
item or an acknowledgement, so a recorded line can be replayed. Times are monotonic seconds. The state is plain data for JSON.

For each item:

1. If the last counted item is older than `max_gap_s`, the window is emptied and the count of cold items starts again.
2. An item without a value (INVALID) has no other effect. It neither raises nor clears.
3. The item is hot, cold or neither (`AlarmRule.signal`). Hot or not is stored in the window of the last `n` counted items.
4. An inactive alarm is raised by a hot item if at least `k` items of the window are hot, and if the last clear is at least
   `refractory_s` ago. Otherwise the raise is counted as suppressed.
5. An active alarm is cleared after `clear_n` cold items in a row, and at least `min_on_s` after it was raised.

The states follow ISA 18.2: NORMAL, UNACK (raised), ACKED (raised and acknowledged), RTN_UNACK (returned to normal before it was
acknowledged; only with `latch`).
"""

import math
import re
from typing import Annotated, Literal

from msgspec import Meta, Struct, structs

from andon.foundation.errors import ConfigError
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import Verdict

Seconds = Annotated[float, Meta(ge=0.0)]
Signal = Literal["reject", "score", "invalid"]
"""Meaning of hot and cold.

``reject``: hot is REJECT, cold is OK or REVIEW. These are the decisions of the model file.
``score``: hot is a score above `on`, cold is a score of at most `off`. A score between them is neither.
``invalid``: hot is INVALID, cold is any other status. This is the rule of a health alarm. INVALID items count here, except those
with the reason ``warming``.
"""
Condition = Literal["normal", "unack", "acked", "rtn_unack"]
EventKind = Literal["raised", "repeated", "cleared", "acked", "ack_refused"]


class AlarmRule(Struct, frozen=True, kw_only=True):
    """The settings of an alarm.

    Raises:
        ConfigError: `k` is above `n`, a number is out of range, or the levels do not belong to the signal.
    """

    signal: Signal = "reject"
    on: float | None = None
    """With the signal ``score``: a score above this is hot."""
    off: float | None = None
    """With the signal ``score``: a score of at most this is cold. At most `on`. None means `on`."""
    k: Annotated[int, Meta(ge=1)] = 1
    """Number of hot items that raise the alarm."""
    n: Annotated[int, Meta(ge=1, le=10_000)] = 1
    """Length of the window, in counted items."""
    clear_n: Annotated[int, Meta(ge=1)] = 1
    """Number of cold items in a row that clear the alarm."""
    min_on_s: Seconds = 0.0
    """Shortest duration of an alarm."""
    refractory_s: Seconds = 0.0
    """Shortest pause between a clear and the next raise."""
    latch: bool = False
    """Keep the output on after a clear until a person acknowledges the alarm."""
    max_gap_s: Seconds | None = None
    """Longest pause between two counted items of one window. None means no limit."""

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.n <= 10_000:
            raise ConfigError(f"alarm: expected 1 <= k <= n <= 10000, got k = {self.k}, n = {self.n}. Example: 3/5.")
        if self.clear_n < 1:
            raise ConfigError(f"alarm: expected clear_n of at least 1, got {self.clear_n}.")
        for name, seconds in (("min_on_s", self.min_on_s), ("refractory_s", self.refractory_s)):
            if not 0.0 <= seconds < math.inf:
                raise ConfigError(f"alarm: expected {name} of at least 0 seconds, got {seconds:g}.")
        if self.max_gap_s is not None and not self.max_gap_s >= 0.0:
            raise ConfigError(f"alarm: expected max_gap_s of at least 0 seconds, got {self.max_gap_s:g}.")
        if (self.signal == "score") != (self.on is not None) or (self.off is not None and self.on is None):
            raise ConfigError('alarm: the levels `on` and `off` belong to signal = "score". Give all of them or none.')
        if self.on is not None and not (math.isfinite(self.on) and (self.off is None or self.off <= self.on)):
            raise ConfigError(f"alarm: expected off <= on, got off = {self.off}, on = {self.on}.")


class AlarmState(Struct, frozen=True, kw_only=True):
    """State of one alarm of one line."""

    window: tuple[bool, ...] = ()
    """The last counted items, oldest first: hot or not."""
    cold: int = 0
    """Number of cold items in a row."""
    active: bool = False
    """True between a raise and the clear that follows."""
    condition: Condition = "normal"
    alarm: int = 0
    """Number of the last alarm, from 1. 0 before the first alarm."""
    occurrence: int = 0
    """Number of raises of this alarm. It is above 1 if the alarm returned before it was acknowledged."""
    suppressed: int = 0
    """Number of raises, over all time, that were suppressed by `AlarmRule.refractory_s`."""
    raised_s: float | None = None
    cleared_s: float | None = None
    counted_s: float | None = None
    """Time of the last counted item."""
    now_s: float | None = None
    """Latest time that was given. An earlier time is treated as this time."""


class AlarmEvent(Struct, frozen=True, kw_only=True):
    """A change of an alarm."""

    kind: EventKind
    """``raised``: a new alarm. ``repeated``: an alarm that was not acknowledged is active again. ``cleared``, ``acked``.
    ``ack_refused``: the acknowledgement names another alarm than the last one."""
    alarm: int
    """Number of the alarm, from 1."""
    occurrence: int
    at_s: float
    """Monotonic time of the change, in seconds."""


def rule_from_text(text: str) -> AlarmRule:
    """Return the rule ``K/N``: K of the last N counted items are REJECT. N others in a row clear the alarm.

    Raises:
        ConfigError: the text is not of this form, or K is not from 1 to N.

    >>> rule_from_text("3/5").k
    3
    """
    numbers = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
    if numbers is None:
        raise ConfigError(f"alarm: expected K/N with 1 <= K <= N <= 10000, got {text!r}. Example: 3/5.")
    k, n = map(int, numbers.groups())
    return AlarmRule(k=k, n=n, clear_n=max(1, n))


def step(
    state: AlarmState, verdict: Verdict, now_s: float, rule: AlarmRule
) -> tuple[AlarmState, tuple[AlarmEvent, ...]]:
    """Return the state after one more item, and the events that it caused (at most one).

    Args:
        state: the state before.
        verdict: the verdict of the item.
        now_s: monotonic time of the item. Equal times are normal. A time before the latest one is treated as the latest one,
            because order is the order of the items.
        rule: the settings.

    Raises:
        ValueError: the time is not finite.
    """
    now_s = _at(state, now_s)
    window, cold = state.window, state.cold
    if rule.max_gap_s is not None and state.counted_s is not None and now_s - state.counted_s > rule.max_gap_s:
        window, cold = (), 0
    hot = _is_hot(verdict, rule)
    if hot is None:
        return structs.replace(state, window=window, cold=cold, now_s=now_s), ()
    window = (*window, hot)[-rule.n :]
    cold = cold + 1 if _is_cold(verdict, rule) else 0
    state = structs.replace(state, window=window, cold=cold, counted_s=now_s, now_s=now_s)
    if state.active:
        if cold >= rule.clear_n and _since(state.raised_s, now_s) >= rule.min_on_s:
            return _clear(state, now_s, rule)
    elif hot and sum(window) >= rule.k:
        if _since(state.cleared_s, now_s) >= rule.refractory_s:
            return _raise(state, now_s)
        return structs.replace(state, suppressed=state.suppressed + 1), ()
    return state, ()


def acknowledge(state: AlarmState, alarm: int, now_s: float) -> tuple[AlarmState, tuple[AlarmEvent, ...]]:
    """Return the state after a person has acknowledged an alarm. A second acknowledgement has no effect.

    Args:
        state: the state before.
        alarm: number of the alarm that the person saw. Another number than the last alarm's is refused with an event.
        now_s: monotonic time.

    Raises:
        ValueError: the time is not finite.
    """
    now_s = _at(state, now_s)
    state = structs.replace(state, now_s=now_s)
    if alarm != state.alarm:
        refused = AlarmEvent(kind="ack_refused", alarm=alarm, occurrence=0, at_s=now_s)
        return state, (refused,)
    if state.condition not in ("unack", "rtn_unack"):
        return state, ()
    state = structs.replace(state, condition="acked" if state.active else "normal")
    return state, (_event("acked", state, now_s),)


def output_on(state: AlarmState, rule: AlarmRule) -> bool:
    """Return whether the lamp or relay of the alarm is on: with `latch` until it is acknowledged and over, else while active."""
    return state.condition != "normal" if rule.latch else state.active


def reloaded(state: AlarmState) -> AlarmState:
    """Return the state for another model file: the alarm stays, and the window is emptied, because scores differ."""
    return structs.replace(state, window=(), cold=0)


def resumed(state: AlarmState, now_s: float) -> AlarmState:
    """Return a stored state for a process with another monotonic clock. The pause counts as no time and as a gap.

    Raises:
        ValueError: the time is not finite.
    """
    _finite(now_s)
    shift_s = 0.0 if state.now_s is None else now_s - state.now_s

    def shifted(at_s: float | None) -> float | None:
        return None if at_s is None else at_s + shift_s

    return structs.replace(
        state,
        window=(),
        cold=0,
        raised_s=shifted(state.raised_s),
        cleared_s=shifted(state.cleared_s),
        counted_s=None,
        now_s=shifted(state.now_s),
    )


def _is_hot(verdict: Verdict, rule: AlarmRule) -> bool | None:
    """Return whether the item is hot. None if it does not count."""
    if verdict.reason is Reason.WARMING:  # too few samples after a start is normal
        return None
    if rule.signal == "invalid":
        return verdict.status is Status.INVALID
    if verdict.status is Status.INVALID:
        return None
    if rule.on is None:
        return verdict.status is Status.REJECT
    return None if math.isnan(verdict.score) else verdict.score > rule.on


def _is_cold(verdict: Verdict, rule: AlarmRule) -> bool:
    if rule.signal == "invalid":
        return verdict.status is not Status.INVALID
    if rule.on is None:
        return verdict.status is not Status.REJECT
    return verdict.score <= (rule.on if rule.off is None else rule.off)


def _raise(state: AlarmState, now_s: float) -> tuple[AlarmState, tuple[AlarmEvent, ...]]:
    again = state.condition == "rtn_unack"
    state = structs.replace(
        state,
        active=True,
        cold=0,
        condition="unack",
        alarm=state.alarm + (not again),
        occurrence=state.occurrence + 1 if again else 1,
        raised_s=now_s,
    )
    return state, (_event("repeated" if again else "raised", state, now_s),)


def _clear(state: AlarmState, now_s: float, rule: AlarmRule) -> tuple[AlarmState, tuple[AlarmEvent, ...]]:
    waits = rule.latch and state.condition == "unack"
    state = structs.replace(
        state, active=False, window=(), cold=0, condition="rtn_unack" if waits else "normal", cleared_s=now_s
    )
    return state, (_event("cleared", state, now_s),)


def _event(kind: EventKind, state: AlarmState, now_s: float) -> AlarmEvent:
    return AlarmEvent(kind=kind, alarm=state.alarm, occurrence=state.occurrence, at_s=now_s)


def _since(then_s: float | None, now_s: float) -> float:
    return math.inf if then_s is None else now_s - then_s


def _at(state: AlarmState, now_s: float) -> float:
    _finite(now_s)
    return now_s if state.now_s is None else max(now_s, state.now_s)


def _finite(now_s: float) -> None:
    if not math.isfinite(now_s):
        raise ValueError(f"now_s: expected finite monotonic seconds, got {now_s}.")
