"""Kill a monitor under load again and again, and compare what its receiver got with its event store. Prints one JSON line.

    python -m benchmarks.kill_monitor --kills 100 --seed 1

``andon monitor`` judges samples on standard input as fast as it can, stores the events and delivers them to a webhook of this
process. Every second block of samples is defective, so that there are many rejects.
It is killed with SIGKILL at a random moment 0.2 to 1.5 s after it became ready, and started again. At the end, one run stops in
order and delivers the rest. Checked:

* ``lost``: events that the receiver had acknowledged, or that the last store has, and that are missing in the other one.
* ``out_of_order``: events that arrived after a later one, if repeated keys are dropped.
* ``repeated`` events have the same key and the same content (``changed`` counts others).
* ``ready_s``: time from the start of the process until ``/readyz`` answers 200.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from andon.demo.example_line import MODEL, example
from andon.monitor.store import StoreReader

LINE = """
[store]
path = "state"
[web]
port = {web}
[[output]]
name = "hook"
kind = "webhook"
url = "http://127.0.0.1:{port}/events"
[[line]]
name = "example"
model = "power_converter.onnx"
alarm = "3/10"
[line.source]
kind = "stdin"
[[line.sinks]]
kind = "json_lines"
path = "v.jsonl"
"""


class Receiver:
    """A webhook that keeps each event."""

    def __init__(self) -> None:
        self.got: list[tuple[int, str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                body = json.dumps({key: event[key] for key in event if key != "evidence"}, sort_keys=True)
                outer.got.append((event["seq"], event["key"], body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Do nothing: a killed sender ends its connection in the middle."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def ready_after(process: "subprocess.Popen[bytes]", web: int, limit_s: float = 60.0) -> float:
    """Wait until the monitor is ready. Return the time that it took."""
    began_s = time.monotonic()
    while time.monotonic() - began_s < limit_s:
        if process.poll() is not None:
            raise SystemExit(f"the monitor ended with {process.returncode}: {process.communicate()[1].decode()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{web}/readyz", timeout=1) as answer:
                if answer.status == 200:
                    return time.monotonic() - began_s
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    raise SystemExit("the monitor did not become ready")


class Samples:
    """A thread that writes blocks of samples into a process until it ends."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        rng = np.random.default_rng(0)
        assert self._process.stdin is not None
        number = 0
        with contextlib.suppress(OSError, ValueError):  # the process was killed
            while True:
                good = number // 256 % 2 == 0
                values = rng.normal([48.0, 10.0, 55.0], [0.2, 0.3, 0.5] if good else [20.0, 20.0, 20.0], (64, 3))
                times = (1.7e9 + 0.1 * np.arange(number, number + 64)).round(1).tolist()
                block = {"t": times, "values": values.round(3).tolist()}
                self._process.stdin.write(json.dumps(block).encode() + b"\n")
                self._process.stdin.flush()
                number += 64

    def end(self) -> None:
        """Wait for the thread."""
        self._thread.join(10)
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.stdin = None


def started(command: list[str]) -> tuple["subprocess.Popen[bytes]", Samples]:
    """Start a monitor under load."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    return process, Samples(process)


def ended(process: "subprocess.Popen[bytes]", samples: Samples, number: signal.Signals) -> None:
    """Send a signal, and wait for the end."""
    process.send_signal(number)
    process.wait(timeout=30)
    samples.end()
    process.communicate()


def run(kills: int, seed: int, root: Path) -> dict[str, Any]:
    """Run the experiment."""
    receiver = Receiver()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        web = int(free.getsockname()[1])
    (root / MODEL).write_bytes(example(MODEL))
    (root / "line.toml").write_text(LINE.format(port=receiver.port, web=web), encoding="utf-8")
    rng, ready = random.Random(seed), []
    command = [sys.executable, "-m", "andon", "monitor", str(root / "line.toml")]
    for _ in range(kills):
        process, samples = started(command)
        ready.append(ready_after(process, web))
        time.sleep(rng.uniform(0.2, 1.5))
        ended(process, samples, signal.SIGKILL)
    process, samples = started(command)
    ready.append(ready_after(process, web))
    time.sleep(1.0)
    ended(process, samples, signal.SIGTERM)
    waiting_s = time.monotonic() + 60
    reader = StoreReader(root / "state")
    stored: dict[str, int] = {}
    before = None
    while True:
        page = reader.recent(before=before, limit=1000)
        if not page:
            break
        stored |= {event.key: event.seq for event in page}
        before = page[-1].seq
    process, samples = started(command)
    while time.monotonic() < waiting_s and not set(stored) <= {key for _, key, _ in receiver.got}:
        time.sleep(0.2)
    ended(process, samples, signal.SIGTERM)
    last = max(stored.values())
    got = [(seq, key, body) for seq, key, body in receiver.got if seq <= last]
    bodies: dict[str, str] = {}
    repeated = changed = out_of_order = newest = 0
    for seq, key, body in got:
        if key in bodies:
            repeated += 1
            changed += bodies[key] != body
            continue
        bodies[key] = body
        out_of_order += seq < newest
        newest = max(newest, seq)
    lines = (root / "v.jsonl").read_bytes()
    return {
        "what": "kill_monitor",
        "kills": kills,
        "seed": seed,
        "stored": len(stored),
        "received": len(bodies),
        "lost": len(set(stored) ^ set(bodies)),
        "out_of_order": out_of_order,
        "repeated": repeated,
        "changed": changed,
        "lines_whole": all(json.loads(line) for line in lines.splitlines()),
        "ready_s": {"median": round(statistics.median(ready), 2), "most": round(max(ready), 2)},
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Run once and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        print(json.dumps(run(args.kills, args.seed, Path(root))))


if __name__ == "__main__":
    main()
