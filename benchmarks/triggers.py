"""Measure the cost of MQTT triggers: CPU for each, the highest rate, and the time from sending to the beginning of a part.

    OMP_NUM_THREADS=1 python -m benchmarks.triggers

It needs the broker mosquitto. A sender in a process of its own publishes numbered triggers (quality of service 1), first as many
as it can, then 50 per second. They begin the parts of a line without a judge.

Prints one JSON line. ``cpu_us_per_trigger`` is the CPU time of this process. ``ms`` is from the moment before the call of the
sender to the moment after the part has begun. Both processes read the same monotonic clock.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.outputs import answers, end, free_port, until

from andon.monitor.part_decisions import PartDecisions
from andon.monitor.part_settings import PartSettings
from andon.monitor.trigger_follower import TriggerFollower
from andon.monitor.trigger_kind import ChosenTrigger, Trigger
from andon.monitor.triggers import mqtt
from andon.sources.clock import SystemClock

TOPIC = "press-3/trigger"
RATE_HZ = 50.0


def send(port: int, count: int, rate_hz: float) -> None:
    """Publish triggers, and print the times at which they were sent."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    times, sent = [], []
    for number in range(count):
        times.append(time.monotonic())
        sent.append(client.publish(TOPIC, f'{{"number": {number}}}', qos=1))
        if rate_hz:
            time.sleep(1.0 / rate_hz)
    sent[-1].wait_for_publish(60.0)
    client.disconnect()
    client.loop_stop()
    print(json.dumps(times))


class Line:
    """The parts of a line. A part is decided at its deadline, because no frame arrives."""

    def __init__(self, port: int) -> None:
        self.numbers: list[int | None] = []
        self.times: list[float] = []
        settings = PartSettings(deadline_s=0.02, trigger="external", max_open=1000)
        self._parts = PartDecisions(settings, SystemClock())
        self.follower = TriggerFollower(
            ChosenTrigger(kind=mqtt.TRIGGER, settings=mqtt.Settings(address=f"mqtt://127.0.0.1:{port}/{TOPIC}")),
            self._begin,
            SystemClock(),
            line="press-3",
            record=lambda change: print(change, file=sys.stderr),
        )
        self.follower.start()
        until(lambda: not self.follower.status().failing)

    def _begin(self, trigger: Trigger) -> None:
        self._parts.trigger(number=trigger.number)
        self.times.append(time.monotonic())
        self.numbers.append(trigger.number)

    def close(self) -> None:
        self.follower.close()
        self._parts.close()


def burst(port: int, count: int, rate_hz: float) -> tuple[Line, list[float], float]:
    """Return the line, the times of sending, and the CPU time of this process."""
    line = Line(port)
    began_s = time.process_time()
    command = [sys.executable, "-m", "benchmarks.triggers", "--send", str(port), str(count), str(rate_hz)]
    sender = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    until(lambda: len(line.numbers) == count)
    cpu_s = time.process_time() - began_s
    assert sender.stdout is not None
    sent: list[float] = json.loads(sender.stdout.readline())
    sender.communicate()
    line.close()
    if line.numbers != list(range(count)):
        raise AssertionError("triggers: expected each number once and in order, got others")
    return line, sent, cpu_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--triggers", type=int, default=10_000)
    parser.add_argument("--slow", type=int, default=500, help="triggers of the second part (default: 500)")
    parser.add_argument("--send", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.send:
        send(int(args.send[0]), int(args.send[1]), float(args.send[2]))
        return
    if shutil.which("mosquitto") is None:
        sys.exit("benchmarks.triggers: expected the MQTT broker mosquitto, found none. Install it.")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n",
            encoding="utf-8",
        )
        broker = subprocess.Popen(
            ["mosquitto", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            until(lambda: answers(port))
            fast, _, cpu_s = burst(port, args.triggers, 0.0)
            slow, sent, _ = burst(port, args.slow, RATE_HZ)
        finally:
            end(broker)
    delays = sorted(1000 * (got - at) for got, at in zip(slow.times, sent, strict=True))
    figures = {
        "what": "mqtt triggers", "triggers": args.triggers, "per_s": round(len(fast.times) / (fast.times[-1] - fast.times[0])),
        "cpu_us_per_trigger": round(cpu_s / args.triggers * 1e6), "ms_median": round(statistics.median(delays), 2),
        "ms_p99": round(delays[int(0.99 * len(delays))], 2), "ms_longest": round(delays[-1], 2),
        "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
