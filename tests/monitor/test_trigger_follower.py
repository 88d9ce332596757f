"""The thread that follows the triggers of a line counts them, reports while none can arrive, and survives their errors."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from msgspec import Struct

from andon.foundation.errors import ConfigError
from andon.monitor.event import AlarmChanged
from andon.monitor.retry import Backoff
from andon.monitor.status import TriggerStatus
from andon.monitor.trigger_follower import END_S, TriggerFollower
from andon.monitor.trigger_kind import ChosenTrigger, Trigger, TriggerContext, TriggerKind
from andon.sources.clock import SystemClock

Give = Callable[[Trigger], None]
Hear = Callable[[str], None]
CANARY = "canary-90aa-secret"


class NoSettings(Struct, frozen=True):
    pass


class Line:
    """A line whose triggers run the functions of a test, one for each time that they are opened."""

    def __init__(self, *runs: Callable[[TriggerContext, Give, Hear], None]) -> None:
        self.runs = list(runs)
        self.given: list[Trigger] = []
        self.changes: list[AlarmChanged] = []
        self.opened = 0
        kind = TriggerKind(name="made", summary="", settings=NoSettings, open=self._open)
        self.follower = TriggerFollower(
            ChosenTrigger(kind=kind, settings=NoSettings()),
            self.given.append,
            SystemClock(),
            line="press-3",
            record=self.changes.append,
            pauses=Backoff(first_s=0.005, cap_s=0.01),
        )

    def _open(self, _settings: object, context: TriggerContext) -> "_Made":
        self.opened += 1
        run = self.runs.pop(0) if self.runs else _waits
        return _Made(run, context)

    @property
    def status(self) -> TriggerStatus:
        return self.follower.status()

    @contextmanager
    def running(self) -> Iterator["Line"]:
        self.follower.start()
        try:
            yield self
        finally:
            self.follower.close()


class _Made:
    def __init__(self, run: Callable[[TriggerContext, Give, Hear], None], context: TriggerContext) -> None:
        self._run, self._context = run, context

    def follow(self, give: Give, hear: Hear) -> None:
        self._run(self._context, give, hear)


def _waits(context: TriggerContext, _give: Give, hear: Hear) -> None:
    hear("")
    context.stop.wait()


def until(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 10.0
    while not true():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.002)


def test_triggers_are_given_in_order_and_counted() -> None:
    def run(context: TriggerContext, give: Give, hear: Hear) -> None:
        hear("")
        for number in range(1000):
            give(Trigger(number=number))
        context.stop.wait()

    with Line(run).running() as line:
        until(lambda: line.status.given == 1000)

    assert [one.number for one in line.given] == list(range(1000))
    assert line.status == TriggerStatus(given=1000)
    assert not line.follower.hung
    assert not line.changes


def test_before_the_first_connection_triggers_cannot_arrive_but_there_is_no_alarm() -> None:
    def silent(context: TriggerContext, _give: Give, _hear: Hear) -> None:
        context.stop.wait()

    line = Line(silent)
    with line.running():
        assert line.status.failing == "there is no connection yet"
    assert not line.changes


# complaints 6 and 20: the alarm is active while triggers cannot arrive, and goes out afterwards
def test_an_interruption_raises_the_alarm_once_and_its_end_clears_it(caplog: pytest.LogCaptureFixture) -> None:
    steps = [threading.Event() for _ in range(2)]

    def run(context: TriggerContext, give: Give, hear: Hear) -> None:
        hear("")
        hear("Connection refused")
        hear("Connection refused")
        hear("no answer in time")
        steps[0].wait(10.0)
        hear("")
        give(Trigger())
        steps[1].set()
        context.stop.wait()

    caplog.set_level(logging.INFO, logger="andon")
    with Line(run).running() as line:
        until(lambda: line.status.failing == "no answer in time")
        assert line.follower.alarms["trigger_source"].active
        steps[0].set()
        assert steps[1].wait(10.0)
        conditions = [line.follower.alarms["trigger_source"].condition]
        assert line.follower.acknowledge(1, "an operator")
        conditions.append(line.follower.alarms["trigger_source"].condition)

    assert conditions == ["rtn_unack", "normal"]

    assert [(one.alarm, one.change) for one in line.changes] == [
        ("trigger_source", "raised"), ("trigger_source", "cleared"), ("trigger_source", "acked"),
    ]  # fmt: skip
    assert line.changes[0].text.startswith("Triggers cannot arrive: Connection refused. The parts of this time are not")
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "press-3: triggers can arrive",
        "press-3: triggers cannot arrive: Connection refused",
        "press-3: triggers cannot arrive: no answer in time",
        "press-3: triggers can arrive",
    ]


def test_a_message_that_is_not_a_trigger_raises_the_alarm_until_the_next_trigger(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def run(context: TriggerContext, give: Give, hear: Hear) -> None:
        hear("")
        for _ in range(50):
            context.refuse("it is no JSON")
        give(Trigger(number=2))
        context.stop.wait()

    with Line(run).running() as line:
        until(lambda: line.status.given == 1)

    assert line.status == TriggerStatus(given=1, refused=50)
    assert [one.change for one in line.changes] == ["raised", "cleared"]
    assert line.changes[0].text.startswith("A message is not a trigger: it is no JSON. A part may have passed without")
    assert len(caplog.records) == 1


def test_triggers_that_fail_or_end_are_opened_again_and_show_no_foreign_text(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_context: TriggerContext, _give: Give, hear: Hear) -> None:
        hear("")
        raise RuntimeError(CANARY)

    def refuses(_context: TriggerContext, _give: Give, _hear: Hear) -> None:
        raise ConfigError("the file secret: expected a secret, found no such file.")

    def ends(_context: TriggerContext, give: Give, hear: Hear) -> None:
        hear("")
        give(Trigger())

    with Line(fails, refuses, ends).running() as line:
        until(lambda: line.opened == 4 and not line.status.failing)

    raised = [one.text for one in line.changes if one.change == "raised"]
    assert raised[0].startswith("Triggers cannot arrive: RuntimeError.")
    assert CANARY not in "".join(one.text for one in line.changes)
    messages = [record.getMessage() for record in caplog.records]
    assert "press-3: triggers cannot arrive: the file secret: expected a secret, found no such file." in messages
    assert "press-3: triggers cannot arrive: the trigger ended without a reason" in messages
    assert line.status.given == 1


def test_triggers_that_cannot_be_opened_again_are_tried_until_they_can() -> None:
    failures = ["no such file", "no such file", "a bug"]
    line = Line(lambda _context, _give, _hear: None)
    real = line._open

    def open_later(settings: object, context: TriggerContext) -> _Made:
        if failures:
            failure = failures.pop(0)
            raise RuntimeError(CANARY) if failure == "a bug" else ConfigError(failure)
        return real(settings, context)

    kind = TriggerKind(name="made", summary="", settings=NoSettings, open=open_later)
    line.follower._chosen = ChosenTrigger(kind=kind, settings=NoSettings())
    with line.running():
        until(lambda: not failures and not line.status.failing)
    assert CANARY not in "".join(one.text for one in line.changes)


# complaint 6
def test_triggers_that_do_not_end_are_reported_as_hung_and_give_nothing_more() -> None:
    over = threading.Event()

    def deaf(_context: TriggerContext, give: Give, hear: Hear) -> None:
        hear("")
        over.wait(10.0)
        give(Trigger())

    line = Line(deaf)
    line.follower.start()
    began_s = time.monotonic()
    line.follower.close()
    assert time.monotonic() - began_s < END_S + 1.0
    assert line.follower.hung
    over.set()
    until(lambda: not line.follower.hung)
    assert not line.given


def test_close_ends_triggers_that_never_ran() -> None:
    line = Line()
    line.follower.close()

    assert not line.follower.hung
