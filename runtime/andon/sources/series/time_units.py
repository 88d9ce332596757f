"""The unit of a numeric time column: stated in its name, or recognised from the size of its numbers.

``time_ms``, ``timestamp [us]`` and ``t(s)`` state their unit. Without a unit in the name, numbers are seconds, unless they are so
large that seconds would lie after the year 5000. Such numbers are milliseconds, microseconds or nanoseconds since 1970, as many
loggers and pandas write them. The unit of small relative times cannot be recognised, so their name must state it.
"""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TIME_NAMES = frozenset({"time", "timestamp", "datetime", "t"})
LATEST_S = 1e11
"""Latest time in seconds, after the year 5000. A larger number has a unit shorter than seconds."""
EARLIEST_S = 1e8
"""Earliest time since 1970 in seconds, in the year 1973, that is recognised in another unit than seconds."""

_UNITS = {
    "s": 1.0, "sec": 1.0, "seconds": 1.0,
    "ms": 1e3, "msec": 1e3, "millis": 1e3, "milliseconds": 1e3,
    "us": 1e6, "µs": 1e6, "μs": 1e6, "micros": 1e6, "microseconds": 1e6,
    "ns": 1e9, "nanos": 1e9, "nanoseconds": 1e9,
}  # fmt: skip
_NAMED = re.compile(rf"({'|'.join(TIME_NAMES)})[ _\-]*[(\[]?({'|'.join(_UNITS)})[)\]]?")
_SINCE_1970 = (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9))


class NamedTime(NamedTuple):
    """A column name that names a time."""

    base: str
    """The name without the unit."""
    per_s: float | None
    """Units per second, or None if the name has no unit."""


def named_time(name: str) -> NamedTime | None:
    """Return the parts of the name of a time column in lower case, or None for another name.

    >>> named_time("time_ms"), named_time("t [s]"), named_time("temperature")
    (NamedTime(base='time', per_s=1000.0), NamedTime(base='t', per_s=1.0), None)
    """
    if name in TIME_NAMES:
        return NamedTime(name, None)
    match = _NAMED.fullmatch(name)
    return NamedTime(match[1], _UNITS[match[2]]) if match else None


def since_1970(stamps: Floats) -> tuple[str, float] | None:
    """Return name and units per second of stamps in another unit than seconds; None for seconds, or for no single unit.

    Args:
        stamps: finite numbers.

    >>> since_1970(np.array([1_583_748_873_000.0, 1_583_748_874_000.0]))
    ('milliseconds', 1000.0)
    """
    sizes = np.abs(stamps)
    for name, per_s in _SINCE_1970:
        seconds = sizes / per_s
        if len(sizes) and bool((sizes > LATEST_S).all() and ((seconds >= EARLIEST_S) & (seconds <= LATEST_S)).all()):
            return name, per_s
    return None
