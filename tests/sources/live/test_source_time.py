"""The time stamps of a camera show the age of a frame, and a wrong rate is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.sources.live.source_time import RATE_TOLERANCE, WINDOW_S, SourceTime

TIMES = st.lists(
    st.tuples(st.floats(0.0, 0.9), st.none() | st.floats(-2.0, 3.0)), min_size=1, max_size=60
)  # steps of arrival, and of the stamp


def delivered(steps: list[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """Return arrival and stamp of each frame."""
    arrived_s, source_s, out = 0.0, 100.0, []
    for step_s, source_step_s in steps:
        arrived_s += step_s
        source_s += source_step_s or 0.0
        out.append((arrived_s, None if source_step_s is None else source_s))
    return out


@given(TIMES)
def test_the_lag_is_the_excess_over_the_least_difference_of_the_last_minute_since_the_last_restart(
    steps: list[tuple[float, float | None]],
) -> None:
    mapping, since = SourceTime(), list[tuple[float, float]]()
    for arrived_s, source_s in delivered(steps):
        mapped = mapping.map(arrived_s, source_s)
        if mapping.by_arrival:
            return  # the rate of random stamps may be wrong; the tests below are about it
        if source_s is None:
            since = []
            assert mapped.by_arrival
            assert mapped.lag_s == 0.0
            continue
        if since and source_s < since[-1][1]:
            since = []
        since.append((arrived_s, source_s))
        least = min(one - two for one, two in since if one >= arrived_s - WINDOW_S)
        assert mapped.lag_s == pytest.approx(arrived_s - source_s - least, abs=1e-9)
        assert mapped.lag_s >= 0.0


@given(TIMES, st.floats(-1e6, 1e6))
def test_the_clock_of_the_camera_does_not_matter(steps: list[tuple[float, float | None]], shift_s: float) -> None:
    here, there = SourceTime(), SourceTime()
    for arrived_s, stamp_s in delivered(steps):
        source_s = None if stamp_s is None else round(stamp_s * 1024) / 1024  # sums of these are exact
        shifted_s = None if source_s is None else source_s + round(shift_s)
        one, other = here.map(arrived_s, source_s), there.map(arrived_s, shifted_s)
        assert one.lag_s == pytest.approx(other.lag_s, abs=1e-6)
        assert one.by_arrival == other.by_arrival


def test_a_frame_that_was_flushed_after_a_stall_is_as_old_as_the_stall() -> None:
    # finding 1 of the streaming notes: it arrives 0.99 s after its predecessor, and its stamp is 0.04 s later
    mapping = SourceTime()
    for number in range(50):
        assert mapping.map(number * 0.04, number * 0.04).lag_s == pytest.approx(0.0)

    assert mapping.map(1.96 + 0.99, 2.0).lag_s == pytest.approx(0.95)


def test_a_leap_over_lost_frames_that_stays_in_the_past_does_not_make_old_frames_fresh() -> None:
    mapping = SourceTime()
    mapping.map(0.0, 0.0)
    mapping.map(6.0, 0.04)

    assert mapping.map(6.0, 4.0).lag_s == pytest.approx(2.0)


def test_a_stamp_that_goes_back_starts_the_minimum_again() -> None:
    mapping = SourceTime()
    mapping.map(0.0, 1000.0)
    mapping.map(0.04, 1000.04)

    assert mapping.map(0.08, 3.0).lag_s == 0.0
    assert mapping.map(1.08, 3.5).lag_s == pytest.approx(0.5)


def test_a_new_connection_starts_the_minimum_again() -> None:
    mapping = SourceTime()
    mapping.map(0.0, 0.0)
    mapping.connected()

    assert mapping.map(9.0, 0.04).lag_s == 0.0


def test_the_minimum_forgets_what_is_older_than_a_minute() -> None:
    mapping = SourceTime()
    mapping.map(0.0, 0.0)
    # an encoder that once stood still for 0.5 s
    mapped = [mapping.map(0.5 + number * 0.5, number * 0.5) for number in range(1, 130)]

    assert mapped[0].lag_s == pytest.approx(0.5)
    assert mapped[-1].lag_s == pytest.approx(0.0)


@pytest.mark.parametrize(("rate", "wrong"), [(25 / 21, True), (0.97, True), (1.015, False), (1.0, False)])
def test_a_wrong_rate_is_reported_once_after_a_minute_and_then_the_arrival_counts(rate: float, wrong: bool) -> None:
    # complaint 16: the camera declares 25 frames per second and sends 21
    assert abs(rate - 1.0) > RATE_TOLERANCE or not wrong
    mapping = SourceTime()
    mapped = [mapping.map(number / 21, number * rate / 21) for number in range(21 * 130)]
    reports = [(number / 21, one.wrong_rate) for number, one in enumerate(mapped) if one.wrong_rate is not None]

    if not wrong:
        assert not reports
        return
    assert [round(at_s) for at_s, _ in reports] == [60]
    assert reports[0][1] == pytest.approx(rate, rel=1e-3)
    assert {one.by_arrival for one in mapped[21 * 61 :]} == {True}
    assert {one.lag_s for one in mapped[21 * 61 :]} == {0.0}


def test_the_rate_is_measured_across_connections_but_not_across_pauses() -> None:
    mapping, reported = SourceTime(), 0
    for connection in range(8):
        mapping.connected()
        for number in range(210):
            arrived_s = connection * 100 + number / 21
            reported += mapping.map(arrived_s, number / 25).wrong_rate is not None

    assert reported == 1
    sound = SourceTime()
    for number in range(100):  # a frame every ten seconds is too slow to measure a rate
        assert sound.map(number * 10.0, number * 5.0).wrong_rate is None


def test_memory_does_not_grow() -> None:
    mapping = SourceTime()
    for number in range(20_000):
        mapping.map(number * 0.04, number * 0.04 - number * 1e-6)

    assert len(mapping._least) <= WINDOW_S / 0.04 + 2
