"""A whole line with parts and a reject signal: model file, source, store, counters, end."""

import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from msgspec import Meta, Struct, structs

from andon.cli import main
from andon.demo.example_line import MODEL, example
from andon.foundation.errors import ConfigError
from andon.monitor.config import ChosenSource, Configuration, Line, Policy, configuration_from_table
from andon.monitor.event import AlarmChanged, Body, Event, Rejected, RejectSignal
from andon.monitor.health import liveness, readiness
from andon.monitor.line_check import check_line
from andon.monitor.monitor import Monitor
from andon.monitor.part_settings import PartSettings
from andon.monitor.process_image import LineResult, line_ready
from andon.monitor.reject import RejectRule
from andon.monitor.reject_kind import callback_reject
from andon.monitor.service import Service
from andon.monitor.status import ProcessStatus, TriggerStatus
from andon.monitor.store import StoreReader
from andon.monitor.supervisor import RunEnd, Supervisor
from andon.monitor.trigger_kind import ChosenTrigger, Trigger, TriggerContext, TriggerKind
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import InputSpec, Reason
from andon.sources.clock import Clock, SystemClock
from andon.sources.collection import Stream
from andon.sources.source import Source

GOOD = np.random.default_rng(0).integers(90, 160, (24, 24, 1), dtype=np.uint8)
BAD = np.random.default_rng(0).integers(0, 255, (24, 24, 1), dtype=np.uint8)


class MadeSettings(Struct, frozen=True):
    stale_after_s: Annotated[float, Meta(description="see the tests of live sources")] = 5.0


RULE = RejectRule(travel_s=0.3, tolerance_s=20.0)  # generous: a busy machine may judge late


class Run:
    """One line over some frames, in a supervisor."""

    def __init__(self, model: Path, stream: Callable[[threading.Event], Stream], *, live: bool = False, **line: Any):
        self.given: list[float] = []
        rule = line.pop("rule", RULE)
        self.events: list[Body] = []
        self.statuses: list[ProcessStatus] = []
        self.results: list[tuple[str, LineResult]] = []
        self.stop = threading.Event()

        def opened(_text: str, _spec: InputSpec, _settings: Any, _clock: Clock, stop: threading.Event) -> Stream:
            return stream(stop)

        kind = Source(
            name="made",
            summary="made",
            accepts=lambda _: True,
            stream=opened,
            settings=MadeSettings,
            live=live,
            endless=lambda _text, _settings: False,
        )
        self.supervisor = Supervisor(
            Configuration(
                lines=(
                    Line(
                        name="a",
                        model=str(model),
                        source=ChosenSource(kind, "made", MadeSettings()),
                        sinks=(),
                        policy=Policy(restart=False),
                        reject=callback_reject(lambda: self.given.append(time.monotonic()), rule),
                        **line,
                    ),
                )
            ),
            SystemClock(),
            self.stop,
            record=lambda _origin, body, _outcome: self.events.append(body),
            on_status=self.statuses.append,
            on_result=lambda line, result: self.results.append((line, result)),
        )

    def to_the_end(self) -> RunEnd:
        return self.supervisor.run()

    def of(self, kind: type) -> list[Any]:
        return [body for body in self.events if isinstance(body, kind)]


def frames(*levels: bool, parts: int = 0) -> Callable[[threading.Event], Iterator[Item | Lost]]:
    """Return a stream of frames, true for a good one. With `parts`, this number of frames shows one part."""

    def stream(_stop: threading.Event) -> Iterator[Item | Lost]:
        for number, good in enumerate(levels):
            part = f"part {number // parts}" if parts else ""
            yield Item(Ref(key=f"{number}.png", part=part), GOOD if good else BAD)

    return stream


def test_each_rejected_part_gets_one_signal_and_all_counters_are_exact(tiny_model: Path) -> None:
    run = Run(
        tiny_model,
        frames(True, True, True, False, False, False, True, True, True, parts=2),
        parts=PartSettings(deadline_s=2.0, frames=2),
    )
    end = run.to_the_end()

    (line,) = run.statuses[-1].lines
    assert line.parts is not None
    assert line.reject is not None
    # 0 OK, 1 and 2 REJECT, 3 OK, 4 has one frame only
    assert line.parts.by_status == {"OK": 2, "REJECT": 2, "INVALID": 1}
    assert (line.reject.fired, line.reject.missed, len(run.given)) == (3, 0, 3)
    counters = line.counters
    assert (counters.grabbed, counters.judged, counters.invalid, counters.dropped) == (9, 9, 0, 0)
    assert [one.verdict.part for one in run.of(Rejected)] == ["part 1", "part 2"]
    assert [one.part for one in run.of(RejectSignal)] == ["part 1", "part 2", "part 4"]
    assert end.complete
    assert end.lines[0].notes[-2:] == (
        "parts: INVALID 1, OK 2, REJECT 2",
        "reject signals: 3 given, 0 missed, 0 failed",
    )


# Complaint 6: a stop works from every state within 2 s.
def test_a_stop_does_not_wait_for_signals_that_are_due_much_later(tiny_model: Path) -> None:
    run = Run(tiny_model, frames(False), rule=RejectRule(travel_s=600.0))
    thread = threading.Thread(target=run.to_the_end)
    thread.start()
    while not (run.statuses and run.statuses[-1].lines[0].reject and run.statuses[-1].lines[0].reject.waiting):
        time.sleep(0.01)
    run.stop.set()
    began_s = time.monotonic()
    thread.join()

    assert time.monotonic() - began_s < 5.0  # the bound is for a busy machine
    assert [(one.part, one.result) for one in run.of(RejectSignal)] == [("0.png", "missed")]


def test_with_parts_each_decision_is_one_result_in_the_order_of_the_triggers(tiny_model: Path) -> None:
    run = Run(
        tiny_model,
        frames(True, True, True, False, False, False, True, True, True, parts=2),
        parts=PartSettings(deadline_s=2.0, frames=2),
    )
    run.to_the_end()

    assert [(line, one.part, one.result.name) for line, one in run.results] == [
        ("a", f"part {number}", name) for number, name in enumerate(["OK", "REJECT", "REJECT", "OK", "INVALID"])
    ]
    assert [one.reason for _, one in run.results] == ["", "", "", "", "lost"]


def test_without_parts_each_item_is_one_result_and_a_report_about_the_source_is_none(tiny_model: Path) -> None:
    def stream(_stop: threading.Event) -> Iterator[Item | Lost]:
        yield Item(Ref(key="0.png"), GOOD)
        yield Lost(Ref(key="1.png"), Reason.UNREADABLE)
        yield Lost(Ref(key="gap"), Reason.GAP)
        yield Item(Ref(key="2.png"), BAD)

    run = Run(tiny_model, stream)
    run.to_the_end()

    assert [(one.part, one.result.name, one.reason) for _, one in run.results] == [
        ("0.png", "OK", ""),
        ("1.png", "INVALID", "unreadable"),
        ("2.png", "REJECT", ""),
    ]


def silent_after_one_frame(stop: threading.Event) -> Iterator[Item | Lost]:
    yield Item(Ref(key="0.png"), GOOD)
    yield Lost(Ref(key="silence"), Reason.STALE)
    while not stop.is_set():
        time.sleep(0.005)


# Complaint 3: a source without data is never shown as well.
def test_a_line_with_a_silent_source_is_not_ready_until_it_judges_again(tiny_model: Path) -> None:
    go = threading.Event()

    def stream(stop: threading.Event) -> Iterator[Item | Lost]:
        yield Item(Ref(key="0.png"), GOOD)
        yield Lost(Ref(key="silence"), Reason.STALE)
        while not stop.is_set() and not go.is_set():
            time.sleep(0.005)
        yield Item(Ref(key="1.png"), GOOD)
        while not stop.is_set():
            time.sleep(0.005)

    run = Run(tiny_model, stream)
    with running(run):
        until(lambda: bool(run.statuses) and run.statuses[-1].lines[0].source_report == "stale")
        assert not line_ready(run.statuses[-1].lines[0], run.statuses[-1])
        go.set()
        until(lambda: run.statuses[-1].lines[0].counters.judged == 2)
        assert line_ready(run.statuses[-1].lines[0], run.statuses[-1])


def silent(stop: threading.Event, *, ends: bool) -> Iterator[Item | Lost]:
    yield Lost(Ref(key="silence"), Reason.STALE)
    while not stop.is_set() and not ends:
        time.sleep(0.005)


# A service manager must not show a line as failed because its source was silent when it stopped the line.
def test_a_line_that_is_stopped_during_a_silence_ends_without_a_failure(tiny_model: Path) -> None:
    run = Run(tiny_model, lambda stop: silent(stop, ends=False))
    threading.Timer(0.3, run.stop.set).start()

    assert run.to_the_end().complete
    assert not Run(tiny_model, lambda stop: silent(stop, ends=True)).to_the_end().complete


def test_a_silent_camera_is_normal_while_the_line_waits_for_a_trigger(tiny_model: Path) -> None:
    run = Run(tiny_model, silent_after_one_frame, parts=PartSettings(deadline_s=1.0, trigger="external"))
    with running(run):
        until(lambda: bool(run.statuses) and run.statuses[-1].lines[0].counters.by_reason.get("STALE", 0) > 0)
        status = run.statuses[-1]
        assert status.lines[0].source_report == ""
        assert line_ready(status.lines[0], status)  # else a controller that waits for `ready` would never trigger


@contextmanager
def running(run: Run) -> Iterator[None]:
    thread = threading.Thread(target=run.to_the_end)
    thread.start()
    try:
        yield
    finally:
        run.stop.set()
        thread.join()


def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, "the condition was not met in time"
        time.sleep(0.005)


def test_without_parts_each_rejected_item_gets_a_signal(tiny_model: Path) -> None:
    run = Run(tiny_model, frames(True, False, True, False))
    run.to_the_end()

    assert [(one.part, one.result) for one in run.of(RejectSignal)] == [("1.png", "fired"), ("3.png", "fired")]
    assert len(run.given) == 2
    (line,) = run.statuses[-1].lines
    assert line.parts is None


# Complaint 8: with a live source, each part has a decision, and each frame is counted.
def test_a_live_source_that_is_too_fast_gets_invalid_parts_and_no_frame_is_dropped(tiny_model: Path) -> None:
    run = Run(
        tiny_model, frames(*[True] * 300), live=True, parts=PartSettings(deadline_s=2.0, max_open=2, on_invalid="pass")
    )
    run.to_the_end()

    (line,) = run.statuses[-1].lines
    assert line.parts is not None
    counters = line.counters
    assert counters.grabbed == 300
    assert counters.grabbed == counters.judged + counters.invalid + counters.dropped
    assert counters.by_drop.get("busy", 0) + counters.judged + counters.invalid == 300
    assert line.parts.decided == 300
    assert line.parts.by_status["INVALID"] > 0
    assert run.given == []


def test_an_invalid_part_ends_the_line_as_failed_if_the_settings_say_stop(tiny_model: Path) -> None:
    def stream(stop: threading.Event) -> Iterator[Item | Lost]:
        yield Item(Ref(key="0.png"), GOOD)
        yield Lost(Ref(key="1.png"), Reason.UNREADABLE)
        while not stop.is_set():
            time.sleep(0.01)

    run = Run(tiny_model, stream, parts=PartSettings(deadline_s=2.0, on_invalid="stop"))
    end = run.to_the_end()

    assert end.lines[0].finished.failure == "the part 1.png is INVALID (unreadable)"
    assert not end.complete
    assert run.statuses[-1].lines[0].state == "failed"


def test_a_program_triggers_the_parts_of_a_line_and_acknowledges_their_alarm(tiny_model: Path) -> None:
    go = threading.Event()

    def stream(stop: threading.Event) -> Iterator[Item | Lost]:
        while not go.is_set() and not stop.is_set():
            time.sleep(0.005)
        yield Item(Ref(key="0.png"), BAD)
        while not stop.is_set():
            time.sleep(0.005)

    run = Run(tiny_model, stream, parts=PartSettings(deadline_s=2.5, trigger="external"))
    thread = threading.Thread(target=run.to_the_end)
    thread.start()
    while not run.statuses:
        time.sleep(0.005)
    assert run.supervisor.trigger("a", number=4)
    assert not run.supervisor.trigger("b")
    go.set()
    while not run.of(RejectSignal):
        time.sleep(0.005)
    assert run.supervisor.trigger("a", number=6)
    assert run.supervisor.acknowledge("a", "triggers", 1, by="test")
    while not [one for one in run.of(AlarmChanged) if one.change == "acked"]:
        time.sleep(0.005)
    run.stop.set()
    thread.join()

    assert run.of(RejectSignal)[0].part == "4"
    assert run.of(Rejected)[0].verdict.part == "4"


TOML = """
[store]
path = "state"
ballast_bytes = 262144
[[line]]
name = "example"
model = "power_converter.onnx"
[line.source]
kind = "power_converter"
address = "power_converter:seed=3,rows=3000,faults=1"
[[line.sinks]]
kind = "json_lines"
path = "v.jsonl"
[line.parts]
deadline_s = 2.0
[line.reject]
kind = "http"
url = "http://127.0.0.1:9/relay"
travel_s = 2.5
timeout_s = 0.1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / MODEL).write_bytes(example(MODEL))
    return tmp_path


def configured(text: str, folder: Path) -> Configuration:
    return configuration_from_table(tomllib.loads(text), folder=folder, at="line.toml")


def test_a_file_with_parts_and_a_relay_that_is_away_stores_each_signal_once(folder: Path) -> None:
    seen: list[Event] = []
    Service(configured(TOML, folder), SystemClock(), threading.Event(), on_event=seen.append).run()
    events = StoreReader(folder / "state").recent(limit=10_000)

    signals = [event for event in events if isinstance(event.body, RejectSignal)]
    rejected = {event.body.verdict.item for event in events if isinstance(event.body, Rejected)}
    assert rejected
    assert {event.body.part for event in signals if isinstance(event.body, RejectSignal)} >= rejected
    # on a busy machine the moment of a signal may be over before it is tried
    assert {event.body.result for event in signals if isinstance(event.body, RejectSignal)} <= {"failed", "missed"}
    assert len({event.key for event in events}) == len(events)
    assert {event.key for event in signals} <= {event.key for event in seen}


def test_a_check_of_a_line_opens_its_relay_and_gives_no_signal(folder: Path) -> None:
    pytest.importorskip("urllib3")
    check = check_line(configured(TOML, folder).lines[0], SystemClock(), limit_s=10.0)

    (finding,) = [one for one in check.findings if one.subject == "reject (http)"]
    assert (finding.ok, finding.text) == (True, "its settings are valid; no signal was given")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            TOML.replace("[store]", "[web]").replace('path = "state"\nballast_bytes = 262144', ""),
            "line[0].reject: expected",
        ),
        (TOML.replace("[line.parts]", 'keep = "newest"\n[line.parts]'), "line[0].sinks[0].keep: unknown key"),
        (TOML.replace('name = "example"', 'name = "example"\nkeep = "newest"'), 'line[0].keep: expected "every"'),
        (TOML.replace("deadline_s = 2.0", "deadline_s = 2.49"), "line[0].reject: expected travel_s - actuator_s of at"),
        (TOML.replace("[line.parts]\ndeadline_s = 2.0", ""), None),
    ],
)
def test_tables_that_do_not_fit_together_are_refused_with_their_path(
    text: str, problem: str | None, folder: Path
) -> None:
    if problem is None:
        assert configured(text, folder).lines[0].parts is None
        return
    with pytest.raises(ConfigError) as refusal:
        configured(text, folder)

    assert str(refusal.value).startswith(f"line.toml: {problem}")


def test_parts_and_reject_must_be_tables(folder: Path) -> None:
    text = TOML.split("[line.parts]", maxsplit=1)[0].replace('name = "example"', 'name = "example"\nparts = 3')
    with pytest.raises(ConfigError, match=r"line\[0\].parts: expected a table \[line.parts\], got a number"):
        configured(text, folder)


class TriggerSettings(Struct, frozen=True):
    secret: Annotated[str, Meta(description="a setting")] = ""


class Controller:
    """Triggers that a test gives. `go` ends the wait for them."""

    def __init__(self, *triggers: Trigger) -> None:
        self.triggers, self.connected, self.over = triggers, threading.Event(), threading.Event()
        self.context: TriggerContext | None = None

    def open(self, settings: TriggerSettings, context: TriggerContext) -> "Controller":
        if settings.secret == "missing":
            raise ConfigError("the environment variable X: expected a secret, found no such variable.")
        self.context = context
        return self

    def follow(self, give: Callable[[Trigger], None], hear: Callable[[str], None]) -> None:
        assert self.context is not None
        self.connected.wait(10.0)
        hear("")
        for trigger in self.triggers:
            give(trigger)
        self.context.stop.wait()
        self.over.set()

    @property
    def chosen(self) -> ChosenTrigger:
        kind = TriggerKind(name="made", summary="made", settings=TriggerSettings, open=self.open)
        return ChosenTrigger(kind=kind, settings=TriggerSettings())


def test_a_controller_triggers_the_parts_of_a_line_and_ends_with_it(tiny_model: Path) -> None:
    controller = Controller(Trigger(number=4), Trigger(number=4), Trigger(number=5))
    both = threading.Event()

    def stream(stop: threading.Event) -> Iterator[Item | Lost]:
        both.wait(10.0)
        yield Item(Ref(key="0.png"), BAD)
        yield Item(Ref(key="1.png"), GOOD)

    run = Run(tiny_model, stream, parts=PartSettings(deadline_s=5.0, trigger="external"), trigger=controller.chosen)
    thread = threading.Thread(target=run.to_the_end)
    thread.start()
    while not run.statuses:
        time.sleep(0.005)
    # a line whose triggers cannot arrive is not ready, and a restart would not help
    first = run.supervisor.status()
    assert first.lines[0].trigger == TriggerStatus(failing="there is no connection yet")
    assert "line a: triggers cannot arrive" in readiness(first).reasons
    assert "line a: triggers cannot arrive" not in liveness(first).reasons
    controller.connected.set()
    while run.supervisor.status().lines[0].trigger != TriggerStatus(given=3):
        time.sleep(0.005)
    both.set()
    thread.join(20.0)

    assert controller.over.is_set()
    (line,) = run.statuses[-1].lines
    assert line.parts is not None
    assert (line.parts.decided, line.parts.repeated, line.parts.by_status) == (2, 1, {"OK": 1, "REJECT": 1})
    assert run.of(Rejected)[0].verdict.part == "4"
    assert not [reason for reason in readiness(run.statuses[-1]).reasons if "triggers" in reason]  # the line has ended


def test_the_alarm_of_lost_triggers_is_an_alarm_of_the_line_and_can_be_acknowledged(tiny_model: Path) -> None:
    def stream(stop: threading.Event) -> Iterator[Item | Lost]:
        yield Item(Ref(key="0.png"), GOOD)
        while not stop.is_set():
            time.sleep(0.005)

    def fails(_settings: TriggerSettings, _context: TriggerContext) -> Any:
        class Fails:
            def follow(self, _give: object, hear: Callable[[str], None]) -> None:
                hear("Connection refused")
                _context.stop.wait()

        return Fails()

    kind = TriggerKind(name="made", summary="made", settings=TriggerSettings, open=fails)
    run = Run(
        tiny_model,
        stream,
        parts=PartSettings(deadline_s=5.0, trigger="external"),
        trigger=ChosenTrigger(kind=kind, settings=TriggerSettings()),
    )
    thread = threading.Thread(target=run.to_the_end)
    thread.start()
    while not run.of(AlarmChanged):
        time.sleep(0.005)
    assert run.supervisor.status().lines[0].alarms["trigger_source"].active
    assert run.supervisor.acknowledge("a", "trigger_source", 1, by="test")
    while [one.change for one in run.of(AlarmChanged)] != ["raised", "acked"]:
        time.sleep(0.005)
    run.stop.set()
    thread.join(20.0)

    assert run.of(AlarmChanged)[0].alarm == "trigger_source"


def test_triggers_that_cannot_be_opened_refuse_the_line_and_are_found_by_a_check(tiny_model: Path) -> None:
    controller = Controller()
    missing = structs.replace(controller.chosen, settings=TriggerSettings(secret="missing"))
    run = Run(tiny_model, frames(True), parts=PartSettings(deadline_s=1.0, trigger="external"), trigger=missing)
    with pytest.raises(ConfigError, match=r"the trigger: the environment variable X: expected a secret"):
        run.to_the_end()
    (line,) = run.supervisor._configuration.lines
    for trigger, ok in ((missing, False), (controller.chosen, True)):
        check = check_line(structs.replace(line, trigger=trigger), SystemClock(), limit_s=5.0)
        (finding,) = [one for one in check.findings if one.subject == "trigger (made)"]
        assert finding.ok == ok
    (warning,) = [
        one
        for one in check_line(structs.replace(line, trigger=None), SystemClock(), limit_s=5.0).findings
        if one.warning
    ]
    assert "only a program that calls Monitor.trigger can begin a part" in warning.text


EXTERNAL = TOML.replace("deadline_s = 2.0", 'deadline_s = 2.0\ntrigger = "external"')
TRIGGER = """
[line.trigger]
kind = "mqtt"
address = "mqtt://localhost/press-3/trigger"
user = "andon"
password = { file = "secret" }
"""


def test_a_table_of_triggers_is_read_with_paths_relative_to_the_file(folder: Path) -> None:
    (line,) = configured(EXTERNAL + TRIGGER, folder).lines
    assert line.trigger is not None
    assert line.trigger.kind.name == "mqtt"
    assert line.trigger.settings.password.file == str(folder / "secret")
    assert not line.needs_a_program
    assert configured(EXTERNAL, folder).lines[0].needs_a_program  # a program can call Monitor.trigger


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TOML + TRIGGER, 'expected trigger = "external" in [line.parts], so that each trigger begins a part, got trigger = "f'),
        (TOML.replace("[line.parts]\ndeadline_s = 2.0", "") + TRIGGER, "begins a part, got no table [line.parts]. Add it."),
        (EXTERNAL + TRIGGER.replace('"mqtt"', '"mqqt"'), "there is no trigger 'mqqt'"),
        (EXTERNAL + TRIGGER.replace('kind = "mqtt"', ""), 'kind: expected a kind, for example kind = "mqtt", got nothing.'),
        (EXTERNAL + TRIGGER.replace("user", "usr"), "usr: unknown key"),
    ],
)  # fmt: skip
def test_a_table_of_triggers_that_does_not_fit_is_refused_with_its_path(text: str, problem: str, folder: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        configured(text, folder)

    assert str(refusal.value).startswith("line.toml: line[0].trigger")
    assert problem in str(refusal.value)


def test_the_command_refuses_a_line_whose_parts_only_a_program_could_begin(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "line.toml").write_text(EXTERNAL, encoding="utf-8")

    assert main(["monitor", str(folder / "line.toml")]) == 2
    assert "line[0].parts.trigger: expected a table [line.trigger]" in capsys.readouterr().err
    assert not (folder / "state").exists()


def test_a_program_triggers_a_line_of_its_monitor(folder: Path) -> None:
    (folder / "line.toml").write_text(EXTERNAL, encoding="utf-8")
    with Monitor(folder / "line.toml") as monitor:
        with pytest.raises(ConfigError, match="expected a started monitor"):
            monitor.trigger("example", number=1)
        monitor.start()
        given = monitor.trigger("example", number=1)
        assert not monitor.trigger("other")
        monitor.wait()
        parts = monitor.status().lines[0].parts
    assert parts is not None
    assert parts.decided == given
