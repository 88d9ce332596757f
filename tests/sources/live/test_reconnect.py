"""Rules for fresh frames, and for opening a lost camera again."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from andon.sources.live.reconnect import Condition, Intake, LiveRule, jitter, lost, opened, received

RULE = LiveRule(read_timeout_s=1.0, stale_after_s=1.0, warm_frames=2, first_retry_s=0.01, longest_retry_s=0.02)


def test_retries_wait_a_quarter_second_doubling_to_two_seconds() -> None:
    rule = LiveRule(read_timeout_s=1, stale_after_s=1, warm_frames=5, first_retry_s=0.25, longest_retry_s=2.0)
    intake, waits = Intake(), []
    for _ in range(6):
        intake, wait_s = lost(intake, rule)
        waits.append(wait_s)

    assert waits == [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]


@given(st.integers(0, 10**9))
def test_retries_go_on_after_any_number_of_failures(attempts: int) -> None:
    intake, wait_s = lost(Intake(attempts=attempts), RULE)

    assert intake.attempts == attempts + 1
    assert RULE.first_retry_s <= wait_s <= RULE.longest_retry_s


@given(st.floats(0, 2), st.floats(0, 1))
def test_jitter_shortens_a_wait_by_a_quarter_at_most(wait_s: float, share: float) -> None:
    assert 0.75 * wait_s <= jitter(wait_s, share) <= wait_s


@given(st.lists(st.sampled_from(["reconnect", 0.0, 0.4, 0.6, 3.0]), max_size=60))
def test_no_frame_is_fresh_that_was_slow_or_is_among_the_first_after_it_or_after_connecting(
    events: list[str | float],
) -> None:
    intake, quick_ones = opened(Intake(), RULE), 0
    for event in events:
        if not isinstance(event, float):
            intake, quick_ones = opened(lost(intake, RULE)[0], RULE), 0
        else:
            slow = event > RULE.read_timeout_s / 2
            intake, why_not = received(intake, Condition(took_s=event), RULE)
            expected = "stale" if slow else "warming" if quick_ones < RULE.warm_frames else None
            assert why_not == expected
            quick_ones = 0 if slow else quick_ones + 1


def test_only_a_fresh_frame_makes_the_next_retry_quick_again() -> None:
    intake = opened(Intake(attempts=7), RULE)
    for _ in range(RULE.warm_frames):
        intake, _ = received(intake, Condition(took_s=0.0), RULE)
        assert intake.attempts == 7
    intake, _ = received(intake, Condition(took_s=0.0), RULE)

    assert intake.attempts == 0


FRAMES = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.sampled_from([0.0, 0.5, 1.5])), max_size=40
)  # key, corrupt, lag


@given(FRAMES, st.integers(0, 3))
def test_no_frame_is_judged_before_a_sound_key_frame_or_after_damage_without_a_new_key_frame(
    frames: list[tuple[bool, bool, float]], warm_frames: int
) -> None:
    # complaint 10: reconnecting itself raises the alarm, by grey or smeared first frames
    rule = replace(RULE, warm_frames=warm_frames, max_age_s=1.0)
    intake, whole = opened(Intake(), rule), False
    for key, corrupt, lag_s in frames:
        whole = not corrupt and (whole or key)
        intake, fate = received(intake, Condition(took_s=0.0, lag_s=lag_s, key=key, corrupt=corrupt), rule)
        if fate is None:
            assert whole
            assert lag_s <= rule.max_age_s
        if fate == "corrupt":
            assert not whole


@given(st.integers(0, 4), st.integers(0, 4))
def test_after_connecting_the_frames_before_the_key_frame_and_the_warm_frames_are_dropped(
    before: int, warm_frames: int
) -> None:
    rule = replace(RULE, warm_frames=warm_frames)
    intake, fates = opened(Intake(), rule), []
    for number in range(before + warm_frames + 3):
        intake, fate = received(intake, Condition(took_s=0.0, lag_s=0.0, key=number == before), rule)
        fates.append(fate)

    assert fates == ["warming"] * (before + warm_frames) + [None] * 3


def test_damage_after_the_warm_frames_is_invalid_until_the_next_key_frame() -> None:
    intake = opened(Intake(), RULE)
    fates = []
    for key, corrupt in [(True, False), (False, False), (False, False), (False, True), (False, False), (True, False)]:
        intake, fate = received(intake, Condition(took_s=0.0, lag_s=0.0, key=key, corrupt=corrupt), RULE)
        fates.append(fate)

    assert fates == ["warming", "warming", None, "corrupt", "corrupt", None]


def test_damage_among_the_warm_frames_starts_them_again() -> None:
    intake = opened(Intake(), RULE)
    fates = []
    for key, corrupt in [(True, False), (False, True), (False, False), (True, False), (False, False), (False, False)]:
        intake, fate = received(intake, Condition(took_s=0.0, lag_s=0.0, key=key, corrupt=corrupt), RULE)
        fates.append(fate)

    assert fates == ["warming"] * 5 + [None]


def test_a_slow_read_does_not_make_a_frame_old_whose_stamp_shows_its_age() -> None:
    # otherwise a camera with one frame every two seconds could not be used
    rule = replace(RULE, warm_frames=0)
    _, fate = received(opened(Intake(), rule), Condition(took_s=5.0, lag_s=0.1), rule)

    assert fate is None
