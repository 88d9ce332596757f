"""A whole monitor as a process between real peers, which hang, are killed and come back while parts flow.

The peers are an MQTT broker for triggers, a PLC, an OPC UA server for results, another one for samples, and Kafka.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from tests.modbus_server import ModbusServer, needs_pymodbus
from tests.monitor.kafka_broker import KafkaBroker
from tests.monitor.receivers import CANARY, Broker, free_port, needs_mosquitto, until
from tests.opcua_server import NAMESPACE, OpcUaServer

from andon.demo.example_line import MODEL, example
from andon.monitor.process_image import ResultCode

pytest.importorskip("asyncua", reason="asyncua is not installed")

ANDON = "import sys; from andon.cli import main; sys.exit(main())"
CHANNELS = ("voltage", "current", "temperature")
COIL, REGISTER, ACKNOWLEDGE = 7, 100, 150
REGISTERS = {"press": REGISTER, "pump": REGISTER + 8}
EVERY_S = 1.0
FILE = f"""
[[line]]
name = "press"
model = "tiny.onnx"
[line.source]
kind = "images"
path = "frames"
settle_s = 0.05
poll_s = 0.03
stale_after_s = 30
[line.parts]
trigger = "external"
deadline_s = 1.1
frame_within_s = 0.8
[line.trigger]
kind = "mqtt"
address = "MQTT/press/trigger"
user = "andon"
password = {{ env = "PLANT_PASSWORD" }}
[line.reject]
kind = "modbus"
address = "PLC"
coil = {COIL}
travel_s = 1.4
tolerance_s = 0.3
pulse_s = 0.1
[[line.sinks]]
kind = "json_lines"
path = "press.jsonl"

[[line]]
name = "pump"
model = "{MODEL}"
[line.source]
kind = "opcua"
address = "SENSORS"
nodes = "nsu={NAMESPACE};s=Line.{{channel}}"
user = "andon"
password = {{ env = "PLANT_PASSWORD" }}
stale_after_s = 1.0
[[line.sinks]]
kind = "json_lines"
path = "pump.jsonl"

[[controller]]
kind = "modbus"
name = "plc"
address = "PLC"
register = {REGISTER}
acknowledge = {ACKNOWLEDGE}
score = true
lines = ["press", "pump"]
every_s = 0.2
timeout_s = 0.7

[[controller]]
kind = "opcua"
name = "scada"
address = "SCADA"
nodes = "nsu={NAMESPACE};s={{line}}.{{value}}"
values = ["Ready", "Heartbeat", "PartId", "LastResult", "ResultNumber"]
lines = ["press"]
every_s = 0.2
user = "andon"
password = {{ env = "PLANT_PASSWORD" }}

[[output]]
kind = "kafka"
name = "history"
servers = "KAFKA"
topic = "andon"

[store]
path = "events"

[web]
port = PORT
"""


class Plant:
    """The monitor and its peers. A thread makes parts, and the PLC acknowledges each result."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.port = folder, free_port()
        secrets = folder / "passwords"
        subprocess.run(["mosquitto_passwd", "-c", "-b", str(secrets), "andon", CANARY], check=True)
        self.broker = Broker(folder, "allow_anonymous false", f"password_file {secrets}")
        self.plc = ModbusServer()
        self.scada = OpcUaServer(
            free_port(),
            {
                "press.Ready": False,
                "press.Heartbeat": 0,
                "press.PartId": "",
                "press.LastResult": 0,
                "press.ResultNumber": 0,
            },
            password=CANARY,
        )
        self.sensors = OpcUaServer(
            free_port(),
            dict(zip((f"Line.{one}" for one in CHANNELS), (47.2, 10.0, 58.0), strict=True)),
            password=CANARY,
        )
        self.kafka = KafkaBroker()
        self.frames = folder / "frames"
        self.frames.mkdir()
        (folder / "tiny.onnx").write_bytes(model.read_bytes())
        (folder / MODEL).write_bytes(example(MODEL))
        text = FILE.replace("PORT", str(self.port)).replace("MQTT", f"mqtt://127.0.0.1:{self.broker.port}")
        text = text.replace("PLC", self.plc.url).replace("SCADA", self.scada.url).replace("SENSORS", self.sensors.url)
        (folder / "line.toml").write_text(text.replace("KAFKA", self.kafka.servers))
        self.truth: dict[str, bool] = {}
        """True for a good part, by its number."""
        self.writes: list[list[Any]] = []
        """Writes that the OPC UA server got: name, value and status."""
        self.written: list[tuple[int, int]] = []
        """Result numbers and results of the line press that the PLC got."""
        self.acknowledges = True
        self._over = threading.Event()
        self._plc_lock = threading.Lock()
        self._scada_lock = threading.Lock()
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._parts, self._cycle)]

    def start(self, *, peers: bool = True) -> "Plant":
        if peers:
            self.start_peers()
        self.log = (self.folder / "log.txt").open("wb")
        command = [sys.executable, "-c", ANDON, "monitor", "line.toml"]
        env = {**os.environ, "PLANT_PASSWORD": CANARY, "OMP_NUM_THREADS": "1"}
        self.monitor = subprocess.Popen(command, cwd=self.folder, env=env, stdout=self.log, stderr=self.log)
        for thread in self._threads:
            thread.start()
        return self

    def start_peers(self) -> None:
        with self._plc_lock, self._scada_lock:
            for peer in (self.broker, self.plc, self.scada, self.sensors, self.kafka):
                peer.start()

    def terminate(self) -> float:
        """End the monitor. Return the time that it took. Fail if it ends with an error, or has logged a secret."""
        began_s = time.monotonic()
        self.monitor.send_signal(signal.SIGTERM)
        ended = self.monitor.wait(20.0)
        text = (self.folder / "log.txt").read_bytes().decode()
        assert ended == 0, text[-3000:]
        assert CANARY not in text
        assert "Traceback" not in text
        return time.monotonic() - began_s

    def end(self) -> None:
        self._over.set()
        for peer in (self.broker, self.plc, self.scada, self.sensors, self.kafka):
            with contextlib.suppress(AssertionError):  # it does not run
                peer.go_on()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(10.0)
        if self.monitor.poll() is None:
            self.monitor.kill()
            self.monitor.wait()
        self.log.close()
        for stop in (self.broker.end, self.plc.end, self.scada.kill, self.sensors.kill, self.kafka.end):
            stop()

    @contextlib.contextmanager
    def plc_alone(self) -> Iterator[None]:
        """Keep the cycle of the PLC away from the server, which answers one question at a time."""
        with self._plc_lock:
            yield

    @contextlib.contextmanager
    def scada_alone(self) -> Iterator[None]:
        self.take_writes()
        with self._scada_lock:
            yield

    def take_writes(self) -> None:
        with self._scada_lock:
            self.writes += self.scada.do("writes")

    def metrics(self) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5.0) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return ""

    def metric(self, name: str, **labels: str) -> float:
        """Return one value of the metrics. -1 without one."""
        for line in self.metrics().splitlines():
            found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if (
                found
                and found[1] == name
                and all(f'{key}="{value}"' in (found[2] or "") for key, value in labels.items())
            ):
                return float(found[3])
        return -1.0

    def wait(self, true: Callable[[], bool], timeout_s: float = 30.0) -> None:
        def done() -> bool:
            assert self.monitor.poll() is None, (self.folder / "log.txt").read_text()[-3000:]
            time.sleep(0.05)
            return true()

        until(done, timeout_s)

    def verdicts(self, line: str) -> list[dict[str, Any]]:
        path = self.folder / f"{line}.jsonl"
        whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
        return [msgspec.json.decode(one) for one in whole.splitlines()]

    def goes_on(self, line: str) -> None:
        """Wait until a line has judged two further items."""
        before = len(judged(self.verdicts(line)))
        self.wait(lambda: len(judged(self.verdicts(line))) >= before + 2)

    def more_results(self, count: int) -> None:
        """Wait until the PLC has got further results."""
        before = len(self.written)
        self.wait(lambda: len(self.written) >= before + count)

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.monitor.pid}/fd").iterdir()))

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.monitor.pid}/task").iterdir()))

    def alarm(self, name: str, line: str = "press") -> bool:
        return self.metric("andon_alarm_active", line=line, alarm=name) == 1

    def plc_ready(self, line: str) -> bool:
        """Return the ready bit of a line as the PLC has it."""
        with self._plc_lock:
            return bool(self.plc.get("holding", REGISTERS[line])[0] & 1)

    def _parts(self) -> None:
        """Publish a trigger for each part, and write its frame a moment later. Each third part is defective."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        rng = np.random.default_rng(0)
        client = Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set("andon", CANARY)
        client.reconnect_delay_set(1, 1)
        client.connect_async("127.0.0.1", self.broker.port)
        client.loop_start()
        number = 0
        while not self._over.wait(EVERY_S):
            number += 1
            self.truth[str(number)] = good = number % 3 != 0
            client.publish("press/trigger", json.dumps({"number": number}), qos=1)
            self._over.wait(0.15)
            low, high = (90, 160) if good else (220, 256)
            with tempfile.TemporaryDirectory(dir=self.folder) as place:
                path = Path(place) / f"{number:05}.png"
                cv2.imwrite(str(path), rng.integers(low, high, (24, 24), dtype=np.uint8))
                path.rename(self.frames / path.name)
        client.loop_stop()

    def _cycle(self) -> None:
        """Read and acknowledge the results as a PLC does, and take the writes of the OPC UA server."""
        last = -1
        while not self._over.wait(0.05):
            with self._plc_lock:
                if self.plc.runs:
                    block = self.plc.get("holding", REGISTER, 8)
                    number = block[6] << 16 | block[7]
                    if number != last:
                        self.written.append((number, block[3]))
                        last = number
                    if self.acknowledges:
                        self.plc.set("holding", ACKNOWLEDGE, block[6], block[7])
                    other = self.plc.get("holding", REGISTER + 8, 8)
                    if self.acknowledges:
                        self.plc.set("holding", ACKNOWLEDGE + 2, other[6], other[7])
            with self._scada_lock:
                if self.scada.runs:
                    self.writes += self.scada.do("writes")


def judged(verdicts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in verdicts if one["reason"] in ("", None)]


def results(writes: list[list[Any]]) -> list[tuple[int, str, int]]:
    """Return number, part and result of each result as a client of the OPC UA server sees them."""
    found: list[tuple[int, str, int]] = []
    part, result = "", 0
    for name, value, _ in writes:
        if name == "press.PartId":
            part = value
        elif name == "press.LastResult":
            result = value
        elif name == "press.ResultNumber" and (not found or found[-1][0] != value):
            found.append((value, part, result))
    return [one for one in found if one[0] > 0]


@pytest.fixture
def made(tmp_path: Path, tiny_model: Path) -> Iterator[Plant]:
    plant = Plant(tmp_path, tiny_model)
    try:
        yield plant
    finally:
        plant.end()


@pytest.fixture
def plant(made: Plant) -> Plant:
    return made.start()


def plc_fails(plant: Plant, *, hang: bool) -> None:
    with plant.plc_alone():
        plant.plc.pause() if hang else plant.plc.end()
        plant.wait(lambda: plant.alarm("controller plc") and plant.alarm("controller plc", "pump"))
        plant.goes_on("pump")
        plant.goes_on("press")
        assert plant.metric("andon_ready") == 1
        plant.plc.go_on() if hang else plant.plc.start()
    plant.wait(lambda: not plant.alarm("controller plc"))


def scada_fails(plant: Plant, *, hang: bool) -> None:
    with plant.scada_alone():
        plant.scada.pause() if hang else plant.scada.kill()
        plant.wait(lambda: plant.alarm("controller scada"))
        plant.goes_on("press")
        plant.goes_on("pump")
        plant.scada.go_on() if hang else plant.scada.start()
    plant.wait(lambda: not plant.alarm("controller scada"))


def sensors_fail(plant: Plant, *, hang: bool) -> None:
    plant.sensors.pause() if hang else plant.sensors.kill()
    plant.wait(lambda: plant.verdicts("pump")[-1]["reason"] == "stale")
    plant.wait(lambda: not plant.plc_ready("pump"))
    plant.goes_on("press")
    assert plant.plc_ready("press")
    plant.sensors.go_on() if hang else plant.sensors.start()
    plant.goes_on("pump")
    plant.wait(lambda: plant.plc_ready("pump"))


def kafka_fails(plant: Plant, *, hang: bool) -> None:
    plant.kafka.pause() if hang else plant.kafka.end()
    plant.wait(lambda: plant.metric("andon_output_failing", output="history") == 1)
    plant.goes_on("press")
    plant.kafka.go_on() if hang else plant.kafka.start()
    plant.wait(lambda: plant.metric("andon_output_failing", output="history") == 0, 90.0)


def mqtt_fails(plant: Plant, *, hang: bool) -> None:
    plant.broker.pause() if hang else plant.broker.end()
    plant.wait(lambda: plant.metric("andon_triggers_failing", line="press") == 1)
    plant.wait(lambda: not plant.plc_ready("press"))
    plant.goes_on("pump")
    plant.broker.go_on() if hang else plant.broker.start()
    plant.wait(lambda: plant.metric("andon_triggers_failing", line="press") == 0)
    plant.wait(lambda: plant.plc_ready("press"))
    plant.more_results(4)


def mqtt_hangs_unnoticed(plant: Plant) -> None:
    """Stop the broker for a moment. Then all triggers of this time arrive at once."""
    plant.broker.pause()
    time.sleep(3.5 * EVERY_S)
    plant.broker.go_on()
    plant.more_results(4)


def plc_acknowledges_nothing(plant: Plant) -> None:
    plant.acknowledges = False
    plant.wait(lambda: plant.alarm("results plc"))
    assert not plant.alarm("controller plc")
    plant.acknowledges = True
    plant.wait(lambda: not plant.alarm("results plc"))


def another_model_file(plant: Plant, model: Path) -> None:
    replacement = plant.folder / "replacement"
    replacement.write_bytes(model.read_bytes())
    replacement.rename(plant.folder / "tiny.onnx")
    plant.monitor.send_signal(signal.SIGHUP)
    plant.wait(lambda: plant.metric("andon_model_reloads_total", line="press") >= 1)
    plant.more_results(4)


def no_wrong_result(plant: Plant) -> None:
    """Compare what both controllers got with the parts. INVALID is never wrong."""
    opposite = {ResultCode.OK: False, ResultCode.REJECT: True}

    def wrong(part: str, code: int) -> bool:
        return part in plant.truth and opposite.get(ResultCode(code)) == plant.truth[part]

    seen = results(plant.writes)
    part_of = {number: part for number, part, _ in seen}
    numbers = [number for number, _, _ in seen]
    assert numbers == sorted(set(numbers))
    assert {ResultCode.OK, ResultCode.REJECT} <= {ResultCode(code) for _, _, code in seen}
    assert [one for one in seen if wrong(one[1], one[2])] == []
    assert [(number, code) for number, code in plant.written if wrong(part_of.get(number, ""), code)] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@needs_mosquitto
@needs_pymodbus
def test_every_peer_of_a_plant_can_hang_and_restart_while_parts_flow(plant: Plant, other_model: Path) -> None:
    # issue 23, "What it must show": no wrong value, no hang, the line goes on, the lamp is on
    plant.wait(lambda: plant.metric("andon_ready") == 1, 60.0)
    plant.wait(lambda: ResultCode.REJECT in {code for _, code in plant.written}, 60.0)
    before = plant.open_files(), plant.threads()
    for hang in (True, False):
        for fail in (plc_fails, scada_fails, sensors_fail, kafka_fails, mqtt_fails):
            fail(plant, hang=hang)
    mqtt_hangs_unnoticed(plant)
    plc_acknowledges_nothing(plant)
    another_model_file(plant, other_model)
    plant.wait(lambda: plant.open_files() <= before[0] + 3 and plant.threads() <= before[1] + 3)

    assert plant.terminate() < 5.0
    time.sleep(0.2)
    plant.take_writes()
    no_wrong_result(plant)
    assert plant.scada.do("read", "press.Ready")[0] is False
    assert not plant.plc_ready("press")
    assert not plant.plc_ready("pump")
    assert plant.plc.get("coil", COIL) == [0]


@pytest.mark.slow
@needs_mosquitto
@needs_pymodbus
def test_a_monitor_whose_peers_all_hang_still_ends_in_time(plant: Plant) -> None:
    # complaint 6: stops from every state
    plant.wait(lambda: plant.metric("andon_ready") == 1, 60.0)
    plant.more_results(3)
    plant.goes_on("pump")
    with plant.plc_alone(), plant.scada_alone():
        for peer in (plant.broker, plant.plc, plant.scada, plant.sensors, plant.kafka):
            peer.pause()
        time.sleep(1.5)
        assert plant.terminate() < 5.0  # silent sources are not a failure if the line is stopped
        for peer in (plant.broker, plant.plc, plant.scada, plant.sensors, plant.kafka):
            peer.go_on()


@pytest.mark.slow
@needs_mosquitto
@needs_pymodbus
def test_a_monitor_that_starts_before_its_peers_works_when_they_come(made: Plant) -> None:
    # complaint 6: a pipeline whose first connection failed
    made.start(peers=False)
    made.wait(lambda: made.metric("andon_controller_failing", controller="plc") == 1, 60.0)
    made.wait(lambda: made.metric("andon_controller_failing", controller="scada") == 1)
    made.wait(lambda: made.metric("andon_triggers_failing", line="press") == 1)
    assert made.metric("andon_ready") == 0
    made.start_peers()
    made.more_results(3)
    made.goes_on("pump")
    made.wait(lambda: made.metric("andon_ready") == 1)
    made.wait(lambda: made.metric("andon_output_failing", output="history") == 0)
    assert made.terminate() < 5.0
