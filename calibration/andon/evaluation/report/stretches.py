"""Choose the stretches of a log for a report: the worst false rejects, missed faults, and the first fault of each kind."""

import heapq
import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from andon.evaluation.figures.other_scores import NO_OTHER_SCORES
from andon.evaluation.judged_parts import JudgedPart
from andon.evaluation.logs import LogVerdicts
from andon.evaluation.report.page import Tone, status_tone
from andon.runtime.schema import Status, WindowSpec
from andon.sources.series.log import Run
from andon.sources.series.log_truth import events_of

EACH = 3
"""Largest number of stretches of each kind."""
MOST_ROWS = 6_000
"""Largest number of rows in a stretch. Only the beginning of a longer fault is shown."""


def origin_s(run: Run) -> float:
    """Return the time from which to count a run's times: its start if they are seconds since 1970, otherwise 0."""
    begin_s = float(run.times_s[0]) if len(run.times_s) else 0.0
    return begin_s if abs(begin_s) > 1e7 else 0.0


class FaultRow(Struct, frozen=True, kw_only=True):
    """One true fault and its outcome. Times are in seconds, as in the source."""

    run: str
    kind: str
    first_row: int
    stop_row: int
    onset_s: float
    end_s: float
    delay_s: float | None
    """Time from the onset to the end of the first REJECT window that touches the fault; None if it was missed."""
    highest: float
    """Highest score of its windows; NaN if none was judged."""
    highest_key: str = ""
    """Key of the window with the highest score. Empty if none was judged."""
    origin_s: float
    """Origin for times that people read, see the function `origin_s`."""


def faults(verdicts: LogVerdicts) -> list[FaultRow]:
    """Return all true faults, run by run, in time order."""
    first: dict[str, float] = {}
    highest: dict[str, tuple[float, str]] = {}
    for ref in verdicts.windows.refs:
        window = verdicts.truth.get(ref.key)
        if window is None or verdicts.status[ref.key] == Status.INVALID:
            continue
        for event in window.events:
            score = verdicts.scores[ref.key]
            if event not in highest or score > highest[event][0]:
                highest[event] = score, ref.key
            if verdicts.status[ref.key] == Status.REJECT and ref.time_s is not None:
                first[event] = min(first.get(event, math.inf), ref.time_s)
    rows = []
    for run in verdicts.log.runs:
        for event, begin, stop in events_of(run):
            onset_s = float(run.times_s[begin])
            name = str(run.fault[begin]) if run.fault is not None else ""
            score, key = highest.get(event, (math.nan, ""))
            rows.append(
                FaultRow(
                    run=run.name,
                    kind=name or "fault",
                    first_row=begin,
                    stop_row=stop,
                    onset_s=onset_s,
                    end_s=float(run.times_s[stop - 1]),
                    delay_s=max(0.0, first[event] - onset_s) if event in first else None,
                    highest=score,
                    highest_key=key,
                    origin_s=origin_s(run),
                )
            )
    return rows


def judged_windows(verdicts: LogVerdicts) -> list[JudgedPart]:
    """Return good and defective windows as parts. Windows in recovery count as neither and are left out."""
    return [
        JudgedPart(
            ref=ref,
            score=verdicts.scores[ref.key],
            status=verdicts.status[ref.key],
            defective=window.faulty,
            kind=(window.fault or "fault") if window.faulty else "good",
            other_scores=verdicts.other_scores.get(ref.key, NO_OTHER_SCORES),
        )
        for ref in verdicts.windows.refs
        if (window := verdicts.truth.get(ref.key)) is not None and (window.good or window.faulty)
    ]


class Stretch(Struct, frozen=True, kw_only=True):
    """Rows of a run to show, with a title that gives the reason."""

    title: str
    name: str
    """Short name for files."""
    tone: Tone
    badge: str
    run: str
    begin: int
    stop: int
    facts: tuple[tuple[str, str], ...] = ()


def choose(verdicts: LogVerdicts, spec: WindowSpec, each: int = EACH) -> list[Stretch]:
    """Choose three groups of stretches: the worst false rejects, the missed faults, and the first detected fault of each kind.

    Each group has at most `each` stretches. Without false rejects, the good window with the highest score takes their place.
    Without missed faults, the detected fault with the lowest score takes theirs. Equal scores are ordered by time.
    """
    runs = {run.name: run for run in verdicts.log.runs}
    return [*_worst(verdicts, runs, spec, each), *_of_faults(faults(verdicts), runs, spec, each)]


def _worst(verdicts: LogVerdicts, runs: dict[str, Run], spec: WindowSpec, each: int) -> list[Stretch]:
    """Return the false rejects with the highest scores, or the good window with the highest score if there are none."""
    windows = [one for one in judged_windows(verdicts) if one.status != Status.INVALID and not one.defective]
    rejected = [one for one in windows if one.status == Status.REJECT]
    most = each if rejected else 1
    worst: list[Stretch] = []
    for one in heapq.nsmallest(20 * each, rejected or windows, key=lambda one: -one.score):
        run = runs[one.ref.group]
        at = int(np.searchsorted(run.times_s, one.ref.time_s or 0.0))
        # two rejects that fit into one picture are one stretch
        shown = any(other.run == run.name and other.begin <= at < other.stop for other in worst)
        if len(worst) < most and not shown:
            worst.append(_around_window(one, run, at, spec))
    return worst


def _around_window(one: JudgedPart, run: Run, at: int, spec: WindowSpec) -> Stretch:
    """Return the stretch around a good window that ends at row `at`."""
    rejected = one.status == Status.REJECT
    room = 4 * spec.steps
    return Stretch(
        title="False reject" if rejected else "Good window with the highest score",
        name="false-reject" if rejected else "good",
        tone=status_tone(one.status),
        badge=one.status.name,
        run=run.name,
        begin=max(0, at - room - spec.steps),
        stop=min(len(run.times_s), at + room),
        facts=(
            ("score", f"{one.score:.5g}"),
            ("ends at", f"{(one.ref.time_s or 0.0) - origin_s(run):.6g} s"),
        ),
    )


def _of_faults(every: Sequence[FaultRow], runs: dict[str, Run], spec: WindowSpec, each: int) -> list[Stretch]:
    """Return missed faults (or the fault closest to being missed), then the first detected fault of each kind."""
    caught = [row for row in every if row.delay_s is not None]
    missed = [row for row in every if row.delay_s is None]
    missed.sort(key=lambda row: row.highest if math.isfinite(row.highest) else -math.inf)
    weakest = [min(caught, key=lambda row: row.highest)] if caught and not missed else []
    first: dict[str, FaultRow] = {}
    for row in caught:
        first.setdefault(row.kind, row)
    typical = [row for row in (first[kind] for kind in sorted(first)[:each]) if row not in weakest]
    return [
        _around(row, runs, spec, name)
        for name, rows in (("miss", missed[:each]), ("weakest", weakest), ("fault", typical))
        for row in rows
    ]


def _around(row: FaultRow, runs: dict[str, Run], spec: WindowSpec, name: str) -> Stretch:
    room = max(4 * spec.steps, (row.stop_row - row.first_row) // 3)
    begin = max(0, row.first_row - room)
    caught = row.delay_s is not None
    title = {"miss": "Missed fault", "weakest": "Caught fault with the lowest score", "fault": "Caught fault"}[name]
    return Stretch(
        title=f"{title}: {row.kind}",
        name=name,
        tone="plain",
        badge="caught" if caught else "missed",
        run=row.run,
        begin=begin,
        stop=min(len(runs[row.run].times_s), row.stop_row + room, begin + MOST_ROWS),
        facts=(
            ("begins at", f"{row.onset_s - row.origin_s:.6g} s"),
            ("lasts", f"{row.end_s - row.onset_s:.4g} s"),
            ("highest score", f"{row.highest:.5g}"),
            *((("delay", f"{row.delay_s:.4g} s"),) if row.delay_s is not None else ()),
        ),
    )
