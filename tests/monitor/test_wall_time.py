"""Steps of the wall clock are detected, and small corrections are not."""

from hypothesis import given
from hypothesis import strategies as st

from andon.monitor.wall_time import STEP_S, WallTime, look

times = st.floats(0, 1e6)


# Complaint 22: a step of the clock corrupts order and time lines.
@given(passed_s=times, step_s=st.floats(-1e9, 1e9))
def test_a_step_is_the_difference_between_both_clocks(passed_s: float, step_s: float) -> None:
    before = WallTime(mono_s=100.0, wall_s=1.7e9)

    after, delta_s = look(before, 100.0 + passed_s, 1.7e9 + passed_s + step_s)

    if abs(step_s) > STEP_S + 1e-3:
        assert abs(delta_s - step_s) < 1e-3
        assert after.epoch == 1
    if abs(step_s) < STEP_S - 1e-3:
        assert (delta_s, after.epoch) == (0.0, 0)


def test_after_a_step_the_new_time_is_normal() -> None:
    stepped, _ = look(WallTime(mono_s=0.0, wall_s=0.0), 1.0, 3601.0)

    assert look(stepped, 2.0, 3602.0) == (WallTime(mono_s=2.0, wall_s=3602.0, epoch=1), 0.0)
