"""A recording is replayed at its recorded speed or as fast as possible."""

import threading

import numpy as np
import pytest
from tests.sources.fake_clock import FakeClock

from andon.runtime.items import Item, Lost
from andon.runtime.schema import Channel
from andon.sources.collection import FoundLogs
from andon.sources.series.log import Log, Run
from andon.sources.series.replay import replay_log
from andon.sources.series.windows import cut, window_spec
from andon.sources.stream_settings import Speed


@pytest.fixture
def log() -> Log:
    random = np.random.default_rng(0)
    runs = tuple(
        Run(
            name=name,
            times_s=start_s + np.arange(60) * 0.5 + random.uniform(0, 0.2, 60),
            values=random.normal(size=(60, 2)).astype(np.float32),
        )
        for name, start_s in (("a", 1.6e9), ("b", 3.0))
    )
    found = FoundLogs(channels=(Channel(name="x"), Channel(name="y")), period_s=0.5, runs=2, rows=120)
    return Log(found=found, runs=runs)


@pytest.mark.parametrize("speed", ["recorded", "max"])
def test_a_replayed_log_gives_the_windows_of_the_log_at_any_speed(log: Log, speed: Speed) -> None:
    spec = window_spec(log.found, 8, 3)
    items = replay_log(log, spec, FakeClock(), speed, threading.Event())

    given = [(item.ref, item.data.tobytes()) for item in items if isinstance(item, Item)]
    assert given == [(item.ref, item.data.tobytes()) for item in cut(log, spec) if isinstance(item, Item)]


def test_at_recorded_speed_a_log_takes_as_long_as_it_took(log: Log) -> None:
    clock = FakeClock()
    list(replay_log(log, window_spec(log.found, 8, 8), clock, "recorded", threading.Event()))

    assert clock.mono_s() == pytest.approx(2 * 59 * 0.5, abs=1.0)


def test_at_full_speed_nothing_is_waited_for(log: Log) -> None:
    clock, spec = FakeClock(), window_spec(log.found, 8, 8)

    given = [item for item in replay_log(log, spec, clock, "max", threading.Event()) if isinstance(item, Item)]
    assert len(given) == sum(isinstance(item, Item) for item in cut(log, spec))
    assert clock.mono_s() == 0


def test_a_stop_ends_a_replay_at_once(log: Log) -> None:
    stop = threading.Event()
    stream = replay_log(log, window_spec(log.found, 8, 8), FakeClock(), "recorded", stop)
    assert isinstance(next(stream), Item | Lost)
    stop.set()

    assert list(stream) == []
