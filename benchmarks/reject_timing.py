"""Measure how late reject signals are, and the delay that the store of their intents adds.

    OMP_NUM_THREADS=1 python -m benchmarks.reject_timing

With ``--busy 1``, a thread of the process runs Python all the time. ``--switch-interval`` sets how soon it gives way.

Signals come in random order of two kinds, so that both see the same load: with intents in memory, and with intents in the event
store (SQLite, WAL, synchronous=FULL). The device does nothing. Prints one JSON line for each kind:

* ``late_ms``: begin of the call of the device after the moment at which the signal was due. The 50th, 99th and 100th percentile.
* ``commit_ms``: time until the intent was stored, after the decision. The same percentiles.
* ``not_durable``: signals that were given before their intent was stored. ``missed``: signals that were not given.

Then prints ``decision``: how late the decision about a part without frames is, after its deadline minus its guard.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from andon.monitor.event import Event, RejectSignal
from andon.monitor.journal import Journal, JournalIntents
from andon.monitor.judging import Outcome
from andon.monitor.part_decisions import PartDecisions
from andon.monitor.part_settings import PartSettings
from andon.monitor.parts import PartDecision
from andon.monitor.reject import Intents, MemoryIntents, RejectRule
from andon.monitor.reject_kind import callback_reject
from andon.monitor.reject_signals import RejectSignals
from andon.monitor.store import Settings as StoreSettings
from andon.monitor.store_writer import StoreWriter
from andon.monitor.supervisor import Origin
from andon.runtime.items import Lost
from andon.runtime.schema import Reason
from andon.runtime.verdict import invalid
from andon.sources.clock import SystemClock

CLOCK = SystemClock()
TRAVEL_S = 0.1


class Timed:
    """Intents that measure the time until each of them is stored."""

    unknown: tuple[str, ...] = ()

    def __init__(self, intents: Intents) -> None:
        self._intents = intents
        self.commits_s: list[float] = []
        self.late_s: list[float] = []

    def event(self, body: RejectSignal, at_s: float) -> Event:
        return self._intents.event(body, at_s)

    def intent(self, event: Event, timeout_s: float) -> bool:
        stored = self._intents.intent(event, timeout_s)
        if stored:
            # the signal is due TRAVEL_S after its decision
            self.commits_s.append(CLOCK.mono_s() - (event.mono_ns / 1e9 - TRAVEL_S))
        return stored

    def result(self, intent: Event, event: Event) -> None:
        if isinstance(event.body, RejectSignal) and event.body.result == "fired":
            self.late_s.append(event.body.late_s)
        self._intents.result(intent, event)


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    parts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {"p50": round(1e3 * parts[49], 3), "p99": round(1e3 * parts[98], 3), "max": round(1e3 * max(seconds), 3)}


def measure(signals: int, seed: int, folder: str) -> None:
    rng = random.Random(seed)
    rule = RejectRule(travel_s=TRAVEL_S, tolerance_s=0.02)
    store = StoreWriter(StoreSettings(path=str(Path(folder) / "state"), any_file_system=True), CLOCK, run="r", boot="b")
    kinds = {
        "memory": Timed(MemoryIntents(CLOCK, lambda _body: None)),
        "store": Timed(JournalIntents(Journal("r", CLOCK, store=store), store, Origin(line="a"))),
    }
    devices = {
        name: RejectSignals(rule, callback_reject(lambda: None, rule).open(), timed, CLOCK, name=name)
        for name, timed in kinds.items()
    }
    for device in devices.values():
        device.start()
    order = [name for name in kinds for _ in range(signals)]
    rng.shuffle(order)
    for number, name in enumerate(order):
        devices[name].schedule(str(number), CLOCK.mono_s())
        time.sleep(rng.uniform(0.005, 0.02))
    for device in devices.values():
        device.close(2.0)
    store.close()
    for name, timed in kinds.items():
        status = devices[name].status()
        print(
            json.dumps(
                {
                    "intents": name,
                    "signals": signals,
                    "late_ms": percentiles_ms(timed.late_s),
                    "commit_ms": percentiles_ms(timed.commits_s),
                    "not_durable": status.not_durable,
                    "missed": status.missed,
                }
            )
        )


def measure_decisions(parts: int) -> None:
    settings = PartSettings(deadline_s=0.05, trigger="external", max_open=100)
    decided: list[PartDecision] = []
    delivered: list[float] = []

    def act(decision: PartDecision, _outcome: Outcome) -> None:
        delivered.append(CLOCK.mono_s())
        decided.append(decision)

    def blank(lost: Lost, seq: int) -> Outcome:
        return Outcome(seq=seq, wall_s=0.0, ref=lost.ref, unit="frame", verdict=invalid(Reason.LOST))

    line = PartDecisions(settings, CLOCK, on_decision=act)
    line.attach(blank)
    line.start()
    for _ in range(parts):
        line.trigger()
        time.sleep(0.01)
    time.sleep(0.1)
    line.close()
    late = [
        at - one.triggered_s - settings.deadline_s + settings.guard_s
        for at, one in zip(delivered, decided, strict=True)
    ]
    print(json.dumps({"decision": "part without frames", "parts": parts, "late_ms": percentiles_ms(late)}))


def hog(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(1000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signals", type=int, default=1000, help="signals of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--busy", type=int, default=0, help="threads that run Python all the time")
    parser.add_argument("--switch-interval", type=float, default=sys.getswitchinterval(), help="of Python, in seconds")
    parser.add_argument("--folder", help="folder of the store")
    args = parser.parse_args()
    sys.setswitchinterval(args.switch_interval)
    stop = threading.Event()
    threads = [threading.Thread(target=hog, args=(stop,)) for _ in range(args.busy)]
    conditions = {
        "python": platform.python_version(),
        "busy_threads": args.busy,
        "switch_interval_s": sys.getswitchinterval(),
        "load": round(os.getloadavg()[0], 1),
        "cores": os.cpu_count(),
        "seed": args.seed,
    }
    print(json.dumps(conditions))
    for thread in threads:
        thread.start()
    try:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            measure(args.signals, args.seed, folder)
        measure_decisions(min(300, args.signals))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
