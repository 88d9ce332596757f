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


def test_a_line_states_its_question_size_and_seed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["coverage", "miss", "--calibrations", "20", "--seed", "3"])

    coverage.main()

    first, *_, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (first["question"], first["calibrations"], first["seed"]) == ("miss", 20, 3)
    assert last.keys() == {"question", "seconds"}
