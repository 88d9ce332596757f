"""A whole monitor between two OPC UA servers: samples come from one, and results go to the other."""

import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.monitor.receivers import free_port, until
from tests.opcua_server import NAMESPACE, running

from andon.demo.example_line import MODEL, example
from andon.monitor.config import configuration_from_table
from andon.monitor.service import Service
from andon.monitor.status import ProcessStatus
from andon.sources.clock import SystemClock

pytest.importorskip("asyncua", reason="asyncua is not installed")

CHANNELS = ("voltage", "current", "temperature")
FILE = f"""
[[line]]
name = "converter"
model = "{MODEL}"
[line.source]
kind = "opcua"
address = "PLC"
nodes = "nsu={NAMESPACE};s=Line.{{channel}}"
stale_after_s = 0.5
[[line.sinks]]
kind = "json_lines"
path = "verdicts.jsonl"

[[controller]]
kind = "opcua"
name = "scada"
address = "SCADA"
nodes = "nsu={NAMESPACE};s={{line}}.{{value}}"
values = ["Ready", "Heartbeat", "LastResult", "ResultNumber"]
every_s = 0.2
"""
SCADA = {"converter.Ready": False, "converter.Heartbeat": 0, "converter.LastResult": 0, "converter.ResultNumber": 0}


@pytest.mark.slow
def test_both_servers_can_hang_while_the_line_goes_on_and_an_alarm_shows_it(tmp_path: Path) -> None:
    # issue 23: hang of a peer: no wrong value, the line goes on, and the lamp shows it
    (tmp_path / MODEL).write_bytes(example(MODEL))
    seen: list[ProcessStatus] = []
    stop = threading.Event()
    with (
        running(free_port(), {f"Line.{name}": 40.0 for name in CHANNELS}) as plc,
        running(free_port(), SCADA) as scada,
    ):
        text = FILE.replace("PLC", plc.url).replace("SCADA", scada.url)
        configuration = configuration_from_table(tomllib.loads(text), folder=tmp_path, at="line.toml")
        service = Service(configuration, SystemClock(), stop, on_status=seen.append)
        thread = threading.Thread(target=service.run)
        thread.start()
        try:
            wait = _waiting(thread)
            wait(lambda: scada.do("read", "converter.ResultNumber")[0] >= 2)
            assert scada.do("read", "converter.Ready")[0] is True
            result, status = scada.do("read", "converter.LastResult")
            assert (result, status) in ((1, "Good"), (2, "Good"))

            scada.pause()
            wait(lambda: bool(seen) and bool(seen[-1].controllers[0].failing))
            before = len(_verdicts(tmp_path))
            wait(lambda: len(_verdicts(tmp_path)) >= before + 2)  # the line goes on
            assert seen[-1].lines[0].alarms["controller scada"].active
            scada.go_on()
            wait(lambda: not seen[-1].controllers[0].failing)

            plc.pause()
            wait(lambda: scada.do("read", "converter.Ready")[0] is False)
            assert scada.do("read", "converter.LastResult")[1] == "UncertainLastUsableValue"
            plc.go_on()
            wait(lambda: scada.do("read", "converter.Ready")[0] is True)
        finally:
            stop.set()
            began_s = time.monotonic()
            thread.join(10.0)
        assert time.monotonic() - began_s < 5.0
        assert scada.do("read", "converter.Ready")[0] is False


def _waiting(thread: threading.Thread) -> Callable[[Callable[[], bool]], None]:
    def wait(done: Callable[[], bool]) -> None:
        until(lambda: done() or not thread.is_alive(), 30.0)
        assert thread.is_alive()

    return wait


def _verdicts(folder: Path) -> list[dict[str, object]]:
    return [msgspec.json.decode(one) for one in (folder / "verdicts.jsonl").read_bytes().splitlines()]
