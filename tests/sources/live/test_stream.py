"""Live streams: stale, fresh, lost and newest frames, and how a stream ends."""

import math
import random
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.runtime.schema import Reason
from andon.sources.clock import Clock, FakeClock, SystemClock
from andon.sources.items import Item, Lost
from andon.sources.live.stream import (
    Capture,
    Intake,
    LiveRule,
    LiveStream,
    ScriptedCapture,
    Watchdog,
    jitter,
    lost,
    opened,
    received,
)
from andon.sources.pictures.decode import Frame

RULE = LiveRule(read_timeout_s=1.0, stale_after_s=1.0, warm_frames=2, first_retry_s=0.01, longest_retry_s=0.02)
FRAME = np.zeros((2, 2, 3), np.uint8)


def numbered(*numbers: int) -> list[Frame | float | threading.Event | None]:
    return [np.full((2, 2, 3), number, np.uint8) for number in numbers]


Follow = Callable[..., LiveStream]


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Streams over the captures given, one a connection; None is a failed opening, and so is everything after them."""
    streams = []

    def start(
        *captures: Capture | None,
        rule: LiveRule = RULE,
        stop: threading.Event | None = None,
        clock: Clock | None = None,
    ) -> LiveStream:
        left = list(captures)
        stream = LiveStream(
            "cam",
            lambda: left.pop(0) if left else None,
            convert=lambda frame: frame,
            rule=rule,
            clock=clock or SystemClock(),
            stop=stop or threading.Event(),
            rng=random.Random(0),
        )
        streams.append(stream)
        return stream

    yield start
    for stream in streams:
        stream.close()


def wait_until(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < until_s, "waited for ten seconds"
        time.sleep(0.005)


def pixel(item: Item | Lost) -> int | None:
    return int(item.data[0, 0, 0]) if isinstance(item, Item) else None


# --- rules ---


def test_retries_wait_a_quarter_second_doubling_to_two_seconds() -> None:
    intake, waits = Intake(), []
    for _ in range(6):
        intake, wait_s = lost(intake, LiveRule(read_timeout_s=1, stale_after_s=1))
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
            intake, why_not = received(intake, event, RULE)
            expected = "stale" if slow else "warming" if quick_ones < RULE.warm_frames else None
            assert why_not == expected
            quick_ones = 0 if slow else quick_ones + 1


def test_only_a_fresh_frame_makes_the_next_retry_quick_again() -> None:
    intake = opened(Intake(attempts=7), RULE)
    for _ in range(RULE.warm_frames):
        intake, _ = received(intake, 0.0, RULE)
        assert intake.attempts == 7
    intake, _ = received(intake, 0.0, RULE)

    assert intake.attempts == 0


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


# --- threads ---


def test_frames_come_after_the_warm_ones_and_carry_their_number(follow: Follow) -> None:
    stream = follow(ScriptedCapture([*numbered(1, 2), 0.05, *numbered(3)], SystemClock()))

    item = next(stream)
    assert (item.ref.key, item.ref.group, pixel(item)) == ("cam#3", "cam", 3)
    assert stream.counts.drops == {"warming": 2}


def test_a_lost_camera_is_opened_anew_each_time_and_the_old_capture_closed(follow: Follow) -> None:
    seen = threading.Event()
    first = ScriptedCapture([*numbered(1, 2, 3), seen], SystemClock())
    second = ScriptedCapture([*numbered(4, 5, 6), threading.Event()], SystemClock())
    stream = follow(first, None, None, second)

    assert pixel(next(stream)) == 3
    seen.set()
    assert pixel(next(stream)) == 6
    assert first.closed
    assert stream.openings == 4


@pytest.mark.parametrize("limit_s", [math.inf, pytest.param(5.0, marks=pytest.mark.timing)])
def test_a_camera_that_hangs_is_reported_as_stale_once_a_period(follow: Follow, limit_s: float) -> None:
    rule = LiveRule(read_timeout_s=1.0, stale_after_s=0.2)
    stream = follow(ScriptedCapture([threading.Event()], SystemClock()), rule=rule)
    began_s = time.monotonic()
    items = [next(stream), next(stream), next(stream)]
    took_s = time.monotonic() - began_s

    assert [item.reason for item in items if isinstance(item, Lost)] == [Reason.STALE] * 3
    assert len({item.ref.key for item in items}) == 3
    assert 0.55 <= took_s < limit_s


def test_a_frame_flushed_after_a_stall_is_not_given(follow: Follow) -> None:
    rule = LiveRule(read_timeout_s=60.0, stale_after_s=60.0, warm_frames=1)
    clock, seen = FakeClock(), threading.Event()  # turned by the stall alone, however long the machine takes
    script = [*numbered(1), 31.0, *numbered(2), *numbered(3, 4), seen]
    stream = follow(ScriptedCapture(script, clock), rule=rule, clock=clock)

    assert pixel(next(stream)) == 4
    assert stream.counts.drops == {"warming": 2, "stale": 1}
    seen.set()


def test_a_frame_that_waited_too_long_for_its_consumer_is_not_given_either(follow: Follow) -> None:
    rule = LiveRule(read_timeout_s=30.0, stale_after_s=0.5, warm_frames=0)
    clock, seen, judged = FakeClock(), threading.Event(), threading.Event()
    stream = follow(ScriptedCapture([*numbered(1), seen, *numbered(2), judged], clock), rule=rule, clock=clock)
    assert pixel(next(stream)) == 1
    seen.set()
    wait_until(lambda: stream.counts.waiting == 1)
    clock.sleep(0.6)

    assert isinstance(next(stream), Lost)
    assert stream.counts.drops == {"stale": 1}
    judged.set()


def test_the_newest_frame_wins_and_the_displaced_ones_are_counted(follow: Follow) -> None:
    rule = LiveRule(read_timeout_s=30.0, stale_after_s=5.0, warm_frames=0)
    seen = threading.Event()
    stream = follow(ScriptedCapture([*numbered(1), seen, *numbered(2, 3, 4)], SystemClock()), rule=rule)
    assert pixel(next(stream)) == 1
    seen.set()
    wait_until(lambda: stream.counts.grabbed == 4)

    assert pixel(next(stream)) == 4
    assert stream.counts.drops == {"busy": 2}
    assert stream.dropped == 2
    assert sum(stream.drops.values()) == 2


def test_what_was_grabbed_is_what_was_given_and_what_was_dropped(follow: Follow) -> None:
    rule = LiveRule(read_timeout_s=0.4, stale_after_s=0.1, warm_frames=2, first_retry_s=0.01, longest_retry_s=0.02)
    clock, chance = SystemClock(), random.Random(3)
    scripts = [
        [step for _ in range(40) for step in (chance.choice([0.0, 0.001, 0.003]), FRAME)] + [0.25, FRAME]
        for _ in range(4)
    ]
    stream = follow(*(ScriptedCapture(script, clock) for script in scripts), rule=rule)
    given_frames = 0
    while stream.openings <= len(scripts):
        given_frames += isinstance(next(stream), Item)
        time.sleep(chance.choice([0.0, 0.002, 0.01]))
        counts = stream.counts
        assert counts.grabbed == given_frames + counts.dropped + counts.waiting
    stream.close()

    assert given_frames > 10
    assert stream.counts.grabbed == 4 * 41
    assert stream.counts.grabbed == given_frames + stream.dropped


@pytest.mark.parametrize("limit_s", [math.inf, pytest.param(5.0, marks=pytest.mark.timing)])
@pytest.mark.parametrize("script", [[], [threading.Event()], [FRAME] * 100_000], ids=["absent", "hanging", "fast"])
def test_stopping_ends_the_stream_within_two_seconds_from_every_state(
    script: list[Frame | float | threading.Event | None], follow: Follow, limit_s: float
) -> None:
    stop = threading.Event()
    stream = follow(ScriptedCapture(script, SystemClock()), stop=stop)
    next(stream)
    stop.set()
    began_s = time.monotonic()

    with pytest.raises(StopIteration):
        next(stream)
    assert time.monotonic() - began_s < limit_s  # two seconds, on a machine that does nothing else


def test_a_closed_stream_leaves_no_thread_and_gives_the_camera_back(follow: Follow) -> None:
    capture = ScriptedCapture([step for _ in range(1000) for step in (0.01, FRAME)], SystemClock())
    before = set(threading.enumerate())
    stream = follow(capture)
    next(stream)
    stream.close()

    assert capture.closed
    assert not set(threading.enumerate()) - before
    assert list(stream) == []


def test_a_stream_that_was_never_asked_starts_no_thread(follow: Follow) -> None:
    stop = threading.Event()
    stream = follow(stop=stop)
    stop.set()

    assert list(stream) == []
    assert stream.openings == 0


def test_a_bug_in_the_reader_reaches_the_consumer() -> None:
    def broken() -> Capture | None:
        raise ZeroDivisionError("a bug")

    stream = LiveStream(
        "cam",
        broken,
        convert=lambda frame: frame,
        rule=RULE,
        clock=SystemClock(),
        stop=threading.Event(),
        rng=random.Random(0),
    )
    with pytest.raises(ZeroDivisionError, match="a bug"):
        next(stream)


def test_a_loss_is_logged_once_however_often_opening_fails(follow: Follow, caplog: pytest.LogCaptureFixture) -> None:
    rule = LiveRule(read_timeout_s=60, stale_after_s=60, warm_frames=2, first_retry_s=0.01, longest_retry_s=0.02)
    seen = threading.Event()
    stream = follow(ScriptedCapture([*numbered(1, 2, 3), seen], SystemClock()), rule=rule)
    with caplog.at_level("WARNING"):
        assert pixel(next(stream)) == 3  # or it would not have been told that the camera was there
        seen.set()
        wait_until(lambda: stream.openings >= 6)

    assert [record.getMessage() for record in caplog.records] == ["cam: lost; reconnecting"]
