"""Sensor samples as JSON lines on standard input.

`sample_lines` describes the format of a line, and `sample_stream` what happens to it. A fast source should send blocks, because a
line of one sample takes as much time as a block of fifty.
"""

import sys
import threading
from collections.abc import Iterable, Iterator

from msgspec import Struct

from andon.foundation.errors import ConfigError, InputError
from andon.runtime.items import Item, Lost
from andon.runtime.schema import InputSpec, WindowSpec
from andon.sources.clock import Clock
from andon.sources.collection import Stream
from andon.sources.live import sample_stream
from andon.sources.live.message_rate import advice
from andon.sources.live.sample_stream import Counters, Sender
from andon.sources.series.line_reader import Read, read_lines
from andon.sources.source import Source
from andon.sources.stream_settings import StaleAfter

_SENDER = Sender("stdin", "standard input")


class Settings(Struct, frozen=True, kw_only=True):
    """Settings for following standard input."""

    stale_after_s: StaleAfter = 2.0


def stream(text: str, spec: InputSpec, settings: Settings, clock: Clock, stop: threading.Event) -> Stream:
    """Follow standard input to its end.

    Raises:
        ConfigError: the model file judges frames.
        InputError: standard input is closed.
    """
    if not isinstance(spec, WindowSpec):
        raise ConfigError(
            f"{text}: this model file judges frames: expected pictures or a video, got sensor values from standard input."
        )
    if sys.stdin is None:
        raise InputError(f"{text}: expected JSON lines on standard input, but it is closed. Pipe the samples in.")
    return follow(sys.stdin.fileno(), spec, settings, clock, stop)


def follow(
    fd: int,
    spec: WindowSpec,
    settings: Settings,
    clock: Clock,
    stop: threading.Event,
    *,
    counters: Counters | None = None,
) -> Iterator[Item | Lost]:
    """Return the windows from JSON lines on a file descriptor, see `receive`."""
    return receive(read_lines(fd, stop), spec, settings, clock, stop, counters=counters)


def receive(
    reads: Iterable[Read],
    spec: WindowSpec,
    settings: Settings,
    clock: Clock,
    stop: threading.Event,
    *,
    counters: Counters | None = None,
) -> Iterator[Item | Lost]:
    """Return the windows from lines that were read, see `sample_stream.receive`."""
    return sample_stream.receive(
        reads, spec, _SENDER, clock, stop, stale_after_s=settings.stale_after_s, counters=counters
    )


SOURCE = Source(
    name="stdin",
    summary="sensor samples as JSON lines on standard input, given as -",
    accepts=lambda text: text == "-",
    settings=Settings,
    stream=stream,
    advice=advice,
)
