"""The benchmark of promises: its simulated shares agree with the exact ones."""

import json

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks import coverage


@pytest.mark.parametrize("question", ["every_shift", "miss"])
def test_simulated_shares_of_broken_promises_agree_with_the_exact_ones(question: str) -> None:
    calibrations = 200

    rows = list(coverage.QUESTIONS[question](np.random.default_rng(1), calibrations))

    assert len(rows) >= 9
    for row in rows:
        broken = round(row["broken"] * calibrations)
        assert broken <= binom.ppf(0.9999, calibrations, row["exact"])
        if row.get("scores") != "Poisson(3)":  # ties make a promise safer
            assert broken >= binom.ppf(0.0001, calibrations, row["exact"])


def test_one_part_per_lot_keeps_the_promise_that_counting_all_parts_breaks() -> None:
    calibrations = 200

    for row in coverage.lots(np.random.default_rng(1), calibrations):
        broken = round(row["one_per_lot"] * calibrations)
        assert binom.ppf(0.0001, calibrations, row["exact"]) <= broken <= binom.ppf(0.9999, calibrations, row["exact"])
        if row["rho"] == 0.8:
            assert row["naive"] > 0.15
            assert row["design_broken"] < 0.05


def test_a_threshold_chosen_from_several_detectors_breaks_its_promise_more_often() -> None:
    rows = [row for row in coverage.traps(np.random.default_rng(1), 200) if "detectors" in row]

    assert len(rows) == 4
    for row in rows:
        broken = round(row["broken"] * 200)
        assert binom.ppf(0.0001, 200, row["exact"]) <= broken <= binom.ppf(0.9999, 200, row["exact"])


@pytest.mark.parametrize("name", coverage.PROCESSES)
def test_the_stated_tail_of_a_process_is_that_of_its_scores(name: str) -> None:
    process = coverage.PROCESSES[name]
    rng = np.random.default_rng(1)

    shares = [float((process.record(rng, 4000) > 1.5).mean()) for _ in range(60)]

    # the record of an unsteady process differs from the future, and so must the tail
    difference = abs(float(np.mean(shares)) - process.future(1.5))
    assert difference > 0.02 if not process.steady else difference < 0.015


def test_the_check_against_drift_refuses_long_records_that_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ("independent", "drift by .5 sd, then constant", "AR(1), .95", "AR(1), .98", "volatility clusters")
    monkeypatch.setattr(coverage, "PROCESSES", {name: coverage.PROCESSES[name] for name in chosen})

    rows = {(row["n"], row["alpha"], row["scores"]): row for row in coverage.records(np.random.default_rng(1), 8)}

    drift = rows[3000, 0.05, "drift by .5 sd, then constant"]
    assert drift["broken_before"] > 0.5
    assert drift["broken_after"] < 0.3
    assert rows[3000, 0.05, "independent"]["promised"] > 0.7
    assert rows[600, 0.05, "AR(1), .98"]["too_few"] == 1.0


def test_a_line_states_its_question_size_and_seed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["coverage", "miss", "--calibrations", "20", "--seed", "3"])

    coverage.main()

    first, *_, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (first["question"], first["calibrations"], first["seed"]) == ("miss", 20, 3)
    assert last.keys() == {"question", "seconds"}
