"""Measure OPC UA: the cost of a change, the time until a hung server is noticed, and the latency of a written result.

    OMP_NUM_THREADS=1 python -m benchmarks.opcua changes
    OMP_NUM_THREADS=1 python -m benchmarks.opcua hang
    OMP_NUM_THREADS=1 python -m benchmarks.opcua write

The server is asyncua's, in a process of its own on this machine.

``changes``: CPU time of this process for each change of a value, in microseconds, and of the server. ``windows`` is the source up
to finished windows. ``subscription`` is the same subscription with a judge that does nothing, and ``library`` is asyncua's own
`Subscription` with a handler that counts. The three take turns in one run.

``hang``: seconds, median and highest of several rounds. ``stale_s`` is from SIGSTOP until the line reports INVALID (stale).
``log_s`` is until the log names the server as hung, and ``write_s`` until a write of the controller fails. ``window_s`` is from
SIGCONT until the first window.

``write``: milliseconds from the call to the confirmation of a result with 14 values. A new result needs two requests, the state
of the line needs one.

Prints one JSON line.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import platform
import random
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import structs
from tests.opcua_server import NAMESPACE, OpcUaServer, running

from andon.foundation.errors import ConfigError
from andon.foundation.event_loop import EventLoop
from andon.monitor.controller_kind import ControllerContext, ControllerFailed
from andon.monitor.controllers.opcua import CONTROLLER
from andon.monitor.controllers.opcua import Settings as ControllerSettings
from andon.monitor.process_image import ProcessImage, ResultCode
from andon.runtime.items import Item, Lost
from andon.runtime.schema import Channel, Reason, WindowSpec
from andon.sources.clock import SystemClock
from andon.sources.kinds import opcua

NODES = f"nsu={NAMESPACE};s=Line.{{channel}}"
VALUES: dict[str, tuple[Any, str]] = {
    "State": ("", "String"), "Ready": (False, "Boolean"), "Heartbeat": (0, "UInt16"), "LastResult": (0, "Int16"),
    "PartId": ("", "String"), "Score": (0.0, "Float"), "Reason": ("", "String"), "ModelDigest": ("", "String"),
    "Total": (0, "UInt32"), "OK": (0, "UInt32"), "Review": (0, "UInt32"), "NOK": (0, "UInt32"), "Invalid": (0, "UInt32"),
    "ResultNumber": (0, "UInt32"),
}  # fmt: skip
IMAGE = ProcessImage(
    line="press", ready=True, state="running", result=ResultCode.OK, part="A-17", score=0.25, model="0123456789ab"
)
_BURST = 100


def main(argv: list[str] | None = None) -> None:
    """Run one measurement and print its JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=["changes", "hang", "write"])
    parser.add_argument("--count", type=int, help="changes, writes or rounds (default: 10000, 2000, 5)")
    parser.add_argument("--turns", type=int, default=3, help="turns of each variant of changes (default: 3)")
    args = parser.parse_args(argv)
    figures: dict[str, Any]
    if args.what == "changes":
        figures = changes(args.count or 10_000, args.turns)
    elif args.what == "hang":
        figures = hang(args.count or 5)
    else:
        figures = write(args.count or 2_000)
    load = os.getloadavg()[0]
    python = platform.python_version()
    print(json.dumps({"what": args.what, **figures, "cores": os.cpu_count(), "load": round(load, 1), "python": python}))


def changes(count: int, turns: int) -> dict[str, Any]:
    """Measure the CPU time for each change, with three receivers in turn."""
    cost: dict[str, list[float]] = {"windows": [], "subscription": [], "library": []}
    server_us = []
    with running(_free_port(), {"Line.a": 0.0, "Line.b": 0.0}) as server:
        for turn in range(turns):
            begin_s = 1e6 * (turn + 1)
            for name, receive in (("windows", _windows), ("subscription", _silent), ("library", _library)):
                with receive(server) as received:
                    before_s, server_before_s = time.process_time(), server.do("cpu_s")
                    server.do("ramp", ["Line.a", "Line.b"], count // 2, begin_s, 1.0, _BURST)
                    _wait(lambda received=received: received() >= 0.99 * count)  # type: ignore[misc]
                    cost[name].append(1e6 * (time.process_time() - before_s) / count)
                    server_us.append(1e6 * (server.do("cpu_s") - server_before_s) / count)
    return {
        "changes": count,
        **{f"{name}_us": round(statistics.median(values), 1) for name, values in cost.items()},
        "server_us": round(statistics.median(server_us), 1),
    }


@contextlib.contextmanager
def _windows(server: OpcUaServer) -> Iterator[Callable[[], float]]:
    """Follow the source, and count the values in its windows."""
    spec = WindowSpec(steps=50, hop=50, period_s=1.0, channels=(Channel(name="a"), Channel(name="b")))
    with _following(server, spec, hold=False, sampling_s=0.05) as (items, _):
        time.sleep(1.5)
        yield lambda: sum(item.data.size for item in list(items) if isinstance(item, Item))


class _Counting:
    def __init__(self) -> None:
        self.values = 0

    def datachange_notification(self, *_: object) -> None:
        self.values += 1


@contextlib.contextmanager
def _silent(server: OpcUaServer) -> Iterator[Callable[[], float]]:
    """Use the subscription of the source, and drop its samples."""
    spec = WindowSpec(steps=50, hop=50, period_s=1.0, channels=(Channel(name="a"), Channel(name="b")))
    stop = threading.Event()
    settings = opcua.Settings(nodes=NODES, hold=False, sampling_s=0.05)
    stream = opcua.stream(server.url, spec, settings, SystemClock(), stop)
    values = 0

    def drop() -> None:
        nonlocal values
        while not stop.is_set():
            values += len(stream._inbox.take(0.1)[0])

    loop = EventLoop("benchmark")
    loop.submit(stream._connect_for_ever())
    thread = threading.Thread(target=drop)
    thread.start()
    time.sleep(1.5)
    try:
        yield lambda: values
    finally:
        stop.set()
        thread.join()
        loop.close(2.0)


@contextlib.contextmanager
def _library(server: OpcUaServer) -> Iterator[Callable[[], float]]:
    """Use asyncua's own subscription."""
    from asyncua import Client, ua

    counting, stop = _Counting(), threading.Event()

    async def follow() -> None:
        async with Client(server.url, timeout=2) as client:
            index = await client.get_namespace_index(NAMESPACE)
            subscription = await client.create_subscription(50, counting)
            nodes = [client.get_node(ua.NodeId(f"Line.{name}", index)) for name in ("a", "b")]
            await subscription.subscribe_data_change(nodes, queuesize=opcua.QUEUE_SIZE)
            while not stop.is_set():
                await asyncio.sleep(0.1)

    thread = threading.Thread(target=lambda: asyncio.run(follow()))
    thread.start()
    time.sleep(1.5)
    try:
        yield lambda: counting.values
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def _following(
    server: OpcUaServer, spec: WindowSpec, **settings: Any
) -> Iterator[tuple[list[Item | Lost], threading.Event]]:
    stop = threading.Event()
    items: list[Item | Lost] = []
    stream = opcua.stream(server.url, spec, opcua.Settings(nodes=NODES, **settings), SystemClock(), stop)
    thread = threading.Thread(target=lambda: items.extend(stream))
    thread.start()
    try:
        yield items, stop
    finally:
        stop.set()
        thread.join()


class _Log(logging.Handler):
    """Keeps the time of the first line with a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text
        self.at_s: float | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if self.at_s is None and self._text in record.getMessage():
            self.at_s = time.monotonic()


def hang(rounds: int) -> dict[str, Any]:
    """Stop and continue the server, and measure how soon each side notices."""
    spec = WindowSpec(steps=2, hop=2, period_s=0.5, channels=(Channel(name="a"), Channel(name="b")))
    variables = {"Line.a": 1.0, "Line.b": 2.0, **{f"press.{name}": value for name, (value, _) in VALUES.items()}}
    types = {f"press.{name}": kind for name, (_, kind) in VALUES.items()}
    took: dict[str, list[float]] = {"stale": [], "log": [], "write": [], "window": []}
    with (
        running(_free_port(), variables, folder="press", types=types) as server,
        _following(server, spec) as (items, _),
    ):
        controller = _controller(server)
        for _round in range(rounds):
            begin = len(items)
            _wait(lambda begin=begin: any(isinstance(item, Item) for item in items[begin:]))  # type: ignore[misc]
            controller.connect()
            log = _Log("does not answer")
            logging.getLogger(opcua.__name__).addHandler(log)
            begin = len(items)
            server.pause()
            paused_s = time.monotonic()
            with contextlib.suppress(ControllerFailed):
                controller.write(IMAGE)
            took["write"].append(time.monotonic() - paused_s)
            _wait(lambda begin=begin: any(_is_stale(item) for item in items[begin:]))  # type: ignore[misc]
            took["stale"].append(time.monotonic() - paused_s)
            _wait(lambda log=log: log.at_s is not None)  # type: ignore[misc]
            took["log"].append((log.at_s or 0.0) - paused_s)
            logging.getLogger(opcua.__name__).removeHandler(log)
            controller.close()
            time.sleep(1.0)
            begin = len(items)
            server.go_on()
            continued_s = time.monotonic()
            _wait(lambda begin=begin: any(isinstance(item, Item) for item in items[begin:]))  # type: ignore[misc]
            took["window"].append(time.monotonic() - continued_s)
    return {
        "rounds": rounds,
        **{f"{name}_s": [round(statistics.median(values), 2), round(max(values), 2)] for name, values in took.items()},
    }


def write(count: int) -> dict[str, Any]:
    """Measure the latency of results and of states, in turn."""
    variables = {f"press.{name}": value for name, (value, _) in VALUES.items()}
    types = {f"press.{name}": kind for name, (_, kind) in VALUES.items()}
    took: dict[str, list[float]] = {"result": [], "state": []}
    with running(_free_port(), variables, folder="press", types=types) as server:
        controller = _controller(server)
        controller.connect()
        before_s = time.process_time()
        for number in range(1, count + 1):
            for values in took.values():
                image = structs.replace(IMAGE, number=number, ok=number, heartbeat=2 * number)
                began_s = time.perf_counter()
                controller.write(image)
                values.append(1e3 * (time.perf_counter() - began_s))
        cpu_ms = 1e3 * (time.process_time() - before_s) / count
        last, _ = server.do("read", "press.ResultNumber")
        controller.close()
    if last != count:
        raise ConfigError(f"the number of the last result: expected {count}, got {last}.")
    figures = {
        f"{name}_ms": [round(statistics.median(values), 2), round(statistics.quantiles(values, n=100)[98], 2)]
        for name, values in took.items()
    }
    return {"writes": count, **figures, "cpu_ms_of_both": round(cpu_ms, 2)}


def _controller(server: OpcUaServer) -> Any:
    settings = ControllerSettings(address=server.url, folder=f"nsu={NAMESPACE};s={{line}}")
    return CONTROLLER.open(settings, ControllerContext(name="plant", lines=("press",), clock=SystemClock()))


def _is_stale(item: Item | Lost) -> bool:
    return isinstance(item, Lost) and item.reason is Reason.STALE


def _wait(done: Callable[[], bool], limit_s: float = 60.0) -> None:
    until_s = time.monotonic() + limit_s
    while not done():
        if time.monotonic() > until_s:
            sys.exit(f"waited longer than {limit_s:g} s")
        time.sleep(0.005)


def _free_port() -> int:
    while True:
        port = random.SystemRandom().randrange(15_000, 30_000)  # below those that the system gives to clients
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


if __name__ == "__main__":
    main()
