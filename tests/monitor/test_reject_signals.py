"""Reject signals of a running line: each at its moment and at most once, also if the device or the disk fails."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andon.monitor.event import AlarmChanged, Event, RejectSignal
from andon.monitor.journal import Journal, JournalIntents
from andon.monitor.reject import MemoryIntents, RejectRule
from andon.monitor.reject_kind import RejectDevice, RejectFailed, callback_reject
from andon.monitor.reject_signals import RejectSignals
from andon.monitor.store import Settings as StoreSettings
from andon.monitor.store import StoreReader
from andon.monitor.store_writer import StoreWriter
from andon.monitor.supervisor import Origin
from andon.sources.clock import SystemClock

CLOCK = SystemClock()
SOON_S = 0.05


class Relay:
    """A device in memory that can fail or hang."""

    def __init__(self) -> None:
        self.switched: list[tuple[str, float]] = []
        self.fails: Callable[[], Exception | None] = lambda: None
        self.off_fails = 0
        self.hang: threading.Event | None = None
        self.closed = 0

    def on(self) -> None:
        self.switched.append(("on", CLOCK.mono_s()))
        if self.hang is not None:
            self.hang.wait(30.0)
        error = self.fails()
        if error is not None:
            raise error

    def off(self) -> None:
        self.switched.append(("off", CLOCK.mono_s()))
        if self.off_fails:
            self.off_fails -= 1
            raise RejectFailed("the relay does not answer")

    def close(self) -> None:
        self.closed += 1

    def times(self, what: str = "on") -> list[float]:
        return [at_s for name, at_s in self.switched if name == what]


class SlowDisk(MemoryIntents):
    """Intents of a disk that is full or hangs: no intent becomes durable."""

    def __init__(self, record: Callable[[RejectSignal], None], *, raises: bool = False) -> None:
        super().__init__(CLOCK, record)
        self.asked: list[str] = []
        self._raises = raises

    def intent(self, event: Event, timeout_s: float) -> bool:
        assert isinstance(event.body, RejectSignal)
        self.asked.append(event.body.part)
        if self._raises:
            raise OSError("no space left on device")
        time.sleep(timeout_s)
        return False


class Watched:
    def __init__(self, *, disk: str = "", device: RejectDevice | None = None, **rule: Any) -> None:
        self.relay = Relay()
        self.results: list[RejectSignal] = []
        self.alarms: list[AlarmChanged] = []
        self.stops: list[str] = []
        record = self.results.append
        self.intents = SlowDisk(record, raises=disk == "full") if disk else MemoryIntents(CLOCK, record)
        self.signals = RejectSignals(
            RejectRule(**{"travel_s": SOON_S, "tolerance_s": 5.0} | rule),
            device or self.relay,
            self.intents,
            CLOCK,
            record=self.alarms.append,
            on_stop=self.stops.append,
        )
        self.signals.start()

    def schedule(self, *parts: str, ago_s: float = 0.0) -> float:
        now_s = CLOCK.mono_s()
        for part in parts:
            self.signals.schedule(part, now_s - ago_s)
        return now_s

    def end(self, wait_s: float = 20.0) -> list[tuple[str, str]]:
        self.signals.close(wait_s)
        return [(result.part, result.result) for result in self.results]


def until(condition: Callable[[], object], limit_s: float = 20.0) -> None:
    give_up_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < give_up_s, "the condition did not become true"
        time.sleep(0.002)


def test_a_signal_is_given_when_the_part_is_at_the_ejector_and_its_result_is_recorded() -> None:
    watched = Watched(travel_s=0.1, actuator_s=0.04)
    triggered_s = watched.schedule("a")

    assert watched.end() == [("a", "fired")]
    (at_s,) = watched.relay.times()
    assert at_s >= triggered_s + 0.06
    assert 0.0 <= watched.results[0].late_s <= at_s - triggered_s - 0.06 + 0.001
    status = watched.signals.status()
    assert (status.fired, status.waiting, status.not_durable, watched.relay.closed) == (1, 0, 0, 1)
    assert watched.intents.open == ()


def test_a_decision_that_comes_too_late_gives_no_signal_because_it_would_hit_the_next_part() -> None:
    watched = Watched(tolerance_s=0.01)
    watched.schedule("a", ago_s=1.0)

    assert watched.end() == [("a", "missed")]
    assert watched.relay.switched == []
    assert watched.results[0].detail == "the decision came too late"
    assert [(one.alarm, one.change) for one in watched.alarms] == [("reject_signal", "raised")]
    assert watched.alarms[0].text.startswith("The reject signal of the part a is missed: the decision came too late.")
    assert watched.stops == []


def test_a_missed_signal_stops_the_line_if_the_settings_say_so() -> None:
    watched = Watched(tolerance_s=0.01, on_missed="stop")
    watched.schedule("a", ago_s=1.0)
    watched.end()

    assert watched.stops == ["the reject signal of the part a is missed: the decision came too late"]


@pytest.mark.parametrize(
    ("error", "detail"),
    [(RejectFailed("HTTP 500"), "HTTP 500"), (ValueError("http://user:password@relay"), "ValueError")],
)
def test_a_device_that_raises_gets_the_signal_once_and_the_event_has_no_secret(error: Exception, detail: str) -> None:
    watched = Watched()
    watched.relay.fails = lambda: error
    watched.schedule("a", "b")

    assert watched.end() == [("a", "failed"), ("b", "failed")]
    assert len(watched.relay.times()) == 2
    assert watched.results[0].detail == detail


# Complaint 7: one hung device holds up everything else.
def test_signals_behind_a_device_that_hangs_are_missed_in_time_and_it_is_never_called_twice() -> None:
    watched = Watched(tolerance_s=0.02)
    watched.relay.hang = threading.Event()
    watched.schedule("a", "b", "c")
    until(lambda: watched.signals.status().missed == 2)
    assert watched.end(0.0)[-1] == ("a", "unknown")
    assert watched.signals.hung
    watched.relay.hang.set()
    until(lambda: not watched.signals.hung)

    assert sorted((result.part, result.result) for result in watched.results) == [
        ("a", "unknown"),
        ("b", "missed"),
        ("c", "missed"),
    ]
    assert len(watched.relay.times()) == 1
    assert watched.relay.closed == 1


# Complaint 23: rejects never depend on the disk.
@pytest.mark.parametrize("disk", ["full", "hung"])
def test_signals_are_given_at_their_moment_if_the_disk_is_full_or_hangs(disk: str) -> None:
    watched = Watched(disk=disk)
    for number in range(5):
        watched.schedule(str(number))
        time.sleep(0.01)
    assert watched.end() == [(str(number), "fired") for number in range(5)]

    assert watched.signals.status().not_durable == 5
    assert len(watched.relay.times()) == 5


def test_a_pulse_is_ended_after_its_length_and_again_if_the_device_did_not_hear_it() -> None:
    watched = Watched(pulse_s=0.05)
    watched.relay.off_fails = 1
    watched.schedule("a")
    until(lambda: len(watched.relay.times("off")) == 2)
    watched.end()

    (on_s,), off_s = watched.relay.times(), watched.relay.times("off")
    assert off_s[0] >= on_s + 0.05
    assert len(off_s) == 2
    assert watched.alarms[0].text.startswith("The reject device was not switched off: the relay does not answer.")


def test_a_pulse_is_not_cut_short_by_the_end_of_the_line() -> None:
    watched = Watched(pulse_s=0.1)
    watched.schedule("a")
    watched.end()

    assert watched.relay.times("off")[0] >= watched.relay.times()[0] + 0.1


def test_at_the_end_of_the_line_signals_that_are_due_later_are_reported_as_missed() -> None:
    watched = Watched(travel_s=600.0)
    watched.schedule("a")

    assert watched.end(0.2) == [("a", "missed")]
    assert watched.results[0].detail == "the line ended before it was due"
    watched.signals.schedule("b", CLOCK.mono_s())
    assert [result.detail for result in watched.results][1:] == ["the line had ended"]


def test_the_alarm_of_a_missed_signal_stays_until_a_person_acknowledges_it() -> None:
    watched = Watched(tolerance_s=1.0)
    watched.schedule("a", ago_s=10.0)
    watched.schedule("b")
    watched.end()
    before = watched.signals.alarms["reject_signal"].condition

    assert watched.signals.acknowledge(1, "an operator")
    assert (before, watched.signals.alarms["reject_signal"].condition) == ("rtn_unack", "normal")


def test_a_device_of_a_line_that_never_ran_is_closed_without_a_signal() -> None:
    relay = Relay()
    RejectSignals(RejectRule(travel_s=1.0), relay, MemoryIntents(CLOCK, lambda _: None), CLOCK).close(1.0)

    assert (relay.switched, relay.closed) == ([], 1)


moments = st.lists(st.tuples(st.integers(0, 15), st.integers(-40, 15)), max_size=12)


@settings(max_examples=15, deadline=None)
@given(moments, st.sampled_from(["", "full", "hung"]), st.lists(st.booleans(), min_size=12, max_size=12))
def test_every_signal_has_one_result_and_was_given_at_most_once(
    given_moments: list[tuple[int, int]], disk: str, failing: list[bool]
) -> None:
    watched = Watched(disk=disk, tolerance_s=0.01, travel_s=0.02)
    calls = iter(failing)
    watched.relay.fails = lambda: RejectFailed("no") if next(calls) else None
    for number, (pause_ms, ago_ms) in enumerate(given_moments):
        time.sleep(pause_ms / 1000)
        watched.schedule(str(number), ago_s=-ago_ms / 1000)
    results = watched.end()

    assert sorted(int(part) for part, _ in results) == list(range(len(given_moments)))
    given_count = sum(result in ("fired", "failed") for _, result in results)
    assert len(watched.relay.times()) == given_count
    assert all(one.late_s <= 0.01 for one in watched.results if one.result == "fired")


def test_a_program_gets_its_functions_called() -> None:
    called: list[str] = []
    chosen = callback_reject(
        lambda: called.append("on"), RejectRule(travel_s=SOON_S, pulse_s=0.01), off=lambda: called.append("off")
    )
    watched = Watched(device=chosen.open(), pulse_s=0.01)
    watched.schedule("a")
    watched.end()

    assert called == ["on", "off"]


# ------------------------------------------------------------------ with the store


def durable(folder: Path) -> tuple[StoreWriter, JournalIntents, list[Event]]:
    store = StoreWriter(StoreSettings(path=str(folder / "state"), ballast_bytes=65536), CLOCK, run="r", boot="b")
    seen: list[Event] = []
    journal = Journal("r", CLOCK, store=store, on_event=seen.append)
    return store, JournalIntents(journal, store, Origin(line="a")), seen


def test_a_durable_intent_is_stored_before_its_signal_and_its_result_has_the_same_key(tmp_path: Path) -> None:
    store, intents, seen = durable(tmp_path)
    relay = Relay()
    signals = RejectSignals(RejectRule(travel_s=1.5, tolerance_s=5.0), relay, intents, CLOCK)
    signals.start()
    signals.schedule("p", CLOCK.mono_s())
    signals.close(20.0)
    assert store.flush(20.0)
    store.close()

    (event,) = StoreReader(tmp_path / "state").recent(limit=10)
    assert isinstance(event.body, RejectSignal)
    assert (event.body.part, event.body.result, event.line) == ("p", "fired", "a")
    assert signals.status().not_durable == 0
    assert [one.key for one in seen] == [event.key]


# Rule of section 8: rejects are at most once.
def test_a_signal_without_a_result_is_unknown_after_a_restart_and_is_not_given(tmp_path: Path) -> None:
    store, intents, _ = durable(tmp_path)
    assert intents.intent(intents.event(RejectSignal(part="p", result="unknown"), 1.0), 20.0)
    store.close()

    store, intents, _ = durable(tmp_path)
    relay, changes = Relay(), list[AlarmChanged]()
    signals = RejectSignals(RejectRule(travel_s=1.0), relay, intents, CLOCK, record=changes.append)
    signals.start()
    signals.close(0.0)
    store.close()

    assert (signals.status().unknown, relay.switched) == (1, [])
    assert "the reject signal of 1 parts was known, for example p" in changes[0].text
