"""Stamps of a camera are used only if they are nanoseconds."""

from hypothesis import assume, given
from hypothesis import strategies as st

from andon.sources.live.trusted_stamps import AFTER_S, TOLERANCE, TrustedStamps


@given(st.floats(0.001, 100.0), st.integers(0, 2**50), st.floats(0.01, 0.5))
def test_stamps_are_passed_on_after_a_while_if_they_are_nanoseconds_and_never_otherwise(
    rate: float, begin_ns: int, period_s: float
) -> None:
    assume(abs(abs(rate - 1.0) - TOLERANCE) > 0.001)
    stamps = TrustedStamps()
    for number in range(round(3 * AFTER_S / period_s)):
        now_s = number * period_s
        stamp_ns = begin_ns + round(now_s * rate * 1e9)
        known = stamps.trusted(100.0 + now_s, stamp_ns)
        assert known == (stamp_ns if abs(rate - 1.0) < TOLERANCE and now_s >= AFTER_S + 1e-6 else None) or (
            abs(now_s - AFTER_S) <= 1e-6
        )


def test_a_camera_without_stamps_or_with_one_stamp_for_all_frames_gives_none() -> None:
    stamps = TrustedStamps()
    assert {stamps.trusted(float(now_s), None) for now_s in range(9)} == {None}
    assert {stamps.trusted(float(now_s), 5) for now_s in range(9)} == {None}


def test_a_late_first_frame_only_delays_the_decision() -> None:
    stamps = TrustedStamps()
    assert stamps.trusted(0.5, 0) is None  # it waited for half a second
    assert stamps.trusted(2.5, 2_500_000_000) is None
    assert stamps.trusted(40.0, 40_000_000_000) == 40_000_000_000
