"""Fill the disk under a running event store, and measure what is lost and how long the recovery takes.

The store is on a tmpfs of 2 MB, which needs the right to mount. Another program fills the disk for `--full` seconds, while events
arrive at a fixed rate. Then it frees the space. An output delivers all the time. Prints one JSON line with

* `put_max_ms`: longest call of `put`, also while the disk was full,
* `lost`: events that were neither stored nor delivered. It equals the sum of all `EventsLost` events,
* `waiting_max`: most events in memory,
* `recovered_s`: time from free space until all events were durable.

    python -m benchmarks.store_disk_full --rate 500 --full 10
"""

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path

from tests.monitor.small_disk import fill, small_disk

from andon.monitor.event import Event, EventsLost, InvalidEnded, decode, new_key
from andon.monitor.store import Settings
from andon.monitor.store_writer import StoreWriter
from andon.sources.clock import SystemClock


def measure(disk: Path, *, rate: float, full_s: float) -> dict[str, float]:
    """Return the figures of one run.

    Raises:
        AssertionError: an event is missing and was not counted, or the receiver got one out of order.
    """
    writer = StoreWriter(
        Settings(path=str(disk / "state"), ballast_bytes=1 << 18, reserve_bytes=0), SystemClock(), outputs=["plant"]
    )
    stop = threading.Event()
    delivered: list[Event] = []

    def send() -> None:
        outbox, after = writer.outbox("plant"), 0
        while not stop.is_set() or outbox.page(after, 1):
            page = outbox.page(after, 500)
            delivered.extend(decode(one.payload) for one in page)
            if page:
                after = page[-1].seq
                outbox.done(after)
            else:
                time.sleep(0.01)

    sender = threading.Thread(target=send)
    sender.start()
    slowest_s, waiting = 0.0, 0
    number = 0
    began_s = time.monotonic()
    filler = disk / "filler"
    while (now_s := time.monotonic() - began_s) < 2.0 + full_s:
        if now_s >= 2.0:
            fill(filler)  # again and again: space that the store frees is taken too
        while number < rate * now_s:
            number += 1
            put_s = time.monotonic()
            writer.put(_event(number))
            slowest_s = max(slowest_s, time.monotonic() - put_s)
        waiting = max(waiting, writer.status().waiting)
        time.sleep(0.005)
    filler.unlink()
    freed_s = time.monotonic()
    assert writer.flush(60)
    recovered_s = time.monotonic() - freed_s
    while writer.outbox("plant").backlog():
        time.sleep(0.05)
    stop.set()
    sender.join()
    writer.close()
    numbers = [event.body.items for event in delivered if isinstance(event.body, InvalidEnded)]
    assert numbers == sorted(set(numbers))
    lost = sum(event.body.number for event in delivered if isinstance(event.body, EventsLost))
    assert len(numbers) + lost == number
    return {
        "events": number,
        "delivered": len(numbers),
        "lost": lost,
        "put_max_ms": round(1000 * slowest_s, 2),
        "waiting_max": waiting,
        "recovered_s": round(recovered_s, 2),
    }


def _event(number: int) -> Event:
    return Event(
        key=new_key(),
        run="",
        boot="",
        line="press-3",
        source="x" * 200,
        mono_ns=number,
        wall_us=0,
        body=InvalidEnded(items=number, seconds=0.0),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=500.0, help="events a second")
    parser.add_argument("--full", type=float, default=10.0, help="seconds without free space")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, small_disk(Path(folder)) as disk:
        if disk is None:
            raise SystemExit("mounting a tmpfs is not allowed: run it as root")
        print(json.dumps(measure(disk, rate=args.rate, full_s=args.full) | {"load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
