"""Measure the Modbus TCP parts of a monitor against a real server (pymodbus) in another process.

    OMP_NUM_THREADS=1 python -m benchmarks.modbus

Prints one JSON line for each question, with the load of the machine:

* ``reject``: time from the verdict (the call of `RejectSignals.schedule`) until the server has switched the coil. The signal is
  due at once (``travel_s`` is 0), so this is the latency of the monitor, of loopback and of the server. With ``store``, intents
  are durable (SQLite, synchronous=FULL), with ``memory`` they are not. Both are mixed in random order. The first signal of each
  also opens its connection.
* ``poll``: one read of 8 registers, as the source and the trigger do. CPU time of this process and of the server.
* ``sample``: one poll of the whole source: 8 channels of 10 ms, their points on the grid, and their windows.
* ``write``: one block of a controller (8 registers), written and read back.

``order`` states how many values arrived, and that all arrived in their order and with their values.
"""

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.modbus_server import ModbusServer

from andon.monitor.controller_kind import ControllerContext
from andon.monitor.controllers.modbus import CONTROLLER
from andon.monitor.controllers.modbus import Settings as ControllerSettings
from andon.monitor.journal import Journal, JournalIntents
from andon.monitor.process_image import ProcessImage, ResultCode
from andon.monitor.reject import Intents, MemoryIntents, RejectRule
from andon.monitor.reject_signals import RejectSignals
from andon.monitor.rejects.modbus import REJECT
from andon.monitor.rejects.modbus import Settings as CoilSettings
from andon.monitor.store import Settings as StoreSettings
from andon.monitor.store_writer import StoreWriter
from andon.monitor.supervisor import Origin
from andon.runtime.items import Item
from andon.runtime.schema import Channel, WindowSpec
from andon.sources.clock import SystemClock
from andon.sources.kinds import modbus
from andon.sources.modbus.connection import ModbusConnection, parse_server
from andon.sources.modbus.registers import Register

CLOCK = SystemClock()
COILS = {"memory": 1, "store": 2}


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    parts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": round(1e3 * parts[49], 3), "p99": round(1e3 * parts[98], 3), "max": round(1e3 * max(seconds), 3)}


def rejects(server: ModbusServer, signals: int, seed: int, folder: str) -> None:
    """Print the latency of reject signals from the verdict to the coil."""
    rng = random.Random(seed)
    rule = RejectRule(travel_s=0.0, tolerance_s=1.0, pulse_s=0.001)
    store = StoreWriter(StoreSettings(path=str(Path(folder) / "state"), any_file_system=True), CLOCK, run="r", boot="b")
    intents: dict[str, Intents] = {
        "memory": MemoryIntents(CLOCK, lambda _body: None),
        "store": JournalIntents(Journal("r", CLOCK, store=store), store, Origin(line="a")),
    }
    devices = {
        name: RejectSignals(
            rule,
            REJECT.open(CoilSettings(address=server.url, coil=coil, timeout_s=1.0)),
            intents[name],
            CLOCK,
            name=name,
        )
        for name, coil in COILS.items()
    }
    for device in devices.values():
        device.start()
    order = [name for name in COILS for _ in range(signals)]
    rng.shuffle(order)
    verdicts_s: dict[str, list[float]] = {name: [] for name in COILS}
    for number, name in enumerate(order):
        verdicts_s[name].append(CLOCK.mono_s())
        devices[name].schedule(str(number), verdicts_s[name][-1])
        time.sleep(rng.uniform(0.01, 0.03))
    for device in devices.values():
        device.close(5.0)
    store.close()
    written = server.written
    for name, coil in COILS.items():
        on_s = [one.at_s for one in written if one.address == coil and one.values == [1]]
        status = devices[name].status()
        latency = (
            percentiles_ms([on - verdict for on, verdict in zip(on_s, verdicts_s[name], strict=True)])
            if len(on_s) == signals
            else {}
        )
        report(
            "reject", intents=name, signals=signals, fired=status.fired, coil_on=len(on_s), verdict_to_coil_ms=latency
        )


def polls(server: ModbusServer, count: int) -> None:
    """Print the cost of a read of 8 registers."""
    connection = ModbusConnection(parse_server(server.url), unit_id=1, timeout_s=5.0, clock=CLOCK)
    connection.connect()
    server.set("input", 10, *range(8))

    def poll(_number: int) -> bool:
        connection.begin()
        return connection.read_registers("input", 10, 8) == list(range(8))

    cost("poll", server, count, poll)
    connection.close()


def samples(server: ModbusServer, seconds: float) -> None:
    """Print the cost of a sample of the source, and how many polls were late."""
    names = [f"channel {number}" for number in range(8)]
    spec = WindowSpec(steps=10, hop=10, period_s=0.01, channels=tuple(Channel(name=name) for name in names))
    registers = {name: Register(address=10 + number, kind="input") for number, name in enumerate(names)}
    stop = threading.Event()
    stream = modbus.stream(server.url, spec, modbus.Settings(registers=registers), CLOCK, stop)
    threading.Timer(seconds, stop.set).start()
    cpu_s, windows = time.process_time(), sum(isinstance(item, Item) for item in stream)
    cpu_s = time.process_time() - cpu_s
    counters = stream.counters
    report(
        "sample",
        seconds=seconds,
        samples=counters.polls,
        windows=windows,
        left_out=counters.left_out,
        failed=counters.failed,
        cpu_ms=round(1e3 * cpu_s / counters.polls, 4),
    )


def writes(server: ModbusServer, count: int) -> None:
    """Print the cost of a block of a controller, written and read back."""
    context = ControllerContext(name="plc", lines=("press",), clock=CLOCK)
    controller = CONTROLLER.open(ControllerSettings(address=server.url, register=100, timeout_s=5.0), context)
    controller.connect()

    def write(number: int) -> bool:
        controller.write(ProcessImage(line="press", number=number + 1, result=ResultCode.OK))
        return True

    cost("write", server, count, write)
    controller.close()
    numbers = [one.values[7] for one in server.written if one.table == "holding"]
    report("order", writes=count, in_order=numbers == [number & 0xFFFF for number in range(1, count + 1)])


def cost(what: str, server: ModbusServer, count: int, do: Callable[[int], bool]) -> None:
    """Call a function many times, and print its time and the CPU time of both processes for each call."""
    took_s, right = [], 0
    cpu_s, server_cpu_s = time.process_time(), server.cpu_s
    for number in range(count):
        began_s = time.perf_counter()
        right += do(number)
        took_s.append(time.perf_counter() - began_s)
    cpu_s, server_cpu_s = time.process_time() - cpu_s, server.cpu_s - server_cpu_s
    report(
        what,
        calls=count,
        right=right,
        wall_ms=percentiles_ms(took_s),
        cpu_ms=round(1e3 * cpu_s / count, 4),
        server_cpu_ms=round(1e3 * server_cpu_s / count, 4),
    )


def report(what: str, **found: object) -> None:
    print(json.dumps({"what": what, **found, "load": [round(load, 1) for load in os.getloadavg()[:2]]}), flush=True)


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=int, default=1000, help="reject signals of each kind")
    parser.add_argument("--calls", type=int, default=10_000, help="polls, and writes")
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of the samples")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    from pymodbus import __version__

    report("conditions", python=platform.python_version(), pymodbus=__version__, cores=os.cpu_count(), seed=args.seed)
    server = ModbusServer().start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            rejects(server, args.signals, args.seed, folder)
        server.reset()
        polls(server, args.calls)
        samples(server, args.seconds)
        writes(server, args.calls)
    finally:
        server.end()


if __name__ == "__main__":
    main()
