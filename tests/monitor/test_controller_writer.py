"""The writer of one controller: order, heartbeat, failures, handshake, and its end."""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace
from tests.monitor.memory_controller import MemoryController, Plc
from tests.monitor.statuses import FULL

from andon.monitor.controller_kind import ControllerTiming
from andon.monitor.controller_writer import BACKOFF, SHORTEST_PAUSE_S, ControllerWriter, close_all
from andon.monitor.event import AlarmChanged, Body
from andon.monitor.process_image import LATE, LineResult, ResultCode
from andon.monitor.status import ProcessStatus
from andon.sources.clock import SystemClock

CLOCK = SystemClock()
FAST = ControllerTiming(every_s=0.05, max_age_s=2.0)


def status() -> ProcessStatus:
    """Return a status in which the line ``bottles`` is ready now, and ``caps`` is retrying."""
    now_s = CLOCK.mono_s()
    lines = (replace(FULL.lines[0], last_outcome_s=now_s), FULL.lines[1])
    return replace(FULL, now_s=now_s, lines=lines)


def result(code: ResultCode = ResultCode.OK, *, at_s: float | None = None) -> LineResult:
    now_s = CLOCK.mono_s() if at_s is None else at_s
    return LineResult(result=code, part=f"{now_s:.6f}", judged_wall_s=CLOCK.wall_s(), at_s=now_s)


@contextmanager
def writer(
    plc: Plc,
    *,
    lines: tuple[str, ...] = ("bottles",),
    timing: ControllerTiming = FAST,
    events: list[tuple[str, Body]] | None = None,
) -> Iterator[ControllerWriter]:
    kept = events if events is not None else []
    made = ControllerWriter(
        "plc",
        "memory",
        MemoryController(plc),
        lines=lines,
        timing=timing,
        clock=CLOCK,
        status=status,
        record=lambda line, body: kept.append((line, body)),
        rng=random.Random(0),
        longest_call_s=0.1,
    )
    made.start()
    try:
        yield made
    finally:
        plc.release.set()
        made.close()


def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, "the condition was not met in time"
        time.sleep(0.005)


def test_each_result_is_written_once_and_in_order() -> None:
    plc = Plc()
    with writer(plc) as one:
        for number in range(200):
            one.put("bottles", result(list(ResultCode)[1 + number % 4]))
        plc.wait("bottles", 200)

        assert plc.numbers("bottles") == list(range(1, 201))
        assert (one.status().written, one.status().late, one.status().connected) == (200, 0, True)
        assert 0 < one.status().longest_s < 2.0
    last = plc.of("bottles")[-1]
    assert (last.ok, last.review, last.reject, last.invalid) == (50, 50, 50, 50)


# streaming notes 11: the controller treats 3 s without a new heartbeat as INVALID
def test_each_line_gets_its_state_and_a_new_heartbeat_all_the_time() -> None:
    plc = Plc()
    with writer(plc, lines=("bottles", "caps")):
        until(lambda: all(len(plc.of(line)) > 5 for line in ("bottles", "caps")))

    for line, ready in (("bottles", True), ("caps", False)):
        images = plc.of(line)
        assert [image.heartbeat for image in images] == list(range(1, len(images) + 1))
        assert {image.ready for image in images[:-1]} == {ready}
        assert images[-1].ready is False
    assert plc.of("caps")[0].state == "retrying"


def test_many_results_of_one_line_do_not_stop_the_heartbeat_of_another() -> None:
    plc, stop = Plc(), threading.Event()
    with writer(plc, lines=("bottles", "caps")) as one:

        def flood() -> None:
            while not stop.is_set():
                one.put("bottles", result())
                time.sleep(0.0002)

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            until(lambda: len(plc.of("caps")) > 4)
        finally:
            stop.set()
            thread.join()


# Complaint 5: reconnects for ever
def test_a_controller_that_comes_back_gets_new_results_and_never_the_old_ones() -> None:
    plc = Plc()
    events: list[tuple[str, Body]] = []
    with writer(
        plc, lines=("bottles", "caps"), timing=ControllerTiming(every_s=0.05, max_age_s=0.2), events=events
    ) as one:
        one.put("bottles", result())
        plc.wait("bottles", 1)
        plc.away = True
        until(lambda: bool(one.status().failing))
        one.put("bottles", result(ResultCode.REJECT))
        until(lambda: one.status().late == 1)
        plc.away = False
        until(lambda: one.status().connected)
        one.put("bottles", result())
        image = plc.wait("bottles", 3)

        assert plc.numbers("bottles") == [1, 3]
        assert (image.ok, image.reject) == (2, 1)
        assert (one.status().late, one.status().failing) == (1, "")
    changes = [(line, body.alarm, body.change) for line, body in events if isinstance(body, AlarmChanged)]
    assert changes == [
        (line, "controller plc", change) for change in ("raised", "cleared") for line in ("bottles", "caps")
    ]


def test_a_result_that_the_plc_has_but_did_not_confirm_never_becomes_a_lower_number() -> None:
    plc = Plc()
    with writer(plc, timing=ControllerTiming(every_s=0.05, max_age_s=0.1)) as one:
        one.put("bottles", result())
        plc.wait("bottles", 1)
        plc.lost_reply = True
        plc_away_after = len(plc.images)
        one.put("bottles", result(ResultCode.REJECT))
        plc.wait("bottles", 2)
        plc.away = True
        until(lambda: one.status().late == 1)
        plc.away = False
        until(lambda: one.status().connected)
        until(lambda: len(plc.images) > plc_away_after + 3)

        assert plc.numbers("bottles") == [1, 2]
        last = plc.of("bottles")[-1]
        assert (last.result, last.reason, last.reject) == (ResultCode.INVALID, LATE, 1)


def test_a_result_that_was_not_confirmed_is_written_again_under_its_number() -> None:
    plc = Plc()
    with writer(plc) as one:
        until(lambda: bool(plc.images))
        plc.lost_reply = True
        one.put("bottles", result(ResultCode.REJECT))
        until(lambda: one.status().written == 1)

        assert plc.numbers("bottles") == [1]
        assert plc.of("bottles")[-1].result is ResultCode.REJECT
        assert one.status().late == 0


def test_pauses_between_connections_grow_and_the_plc_is_not_flooded() -> None:
    plc = Plc()
    plc.away = True
    with writer(plc):
        time.sleep(1.0)

        assert 2 <= plc.closed <= 1.0 / SHORTEST_PAUSE_S + 1
    assert [BACKOFF.limit_s(tries) for tries in range(5)] == [0.25, 0.5, 1.0, 2.0, 2.0]


def test_the_next_result_waits_until_the_plc_has_acknowledged_the_last_one() -> None:
    plc = Plc()
    plc.acknowledges = True
    with writer(plc) as one:
        for _ in range(3):
            one.put("bottles", result())
        plc.wait("bottles", 1)
        until(lambda: len(plc.images) > 5)
        assert plc.numbers("bottles") == [1]
        plc.acknowledged["bottles"] = 1
        plc.wait("bottles", 2)
        plc.acknowledged["bottles"] = 2
        plc.wait("bottles", 3)

        assert plc.numbers("bottles") == [1, 2, 3]
        assert one.status().late == 0


def test_a_line_whose_results_are_not_acknowledged_does_not_stop_the_other_line() -> None:
    plc = Plc()
    plc.acknowledges = True
    plc.acknowledged["caps"] = 1
    with writer(plc, lines=("bottles", "caps")) as one:
        for line in ("bottles", "bottles", "caps", "caps"):
            one.put(line, result())
        plc.wait("caps", 2)

        assert plc.numbers("bottles") == [1]


def test_a_result_that_is_not_acknowledged_delays_the_next_one_by_at_most_its_longest_age() -> None:
    plc = Plc()
    plc.acknowledges = True
    with writer(plc, timing=ControllerTiming(every_s=0.05, max_age_s=0.5)) as one:
        one.put("bottles", result())
        plc.wait("bottles", 1)
        time.sleep(0.3)
        one.put("bottles", result())
        one.put("bottles", result(at_s=CLOCK.mono_s() - 0.4))
        plc.wait("bottles", 2)

        until(lambda: one.status().late == 1)
        assert plc.numbers("bottles") == [1, 2]


def test_results_that_a_connected_plc_does_not_take_raise_an_alarm_until_a_person_has_seen_it() -> None:
    # issue 23: the lamp is on. A PLC that does not acknowledge leaves parts unsorted, although each write succeeds
    plc = Plc()
    plc.acknowledges = True
    events: list[tuple[str, Body]] = []
    with writer(plc, timing=ControllerTiming(every_s=0.05, max_age_s=0.2), events=events) as one:
        for _ in range(3):
            one.put("bottles", result())
        until(lambda: one.alarms["results plc"].active)
        assert not one.alarms["controller plc"].active
        plc.acknowledges = False
        one.put("bottles", result())
        until(lambda: plc.of("bottles")[-1].number == 4)
        until(lambda: one.alarms["results plc"].condition == "rtn_unack")
        assert one.acknowledge("results plc", one.alarms["results plc"].alarm, "Kim")
        assert one.alarms["results plc"].condition == "normal"

    bodies = [body for _, body in events if isinstance(body, AlarmChanged)]
    changes = [(body.alarm, body.change) for body in bodies]
    assert changes == [("results plc", change) for change in ("raised", "cleared", "acked")]
    assert "results were too old" in bodies[0].text


# Complaint 7: one stalled peer stalls the rest
def test_a_hung_controller_holds_up_no_caller_and_is_reported() -> None:
    plc, other = Plc(), Plc()
    events: list[tuple[str, Body]] = []
    with writer(plc, events=events) as hung, writer(other) as sound:
        until(lambda: bool(plc.images))
        plc.release.clear()
        began_s = time.monotonic()
        for _ in range(100):
            hung.put("bottles", result())
            sound.put("bottles", result())
        assert time.monotonic() - began_s < 1.0
        other.wait("bottles", 100)
        time.sleep(0.2)
        hung.look()
        hung.look()

        assert hung.status().failing == "a call has not returned within 0.1 s"
        assert not hung.status().connected
        assert [body.change for _, body in events if isinstance(body, AlarmChanged)] == ["raised"]
        plc.release.set()
        until(lambda: hung.status().connected and not hung.status().failing)


def test_the_end_writes_waiting_results_then_not_ready_and_closes() -> None:
    plc = Plc()
    with writer(plc, timing=ControllerTiming(every_s=1.0)) as one:
        until(lambda: bool(plc.images))
        for _ in range(5):
            one.put("bottles", result())
        assert one.close()

    assert plc.numbers("bottles") == [1, 2, 3, 4, 5]
    assert plc.of("bottles")[-1].ready is False
    assert plc.closed == 1


def test_the_end_is_bounded_while_the_controller_hangs() -> None:
    plc = Plc()
    with writer(plc) as one:
        until(lambda: bool(plc.images))
        plc.release.clear()
        time.sleep(0.1)
        began_s = time.monotonic()

        assert not close_all([one], clock=CLOCK, timeout_s=0.5)
        assert not one.close(0.5)
        assert time.monotonic() - began_s < 2.0
        assert one.hung
        plc.release.set()
        until(lambda: not one.hung)
    assert plc.closed == 1


def test_the_end_is_bounded_while_a_plc_acknowledges_nothing() -> None:
    plc = Plc()
    plc.acknowledges = True
    with writer(plc) as one:
        for _ in range(3):
            one.put("bottles", result())
        plc.wait("bottles", 1)
        began_s = time.monotonic()

        assert one.close(1.0)
        assert time.monotonic() - began_s < 1.5
    assert plc.of("bottles")[-1].ready is False


def test_a_writer_that_never_started_closes_its_controller() -> None:
    plc = Plc()
    one = ControllerWriter(
        "plc", "memory", MemoryController(plc), lines=("bottles",), timing=FAST, clock=CLOCK, status=status
    )

    assert one.close()
    assert not one.hung
    assert plc.closed == 1


def test_results_of_a_line_that_the_controller_does_not_show_are_left_out() -> None:
    plc = Plc()
    with writer(plc) as one:
        one.put("caps", result())
        one.put("bottles", result())
        plc.wait("bottles", 1)

        assert one.status().written == 1
    assert not plc.of("caps")


def test_a_status_that_cannot_be_read_never_shows_a_ready_line(caplog: pytest.LogCaptureFixture) -> None:
    plc, broken = Plc(), itertools.count()

    def failing() -> ProcessStatus:
        next(broken)
        raise RuntimeError("bug")

    one = ControllerWriter(
        "plc", "memory", MemoryController(plc), lines=("bottles",), timing=FAST, clock=CLOCK, status=failing
    )
    one.start()
    until(lambda: next(broken) > 3)
    one.close()

    assert not plc.images
    assert "unexpected RuntimeError" in caplog.text
