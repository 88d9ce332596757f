"""Decide which frames of many cameras one device judges together, and when. This is a policy without threads and without a clock.

A device needs ``a + b n`` seconds for n frames, and ``a`` is most of it for a small network on a GPU. So frames that arrive
while the device is busy are judged together as soon as it is free. Waiting a little longer (`BatchRule.max_wait_s`) makes larger
batches, which costs latency and saves time of the device.
"""

import itertools
from collections import deque
from collections.abc import Hashable
from typing import Annotated, Generic, NamedTuple, TypeVar

from msgspec import Meta, Struct

from andon.foundation.errors import ConfigError

T = TypeVar("T")

FORGETTING = 0.98
"""Weight of all earlier measurements at each new one, so that about the last 50 batches count."""
MARGIN = 2.0
"""Mean deviations of the measured times that are added to an estimate before a batch is made smaller for a deadline."""
PATIENCE_S = 1.0
"""Seconds after which a group without deadlines is as urgent as one whose deadline is now. So it always gets its turn."""
OUTLIER = 8.0
"""A measurement counts at most as this multiple of what was expected. A machine that stalls once must not look slow for long."""


class BatchRule(Struct, frozen=True, kw_only=True):
    """Limits of the batches."""

    max_batch: Annotated[int, Meta(ge=1, le=1024)] = 32
    """Most frames in one batch."""
    max_wait_s: Annotated[float, Meta(ge=0, le=10)] = 0.002
    """Longest time that a frame waits for others while the device is free, in seconds. 0 takes what is there."""
    pad: bool = True
    """Fill batches up to 1, 2, 4, 8 ... frames, or to `max_batch`. A GPU prepares each new shape for a long time."""

    def __post_init__(self) -> None:
        # msgspec checks types and ranges only while it reads JSON or TOML
        if type(self.max_batch) is not int or not 1 <= self.max_batch <= 1024:
            raise ConfigError(f"max_batch: expected an integer from 1 to 1024, got {self.max_batch!r}.")
        if not 0 <= self.max_wait_s <= 10:
            raise ConfigError(f"max_wait_s: expected seconds from 0 to 10, got {self.max_wait_s!r}. Example: 0.002.")

    def bucket(self, count: int) -> int:
        """Return the number of frames in the padded batch.

        >>> [BatchRule(max_batch=12).bucket(count) for count in (1, 2, 3, 8, 9, 12)]
        [1, 2, 4, 8, 12, 12]
        """
        return min(1 << (count - 1).bit_length(), self.max_batch) if self.pad else count


class Cost:
    """The time of the device for a batch, ``a + b n`` seconds, estimated from measurements by weighted least squares."""

    def __init__(self) -> None:
        self._weight = self._n = self._nn = self._t = self._nt = 0.0
        self._deviation_s = 0.0

    def add(self, size: int, seconds: float) -> None:
        """Add a measurement.

        Args:
            size: number of frames in the batch, with the padding.
            seconds: time that the device needed for it.
        """
        if self._weight:
            # the mean counts too: the estimate for a smaller size than any so far is too low
            seconds = min(seconds, OUTLIER * max(self.estimate_s(size), self._t / self._weight))
        self._weight = FORGETTING * self._weight + 1
        self._n = FORGETTING * self._n + size
        self._nn = FORGETTING * self._nn + size * size
        self._t = FORGETTING * self._t + seconds
        self._nt = FORGETTING * self._nt + size * seconds
        away_s = abs(seconds - self.estimate_s(size))
        self._deviation_s = FORGETTING * self._deviation_s + (1 - FORGETTING) * away_s

    def line(self) -> tuple[float, float]:
        """Return ``a`` and ``b`` in seconds. Both are at least 0, and both are 0 before the first measurement."""
        if not self._weight:
            return 0.0, 0.0
        mean_n, mean_t = self._n / self._weight, self._t / self._weight
        spread = self._nn / self._weight - mean_n * mean_n
        # all batches have had the same size: assume no fixed part, so that larger batches are not underestimated
        slope = (
            (self._nt / self._weight - mean_n * mean_t) / spread if spread > 1e-6 * mean_n * mean_n else mean_t / mean_n
        )
        slope = min(max(slope, 0.0), mean_t / mean_n)
        return max(0.0, mean_t - slope * mean_n), slope

    def estimate_s(self, size: int) -> float:
        """Return the expected seconds for a batch of this size. 0 before the first measurement."""
        a, b = self.line()
        return a + b * size

    def safe_s(self, size: int) -> float:
        """Return the seconds that most batches of this size stay below."""
        return self.estimate_s(size) + MARGIN * self._deviation_s


class Waiting(NamedTuple, Generic[T]):
    """An item that waits."""

    item: T
    arrived_s: float
    due_s: float
    number: int
    """Place in the order of arrival over all groups."""


class Batch(NamedTuple, Generic[T]):
    """Items of one group for one call of the device."""

    group: Hashable
    items: tuple[T, ...]
    """In the order of arrival."""
    size: int
    """Number of frames after the padding: repeat the last frame, and drop the surplus results."""


class Step(NamedTuple, Generic[T]):
    """The next thing to do."""

    late: tuple[T, ...]
    """Items whose deadline cannot be kept. They are INVALID, and no longer wait."""
    batch: Batch[T] | None
    """The batch to judge now. None if there is nothing to do yet."""
    wake_at_s: float | None
    """Time of the next step if nothing else arrives. None if there is a batch, or nothing waits."""


class MicroBatcher(Generic[T]):
    """A queue of items in groups. Items of one group can share a batch: frames of the same shape.

    All times are seconds of one monotonic clock, and never decrease. The caller holds a lock if it has several threads.
    """

    def __init__(self, rule: BatchRule, cost: Cost | None = None) -> None:
        self.rule = rule
        self.cost = Cost() if cost is None else cost
        self._groups: dict[Hashable, deque[Waiting[T]]] = {}
        self._offered = 0

    def __len__(self) -> int:
        """Return the number of items that wait."""
        return sum(map(len, self._groups.values()))

    def offer(self, item: T, now_s: float, *, group: Hashable = None, due_s: float = float("inf")) -> None:
        """Add an item.

        Args:
            item: the item.
            now_s: the time.
            group: shape of the frame.
            due_s: time at which the result must be there.
        """
        self._groups.setdefault(group, deque()).append(Waiting(item, now_s, due_s, self._offered))
        self._offered += 1

    def next_batch(self, now_s: float, *, flush: bool = False) -> Step[T]:
        """Return what to do while the device is free.

        A group is ready if it fills a batch, if its first item has waited for `BatchRule.max_wait_s`, or if an item would miss
        its deadline by waiting longer. The ready group with the earliest deadline is first. A batch is made smaller if only a
        smaller one keeps the earliest deadline.

        An item is late if its deadline has passed, or if it will pass before the item can be finished alone. While a full batch
        waits, items that only a smaller batch would finish in time are late too, because small batches would slow an overloaded
        device down further. The last item of a group is not dropped because of an estimate, so that a wrong estimate is always
        corrected.

        Args:
            now_s: the time.
            flush: do not wait for more items, because none will arrive.
        """
        late = self._drop_late(now_s)
        ready: tuple[float, int, Hashable] | None = None
        wake_at_s: float | None = None
        for group, waiting in self._groups.items():
            count = min(len(waiting), self.rule.max_batch)
            due_s = _due_s(waiting, count)
            start_s = min(
                waiting[0].arrived_s + self.rule.max_wait_s, due_s - self.cost.safe_s(self.rule.bucket(count))
            )
            if flush or count == self.rule.max_batch or start_s <= now_s:
                candidate = (min(due_s, waiting[0].arrived_s + PATIENCE_S), waiting[0].number, group)
                ready = candidate if ready is None else min(ready, candidate)
            else:
                wake_at_s = start_s if wake_at_s is None else min(wake_at_s, start_s)
        if ready is None:
            return Step(late, None, wake_at_s)
        return Step(late, self._take(ready[2], now_s), None)

    def take_all(self) -> list[T]:
        """Remove and return all items, for example after the device failed."""
        items = [waiting.item for group in self._groups.values() for waiting in group]
        self._groups.clear()
        return items

    def _drop_late(self, now_s: float) -> tuple[T, ...]:
        late: list[T] = []
        alone_s, full_s = (now_s + self.cost.estimate_s(size) for size in (1, self.rule.max_batch))
        for group, waiting in list(self._groups.items()):
            missed = [one for one in waiting if one.due_s < alone_s]
            # while more wait than fit into a batch, make no batch smaller for one of them
            surplus = len(waiting) - len(missed) - self.rule.max_batch + 1
            urgent = sorted((one for one in waiting if alone_s <= one.due_s < full_s), key=lambda one: one.due_s)
            missed += urgent[: max(0, surplus)]
            if len(missed) == len(waiting):
                last = max(missed, key=lambda one: one.due_s)
                if last.due_s >= now_s:
                    missed.remove(last)
            if not missed:
                continue
            late += [one.item for one in missed]
            gone = {one.number for one in missed}
            kept = deque(one for one in waiting if one.number not in gone)
            if kept:
                self._groups[group] = kept
            else:
                del self._groups[group]
        return tuple(late)

    def _take(self, group: Hashable, now_s: float) -> Batch[T]:
        waiting = self._groups[group]
        most = min(len(waiting), self.rule.max_batch)
        # with no size that keeps the deadline, a smaller batch does not help
        count = next((size for size in range(most, 0, -1) if self._in_time(waiting, size, now_s)), most)
        taken = tuple(waiting.popleft().item for _ in range(count))
        if not waiting:
            del self._groups[group]
        return Batch(group, taken, self.rule.bucket(count))

    def _in_time(self, waiting: "deque[Waiting[T]]", count: int, now_s: float) -> bool:
        return now_s + self.cost.safe_s(self.rule.bucket(count)) <= _due_s(waiting, count)


def _due_s(waiting: "deque[Waiting[T]]", count: int) -> float:
    """Return the earliest deadline of the first items."""
    return min(one.due_s for one in itertools.islice(waiting, count))
