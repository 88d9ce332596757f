"""Find the start of the present shift from the wall clock, in a time zone. No clock, no I/O."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo


def shift_began(wall_s: float, starts: Sequence[time], zone: tzinfo | None) -> float:
    """Return the start of the shift at this moment, in seconds since 1970.

    A start that occurs twice on a day, when clocks are set back, counts the first time only. A start that does not occur, when
    clocks are set forward, is moved by the missing hour.

    Args:
        wall_s: the moment, in seconds since 1970.
        starts: times of day at which a shift begins, at least one.
        zone: time zone of the starts. None: the zone of the machine.

    >>> noon = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
    >>> began = shift_began(noon, [time(6), time(14), time(22)], UTC)
    >>> datetime.fromtimestamp(began, UTC).hour
    6
    """
    today = datetime.fromtimestamp(wall_s, UTC).astimezone(zone).date()
    # two days back: the only start of yesterday may lie after the moment if clocks were changed
    days = [today - timedelta(days=back) for back in range(3)]
    begun = [datetime.combine(day, start, zone).timestamp() for day in days for start in starts]
    return max(at for at in begun if at <= wall_s)
