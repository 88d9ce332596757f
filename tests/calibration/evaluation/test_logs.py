"""Figures over labelled logs: windows, faults, recovery."""

import math

import msgspec
import numpy as np
import pytest
from tests.runtime.hand_made import FRAME, WINDOW, model_bytes

from andon.calibration.evaluation.logs import LogEvaluation, evaluate_logs
from andon.runtime import ConfigError, DataError, Detector
from andon.sources.items import FoundLogs
from andon.sources.log import Log, Run

WATCHED = Detector.from_bytes(model_bytes(WINDOW, threshold=4.0))
"""A window of four rows scores the mean of its squares."""


def run(name: str, levels: list[float], *, faulty: str = "", recovering: str = "") -> Run:
    """Four rows a window; `faulty` and `recovering` have a letter a window, ``x`` where it is so; NaN breaks a window."""
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


def test_the_figures_are_json(figures: LogEvaluation) -> None:
    assert msgspec.json.decode(msgspec.json.encode(figures), type=LogEvaluation) == figures


def test_a_log_without_labels_is_refused() -> None:
    bare = msgspec.structs.replace(run("a", [1, 1]), faulty=None, recovering=None)

    with pytest.raises(DataError, match="no labels"):
        evaluate_logs(WATCHED, log(bare))


def test_a_model_of_frames_is_refused() -> None:
    with pytest.raises(ConfigError, match="of windows"):
        evaluate_logs(Detector.from_bytes(model_bytes(FRAME, threshold=0.25)), log(run("a", [1, 1])))
