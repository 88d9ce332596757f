"""The typical time of a call."""

from hypothesis import given
from hypothesis import strategies as st

from andon.monitor.judge_cost import KEPT, JudgeCost

times = st.lists(st.floats(0.001, 10.0), min_size=1, max_size=30)


@given(times)
def test_after_a_slow_period_a_few_forgotten_calls_make_the_line_try_again(calls_s: list[float]) -> None:
    cost = JudgeCost()
    for seconds in calls_s:
        cost.add(seconds)
    for _ in range(KEPT):
        cost.forget()

    assert cost.median_s == 0.0


@given(times, st.integers(0, KEPT // 2), st.floats(0.001, 0.1))
def test_fewer_than_half_of_the_calls_do_not_move_the_typical_time(
    before_s: list[float], slow: int, usual_s: float
) -> None:
    cost = JudgeCost()
    for seconds in [*before_s, *[usual_s] * KEPT, *[60.0] * slow]:
        cost.add(seconds)

    assert cost.median_s == usual_s


def test_another_model_file_starts_without_a_known_time() -> None:
    cost = JudgeCost()
    cost.add(5.0)
    cost.clear()

    assert cost.median_s == 0.0
