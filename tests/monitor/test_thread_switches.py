"""The time after which threads take turns."""

import sys

import pytest

from andon.monitor.thread_switches import SWITCH_S, frequent_switches


@pytest.mark.parametrize(("before", "inside"), [(0.005, SWITCH_S), (0.0005, 0.0005)])
def test_threads_take_turns_more_often_while_the_monitor_runs_and_as_before_afterwards(
    before: float, inside: float
) -> None:
    at_first = sys.getswitchinterval()
    try:
        sys.setswitchinterval(before)
        with frequent_switches():
            assert sys.getswitchinterval() == pytest.approx(inside)

        assert sys.getswitchinterval() == pytest.approx(before)
    finally:
        sys.setswitchinterval(at_first)
