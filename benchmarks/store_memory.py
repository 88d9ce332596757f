"""Store many events while an output is away, then deliver all, and measure memory and time.

The output is away for all events. Then a sender with pages of 500 delivers them. Prints one JSON line with the resident
memory after the first tenth and at the end, and the rates.

    python -m benchmarks.store_memory --events 100000
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from andon.monitor.event import Event, InvalidEnded, new_key
from andon.monitor.store import Settings
from andon.monitor.store_writer import StoreWriter
from andon.sources.clock import SystemClock


def resident_mb() -> float:
    """Return the resident memory of this process."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("expected the line VmRSS in /proc/self/status, found none")


def measure(folder: Path, events: int) -> dict[str, float]:
    """Return the figures of one run.

    Raises:
        AssertionError: an event was lost or delivered out of order.
    """
    writer = StoreWriter(Settings(path=str(folder)), SystemClock(), outputs=["plant"])
    slowest_s = 0.0
    after_tenth = 0.0
    began_s = time.monotonic()
    for number in range(1, events + 1):
        event = Event(
            key=new_key(),
            run="",
            boot="",
            line="press-3",
            source="x" * 200,
            mono_ns=number,
            wall_us=0,
            body=InvalidEnded(items=number, seconds=0.0),
        )
        put_s = time.monotonic()
        writer.put(event)
        slowest_s = max(slowest_s, time.monotonic() - put_s)
        if number % 1000 == 0:
            assert writer.flush(60)
        if number == events // 10:
            after_tenth = resident_mb()
    stored_s = time.monotonic() - began_s
    assert writer.outbox("plant").backlog() == events
    peak = resident_mb()

    began_s = time.monotonic()
    outbox, after, delivered = writer.outbox("plant"), 0, 0
    while page := outbox.page(after, 500):
        assert [one.seq for one in page] == list(range(after + 1, after + len(page) + 1))
        after = page[-1].seq
        delivered += len(page)
        outbox.done(after)
        peak = max(peak, resident_mb())
    drained_s = time.monotonic() - began_s
    assert delivered == events
    assert writer.status().lost == 0
    writer.close(60)
    size = sum(path.stat().st_size for path in folder.glob("events.sqlite*"))
    return {
        "events": events,
        "rss_after_tenth_mb": round(after_tenth, 1),
        "rss_peak_mb": round(peak, 1),
        "stored_per_s": round(events / stored_s),
        "put_max_ms": round(1000 * slowest_s, 2),
        "drained_per_s": round(events / drained_s),
        "bytes_per_event": round(size / events),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), args.events) | {"load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
