"""Figures over series, where what is true lasts from one time to another. Scores: higher = worse; labels: True where faulty.

`vus_pr` says how well scores separate, over all thresholds, and forgives a score that comes a little early or late.
`judge_events` says what the alarms of one threshold do: faults caught, false events, delay. `point_counts` counts rows one by
one, as SKAB's board does. Point-adjusted F1 is not here and will not be: it calls a whole fault found for one row of it,
and a random score beats most detectors with it (Kim et al., AAAI 2022).
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

    With a buffer of l rows, a row d rows away from a fault, d <= l // 2, is faulty by ``sqrt(1 - d / l)`` (sums of two
    faults' ramps are cut at 1); faults whose buffers touch are one. Thresholds are order statistics of the scores, at
    equal steps of rank; rejected is a score at or above. Of the rejected rows' faultiness TP, and the mean P' of the
    number of faulty rows with and without the buffer's rejected part: recall is ``min(TP / P', 1)`` times the share of
    faults with a rejected row in them or their buffer, precision ``TP / rejected``. The area is the step sum over the
    thresholds, in their order.

    Source: Paparrizos et al., VLDB 2022; agrees with `RangeAUC_volume_opt` of TheDatumOrg/TSB-AD
    (`benchmarks/metrics_against_references.py`).

    Args:
        scores: ``[n]`` in the order of time; finite but where ignored.
        labels: ``[n]`` bool, faulty.
        buffer: L >= 0 in rows, e.g. the period of the series or the steps of a window: state it beside the figure.
        ignored: ``[n]`` bool, rows that are neither rejected nor faulty nor good: those without a score, those that
            recover. They keep their place in time. None, as published: none.
        thresholds: how many, >= 1.

    Raises:
        DataError: only one kind of rows, other lengths, or scores that are not finite.
    """
    values, faulty, kept = _rows(scores, labels, ignored)
    if buffer < 0 or thresholds < 1:
        raise DataError(f"expected a buffer >= 0 rows and thresholds >= 1, got {buffer} and {thresholds}.")
    falling = np.sort(values[kept])[::-1]
    cuts = falling[np.linspace(0, len(falling) - 1, thresholds).astype(np.intp)]
    # the first threshold that rejects a row; 250 comparisons of 40 000 rows a buffer become one look-up
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
    """What alarms did about k true events."""

    caught: NDArray[np.bool_]
    """``[k]`` whether an alarm touched it."""
    delay_s: NDArray[np.float64]
    """``[k]`` from the onset to the first alarm that touched it; for a miss the whole event: it is longer than that."""
    false_events: int
    """Episodes of alarms that touch no event. One that never ends counts once: read it together with the false reject rate."""


def judge_events(
    alarms_s: ArrayLike,
    events_s: ArrayLike,
    *,
    refractory_s: float,
    since_s: ArrayLike | None = None,
    neither: ArrayLike | None = None,
) -> EventOutcomes:
    """Hold alarms against true events.

    An alarm touches an event if a row that it looked at lies within it. Alarms that do not, nor are closer than the
    refractory time to one that does, are false; those that follow one another by less than that time are one episode,
    one thing to walk to, and one false event, unless all of them are in rows that count as neither. (Were an episode
    excused as a whole for one alarm that touches, an alarm that never ends would be all recall and no false event.)

    Args:
        alarms_s: ``[a]`` times at which there was an alarm, ascending, seconds.
        events_s: ``[k, 2]`` times of the first and last faulty row of each event, as `spans` gives them.
        refractory_s: within which alarms are one episode, >= 0.
        since_s: ``[a]`` time of the first row that the alarm looked at, where that is not the row itself: of a window.
        neither: ``[a]`` bool: alarms that are neither true nor false, as while a machine recovers.

    Raises:
        DataError: times that do not ascend, or arrays that do not fit.

    >>> judge_events([10.0, 12.0, 50.0, 90.0], [[9.0, 13.0], [70.0, 75.0]], refractory_s=5.0)
    EventOutcomes(caught=array([ True, False]), delay_s=array([1., 5.]), false_events=2)
    """
    until = np.asarray(alarms_s, np.float64)
    since = until if since_s is None else np.asarray(since_s, np.float64)
    unjudged = np.zeros(len(until), np.bool_) if neither is None else np.asarray(neither).astype(np.bool_)
    events = np.asarray(events_s, np.float64).reshape(-1, 2)
    if until.ndim != 1 or since.shape != until.shape or unjudged.shape != until.shape:
        raise DataError(
            f"expected alarms [a] with as many beginnings and marks, got {list(until.shape)}, {list(since.shape)}, "
            f"{list(unjudged.shape)}."
        )
    if (np.diff(until) < 0).any() or (since > until).any() or (events[:, 0] > events[:, 1]).any():
        raise DataError("expected alarms in ascending order, and no alarm or event that ends before it begins.")
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
    """Return the time of the first and last row of each run of True, ``[k, 2]``.

    >>> spans([0, 1, 2, 3, 4], [False, True, True, False, True]).tolist()
    [[1.0, 2.0], [4.0, 4.0]]
    """
    times = np.asarray(times_s, np.float64)
    begins, stops = _runs(np.asarray(flags).astype(np.bool_))
    return np.stack([times[begins], times[stops - 1]], axis=1)


class PointCounts(Struct, frozen=True, kw_only=True):
    """Rows, counted one by one; `+` adds another file's. Rates as SKAB's board has them; NaN where nothing can be divided."""

    true_alarms: int = 0
    false_alarms: int = 0
    misses: int = 0
    quiet: int = 0
    """Good rows without an alarm."""

    def __add__(self, other: "PointCounts") -> "PointCounts":
        return PointCounts(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    @property
    def always(self) -> "PointCounts":
        """The counts of an alarm at every one of these rows."""
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
    """Count rows: sum the counts of files before dividing, as the board does. Nothing is adjusted.

    Raises:
        DataError: other lengths.

    >>> point_counts([1, 1, 0, 0], [1, 0, 1, 0]).f1
    0.5
    """
    alarm, faulty = np.asarray(alarms).astype(np.bool_), np.asarray(labels).astype(np.bool_)
    if alarm.shape != faulty.shape or alarm.ndim != 1:
        raise DataError(f"expected an alarm for each label, got {list(alarm.shape)} for {list(faulty.shape)}.")
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
            f"expected a label for each score, both [n], got {list(faulty.shape)} for {list(values.shape)}."
        )
    if not np.isfinite(values[kept]).all():
        raise DataError(f"expected finite scores, got {int((~np.isfinite(values[kept])).sum())} that are not.")
    if not faulty[kept].any() or faulty[kept].all():
        raise DataError(
            f"expected good and faulty rows, got {int((kept & ~faulty).sum())} good and {int((kept & faulty).sum())} "
            "faulty ones."
        )
    return values, faulty, kept


def _closer(times: NDArray[np.float64], others: NDArray[np.float64], than: float) -> NDArray[np.bool_]:
    """Return which times have one of the others, ascending, closer than a distance."""
    padded = np.concatenate([[-np.inf], others, [np.inf]])
    after = np.searchsorted(padded[1:-1], times) + 1
    return np.asarray(np.minimum(padded[after] - times, times - padded[after - 1]) < than)


def _runs(flags: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the first row, and the row after the last, of each run of True."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def _ramps(
    begins: NDArray[np.intp], stops: NDArray[np.intp], length: int, faulty: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return rows near faults that are not faulty themselves, and the degree to which they count as faulty."""
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
    """Return the first threshold at which a row of each stretch is rejected. Stretches that share a row are one."""
    new = np.concatenate([[True], begins[1:] >= stops[:-1]])
    low, high = np.maximum(begins[new], 0), np.minimum(stops[np.append(new[1:], True)], len(first))
    # pairs of edges: the lowest between begin and end of each, and what lies between stretches is thrown away
    edges = np.stack([low, high], axis=1).ravel()
    padded = np.append(first, first.max())
    return np.asarray(np.minimum.reduceat(padded, edges)[::2])


def _share(part: float, of: float) -> float:
    return part / of if of else float("nan")
