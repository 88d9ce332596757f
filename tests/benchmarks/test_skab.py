"""The evaluation on SKAB by its leaderboard."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.sensor_models import judge, rows_as_log
from benchmarks.skab import Labelled, outcome, render, summed, without_sensors
from tests.benchmarks.test_sensor_models import ROWS_APART
from tests.runtime.hand_made import model_bytes

from andon.runtime import Detector
from benchmarks import skab


def file_of(levels: list[float], faulty: list[int]) -> Labelled:
    labels = np.zeros(len(levels), np.bool_)
    labels[faulty] = True
    return Labelled("a", np.repeat(np.array(levels, np.float32)[:, None], 2, axis=1), labels)


def test_only_rows_after_those_of_the_training_count() -> None:
    file = file_of([5.0] * 10 + [1.0] * 10 + [5.0] * 10, [*range(20, 30)])
    detector = Detector.from_bytes(model_bytes(ROWS_APART, threshold=4.0))
    windows = judge(detector, rows_as_log({"a": file.values}, ["pressure", "flow"]))["a"]

    one = outcome(detector, windows, file, 10)

    points = one.points
    assert points.true_alarms + points.misses == 10
    assert points.false_alarms + points.quiet == one.good_rows == 10
    # windows of four rows: those that contain row 20 are above the threshold, except those that begin too early
    assert (points.misses, points.false_alarms) == (0, 0)
    assert one.events.caught.tolist() == [True]


def test_counts_are_summed_before_they_are_divided() -> None:
    short, long = file_of([0.0] * 4, [3]), file_of([0.0] * 100, [*range(50, 100)])
    some = [without_sensors(np.ones(len(file.faulty), np.bool_), file, 0) for file in (short, long)]

    line = summed("board", "always", some)

    assert (line.files, line.rows, line.faults, line.caught) == (2, 104, 2, 2)
    assert line.f1 == pytest.approx(2 * 51 / (2 * 51 + 53))
    assert line.false_alarm_rate == 1.0
    assert "always" in render([line])


@pytest.mark.data
def test_the_dummies_of_the_board_score_what_is_known_of_them(andon_data: Path) -> None:
    _, files, _ = skab.read(andon_data / "skab")

    always, middle = skab.dummies(files, skab.TRAIN_ROWS, "board")

    assert (always.files, always.rows) == (34, 23_801)
    assert always.f1 == pytest.approx(0.698, abs=5e-4)
    assert (middle.f1, middle.false_alarm_rate, middle.missed_alarm_rate) == pytest.approx(
        (0.886, 0.2083, 0.0617), abs=5e-4
    )
