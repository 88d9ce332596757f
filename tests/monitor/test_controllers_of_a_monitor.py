"""A whole monitor with a controller: it gets each result and each state, and its faults change nothing for the line."""

import threading
import time
import tomllib
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from tests.monitor.memory_controller import Plc, chosen

from andon.demo.example_line import MODEL, example
from andon.monitor.config import Configuration, configuration_from_table
from andon.monitor.event import AlarmChanged, Event
from andon.monitor.process_image import ResultCode
from andon.monitor.service import Service
from andon.monitor.status import ProcessStatus
from andon.monitor.supervisor import RunEnd
from andon.sources.clock import SystemClock

LINE = """
[[line]]
name = "NAME"
model = "power_converter.onnx"
[line.source]
kind = "power_converter"
address = "power_converter:seed=3,rows=ROWS,faults=1"
[[line.sinks]]
kind = "json_lines"
path = "NAME.jsonl"
"""


def configured(folder: Path, plc: Plc, *names: str, rows: int = 3000) -> Configuration:
    (folder / MODEL).write_bytes(example(MODEL))
    text = "".join(LINE.replace("NAME", name).replace("ROWS", str(rows)) for name in names or ("a",))
    configuration = configuration_from_table(tomllib.loads(text), folder=folder, at="line.toml")
    return msgspec.structs.replace(configuration, controllers=(chosen(plc),))


def verdicts(folder: Path, line: str = "a") -> list[dict[str, object]]:
    return [msgspec.json.decode(one) for one in (folder / f"{line}.jsonl").read_bytes().splitlines()]


def run(configuration: Configuration, **how: object) -> RunEnd:
    return Service(configuration, SystemClock(), threading.Event(), **how).run()  # type: ignore[arg-type]


def test_a_controller_gets_each_result_once_in_order_with_its_data(tmp_path: Path) -> None:
    plc = Plc()

    end = run(configured(tmp_path, plc))

    assert end.complete
    results = [one for one in verdicts(tmp_path) if one["reason"] not in ("gap", "warming", "stale")]
    assert len(results) > 20
    assert plc.numbers("a") == list(range(1, len(results) + 1))
    first = {image.number: image for image in reversed(plc.of("a"))}
    for number, verdict in enumerate(results, 1):
        image = first[number]
        assert (image.result.name, image.part, image.score) == (verdict["status"], verdict["item"], verdict["score"])
        assert (image.threshold, image.reason, image.model) == (
            verdict["threshold"],
            verdict["reason"],
            verdict["model"],
        )
    by_status = Counter(one["status"] for one in results)
    last = plc.of("a")[-1]
    assert (last.ok, last.reject, last.invalid) == (by_status["OK"], by_status["REJECT"], by_status["INVALID"])
    assert ResultCode.REJECT in {image.result for image in plc.images}


def test_the_last_image_of_each_line_is_not_ready_and_the_controller_is_closed(tmp_path: Path) -> None:
    plc = Plc()

    run(configured(tmp_path, plc, "a", "b"))

    for line in ("a", "b"):
        assert plc.of(line)[-1].ready is False
        assert [image.heartbeat for image in plc.of(line)] == sorted({image.heartbeat for image in plc.of(line)})
        assert len(plc.numbers(line)) > 20
    assert plc.closed >= 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("andon controller")]


def test_a_controller_that_is_away_raises_an_alarm_on_its_lines_and_changes_no_verdict(tmp_path: Path) -> None:
    plc = Plc()
    plc.away = True
    events: list[Event] = []
    seen: list[ProcessStatus] = []

    end = run(configured(tmp_path, plc, "a", "b"), on_event=events.append, on_status=seen.append)

    assert end.complete
    assert len(verdicts(tmp_path, "a")) == len(verdicts(tmp_path, "b")) > 20
    raised = [
        event for event in events if isinstance(event.body, AlarmChanged) and event.body.alarm == "controller plc"
    ]
    assert [event.line for event in raised][:2] == ["a", "b"]
    body = raised[0].body
    assert isinstance(body, AlarmChanged)
    assert "connection refused" in body.text
    assert seen[-1].controllers[0].failing == "connection refused"
    assert seen[-1].controllers[0].written == 0
    assert all(line.alarms["controller plc"].active for line in seen[-1].lines)


def test_a_person_acknowledges_the_alarm_of_a_controller_on_any_of_its_lines(tmp_path: Path) -> None:
    plc = Plc()
    plc.away = True
    events: list[Event] = []
    stop = threading.Event()

    def look(status: ProcessStatus) -> None:
        alarms = [line.alarms["controller plc"] for line in status.lines]
        if alarms and all(alarm.condition == "unack" for alarm in alarms):
            service.acknowledge("b", "controller plc", alarms[1].alarm, by="Kim")
        elif alarms and all(alarm.condition == "acked" for alarm in alarms):
            stop.set()

    configuration = configured(tmp_path, plc, "a", "b", rows=300_000)
    service = Service(configuration, SystemClock(), stop, on_event=events.append, on_status=look)
    service.run()

    bodies = [(event.line, event.body) for event in events if isinstance(event.body, AlarmChanged)]
    assert [(line, body.by) for line, body in bodies if body.change == "acked"] == [("a", "Kim"), ("b", "Kim")]


def test_a_controller_that_hangs_delays_neither_the_verdicts_nor_the_end(tmp_path: Path) -> None:
    plc = Plc()
    plc.release.clear()
    began_s = time.monotonic()

    end = run(configured(tmp_path, plc))

    took_s = time.monotonic() - began_s
    try:
        assert end.hung
        assert end.complete
        assert len(verdicts(tmp_path)) > 20
        assert took_s < 20
    finally:
        plc.release.set()


def test_a_line_is_ready_while_it_judges_and_not_ready_at_once_after_a_stop(tmp_path: Path) -> None:
    plc = Plc()
    stop = threading.Event()
    service = Service(configured(tmp_path, plc, rows=300_000), SystemClock(), stop)
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        plc.wait_for_ready("a", ready=True, within_s=20)
        stop.set()
        plc.wait_for_ready("a", ready=False, within_s=5)
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
    assert plc.of("a")[0].state == "starting"


@pytest.mark.parametrize("faulty", ["connect", "close"])
def test_a_bug_in_a_controller_ends_no_line(tmp_path: Path, faulty: str, caplog: pytest.LogCaptureFixture) -> None:
    plc, secret = Plc(), "canary-51d7"

    def bug() -> None:
        raise RuntimeError(secret)

    def broken(_settings: object, context: object) -> object:
        controller = real(_settings, context)  # type: ignore[arg-type]
        setattr(controller, faulty, bug)
        return controller

    configuration = configured(tmp_path, plc)
    real = configuration.controllers[0].kind.open
    kind = msgspec.structs.replace(configuration.controllers[0].kind, open=broken)
    controllers = (msgspec.structs.replace(configuration.controllers[0], kind=kind),)

    end = run(msgspec.structs.replace(configuration, controllers=controllers))

    assert end.complete
    assert "RuntimeError" in caplog.text
    assert secret not in caplog.text
