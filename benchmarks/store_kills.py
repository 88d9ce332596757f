"""Kill a process that writes events, many times, and check what the store has kept.

A child process opens the store and puts events with consecutive numbers from two threads at full speed. After each commit it
prints the last number that is durable. A sender in the child delivers events: it appends them to a file and reports them.
The parent ends the child with ``kill -9`` at a random moment, and starts the next one. It checks:

* No acknowledged event is lost, none is stored twice, and the numbers are in the order of `seq` without a hole.
* The receiver got all events in order, if it drops keys that it has seen.
* An acknowledged intent of a reject signal has one result, or is ``unknown``.
* The time from the start of the child until the store is open.

    python -m benchmarks.store_kills --kills 100 --seed 0
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from andon.monitor.event import Event, InvalidEnded, RejectSignal, decode, new_key
from andon.monitor.store import Settings, StoreReader
from andon.monitor.store_writer import StoreWriter
from andon.sources.clock import SystemClock

_LINES = ("press-3", "press-4")


class Kills(NamedTuple):
    """Figures of one run."""

    kills: int
    acknowledged: int
    stored: int
    delivered: int
    duplicates: int
    """Events that the receiver got more than once, with the same key."""
    intents: int
    unknown: int
    ready_median_s: float
    ready_max_s: float
    """Time from the start of the interpreter until the store is open."""
    open_max_s: float
    """The part of it that opens the store."""


class _Seen(NamedTuple):
    """Reports of the children."""

    acknowledged: dict[str, int]
    intents: set[str]
    ready_s: list[float]
    opened_s: list[float]


def _event(body: InvalidEnded | RejectSignal, line: str, number: int) -> Event:
    return Event(
        key=new_key(), run="", boot="", line=line, mono_ns=number, wall_us=0, source="x" * 200, body=body
    )  # the source makes the event as large as a reject


def child(folder: str, received: str) -> None:
    """Write until killed. Print one line for each fact that is durable."""
    began_s = time.monotonic()
    writer = StoreWriter(Settings(path=folder), SystemClock(), outputs=["plant"])
    print(f"ready {time.monotonic() - began_s}", flush=True)
    lock = threading.Lock()

    def report(text: str) -> None:
        with lock:
            print(text, flush=True)

    def produce(line: str) -> None:
        last = writer.reader().recent(line=line, kind="valid", limit=1)
        number = last[0].mono_ns if last else 0
        rng = random.Random(number)
        while True:
            for _ in range(rng.randint(1, 30)):
                number += 1
                writer.put(_event(InvalidEnded(items=number, seconds=0.0), line, number))
            if writer.flush(10):
                report(f"event {line} {number}")

    def reject() -> None:
        while True:
            intent = _event(RejectSignal(part="p", result="unknown"), "", 0)
            if writer.intent(intent, 10):
                report(f"intent {intent.key}")
                time.sleep(0.002)
                writer.result(intent, _event(RejectSignal(part="p", result="fired"), "", 0))

    def send() -> None:
        outbox = writer.outbox("plant")
        after = 0
        with Path(received).open("ab", buffering=0) as stream:
            while True:
                page = outbox.page(after, 100)
                for one in page:
                    stream.write(b"\n" + one.payload)  # a killed process leaves part of a line at most
                if page:
                    after = page[-1].seq
                    outbox.done(after)
                else:
                    time.sleep(0.005)

    for line in _LINES:
        threading.Thread(target=produce, args=(line,), daemon=True).start()
    threading.Thread(target=reject, daemon=True).start()
    send()


def run_kills(folder: Path, *, kills: int, seed: int, longest_s: float = 0.3) -> Kills:
    """Kill the child this number of times, and check the store.

    Raises:
        AssertionError: an event was lost, is out of order, or was stored twice.
    """
    rng = random.Random(seed)
    store, received = folder / "state", folder / "received.jsonl"
    seen = _Seen(dict.fromkeys(_LINES, 0), set(), [], [])
    for kill in range(kills):
        _one_kill(store, received, rng.uniform(0.0, longest_s), seen)
        if kill % 10 == 0:  # each check reads all events
            _check_events(StoreReader(store), seen.acknowledged)
    writer = StoreWriter(Settings(path=str(store)), SystemClock(), outputs=["plant"])
    assert writer.flush(20)
    reader = writer.reader()
    stored = _check_events(reader, seen.acknowledged)
    results = _check_intents(reader, seen.intents)
    delivered, duplicates = _check_received(received, writer)
    writer.close()
    return Kills(
        kills=kills,
        acknowledged=sum(seen.acknowledged.values()),
        stored=stored,
        delivered=delivered,
        duplicates=duplicates,
        intents=len(seen.intents),
        unknown=results["unknown"],
        ready_median_s=round(statistics.median(seen.ready_s), 3),
        ready_max_s=round(max(seen.ready_s), 3),
        open_max_s=round(max(seen.opened_s), 3),
    )


def _one_kill(store: Path, received: Path, after_s: float, seen: _Seen) -> None:
    began_s = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.store_kills", "--child", str(store), str(received)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline().split()
        assert first[:1] == ["ready"], "the child could not open the store"
        seen.ready_s.append(time.monotonic() - began_s)
        seen.opened_s.append(float(first[1]))
        killer = threading.Timer(after_s, lambda: os.kill(process.pid, signal.SIGKILL))
        killer.start()
        for line in process.stdout:
            if not line.endswith("\n"):
                break  # cut by the kill: not acknowledged
            kind, *facts = line.split()
            if kind == "event":
                seen.acknowledged[facts[0]] = int(facts[1])
            else:
                seen.intents.add(facts[0])
        killer.join()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _check_events(reader: StoreReader, acknowledged: dict[str, int]) -> int:
    stored = 0
    for line, least in acknowledged.items():
        numbers = [event.mono_ns for event in _all(reader, line)]
        assert numbers == list(range(1, len(numbers) + 1)), f"{line}: a hole, or out of order"
        assert len(numbers) >= least, f"{line}: {least} acknowledged, {len(numbers)} stored"
        stored += len(numbers)
    return stored


def _all(reader: StoreReader, line: str) -> list[Event]:
    found: list[Event] = []
    before = None
    while page := reader.recent(line=line, before=before, limit=1000):
        found += page
        before = page[-1].seq
    return found[::-1]


def _check_intents(reader: StoreReader, intents: set[str]) -> Counter[str]:
    results = {event.key: event.body for event in _all(reader, "")}
    assert intents <= set(results), "an acknowledged intent has no result"
    return Counter(body.result for body in results.values() if isinstance(body, RejectSignal))


def _check_received(received: Path, writer: StoreWriter) -> tuple[int, int]:
    """Check what the receiver got together with what is still waiting."""
    events = [event for line in received.read_bytes().split(b"\n") if (event := _whole(line)) is not None]
    after = 0
    while page := writer.outbox("plant").page(after, 500):
        events += [decode(one.payload) for one in page]
        after = page[-1].seq
    seen: dict[str, int] = {}
    order = []
    for event in events:
        if event.key not in seen:
            order.append(event.seq)
        assert seen.setdefault(event.key, event.seq) == event.seq, "one key with two numbers"
    assert order == sorted(order), "the receiver got events out of order"
    (newest,) = writer.reader().recent(limit=1)
    assert order == list(range(1, newest.seq + 1)), "the receiver misses events"
    return len(order), len(events) - len(order)


def _whole(line: bytes) -> Event | None:
    try:
        return decode(line)
    except ValueError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=2, metavar=("STORE", "RECEIVED"))
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = run_kills(Path(folder), kills=args.kills, seed=args.seed)
    print(json.dumps(figures._asdict() | {"load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
