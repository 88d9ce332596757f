"""Compute results for time series, where each fault lasts from one time to another.

A higher score means worse. Labels are True for faulty rows.

`vus_pr` measures how well scores separate over all thresholds, and tolerates a score that is a little early or late.
`judge_events` evaluates the alarms of one threshold: faults detected, false events, delay. `point_counts` counts single rows, as
the SKAB leaderboard does.

Point-adjusted F1 is left out on purpose. That measure counts a whole fault as found if one of its rows is rejected. A random
score then beats most detectors (Kim et al., AAAI 2022).
"""

from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray

from andon.evaluation.figures.ranking import clip_area
from andon.foundation.errors import DataError

SECONDS_A_DAY = 86_400.0


def vus_pr(
    scores: ArrayLike, labels: ArrayLike, buffer: int, *, ignored: ArrayLike | None = None, thresholds: int = 250
) -> float:
    """Return the volume under the precision-recall surface: average precision over buffers of 0 to `buffer` rows per fault.

    With a buffer of l rows, a row at distance d <= l // 2 from a fault has the degree ``sqrt(1 - d / l)``. A faulty row has the
    degree 1. Where the ramps of two faults overlap, the sum is cut at 1. Faults with overlapping buffers count as one.

    Thresholds are order statistics of the scores, at equal steps of rank. A row is rejected if its score is at or above the
    threshold. TP is the sum of the degrees of the rejected rows. P' is the mean of two numbers: the faulty rows, and the faulty
    rows plus the degrees of the rejected buffer rows.

    Recall is ``min(TP / P', 1)`` times the share of faults that have a rejected row in them or in their buffer. Precision is
    ``TP / rejected``. The area is the step sum over the thresholds, in their order.

    Source: Paparrizos et al., VLDB 2022; agrees with `RangeAUC_volume_opt` of TheDatumOrg/TSB-AD
    (`benchmarks/metrics_against_references.py`).

    Args:
        scores: ``[n]`` in time order, finite except in ignored rows.
        labels: ``[n]`` bool, faulty.
        buffer: L >= 0 in rows, for example the period of the series or the steps of a window. Always report it with the
            figure.
        ignored: ``[n]`` bool, rows that count as nothing: rows without a score, rows in recovery. Ignored rows keep their place
            in time. None: no row is ignored, as in the publication.
        thresholds: number of thresholds, >= 1.

    Raises:
        DataError: there is only one kind of rows, lengths differ, or scores are not finite.
    """
    values, faulty, kept = _rows(scores, labels, ignored)
    if buffer < 0 or thresholds < 1:
        raise DataError(f"expected a buffer >= 0 rows and thresholds >= 1, got {buffer} and {thresholds}.")
    falling = np.sort(values[kept])[::-1]
    cuts = falling[np.linspace(0, len(falling) - 1, thresholds).astype(np.intp)]
    # the first threshold that rejects each row: one look-up replaces 250 comparisons of 40 000 rows per buffer
    first = np.searchsorted(-cuts, -values, side="left")
    first[~kept] = thresholds
    rejected = np.cumsum(np.bincount(first[kept], minlength=thresholds)[:thresholds])
    hits = np.cumsum(np.bincount(first[kept & faulty], minlength=thresholds)[:thresholds])
    total = int((kept & faulty).sum())
    begins, stops = _runs(faulty)
    areas = np.empty(buffer + 1)
    for length in range(buffer + 1):
        near, degree = _ramps(begins, stops, length, faulty)
        near, degree = near[kept[near]], degree[kept[near]]
        soft = np.cumsum(np.bincount(first[near], weights=degree, minlength=thresholds)[:thresholds])
        seen = _first_in(first, begins - length // 2, stops + length // 2)
        touched = np.cumsum(np.bincount(seen, minlength=thresholds + 1)[:thresholds]) / len(seen)
        found = hits + soft
        recall = np.minimum(found / (total + soft / 2), 1.0) * touched
        areas[length] = np.diff(recall, prepend=0.0) @ (found / rejected)
    return clip_area(float(areas.mean()))


class EventOutcomes(NamedTuple):
    """The outcome of alarms for k true events."""

    caught: NDArray[np.bool_]
    """``[k]``, whether an alarm touched the event."""
    delay_s: NDArray[np.float64]
    """``[k]``, from the onset to the first alarm that touched the event. For a miss, the length of the event (a lower bound)."""
    false_events: int
    """Number of alarm episodes that touch no event. An endless episode counts once, so read it with the false reject rate."""


def judge_events(
    alarms_s: ArrayLike,
    events_s: ArrayLike,
    *,
    refractory_s: float,
    since_s: ArrayLike | None = None,
    neither: ArrayLike | None = None,
) -> EventOutcomes:
    """Compare alarms with true events.

    An alarm touches an event if one of its rows is within the event. An alarm is false if it touches no event and is not closer
    than the refractory time to an alarm that does. False alarms that are closer together than the refractory time are one
    episode, and one false event, because a person has to check them once. An episode does not count if all its alarms are in
    rows that count as neither.

    Alarms near a true alarm are left out one by one, not by episode. Otherwise an endless alarm would catch every event without
    any false event.

    Args:
        alarms_s: ``[a]``, times of the alarms in seconds, ascending.
        events_s: ``[k, 2]``, times of the first and last faulty row of each event, as `spans` returns them.
        refractory_s: alarms closer together than this, in seconds, are one episode; >= 0.
        since_s: ``[a]``, time of the first row of each alarm's window. None: each alarm has a single row.
        neither: ``[a]`` bool, alarms that are neither true nor false, for example while a machine recovers.

    Raises:
        DataError: times do not ascend, or the shapes of the arrays do not fit.

    >>> judge_events([10.0, 12.0, 50.0, 90.0], [[9.0, 13.0], [70.0, 75.0]], refractory_s=5.0)
    EventOutcomes(caught=array([ True, False]), delay_s=array([1., 5.]), false_events=2)
    """
    until = np.asarray(alarms_s, np.float64)
    since = until if since_s is None else np.asarray(since_s, np.float64)
    unjudged = np.zeros(len(until), np.bool_) if neither is None else np.asarray(neither).astype(np.bool_)
    events = np.asarray(events_s, np.float64).reshape(-1, 2)
    if until.ndim != 1 or since.shape != until.shape or unjudged.shape != until.shape:
        raise DataError(
            f"expected alarms [a] with equal shapes of since_s and neither, got {list(until.shape)}, {list(since.shape)}, "
            f"{list(unjudged.shape)}."
        )
    if (np.diff(until) < 0).any():
        raise DataError("expected alarms in ascending order, got an alarm that is earlier than the one before it.")
    if (since > until).any() or (events[:, 0] > events[:, 1]).any():
        raise DataError("expected alarms and events that begin before they end, got one that ends first.")
    true = np.zeros(len(until), np.bool_)
    caught = np.zeros(len(events), np.bool_)
    delay = events[:, 1] - events[:, 0]
    for number, (onset, end) in enumerate(events):
        touching = (since <= end) & (until >= onset)
        true |= touching
        if touching.any():
            caught[number] = True
            delay[number] = until[touching.argmax()] - onset
    false = ~true & ~_closer(until, until[true], refractory_s)
    episode = np.cumsum(np.diff(until[false], prepend=-np.inf) >= refractory_s)
    return EventOutcomes(caught=caught, delay_s=delay, false_events=len(np.unique(episode[~unjudged[false]])))


def spans(times_s: ArrayLike, flags: ArrayLike) -> NDArray[np.float64]:
    """Return the times of the first and last row of each run of True, ``[k, 2]``.

    >>> spans([0, 1, 2, 3, 4], [False, True, True, False, True]).tolist()
    [[1.0, 2.0], [4.0, 4.0]]
    """
    times = np.asarray(times_s, np.float64)
    begins, stops = _runs(np.asarray(flags).astype(np.bool_))
    return np.stack([times[begins], times[stops - 1]], axis=1)


class PointCounts(Struct, frozen=True, kw_only=True):
    """Counts of single rows, with the rates of the SKAB leaderboard (NaN if undefined). `+` adds the counts of another file."""

    true_alarms: int = 0
    false_alarms: int = 0
    misses: int = 0
    quiet: int = 0
    """Good rows without an alarm."""

    def __add__(self, other: "PointCounts") -> "PointCounts":
        return PointCounts(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    @property
    def always(self) -> "PointCounts":
        """The counts for an alarm at each of these rows."""
        return PointCounts(true_alarms=self.true_alarms + self.misses, false_alarms=self.false_alarms + self.quiet)

    @property
    def f1(self) -> float:
        """``TP / (TP + (FP + FN) / 2)``."""
        return _share(self.true_alarms, self.true_alarms + (self.false_alarms + self.misses) / 2)

    @property
    def false_alarm_rate(self) -> float:
        """FAR: share of good rows with an alarm."""
        return _share(self.false_alarms, self.false_alarms + self.quiet)

    @property
    def missed_alarm_rate(self) -> float:
        """MAR: share of faulty rows without an alarm."""
        return _share(self.misses, self.misses + self.true_alarms)


def point_counts(alarms: ArrayLike, labels: ArrayLike) -> PointCounts:
    """Count rows without any adjustment. To compute rates over files, add their counts first, as the SKAB leaderboard does.

    Raises:
        DataError: lengths differ.

    >>> point_counts([1, 1, 0, 0], [1, 0, 1, 0]).f1
    0.5
    """
    alarm, faulty = np.asarray(alarms).astype(np.bool_), np.asarray(labels).astype(np.bool_)
    if alarm.shape != faulty.shape or alarm.ndim != 1:
        raise DataError(f"expected one alarm per label, got shape {list(alarm.shape)} for {list(faulty.shape)}.")
    return PointCounts(
        true_alarms=int((alarm & faulty).sum()),
        false_alarms=int((alarm & ~faulty).sum()),
        misses=int((~alarm & faulty).sum()),
        quiet=int((~alarm & ~faulty).sum()),
    )


def _rows(
    scores: ArrayLike, labels: ArrayLike, ignored: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    values, faulty = np.asarray(scores, np.float64), np.asarray(labels).astype(np.bool_)
    kept = np.ones(values.shape, np.bool_) if ignored is None else ~np.asarray(ignored).astype(np.bool_)
    if values.ndim != 1 or faulty.shape != values.shape or kept.shape != values.shape:
        raise DataError(
            f"expected one label per score, both [n], got shape {list(faulty.shape)} for {list(values.shape)}."
        )
    if not np.isfinite(values[kept]).all():
        raise DataError(f"expected finite scores, got {int((~np.isfinite(values[kept])).sum())} that are not finite.")
    if not faulty[kept].any() or faulty[kept].all():
        raise DataError(
            f"expected good and faulty rows, got {int((kept & ~faulty).sum())} good and {int((kept & faulty).sum())} "
            "faulty ones."
        )
    return values, faulty, kept


def _closer(times: NDArray[np.float64], others: NDArray[np.float64], than: float) -> NDArray[np.bool_]:
    """Return for each time whether one of `others` (ascending) is closer than `than`."""
    padded = np.concatenate([[-np.inf], others, [np.inf]])
    after = np.searchsorted(padded[1:-1], times) + 1
    return np.asarray(np.minimum(padded[after] - times, times - padded[after - 1]) < than)


def _runs(flags: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first row of each run of True, and the row after its last one."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def _ramps(
    begins: NDArray[np.intp], stops: NDArray[np.intp], length: int, faulty: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return good rows near faults, and the degree to which each counts as faulty."""
    distance = np.arange(1, length // 2 + 1)
    ramp = np.sqrt(1 - distance / length) if length else np.empty(0)
    near = np.concatenate([(begins[:, None] - distance).ravel(), (stops[:, None] - 1 + distance).ravel()])
    inside = (near >= 0) & (near < len(faulty))
    near, degrees = near[inside], np.tile(ramp, 2 * len(begins))[inside]
    rows, of = np.unique(near, return_inverse=True)
    degree = np.minimum(np.bincount(of, weights=degrees, minlength=len(rows)), 1.0)
    good = ~faulty[rows]
    return rows[good], degree[good]


def _first_in(first: NDArray[np.intp], begins: NDArray[np.intp], stops: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return for each stretch of rows the first threshold that rejects a row of it. Stretches that share a row count as one."""
    new = np.concatenate([[True], begins[1:] >= stops[:-1]])
    low, high = np.maximum(begins[new], 0), np.minimum(stops[np.append(new[1:], True)], len(first))
    # take the minimum between each pair of edges, and drop those between stretches
    edges = np.stack([low, high], axis=1).ravel()
    padded = np.append(first, first.max())
    return np.asarray(np.minimum.reduceat(padded, edges)[::2])


def _share(part: float, of: float) -> float:
    return part / of if of else float("nan")
