"""Checks that all sinks must pass. Each check is a function that takes a `Specimen` of a sink.

The tests of andon run them on all sinks of this package. Other packages can run them on their own sinks::

    @pytest.fixture
    def specimen(tmp_path): return Specimen(SINK, Settings(path=str(tmp_path / "table.csv")))

    @pytest.mark.parametrize("check", CHECKS)
    def test_the_contract(check, specimen): check(specimen)

Each check needs a new specimen with a new target. A failed check raises an AssertionError that states what was expected.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from andon.foundation.settings import fields
from andon.monitor.judging import LineAlarm, Outcome
from andon.monitor.sink import QueuedSink, Sink, SinkContext, SinkKind
from andon.runtime.items import Ref
from andon.runtime.schema import Card, FrameSpec, Reason, ScoreRule, Status
from andon.runtime.verdict import Verdict, invalid
from andon.sources.clock import SystemClock

CLOSE_S = 5.0
"""Longest time for `close`, in seconds. Sinks aim at two; the rest is for a busy machine."""
PUT_S = 5.0
"""Longest time for all outcomes of a specimen, in seconds, after a stop or from a source that cannot wait."""
SECRET = "contract-password"  # noqa: S105 - no password: a text that must not appear in messages
_SOURCE = f"rtsp://user:{SECRET}@camera.example/line1"


class Specimen:
    """A sink with settings for a target that works.

    Args:
        kind: the record of the sink.
        settings: its settings.
        fail: makes the target fail for good while the sink is open, for example by removing its folder and putting a file
            in its place. None if the target cannot fail.
    """

    def __init__(self, kind: SinkKind, settings: Any, *, fail: Callable[[], None] | None = None) -> None:
        self.kind = kind
        self.settings = settings
        self.fail = fail
        self.stop = threading.Event()

    def open(self, *, can_wait: bool = True) -> Sink:
        """Open the sink as the monitor does, for a source whose text has a password."""
        return self.kind.open(self.settings, self.context(can_wait=can_wait))

    def context(self, *, can_wait: bool = True) -> SinkContext:
        """Return the facts about the run for which the sink is opened."""
        card = Card(
            name="contract", detector="contract", input=FrameSpec(channels=3, size=(16, 16)), reading=ScoreRule(map="x")
        )
        return SinkContext(card=card, clock=SystemClock(), stop=self.stop, source=_SOURCE, can_wait=can_wait)


def outcomes(count: int = 6) -> list[Outcome]:
    """Return outcomes of all kinds: OK, REJECT with an alarm, INVALID with a frame, and INVALID without one."""
    frame = np.full((32, 48, 3), 120, np.uint8)
    grid = np.zeros((4, 6), np.float32)
    verdicts = [
        Verdict(status=Status.OK, score=0.5, threshold=1.0, p_value=0.4, level=0.5, evidence={"anomaly_map": grid}),
        Verdict(status=Status.REJECT, score=2.0, threshold=1.0, p_value=0.1, level=2.0, evidence={"anomaly_map": grid}),
        invalid(Reason.NO_CONTRAST, threshold=1.0),
        invalid(Reason.UNREADABLE, threshold=1.0),
    ]
    return [
        Outcome(
            seq=number + 1,
            wall_s=1.8e9 + number,
            ref=Ref(key=f"lot/{number}\n\x1b[2J.png"),  # names of files can hold anything
            unit="frame",
            verdict=verdicts[number % 4],
            detail="cut short" if number % 4 > 1 else "",
            data=None if number % 4 == 3 else frame,
            alarms=(LineAlarm(name="rejects", kind="raised", number=1),) if number % 4 == 1 else (),
        )
        for number in range(count)
    ]


def its_settings_are_described(specimen: Specimen) -> None:
    """Check that each setting has a description, and that the settings survive JSON. Flags and TOML keys come from them."""
    for setting in fields(specimen.kind.settings):
        assert setting.description, f"the setting {setting.name} needs a description"
    again = msgspec.convert(msgspec.to_builtins(specimen.settings), specimen.kind.settings)
    assert again == specimen.settings, "settings must survive JSON"


def it_keeps_outcomes_of_all_kinds_and_loses_none(specimen: Specimen) -> None:
    """Check that the sink loses no outcome of any kind if its target works and the source can wait."""
    sink = specimen.open()
    for outcome in outcomes():
        sink.put(outcome)
    if isinstance(sink, QueuedSink):
        sink.drain()
    _close(sink)
    assert sink.lost == 0, f"lost: expected 0 with a target that works, got {sink.lost}"


def it_never_delays_a_source_that_cannot_wait(specimen: Specimen) -> None:
    """Check that `put` is fast if the source cannot wait. The sink must count outcomes that it cannot keep, and not wait."""
    sink = specimen.open(can_wait=False)
    began_s = time.monotonic()
    for outcome in outcomes(60):
        sink.put(outcome)
    took_s = time.monotonic() - began_s
    _close(sink)
    assert took_s <= PUT_S, f"put: expected 60 outcomes within {PUT_S:g} s, took {took_s:.1f} s"


def it_does_not_wait_after_a_stop(specimen: Specimen) -> None:
    """Check that `put` and `close` end soon after the stop event, also if the source could wait."""
    sink = specimen.open()
    specimen.stop.set()
    began_s = time.monotonic()
    for outcome in outcomes(60):
        sink.put(outcome)
    took_s = time.monotonic() - began_s
    _close(sink)
    assert took_s <= PUT_S, f"put after a stop: expected 60 outcomes within {PUT_S:g} s, took {took_s:.1f} s"


def a_target_that_fails_is_counted_and_not_raised(specimen: Specimen) -> None:
    """Check that a failing target raises nothing and is visible in `lost`."""
    if specimen.fail is None:
        return
    sink = specimen.open()
    sink.put(outcomes()[1])
    if isinstance(sink, QueuedSink):
        sink.drain()
    specimen.fail()
    for outcome in outcomes(60):
        sink.put(outcome)
    if isinstance(sink, QueuedSink):
        sink.drain()
    _close(sink)
    assert sink.lost > 0, "lost: expected the outcomes that a failing target did not keep, got 0"


def its_summary_is_one_line_without_secrets(specimen: Specimen) -> None:
    """Check that the summary is one line and does not repeat the text of the source, which can hold a password."""
    sink = specimen.open()
    sink.put(outcomes()[1])
    _close(sink)
    assert isinstance(sink.summary, str), f"summary: expected a text, got {sink.summary!r}"
    assert "\n" not in sink.summary, f"summary: expected one line, got {sink.summary!r}"
    assert SECRET not in sink.summary, "summary: expected no password of the source. Use shown_address(context.source)."


def its_check_accepts_a_working_target(specimen: Specimen) -> None:
    """Check that ``andon check`` accepts a target that works, before the sink is opened and while it is open."""
    specimen.kind.check(specimen.settings, specimen.context())
    sink = specimen.open()
    sink.put(outcomes()[1])
    specimen.kind.check(specimen.settings, specimen.context())
    _close(sink)


CHECKS: tuple[Callable[[Specimen], None], ...] = (
    its_settings_are_described,
    its_check_accepts_a_working_target,
    it_keeps_outcomes_of_all_kinds_and_loses_none,
    it_never_delays_a_source_that_cannot_wait,
    it_does_not_wait_after_a_stop,
    a_target_that_fails_is_counted_and_not_raised,
    its_summary_is_one_line_without_secrets,
)
"""All checks of the contract."""


def _close(sink: Sink) -> None:
    began_s = time.monotonic()
    sink.close()
    took_s = time.monotonic() - began_s
    assert took_s <= CLOSE_S, f"close: expected at most {CLOSE_S:g} s, took {took_s:.1f} s"
    assert not (isinstance(sink, QueuedSink) and sink.hung), "hung: expected the thread to have ended after close"
