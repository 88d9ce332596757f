"""Turn reported changes and regular reads of channels into samples, for a sender that reports a value only when it changes.

The server reports each change with the time of the source. A constant channel reports nothing, but the grid needs a sample in
each period. Each read therefore gives a sample at the present of the server, if the value is still the last reported one. If a
read finds another value and no change is reported within the patience, the server has forgotten the subscription.

The clock of the server can be set back. Constant channels then have samples from the new time on, so that the receiver sees that
time begins again, and does not wait until the old time is reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct


class Reading(Struct, frozen=True):
    """The value of a channel, as a report or a read gives it."""

    value: float | None
    """None if the sender has no usable value: its quality is bad."""
    source_s: float | None
    """Time at which the source had the value. None if the sender gives no time."""


class Sample(Struct, frozen=True):
    """A sample for the grid."""

    place: int
    """Place of the channel."""
    time_s: float
    value: float | None


@dataclass
class _Channel:
    value: float | None
    sent_s: float
    """Newest time stamp of its samples."""
    after_s: float
    reported: bool = False
    pending_s: float | None = None
    """Server time at which a read first found a change that was not reported yet."""


class HeldValues:
    """The channels of one subscription. Times are arguments, in seconds of the server.

    Args:
        first: a read of all channels before the subscription.
        now_s: the time of the server at this read.
        after_s: for each channel, the time after its last sample at which a read may give the next one.
        patience_s: longest time until a change must be reported.
        hold: False if constant channels get no samples.
    """

    def __init__(
        self, first: list[Reading], now_s: float, *, after_s: Sequence[float], patience_s: float, hold: bool = True
    ) -> None:
        self._channels = [
            _Channel(reading.value, now_s, wait_s) for reading, wait_s in zip(first, after_s, strict=True)
        ]
        self._began_s = self._read_s = now_s
        self._patience_s = patience_s
        self._hold = hold

    def begin(self) -> list[Sample]:
        """Return the samples of the first read."""
        if not self._hold:
            return []
        return [Sample(place, self._began_s, channel.value) for place, channel in enumerate(self._channels)]

    def report(self, place: int, reading: Reading, arrived_s: float) -> Sample | None:
        """Return the sample of a reported change.

        The first report is the value at the begin of the subscription. It gives a sample only if it is younger than the first
        read.
        """
        channel = self._channels[place]
        time_s = arrived_s if reading.source_s is None else reading.source_s
        channel.value, channel.pending_s = reading.value, None
        first, channel.reported = not channel.reported, True
        if first and (reading.source_s is None or time_s <= self._began_s):
            return None
        channel.sent_s = max(channel.sent_s, time_s)
        return Sample(place, time_s, reading.value)

    def read(self, readings: list[Reading], now_s: float) -> list[Sample]:
        """Return samples of the channels that have not changed since their last report."""
        if now_s < self._read_s:
            for channel in self._channels:
                channel.sent_s = min(channel.sent_s, now_s)
                channel.pending_s = None
        self._read_s = now_s
        samples = []
        for place, (channel, reading) in enumerate(zip(self._channels, readings, strict=True)):
            if reading.value != channel.value:
                channel.pending_s = now_s if channel.pending_s is None else channel.pending_s
                continue
            channel.pending_s = None
            if self._hold and now_s - channel.sent_s >= channel.after_s:
                channel.sent_s = now_s
                samples.append(Sample(place, now_s, channel.value))
        return samples

    def silent(self, now_s: float) -> int | None:
        """Return the place of a channel whose change was not reported within the patience. None: all is well."""
        for place, channel in enumerate(self._channels):
            if channel.pending_s is not None and now_s - channel.pending_s > self._patience_s:
                return place
        return None
