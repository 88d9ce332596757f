"""Write the status of a monitor as metrics for Prometheus.

Labels are names from the configuration (line, alarm, output, controller) and members of closed sets (status, reason, state). All
members are written from the start, so the number of series depends on the configuration only and memory cannot grow. Keys of
items, paths, digests and messages never become labels.

For each line ``andon_items_grabbed_total`` is the sum of the judged, invalid and dropped items over their labels.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, get_args

from andon.foundation.extras import needs
from andon.monitor.counters import DropReason
from andon.monitor.health import liveness, readiness
from andon.monitor.status import (
    LATENCY_BUCKETS_S,
    ControllerStatus,
    LineState,
    LineStatus,
    OutputStatus,
    ProcessStatus,
    StoreStatus,
)
from andon.runtime.schema import Reason, Status

if TYPE_CHECKING:
    from prometheus_client import Metric

_STATUSES = tuple(status.name for status in Status if status is not Status.INVALID)
_REASONS = tuple(reason.name for reason in Reason if reason is not Reason.NONE)
_DROPS: tuple[str, ...] = get_args(DropReason)
_STATES: tuple[str, ...] = get_args(LineState)
_UNKNOWN = "OTHER"
"""Label of members that this version does not know. Their name is not used, because it may be of any length."""


def exposition(status: ProcessStatus) -> tuple[bytes, str]:
    """Return the metrics as text, and its content type.

    Raises:
        MissingExtra: prometheus-client is not installed.
    """
    with needs("monitor", "the page of metrics"):
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.exposition import CONTENT_TYPE_LATEST

    registry = CollectorRegistry(auto_describe=False)  # not the global one, to which other libraries add series
    registry.register(_Snapshot(status))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Snapshot:
    def __init__(self, status: ProcessStatus) -> None:
        self._status = status

    def collect(self) -> Iterable["Metric"]:
        """Yield all metrics."""
        yield from _of_process(self._status)
        yield from _of_lines(self._status)
        if self._status.store is not None:
            yield from _of_store(self._status.store, self._status.now_s)
        yield from _of_outputs(self._status.outputs)
        yield from _of_controllers(self._status)


Labels = tuple[str, ...]


def _gauge(name: str, text: str, labels: Labels, rows: Iterable[tuple[Labels, float]]) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _counter(name: str, text: str, labels: Labels, rows: Iterable[tuple[Labels, float]]) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=labels)
    for values, number in rows:
        family.add_metric(values, number)
    return family


def _of_process(status: ProcessStatus) -> Iterator["Metric"]:
    yield _gauge("andon_info", "Version of andon.", ("version",), [((status.version,), 1)])
    yield _gauge(
        "andon_start_time_seconds", "Wall time of the start, in seconds since 1970.", (), [((), status.started_wall_s)]
    )
    yield _gauge("andon_live", "1 if a restart would not help.", (), [((), liveness(status).ok)])
    yield _gauge("andon_ready", "1 if the monitor can judge on every line.", (), [((), readiness(status).ok)])
    yield _gauge("andon_stopping", "1 while the monitor stops.", (), [((), status.stopping)])
    yield _counter("andon_clock_steps", "Jumps of the wall clock.", (), [((), status.clock_epoch)])


def _of_lines(status: ProcessStatus) -> Iterator["Metric"]:
    lines, line = status.lines, ("line",)
    yield _counter(
        "andon_items_grabbed",
        "Items with a known outcome: the sum of judged, invalid and dropped.",
        line,
        [((one.name,), one.counters.grabbed) for one in lines],
    )
    yield _counter(
        "andon_items_judged",
        "Judged items.",
        ("line", "status"),
        [row for one in lines for row in _split(one, one.counters.by_status, _STATUSES, one.counters.judged)],
    )
    yield _counter(
        "andon_items_invalid",
        "Items that could not be judged.",
        ("line", "reason"),
        [row for one in lines for row in _split(one, one.counters.by_reason, _REASONS, one.counters.invalid)],
    )
    yield _counter(
        "andon_items_dropped",
        "Items that were detected but not judged.",
        ("line", "reason"),
        [row for one in lines for row in _split(one, one.counters.by_drop, _DROPS, one.counters.dropped)],
    )
    yield _gauge(
        "andon_items_waiting",
        "Items that were read and have no outcome yet.",
        line,
        [((one.name,), one.counters.waiting) for one in lines],
    )
    yield _latency(lines)
    yield _gauge(
        "andon_line_state",
        "1 for the present state of the line.",
        ("line", "state"),
        [((one.name, state), one.state == state) for one in lines for state in _STATES],
    )
    yield _gauge(
        "andon_line_golden_passed",
        "1 if the golden sample of the model file was reproduced on this machine.",
        line,
        [((one.name,), one.golden) for one in lines],
    )
    yield _gauge(
        "andon_line_seconds_since_judged",
        "Time since the last judged item.",
        line,
        [((one.name,), max(0.0, status.now_s - at_s)) for one in lines if (at_s := one.last_outcome_s) is not None],
    )
    yield _gauge(
        "andon_line_judging_seconds",
        "Duration of the present call of the judge. 0 if it is idle.",
        line,
        [
            ((one.name,), 0.0 if one.judging_since_s is None else max(0.0, status.now_s - one.judging_since_s))
            for one in lines
        ],
    )
    yield _counter(
        "andon_source_restarts",
        "Times that the source was opened again.",
        line,
        [((one.name,), one.restarts) for one in lines],
    )
    yield _counter("andon_model_reloads", "Model files loaded.", line, [((one.name,), one.reloads) for one in lines])
    yield _gauge(
        "andon_model_refused",
        "1 if the last new model file was refused and the old one still runs.",
        line,
        [((one.name,), bool(one.reload_error)) for one in lines],
    )
    yield _counter(
        "andon_sink_lost",
        "Outcomes that the sinks of the line could not keep.",
        line,
        [((one.name,), one.lost) for one in lines],
    )
    yield from _of_alarms(lines)
    yield from _of_charts(lines)
    yield from _of_parts(lines)
    yield from _of_rejects(lines)
    yield from _of_triggers(lines)


def _split(
    line: LineStatus, numbers: Mapping[str, int], known: tuple[str, ...], total: int
) -> Iterator[tuple[Labels, float]]:
    """Yield one row for each known member. Their sum is the total: what has another name is counted as ``other``."""
    counts = {name: numbers.get(name, 0) for name in known}
    unknown = total - sum(counts.values())
    if unknown:
        counts[_UNKNOWN] = counts.get(_UNKNOWN, 0) + unknown
    for name, number in counts.items():
        yield (line.name, name.lower()), number


def _latency(lines: tuple[LineStatus, ...]) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(
        "andon_latency_seconds", "Time from the arrival of an item to its verdict.", labels=("line",)
    )
    limits = [*map(str, LATENCY_BUCKETS_S), "+Inf"]
    for line in lines:
        buckets = list(zip(limits, accumulate(line.latency.counts), strict=True))
        family.add_metric((line.name,), buckets=buckets, sum_value=line.latency.sum_s)
    return family


def _of_alarms(lines: tuple[LineStatus, ...]) -> Iterator["Metric"]:
    alarms = [((line.name, name), state) for line in lines for name, state in sorted(line.alarms.items())]
    labels = ("line", "alarm")
    yield _gauge(
        "andon_alarm_active", "1 while the alarm is active.", labels, [(row, one.active) for row, one in alarms]
    )
    yield _gauge(
        "andon_alarm_unacknowledged",
        "1 until a person has acknowledged the alarm.",
        labels,
        [(row, one.condition in ("unack", "rtn_unack")) for row, one in alarms],
    )
    yield _gauge(
        "andon_alarm_shelved",
        "1 while the alarm is shelved by a person.",
        labels,
        [((line.name, name), name in line.shelved) for line in lines for name in sorted({*line.alarms, *line.shelved})],
    )
    yield _counter("andon_alarms", "Alarms raised.", labels, [(row, one.alarm) for row, one in alarms])
    yield _counter(
        "andon_alarms_suppressed",
        "Raises suppressed because the last alarm had just been cleared.",
        labels,
        [(row, one.suppressed) for row, one in alarms],
    )


def _of_charts(lines: tuple[LineStatus, ...]) -> Iterator["Metric"]:
    charts = [((line.name, chart.name), chart) for line in lines for chart in line.charts]
    labels = ("line", "chart")
    yield _gauge("andon_drift_value", "Value of the drift chart.", labels, [(row, one.value) for row, one in charts])
    yield _gauge("andon_drift_limit", "Limit of the drift chart.", labels, [(row, one.limit) for row, one in charts])
    yield _gauge(
        "andon_drift_crossed", "1 if the value is above the limit.", labels, [(row, one.crossed) for row, one in charts]
    )


def _of_parts(lines: tuple[LineStatus, ...]) -> Iterator["Metric"]:
    parts = [((line.name,), line.parts) for line in lines if line.parts is not None]
    yield _counter(
        "andon_parts_decided",
        "Decisions about parts.",
        ("line", "status"),
        [((*row, status.name.lower()), one.by_status.get(status.name, 0)) for row, one in parts for status in Status],
    )
    yield _gauge("andon_parts_open", "Parts without a decision.", ("line",), [(row, one.open) for row, one in parts])
    yield _counter(
        "andon_part_frames",
        "Frames that were late, surplus, or without a trigger.",
        ("line", "reason"),
        [
            ((*row, reason), number)
            for row, one in parts
            for reason, number in (
                ("late", one.late),
                ("surplus", one.surplus),
                ("untriggered", one.untriggered),
            )
        ],
    )
    yield _counter(
        "andon_triggers_skipped",
        "Triggers that are missing in the numbers of the triggers.",
        ("line",),
        [(row, one.skipped) for row, one in parts],
    )
    yield _counter(
        "andon_triggers_repeated",
        "Triggers that arrived twice.",
        ("line",),
        [(row, one.repeated) for row, one in parts],
    )


def _of_rejects(lines: tuple[LineStatus, ...]) -> Iterator["Metric"]:
    rejects = [((line.name,), line.reject) for line in lines if line.reject is not None]
    yield _counter(
        "andon_reject_signals",
        "Reject signals by their result.",
        ("line", "result"),
        [
            ((*row, result), number)
            for row, one in rejects
            for result, number in (
                ("fired", one.fired),
                ("missed", one.missed),
                ("failed", one.failed),
                ("unknown", one.unknown),
            )
        ],
    )
    yield _gauge(
        "andon_reject_signals_waiting",
        "Reject signals that are not due yet.",
        ("line",),
        [(row, one.waiting) for row, one in rejects],
    )
    yield _counter(
        "andon_reject_signals_not_durable",
        "Reject signals that were given before their intent was stored.",
        ("line",),
        [(row, one.not_durable) for row, one in rejects],
    )
    yield _gauge(
        "andon_reject_signal_latest_seconds",
        "Largest delay of a reject signal after the moment at which it was due.",
        ("line",),
        [(row, one.latest_s) for row, one in rejects],
    )


def _of_triggers(lines: tuple[LineStatus, ...]) -> Iterator["Metric"]:
    triggers = [((line.name,), line.trigger) for line in lines if line.trigger is not None]
    yield _counter("andon_triggers", "Triggers that arrived.", ("line",), [(row, one.given) for row, one in triggers])
    yield _counter(
        "andon_triggers_refused",
        "Messages that were not triggers.",
        ("line",),
        [(row, one.refused) for row, one in triggers],
    )
    yield _gauge(
        "andon_triggers_failing",
        "1 while triggers cannot arrive.",
        ("line",),
        [(row, bool(one.failing)) for row, one in triggers],
    )


def _of_store(store: StoreStatus, now_s: float) -> Iterator["Metric"]:
    yield _counter("andon_events_stored", "Events committed to the store.", (), [((), store.stored)])
    yield _gauge("andon_events_waiting", "Events in memory that are not committed yet.", (), [((), store.waiting)])
    yield _counter("andon_events_lost", "Events lost.", (), [((), store.lost)])
    yield _gauge("andon_store_failing", "1 if the last commit failed.", (), [((), bool(store.failing))])
    yield _counter(
        "andon_evidence_dropped", "Pictures of events that were not kept.", (), [((), store.evidence_dropped)]
    )
    answered_s = math.nan if store.ping_s is None else max(0.0, now_s - store.ping_s)
    yield _gauge(
        "andon_store_seconds_since_answer", "Time since the writer of the store answered.", (), [((), answered_s)]
    )


def _of_outputs(outputs: tuple[OutputStatus, ...]) -> Iterator["Metric"]:
    labels = ("output",)
    yield _gauge(
        "andon_output_backlog", "Events not delivered yet.", labels, [((one.name,), one.backlog) for one in outputs]
    )
    yield _counter(
        "andon_output_delivered", "Events delivered.", labels, [((one.name,), one.delivered) for one in outputs]
    )
    yield _counter(
        "andon_output_dead",
        "Events that the receiver refused because of their content.",
        labels,
        [((one.name,), one.dead) for one in outputs],
    )
    yield _gauge(
        "andon_output_failing",
        "1 if the last delivery failed.",
        labels,
        [((one.name,), bool(one.failing)) for one in outputs],
    )


def _of_controllers(status: ProcessStatus) -> Iterator["Metric"]:
    labels = ("controller",)
    rows: list[tuple[Labels, ControllerStatus]] = [((one.name,), one) for one in status.controllers]
    yield _counter(
        "andon_controller_results",
        "Results that the controller has confirmed.",
        labels,
        [(row, one.written) for row, one in rows],
    )
    yield _counter(
        "andon_controller_late",
        "Results that were too old to be written to the controller.",
        labels,
        [(row, one.late) for row, one in rows],
    )
    yield _gauge(
        "andon_controller_failing",
        "1 if the last write failed.",
        labels,
        [(row, bool(one.failing)) for row, one in rows],
    )
    yield _gauge(
        "andon_controller_seconds_since_write",
        "Time since the controller last confirmed a write.",
        labels,
        [(row, math.nan if (at_s := one.confirmed_s) is None else max(0.0, status.now_s - at_s)) for row, one in rows],
    )
    yield _gauge(
        "andon_controller_longest_seconds",
        "Longest time from a decision until the controller confirmed its result.",
        labels,
        [(row, one.longest_s) for row, one in rows],
    )
