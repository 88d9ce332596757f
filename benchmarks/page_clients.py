"""Measure what open pages cost: memory, CPU time and the time from SIGTERM to the exit, with and without clients.

    python benchmarks/page_clients.py --minutes 3 --clients 5

A monitor in a child process judges the example of windows, and 1080p frames at `--hz` if a model file of frames is
given. Clients are sockets on loopback that read the stream of a line, as a browser does. The two
halves (no client, then clients) are one run of one process, so the difference is the cost of the pages. One JSON line is printed.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from andon.demo.example_line import MODEL, example

CHILD = """
import signal, sys, time
import numpy as np
from andon.monitor import Monitor
folder, model, hz = sys.argv[1], sys.argv[2], float(sys.argv[3])
monitor = Monitor(folder + "/line.toml")
def frames(shape):
    rng = np.random.default_rng(0)
    slope = np.linspace(60, 180, shape[1])[None, :, None]
    kept = [(slope + rng.normal(0, 2, shape)).clip(0, 255).astype(np.uint8) for _ in range(8)]
    at = 0
    while True:
        yield kept[at % len(kept)]
        at += 1
        time.sleep(1 / hz)
if model:
    from andon.runtime.detector import Detector
    spec = Detector.load(model).card.input
    monitor.add_line("frames", model=model, source=frames((1080, 1920, spec.channels)), frame_size="any")
signal.signal(signal.SIGTERM, lambda *_: monitor._stop.set())
monitor.start()
print(monitor.page_url, flush=True)
monitor.wait()
"""
LINE = """
[store]
path = "state"
[web]
port = 0
[[line]]
name = "windows"
model = "power_converter.onnx"
[line.source]
kind = "power_converter"
address = "power_converter:seed=3,rows=1000000,faults=6"
speed = "recorded"
[[line.sinks]]
kind = "json_lines"
path = "v.jsonl"
"""
TICKS = os.sysconf("SC_CLK_TCK")


def usage(pid: int) -> tuple[float, float]:
    """Return CPU seconds and resident MB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Client(threading.Thread):
    """Read a stream until it ends."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__(daemon=True)
        self.bytes = self.pictures = self.states = 0
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())

    def run(self) -> None:
        """Count what arrives."""
        with contextlib.suppress(OSError):
            while data := self._socket.recv(1 << 16):
                self.bytes += len(data)
                self.pictures += data.count(b"event: picture")
                self.states += data.count(b"event: state")


def part(pid: int, seconds: float) -> dict[str, object]:
    """Return the share of a core and the memory over some time."""
    (cpu_s, before_mb), began_s = usage(pid), time.monotonic()
    each_half_minute: list[float] = []
    while time.monotonic() - began_s < seconds:
        time.sleep(min(30.0, seconds))
        each_half_minute.append(round(usage(pid)[1], 1))
    after_s, _ = usage(pid)
    share = (after_s - cpu_s) / (time.monotonic() - began_s)
    return {
        "core_percent": round(100 * share, 2),
        "mb_first": round(before_mb, 1),
        "mb_each_half_minute": each_half_minute,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0, help="time with clients; the time without is a fifth")
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--model", default="", help="model file of frames")
    parser.add_argument("--hz", type=float, default=5.0, help="frames a second")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, MODEL).write_bytes(example(MODEL))
        Path(folder, "line.toml").write_text(LINE)
        command = [sys.executable, "-c", CHILD, folder, args.model, str(args.hz)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            port = int(child.stdout.readline().rpartition(":")[2])
            time.sleep(10.0)
            alone = part(child.pid, 12 * args.minutes)
            line = "frames" if args.model else "windows"
            clients = [Client(port, f"/lines/{line}/live") for _ in range(args.clients)]
            for client in clients:
                client.start()
            watched = part(child.pid, 60 * args.minutes)
            began_s = time.monotonic()
            child.send_signal(signal.SIGTERM)
            child.wait(30.0)
            exit_s = time.monotonic() - began_s
    print(
        json.dumps(
            {
                "what": "page_clients",
                "clients": args.clients,
                "minutes": args.minutes,
                "line": line,
                "hz": args.hz,
                "alone": alone,
                "watched": watched,
                "pages_core_percent": round(float(str(watched["core_percent"])) - float(str(alone["core_percent"])), 2),
                "pictures": [client.pictures for client in clients],
                "states": [client.states for client in clients],
                "kb_per_client_and_s": round(sum(one.bytes for one in clients) / args.clients / args.minutes / 60e3, 1),
                "sigterm_to_exit_s": round(exit_s, 2),
                "load": os.getloadavg()[0],
            }
        )
    )


if __name__ == "__main__":
    main()
