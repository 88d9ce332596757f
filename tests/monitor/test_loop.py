"""The loop: nothing lost from files, the newest from live sources, an outcome for everything, an end within two seconds."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.sources.fake_clock import FakeClock

from andon.foundation.errors import DataError, InputError
from andon.monitor.alarms import AlarmRule
from andon.monitor.counters import Counters
from andon.monitor.judging import Outcome
from andon.monitor.loop import FINISH_S, LEAVE_S, TICK_S, Finished, monitor
from andon.monitor.sink import ConsumerGoneError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.judge import Judge
from andon.runtime.schema import Reason, Status
from andon.runtime.verdict import Verdict
from andon.sources.clock import SystemClock
from andon.sources.collection import Stream

FRAME = np.full((2, 2, 1), 100, np.uint8)
WRONG = np.full((3, 3, 1), 100, np.uint8)


def item(number: int, frame: NDArray[np.uint8] = FRAME) -> Item:
    return Item(Ref(key=str(number)), frame)


class Kept:
    """A sink that keeps all outcomes, and may go away after some."""

    lost = 0
    summary = ""

    def __init__(self, gone_after: int | None = None) -> None:
        self.outcomes: list[Outcome] = []
        self._gone_after = gone_after

    def put(self, outcome: Outcome) -> None:
        if len(self.outcomes) == self._gone_after:
            raise ConsumerGoneError("gone")
        self.outcomes.append(outcome)

    def close(self) -> None:
        """Nothing to give back."""


def judge(seconds: float = 0.0) -> Judge:
    """Judges frames of 2 x 2, in that time."""

    def call(frame: NDArray[Any]) -> Verdict:
        time.sleep(seconds)
        if frame.shape != FRAME.shape:
            raise InputError(f"expected 2 x 2, got {frame.shape}")
        return Verdict(status=Status.OK, score=1.0, threshold=2.0, model="fake")

    return Judge(call, 2.0, "fake", "frame")


def watch(open_stream: Callable[[], Stream], *sinks: Kept, seconds: float = 0.0, **how: Any) -> Finished:
    return monitor(judge(seconds), open_stream, sinks, SystemClock(), how.pop("stop", threading.Event()), **how)


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["good", "wrong", "lost"]), max_size=60))
def test_each_item_of_a_finite_source_gets_one_outcome_in_its_order_and_the_account_holds_at_every_look(
    kinds: list[str],
) -> None:
    kept, seen = Kept(), list[Counters]()

    def stream() -> Iterator[Item | Lost]:
        for number, kind in enumerate(kinds):
            if kind == "lost":
                yield Lost(Ref(key=str(number)), Reason.UNREADABLE)
            else:
                yield item(number, FRAME if kind == "good" else WRONG)

    finished = watch(stream, kept, on_counters=seen.append)

    assert [outcome.ref.key for outcome in kept.outcomes] == [str(number) for number in range(len(kinds))]
    assert [outcome.seq for outcome in kept.outcomes] == list(range(1, len(kinds) + 1))
    assert finished.counters.judged == kinds.count("good")
    assert finished.counters.by_reason.get("WRONG_INPUT", 0) == kinds.count("wrong")
    assert finished.counters.by_reason.get("UNREADABLE", 0) == kinds.count("lost")
    assert (finished.failure, finished.hung, finished.consumer_gone) == ("", False, False)
    for counters in [*seen, finished.counters]:
        assert counters.grabbed == counters.judged + counters.invalid + counters.dropped


# Complaint 21: alarms flap.
def test_the_outcome_that_changes_the_alarm_says_so_and_lost_items_change_nothing() -> None:
    kept, bad = Kept(), np.full((2, 2, 1), 255, np.uint8)

    def call(frame: NDArray[Any]) -> Verdict:
        return Verdict(status=Status.REJECT if frame.max() == 255 else Status.OK, score=1.0, threshold=1.0)

    def stream() -> Iterator[Item | Lost]:
        for number, kind in enumerate("BgBLLgBggLg" + "BB"):
            yield (
                Lost(Ref(key="lost"), Reason.UNREADABLE) if kind == "L" else item(number, bad if kind == "B" else FRAME)
            )

    finished = monitor(
        Judge(call, 1.0, "fake", "frame"),
        stream,
        [kept],
        SystemClock(),
        threading.Event(),
        alarm=AlarmRule(k=2, n=3, clear_n=3),
    )

    changes = [(outcome.seq, one.kind, one.number) for outcome in kept.outcomes for one in outcome.alarms]
    assert changes == [(3, "raised", 1), (11, "cleared", 1), (13, "raised", 2)]
    assert (finished.alarms["rejects"].alarm, finished.alarms["rejects"].active) == (2, True)


def test_a_slow_judge_holds_a_finite_source_up_and_nothing_is_lost() -> None:
    ahead: list[int] = []
    judged = Kept()

    def stream() -> Iterator[Item | Lost]:
        for number in range(40):
            ahead.append(number - len(judged.outcomes))
            yield item(number)

    finished = watch(stream, judged, seconds=0.005)

    assert finished.counters.judged == 40
    # four wait, one is being judged, one is in the reader's hand, one was judged and not yet kept
    assert max(ahead) <= 7


def test_a_live_source_that_is_faster_than_the_judge_is_thinned_to_the_newest_and_every_frame_is_counted() -> None:
    kept = Kept()

    def stream() -> Iterator[Item | Lost]:
        for number in range(200):
            time.sleep(0.001)
            yield item(number)

    finished = watch(stream, kept, seconds=0.02, live=True)

    assert finished.counters.grabbed == 200
    assert finished.counters.by_drop["busy"] == 200 - len(kept.outcomes)
    assert finished.counters.dropped > 100
    assert kept.outcomes[-1].ref.key == "199"
    assert [outcome.seq for outcome in kept.outcomes] == [int(outcome.ref.key) + 1 for outcome in kept.outcomes]


def test_what_the_source_itself_drops_is_part_of_the_account() -> None:
    class Dropping:
        dropped = 0

        def __iter__(self) -> "Dropping":
            return self

        def __next__(self) -> Item | Lost:
            if self.dropped == 30:
                raise StopIteration
            self.dropped += 3
            return item(self.dropped)

    finished = watch(Dropping, live=True)

    assert finished.counters.by_drop["source"] == 30
    assert finished.counters.grabbed == 40
    assert finished.failure == ""


def test_a_source_that_fails_midway_is_an_invalid_record_and_a_failure() -> None:
    kept = Kept()

    def stream() -> Iterator[Item | Lost]:
        yield item(0)
        raise ValueError("half a row")

    finished = watch(stream, kept, name="logs")

    assert finished.failure == "ValueError: half a row"
    assert [outcome.verdict.status for outcome in kept.outcomes] == [Status.OK, Status.INVALID]
    assert kept.outcomes[1].verdict.reason is Reason.LOST
    assert "half a row" in kept.outcomes[1].detail
    assert finished.counters.grabbed == 2


def test_a_source_that_cannot_be_opened_as_asked_is_the_callers_error() -> None:
    def refuse() -> Stream:
        raise DataError("nothing there")

    with pytest.raises(DataError, match="nothing there"):
        watch(refuse)


def test_a_source_that_refuses_when_it_is_first_asked_is_the_callers_error_too() -> None:
    def stream() -> Iterator[Item | Lost]:
        raise DataError("no such channel")
        yield item(0)

    with pytest.raises(DataError, match="no such channel"):
        watch(stream)


def test_the_reader_closes_the_stream_when_it_is_done_with_it() -> None:
    closed = threading.Event()

    def stream() -> Iterator[Item | Lost]:
        try:
            while True:
                yield item(0)
        finally:
            closed.set()

    finished = watch(stream, limit=3)

    assert closed.is_set()
    assert finished.counters.grabbed == finished.counters.judged == 3


def test_a_consumer_that_goes_away_ends_the_work_without_a_failure() -> None:
    def stream() -> Iterator[Item | Lost]:
        while True:
            yield item(0)

    finished = watch(stream, Kept(gone_after=5))

    assert finished.consumer_gone
    assert finished.failure == ""
    assert finished.counters.judged == 6
    assert finished.counters.grabbed == 6 + finished.counters.dropped


# Complaint 1: a read call that never returns.
def test_a_live_reader_that_hangs_is_reported_stale_again_and_again_and_left_behind() -> None:
    released, stop, kept = threading.Event(), threading.Event(), Kept()

    def stream() -> Iterator[Item | Lost]:
        yield item(0)
        released.wait(30)

    def enough(_counters: Counters) -> None:
        if len(kept.outcomes) == 3:
            stop.set()

    finished = watch(stream, kept, live=True, stale_after_s=0.2, stop=stop, name="camera", on_counters=enough)
    released.set()

    assert finished.hung
    silences = kept.outcomes[1:]
    assert len(silences) == 2
    assert {outcome.verdict.reason for outcome in silences} == {Reason.STALE}
    assert [outcome.ref.key for outcome in silences] == [f"camera#stale{number + 1}" for number in range(len(silences))]
    assert finished.counters.by_reason == {"STALE": len(silences)}
    assert finished.counters.grabbed == len(kept.outcomes)


class Waiting:
    """A live stream that waits for a trigger for some time, and then ends."""

    def __init__(self, seconds: float, waiting: bool) -> None:
        self._until_s = time.monotonic() + seconds
        self.waiting = waiting

    def __iter__(self) -> "Waiting":
        return self

    def __next__(self) -> Item | Lost:
        while time.monotonic() < self._until_s:
            time.sleep(0.01)
        raise StopIteration


@pytest.mark.parametrize("waiting", [True, False])
def test_a_live_source_that_waits_for_a_trigger_and_works_is_not_stale(waiting: bool) -> None:
    kept = Kept()
    finished = watch(lambda: Waiting(1.2, waiting), kept, live=True, stale_after_s=0.2)

    assert finished.stale is not waiting
    assert bool(kept.outcomes) is not waiting


def test_a_finite_source_that_takes_its_time_is_never_stale() -> None:
    clock, stop, kept = FakeClock(), threading.Event(), Kept()

    def stream() -> Iterator[Item | Lost]:
        clock.sleep(1000.0)
        time.sleep(0.3)
        yield item(0)

    monitor(judge(), stream, [kept], clock, stop, live=False, stale_after_s=2.0)

    assert [outcome.verdict.status for outcome in kept.outcomes] == [Status.OK]


Opening = Callable[[threading.Event, threading.Event], Stream]
"""Opens a stream that ends at the first event, or hangs until the second."""


def _endless(pause_s: float) -> Opening:
    def stream(stop: threading.Event, _released: threading.Event) -> Iterator[Item | Lost]:
        number = 0
        while not stop.is_set():
            time.sleep(pause_s)
            yield item(number)
            number += 1

    return stream


def _silent(stop: threading.Event, _released: threading.Event) -> Iterator[Item | Lost]:
    stop.wait()
    yield from ()


def _hanging(_stop: threading.Event, released: threading.Event) -> Iterator[Item | Lost]:
    yield item(0)
    released.wait(30)


def _hanging_at_opening(_stop: threading.Event, released: threading.Event) -> Stream:
    released.wait(30)
    return iter(())


@pytest.mark.parametrize("limit_s", [math.inf, pytest.param(5.0, marks=pytest.mark.timing)])
@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    ("open_stream", "seconds"),
    [
        pytest.param(_endless(0.0), 0.0, id="busy"),
        pytest.param(_endless(0.0), 0.15, id="reader held up by a slow judge"),
        pytest.param(_endless(0.05), 0.0, id="waiting for items"),
        pytest.param(_silent, 0.0, id="nothing ever came"),
        pytest.param(_hanging, 0.0, id="reader hangs"),
        pytest.param(_hanging_at_opening, 0.0, id="opening hangs"),
    ],
)
def test_it_ends_within_two_seconds_of_being_told_to_from_whatever_state(
    open_stream: Opening, seconds: float, live: bool, limit_s: float
) -> None:
    stop, released, told_s, kept = threading.Event(), threading.Event(), list[float](), Kept()

    def tell() -> None:
        told_s.append(time.monotonic())
        stop.set()

    threading.Timer(0.4, tell).start()
    finished = watch(lambda: open_stream(stop, released), kept, seconds=seconds, live=live, stop=stop)
    released.set()

    assert FINISH_S + LEAVE_S + TICK_S < 2.0
    assert time.monotonic() - told_s[0] < limit_s  # a busy machine takes longer than it is allowed to wait
    counters = finished.counters
    assert counters.grabbed == counters.judged + counters.invalid + counters.dropped
    assert len(kept.outcomes) == counters.judged + counters.invalid
    assert finished.failure == ""


def test_items_that_still_wait_when_there_is_no_time_left_are_counted_as_dropped() -> None:
    stop = threading.Event()

    def stream() -> Iterator[Item | Lost]:
        for number in range(100):
            yield item(number)

    threading.Timer(0.3, stop.set).start()
    finished = watch(stream, seconds=0.25, stop=stop)

    assert finished.counters.by_drop["stopped"] >= 2
    assert finished.counters.grabbed == finished.counters.judged + finished.counters.dropped


def test_the_stop_event_is_set_at_the_end_so_that_the_source_ends_too() -> None:
    stop = threading.Event()

    watch(lambda: iter([item(0)]), stop=stop)

    assert stop.is_set()


def test_what_a_source_drops_is_counted_by_the_reasons_that_it_gives() -> None:
    class Dropping:
        def __init__(self) -> None:
            self.drops = {"stale": 0, "warming": 0}

        def __iter__(self) -> "Dropping":
            return self

        def __next__(self) -> Item | Lost:
            if self.drops["warming"] == 6:
                raise StopIteration
            self.drops["warming"] += 2
            self.drops["stale"] += 1
            return item(self.drops["stale"])

    finished = watch(Dropping)

    assert finished.counters.by_drop == {"stale": 3, "warming": 6}
    assert finished.counters.grabbed == 12
    assert finished.failure == ""


@pytest.mark.parametrize("judged_last", [True, False])
def test_an_end_within_a_silence_is_said(judged_last: bool) -> None:
    def stream() -> Iterator[Item | Lost]:
        yield item(0)
        yield Lost(Ref(key="silence"), Reason.STALE)
        if judged_last:
            yield item(1)

    assert watch(stream).stale is not judged_last


def test_an_end_by_the_source_is_told_from_a_stop() -> None:
    stop = threading.Event()

    def endless() -> Iterator[Item | Lost]:
        yield item(0)
        stop.set()
        stop.wait(0.2)
        for number in range(1, 10**6):
            yield item(number)

    assert not watch(lambda: iter([item(0)])).stopped
    assert watch(endless, stop=stop).stopped
