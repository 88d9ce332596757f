"""Reports of silence."""

from hypothesis import given
from hypothesis import strategies as st

from andon.sources.live.watchdog import Watchdog


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=40))
def test_silence_is_reported_once_a_period_and_never_sooner_than_a_period_after_a_sign_of_life(
    ticks: list[tuple[float, bool]],
) -> None:
    watchdog, now_s, since_s = Watchdog(2.0, 0.0), 0.0, 0.0
    for later_s, alive in ticks:
        now_s += later_s
        if alive:
            watchdog.alive(now_s)
            since_s = now_s
        due = watchdog.due(now_s)
        assert due == (now_s - since_s >= 2.0)
        if due:
            since_s = now_s
