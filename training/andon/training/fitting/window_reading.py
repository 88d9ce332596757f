"""Settings of the preparation of windows that the user chooses: the trend to subtract, and the context channel.

Both are computed from the training windows only, and declared in the model file.
"""

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError, DataError
from andon.foundation.settings import nearest
from andon.runtime.items import Item, Ref
from andon.runtime.schema import Context, Detrend, WindowSpec
from andon.sources.collection import Collection

logger = logging.getLogger(__name__)

MOST_VALUES = 32
"""A context channel with at most this many different values is read by its values, otherwise by ranges."""
RANGES = 8
"""Number of ranges of a context channel with many values."""
LEAST_WINDOWS = 10
"""Smallest number of windows, counted without overlap, whose rows a state needs in the training set."""
_STEPS = {"none": 1, "mean": 2, "line": 3}
"""Smallest length of a window by trend. A shorter one would become 0."""

Rows = NDArray[np.float64]
Places = NDArray[np.intp]


class WindowReading(Struct, frozen=True, kw_only=True):
    """Options for the preparation of windows."""

    detrend: Detrend = "none"
    """Trend that is subtracted from each channel of a window."""
    context: str | None = None
    """Name of the channel that selects the standardisation of the others. None: no channel."""


AS_IT_IS = WindowReading()
"""No trend is subtracted, and no channel is a context."""


def prepared_for(spec: WindowSpec, reading: WindowReading) -> WindowSpec:
    """Return the specification with the trend, and with the context channel resampled without interpolation.

    Raises:
        ConfigError: the windows are too short for the trend, or there is no such channel, or no other one.
    """
    if spec.steps < _STEPS[reading.detrend]:
        raise ConfigError(
            f"--detrend {reading.detrend}: expected windows of at least {_STEPS[reading.detrend]} rows, got {spec.steps}. Give "
            "a larger --steps, or leave out --detrend."
        )
    spec = structs.replace(spec, detrend=reading.detrend)
    name = reading.context
    if name is None:
        return spec
    names = [channel.name for channel in spec.channels]
    if name not in names:
        raise ConfigError(
            f"--context: expected a channel of the log, got {name!r}{nearest(name, names)}. Its channels: {', '.join(names)}."
        )
    if len(names) < 2:
        raise ConfigError(f"--context: expected another channel next to {name}, got none. Leave out --context.")
    # a value between two recipe numbers would be no recipe
    channels = tuple(
        structs.replace(channel, resample="hold") if channel.name == name else channel for channel in spec.channels
    )
    return structs.replace(spec, channels=channels)


def conditioned(spec: WindowSpec, collection: Collection, train: Sequence[Ref], reading: WindowReading) -> WindowSpec:
    """Return the specification with scales for the trend, and with the states of the context.

    Args:
        spec: the result of `prepared_for`, standardised.
        collection: windows.
        train: refs of the training windows.
        reading: the options.

    Raises:
        DataError: the context channel has one value only, or too few rows in a state.
    """
    if reading.detrend == "none" and reading.context is None:
        return spec
    windows = _Windows(collection, train)
    if reading.context is None:
        _, scale = _by_state(windows, spec, lambda rows: np.zeros(len(rows), np.intp), 1)
        return structs.replace(
            spec,
            channels=tuple(
                structs.replace(channel, scale=float(own) if own > 0 else channel.scale)
                for channel, own in zip(spec.channels, scale[0], strict=True)
            ),
        )
    place = [channel.name for channel in spec.channels].index(reading.context)
    context = _states(windows, spec, place)
    bounds = np.array(context.bounds)

    def state(rows: Rows) -> Places:
        values = rows[:, place]
        if context.by == "value":
            nearest_one: Places = np.abs(values[:, None] - bounds).argmin(axis=1)
            return nearest_one
        return np.searchsorted(bounds, values, side="right")

    center, scale = _by_state(windows, spec, state, context.states)
    usual = np.array([channel.scale for channel in spec.channels])
    # a channel that stands still in one state keeps a scale that the other states justify
    floor = 0.01 * usual
    scale = np.where(scale > floor, scale, floor)
    logger.info(
        "context %s: %d states by %s: %s",
        reading.context, context.states, context.by, ", ".join(f"{bound:g}" for bound in context.bounds),
    )  # fmt: skip
    return structs.replace(
        spec,
        context=structs.replace(
            context, center=tuple(map(tuple, center.tolist())), scale=tuple(map(tuple, scale.tolist()))
        ),
    )


class _Windows:
    """The finite training windows, read again in each pass."""

    def __init__(self, collection: Collection, train: Sequence[Ref]) -> None:
        self._collection = collection
        self._train = train

    def __iter__(self) -> Iterator[Rows]:
        for ref in self._train:
            item = self._collection.read(ref)
            if isinstance(item, Item) and np.isfinite(item.data).all():
                yield item.data.astype(np.float64)


def _states(windows: _Windows, spec: WindowSpec, place: int) -> Context:
    """Return the states of a context channel, without their centres and scales."""
    name = spec.channels[place].name
    values = np.concatenate([rows[:, place].astype(np.float32) for rows in windows])
    distinct, counts = np.unique(values, return_counts=True)
    # windows overlap, so each row is counted several times
    overlap = max(1.0, spec.steps / spec.hop)
    least = LEAST_WINDOWS * spec.steps
    if len(distinct) < 2:
        raise DataError(
            f"--context {name}: expected at least two values in the training set, got {distinct[0]:g} only. Leave out --context."
        )
    if len(distinct) <= MOST_VALUES:
        for value, count in zip(distinct.tolist(), (counts / overlap).tolist(), strict=True):
            if count < least:
                raise DataError(
                    f"--context {name}: expected at least {least} rows with each value ({LEAST_WINDOWS} windows), got about "
                    f"{count:.0f} with {value:g}. Record more of them, leave these rows out, or give a smaller --steps."
                )
        return Context(channel=name, by="value", bounds=tuple(float(value) for value in distinct))
    ranges = int(min(RANGES, len(values) / overlap / least))
    bounds = np.unique(np.quantile(values, np.arange(1, max(ranges, 1)) / max(ranges, 1)))
    bounds = bounds[bounds > values.min()]
    if not len(bounds):
        raise DataError(
            f"--context {name}: expected at least {2 * least} rows for two ranges of its values, got about "
            f"{len(values) / overlap:.0f}. Record more, or give a smaller --steps."
        )
    return Context(channel=name, by="range", bounds=tuple(float(bound) for bound in bounds))


def _by_state(windows: _Windows, spec: WindowSpec, state: Callable[[Rows], Places], states: int) -> tuple[Rows, Rows]:
    """Return mean and standard deviation of each channel in each state, ``[states, C]``; with a trend, of what it leaves."""
    shape = (states, len(spec.channels))
    usual = np.array([channel.center for channel in spec.channels])
    count, total = np.zeros(states), np.zeros(shape)
    every = np.eye(states)
    for rows in windows:
        own = every[state(rows)]
        count += own.sum(axis=0)
        total += own.T @ (rows - usual)
    center = usual + total / np.maximum(count, 1.0)[:, None]
    squares = np.zeros(shape)
    for rows in windows:
        of = state(rows)
        squares += every[of].T @ _without_trend(rows - center[of], spec.detrend) ** 2
    return center, np.sqrt(squares / np.maximum(count, 1.0)[:, None])


def _without_trend(values: Rows, detrend: Detrend) -> Rows:
    if detrend == "none":
        return values
    values = values - values.mean(axis=0)
    if detrend == "mean":
        return values
    time = np.arange(len(values)) - (len(values) - 1) / 2
    slope: Rows = time @ values / (time @ time)
    return values - time[:, None] * slope
