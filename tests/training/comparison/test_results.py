"""The folder of a cell: folders of other cells are refused, and figures are taken from any evaluation."""

import re
from pathlib import Path

import msgspec
import pytest
from tests.training.comparison.made_up import key, result

from andon.calibration.request import PromiseRequest
from andon.evaluation.figures.part_figures import Confusion, Evaluation, ScoreSpread
from andon.evaluation.figures.window_counts import Counts
from andon.evaluation.logs import LogEvaluation, RunFigures
from andon.foundation.errors import ConfigError, DataError
from andon.training.comparison.plan import Key
from andon.training.comparison.results import (
    CELL,
    ERROR,
    RESULT,
    Failure,
    cell_statuses,
    frame_figures,
    log_figures,
    read,
    reserve_folder,
    with_new_defaults,
    write,
)


def test_a_place_is_taken_once_and_found_again(tmp_path: Path) -> None:
    reserve_folder(tmp_path / "a", key())
    before = (tmp_path / "a" / CELL).stat().st_mtime_ns
    reserve_folder(tmp_path / "a", key())

    assert read(tmp_path / "a" / CELL, Key) == key()
    assert (tmp_path / "a" / CELL).stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"version": 2}, "version: contains 1, got 2"),
        ({"settings": {"preset": "fast"}}, "setting preset: contains fine, got fast"),
        ({"data": {"train": "elsewhere/bottle"}}, "train: contains sets/bottle, got elsewhere/bottle"),
    ],
)
@pytest.mark.parametrize("done", [True, False])
def test_a_folder_of_another_cell_is_refused_with_what_differs(
    other: dict[str, object], message: str, done: bool, tmp_path: Path
) -> None:
    reserve_folder(tmp_path, key())
    if done:
        write(tmp_path / RESULT, result(key(), {}))

    with pytest.raises(ConfigError, match=re.escape(f"contains another cell ({message})")):
        reserve_folder(tmp_path, key(**other))  # type: ignore[arg-type]

    assert read(tmp_path / CELL, Key) == key()


def test_another_promise_is_refused_where_there_is_a_result_and_taken_where_there_is_none(tmp_path: Path) -> None:
    promised = key(wish=PromiseRequest(false_reject=0.1))
    reserve_folder(tmp_path, key())
    reserve_folder(tmp_path, promised)
    assert read(tmp_path / CELL, Key) == promised

    write(tmp_path / RESULT, result(promised, {}))

    with pytest.raises(ConfigError, match=r"false_reject: contains 0\.1, got None.*without training"):
        reserve_folder(tmp_path, key())


def test_a_setting_that_a_detector_got_since_stands_at_its_default(tmp_path: Path) -> None:
    class Now(msgspec.Struct, frozen=True):
        preset: str = "fine"
        taps: tuple[int, ...] = (4, 7)

    write(tmp_path / RESULT, result(key(), {}))
    same, another = (key(settings={"preset": "fine", "taps": taps}) for taps in ([4, 7], [4]))

    reserve_folder(tmp_path, same, Now)
    assert with_new_defaults(key(), Now) == same
    with pytest.raises(ConfigError, match=r"setting taps: contains \[4, 7\], got \[4\]"):
        reserve_folder(tmp_path, another, Now)


@pytest.mark.parametrize("settings", [{"preset": "fine", "gone": 1}, {"preset": 3}])
def test_settings_that_a_detector_has_no_more_are_left_as_they_are(settings: dict[str, object]) -> None:
    class Now(msgspec.Struct, frozen=True):
        preset: str = "fine"

    assert with_new_defaults(key(settings=settings), Now) == key(settings=settings)


def test_standings_are_found_by_their_folders(tmp_path: Path) -> None:
    reserve_folder(tmp_path / "bottle/a/seed-0", key())
    reserve_folder(tmp_path / "bottle/a/seed-1", key(seed=1))
    reserve_folder(tmp_path / "pill/a/seed-0", key(of_set="pill"))
    write(tmp_path / "bottle/a/seed-0" / RESULT, result(key(), {"auroc": 0.5}))
    write(tmp_path / "pill/a/seed-0" / ERROR, Failure(message="no", kind="DataError", date="2026-11-25"))

    done, waiting, failed = cell_statuses(tmp_path)

    assert (done.folder, done.result is not None) == ("bottle/a/seed-0", True)
    assert (waiting.key.seed, waiting.result, waiting.failure, waiting.busy) == (1, None, None, False)
    assert failed.failure is not None


def test_an_error_of_before_does_not_outlive_a_result(tmp_path: Path) -> None:
    reserve_folder(tmp_path / "bottle/a/seed-0", key())
    write(tmp_path / "bottle/a/seed-0" / ERROR, Failure(message="no", kind="DataError", date="2026-11-25"))
    write(tmp_path / "bottle/a/seed-0" / RESULT, result(key(), {}))

    assert cell_statuses(tmp_path)[0].failure is None


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text('{"cell": 3}', encoding="utf-8")

    with pytest.raises(DataError, match=r"result\.json: expected a record written by andon"):
        read(tmp_path / RESULT, type(result(key(), {})))


def test_figures_of_frames_are_the_numbers_of_the_evaluation_but_for_what_is_no_number() -> None:
    evaluation = Evaluation(
        n_good=4,
        n_defect=5,
        auroc=0.9,
        aupr=float("nan"),
        prevalence=0.5,
        false_reject_rate=0.25,
        miss_rate=0.2,
        invalid=0,
        threshold=1.5,
        promise="a sentence",
        within_promise=False,
        tpr_at_5_percent_fpr=0.6,
        tpr_at_1_percent_fpr=0.5,
        fpr_at_recall=0.7,
        recall=0.99,
        confusion=Confusion(true_rejects=4, false_rejects=1, misses=1, true_passes=3),
        scores_good=ScoreSpread(mean=1.0, sd=0.1),
        scores_defect=ScoreSpread(mean=2.0, sd=None),
        oracle_f1_max=0.8,
    )

    figures = frame_figures(evaluation)

    assert (figures["auroc"], figures["within_promise"], figures["n_good"]) == (0.9, 0.0, 4.0)
    assert {"aupr", "promise", "aupro", "by_defect", "confusion"}.isdisjoint(figures)


def test_figures_of_logs_have_rates_beside_areas() -> None:
    counts = Counts(good=100, false_rejects=3, defective=20, misses=5, faults=4, caught=3, dummy_caught=0.5)
    total = RunFigures(name="all", counts=counts, auroc=0.7, aupr=None)
    evaluation = LogEvaluation(
        runs=(msgspec.structs.replace(total, name="0.csv"),),
        total=total,
        mean_auroc=0.75,
        threshold=2.0,
        promise="",
        within_promise=None,
    )

    figures = log_figures(evaluation)

    assert (figures["auroc"], figures["mean_auroc"], figures["false_reject_rate"]) == (0.7, 0.75, 0.03)
    assert (figures["miss_rate"], figures["faults_caught"], figures["caught_by_chance"]) == (0.25, 0.75, 0.125)
    assert {"aupr", "within_promise"}.isdisjoint(figures)


def test_a_rate_of_nothing_is_no_figure() -> None:
    total = RunFigures(name="all", counts=Counts(), auroc=None, aupr=None)
    evaluation = LogEvaluation(runs=(), total=total, mean_auroc=None, threshold=2.0, promise="", within_promise=None)

    assert {"false_reject_rate", "miss_rate", "faults_caught"}.isdisjoint(log_figures(evaluation))
