"""Figures over series, compared with references written row by row from the definitions."""

import math
import os
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from andon.evaluation.figures.series import EventOutcomes, PointCounts, judge_events, point_counts, spans, vus_pr
from andon.foundation.errors import DataError
from andon.sources.kinds.logs import collect

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def slow_vus_pr(scores: Floats, labels: Bools, buffer: int, thresholds: int, ignored: Bools) -> float:
    """Compute VUS-PR with loops over thresholds, buffers, rows and faults."""
    rows = [row for row in range(len(scores)) if not ignored[row]]
    ordered = sorted((scores[row] for row in rows), reverse=True)
    cuts = [ordered[int(at)] for at in np.linspace(0, len(rows) - 1, thresholds)]
    faults: list[list[int]] = []
    for row, faulty in enumerate(labels):
        if faulty and (row == 0 or not labels[row - 1]):
            faults.append([row, row])
        elif faulty:
            faults[-1][1] = row
    areas = []
    for length in range(buffer + 1):
        reach = length // 2
        degree = [float(faulty) for faulty in labels]
        for first, last in faults:
            for row in range(len(scores)):
                distance = max(first - row, row - last)
                if 0 < distance <= reach:
                    degree[row] = min(1.0, degree[row] + math.sqrt(1 - distance / length))
        merged: list[list[int]] = []
        for first, last in faults:
            if merged and first - reach <= merged[-1][1]:
                merged[-1][1] = last + reach
            else:
                merged.append([first - reach, last + reach])
        area, before = 0.0, 0.0
        for cut in cuts:
            found = [row for row in rows if scores[row] >= cut]
            soft = sum(degree[row] for row in found if not labels[row])
            hits = sum(bool(labels[row]) for row in found) + soft
            sure = sum(bool(labels[row]) for row in rows)
            touched = sum(any(first <= row <= last for row in found) for first, last in merged) / len(merged)
            recall = min(hits / ((sure + sure + soft) / 2), 1.0) * touched
            area += (recall - before) * hits / len(found)
            before = recall
        areas.append(area)
    return float(np.mean(areas))


@st.composite
def series(draw: st.DrawFn) -> tuple[Floats, Bools, Bools]:
    n = draw(st.integers(3, 40))
    scores = draw(arrays(np.float64, n, elements=st.integers(0, 9).map(float)))
    labels = np.zeros(n, np.bool_)
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, n - 1))
        labels[begin : begin + draw(st.integers(1, 6))] = True
    ignored = draw(arrays(np.bool_, n, elements=st.sampled_from([False, False, False, True])))
    at = draw(st.integers(0, n - 2))
    labels[at : at + 2], ignored[at : at + 2] = [True, False], False  # one row of each kind that counts
    return scores, labels, ignored


@given(drawn=series(), buffer=st.integers(0, 12), thresholds=st.sampled_from([1, 3, 7, 250]))
def test_vus_pr_is_what_counting_row_by_row_gives(
    drawn: tuple[Floats, Bools, Bools], buffer: int, thresholds: int
) -> None:
    scores, labels, ignored = drawn
    slow = slow_vus_pr(scores, labels, buffer, thresholds, ignored)

    assert vus_pr(scores, labels, buffer, ignored=ignored, thresholds=thresholds) == pytest.approx(slow, abs=1e-12)


@given(drawn=series(), buffer=st.integers(0, 12))
def test_only_the_order_of_scores_matters_to_vus_pr(drawn: tuple[Floats, Bools, Bools], buffer: int) -> None:
    scores, labels, _ = drawn

    assert vus_pr(np.exp(scores), labels, buffer) == vus_pr(scores, labels, buffer)


@given(drawn=series(), buffer=st.integers(0, 12))
def test_what_an_ignored_row_scores_does_not_matter_to_vus_pr(drawn: tuple[Floats, Bools, Bools], buffer: int) -> None:
    scores, labels, ignored = drawn
    other = np.where(ignored, np.nan, scores)

    assert vus_pr(other, labels, buffer, ignored=ignored) == vus_pr(scores, labels, buffer, ignored=ignored)


def test_without_a_buffer_and_with_all_thresholds_vus_pr_is_average_precision_of_one_fault() -> None:
    # one fault is touched as soon as one of its rows is rejected, so that its share is 1 wherever recall is above 0
    generator = np.random.default_rng(0)
    labels = np.zeros(120, np.bool_)
    labels[40:70] = True
    scores = generator.normal(size=120) + labels
    order = np.argsort(-scores)
    hits = np.cumsum(labels[order])
    precision = hits / np.arange(1, 121)

    assert vus_pr(scores, labels, 0) == pytest.approx((precision * labels[order]).sum() / 30)


def test_a_score_that_comes_a_little_late_costs_less_with_a_buffer() -> None:
    labels = np.zeros(200, np.bool_)
    labels[80:100] = True
    late = np.roll(labels, 6).astype(float)

    assert vus_pr(late, labels, 24) > vus_pr(late, labels, 0) + 0.05


def test_a_fault_of_which_every_row_is_ignored_is_missed() -> None:
    labels = np.zeros(60, np.bool_)
    labels[10:20] = labels[40:50] = True
    unseen = np.zeros(60, np.bool_)
    unseen[10:20] = True

    assert vus_pr(labels.astype(float), labels, 0, ignored=unseen) == pytest.approx(0.5)


@pytest.mark.timing
def test_forty_thousand_rows_take_no_time() -> None:
    generator = np.random.default_rng(0)
    labels = np.zeros(40_000, np.bool_)
    for begin in range(500, 40_000, 1500):
        labels[begin : begin + 200] = True
    scores = generator.normal(size=40_000) + labels
    begun = time.process_time()

    assert vus_pr(scores, labels, 100) > 0.3
    assert time.process_time() - begun < 3


@pytest.mark.parametrize(
    ("scores", "labels", "buffer", "message"),
    [
        ([1.0, 2.0], [0, 0], 1, "2 good and 0 faulty"),
        ([1.0, 2.0], [1, 1], 1, "0 good and 2 faulty"),
        ([1.0, math.nan], [1, 0], 1, "1 that are not"),
        ([1.0, 2.0], [1], 1, "one label per score"),
        ([1.0, 2.0], [1, 0], -1, "buffer >= 0"),
    ],
)
def test_rows_that_no_volume_can_be_made_of_are_refused(
    scores: list[float], labels: list[int], buffer: int, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        vus_pr(scores, labels, buffer)


def slow_events(
    alarms: list[tuple[float, float, bool]], events: list[tuple[float, float]], refractory_s: float
) -> tuple[list[float | None], int]:
    """Return the delay of each event (None if missed) and the number of false events, alarm by alarm."""

    def touches(alarm: tuple[float, float, bool], event: tuple[float, float]) -> bool:
        return alarm[0] <= event[1] and alarm[1] >= event[0]

    delays = [next((alarm[1] - event[0] for alarm in alarms if touches(alarm, event)), None) for event in events]
    true = [alarm for alarm in alarms if any(touches(alarm, event) for event in events)]
    episodes: list[list[tuple[float, float, bool]]] = []
    for alarm in alarms:
        if alarm in true or any(abs(alarm[1] - other[1]) < refractory_s for other in true):
            continue
        if episodes and alarm[1] - episodes[-1][-1][1] < refractory_s:
            episodes[-1].append(alarm)
        else:
            episodes.append([alarm])
    false = sum(not all(neither for _, _, neither in episode) for episode in episodes)
    return delays, false


@given(
    ends=st.lists(st.integers(0, 100), max_size=12).map(sorted),
    reach=st.integers(0, 8),
    marks=st.lists(st.booleans(), min_size=12, max_size=12),
    events=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 10)), max_size=4),
    refractory_s=st.integers(0, 20),
)
def test_events_are_what_looking_at_each_alarm_gives(
    ends: list[int], reach: int, marks: list[bool], events: list[tuple[int, int]], refractory_s: int
) -> None:
    alarms = [(float(end - reach), float(end), mark) for end, mark in zip(ends, marks, strict=False)]
    faults = [(float(first), float(first + length)) for first, length in events]
    delays, false = slow_events(alarms, faults, refractory_s)

    found = judge_events(
        ends,
        np.array(faults).reshape(-1, 2),
        refractory_s=refractory_s,
        since_s=[begin for begin, _, _ in alarms],
        neither=[mark for _, _, mark in alarms],
    )

    assert found.false_events == false
    assert found.caught.tolist() == [delay is not None for delay in delays]
    expected = [end - first if delay is None else delay for delay, (first, end) in zip(delays, faults, strict=True)]
    assert found.delay_s.tolist() == expected


def test_a_missed_event_counts_with_its_whole_length() -> None:
    found = judge_events([100.0], [[10.0, 35.0], [90.0, 110.0]], refractory_s=5.0)

    assert found.delay_s.tolist() == [25.0, 10.0]
    assert found.caught.tolist() == [False, True]


def test_alarms_closer_than_the_refractory_time_are_one_event_and_those_as_far_are_two() -> None:
    assert judge_events([0.0, 4.0, 8.0], [], refractory_s=5.0).false_events == 1
    assert judge_events([0.0, 5.0, 10.0], [], refractory_s=5.0).false_events == 3


def test_an_alarm_that_never_ends_is_false_before_and_after_the_event() -> None:
    assert judge_events(np.arange(100.0), [[40.0, 60.0]], refractory_s=5.0).false_events == 2


def test_an_early_alarm_that_is_close_to_a_true_one_is_not_false() -> None:
    assert judge_events([8.0, 11.0], [[10.0, 20.0]], refractory_s=5.0).false_events == 0
    assert judge_events([2.0, 11.0], [[10.0, 20.0]], refractory_s=5.0).false_events == 1


def test_alarms_during_recovery_alone_are_no_event_at_all() -> None:
    alarms = [30.0, 32.0, 34.0]

    assert judge_events(alarms, [], refractory_s=5.0, neither=[True, True, True]).false_events == 0
    assert judge_events(alarms, [], refractory_s=5.0, neither=[True, True, False]).false_events == 1


def test_no_alarm_and_no_event_is_nothing() -> None:
    caught, delay_s, false_events = judge_events([], [], refractory_s=5.0)

    assert (len(caught), len(delay_s), false_events) == (0, 0, 0)
    assert isinstance(judge_events([1.0], [], refractory_s=0.0), EventOutcomes)


@pytest.mark.parametrize(
    ("alarms", "events", "since", "message"),
    [
        ([2.0, 1.0], [], None, "ascending order"),
        ([1.0], [[5.0, 4.0]], None, "ends first"),
        ([1.0], [], [2.0], "ends first"),
        ([1.0, 2.0], [], [1.0], "equal shapes"),
    ],
)
def test_times_that_run_backwards_are_refused(
    alarms: list[float], events: list[list[float]], since: list[float] | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        judge_events(alarms, events, refractory_s=1.0, since_s=since)


@given(flags=arrays(np.bool_, st.integers(0, 30)))
def test_spans_cover_the_flagged_rows_and_no_others(flags: Bools) -> None:
    times = np.arange(len(flags)) * 0.5
    covered = np.zeros(len(flags), np.bool_)
    for first, last in spans(times, flags):
        covered |= (times >= first) & (times <= last)

    assert covered.tolist() == flags.tolist()


@given(alarms=arrays(np.bool_, 30), labels=arrays(np.bool_, 30), cut=st.integers(0, 30))
def test_counts_of_files_add_up_to_the_counts_of_all_rows(alarms: Bools, labels: Bools, cut: int) -> None:
    halves = point_counts(alarms[:cut], labels[:cut]) + point_counts(alarms[cut:], labels[cut:])

    assert halves == point_counts(alarms, labels)


def test_rates_of_rows_are_those_of_the_board() -> None:
    counts = PointCounts(true_alarms=6, false_alarms=2, misses=4, quiet=8)

    assert counts.f1 == pytest.approx(6 / (6 + 3))
    assert counts.false_alarm_rate == pytest.approx(0.2)
    assert counts.missed_alarm_rate == pytest.approx(0.4)
    assert math.isnan(PointCounts().f1)


@given(alarms=arrays(np.bool_, 12), labels=arrays(np.bool_, 12))
def test_what_an_alarm_at_every_row_gives_is_known_from_any_counts(alarms: Bools, labels: Bools) -> None:
    assert point_counts(alarms, labels).always == point_counts(np.ones(12), labels)


def test_an_alarm_for_each_label_is_wanted() -> None:
    with pytest.raises(DataError, match="one alarm per label"):
        point_counts([True], [True, False])


@pytest.mark.data
def test_dummies_that_look_at_no_sensor_score_on_skab_what_is_known_of_them() -> None:
    always, placed = PointCounts(), PointCounts()
    for folder in ("valve1", "valve2", "other"):
        for run in collect(str(Path(os.environ["ANDON_DATA"]) / "skab" / folder)).runs:
            assert run.faulty is not None
            labels = run.faulty[400:]
            share = np.arange(len(labels)) / len(labels)
            always += point_counts(np.ones(len(labels)), labels)
            placed += point_counts((share >= 0.25) & (share < 0.85), labels)

    assert (always.f1, always.false_alarm_rate, always.missed_alarm_rate) == pytest.approx((0.698, 1.0, 0.0), abs=1e-3)
    assert placed.f1 == pytest.approx(0.886, abs=1e-3)
