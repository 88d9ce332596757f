"""Disturb a whole monitor, and measure what its lines do meanwhile. Prints one JSON line.

    OMP_NUM_THREADS=1 python -m benchmarks.monitor_faults stall
    OMP_NUM_THREADS=1 python -m benchmarks.monitor_faults disk

``stall``: one line has a camera from a real RTSP server, which stands still for 6 s (SIGSTOP). The other line has a live source
of 50 frames a second. ``stale_after_s`` is the time until the first INVALID (stale), and ``back_after_s`` the time from SIGCONT
until a frame is judged.

``disk``: the event store is on a tmpfs of 2 MB (needs root), which another file fills for 10 s. Each second frame is a reject.
``longest_pause_s`` is the longest time between two verdicts. At the end, each reject is stored, or counted in an event as lost.
"""

import argparse
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.monitor_streams import _Live
from benchmarks.soak import Folder
from tests.monitor.conftest import SIDE, exported
from tests.monitor.small_disk import small_disk
from tests.monitor.test_supervisor import Kept, sink

from andon.monitor.config import ChosenSource, Configuration, Line, Policy
from andon.monitor.event import EventsLost
from andon.monitor.judging import Outcome
from andon.monitor.service import Service
from andon.monitor.store import Settings as StoreSettings
from andon.monitor.store import StoreReader
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import InputSpec, Reason
from andon.sources.clock import Clock, SystemClock
from andon.sources.collection import Stream
from andon.sources.source import Source, find

RATE_HZ = 50.0


class Timed(Kept):
    """A sink that keeps the time and the reason of each outcome."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, Reason]] = []

    def put(self, outcome: Outcome) -> None:
        self.seen.append((time.monotonic(), outcome.verdict.reason))

    def after(self, moment_s: float, *, stale: bool) -> float:
        """Return the time from a moment until the first outcome that is stale or not."""
        return next(
            (at - moment_s for at, reason in self.seen if at > moment_s and (reason is Reason.STALE) is stale), -1.0
        )

    def longest_pause_s(self) -> float:
        """Return the longest time between two outcomes."""
        return float(np.diff([at for at, _ in self.seen]).max())


def paced(*, rejects: bool) -> ChosenSource:
    """Return a live source of small frames, of which every second one is a reject if asked for."""
    rng = np.random.default_rng(0)
    good = rng.integers(90, 160, (SIDE, SIDE, 1), dtype=np.uint8)
    bad = rng.integers(0, 255, (SIDE, SIDE, 1), dtype=np.uint8)

    def frames(stop: threading.Event) -> Iterator[Item | Lost]:
        number, began_s = 0, time.monotonic()
        while not stop.wait(max(0.0, began_s + number / RATE_HZ - time.monotonic())):
            number += 1
            yield Item(Ref(key=f"paced#{number}"), bad if rejects and number % 2 else good)

    def stream(_text: str, _spec: InputSpec, _settings: Any, _clock: Clock, stop: threading.Event) -> Stream:
        return frames(stop)

    kind = Source(name="paced", summary="paced", accepts=lambda _: True, stream=stream, settings=_Live, live=True)
    return ChosenSource(kind, "paced", _Live())


def line(name: str, model: Path, source: ChosenSource, kept: Timed) -> Line:
    """Return a line that judges every frame of any size."""
    return Line(
        name=name, model=str(model), source=source, sinks=(sink(kept),), policy=Policy(keep="every", frame_size="any")
    )


def stall(model: Path) -> dict[str, Any]:
    """Stop an RTSP server for 6 s."""
    from tests.sources.rtsp_server import RtspServer, absent

    if absent():
        raise SystemExit(absent())
    server, camera, other, stop = RtspServer(), Timed(), Timed(), threading.Event()
    try:
        kind = find(server.url)
        lines = (
            line("camera", model, ChosenSource(kind, server.url, kind.settings()), camera),
            line("other", model, paced(rejects=False), other),
        )
        service = Service(Configuration(lines=lines), SystemClock(), stop)
        thread = threading.Thread(target=service.run)
        thread.start()
        time.sleep(5)
        stopped_s = time.monotonic()
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(6)
        back_s = time.monotonic()
        server.process.send_signal(signal.SIGCONT)
        time.sleep(5)
        stop.set()
        thread.join()
    finally:
        server.close()
    counters = service.status().lines[1].counters
    return {
        "what": "stall",
        "stale_after_s": round(camera.after(stopped_s, stale=True), 2),
        "back_after_s": round(camera.after(back_s, stale=False), 2),
        "other_grabbed": counters.grabbed,
        "other_judged": counters.judged,
        "other_dropped": dict(counters.by_drop),
        "other_longest_pause_s": round(other.longest_pause_s(), 3),
        "load": os.getloadavg()[0],
    }


def disk(model: Path, root: Path) -> dict[str, Any]:
    """Fill the disk of the event store for 10 s."""
    kept, stop = Timed(), threading.Event()
    with small_disk(root) as small:
        if small is None:
            raise SystemExit("expected the right to mount a tmpfs. Run it as root.")
        settings = StoreSettings(path=str(small / "state"), ballast_bytes=1 << 18, reserve_bytes=0, max_bytes=1 << 20)
        configuration = Configuration(lines=(line("a", model, paced(rejects=True), kept),), store=settings)
        service = Service(configuration, SystemClock(), stop)
        thread = threading.Thread(target=service.run)
        thread.start()
        time.sleep(3)
        filler = small / "filler"
        with filler.open("wb", buffering=0) as written:
            end_s = time.monotonic() + 10
            while time.monotonic() < end_s:  # take each block that becomes free
                try:
                    written.write(b"x" * 4096)
                except OSError:
                    time.sleep(0.002)
        failing = service.status().store
        filler.unlink()
        time.sleep(5)
        stop.set()
        thread.join()
        status = service.status()
        events = StoreReader(small / "state").recent(limit=1000)
    counters = status.lines[0].counters
    assert status.store is not None
    assert failing is not None
    reported = sum(event.body.number for event in events if isinstance(event.body, EventsLost))
    return {
        "what": "disk",
        "grabbed": counters.grabbed,
        "judged": counters.judged,
        "dropped": dict(counters.by_drop),
        "invalid": dict(counters.by_reason),
        "rejects": counters.by_status.get("REJECT", 0),
        "longest_pause_s": round(kept.longest_pause_s(), 3),
        "failing_while_full": failing.failing,
        "failing_at_the_end": status.store.failing,
        "stored": status.store.stored,
        "lost": status.store.lost,
        "lost_and_reported": reported,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    """Run one of the disturbances."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["stall", "disk"])
    what = parser.parse_args().what
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        model = exported(Folder(root), middle=0.5)  # type: ignore[arg-type]
        print(json.dumps(stall(model) if what == "stall" else disk(model, root)))


if __name__ == "__main__":
    main()
