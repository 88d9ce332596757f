"""The content of the page as plain data: what each line shows, and how urgent it is. Pure functions; the page only draws it.

Times are ages in seconds, because the monotonic clock of a process means nothing to a browser. Texts from outside pass through
`redact`.
"""

import math
from typing import Literal

from msgspec import Struct

from andon.foundation.redaction import redact
from andon.monitor.alarms import AlarmState, Condition
from andon.monitor.counters import Counters
from andon.monitor.health import readiness
from andon.monitor.judging import Outcome
from andon.monitor.line_view import LineView, Second, Seen, ShiftCounts
from andon.monitor.records import iso
from andon.monitor.shelving import Shelf
from andon.monitor.status import LineState, LineStatus, ProcessStatus
from andon.monitor.web.page_monitor import Exceeds, PageMonitor
from andon.runtime.schema import Card, FrameSpec, Reason, Status, json_number

Signal = Literal["alarm", "acked", "returned", "fault", "invalid", "notice", "idle", "quiet"]
"""The way in which a line calls for attention, the most urgent first.

``alarm``: an alarm that no person has acknowledged. ``acked``: it is acknowledged and still active. ``returned``: it is over, but
no person has acknowledged it. ``fault``: the line has failed, or its source is away. ``invalid``: the newest item is INVALID.
``notice``: a drift chart, the store, an output, a controller or a refused model file needs a look. ``idle``: no new item has come
for a long time, so that nothing is known about the parts. ``quiet``: all is well.
"""
SIGNALS: tuple[Signal, ...] = ("alarm", "acked", "returned", "fault", "invalid", "notice", "idle", "quiet")
STALE_S = 60.0
"""Age from which the newest item of a source that is not live is shown as old. A live source has its own limit."""
NEWEST_SECONDS = 15
"""Seconds of the history in each message. The whole history comes with the first one."""


class AlarmRow(Struct, frozen=True, kw_only=True):
    """One alarm."""

    name: str
    condition: Condition
    active: bool
    number: int
    occurrence: int
    raised_age_s: float | None
    shelved_s: float | None
    """Time until the shelf ends. None if the alarm is not shelved."""
    shelf_reason: str
    shelf_by: str


class LampRow(Struct, frozen=True, kw_only=True):
    """One lamp: a subject that is well or not."""

    name: str
    """Key of the text of the lamp."""
    of: str
    """Name of the chart, output or controller. Empty for lamps of which there is one."""
    ok: bool
    detail: str


class ItemRow(Struct, frozen=True, kw_only=True):
    """One judged item."""

    seq: int
    item: str
    part: str
    status: str
    reason: str
    """Readable reason of an INVALID item."""
    warming: bool
    """True if the item is INVALID only because there are too few samples after a start."""
    score: float | None
    level: float | None
    threshold: float | None
    channel: str
    at: str
    age_s: float
    stale: bool


class PromiseRow(Struct, frozen=True, kw_only=True):
    """The promise of the model file, and the rejects of this shift against it."""

    sentence: str
    promised: bool
    unit: str
    allowed_share: float
    judged: int
    rejects: int
    allowed: float
    """Number of rejects that the promised share would mean for the judged items."""
    exceeded: bool
    """True if these are more rejects than the promise explains. Never without the package that computes it."""


class LineData(Struct, frozen=True, kw_only=True):
    """Everything that the page shows about one line, except its picture and events."""

    name: str
    signal: Signal
    state: LineState
    state_age_s: float | None
    failure: str
    source: str
    model: str
    model_name: str
    kind: Literal["frame", "window"]
    last: ItemRow | None
    picture_age_s: float | None
    """Age of the newest frame or window."""
    picture_limit_s: float
    """Age from which the picture is old."""
    away: bool
    """True if no new picture can come now: the source is away, or the line has ended."""
    shift: dict[str, int]
    shift_since: str
    shift_whole: bool
    total: dict[str, int]
    total_since: str
    dropped: int
    promise: PromiseRow | None
    alarms: tuple[AlarmRow, ...]
    lamps: tuple[LampRow, ...]
    newest: tuple[Second, ...]
    now: int
    """Whole seconds of the clock of `newest`."""


class PageData(Struct, frozen=True, kw_only=True):
    """One message to the page."""

    at: str
    run: str
    version: str
    stopping: bool
    ready: bool
    stored: int | None
    """Number of events in the store since the start. The page loads the list again when it changes."""
    lines: tuple[LineData, ...]


def page_data(
    status: ProcessStatus, monitor: PageMonitor, *, only: str | None = None, exceeds: Exceeds | None = None
) -> PageData:
    """Return what the page shows.

    Args:
        status: the present status.
        monitor: see `PageMonitor`.
        only: name of the only line to include. None: all lines.
        exceeds: compares rejects with the promise, see `Exceeds`.
    """
    return PageData(
        at=iso(status.now_wall_s),
        run=status.run,
        version=status.version,
        stopping=status.stopping,
        ready=readiness(status).ok,
        stored=status.store.stored if status.store is not None else None,
        lines=tuple(
            _line(line, status, monitor.views[line.name], monitor.card(line.name), exceeds)
            for line in status.lines
            if line.name in monitor.views and only in (None, line.name)
        ),
    )


def signal_of(line: LineStatus, last: ItemRow | None, lamps: tuple[LampRow, ...]) -> Signal:
    """Return how urgently a line calls for attention. Shelved alarms do not count.

    Without a fresh item a line is never quiet: an old OK does not describe the present parts.
    """
    conditions = {state.condition for name, state in line.alarms.items() if name not in line.shelved}
    by_condition: dict[Condition, Signal] = {"unack": "alarm", "acked": "acked", "rtn_unack": "returned"}
    for condition, signal in by_condition.items():
        if condition in conditions:
            return signal
    if line.state in ("failed", "retrying"):
        return "fault"
    # too few samples after a start is normal
    if last is not None and last.status == Status.INVALID.name and not last.warming:
        return "invalid"
    if not all(lamp.ok for lamp in lamps):
        return "notice"
    return "idle" if last is None or last.stale else "quiet"


def _line(
    line: LineStatus, status: ProcessStatus, view: LineView, card: Card | None, exceeds: Exceeds | None
) -> LineData:
    now_s = status.now_s
    last, seen = view.last, view.seen
    limit_s = line.stale_after_s if math.isfinite(line.stale_after_s) else STALE_S
    away = line.state in ("failed", "retrying", "ended")
    shift = view.shift(status.now_wall_s)
    lamps = _lamps(line, status)
    item = _item(last, now_s, limit_s, away=away) if last is not None else None
    picture_age_s = max(0.0, now_s - seen.at_s) if seen is not None else None
    return LineData(
        name=line.name,
        signal=signal_of(line, item, lamps),
        state=line.state,
        state_age_s=None if line.since_s is None else max(0.0, now_s - line.since_s),
        failure=redact(line.failure),
        source=redact(line.source),
        model=line.model,
        model_name=redact(line.model_name),
        kind="frame" if card is None or isinstance(card.input, FrameSpec) else "window",
        last=item,
        picture_age_s=picture_age_s,
        picture_limit_s=limit_s,
        away=away,
        shift=_by_status(shift.by_status),
        shift_since=iso(shift.since_wall_s),
        shift_whole=shift.whole,
        total=_totals(line.counters),
        total_since=iso(status.started_wall_s),
        dropped=line.counters.dropped,
        promise=_promise(card, line.model, shift, exceeds),
        alarms=tuple(_alarm(name, state, line.shelved.get(name), now_s) for name, state in sorted(line.alarms.items())),
        lamps=lamps,
        newest=tuple(view.seconds(NEWEST_SECONDS)),
        now=int(now_s),
    )


def _item(seen: Seen, now_s: float, limit_s: float, *, away: bool) -> ItemRow:
    outcome, verdict = seen.outcome, seen.outcome.verdict
    age_s = max(0.0, now_s - seen.at_s)
    return ItemRow(
        seq=outcome.seq,
        item=redact(outcome.ref.key),
        part=redact(outcome.ref.part),
        status=verdict.status.name,
        reason=redact(_reason(outcome)),
        warming=verdict.reason is Reason.WARMING,
        score=json_number(verdict.score),
        level=json_number(verdict.level),
        threshold=json_number(verdict.threshold),
        channel=outcome.channel,
        at=iso(outcome.wall_s),
        age_s=age_s,
        stale=away or age_s > limit_s,
    )


def _reason(outcome: Outcome) -> str:
    return outcome.verdict.reason.text


def _alarm(name: str, state: AlarmState, shelf: Shelf | None, now_s: float) -> AlarmRow:
    return AlarmRow(
        name=name,
        condition=state.condition,
        active=state.active,
        number=state.alarm,
        occurrence=state.occurrence,
        raised_age_s=None if state.raised_s is None else max(0.0, now_s - state.raised_s),
        shelved_s=None if shelf is None else max(0.0, shelf.until_s - now_s),
        shelf_reason=shelf.reason if shelf is not None else "",
        shelf_by=shelf.by if shelf is not None else "",
    )


def _lamps(line: LineStatus, status: ProcessStatus) -> tuple[LampRow, ...]:
    lamps = [
        LampRow(name="source", of="", ok=line.state in ("running", "ended"), detail=line.state),
        LampRow(name="model", of="", ok=line.golden and not line.reload_error, detail=redact(line.reload_error)),
    ]
    lamps += [
        LampRow(name="drift", of=chart.name, ok=not chart.crossed, detail=f"{chart.value:.4g} / {chart.limit:.4g}")
        for chart in line.charts
    ]
    if status.store is not None:
        store = status.store
        lamps.append(
            LampRow(
                name="store", of="", ok=not (store.failing or store.moved), detail=redact(store.failing) or store.moved
            )
        )
    lamps += [
        LampRow(name="output", of=one.name, ok=not one.failing, detail=redact(one.failing)) for one in status.outputs
    ]
    lamps += [
        LampRow(name="controller", of=one.name, ok=not one.failing, detail=redact(one.failing))
        for one in status.controllers
        if line.name in one.lines
    ]
    if line.lost:
        lamps.append(LampRow(name="lost", of="", ok=False, detail=str(line.lost)))
    return tuple(lamps)


def _by_status(numbers: dict[str, int]) -> dict[str, int]:
    return {status.name: numbers.get(status.name, 0) for status in Status}


def _totals(counters: Counters) -> dict[str, int]:
    return _by_status({**counters.by_status, "INVALID": counters.invalid})


def _promise(card: Card | None, model: str, shift: ShiftCounts, exceeds: Exceeds | None) -> PromiseRow | None:
    calibration = card.calibration if card is not None else None
    if calibration is None:
        return None
    # a promise does not cover the verdicts of another file
    counts = shift.by_status_of_model if shift.model == model else {}
    rejects = counts.get("REJECT", 0)
    judged = sum(number for name, number in counts.items() if name != "INVALID")
    exceeded = False
    if exceeds is not None and calibration.promised and judged > 0:
        exceeded = exceeds(rejects, judged, calibration)
    return PromiseRow(
        sentence=calibration.sentence,
        promised=calibration.promised,
        unit=calibration.unit,
        allowed_share=calibration.alpha,
        judged=judged,
        rejects=rejects,
        allowed=calibration.alpha * judged,
        exceeded=exceeded,
    )
