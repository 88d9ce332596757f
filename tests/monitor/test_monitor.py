"""The library form of the monitor: lines with callbacks in threads of a program."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from andon.demo.example_line import MODEL, example
from andon.foundation.errors import AndonError, ConfigError, DataError
from andon.monitor import Monitor
from andon.monitor.alarms import AlarmRule
from andon.monitor.event import Event
from andon.monitor.judging import Outcome
from andon.runtime.schema import Reason, Status

GOOD = np.random.default_rng(0).integers(90, 160, (24, 24, 1), dtype=np.uint8)
BAD = np.random.default_rng(0).integers(0, 255, (24, 24), dtype=np.uint8)


def test_any_iterable_of_frames_is_a_source_and_callbacks_get_outcomes_and_events(tiny_model: Path) -> None:
    outcomes: list[Outcome] = []
    events: list[Event] = []
    with Monitor(on_event=events.append) as monitor:
        monitor.add_line(
            "a",
            model=tiny_model,
            source=[GOOD, BAD, None, "no frame", GOOD],
            on_outcome=outcomes.append,
            alarm=AlarmRule(k=1, n=1),
        )
        monitor.start()
        end = monitor.wait()

    assert end is not None
    assert end.lines[0].finished.counters.grabbed == 5
    assert [one.verdict.status for one in outcomes] == [
        Status.OK,
        Status.REJECT,
        Status.INVALID,
        Status.INVALID,
        Status.OK,
    ]
    assert [one.verdict.reason for one in outcomes[2:4]] == [Reason.LOST, Reason.WRONG_INPUT]
    kinds = [event.kind for event in events]
    assert kinds[0] == "start"
    assert [kind for kind in kinds if kind in ("reject", "alarm")] == ["reject", "alarm", "alarm"]


def test_an_error_in_a_callback_does_not_end_the_line(tiny_model: Path) -> None:
    seen: list[Outcome] = []

    def careless(_outcome: Outcome) -> None:
        raise RuntimeError("a bug of the user")

    with Monitor() as monitor:
        monitor.add_line("a", model=tiny_model, source=[GOOD] * 5, on_outcome=careless)
        monitor.add_line("b", model=tiny_model, source=[GOOD] * 5, on_outcome=seen.append)
        monitor.start()
        end = monitor.wait()

    assert end is not None
    assert [line.finished.counters.judged for line in end.lines] == [5, 5]
    assert [line.lost for line in end.lines] == [True, False]
    assert len(seen) == 5


def test_stop_ends_endless_lines_from_any_thread_and_status_tells_the_state(tiny_model: Path) -> None:
    def endless() -> Iterator[Any]:
        while True:
            time.sleep(0.005)
            yield GOOD

    before = threading.active_count()
    monitor = Monitor()
    monitor.add_line("a", model=tiny_model, source=endless())
    monitor.start()
    while monitor.status().lines[0].counters.judged < 5:
        time.sleep(0.01)
    assert monitor.status().lines[0].state == "running"
    assert monitor.wait(0.01) is None
    assert monitor.reload("a")["a"].refused == ""
    began_s = time.monotonic()
    monitor.stop()
    monitor.stop()

    assert time.monotonic() - began_s < 10
    assert monitor.status().lines[0].state == "ended"
    assert threading.active_count() == before


def test_a_line_of_a_file_and_one_of_the_program_run_together(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / MODEL).write_bytes(example(MODEL))
    file = tmp_path / "line.toml"
    file.write_text(
        f'[store]\npath = "state"\n[[line]]\nname = "file"\nmodel = "{MODEL}"\nsource = {{ kind = "power_converter", '
        'address = "power_converter:seed=3,rows=1000,faults=0" }\nsinks = [{ kind = "json_lines", path = "v.jsonl" }]\n',
        encoding="utf-8",
    )
    with Monitor(file) as monitor:
        monitor.add_line("program", model=tiny_model, source=[GOOD] * 3)
        monitor.start()
        end = monitor.wait()

    assert end is not None
    assert {line.name: line.complete for line in end.lines} == {"file": True, "program": True}
    assert (tmp_path / "v.jsonl").stat().st_size > 0


def test_a_source_that_fails_is_in_the_result(tiny_model: Path) -> None:
    def failing() -> Iterator[Any]:
        yield GOOD
        raise RuntimeError("driver")

    with Monitor() as monitor:
        monitor.add_line("a", model=tiny_model, source=failing())
        monitor.start()
        end = monitor.wait()

    assert end is not None
    assert not end.complete
    assert "driver" in end.lines[0].finished.failure


def test_mistakes_are_errors_before_anything_runs(tiny_model: Path, tmp_path: Path) -> None:
    monitor = Monitor()
    with pytest.raises(ConfigError, match="expected at least one line and a new monitor, got no line"):
        monitor.start()
    with pytest.raises(ConfigError, match="expected a started monitor"):
        monitor.status()
    monitor.add_line("a", model=tiny_model, source=[GOOD])
    with pytest.raises(ConfigError, match="expected a name of its own, got 'a' again"):
        monitor.add_line("a", model=tiny_model, source=[GOOD])
    with pytest.raises(ConfigError, match=r"line b: unknown setting 'helth' \(did you mean 'health'\?\)"):
        monitor.add_line("b", model=tiny_model, source=[GOOD], helth=True)
    with pytest.raises(ConfigError, match="settings: expected none for an iterable"):
        monitor.add_line("b", model=tiny_model, source=[GOOD], settings={"follow": False})
    with pytest.raises(DataError, match="missing"):
        monitor.add_line("b", model=tiny_model, source=str(tmp_path / "missing"))
    other = Monitor()
    other.add_line("a", model=tmp_path / "missing.onnx", source=[GOOD])
    with pytest.raises(AndonError, match=r"missing\.onnx"):
        other.start()


def _slowly() -> Iterator[Any]:
    while True:
        time.sleep(0.005)
        yield GOOD


def test_a_callback_may_stop_the_monitor(tiny_model: Path) -> None:
    with Monitor() as monitor:
        monitor.add_line("a", model=tiny_model, source=_slowly(), on_outcome=lambda _outcome: monitor.stop())
        monitor.add_line("b", model=tiny_model, source=_slowly())
        monitor.start()
        end = monitor.wait(20)

    assert end is not None
    assert [line.name for line in end.lines] == ["a", "b"]
    assert end.complete


def test_a_callback_of_events_may_stop_the_monitor_too(tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Monitor(on_event=lambda _event: monitor.stop()) as monitor:
        monitor.add_line("a", model=tiny_model, source=_slowly())
        monitor.start()
        end = monitor.wait(20)

    assert end is not None
    assert end.complete
    assert "Report this as a bug" not in caplog.text


def test_a_callback_that_waits_for_the_end_of_the_monitor_is_refused(tiny_model: Path) -> None:
    errors: list[Exception] = []

    def waits(_outcome: Outcome) -> None:
        try:
            monitor.wait()
        except ConfigError as error:
            errors.append(error)

    with Monitor() as monitor:
        monitor.add_line("a", model=tiny_model, source=[GOOD], on_outcome=waits)
        monitor.start()
        assert monitor.wait(20) is not None

    assert "expected a time limit in a callback" in str(errors[0])


@pytest.mark.parametrize("name", ["", "a b", "../a", "a\nb", "a" * 65, 3, None])
def test_names_of_lines_follow_the_rule_of_the_file(tiny_model: Path, name: Any) -> None:
    with pytest.raises(ConfigError, match="add_line: name: expected 1 to 64 letters"):
        Monitor().add_line(name, model=tiny_model, source=[GOOD])


FORGETFUL = """
import itertools, sys
import numpy as np
from andon.monitor import Monitor

good = np.full((24, 24, 1), 120, np.uint8)
monitor = Monitor()
monitor.add_line("a", model=sys.argv[1], source=itertools.repeat(good))
monitor.start()
while not monitor.status().lines[0].counters.grabbed:
    pass
"""


def test_a_program_that_forgets_to_stop_ends_with_a_warning(tiny_model: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FORGETFUL, str(tiny_model)], capture_output=True, text=True, timeout=30, check=False
    )

    assert ended.returncode == 0
    assert "the program ends without Monitor.stop" in ended.stderr
