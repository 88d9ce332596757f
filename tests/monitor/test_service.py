"""A whole configuration: events are stored with evidence, delivered in order, and shown by the web server."""

import http.server
import json
import threading
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.monitor.some_event import some_event

from andon.demo.example_line import MODEL, example
from andon.foundation.errors import AndonError, ConfigError
from andon.monitor.config import Configuration, configuration_from_table
from andon.monitor.event import AlarmShelved, Event, Rejected, Sampled, Started, Stopped
from andon.monitor.random_sample import is_chosen
from andon.monitor.service import Service
from andon.monitor.status import ProcessStatus
from andon.monitor.store import Settings, StoreReader
from andon.monitor.store_writer import StoreWriter
from andon.sources.clock import SystemClock

LINE = """
[store]
path = "state"
ballast_bytes = 262144
[[line]]
name = "example"
model = "power_converter.onnx"
alarm = "3/10"
[line.source]
kind = "power_converter"
address = "power_converter:seed=3,rows=3000,faults=1"
[[line.sinks]]
kind = "json_lines"
path = "v.jsonl"
"""
WEB = "[web]\nport = 0\n"


def output(port: int) -> str:
    return f'[[output]]\nname = "hook"\nkind = "webhook"\nurl = "http://127.0.0.1:{port}/events"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / MODEL).write_bytes(example(MODEL))
    return tmp_path


@pytest.fixture
def receiver() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    got: list[dict[str, Any]] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append(event | {"header": self.headers["Idempotency-Key"]})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1], got
        server.shutdown()
        thread.join()


def configured(text: str, folder: Path) -> Configuration:
    return configuration_from_table(tomllib.loads(text), folder=folder, at="line.toml")


def run(text: str, folder: Path, **how: Any) -> list[Event]:
    """Run a configuration to its end and return its stored events."""
    end = Service(configured(text, folder), SystemClock(), threading.Event(), **how).run()

    assert end.complete
    return sorted(StoreReader(folder / "state").recent(limit=10_000), key=lambda event: event.seq)


def test_events_are_stored_in_order_with_evidence_and_the_counters_of_the_line(folder: Path) -> None:
    events = run(LINE, folder)

    assert isinstance(events[0].body, Started)
    assert isinstance(events[-1].body, Stopped)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len({event.run for event in events}) == 1
    rejects = [event for event in events if isinstance(event.body, Rejected)]
    assert rejects
    for event in rejects:
        assert event.line == "example"
        (one,) = event.evidence
        header = (folder / "state" / "evidence" / one.name).read_text(encoding="utf-8").splitlines()[0]
        assert "voltage" in header
    stopped = [event.body for event in events if isinstance(event.body, Stopped) and event.line]
    lines = (folder / "v.jsonl").read_text(encoding="utf-8").splitlines()
    invalid = sum(json.loads(one)["status"] == "INVALID" for one in lines)
    assert stopped == [Stopped(grabbed=len(lines), judged=len(lines) - invalid, invalid=invalid)]
    assert [event.body.verdict.seq for event in rejects if isinstance(event.body, Rejected)] == [
        one["seq"] for one in map(json.loads, lines) if one["status"] == "REJECT"
    ]


# Complaint 20: events are lost or come in another order.
def test_an_output_gets_every_event_once_in_the_order_of_the_store(
    folder: Path, receiver: tuple[int, list[dict[str, Any]]]
) -> None:
    port, got = receiver

    events = run(LINE + output(port), folder)

    assert [event["seq"] for event in got] == [event.seq for event in events]
    assert [event["key"] for event in got] == [event["header"] for event in got] == [event.key for event in events]


def test_what_was_not_delivered_is_delivered_after_the_next_start_with_the_same_keys(
    folder: Path, receiver: tuple[int, list[dict[str, Any]]]
) -> None:
    port, got = receiver
    closed = LINE + output(9)  # nothing listens there
    before = run(closed, folder)

    events = run(LINE + output(port), folder)

    assert [event["seq"] for event in got] == [event.seq for event in events]
    assert {event.key for event in before} < {event["key"] for event in got}
    assert len({event.run for event in events}) == 2


def test_the_web_server_shows_the_status_while_the_lines_run(folder: Path) -> None:
    seen: dict[str, Any] = {}
    stop = threading.Event()

    def look(status: ProcessStatus) -> None:
        if status.lines and status.lines[0].counters.judged and service.web is not None and not seen:
            for path in ("status", "metrics", "livez", "readyz"):
                with urllib.request.urlopen(f"{service.web.url}/{path}", timeout=5) as answer:
                    seen[path] = (answer.status, answer.read())
            stop.set()

    slow = LINE.replace("rows=3000", "rows=20000") + WEB
    service = Service(configured(slow, folder), SystemClock(), stop, on_status=look)
    service.run()

    assert {path: code for path, (code, _) in seen.items()} == dict.fromkeys(seen, 200)
    status = json.loads(seen["status"][1])
    assert status["lines"][0]["name"] == "example"
    assert status["store"]["lost"] == 0
    assert b"andon_" in seen["metrics"][1]


def test_people_are_asked_about_parts_chosen_at_random_and_each_question_has_the_data_of_its_part(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDON_TEST_ACT", "fedcba9876543210" * 2)
    events = run(LINE + WEB + 'confirm_one_in = 10\nact_token = { env = "ANDON_TEST_ACT" }\n', folder)

    asked = [event for event in events if isinstance(event.body, Sampled)]
    verdicts = [json.loads(line) for line in (folder / "v.jsonl").read_text(encoding="utf-8").splitlines()]
    judged = [one["seq"] for one in verdicts if one["score"] is not None]
    numbers = [event.body.verdict.seq for event in asked if isinstance(event.body, Sampled)]
    assert numbers == [seq for seq in judged if is_chosen(asked[0].run, "example", str(seq), 10)]
    for event in asked:
        assert [one.moment for one in event.evidence] == ["at"]


def test_questions_need_a_store(folder: Path) -> None:
    text = LINE.replace('[store]\npath = "state"\nballast_bytes = 262144\n', "")
    with pytest.raises(ConfigError, match=r"web\.confirm_one_in: expected a table \[store\] too"):
        configured(text + WEB + "confirm_one_in = 10\n", folder)


# Note 11: counters never reset by themselves.
def test_shelves_and_the_counts_of_the_shift_survive_a_restart(folder: Path) -> None:
    text = LINE + WEB + 'shift_starts = ["00:00"]\n'

    def started() -> Service:
        service = Service(configured(text, folder), SystemClock(), threading.Event())
        service.run()
        return service

    first = started()
    first_counts = first.views["example"].shift(time.time())
    with closing(StoreWriter(Settings(path=str(folder / "state"), ballast_bytes=262144), SystemClock())) as store:
        body = AlarmShelved(alarm="rejects", change="shelved", seconds=3600.0, reason="trial", by="Ana")
        now_us = int(time.time() * 1e6)
        store.put(some_event(body, line="example", mono_ns=time.monotonic_ns(), wall_us=now_us), ())
    second = started()
    second_counts = second.views["example"].shift(time.time())

    assert sum(first_counts.by_status.values()) > 100
    if second_counts.since_wall_s == first_counts.since_wall_s:  # not if midnight was between the two
        assert second_counts.by_status == {name: 2 * number for name, number in first_counts.by_status.items()}
    assert [shelf.reason for shelf in second.actions.shelves.values()] == ["trial"]


def test_a_callback_gets_the_events_and_an_error_in_it_changes_nothing(folder: Path) -> None:
    got: list[Event] = []

    def careless(event: Event) -> None:
        got.append(event)
        raise RuntimeError("a bug of the user")

    events = run(LINE, folder, on_event=careless)

    assert [event.key for event in got] == [event.key for event in events]


# Complaint 6: a failed start leaves nothing behind.
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace("power_converter.onnx", "missing.onnx"), "missing.onnx"),
        (lambda text: text + WEB.replace("port = 0", "port = 1\nhost = '192.0.2.1'"), "token"),
        (lambda text: text.replace('"v.jsonl"', '"missing/v.jsonl"'), "v.jsonl"),
    ],
)
def test_a_start_that_fails_leaves_no_thread_and_no_lock(folder: Path, change: Callable[[str], str], why: str) -> None:
    before = threading.active_count()

    with pytest.raises(AndonError, match=why):
        run(change(LINE), folder)

    until_s = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < until_s:
        time.sleep(0.01)
    assert threading.active_count() == before
    assert run(LINE, folder)


def test_outputs_and_evidence_need_a_store(folder: Path) -> None:
    text = LINE.replace('[store]\npath = "state"\nballast_bytes = 262144\n', "")
    with pytest.raises(ConfigError, match=r"output: expected a table \[store\] too"):
        configured(text + output(9), folder)
    with pytest.raises(ConfigError, match=r"evidence: expected a table \[store\] too"):
        configured("[evidence]\nbefore_s = 1.0\n" + text, folder)


# Note N1: after a restart, nothing is judged or reported twice.
def test_after_a_restart_no_picture_is_judged_twice_and_a_new_version_of_a_file_is_judged(
    tiny_model: Path, tmp_path: Path
) -> None:
    import os
    import shutil

    import cv2
    import numpy as np

    shutil.copy(tiny_model, tmp_path / "m.onnx")
    (tmp_path / "parts").mkdir()
    rng = np.random.default_rng(0)

    def picture(name: str) -> None:
        cv2.imwrite(str(tmp_path / "parts" / name), rng.integers(0, 255, (24, 24), dtype=np.uint8))

    for number in range(5):
        picture(f"{number}.png")
    text = (
        '[store]\npath = "state"\n[[line]]\nname = "a"\nmodel = "m.onnx"\n[line.source]\nkind = "images"\npath = "parts"\n'
        'follow = false\n[[line.sinks]]\nkind = "json_lines"\npath = "v.jsonl"\n'
    )
    run(text, tmp_path)
    picture("5.png")
    picture("2.png")
    os.utime(tmp_path / "parts" / "2.png", (1, 1))

    events = run(text, tmp_path)

    lines = [json.loads(line)["item"] for line in (tmp_path / "v.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines == [*(f"{number}.png" for number in range(5)), "2.png", "5.png"]
    rejects = [event.body.verdict.item for event in events if isinstance(event.body, Rejected)]
    assert rejects == lines


def test_a_log_continues_after_the_last_judged_window(folder: Path) -> None:
    rows = "".join(f"{number / 10},{48 + number % 3},{10 + number % 2},55\n" for number in range(2000))
    (folder / "log.csv").write_text("time,voltage,current,temperature\n" + rows, encoding="utf-8")
    text = LINE[: LINE.index("[line.source]")] + (
        '[line.source]\nkind = "logs"\npath = "log.csv"\n[[line.sinks]]\nkind = "json_lines"\npath = "v.jsonl"\n'
    )
    half = text.replace('alarm = "3/10"', "limit = 40")
    run(half, folder)

    run(text, folder)

    keys = [json.loads(line)["item"] for line in (folder / "v.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(keys) == len(set(keys)) > 100


def test_c27_a_monitor_with_five_open_pages_ends_within_five_seconds(folder: Path) -> None:
    """Complaint 27: the server does not stop while a page is open."""
    for package in ("h11", "jinja2", "prometheus_client", "starlette", "uvicorn"):
        pytest.importorskip(package)
    text = LINE.replace("rows=3000,faults=1", "rows=100000,faults=1").replace(
        "\n[[line.sinks]]", '\nspeed = "recorded"\n[[line.sinks]]'
    )
    stop, opened = threading.Event(), threading.Event()
    service = Service(configured(text + WEB, folder), SystemClock(), stop)
    thread = threading.Thread(target=service.run, args=(opened.set,))
    thread.start()
    assert opened.wait(30.0)
    assert service.web is not None
    pages = [
        urllib.request.urlopen(f"{service.web.url}{path}", timeout=10)
        for path in (*["/live"] * 2, *["/lines/example/live"] * 3)
    ]
    try:
        for page in pages:
            assert page.readline() == b"retry: 2000\n"
            assert page.readline() == b"\n"
            assert page.readline() == b"event: state\n"
        began_s = time.monotonic()
        stop.set()
        thread.join(10.0)
        assert time.monotonic() - began_s < 5.0
        assert not thread.is_alive()
        for page in pages:
            page.read()  # the stream has an end
    finally:
        stop.set()
        thread.join(10.0)
        for page in pages:
            page.close()
