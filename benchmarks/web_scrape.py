"""Measure the web server of a monitor: the cost of a scrape, memory under clients, and the time to close it.

Prints one JSON line for each question:

* `cost`: time to write the metrics and the status of 1, 4 and 16 lines, without the network and without the cache.
* `clients`: 5 clients in another process ask for all paths for some minutes, each over a connection that it keeps. Resident
  memory of the server's process (also at six moments between), threads and handles after the first 10 seconds and at the end.
  Time of an answer. Share of one core that the server's process uses.
* `close`: time to close the server with 5 connections that are open, one of them in the middle of a request.

    python -m benchmarks.web_scrape --minutes 3
    python -m benchmarks.web_scrape --minutes 0.1
"""

import argparse
import http.client
import json
import multiprocessing
import os
import resource
import socket
import statistics
import threading
import time
from array import array
from collections.abc import Callable
from multiprocessing import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

from msgspec.structs import replace

from andon.monitor.alarms import AlarmState
from andon.monitor.counters import Counters
from andon.monitor.metrics import exposition
from andon.monitor.status import ChartStatus, Latency, LineStatus, OutputStatus, ProcessStatus, StoreStatus
from andon.monitor.status_json import status_json
from andon.monitor.web.server import WebServer
from andon.monitor.web.settings import WebSettings

CLIENTS = 5
REQUESTS = 1000
PAUSE_S = 0.02
PATHS = ("/metrics", "/livez", "/readyz", "/status")


def status(lines: int, items: int) -> ProcessStatus:
    """Return the status of a monitor whose lines have judged this many items."""
    now_s = time.monotonic()
    return ProcessStatus(
        version="0.1.0",
        run="0",
        started_wall_s=time.time(),
        now_s=now_s,
        now_wall_s=time.time(),
        lines=tuple(
            LineStatus(
                name=f"line{number}",
                state="running",
                source=f"rtsp://10.0.0.{number}/live",
                model="0a1b2c3d4e5f",
                golden=True,
                counters=Counters(grabbed=items, judged=items, by_status={"OK": items}),
                latency=Latency(counts=(items, *(0,) * 10), sum_s=items * 0.004),
                alarms={"rejects": AlarmState(), "health": AlarmState()},
                charts=tuple(ChartStatus(name=name, value=1.0, limit=2.0) for name in ("cusum", "psi", "ks", "budget")),
                last_outcome_s=now_s,
                stale_after_s=2.0,
            )
            for number in range(lines)
        ),
        store=StoreStatus(stored=items, ping_s=now_s),
        outputs=(OutputStatus(name="plant", kind="mqtt", backlog=0, delivered=items),),
    )


def cost(lines: int, rounds: int = 300) -> dict[str, float]:
    """Return median and 99th percentile of the time for one page, in milliseconds."""
    found: dict[str, float] = {"lines": lines}
    of = status(lines, 10**6)
    work: tuple[tuple[str, Callable[[ProcessStatus], object]], ...] = (("metrics", exposition), ("status", status_json))
    for name, write in work:
        times = []
        for _ in range(rounds):
            began_s = time.perf_counter()
            write(of)
            times.append(1000 * (time.perf_counter() - began_s))
        found[f"{name}_ms"] = round(statistics.median(times), 3)
        found[f"{name}_p99_ms"] = round(statistics.quantiles(times, n=100)[98], 3)
    found["metrics_bytes"] = len(exposition(of)[0])
    return found


def memory_kb() -> int:
    """Return the resident memory of this process."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.partition("VmRSS:")[2].split()[0])


def ask(port: int, over: Event, times: "array[float]") -> None:
    """Ask for all paths in turn until the end. A new connection after `REQUESTS` requests."""
    while not over.is_set():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        for number in range(REQUESTS):
            if over.is_set():
                break
            time.sleep(PAUSE_S)
            began_s = time.perf_counter()
            connection.request("GET", PATHS[number % len(PATHS)])
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            times[number] = time.perf_counter() - began_s
        connection.close()


def ask_from_threads(port: int, over: Event, results: "Queue[list[float]]") -> None:
    """Run all clients, in a process of their own, and return the times of their last answers in seconds."""
    times = [array("d", bytes(8 * REQUESTS)) for _ in range(CLIENTS)]
    threads = [threading.Thread(target=ask, args=(port, over, mine)) for mine in times]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(sorted(one for mine in times for one in mine if one))


def state() -> dict[str, int]:
    """Return memory, threads and handles."""
    return {
        "memory_kb": memory_kb(),
        "threads": threading.active_count(),
        "handles": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - the names are counted only
    }


def clients(server: WebServer, minutes: float, count: Callable[[], int]) -> dict[str, object]:
    """Return how the process of the server changes while clients ask."""
    spawn = multiprocessing.get_context("spawn")
    over, results = spawn.Event(), spawn.Queue()
    process = spawn.Process(target=ask_from_threads, args=(server.port, over, results))
    process.start()
    time.sleep(min(10.0, 30 * minutes))
    first, cpu = state(), resource.getrusage(resource.RUSAGE_SELF)
    began, memory = count(), []
    for _ in range(6):
        time.sleep(10 * minutes)
        memory.append(memory_kb())
    last, cpu_after = state(), resource.getrusage(resource.RUSAGE_SELF)
    ended = count()
    over.set()
    answered = results.get(timeout=60)
    process.join()
    used_s = cpu_after.ru_utime + cpu_after.ru_stime - cpu.ru_utime - cpu.ru_stime
    return {
        "clients": CLIENTS,
        "minutes": minutes,
        "computed": ended - began,
        "cpu_share": round(used_s / (60 * minutes), 4),
        "median_ms": round(1000 * statistics.median(answered), 2),
        "p99_ms": round(1000 * answered[int(0.99 * len(answered))], 2),
        "memory_kb": memory,
        "after_10_s": first,
        "at_the_end": last,
    }


def close(server: WebServer) -> dict[str, object]:
    """Return the time to close the server with open connections."""
    held = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(CLIENTS)]
    for one in held[1:]:
        one.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        one.recv(65_536)
    held[0].sendall(b"GET /status HTTP/1.1\r\nHost: ")
    began_s = time.perf_counter()
    server.close()
    took_s = time.perf_counter() - began_s
    for one in held:
        one.close()
    return {"open": CLIENTS, "close_s": round(took_s, 3), "running": server.running}


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0, help="duration of the test with clients (default: 3)")
    minutes = parser.parse_args().minutes
    load = os.getloadavg()[0]
    for lines in (1, 4, 16):
        print(json.dumps({"question": "cost", **cost(lines), "load": round(load, 1)}), flush=True)

    calls = 0

    def now() -> ProcessStatus:
        nonlocal calls
        calls += 1
        return replace(status(4, 1000 * calls), clock_epoch=calls)

    server = WebServer(now, WebSettings(port=0))
    print(json.dumps({"question": "clients", **clients(server, minutes, lambda: calls)}), flush=True)
    print(json.dumps({"question": "close", **close(server), "load": round(os.getloadavg()[0], 1)}), flush=True)


if __name__ == "__main__":
    main()
