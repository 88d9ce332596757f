"""Figures over labelled logs: windows, faults, recovery."""

import math

import msgspec
import numpy as np
import pytest
from tests.runtime.hand_made import FRAME, WINDOW, model_bytes

from andon.evaluation.baseline import baseline_sentence
from andon.evaluation.figures.intervals import Interval
from andon.evaluation.figures.series import vus_pr
from andon.evaluation.logs import LogEvaluation, evaluate_logs
from andon.evaluation.text_summary import logs_text
from andon.runtime import ConfigError, DataError, Detector
from andon.sources.collection import FoundLogs
from andon.sources.series.log import Log, Run

WATCHED = Detector.from_bytes(model_bytes(WINDOW, threshold=4.0))
"""A window has four rows. Its score is the mean of the squares."""


def run(name: str, levels: list[float], *, faulty: str = "", recovering: str = "") -> Run:
    """Return a log with four rows per window. `faulty` and `recovering` have one letter per window, ``x`` for true.

    A NaN makes a window INVALID.
    """
    count = len(levels)

    def rows(marks: str) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
        return np.repeat([mark == "x" for mark in marks.ljust(count, ".")], 4)

    return Run(
        name=name,
        times_s=np.arange(4 * count, dtype=np.float64) * 0.5,
        values=np.repeat(np.array(levels, np.float32), 8).reshape(-1, 2),
        faulty=rows(faulty),
        recovering=rows(recovering),
    )


def log(*runs: Run) -> Log:
    found = FoundLogs(channels=WINDOW.channels, period_s=0.5, runs=len(runs), rows=sum(len(r.times_s) for r in runs))
    return Log(found=found, runs=runs)


@pytest.fixture(scope="module")
def figures() -> LogEvaluation:
    return evaluate_logs(
        WATCHED,
        log(
            run("a", [1, 1, 3, 5, 1, 5, 3, 1, 1], faulty="...xx....", recovering=".....x..."),
            run("b", [1, 1, 1, 1], faulty="..x."),
            run("c", [1, 1, 1]),
        ),
    )


def test_windows_are_counted_by_what_is_true_of_them(figures: LogEvaluation) -> None:
    first = figures.runs[0].counts

    # good windows 0, 1, 2 (rejected), 6 (rejected), 7, 8; 3 (rejected) and 4 are faulty; 5 recovers
    assert (first.good, first.false_rejects) == (6, 2)
    assert (first.defective, first.misses) == (2, 1)
    assert first.neither == 1
    assert (first.faults, first.caught) == (1, 1)


def test_a_fault_without_a_reject_is_missed(figures: LogEvaluation) -> None:
    assert (figures.runs[1].counts.faults, figures.runs[1].counts.caught) == (1, 0)


def test_the_total_is_the_sum_over_files(figures: LogEvaluation) -> None:
    first, second, third = (part.counts for part in figures.runs)

    total = msgspec.structs.replace(first + second + third, dummy_caught=0.0)
    assert msgspec.structs.replace(figures.total.counts, dummy_caught=0.0) == total
    assert figures.total.counts.dummy_caught == pytest.approx(first.dummy_caught + second.dummy_caught)


def test_the_area_of_a_file_leaves_recovery_out_and_a_file_without_faults_has_none(figures: LogEvaluation) -> None:
    # faulty windows score 25 and 1, good ones 1, 1, 9, 9, 1, 1
    assert figures.runs[0].auroc == pytest.approx((6 + 4 * 0.5) / 12)
    assert figures.runs[2].auroc is None
    assert figures.runs[2].aupr is None
    assert figures.runs[1].auroc == 0.5
    assert figures.mean_auroc == pytest.approx((8 / 12 + 0.5) / 2)


def test_false_rejects_are_held_against_the_promise_over_all_files(figures: LogEvaluation) -> None:
    assert figures.promise.startswith("with 95 % confidence at most 5 %")
    assert figures.threshold == 4.0
    assert (figures.total.counts.good, figures.total.counts.false_rejects) == (12, 2)
    assert figures.within_promise is True

    many = evaluate_logs(WATCHED, log(run("a", [3.0] * 12 + [5.0], faulty="." * 12 + "x")))
    assert many.within_promise is False


def test_a_window_at_the_threshold_is_no_reject() -> None:
    at = evaluate_logs(WATCHED, log(run("a", [2, 2, 5], faulty="..x")))  # 2 squared is the threshold

    assert at.total.counts.false_rejects == 0


def test_windows_with_holes_are_counted_apart() -> None:
    holed = evaluate_logs(WATCHED, log(run("a", [1, 1, math.nan, 1, 1, 5], faulty=".....x")))

    assert holed.total.counts.invalid >= 1
    assert holed.total.counts.good == 4
    assert holed.total.counts.false_rejects == 0


def test_events_are_held_against_alarms_at_the_end_of_windows(figures: LogEvaluation) -> None:
    first, second, third = figures.runs

    # rows come every 0.5 s, four a window: windows end at 1.5, 3.5, 5.5 (REJECT, good), 7.5 (REJECT, faulty), 9.5 (missed),
    # 11.5 (REJECT, recovering), 13.5 (REJECT, good). Those closer than 4 s are one event: the first two, one of which
    # touches the fault, and the last two, which do not and are not both in recovery.
    assert (first.event_recall, first.false_events) == (1.0, 1)
    assert first.median_delay_s == 1.5  # the fault begins at 6 s, the alarm is at 7.5 s
    assert (second.event_recall, second.median_delay_s) == (0.0, 1.5)  # missed: the four rows of the fault
    assert (third.event_recall, third.median_delay_s, third.false_events_a_day) == (None, None, 0.0)
    assert figures.refractory_s == 4.0
    assert (figures.total.event_recall, figures.total.median_delay_s) == (0.5, 1.5)


def test_alarms_farther_apart_than_the_refractory_time_are_events_of_their_own() -> None:
    marked = run("a", [1, 1, 3, 5, 1, 5, 3, 1, 1], faulty="...xx....", recovering=".....x...")
    apart = evaluate_logs(WATCHED, log(marked), refractory_s=1.0).total

    assert apart.false_events == 2  # windows 2 and 6; 3 touches the fault, 5 recovers
    assert apart.good_s == 6 * 4 * 0.5
    assert apart.false_events_a_day == pytest.approx(2 * 86_400 / 12)


@pytest.mark.parametrize("hop", [1, 3, 4])
def test_faults_caught_are_the_same_by_windows_and_by_time(hop: int) -> None:
    generator = np.random.default_rng(hop)
    watching = Detector.from_bytes(model_bytes(msgspec.structs.replace(WINDOW, hop=hop), threshold=4.0))
    marks = "".join("x" if generator.random() < 0.3 else "." for _ in range(60))
    levels = [float(level) for level in generator.integers(1, 5, 60)]
    total = evaluate_logs(watching, log(run("a", levels, faulty=marks))).total

    assert total.counts.faults > 3
    assert total.event_recall == total.counts.caught / total.counts.faults


def test_a_row_scores_the_mean_of_the_windows_that_contain_it() -> None:
    overlapping = Detector.from_bytes(model_bytes(msgspec.structs.replace(WINDOW, hop=2), threshold=4.0))
    # windows of four rows end at rows 3, 5, 7, 9, 11 and score 1, 3, 5, 3, 1 (squares 1 and 5 half and half)
    level = float(np.sqrt(5))
    values = np.repeat([1.0, 1.0, level, level, 1.0, 1.0], 2)
    rows = Run(
        name="a",
        times_s=np.arange(12, dtype=np.float64) * 0.5,
        values=np.repeat(values, 2).reshape(-1, 2).astype(np.float32),
        faulty=values > 1,
    )
    found = evaluate_logs(overlapping, log(rows), vus_buffer=0)

    # rows by twos: 1, 2, 4, 4, 2, 1; the threshold is 4 (and 5 in float32 a little less or more)
    assert found.total.points.quiet == 8
    assert found.mean_vus_pr == 1.0


def test_rows_are_counted_where_a_window_was_judged_and_nothing_recovers() -> None:
    found = evaluate_logs(WATCHED, log(run("a", [1, 3, math.nan, 5, 5, 1], faulty="...x..", recovering="....x.")))
    points = found.total.points

    assert (points.true_alarms, points.false_alarms, points.misses, points.quiet) == (4, 4, 0, 8)
    assert (found.f1, found.false_alarm_rate, found.missed_alarm_rate) == pytest.approx((4 / 6, 1 / 3, 0.0))
    assert found.f1_always == pytest.approx(4 / (4 + 12 / 2))


def test_the_buffer_of_the_volume_is_a_windows_rows_unless_told(figures: LogEvaluation) -> None:
    assert figures.vus_buffer == 4
    assert figures.runs[2].vus_pr is None
    volumes = [part.vus_pr for part in figures.runs if part.vus_pr is not None]
    assert figures.mean_vus_pr == pytest.approx(np.mean(volumes))

    marked = run("a", [1, 1, 5, 1, 1, 3], faulty="..x...")
    rows = np.repeat([1.0, 1, 25, 1, 1, 9], 4)
    told = evaluate_logs(WATCHED, log(marked), vus_buffer=7)
    assert marked.faulty is not None
    assert told.mean_vus_pr == pytest.approx(vus_pr(rows, marked.faulty, 7))


def test_intervals_are_over_files_and_one_file_has_none(figures: LogEvaluation) -> None:
    drawn = figures.intervals
    assert drawn is not None
    assert drawn.files == 3
    # of three files two have a fault, one caught: any draw has a recall of 0, 1/3, 1/2, 2/3 or 1
    assert drawn.event_recall == Interval(low=0.0, high=1.0)
    assert drawn.mean_auroc is not None
    assert drawn.mean_auroc.low == 0.5
    assert drawn.false_reject_rate is not None
    assert drawn.false_reject_rate == Interval(low=0.0, high=1 / 3)

    one = log(run("a", [1, 5], faulty=".x"))
    assert evaluate_logs(WATCHED, one).intervals is None
    two = log(run("a", [1, 5], faulty=".x"), run("b", [1, 5], faulty=".x"))
    assert evaluate_logs(WATCHED, two, intervals=False).intervals is None


def test_the_figures_are_json(figures: LogEvaluation) -> None:
    assert msgspec.json.decode(msgspec.json.encode(figures), type=LogEvaluation) == figures


def test_a_log_without_labels_is_refused() -> None:
    bare = msgspec.structs.replace(run("a", [1, 1]), faulty=None, recovering=None)

    with pytest.raises(DataError, match="expected a label column"):
        evaluate_logs(WATCHED, log(bare))


def test_a_model_of_frames_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a model file for sensor windows"):
        evaluate_logs(Detector.from_bytes(model_bytes(FRAME, threshold=0.25)), log(run("a", [1, 1])))


def test_the_baseline_is_the_mean_of_the_worst_channel_on_the_same_windows() -> None:
    # the detector scores the mean of squares, which ranks these windows as the mean of the worst channel does
    found = evaluate_logs(WATCHED, log(run("a", [1, 1, 3, 5, 2, 1], faulty="...xx.")))

    assert found.window_mean_auroc == found.mean_auroc
    assert found.window_mean_vus_pr == pytest.approx(found.mean_vus_pr)
    assert found.beats_window_mean is False
    assert "does not beat it: the mean of the worst channel alone (window_mean) has a VUS-PR of" in logs_text(found)


def test_a_detector_that_ranks_better_than_the_mean_beats_the_baseline() -> None:
    # rows of -9 and 9 have a mean of 0 and a mean square of 81
    faulty = run("a", [1, 1, 3, 1, 1, 1], faulty="...x..")
    faulty.values[12:16] = np.array([[-9, -9], [9, 9], [-9, -9], [9, 9]])

    found = evaluate_logs(WATCHED, log(faulty))

    assert found.beats_window_mean is True
    assert "does not beat" not in logs_text(found)


def test_without_faults_nothing_is_compared_with_the_baseline() -> None:
    found = evaluate_logs(WATCHED, log(run("a", [1, 1, 3])))

    assert found.beats_window_mean is None
    assert baseline_sentence(found) == ""
