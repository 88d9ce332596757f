"""Live streams: stale, fresh, lost and newest frames, and how a stream ends."""

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from tests.sources.fake_clock import FakeClock
from tests.sources.live.scripted_capture import ScriptedCapture, Step

from andon.foundation.errors import DataError
from andon.runtime.items import Item, Lost
from andon.runtime.schema import Reason
from andon.sources.clock import Clock, SystemClock
from andon.sources.live.capture import Capture, Grabbed, Opener, Quiet
from andon.sources.live.reconnect import LiveRule
from andon.sources.live.stream import LiveStream

RULE = LiveRule(read_timeout_s=1.0, stale_after_s=1.0, warm_frames=2, first_retry_s=0.01, longest_retry_s=0.02)
FRAME = np.zeros((2, 2, 3), np.uint8)


def numbered(*numbers: int) -> list[Step]:
    return [np.full((2, 2, 3), number, np.uint8) for number in numbers]


class CountingStream(LiveStream):
    """A stream that counts how often its camera is opened."""

    def __init__(self, name: str, opener: Opener, **how: Any) -> None:
        self.openings = 0

        def count() -> Capture | None:
            self.openings += 1
            return opener()

        super().__init__(name, count, **how)


Follow = Callable[..., CountingStream]


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Streams over the given captures, one per connection. None is a failed attempt, and so is every attempt after them."""
    streams = []

    def start(
        *captures: Capture | None,
        rule: LiveRule = RULE,
        stop: threading.Event | None = None,
        clock: Clock | None = None,
    ) -> CountingStream:
        left = list(captures)
        stream = CountingStream(
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
    rule = replace(RULE, stale_after_s=0.2)
    stream = follow(ScriptedCapture([threading.Event()], SystemClock()), rule=rule)
    began_s = time.monotonic()
    items = [next(stream), next(stream), next(stream)]
    took_s = time.monotonic() - began_s

    assert [item.reason for item in items if isinstance(item, Lost)] == [Reason.STALE] * 3
    assert len({item.ref.key for item in items}) == 3
    assert 0.55 <= took_s < limit_s


def test_a_frame_flushed_after_a_stall_is_not_given(follow: Follow) -> None:
    rule = replace(RULE, read_timeout_s=60.0, stale_after_s=60.0, warm_frames=1)
    clock, seen = FakeClock(), threading.Event()  # advances only with the stall, even on a slow machine
    script = [*numbered(1), 31.0, *numbered(2), *numbered(3, 4), seen]
    stream = follow(ScriptedCapture(script, clock), rule=rule, clock=clock)

    assert pixel(next(stream)) == 4
    assert stream.counts.drops == {"warming": 2, "stale": 1}
    seen.set()


def test_a_frame_that_waited_too_long_for_its_consumer_is_not_given_either(follow: Follow) -> None:
    rule = replace(RULE, read_timeout_s=30.0, stale_after_s=0.5, warm_frames=0)
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
    rule = replace(RULE, read_timeout_s=30.0, stale_after_s=5.0, warm_frames=0)
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
    script: list[Step], follow: Follow, limit_s: float
) -> None:
    stop = threading.Event()
    stream = follow(ScriptedCapture(script, SystemClock()), stop=stop)
    next(stream)
    stop.set()
    began_s = time.monotonic()

    with pytest.raises(StopIteration):
        next(stream)
    assert time.monotonic() - began_s < limit_s  # two seconds on an idle machine


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
        assert pixel(next(stream)) == 3  # otherwise it would not have logged that the camera was lost
        seen.set()
        wait_until(lambda: stream.openings >= 6)

    assert [record.getMessage() for record in caplog.records] == ["cam: the connection is lost; reconnecting"]


def test_a_damaged_frame_is_invalid_and_so_are_the_frames_predicted_from_it(follow: Follow) -> None:
    # complaint 10: corrupt-flagged frames are INVALID
    rule = replace(RULE, warm_frames=0)
    seen = [threading.Event() for _ in range(4)]
    script: list[Step] = [
        Grabbed(numbered(1)[0]), seen[0],
        Grabbed(None, damage="the decoder refused damaged data", key=False), seen[1],
        Grabbed(numbered(3)[0], key=False), seen[2],
        Grabbed(numbered(4)[0]), seen[3],
    ]  # fmt: skip
    stream = follow(ScriptedCapture(script, SystemClock()), rule=rule)
    items = []
    for event in seen:
        items.append(next(stream))
        event.set()

    assert [pixel(item) for item in items] == [1, None, None, 4]
    assert [(item.reason, item.detail) for item in items if isinstance(item, Lost)] == [
        (Reason.CORRUPT, "cam: the decoder refused damaged data"),
        (Reason.CORRUPT, "cam: the frame is predicted from a damaged one"),
    ]
    assert [item.ref.key for item in items] == ["cam#1", "cam#2", "cam#3", "cam#4"]


def test_a_frame_whose_stamp_shows_that_it_is_old_is_dropped_and_counted(follow: Follow) -> None:
    # finding 1: a frame arrives during a stall that is as old as the stall. Complaint 8: it is counted
    rule = replace(RULE, warm_frames=0, read_timeout_s=60.0, stale_after_s=60.0, max_age_s=1.0)
    clock, seen = FakeClock(), threading.Event()
    pixels = numbered(1, 2, 3)
    script: list[Step] = [
        Grabbed(pixels[0], source_s=10.0), 1.5, Grabbed(pixels[1], source_s=10.04), 0.04, Grabbed(pixels[2], source_s=11.54),
        seen,
    ]  # fmt: skip
    stream = follow(ScriptedCapture(script, clock), rule=rule, clock=clock)

    assert pixel(next(stream)) in (1, 3)
    wait_until(lambda: stream.counts.grabbed == 3)
    assert stream.drops["stale"] == 1
    seen.set()


def test_a_connection_that_gives_only_old_frames_is_opened_anew(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    # complaint 9: latency grows, because the link or the decoder is too slow
    rule = replace(RULE, warm_frames=0, read_timeout_s=60.0, stale_after_s=1.0, max_age_s=1.0)
    clock, frame, over = FakeClock(), numbered(1)[0], threading.Event()
    lagging: list[Step] = [Grabbed(frame, source_s=0.0), 5.0]
    for number in range(1, 100):
        lagging += [Grabbed(frame, source_s=number * 0.1), 0.1]
    first = ScriptedCapture(lagging, clock)
    stream = follow(
        first, ScriptedCapture([Grabbed(numbered(7)[0], source_s=0.0), over], clock), rule=rule, clock=clock
    )
    while pixel(next(stream)) != 7:
        pass

    assert first.closed
    assert "all frames of the last 2.1 s were too old" in caplog.text
    over.set()


def test_the_time_of_a_frame_is_the_time_of_its_capture(follow: Follow) -> None:
    rule = replace(RULE, warm_frames=0, read_timeout_s=60.0, stale_after_s=60.0)
    clock, first, last = FakeClock(), threading.Event(), threading.Event()
    pixels = numbered(1, 2)
    script: list[Step] = [Grabbed(pixels[0], source_s=0.0), first, 0.9, Grabbed(pixels[1], source_s=0.4), last]
    stream = follow(ScriptedCapture(script, clock), rule=rule, clock=clock)

    assert next(stream).ref.time_s == 0.0
    first.set()
    assert next(stream).ref.time_s == pytest.approx(0.4)
    last.set()


def test_a_camera_that_shows_that_it_waits_for_a_trigger_is_not_stale(follow: Follow) -> None:
    rule = replace(RULE, stale_after_s=0.3, warm_frames=0)
    silence: list[Step] = [Quiet.WAITING, 0.1] * 8  # 0.8 s
    stream = follow(ScriptedCapture([*silence, *numbered(1), threading.Event()], SystemClock()), rule=rule)

    assert pixel(next(stream)) == 1


def test_a_camera_that_no_longer_shows_that_it_waits_is_stale(follow: Follow) -> None:
    rule = replace(RULE, stale_after_s=0.3)
    stream = follow(ScriptedCapture([Quiet.WAITING, 0.1, Quiet.WAITING, threading.Event()], SystemClock()), rule=rule)

    item = next(stream)
    assert isinstance(item, Lost)
    assert item.reason is Reason.STALE
    assert not stream.waiting


def test_a_stream_waits_for_a_trigger_until_its_camera_is_lost(follow: Follow) -> None:
    rule = replace(RULE, stale_after_s=5.0, warm_frames=0)
    go = threading.Event()
    stream = follow(
        ScriptedCapture([*numbered(1), Quiet.WAITING, go, DataError("the cable is cut")], SystemClock()), rule=rule
    )
    assert not stream.waiting
    assert pixel(next(stream)) == 1
    wait_until(lambda: stream.waiting)
    go.set()
    wait_until(lambda: not stream.waiting)


def test_the_wait_for_a_trigger_does_not_make_the_next_frame_old(follow: Follow) -> None:
    rule = replace(RULE, read_timeout_s=4.0, stale_after_s=60.0, warm_frames=0)
    clock, seen = FakeClock(), threading.Event()
    silence: list[Step] = [1.5, Quiet.WAITING]
    script = [*silence * 9, *numbered(1), seen]
    stream = follow(ScriptedCapture(script, clock), rule=rule, clock=clock)

    assert pixel(next(stream)) == 1
    seen.set()


def test_a_silence_without_a_reason_makes_the_next_frame_old(follow: Follow) -> None:
    rule = replace(RULE, read_timeout_s=4.0, stale_after_s=60.0, warm_frames=0)
    clock, seen = FakeClock(), threading.Event()
    silence: list[Step] = [1.5, Quiet.SILENT]
    script = [*silence * 2, *numbered(1, 2), seen]
    stream = follow(ScriptedCapture(script, clock), rule=rule, clock=clock)

    assert pixel(next(stream)) == 2
    assert stream.counts.drops == {"stale": 1}
    seen.set()


def test_the_time_for_opening_a_camera_does_not_make_its_first_frame_old(follow: Follow) -> None:
    rule = replace(RULE, read_timeout_s=4.0, stale_after_s=60.0, warm_frames=0)
    clock, seen = FakeClock(), threading.Event()
    silence: list[Step] = [1.5, Quiet.OPENING]
    script = [*silence * 9, *numbered(1), seen]
    stream = follow(ScriptedCapture(script, clock), rule=rule, clock=clock)

    assert pixel(next(stream)) == 1
    seen.set()


def test_a_camera_that_is_found_to_be_missing_while_it_is_read_is_stale_with_the_reason(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    rule = replace(RULE, stale_after_s=0.3)
    missing = [ScriptedCapture([DataError("found none")], SystemClock()) for _ in range(3)]
    stream = follow(*missing, ScriptedCapture([threading.Event()], SystemClock()), rule=rule)

    item = next(stream)
    assert isinstance(item, Lost)
    assert item.detail == "cam: no fresh frame for 0.3 s (found none)"
    assert all(capture.closed for capture in missing)
    assert [record.message for record in caplog.records] == ["cam: cannot be opened (found none); trying again"]


def test_c08_frames_that_a_capture_skipped_are_counted(follow: Follow) -> None:
    rule = replace(RULE, warm_frames=0)
    stream = follow(ScriptedCapture([Grabbed(FRAME, skipped=4), threading.Event()], SystemClock()), rule=rule)

    assert next(stream).ref.key == "cam#5"
    assert (stream.counts.grabbed, stream.counts.drops) == (5, {"busy": 4})
