"""Drift charts: rules from state and part to the next state, without scipy and without a clock."""

import math
import subprocess
import sys
from statistics import NormalDist

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.runtime.calibration_facts import BudgetChart, Cusum, Distance, DriftReference
from andon.runtime.drift import (
    BudgetState,
    CusumState,
    DriftState,
    WindowState,
    acknowledged,
    add_to_window,
    kolmogorov_smirnov,
    population_stability,
    step,
    step_budget,
    step_cusum,
)

N = 99
KNOTS = np.full(256, np.inf, np.float32)
KNOTS[:N] = np.nextafter(np.arange(1, N + 1, dtype=np.float32), np.float32(np.inf))
REFERENCE = DriftReference(
    n=N,
    z=tuple(-NormalDist().inv_cdf((above + 0.5) / (N + 1)) for above in range(N, -1, -1)),
    cusum=Cusum(k=0.25, h=5.0, run_length=1000, confidence=0.9),
    budget=BudgetChart(expected=0.05, raised=0.1, step=14, h=40, quiet_parts=100),
    psi=Distance(window=50, limit=0.5, bins=10),
    ks=Distance(window=50, limit=0.3),
)
"""A calibration with the scores 1 to 99."""


def watched(scores: list[float], state: DriftState | None = None) -> DriftState:
    state = state or DriftState(digest="a")
    for score in scores:
        state = step(state, score, rejected=score > 98, reference=REFERENCE, knots=KNOTS)
    return state


def test_the_deviate_of_a_score_is_that_of_its_rank() -> None:
    state = step(DriftState(digest="a"), 90.5, rejected=False, reference=REFERENCE, knots=KNOTS)

    z = -NormalDist().inv_cdf(9.5 / 100)  # nine calibration scores are above 90.5
    assert state.cusum.high == pytest.approx(z - 0.25)
    assert state.cusum.low == 0.0


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=60), st.floats(0.1, 1))
def test_the_cusum_is_the_largest_sum_of_the_last_values(values: list[float], k: float) -> None:
    state = CusumState()
    for z in values:
        state = step_cusum(state, z, Cusum(k=k, h=1e9, run_length=1, confidence=0.9))

    ends = [sum(z - k for z in values[start:]) for start in range(len(values) + 1)]
    assert state.high == pytest.approx(max(ends), abs=1e-9)
    assert state.low == pytest.approx(
        max(sum(-z - k for z in values[start:]) for start in range(len(values) + 1)), abs=1e-9
    )
    assert state.parts == len(values)


@given(st.lists(st.booleans(), min_size=1, max_size=80))
def test_the_reject_budget_is_the_largest_sum_of_the_last_parts(rejects: list[bool]) -> None:
    limits, state = BudgetChart(expected=0.1, raised=0.2, step=7, h=10**9, quiet_parts=1), BudgetState()
    for rejected in rejects:
        state = step_budget(state, rejected=rejected, limits=limits)

    steps = [6 if rejected else -1 for rejected in rejects]
    assert state.sum == max(sum(steps[start:]) for start in range(len(steps) + 1))
    assert (state.parts, state.rejects) == (len(rejects), sum(rejects))


@given(st.lists(st.floats(0.5, 100), min_size=1, max_size=120))
def test_a_state_survives_json_in_the_middle(scores: list[float]) -> None:
    half = len(scores) // 2
    stored = msgspec.json.decode(msgspec.json.encode(watched(scores[:half])), type=DriftState)

    assert watched(scores[half:], stored) == watched(scores)


def test_clean_scores_raise_no_alarm() -> None:
    spread = [float(1 + number * 37 % 97) for number in range(97)]  # neighbours are far apart

    assert watched(spread).alarms == ()


@pytest.mark.parametrize(("score", "side"), [(95.0, "high"), (5.0, "low")])
def test_a_shift_of_all_scores_raises_the_cusum_and_both_distances(score: float, side: str) -> None:
    state = watched([score] * 60)

    assert state.alarms == ("cusum", "psi", "ks")
    assert state.cusum.alarm == side
    assert sum(state.psi.counts) == 10  # the second window has begun


def test_many_rejects_raise_the_budget() -> None:
    assert "budget" in watched([99.5] * 4).alarms
    assert "budget" not in watched([99.5] * 2).alarms


def test_an_alarm_is_held_until_it_is_acknowledged() -> None:
    alarmed = watched([95.0] * 60)

    held = watched([50.0] * 300, alarmed)
    cleared = acknowledged(held)

    assert held.alarms == ("cusum", "psi", "ks")
    assert cleared.alarms == ()
    assert (cleared.cusum.high, cleared.cusum.parts) == (0.0, 360)
    assert acknowledged(cleared) == cleared


def counted(cells: list[int]) -> tuple[int, ...]:
    state = WindowState()
    for cell in cells:
        state = add_to_window(state, cell, N + 1)
    return state.counts


@given(st.lists(st.integers(0, N), min_size=1, max_size=200))
def test_the_distances_agree_with_slow_references(cells: list[int]) -> None:
    counts = counted(cells)

    steps = [abs(sum(cell <= place for cell in cells) / len(cells) - min(N, place + 1) / N) for place in range(N + 1)]
    assert kolmogorov_smirnov(counts, REFERENCE, Distance(window=1, limit=1)) == pytest.approx(max(steps), abs=1e-12)

    bins = 10
    place_of = [min(bins - 1, math.floor((cell + 0.5) / N * bins)) if cell < N else bins - 1 for cell in range(N + 1)]
    total = 0.0
    for number in range(bins):
        p = sum(place_of[cell] == number for cell in range(N)) / N
        q = (sum(place_of[cell] == number for cell in cells) + 0.5) / (len(cells) + 0.5 * bins)
        total += (q - p) * math.log(q / p)
    assert population_stability(counts, REFERENCE, Distance(window=1, limit=1, bins=bins)) == pytest.approx(
        total, abs=1e-9
    )


def test_a_chart_without_limits_stays_as_it_is() -> None:
    bare = DriftReference(n=N, z=REFERENCE.z)

    state = step(DriftState(digest="a"), 95.0, rejected=True, reference=bare, knots=KNOTS)

    assert state == DriftState(digest="a")


def test_the_charts_need_no_scipy() -> None:
    script = "import sys, andon.runtime.drift; sys.exit('scipy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
