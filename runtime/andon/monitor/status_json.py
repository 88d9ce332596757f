"""Write the status of a monitor as JSON for people and programs.

Only the members below are written, and each text without known secrets. Times are ages in seconds, because the monotonic clock
of a process means nothing to others.
"""

from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from andon.foundation.redaction import redact
from andon.monitor.alarms import AlarmState, Condition
from andon.monitor.counters import Counters
from andon.monitor.health import liveness, readiness
from andon.monitor.status import (
    LATENCY_BUCKETS_S,
    ControllerStatus,
    Latency,
    LineState,
    LineStatus,
    OutputStatus,
    PartsStatus,
    ProcessStatus,
    RejectStatus,
    StoreStatus,
    TriggerStatus,
)

SCHEMA = 1
"""Version of the JSON form. It grows when a key changes its meaning or disappears; new keys do not change it."""


class HealthPart(Struct, frozen=True, kw_only=True):
    """The result of both checks."""

    live: bool
    ready: bool
    reasons: tuple[str, ...]
    """Reasons why the monitor is not ready. They include the reasons why it is not live."""


class AlarmPart(Struct, frozen=True, kw_only=True):
    """One alarm."""

    name: str
    active: bool
    condition: Condition
    number: int
    """Number of the last alarm of this name. 0 before the first."""
    occurrence: int
    suppressed: int
    raised_age_s: float | None


class ShelfPart(Struct, frozen=True, kw_only=True):
    """One shelved alarm."""

    name: str
    left_s: float
    """Time until the shelf ends."""
    reason: str
    by: str


class ChartPart(Struct, frozen=True, kw_only=True):
    """One drift chart."""

    name: str
    value: float
    limit: float
    crossed: bool


class LatencyPart(Struct, frozen=True, kw_only=True):
    """Latency of the judged items."""

    limits_s: tuple[float, ...]
    """Upper limits of the buckets. The last bucket is open."""
    counts: tuple[int, ...]
    sum_s: float


class LinePart(Struct, frozen=True, kw_only=True):
    """One line."""

    name: str
    state: LineState
    source: str
    model: str
    model_name: str
    golden: bool
    counters: Counters
    latency: LatencyPart
    alarms: tuple[AlarmPart, ...]
    shelved: tuple[ShelfPart, ...]
    charts: tuple[ChartPart, ...]
    judged_age_s: float | None
    judging_s: float | None
    quiet_ok: bool
    source_report: str
    restarts: int
    reloads: int
    reload_error: str
    failure: str
    lost: int
    parts: PartsStatus | None
    reject: RejectStatus | None
    trigger: TriggerStatus | None


class StorePart(Struct, frozen=True, kw_only=True):
    """The event store."""

    stored: int
    waiting: int
    lost: int
    failing: str
    moved: str
    evidence_dropped: int
    answered_age_s: float | None


class OutputPart(Struct, frozen=True, kw_only=True):
    """One output."""

    name: str
    kind: str
    backlog: int
    delivered: int
    dead: int
    failing: str


class ControllerPart(Struct, frozen=True, kw_only=True):
    """One controller."""

    name: str
    kind: str
    lines: tuple[str, ...]
    connected: bool
    written: int
    late: int
    longest_s: float
    confirmed_age_s: float | None
    failing: str


class StatusPage(Struct, frozen=True, kw_only=True):
    """The whole answer."""

    schema: int = SCHEMA
    version: str
    run: str
    started_at: str
    at: str
    health: HealthPart
    stopping: bool
    clock_steps: int
    lines: tuple[LinePart, ...]
    store: StorePart | None
    outputs: tuple[OutputPart, ...]
    controllers: tuple[ControllerPart, ...]


def status_json(status: ProcessStatus) -> bytes:
    """Return the status as one JSON object."""
    now_s = status.now_s
    ready = readiness(status)
    page = StatusPage(
        version=status.version,
        run=status.run,
        started_at=_at(status.started_wall_s),
        at=_at(status.now_wall_s),
        health=HealthPart(live=liveness(status).ok, ready=ready.ok, reasons=ready.reasons),
        stopping=status.stopping,
        clock_steps=status.clock_epoch,
        lines=tuple(_line(line, now_s) for line in status.lines),
        store=None if status.store is None else _store(status.store, now_s),
        outputs=tuple(map(_output, status.outputs)),
        controllers=tuple(_controller(one, now_s) for one in status.controllers),
    )
    return msgspec.json.encode(page)


def _line(line: LineStatus, now_s: float) -> LinePart:
    return LinePart(
        name=line.name,
        state=line.state,
        source=redact(line.source),
        model=line.model,
        model_name=redact(line.model_name),
        golden=line.golden,
        counters=line.counters,
        latency=_latency(line.latency),
        alarms=tuple(_alarm(name, state, now_s) for name, state in sorted(line.alarms.items())),
        shelved=tuple(
            ShelfPart(
                name=name,
                left_s=round(max(0.0, shelf.until_s - now_s), 3),
                reason=redact(shelf.reason),
                by=redact(shelf.by),
            )
            for name, shelf in sorted(line.shelved.items())
        ),
        charts=tuple(
            ChartPart(name=chart.name, value=chart.value, limit=chart.limit, crossed=chart.crossed)
            for chart in line.charts
        ),
        judged_age_s=_age(line.last_outcome_s, now_s),
        judging_s=_age(line.judging_since_s, now_s),
        quiet_ok=line.quiet_ok,
        source_report=line.source_report,
        restarts=line.restarts,
        reloads=line.reloads,
        reload_error=redact(line.reload_error),
        failure=redact(line.failure),
        lost=line.lost,
        parts=line.parts,
        reject=line.reject,
        trigger=None if line.trigger is None else _trigger(line.trigger),
    )


def _trigger(trigger: TriggerStatus) -> TriggerStatus:
    return TriggerStatus(given=trigger.given, refused=trigger.refused, failing=redact(trigger.failing))


def _latency(latency: Latency) -> LatencyPart:
    return LatencyPart(limits_s=LATENCY_BUCKETS_S, counts=latency.counts, sum_s=round(latency.sum_s, 6))


def _alarm(name: str, state: AlarmState, now_s: float) -> AlarmPart:
    return AlarmPart(
        name=name,
        active=state.active,
        condition=state.condition,
        number=state.alarm,
        occurrence=state.occurrence,
        suppressed=state.suppressed,
        raised_age_s=_age(state.raised_s, now_s),
    )


def _store(store: StoreStatus, now_s: float) -> StorePart:
    return StorePart(
        stored=store.stored,
        waiting=store.waiting,
        lost=store.lost,
        failing=redact(store.failing),
        moved=store.moved,
        evidence_dropped=store.evidence_dropped,
        answered_age_s=_age(store.ping_s, now_s),
    )


def _output(output: OutputStatus) -> OutputPart:
    return OutputPart(
        name=output.name,
        kind=output.kind,
        backlog=output.backlog,
        delivered=output.delivered,
        dead=output.dead,
        failing=redact(output.failing),
    )


def _controller(controller: ControllerStatus, now_s: float) -> ControllerPart:
    return ControllerPart(
        name=controller.name,
        kind=controller.kind,
        lines=controller.lines,
        connected=controller.connected,
        written=controller.written,
        late=controller.late,
        longest_s=round(controller.longest_s, 6),
        confirmed_age_s=_age(controller.confirmed_s, now_s),
        failing=redact(controller.failing),
    )


def _age(at_s: float | None, now_s: float) -> float | None:
    return None if at_s is None else round(max(0.0, now_s - at_s), 3)


def _at(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
